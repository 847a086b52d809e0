use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::rejection::{Policy, Rejection};

use super::config::BulkheadConfig;
use super::state::{Arrival, State, Ticket};

/// A shared bulkhead. Clones are handles on the same places.
///
/// # Example
/// ```
/// # use std::num::NonZeroU32;
/// use intertie_resilience::{Bulkhead, BulkheadConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let bulkhead = Bulkhead::new(BulkheadConfig::new(NonZeroU32::MIN))?;
/// let permit = bulkhead.acquire(None).await.expect("the only place is free");
/// assert!(bulkhead.acquire(None).await.is_err(), "taken, and there is no queue");
/// drop(permit);
/// assert!(bulkhead.acquire(None).await.is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bulkhead {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: BulkheadConfig,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Who waits, to be woken: an entry without a waker was granted its place and has not noticed yet.
    wakers: HashMap<u64, Option<Waker>>,
    admitted: u64,
    rejected: u64,
    timed_out: u64,
}

/// What a bulkhead did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Calls that hold a place now.
    pub running: u32,
    /// Calls that wait now.
    pub waiting: usize,
    /// Calls let through.
    pub admitted: u64,
    /// Calls rejected because the queue was full.
    pub rejected: u64,
    /// Calls that waited in vain.
    pub timed_out: u64,
}

impl Bulkhead {
    /// A bulkhead with all places free.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new(config: BulkheadConfig) -> Result<Self, Invalid> {
        config.validate()?;
        let inner = Mutex::new(Inner {
            state: State::new(config.concurrent.get(), config.queue),
            wakers: HashMap::new(),
            admitted: 0,
            rejected: 0,
            timed_out: 0,
        });
        Ok(Self { shared: Arc::new(Shared { config, inner }) })
    }

    /// The options in force.
    pub fn config(&self) -> &BulkheadConfig {
        &self.shared.config
    }

    /// Takes a place, waiting for it as long as `wait` and `remaining`, what the caller's deadline leaves,
    /// both allow.
    ///
    /// Dropping the future gives the place in the queue, or a place granted meanwhile, to the next.
    ///
    /// # Errors
    /// A [`Rejection`] at once when the queue is full, or after the wait.
    pub async fn acquire(&self, remaining: Option<Duration>) -> Result<Permit, Rejection> {
        let ticket = {
            let mut inner = self.shared.lock();
            match inner.state.arrive() {
                Arrival::Running => {
                    inner.admitted += 1;
                    drop(inner);
                    return Ok(Permit { shared: Arc::clone(&self.shared) });
                }
                Arrival::Rejected => {
                    inner.rejected += 1;
                    return Err(self.rejection(if self.shared.config.queue == 0 {
                        "concurrent"
                    } else {
                        "queue"
                    }));
                }
                Arrival::Waiting(ticket) => ticket,
            }
        };
        let granted = Granted { shared: Some(&self.shared), ticket };
        let limit = self.shared.config.wait.min(remaining.unwrap_or(Duration::MAX));
        if let Ok(permit) = tokio::time::timeout(limit, granted).await {
            return Ok(permit);
        }
        self.shared.lock().timed_out += 1;
        Err(self.rejection("wait"))
    }

    /// What the bulkhead did so far.
    pub fn stats(&self) -> Stats {
        let inner = self.shared.lock();
        Stats {
            running: inner.state.running(),
            waiting: inner.state.waiting(),
            admitted: inner.admitted,
            rejected: inner.rejected,
            timed_out: inner.timed_out,
        }
    }

    fn rejection(&self, bound: &'static str) -> Rejection {
        // Nobody knows when running calls end; the longest wait is the honest hint for when to look again.
        let wait = self.shared.config.wait;
        Rejection { by: Policy::Bulkhead, bound, retry_after: (!wait.is_zero()).then_some(wait) }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self) {
        let waker = {
            let mut inner = self.lock();
            let next = inner.state.leave();
            next.and_then(|ticket| inner.wakers.insert(ticket.number(), None).flatten())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A place among the running calls, free again when dropped.
#[derive(Debug)]
#[must_use = "dropping a permit frees its place"]
pub struct Permit {
    shared: Arc<Shared>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

/// Ready when the ticket's place is granted.
struct Granted<'a> {
    /// Taken when the place became a permit.
    shared: Option<&'a Arc<Shared>>,
    ticket: Ticket,
}

impl Future for Granted<'_> {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        let shared = self.shared.expect("not polled again after it was ready");
        let number = self.ticket.number();
        let mut inner = shared.lock();
        if let Some(None) = inner.wakers.get(&number) {
            inner.wakers.remove(&number);
            inner.admitted += 1;
            drop(inner);
            self.shared = None;
            return Poll::Ready(Permit { shared: Arc::clone(shared) });
        }
        inner.wakers.insert(number, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        let Some(shared) = self.shared else { return };
        let mut inner = shared.lock();
        inner.wakers.remove(&self.ticket.number());
        let granted_meanwhile = !inner.state.abandon(self.ticket);
        drop(inner);
        if granted_meanwhile {
            shared.leave();
        }
    }
}
