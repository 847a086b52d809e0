use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io};

use intertie_core::clock::Timestamp;
use intertie_core::quantity::format_duration;
use intertie_gateway::plan::Plan;
use intertie_resilience::simulate::in_virtual_time;
use tokio::task::{JoinError, JoinSet};

use super::call::Call;
use super::tally::{Outcome, Tally};

/// One of the two files, replayed on a thread of its own. Both draw the same chance, so that two files that
/// say the same end alike.
pub(super) struct Side {
    queue: SyncSender<Vec<Arrival>>,
    batch: Vec<Arrival>,
    running: JoinHandle<Result<Vec<Tally>, ReplayError>>,
}

/// A call that a route takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Counted from the beginning of the replay.
    pub(super) at: Duration,
    /// The route's position in its plan.
    pub(super) route: usize,
    pub(super) call: Call,
}

/// Why a replay did not come to its end.
#[derive(Debug)]
pub(super) enum ReplayError {
    /// More requests at the same time than are remembered.
    TooManyAtOnce,
    /// The log spans more than [`SPAN_MAX`].
    TooLong { from: Timestamp, to: Timestamp },
    /// The operating system gave it no thread.
    Thread(io::Error),
}

/// Calls that are handed over together.
const BATCH: usize = 256;

/// Batches that wait: the reading never runs far ahead.
const QUEUE: usize = 16;

/// Calls at the same time: some 250 MB for each file.
const UNDERWAY_MAX: usize = 200_000;

/// A log that spans more was put together from others, or one of its clocks is wrong.
pub(super) const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

const SEED: u64 = 0;

impl Side {
    /// Begins to replay what will be offered.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(plan: Arc<Plan>) -> Result<Self, ReplayError> {
        let (queue, offered) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("replay".to_owned());
        let running = thread.spawn(move || {
            in_virtual_time(SEED, || replay(plan, offered, UNDERWAY_MAX))
                .unwrap_or_else(|error| Err(ReplayError::Thread(error)))
        });
        Ok(Self { queue, batch: Vec::new(), running: running.map_err(ReplayError::Thread)? })
    }

    /// Offers a call. False when the replay came to an early end.
    pub(super) fn offer(&mut self, arrival: Arrival) -> bool {
        self.batch.push(arrival);
        self.batch.len() < BATCH || self.queue.send(std::mem::take(&mut self.batch)).is_ok()
    }

    /// What became of all calls, by the position of their route.
    ///
    /// # Errors
    /// Why the replay came to an early end.
    pub(super) fn finish(self) -> Result<Vec<Tally>, ReplayError> {
        let Self { queue, batch, running } = self;
        // One that has ended says why when it is joined.
        let _ = queue.send(batch);
        drop(queue);
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

async fn replay(
    plan: Arc<Plan>,
    offered: Receiver<Vec<Arrival>>,
    underway_max: usize,
) -> Result<Vec<Tally>, ReplayError> {
    let start = tokio::time::Instant::now();
    let mut tallies = vec![Tally::default(); plan.routes.len()];
    let mut underway = JoinSet::new();
    // Time stands still while the thread waits for more.
    for arrival in offered.iter().flatten() {
        tokio::time::sleep_until(start + arrival.at).await;
        let route = Arc::clone(&plan.routes[arrival.route]);
        underway.spawn(async move {
            let mut attempts = 0;
            let outcome = arrival.call.run(&route, &mut attempts).await;
            (arrival.route, outcome, attempts)
        });
        while let Some(ended) = underway.try_join_next() {
            count(&mut tallies, ended);
        }
        if underway.len() > underway_max {
            return Err(ReplayError::TooManyAtOnce);
        }
    }
    while let Some(ended) = underway.join_next().await {
        count(&mut tallies, ended);
    }
    Ok(tallies)
}

fn count(tallies: &mut [Tally], ended: Result<(usize, Outcome, u32), JoinError>) {
    let (route, outcome, attempts) =
        ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    tallies[route].add(outcome, attempts);
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyAtOnce => {
                write!(f, "more than {UNDERWAY_MAX} requests of the log are under way at the same time")
            }
            Self::TooLong { from, to } => {
                let most = format_duration(SPAN_MAX);
                write!(f, "the log spans more than {most}, from {from} to {to}")
            }
            Self::Thread(error) => write!(f, "there is no thread for the replay: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::behaviour::Behaviour;
    use super::super::gate::Gate;
    use super::*;

    #[test]
    fn no_more_calls_are_under_way_than_are_remembered() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text =
            "[service.shop]\nendpoints = [{ at = \"127.0.0.1:7001\" }]\n[route.\"/**\"]\nto = \"shop\"\n";
        std::fs::write(file.path(), text).expect("written");
        let plan = Gate::read(file.path()).expect("a good file").plan;
        let behaviour = Behaviour::well(Duration::from_secs(1));
        let call = Call { client: None, idempotent: true, endpoint: None, behaviour };
        // Three begin within each second, and the fourth when the first has ended.
        let at = |number: u32| Duration::from_millis(340) * number;
        let arrivals: Vec<_> = (0..30).map(|number| Arrival { at: at(number), route: 0, call }).collect();
        let replayed = |underway_max| {
            let (queue, offered) = sync_channel(1);
            queue.send(arrivals.clone()).expect("there is room");
            drop(queue);
            in_virtual_time(SEED, || replay(Arc::clone(&plan), offered, underway_max)).expect("a thread")
        };
        assert!(matches!(replayed(2), Err(ReplayError::TooManyAtOnce)));
        let tallies = replayed(3).expect("three are allowed");
        assert_eq!((tallies[0].count(|outcome| outcome == Outcome::Answered), tallies[0].attempts), (30, 30));
    }
}
