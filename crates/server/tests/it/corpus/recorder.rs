//! A service that reads what it gets by the letter, and remembers all of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What one request looked like on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug, Default)]
struct Log {
    complete: Vec<Recorded>,
    /// What is no HTTP, or more than one reading of it.
    doubtful: Vec<String>,
}

/// The service.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Log>>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let log = Arc::<Mutex<Log>>::default();
        let shared = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(record(stream, Arc::clone(&shared)));
            }
        });
        Self { address, log }
    }

    /// The complete requests since it was last asked, and all that was in doubt.
    pub(crate) fn take(&self) -> (Vec<Recorded>, Vec<String>) {
        let log = std::mem::take(&mut *self.log.lock().expect("unpoisoned"));
        (log.complete, log.doubtful)
    }
}

async fn record(mut stream: TcpStream, log: Arc<Mutex<Log>>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match complete(&bytes) {
            Ok(Some((request, length))) => {
                bytes.drain(..length);
                log.lock().expect("unpoisoned").complete.push(request);
                if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                    return;
                }
                continue;
            }
            Ok(None) => {}
            Err(why) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return log.lock().expect("unpoisoned").doubtful.push(format!("{why}: {text:?}"));
            }
        }
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
}

/// The first request in `bytes` and its length, if it is all there.
fn complete(bytes: &[u8]) -> Result<Option<(Recorded, usize)>, &'static str> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).unwrap_or("x: beyond ASCII");
    if head.replace("\r\n", "").contains(['\r', '\n', '\0']) {
        return Err("a bare end of a line");
    }
    let mut lines = head.split("\r\n");
    let first: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let [_, _, version] = first.as_slice() else { return Err("a first line") };
    let (mut lengths, mut codings) = (Vec::new(), Vec::new());
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or("a field")?;
        if name.contains([' ', '\t']) || name.is_empty() {
            return Err("a name");
        }
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "content-length" => lengths.push(value),
            "transfer-encoding" => codings.push(value.to_ascii_lowercase()),
            _ => {}
        }
    }
    let start = end + 4;
    let (body, length) = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => (Vec::new(), start),
        ([length], []) => {
            let length: usize = length.parse().map_err(|_| "a length")?;
            let Some(body) = bytes[start..].get(..length) else { return Ok(None) };
            (body.to_vec(), start + length)
        }
        ([], [_]) if *version == "HTTP/1.0" => return Err("a transfer coding in HTTP/1.0"),
        ([], [coding]) if coding == "chunked" => match chunks(&bytes[start..])? {
            Some((body, length)) => (body, start + length),
            None => return Ok(None),
        },
        _ => return Err("more than one framing"),
    };
    Ok(Some((Recorded { head: head.to_owned(), body }, length)))
}

pub(super) fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[at..at + line]).map_err(|_| "a chunk size")?;
        let size = usize::from_str_radix(size, 16).map_err(|_| "a chunk size")?;
        at += line + 2;
        if size == 0 {
            // Trailers, or at once the empty line.
            let rest = &bytes[at..];
            if rest.starts_with(b"\r\n") {
                return Ok(Some((body, at + 2)));
            }
            return Ok(find(rest, b"\r\n\r\n").map(|end| (body, at + end + 4)));
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("the end of a chunk");
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A recorder that finds nothing in doubt proves nothing.
#[test]
fn the_recorder_sees_what_is_in_doubt() {
    for doubtful in [
        "GET / HTTP/1.1\r\nx: a\nb\r\n\r\n",
        "GET / HTTP/1.1\r\nx: a\rb\r\n\r\n",
        "GET / HTTP/1.1 x\r\n\r\n",
        "GET / HTTP/1.1\r\nx\r\n\r\n",
        "GET / HTTP/1.1\r\nx : y\r\n\r\n",
        "GET / HTTP/1.1\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\ntransfer-encoding: x, chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        "GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\ncontent_length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        assert!(complete(doubtful.as_bytes()).is_err(), "{doubtful:?}");
    }
    let good = "POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nab\r\n0\r\nx: y\r\n\r\n";
    let (recorded, length) = complete(good.as_bytes()).expect("good").expect("complete");
    assert_eq!((recorded.body.as_slice(), length), (&b"ab"[..], good.len()));
    assert_eq!(complete(&good.as_bytes()[..good.len() - 1]), Ok(None));
}
