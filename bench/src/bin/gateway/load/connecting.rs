//! A TLS 1.3 connection for each request, by rustls: wrk and h2load keep theirs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use super::{Load, percentile};
use crate::certificate::{self, NAME};
use crate::mode::Mode;
use crate::origin::BODY_BYTES;
use crate::subjects::Site;

/// Blocking clients, each with one connection at a time.
const CLIENTS: usize = 16;

const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(site: &Site<'_>, seconds: u64) -> Result<Load> {
    let paths = site.mode.paths();
    let until = Duration::from_secs(seconds);
    let started = Instant::now();
    let paths = paths.as_slice();
    let counted = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|index| scope.spawn(move || client(site, paths, index, started, until)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| Err(anyhow!("a client panicked"))))
            .collect::<Result<Vec<_>>>()
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let mut microseconds = counted.concat();
    microseconds.sort_unstable();
    Ok(Load {
        requests: microseconds.len() as u64,
        seconds,
        p50_ms: percentile(&microseconds, 50)? / 1e3,
        p99_ms: percentile(&microseconds, 99)? / 1e3,
    })
}

/// A connection that had one request and stays open.
#[derive(Debug)]
pub enum Idle {
    Plain { _socket: TcpStream },
    Tls { _stream: Box<StreamOwned<ClientConnection, TcpStream>> },
}

impl Idle {
    pub fn client(site: &Site<'_>) -> Result<ClientConfig> {
        config(site, false)
    }

    pub fn open(site: &Site<'_>, client: &Arc<ClientConfig>) -> Result<Self> {
        let path = &site.mode.paths()[0];
        let mut socket = connect(site)?;
        if !site.mode.has_tls() {
            ask(&mut socket, path, "keep-alive")?;
            return Ok(Self::Plain { _socket: socket });
        }
        let connection = ClientConnection::new(Arc::clone(client), ServerName::try_from(NAME)?)?;
        let mut stream = StreamOwned::new(connection, socket);
        ask(&mut stream, path, "keep-alive")?;
        Ok(Self::Tls { _stream: Box::new(stream) })
    }
}

/// Asks for `path` and reads the answer until it is whole.
fn ask(stream: &mut (impl Read + Write), path: &str, connection: &str) -> Result<()> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: {connection}\r\n\r\n")?;
    let (mut answer, mut length) = ([0; 4 * BODY_BYTES], 0);
    loop {
        let head = answer[..length].windows(4).position(|window| window == b"\r\n\r\n");
        if head.is_some_and(|head| length - head - 4 >= BODY_BYTES) {
            break;
        }
        match stream.read(&mut answer[length..]).with_context(|| format!("read the answer to {path}"))? {
            0 => bail!("the answer to {path} ends after {length} bytes"),
            more => length += more,
        }
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{path} is not answered 200");
    Ok(())
}

fn connect(site: &Site<'_>) -> Result<TcpStream> {
    let socket = TcpStream::connect(("127.0.0.1", site.port)).context("connect")?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

/// The microseconds that each request took, from the connect to the end of the answer.
fn client(
    site: &Site<'_>,
    paths: &[String],
    index: usize,
    started: Instant,
    until: Duration,
) -> Result<Vec<u64>> {
    let resumes = site.mode == Mode::Resumed;
    let config = Arc::new(config(site, resumes)?);
    if resumes {
        // The first session: its tickets are for the next connections, which bring tickets of their own.
        exchange(site, &config, &paths[0])?;
    }
    let mut microseconds = Vec::new();
    let mut turn = index;
    while started.elapsed() < until {
        let began = Instant::now();
        let kind = exchange(site, &config, &paths[turn % paths.len()])?;
        microseconds.push(u64::try_from(began.elapsed().as_micros())?);
        ensure!((kind == HandshakeKind::Resumed) == resumes, "a handshake was {kind:?}");
        turn += 1;
    }
    Ok(microseconds)
}

fn config(site: &Site<'_>, resumes: bool) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let chain = rustls::pki_types::CertificateDer::from_pem_file(certificate::chain(site.certificates))?;
    roots.add(chain).context("trust the certificate")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

fn exchange(site: &Site<'_>, config: &Arc<ClientConfig>, path: &str) -> Result<HandshakeKind> {
    let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from(NAME)?)?;
    let mut stream = StreamOwned::new(connection, connect(site)?);
    ask(&mut stream, path, "close")?;
    stream.conn.handshake_kind().context("an answer before the handshake")
}
