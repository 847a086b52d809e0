use std::sync::atomic::{AtomicU64, Ordering};

use intertie_core::clock::Instant;
use tokio::sync::watch;

use super::limit::Decision;

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
}

impl Default for StatusBoard {
    fn default() -> Self {
        Self { sender: watch::Sender::new(Status::Admitting), rejecting_until: AtomicU64::new(0) }
    }
}

impl StatusBoard {
    pub(super) fn subscribe(&self) -> watch::Receiver<Status> {
        self.sender.subscribe()
    }

    /// Takes note of a decision.
    #[inline]
    pub(super) fn note(&self, decision: &Decision, now: Instant) {
        if self.sender.receiver_count() > 0 {
            self.tell(decision, now);
        }
    }

    #[cold]
    fn tell(&self, decision: &Decision, now: Instant) {
        match decision {
            Decision::Rejected { retry_after: Some(wait) } => {
                let until = now + *wait;
                self.sender.send_if_modified(|status| {
                    self.rejecting_until.fetch_max(until.as_nanos(), Ordering::Relaxed);
                    let is_edge = *status == Status::Admitting;
                    if is_edge {
                        *status = Status::Rejecting { until };
                    }
                    is_edge
                });
            }
            // A call that can never fit says nothing about the load.
            Decision::Rejected { retry_after: None } => {}
            Decision::Admitted { .. } if self.rejecting_until.load(Ordering::Relaxed) == 0 => {}
            Decision::Admitted { .. } => {
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
    }
}
