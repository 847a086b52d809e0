//! The data threads that run together, and how they are told to go.

use std::io;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::data_thread::{Birth, DataThread};
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
    /// Starts one thread for each of `shares`. All of them have what they need to accept, and wait to be opened.
    ///
    /// # Errors
    /// One of them can not be had, or can not work; none is left.
    pub(super) fn start(
        number: u64,
        birth: &Birth,
        shares: Vec<Vec<(TcpListener, Kind)>>,
    ) -> io::Result<Self> {
        let (open, opened) = watch::channel(false);
        let (leave, leaving) = watch::channel(false);
        let (drain, draining) = watch::channel(false);
        let mut generation = Self { number, open, leave, drain, threads: Vec::with_capacity(shares.len()) };
        let (ready, said) = mpsc::channel();
        let mut spawned = Ok(());
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
            let ready = ready.clone();
            match builder.spawn(move || thread.run(ready)) {
                Ok(thread) => generation.threads.push(thread),
                Err(error) => {
                    spawned = Err(error);
                    break;
                }
            }
        }
        // What is left are the threads' own, each of which goes with its word or with its thread.
        drop(ready);
        let gone = || io::Error::other("a data thread ended before it could accept");
        let mut words = (0..generation.threads()).map(|_| said.recv().unwrap_or_else(|_| Err(gone())));
        match spawned.and_then(|()| words.try_for_each(|word| word)) {
            Ok(()) => Ok(generation),
            Err(error) => {
                generation.end_unopened();
                Err(error)
            }
        }
    }

    /// Ends threads that were never opened, and waits until they have let go of their sockets.
    pub(super) fn end_unopened(self) {
        let Self { number: _, open, leave, drain, threads } = self;
        drop((open, leave, drain));
        for thread in threads {
            // One that panicked is as gone as the others.
            let _ = thread.join();
        }
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
