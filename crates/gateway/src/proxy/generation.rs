//! The data threads that run together, and how they are told to go.

use std::io;
use std::net::TcpListener;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::gateway::{Birth, DataThread};
use super::listener::Kind;

/// Data threads that were born together. Dropping them cuts what they still serve.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    open: watch::Sender<bool>,
    leave: watch::Sender<bool>,
    drain: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Generation {
    /// Starts one thread for each of `shares`; they wait to be opened.
    pub(super) fn start(
        number: u64,
        birth: &Birth,
        shares: Vec<Vec<(TcpListener, Kind)>>,
    ) -> io::Result<Self> {
        let (open, opened) = watch::channel(false);
        let (leave, leaving) = watch::channel(false);
        let (drain, draining) = watch::channel(false);
        let mut threads = Vec::with_capacity(shares.len());
        for (position, listeners) in shares.into_iter().enumerate() {
            let thread = DataThread {
                number: (position, number),
                listeners,
                opened: opened.clone(),
                leaving: leaving.clone(),
                draining: draining.clone(),
                birth: birth.clone(),
            };
            let builder = std::thread::Builder::new().name(format!("data-{position}"));
            threads.push(builder.spawn(move || thread.run())?);
        }
        Ok(Self { number, open, leave, drain, threads })
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Begins accepting.
    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Ends accepting, and asks each connection to go with its next answer: a client that is about to use an
    /// idle connection once more can still do so.
    pub(super) fn leave(&self) {
        self.leave.send_replace(true);
    }

    /// The same, and ends idle connections at once.
    pub(super) fn drain(&self) {
        self.drain.send_replace(true);
        self.leave();
    }

    /// Threads that still serve.
    pub(super) fn serving(&self) -> usize {
        self.threads.iter().filter(|thread| !thread.is_finished()).count()
    }
}
