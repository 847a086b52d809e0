use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::time::Duration;

use intertie_core::config::Invalid;

use crate::Durability;
use crate::Name;
use crate::commit::{Commit, CommitError, Committed, Together};
use crate::support::{EngineId, Refusal, Support};

/// What an engine is about to answer. Dropping it does not take back what was already handed over.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What keeps queues, topics, or both, and changes them.
pub trait Engine: fmt::Debug + Send + Sync {
    /// The product and its version, as they were found.
    fn id(&self) -> &EngineId;

    /// Whether it can do `together` as a whole, in the version that was found. What it refuses here it refuses of every
    /// commit, and nothing else.
    fn commit_support(&self, together: Together) -> Support;

    /// Does all of `commit` or nothing of it, and says so when it is as durable as the queues and topics in it ask.
    /// Commits of one caller that are not awaited in turn may be done in any order.
    ///
    /// # Errors
    /// See [`CommitError`]: only [`CommitError::Unknown`] leaves open whether it was done.
    fn commit(&self, commit: Commit) -> Pending<'_, Result<Committed, CommitError>>;
}

/// Why nothing could be read, leased or changed.
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
    /// The message is no longer this lease's, or never was.
    StaleLease,
    /// The member was replaced, or has left: its group has a later generation.
    StaleMembership {
        /// The group's generation.
        generation: u64,
    },
    /// Another consumer has the queue to itself.
    Exclusive {
        /// Who has it.
        holder: Name,
    },
    /// The dead letters of another queue go there.
    InUse {
        /// Which one's.
        by: Name,
    },
    /// More was asked for than a bound allows.
    Limit {
        /// The key of the bound, of the queue or topic or of the engine.
        key: &'static str,
        /// What it allows.
        limit: String,
    },
    /// Too much waits for the engine already; it is worth another try.
    Overloaded {
        /// The setting of the engine that bounds it.
        bound: &'static str,
        /// Its value.
        limit: u64,
    },
    /// The engine does no such thing, and said so when the queue or topic was declared.
    Unsupported(Box<Refusal>),
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
            Self::StaleMembership { generation } => {
                write!(f, "the member was replaced or has left: the group is in generation {generation}")
            }
            Self::Exclusive { holder } => write!(f, "`{holder}` has the queue to itself"),
            Self::InUse { by } => write!(f, "the dead letters of `{by}` go there"),
            Self::Limit { key, limit } => write!(f, "`{key}` allows {limit}"),
            Self::Overloaded { bound, limit } => write!(f, "too much waits already: `{bound}` is {limit}"),
            Self::Unsupported(refusal) => refusal.fmt(f),
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
    /// Dead letters would get lost: one of both is the queue that was to be declared.
    DeadLetter {
        /// The queue in which messages die.
        queue: Name,
        /// Where they are to go.
        target: Name,
        /// Why they can not.
        unfit: Unfit,
    },
    /// The engine did not do it.
    Engine(EngineError),
}

/// Why a queue can not keep the dead letters of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It is not there.
    Missing {
        /// The name that is most like it, of those that there are.
        nearest: Option<Name>,
    },
    /// It would be removed by its `auto_delete`.
    AutoDelete,
    /// It does not outlast the process, and the other one does.
    Transient,
    /// What dies there is less safe than what lives in the other one.
    LessDurable {
        /// What it has.
        has: Durability,
        /// What the other one has.
        needs: Durability,
    },
    /// Its own dead letters come back to the other one, by way of those between.
    Circle {
        /// From the target on, in the order in which a message would go.
        through: Vec<Name>,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { nearest: Some(nearest) } => {
                write!(f, "it is not there; did you mean `{nearest}`?")
            }
            Self::Missing { nearest: None } => f.write_str("it is not there"),
            Self::AutoDelete => f.write_str("`auto_delete` may remove it"),
            Self::Transient => f.write_str("it has `durable = false`, and they outlast the process"),
            Self::LessDurable { has, needs } => write!(f, "its `durability` is {has}, and theirs {needs}"),
            Self::Circle { through } => {
                f.write_str("its own come back: ")?;
                let through: Vec<_> = through.iter().map(Name::as_str).collect();
                f.write_str(&through.join(", "))
            }
        }
    }
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
            Self::DeadLetter { queue, target, unfit } => {
                write!(f, "the dead letters of `{queue}` can not go to `{target}`: {unfit}")
            }
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

/// Which names of a list to tell: those behind `after`, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The last one that is known; unset, from the first on.
    pub after: Option<Name>,
    /// How many at most.
    pub most: NonZeroU32,
}
