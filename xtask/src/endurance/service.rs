//! A service that can do a known amount of work at once, fail by chance, and go away and come back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::random::Random;

/// What an answer takes.
pub(super) const WORK: Duration = Duration::from_millis(40);

/// Answers in a second of a service that works on `places` at the same time.
pub(super) fn capacity(places: u64) -> u64 {
    places * 1000 / WORK.as_millis() as u64
}

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    free: Mutex<u64>,
    freed: Condvar,
    /// While it is away, connections are closed as they come.
    is_away: AtomicBool,
    /// One connection in so many does wrong; none when it is zero.
    faulty: u64,
    connections: AtomicU64,
    random: Random,
}

impl Service {
    /// Starts it; it works on `places` answers at the same time, and more wait. One answer in `faulty` goes wrong,
    /// none when that is zero.
    pub(super) fn start(places: u64, faulty: u64, random: Random) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for the service")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            free: Mutex::new(places),
            freed: Condvar::new(),
            is_away: AtomicBool::new(false),
            faulty,
            connections: AtomicU64::new(0),
            random,
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        Ok(Self { address, shared })
    }

    /// Goes away, or comes back.
    pub(super) fn set_away(&self, is_away: bool) {
        self.shared.is_away.store(is_away, Ordering::Relaxed);
    }
}

impl Shared {
    /// Any error ends the connection: its other side sees it too.
    fn serve(&self, mut stream: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let mut random = self.random.fork(number);
        let _ = stream.set_nodelay(true);
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..read]);
            if !bytes.ends_with(b"\r\n\r\n") {
                continue;
            }
            bytes.clear();
            if self.is_away.load(Ordering::Relaxed) {
                return;
            }
            self.work();
            let good = self.faulty == 0 || random.below(self.faulty) > 0;
            if !(if good { stream.write_all(GOOD).is_ok() } else { fail(&mut stream, &mut random) }) {
                return;
            }
        }
    }

    fn work(&self) {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        drop(free);
        std::thread::sleep(WORK);
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
    }
}

/// One of the faults; whether the connection goes on.
fn fail(stream: &mut TcpStream, random: &mut Random) -> bool {
    match random.below(7) {
        0 => stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").is_ok(),
        1 => stream.write_all(b"HTTP/1.1 503 Later\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n").is_ok(),
        2 => {
            let _ = stream.write_all(b"\0garbage\r\n\r\n");
            false
        }
        // An answer that breaks off.
        3 => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nbroken");
            false
        }
        // Chunks that stop, and a connection that stays.
        4 => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nstop\r\n");
            let _ = stream.read(&mut [0; 16]);
            false
        }
        // Never an answer.
        5 => {
            let _ = stream.read(&mut [0; 16]);
            false
        }
        _ => false,
    }
}
