//! Clients that ask at a given rate, whether they are answered or not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Requests that can be under way.
const CLIENTS: u64 = 200;

/// The longest that a client waits for the next part of an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// An answer that comes later than this is of no use.
pub(super) const USEFUL: Duration = Duration::from_millis(250);

/// What clients ask for.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) to: SocketAddr,
    /// Requests in a second.
    pub(super) rate: u64,
    pub(super) lasts: Duration,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Whole answers of the service in time.
    pub(super) good: AtomicU64,
    /// The same, too late to be useful.
    pub(super) late: AtomicU64,
    /// Answers of 400 and above.
    pub(super) refused: AtomicU64,
    /// Answers that did not come, or not whole.
    pub(super) broken: AtomicU64,
}

impl Figures {
    /// All requests.
    pub(super) fn sent(&self) -> u64 {
        [&self.good, &self.late, &self.refused, &self.broken].map(get).iter().sum()
    }
}

pub(super) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Load {
    /// Asks until the time is up or `stop` says so, adding to `figures`.
    pub(super) fn run(&self, figures: &Figures, stop: &AtomicBool) {
        let (started, next) = (Instant::now(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let next = &next;
                scope.spawn(move || {
                    let mut connection = None;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let at = Duration::from_nanos(number * (1_000_000_000 / self.rate));
                        if at >= self.lasts || stop.load(Ordering::Relaxed) {
                            return;
                        }
                        std::thread::sleep(at.saturating_sub(started.elapsed()));
                        let outcome = self.ask(&mut connection);
                        let took = started.elapsed().saturating_sub(at);
                        let counter = match outcome {
                            Some(200) if took <= USEFUL => &figures.good,
                            Some(200) => &figures.late,
                            Some(_) => &figures.refused,
                            None => &figures.broken,
                        };
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    }

    /// The status of a whole answer. A connection that can carry another request is kept.
    fn ask(&self, kept: &mut Option<TcpStream>) -> Option<u16> {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.to).ok()?,
        };
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"GET /work HTTP/1.1\r\nhost: a\r\n\r\n").ok()?;
        let (mut bytes, mut buffer) = (Vec::new(), [0; 2048]);
        loop {
            let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
            bytes.extend_from_slice(&buffer[..read]);
            if let Some(status) = whole(&bytes) {
                if !String::from_utf8_lossy(&bytes).to_ascii_lowercase().contains("connection: close") {
                    *kept = Some(stream);
                }
                return Some(status);
            }
        }
    }
}

/// The status of an answer that is all there.
fn whole(bytes: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length: usize = match head.split_once("content-length: ") {
        Some((_, rest)) => rest.lines().next()?.parse().ok()?,
        None if body.ends_with("0\r\n\r\n") => 0,
        None => return None,
    };
    (body.len() >= length).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
        assert_eq!(whole(answer), Some(200));
        assert_eq!(whole(&answer[..answer.len() - 1]), None);
        let chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n";
        assert_eq!(whole(chunks), Some(200));
        assert_eq!(whole(&chunks[..chunks.len() - 4]), None);
    }
}
