//! tower-resilience: its layers alone, and five of them stacked.

mod bulkhead;
mod circuit_breaker;
mod rate_limiter;
mod retry;
mod stack;
mod time_limiter;

use tower::Service;

use super::tower::call;
use crate::subject::{Outcome, Row, Share, Subject, work};

pub fn subjects() -> Vec<Subject> {
    let mut subjects = circuit_breaker::subjects();
    subjects.extend(retry::subjects());
    subjects.extend(time_limiter::subjects());
    subjects.extend(rate_limiter::subjects());
    subjects.extend(bulkhead::subjects());
    subjects.extend(stack::subjects());
    subjects
}

/// The name of a subject with nothing to add, and of the stack that ours is compared to.
pub const NAME: &str = "tower-resilience";

/// Handles on one service are its clones; a thread keeps its own from call to call.
fn share<S, E>(row: Row, service: S, outcome: E) -> Share
where
    S: Service<u64, Response = u64> + Clone + Send + 'static,
    E: Fn(&Result<u64, S::Error>) -> Outcome + Copy + Send + 'static,
{
    Box::new(move || {
        let mut service = service.clone();
        work(row, async move |number| outcome(&call(&mut service, number).await))
    })
}
