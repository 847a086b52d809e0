use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use intertie_core::clock::Instant;
use tokio::sync::watch;

/// Whether a limiter turns callers away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nobody was rejected of late.
    Admitting,
    /// Somebody was rejected.
    Rejecting {
        /// When the first of the rejected may succeed.
        until: Instant,
    },
}

/// Tells subscribers of the edges between admitting and rejecting, and costs one load when there are none.
#[derive(Debug)]
pub(super) struct StatusBoard {
    sender: watch::Sender<Status>,
    /// When all that were rejected may succeed, in nanoseconds; zero while admitting. It changes only under
    /// the lock of `sender`, and is read without it.
    rejecting_until: AtomicU64,
    /// Held while somebody subscribes: who found nobody listening must not take from another what that one was
    /// told since.
    subscribing: Mutex<()>,
}

impl Default for StatusBoard {
    fn default() -> Self {
        Self {
            sender: watch::Sender::new(Status::Admitting),
            rejecting_until: AtomicU64::new(0),
            subscribing: Mutex::default(),
        }
    }
}

impl StatusBoard {
    pub(super) fn subscribe(&self) -> watch::Receiver<Status> {
        let _subscribing = self.subscribing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.sender.receiver_count() == 0 {
            self.forget();
        }
        self.sender.subscribe()
    }

    /// Somebody was let through.
    #[inline]
    pub(super) fn admitted(&self, now: Instant) {
        if self.sender.receiver_count() > 0 {
            self.tell_admitted(now);
        }
    }

    /// Somebody was rejected who may succeed after `wait`.
    pub(super) fn rejected(&self, now: Instant, wait: Duration) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        let until = now + wait;
        self.sender.send_if_modified(|status| {
            self.rejecting_until.fetch_max(until.as_nanos(), Ordering::Relaxed);
            let is_edge = *status == Status::Admitting;
            if is_edge {
                *status = Status::Rejecting { until };
            }
            is_edge
        });
    }

    /// While nobody listened nothing was kept, so what is left is of no use to who listens next.
    fn forget(&self) {
        self.sender.send_if_modified(|status| {
            self.rejecting_until.store(0, Ordering::Relaxed);
            *status = Status::Admitting;
            false
        });
    }

    #[cold]
    fn tell_admitted(&self, now: Instant) {
        if self.rejecting_until.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.sender.send_if_modified(|status| {
            let is_edge = *status != Status::Admitting
                && now.as_nanos() >= self.rejecting_until.load(Ordering::Relaxed);
            if is_edge {
                self.rejecting_until.store(0, Ordering::Relaxed);
                *status = Status::Admitting;
            }
            is_edge
        });
    }
}
