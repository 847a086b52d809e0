use std::collections::BTreeMap;
use std::fmt;

use intertie_core::envelope::Envelope;

use crate::Name;
use crate::commit::{CommitError, Receipt};
use crate::consumer::Failure;

/// What became of an event that is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The event as it is stored and was handled: as the middlewares left it.
    pub event: Envelope,
    /// Where it is stored, and how safe.
    pub receipt: Receipt,
    /// How many handlers of this process were called with it.
    pub handlers_executed: usize,
    /// Those of them that failed, or were not called because the bus was shut down.
    pub failures: Vec<HandlerFailure>,
}

impl Published {
    /// Whether no handler failed.
    pub fn is_success(&self) -> bool {
        self.failures.is_empty()
    }
}

/// A handler that failed, and why. The others were called all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerFailure {
    /// Which one.
    pub handler: Name,
    /// Why.
    pub failure: Failure,
}

/// What became of a batch that is stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PublishedBatch {
    /// A result for each event, in the order in which they were given and are stored.
    pub events: Vec<Published>,
}

impl PublishedBatch {
    /// Whether no handler failed.
    pub fn is_success(&self) -> bool {
        self.events.iter().all(Published::is_success)
    }

    /// The same by type, each in order.
    pub fn by_type(&self) -> BTreeMap<&str, Vec<&Published>> {
        let mut groups = BTreeMap::<_, Vec<_>>::new();
        for published in &self.events {
            groups.entry(published.event.r#type()).or_default().push(published);
        }
        groups
    }
}

/// Why nothing was published. No handler was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishError {
    /// A middleware refused an event.
    Middleware {
        /// Which middleware.
        middleware: Name,
        /// Which event of the batch, from 0.
        event: usize,
        /// Why.
        failure: Failure,
    },
    /// The batch has more events than a batch may.
    TooMany {
        /// The key of the bound.
        bound: &'static str,
        /// How many it has.
        is: usize,
        /// The value of the bound.
        limit: u32,
    },
    /// As many publications are under way as may be.
    Overloaded {
        /// The key of the bound.
        bound: &'static str,
        /// Its value.
        limit: u32,
    },
    /// The events are not stored; or, where that is [`CommitError::Unknown`], it is not known whether they are, and who
    /// publishes them again may have stored them twice.
    Store(CommitError),
    /// The bus is shut down.
    ShutDown,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Middleware { middleware, event, failure } => {
                write!(f, "event {event}: `{middleware}` refused it: {failure}")
            }
            Self::TooMany { bound, is, limit } => {
                write!(f, "the batch is too large: `{bound}` is {limit}, and it has {is}")
            }
            Self::Overloaded { bound, limit } => write!(f, "too much is under way: `{bound}` is {limit}"),
            Self::Store(error) => error.fmt(f),
            Self::ShutDown => f.write_str("the bus is shut down"),
        }
    }
}

impl std::error::Error for PublishError {}
