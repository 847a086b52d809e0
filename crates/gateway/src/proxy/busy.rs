//! How long data threads have worked, over all that came and went.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::RuntimeMetrics;

/// How long the data threads at each position have worked, in all generations.
#[derive(Debug, Clone, Default)]
pub(super) struct BusyTimes(Arc<Mutex<Vec<Position>>>);

/// The data threads at one position.
#[derive(Debug, Default)]
struct Position {
    /// By those that ended.
    ended: Duration,
    /// What the runtimes of the others measure. An ended one would keep its resources if it stayed here.
    running: Vec<(u64, RuntimeMetrics)>,
}

/// A data thread whose time is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Working {
    times: BusyTimes,
    position: usize,
    generation: u64,
}

impl BusyTimes {
    /// Counts the time of the thread at `position` in `generation`.
    pub(super) fn begin(&self, position: usize, generation: u64, metrics: RuntimeMetrics) -> Working {
        let mut positions = self.lock();
        if positions.len() <= position {
            positions.resize_with(position + 1, Position::default);
        }
        positions[position].running.push((generation, metrics));
        Working { times: self.clone(), position, generation }
    }

    /// The positions at which a thread runs, and how long those there have worked: it never becomes less.
    pub(super) fn times(&self) -> Vec<(usize, Duration)> {
        let positions = self.lock();
        let positions = positions.iter().enumerate().filter(|(_, position)| !position.running.is_empty());
        positions.map(|(number, position)| (number, position.busy())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Position>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Position {
    fn busy(&self) -> Duration {
        self.running.iter().map(|(_, metrics)| busy(metrics)).sum::<Duration>() + self.ended
    }
}

/// A data thread's runtime has one worker, itself.
fn busy(metrics: &RuntimeMetrics) -> Duration {
    metrics.worker_total_busy_duration(0)
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut positions = self.times.lock();
        let Some(position) = positions.get_mut(self.position) else { return };
        if let Some(place) = position.running.iter().position(|(number, _)| *number == self.generation) {
            let (_, metrics) = position.running.swap_remove(place);
            position.ended += busy(&metrics);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn threads_that_go_leave_their_time_and_no_series() {
        let times = BusyTimes::default();
        let runtime = || {
            let runtime = Builder::new_current_thread().build().expect("a runtime");
            let work = async {
                std::thread::sleep(Duration::from_millis(20));
                tokio::task::yield_now().await;
            };
            runtime.block_on(async { tokio::spawn(work).await.expect("it works") });
            runtime
        };
        let (first, second, short) = (runtime(), runtime(), runtime());
        let before = times.begin(0, 0, first.metrics());
        let gone = times.begin(1, 0, short.metrics());
        let after = times.begin(0, 1, second.metrics());
        let both = times.times();
        assert_eq!(both.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [0, 1]);
        assert!(both[0].1 >= Duration::from_millis(40), "{both:?}");
        drop((before, gone));
        assert_eq!(times.times(), [both[0]], "the time of those that ended still counts");
        drop(after);
        assert_eq!(times.times(), []);
    }
}
