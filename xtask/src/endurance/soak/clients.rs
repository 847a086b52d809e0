//! Clients of all kinds, who come at a given rate whether they are answered or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::random::Random;
use super::connections::Connections;
use super::exchange::{Answer, ask};
use super::figures::{Figures, Outcome};
use super::mix::{self, Kind, MIX};

/// One client in so many leaves at some instant before its end, and one in so many is slow.
const LEAVING: u64 = 50;
const SLOW: u64 = 20;

/// The longest that a client waits for its end; longer than any deadline of the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// All clients of a soak.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) connections: Connections,
    /// Requests in a second.
    pub(super) rate: u64,
    pub(super) lasts: Duration,
    pub(super) random: Random,
}

impl Clients {
    /// Asks until the time is up or `stop` says so, adding to `figures`; then all connections are closed.
    pub(super) fn run(self, figures: &Arc<Figures>, stop: &AtomicBool) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(self.come(figures, stop));
        Ok(())
    }

    async fn come(mut self, figures: &Arc<Figures>, stop: &AtomicBool) {
        let connections = Arc::new(self.connections);
        let started = Instant::now();
        let mut present = JoinSet::new();
        for number in 0.. {
            let at = Duration::from_nanos(number * (1_000_000_000 / self.rate));
            if at >= self.lasts || stop.load(Ordering::Relaxed) {
                break;
            }
            sleep_until(started + at).await;
            let place = mix::next(&mut self.random);
            let kind = &MIX[place];
            let slow = self.random.below(SLOW) == 0;
            let leaves = (self.random.below(LEAVING) == 0)
                .then(|| Duration::from_micros(self.random.below(kind.task.takes().as_micros() as u64)));
            let (connections, figures) = (Arc::clone(&connections), Arc::clone(figures));
            present.spawn(async move {
                let outcome = outcome(&connections, kind, slow, leaves).await;
                figures.add(place, outcome);
            });
            while let Some(done) = present.try_join_next() {
                done.expect("no client panics");
            }
        }
        while let Some(done) = present.join_next().await {
            done.expect("no client panics");
        }
    }
}

async fn outcome(connections: &Connections, kind: &Kind, slow: bool, leaves: Option<Duration>) -> Outcome {
    match timeout(leaves.unwrap_or(PATIENCE), ask(connections, kind, slow)).await {
        Ok(Ok(Answer::Whole)) if slow => Outcome::Slow,
        Ok(Ok(Answer::Whole)) => Outcome::Good,
        Ok(Ok(Answer::Refusal)) => Outcome::Refused,
        Err(_) if leaves.is_some() => Outcome::Left,
        Ok(Err(_)) | Err(_) => Outcome::Broken,
    }
}
