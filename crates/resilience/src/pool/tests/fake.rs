//! A manager whose every answer a test decides, and which counts what is really open.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Manage, PoolConfig};

pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn config(min_idle: u32, max: u32) -> PoolConfig {
    PoolConfig { min_idle, max: NonZeroU32::new(max).expect("not zero"), ..PoolConfig::default() }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Fake(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) connect_takes: Duration,
    pub(super) check_takes: Duration,
    pub(super) connect: Answer,
    pub(super) check: Answer,
    pub(super) is_broken: Answer,
    pub(super) drop: Answer,
    pub(super) connects: u32,
    pub(super) checks: u32,
    /// Open or being connected, now and at most.
    pub(super) open: usize,
    pub(super) peak: usize,
    /// When each connect began and each resource ended, with how many were open after it.
    pub(super) began: Vec<Instant>,
    pub(super) ended: Vec<(Instant, usize)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Answer {
    #[default]
    Good,
    Bad,
    Panic,
}

impl Answer {
    fn give(self) -> Result<(), Refused> {
        match self {
            Self::Good => Ok(()),
            Self::Bad => Err(Refused),
            Self::Panic => panic!("as the test wants it"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

/// A resource, open from the beginning of its connect until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: u32,
    pub(super) broken: bool,
    fake: Fake,
}

impl Fake {
    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Manage for Fake {
    type Resource = Connection;
    type Error = Refused;

    async fn connect(&self) -> Result<Connection, Refused> {
        let connection = {
            let mut plan = self.plan();
            plan.connects += 1;
            plan.open += 1;
            plan.peak = plan.peak.max(plan.open);
            plan.began.push(Instant::now());
            Connection { number: plan.connects, broken: false, fake: self.clone() }
        };
        let takes = self.plan().connect_takes;
        tokio::time::sleep(takes).await;
        let answer = self.plan().connect;
        answer.give()?;
        Ok(connection)
    }

    async fn check(&self, _: &mut Connection) -> Result<(), Refused> {
        self.plan().checks += 1;
        let takes = self.plan().check_takes;
        tokio::time::sleep(takes).await;
        let answer = self.plan().check;
        answer.give()
    }

    fn is_broken(&self, connection: &Connection) -> bool {
        let answer = self.plan().is_broken;
        connection.broken || answer.give().is_err()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut plan = self.fake.plan();
        plan.open -= 1;
        let open = plan.open;
        plan.ended.push((Instant::now(), open));
        let answer = plan.drop;
        drop(plan);
        if answer == Answer::Panic && !std::thread::panicking() {
            panic!("as the test wants it");
        }
    }
}

/// Polls `future` up to `polls` times, with `step` of time or a turn of the others between, and drops it.
pub(super) async fn cancel_after<F: Future>(future: F, polls: usize, step: Duration) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(output);
        }
        if step.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(step).await;
        }
    }
    None
}
