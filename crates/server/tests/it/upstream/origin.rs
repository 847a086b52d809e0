//! A service that speaks HTTP/2, or HTTP/1.1, with TLS or without.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::{AnyBody, free_port, services};
use crate::tls::Authority;

/// The head of a request as the service got it.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

/// What the service did so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) connections: AtomicUsize,
    pub(super) open: AtomicUsize,
    pub(super) heads: std::sync::Mutex<Vec<Head>>,
}

impl Seen {
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(super) fn heads(&self) -> Vec<Head> {
        self.heads.lock().expect("unpoisoned").clone()
    }
}

/// How the service is spoken to.
#[derive(Clone, Default)]
pub(super) struct Terms {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) http2: bool,
    /// The streams that it allows on a connection.
    pub(super) streams_max: Option<u32>,
}

impl Terms {
    pub(super) fn http2() -> Self {
        Self { http2: true, ..Self::default() }
    }

    /// With the certificate that [`Authority::issue`] wrote to `file`, offering `protocols` by ALPN.
    pub(super) fn tls(folder: &Path, file: &str, protocols: &[&str]) -> Self {
        Self { tls: Some(server_config(folder, file, protocols, None)), ..Self::default() }
    }

    /// The same, wanting a certificate that `authority` signed.
    pub(super) fn mutual(folder: &Path, file: &str, authority: &Authority) -> Self {
        Self { tls: Some(server_config(folder, file, &["http/1.1"], Some(authority))), ..Self::default() }
    }
}

fn server_config(
    folder: &Path,
    file: &str,
    protocols: &[&str],
    clients: Option<&Authority>,
) -> Arc<ServerConfig> {
    let chain = CertificateDer::from_pem_file(folder.join(format!("{file}.crt"))).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{file}.key"))).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.root.clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let mut config = builder.with_single_cert(vec![chain], key).expect("they fit");
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A running service.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl Origin {
    /// Answers with what `handler` makes of each request.
    pub(super) async fn start<F, Fut>(terms: Terms, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let (listener, address) = free_port();
        let seen = Arc::<Seen>::default();
        let log = Arc::clone(&seen);
        let task = services().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                stream.set_nodelay(true).expect("a TCP socket");
                let (terms, handler, log) = (terms.clone(), handler.clone(), Arc::clone(&log));
                connections.spawn(async move {
                    log.connections.fetch_add(1, Ordering::SeqCst);
                    log.open.fetch_add(1, Ordering::SeqCst);
                    accept(stream, &terms, handler, &log).await;
                    log.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen, task }
    }

    /// Answers each request with 200 and the version that it came in.
    pub(super) async fn telling(terms: Terms) -> Self {
        Self::start(terms, |request| async move {
            Response::new(crate::harness::full(format!("{:?}", request.version())))
        })
        .await
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<F, Fut>(stream: TcpStream, terms: &Terms, handler: F, seen: &Arc<Seen>)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let Some(tls) = &terms.tls else {
        return serve(stream, terms.http2, terms, handler, seen).await;
    };
    let Ok(stream) = TlsAcceptor::from(Arc::clone(tls)).accept(stream).await else { return };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    serve(stream, http2, terms, handler, seen).await;
}

async fn serve<S, F, Fut>(stream: S, http2: bool, terms: &Terms, handler: F, seen: &Arc<Seen>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let head = Head {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
        };
        seen.heads.lock().expect("unpoisoned").push(head);
        let answer = handler(request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let io = TokioIo::new(stream);
    if http2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(terms.streams_max);
        let _ = builder.serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}
