use std::sync::Arc;

use super::entry::Holder;
use super::event::Event;
use super::guard::{Connecting, Unproven};
use super::manage::{Manage, PoolError};
use super::schedule::{Leak, Task};
use super::shared::Shared;
use super::state::State;
use crate::clock::MonotonicClock;

/// Does what is due, one thing at a time, until the pool is closed.
pub(super) async fn maintain<M: Manage>(shared: Arc<Shared<M>>) {
    let _maintainer = Maintainer::new(&shared);
    loop {
        let (task, discarded) = shared.update(|state| state.next_task(MonotonicClock::now()));
        match guarded(&shared, task, discarded) {
            Step::Connect(connecting) => match connecting.connect().await {
                // Dropped it goes to a waiting caller, or among the idle ones.
                Ok(pooled) => drop(pooled),
                Err(PoolError::Closed) => {}
                Err(error) => shared.tell(Event::ConnectFailed(&error)),
            },
            Step::Check(unproven) => unproven.check_and_bring_back().await,
            Step::Report(leaks) => {
                for Leak { checked_out_at, out_for } in leaks {
                    shared.tell(Event::Leaked { checked_out_at, out_for });
                }
            }
            Step::Sleep(until) => {
                // Elapsed or woken: either way it looks again.
                let _ = tokio::time::timeout_at(until, shared.maintenance.notified()).await;
            }
            Step::Stop => return,
        }
    }
}

/// A [`Task`] whose content can not be lost.
enum Step<M: Manage> {
    Connect(Connecting<M>),
    Check(Unproven<M>),
    Report(Vec<Leak>),
    Sleep(tokio::time::Instant),
    Stop,
}

fn guarded<M: Manage>(
    shared: &Arc<Shared<M>>,
    task: Task<M::Resource>,
    discarded: Vec<M::Resource>,
) -> Step<M> {
    let step = match task {
        Task::Connect(place) => Step::Connect(Connecting::new(shared, place)),
        Task::Check(entry) => Step::Check(Unproven::new(shared, entry, Holder::Maintenance)),
        Task::Report(leaks) => Step::Report(leaks),
        Task::Sleep(until) => Step::Sleep(MonotonicClock::to_tokio(until)),
        Task::Stop => Step::Stop,
    };
    drop(discarded);
    step
}

/// As long as it lives the pool counts on maintenance.
struct Maintainer<'a, M: Manage>(&'a Shared<M>);

impl<'a, M: Manage> Maintainer<'a, M> {
    fn new(shared: &'a Shared<M>) -> Self {
        shared.read(State::maintenance_began);
        Self(shared)
    }
}

impl<M: Manage> Drop for Maintainer<'_, M> {
    fn drop(&mut self) {
        self.0.apply(State::maintenance_ended);
    }
}
