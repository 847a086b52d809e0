use std::fmt;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::envelope::Envelope;
use intertie_core::failure::Class;
use intertie_core::quantity::format_duration;
use intertie_resilience::pipeline::Verdict;

use super::fault::Fault;
use crate::commit::{CommitError, Refused};
use crate::{DeclareError, EngineError, Name};

/// What is asked.
///
/// What the responder should know beside the question stands in the extensions of the envelope: its metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The question. Its id tells the request from all others: whoever asks again with the same id asks the same, and
    /// may be answered by the reply to the first time.
    pub envelope: Envelope,
    /// Higher ones are answered first; below `priorities` of the queue.
    pub priority: u8,
    /// How long to wait for the reply, sending included; unset, `timeout` of the requester.
    pub timeout: Option<Duration>,
}

impl From<Envelope> for Request {
    /// A request of priority 0 that waits as long as its requester does.
    fn from(envelope: Envelope) -> Self {
        Self { envelope, priority: 0, timeout: None }
    }
}

/// Who takes messages from a queue, as its engine tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Responders {
    /// So many consumers hold a message of it or wait for one.
    Known(u64),
    /// The engine does not know.
    Unknown,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// The responder failed, and said so.
    Failed(Fault),
    /// No reply came in time. Whether the request was done is not known.
    TimedOut {
        /// After so long.
        after: Duration,
        /// Who there was to answer when it was sent: [`Responders::Unknown`] too when nobody could be asked.
        responders: Responders,
    },
    /// Nobody takes messages from the queue; nothing was sent.
    NoResponder {
        /// Which one.
        queue: Name,
    },
    /// As many requests wait as may; nothing was sent.
    Overloaded {
        /// The key of the bound.
        bound: &'static str,
        /// Its value.
        limit: u32,
    },
    /// A request of the same id waits; nothing was sent.
    Twice,
    /// The engine did not take the request; nothing was sent.
    NotSent(CommitError),
    /// The engine can not tell of the queue; nothing was sent.
    Engine(EngineError),
    /// The requester is shut down. When that came while the request waited, whether it was done is not known.
    ShutDown,
}

impl RequestError {
    /// What it means to policies around the request.
    pub fn class(&self) -> Class {
        match self {
            Self::Failed(fault) => fault.class(),
            Self::TimedOut { .. } => Class::Transient,
            Self::NoResponder { .. } => Class::Unavailable,
            Self::Overloaded { .. } | Self::ShutDown => Class::Unjudged,
            Self::Twice => Class::Permanent,
            Self::NotSent(CommitError::Refused { cause: Refused::Full { .. }, .. }) => Class::Throttled,
            Self::NotSent(
                CommitError::Overloaded { .. }
                | CommitError::Unavailable { .. }
                | CommitError::Unknown { .. },
            )
            | Self::Engine(EngineError::Overloaded { .. } | EngineError::Unavailable { .. }) => {
                Class::Unavailable
            }
            Self::NotSent(_) | Self::Engine(_) => Class::Permanent,
        }
    }

    /// The same of a request and its end, for the `classify` of a pipeline's call around it.
    pub fn verdict(outcome: &Result<Envelope, Self>) -> Verdict {
        let failed = outcome.as_ref().err();
        let class = failed.map_or(Class::Success, Self::class);
        Verdict { class, retry_after: failed.and_then(Self::retry_after), exhausted: false }
    }

    /// How long not to ask again, if somebody said.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failed(fault) => fault.hint(),
            Self::NotSent(CommitError::Unavailable { retry_after, .. })
            | Self::Engine(EngineError::Unavailable { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(fault) => fault.fmt(f),
            Self::TimedOut { after, responders } => {
                let knows = match responders {
                    Responders::Known(_) => "though somebody takes messages from the queue",
                    Responders::Unknown => "and whether anyone answers there is not known",
                };
                write!(f, "no reply came within {}, {knows}", format_duration(*after))
            }
            Self::NoResponder { queue } => write!(f, "nobody takes messages from `{queue}`"),
            Self::Overloaded { bound, limit } => write!(f, "too much waits already: `{bound}` is {limit}"),
            Self::Twice => f.write_str("a request of the same id waits already"),
            Self::NotSent(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
            Self::ShutDown => f.write_str("the requester is shut down"),
        }
    }
}

impl std::error::Error for RequestError {}

/// Why a requester can not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequesterError {
    /// A setting can not work.
    Invalid(Invalid),
    /// The engine has no such queue for replies.
    Declare(DeclareError),
    /// The reply queue can not be read: another requester of the name has it, or the engine does not answer.
    Engine(EngineError),
}

impl fmt::Display for RequesterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => invalid.fmt(f),
            Self::Declare(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RequesterError {}
