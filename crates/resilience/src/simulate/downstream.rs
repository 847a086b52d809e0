use std::collections::HashMap;
use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use intertie_core::clock::Instant;
use tokio::sync::{Notify, oneshot};

use super::config::SimulationConfig;
use super::outcome::Failure;
use super::state::{Answer, Dependency};
use crate::MonotonicClock;

/// The dependency behind its lock, with those who wait for its answers.
#[derive(Debug)]
pub(super) struct Downstream {
    began: Instant,
    shared: Mutex<Shared>,
    /// Somebody came or went: what is due next may be another time.
    changed: Notify,
}

#[derive(Debug)]
struct Shared {
    dependency: Dependency,
    callers: HashMap<usize, oneshot::Sender<Result<(), Failure>>>,
    /// When each attempt arrived, in order; its position is the attempt's number.
    arrivals: Vec<Duration>,
}

impl Downstream {
    /// A dependency whose script begins now.
    pub(super) fn new(config: &SimulationConfig, random: Rng) -> Self {
        let dependency = Dependency::new(config, random);
        let shared = Shared { dependency, callers: HashMap::new(), arrivals: Vec::new() };
        Self { began: MonotonicClock::now(), shared: Mutex::new(shared), changed: Notify::new() }
    }

    /// The time since the beginning.
    pub(super) fn now(&self) -> Duration {
        MonotonicClock::now().saturating_since(self.began)
    }

    /// One attempt. Dropped, its caller has gone: the dependency may go on nevertheless.
    pub(super) async fn call(&self) -> Result<(), Failure> {
        let now = self.now();
        let (number, answer) = {
            let mut shared = self.lock();
            // What is due at this very moment comes first, or a server that is just free would look taken.
            shared.advance(now);
            let number = shared.arrivals.len();
            shared.arrivals.push(now);
            shared.dependency.arrive(now, number)?;
            let (caller, answer) = oneshot::channel();
            shared.callers.insert(number, caller);
            (number, answer)
        };
        self.changed.notify_one();
        let _waiting = Waiting { downstream: self, number };
        answer.await.expect("each call that was taken is answered, and its caller is here")
    }

    /// Lets the dependency work, for as long as it is polled.
    pub(super) async fn work(&self) {
        loop {
            let now = self.now();
            let next = {
                let mut shared = self.lock();
                shared.advance(now);
                shared.dependency.next(now)
            };
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(MonotonicClock::to_tokio(self.began + next)).await,
                    None => pending().await,
                }
            };
            first(due, self.changed.notified()).await;
        }
    }

    /// When each attempt arrived.
    pub(super) fn arrivals(&self) -> Vec<Duration> {
        std::mem::take(&mut self.lock().arrivals)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn advance(&mut self, now: Duration) {
        for (number, answer) in self.dependency.advance(now) {
            self.tell((number, answer));
        }
    }

    fn tell(&mut self, (number, answer): Answer) {
        if let Some(caller) = self.callers.remove(&number) {
            // A caller that has just gone hears nothing, as in life.
            let _ = caller.send(answer);
        }
    }
}

/// A caller that waits for its answer, or did until it was dropped.
struct Waiting<'a> {
    downstream: &'a Downstream,
    number: usize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = self.downstream.now();
        let mut shared = self.downstream.lock();
        if shared.callers.remove(&self.number).is_some() {
            shared.dependency.leave(now, self.number);
            self.downstream.changed.notify_one();
        }
    }
}

/// Until either is done. Both are asked in this order each time, so that runs are alike.
async fn first(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    std::future::poll_fn(|context| {
        if one.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(());
        }
        other.as_mut().poll(context)
    })
    .await;
}
