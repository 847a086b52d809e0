use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use intertie_core::config::Invalid;

use crate::Name;
use crate::commit::{Commit, CommitError, Outcome};
use crate::support::{EngineId, Refusal};

/// What an engine is about to answer. Dropping it does not take back what was already handed over.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What keeps queues, topics, or both, and changes them.
pub trait Engine: fmt::Debug + Send + Sync {
    /// The product and its version, as they were found.
    fn id(&self) -> &EngineId;

    /// Does all of `commit` or nothing of it, and says so when it is as durable as the queues and topics in it ask.
    /// Commits of one caller that are not awaited in turn may be done in any order.
    ///
    /// # Errors
    /// See [`CommitError`]: only [`CommitError::Unknown`] leaves open whether it was done.
    fn commit(&self, commit: Commit) -> Pending<'_, Result<Vec<Outcome>, CommitError>>;
}

/// Why nothing could be read or leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineError {
    /// There is no such queue or topic.
    NotFound {
        /// What was asked for.
        name: Name,
        /// The name that is most like it, of those that there are.
        nearest: Option<Name>,
    },
    /// There is no such partition.
    NoPartition {
        /// What was asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// The message is no longer this lease's.
    StaleLease,
    /// Another consumer has the queue to itself.
    Exclusive {
        /// Who has it.
        holder: Name,
    },
    /// The engine does not answer, or takes nothing.
    Unavailable {
        /// Why, for people.
        cause: String,
        /// When to come back, if the engine knows.
        retry_after: Option<Duration>,
    },
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { name, nearest: Some(nearest) } => {
                write!(f, "there is no `{name}`; did you mean `{nearest}`?")
            }
            Self::NotFound { name, nearest: None } => write!(f, "there is no `{name}`"),
            Self::NoPartition { partition, partitions } => {
                write!(f, "there is no partition {partition}; the last of {partitions} is {}", partitions - 1)
            }
            Self::StaleLease => f.write_str("the lease is over: the message may be another consumer's"),
            Self::Exclusive { holder } => write!(f, "`{holder}` has the queue to itself"),
            Self::Unavailable { cause, .. } => f.write_str(cause),
        }
    }
}

impl std::error::Error for EngineError {}

/// Why a queue or a topic could not be declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclareError {
    /// A setting can not work on any engine.
    Invalid(Invalid),
    /// Promises that this engine can not keep, all of them.
    Refused(Vec<Refusal>),
    /// It is there already and can not become what is asked for.
    Fixed {
        /// The key that can not change.
        key: &'static str,
        /// Why not, with what it is and what was asked for.
        problem: String,
    },
    /// The engine did not answer.
    Engine(EngineError),
}

impl fmt::Display for DeclareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => invalid.fmt(f),
            Self::Refused(refusals) => {
                let refusals: Vec<_> = refusals.iter().map(Refusal::to_string).collect();
                f.write_str(&refusals.join("\n"))
            }
            Self::Fixed { key, problem } => write!(f, "`{key}` can not be changed: {problem}"),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DeclareError {}

impl From<EngineError> for DeclareError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}
