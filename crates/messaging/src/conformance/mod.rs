//! The suite that an engine proves itself by: what the ports promise, as cases that any engine can run.
//!
//! An engine's test gives a [`Subject`], calls [`run`], and asserts that the [`Certificate`] has no failure. A case
//! whose queue or topic the engine refuses is not applicable: then it is the refusal that is looked at, which must
//! be typed, complete, and what the engine said of the promise before. The suite itself is proven by
//! [`Bug`](crate::model::Bug)s of the [model](crate::model), each of which it finds.
//!
//! ```no_run
//! use std::sync::Arc;
//! use intertie_messaging::conformance::{self, ConformanceConfig, Subject};
//!
//! # async fn example(subject: Arc<dyn Subject>) {
//! let certificate = conformance::run(subject, &ConformanceConfig::default()).await;
//! assert_eq!(certificate.failures().count(), 0, "{}", certificate.report());
//! # }
//! ```

mod case;
mod cases;
mod certificate;
mod queue_trial;
mod topic_trial;
mod trial;

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_idempotency::Store;
use serde::{Deserialize, Serialize};

pub use case::{Case, Port, Verdict};
pub use certificate::{Certificate, Keeping, Kept, Tried, capability_table};

use crate::log::LogEngine;
use crate::queue::QueueEngine;
use crate::{InboxEngine, Pending};

/// An engine as its test can make, stop and hurry it.
pub trait Subject: Send + Sync {
    /// An engine that has no queue, topic or inbox of an earlier case.
    fn open(&self) -> Pending<'_, Ports>;

    /// Stops the engine behind `ports` and starts it again on what it has stored. `None` when it stores nothing, or
    /// can not be started again: cases that need it are not applicable.
    fn restart(&self, ports: Ports) -> Pending<'_, Option<Ports>>;

    /// Lets `time` go by, for the engine as for whoever waits for it.
    fn pass(&self, time: Duration) -> Pending<'_, ()>;

    /// What the engine's clock shows.
    fn now(&self) -> Timestamp;

    /// The time in which cases count: long enough that the engine does a few things in a tenth of it. One second for
    /// a clock that tests move, some hundred milliseconds for a real one.
    fn tick(&self) -> Duration;

    /// Whether [`Subject::pass`] is exact to the millisecond and nothing else takes time, so that the very edges of
    /// windows can be looked at.
    fn is_exact(&self) -> bool;
}

/// What an engine offers. All of it is one engine: a commit may go to any of them.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Queues, if it keeps any.
    pub queues: Option<Arc<dyn QueueEngine>>,
    /// Topics, if it keeps any.
    pub logs: Option<Arc<dyn LogEngine>>,
    /// Inboxes, if it keeps any.
    pub inboxes: Option<Arc<dyn InboxEngine>>,
    /// Records of requests, if it keeps any.
    pub requests: Option<Arc<dyn Store>>,
}

impl Ports {
    /// Of an engine that has them all.
    pub fn all<E: QueueEngine + LogEngine + InboxEngine + Store + 'static>(engine: &Arc<E>) -> Self {
        Self {
            queues: Some(engine.clone()),
            logs: Some(engine.clone()),
            inboxes: Some(engine.clone()),
            requests: Some(engine.clone()),
        }
    }
}

/// How much the suite asks of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConformanceConfig {
    /// Ticks of its subject that a case may take; one that takes longer has failed. Default 1000.
    pub ticks_max: NonZeroU32,
    /// Messages that the consumers compete for. Default 5000.
    pub messages: NonZeroU32,
    /// Consumers that compete for them. Default 50.
    pub consumers: NonZeroU32,
}

impl Default for ConformanceConfig {
    fn default() -> Self {
        Self {
            ticks_max: NonZeroU32::new(1000).expect("1000 is not zero"),
            messages: NonZeroU32::new(5000).expect("5000 is not zero"),
            consumers: NonZeroU32::new(50).expect("50 is not zero"),
        }
    }
}

/// All cases, in the order in which they are run.
pub fn cases() -> Vec<Case> {
    cases::all()
}

/// What the engine behind `ports` says of itself: a certificate without a case.
pub fn claims(ports: &Ports) -> Certificate {
    certificate::begin(ports)
}

/// Runs every case, one after the other, each on an engine of its own. On a real clock most of the time goes by
/// waiting; there a test may rather run [`cases`] side by side, each with a [`Subject`] of its own. Dropping the
/// future ends the case that it is at.
pub async fn run(subject: Arc<dyn Subject>, config: &ConformanceConfig) -> Certificate {
    let mut certificate = claims(&subject.open().await);
    for case in cases() {
        let verdict = case.run(&subject, config).await;
        let (feature, name) = (case.feature.to_owned(), case.name.to_owned());
        certificate.cases.push(Tried { port: case.port, feature, name, verdict });
    }
    certificate
}
