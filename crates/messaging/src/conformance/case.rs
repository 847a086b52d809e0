use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use tokio::task::JoinSet;

use super::trial::Trial;
use super::{ConformanceConfig, Subject};
use crate::commit::CommitError;
use crate::support::Refusal;
use crate::{DeclareError, EngineError, Pending};

/// One promise, as a test.
#[derive(Clone, Copy)]
pub struct Case {
    /// The port that it is about.
    pub port: Port,
    /// What of it.
    pub feature: &'static str,
    /// What holds when it passes.
    pub name: &'static str,
    pub(super) test: for<'a> fn(&'a mut Trial) -> Pending<'a, Result<(), Stop>>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.port.name(), self.feature, self.name)
    }
}

/// What a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// Queues.
    Queue,
    /// Topics.
    Log,
    /// Commits across them, and inboxes.
    Commit,
    /// What is said of promises before they are used.
    Support,
}

impl Port {
    /// As certificates write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Log => "log",
            Self::Commit => "commit",
            Self::Support => "support",
        }
    }
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The promise is kept.
    Passed,
    /// It is not.
    Failed {
        /// What was found.
        problem: String,
    },
    /// The engine said before that it does not make the promise.
    NotApplicable {
        /// In its words.
        why: String,
    },
}

/// Why a case ends early.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(String),
    /// Looked at already, and as refusals should be.
    Refused(Vec<Refusal>),
    /// The subject has no such thing.
    Absent(&'static str),
}

impl Case {
    /// Runs it on an engine of its own. Dropping the future ends the case.
    ///
    /// A case that panics has failed: it did not expect what an engine answered.
    pub async fn run(&self, subject: &Arc<dyn Subject>, config: &ConformanceConfig) -> Verdict {
        let limit = subject.tick() * config.ticks_max.get();
        let mut trial = Trial::begin(subject.clone(), config.clone()).await;
        let test = self.test;
        let mut task = JoinSet::new();
        task.spawn(async move { tokio::time::timeout(limit, test(&mut trial)).await });
        match task.join_next().await {
            Some(Ok(Ok(ended))) => verdict(ended),
            Some(Ok(Err(_))) => Verdict::Failed {
                problem: format!("it was not done after `ticks_max` ticks, {}", config.ticks_max),
            },
            Some(Err(panic)) => Verdict::Failed { problem: format!("unexpected: {panic}") },
            None => Verdict::Failed { problem: "it was never begun".to_owned() },
        }
    }
}

fn verdict(ended: Result<(), Stop>) -> Verdict {
    match ended {
        Ok(()) => Verdict::Passed,
        Err(Stop::Failed(problem)) => Verdict::Failed { problem },
        Err(Stop::Refused(refusals)) => {
            let why: Vec<_> = refusals.iter().map(Refusal::to_string).collect();
            Verdict::NotApplicable { why: why.join("; ") }
        }
        Err(Stop::Absent(what)) => Verdict::NotApplicable { why: format!("there is no {what}") },
    }
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Failed(format!("unexpected: {error}"))
    }
}

impl From<CommitError> for Stop {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Unsupported(refusal) => Self::Refused(vec![*refusal]),
            error => Self::Failed(format!("unexpected: {error}")),
        }
    }
}

impl From<DeclareError> for Stop {
    fn from(error: DeclareError) -> Self {
        Self::Failed(format!("unexpected: {error}"))
    }
}

/// Ends the case as failed unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($problem:tt)+) => {
        if !$condition {
            return Err($crate::conformance::case::Stop::Failed(format!($($problem)+)));
        }
    };
}

/// Ends the case as failed unless both are the same.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($what:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => {
                if found != expected {
                    let what = format!($($what)+);
                    let problem = format!("{what}: found {found:?}, not {expected:?}");
                    return Err($crate::conformance::case::Stop::Failed(problem));
                }
            }
        }
    };
}

pub(super) use {ensure, ensure_eq};
