use std::error::Error;
use std::fmt;
use std::time::Duration;

use intertie_core::failure::Class;
use intertie_core::rejection::Rejection;

/// Why a call failed: one flat error, whatever policies were in force.
#[derive(Debug)]
pub enum CallError<E> {
    /// The operation's own error, from the only attempt.
    Operation(E),
    /// The only attempt took longer than `attempt_timeout`.
    AttemptTimeout,
    /// The only attempt was made to fail by the pipeline's chaos, without reaching the operation.
    Injected,
    /// The call took longer than its deadline, or than its caller had left.
    DeadlineExceeded,
    /// A policy refused the call.
    Rejected(Rejection),
    /// More than one attempt failed, or one that failed was to be repeated and the retry budget did not pay for it.
    Exhausted(Box<Exhausted<E>>),
}

/// The attempts of a call of which more than one failed, or for which the retry budget was used up.
#[derive(Debug)]
pub struct Exhausted<E> {
    /// How the last attempt failed.
    pub last: AttemptError<E>,
    /// How many attempts were made, those included that others overtook.
    pub attempts: u32,
    /// Whether no attempt was left, or no budget for it, although another one might have succeeded. False when the
    /// last one failed in a way that no repetition mends.
    pub used_up: bool,
    /// Every failed attempt that could have been repeated, in the order in which they failed. Attempts that were
    /// still under way when the call, or its `attempt_timeout`, ended are not among them, but for the first.
    pub history: Vec<AttemptRecord>,
}

/// How one attempt failed.
#[derive(Debug)]
pub enum AttemptError<E> {
    /// The operation's own error.
    Operation(E),
    /// It took longer than `attempt_timeout`.
    Timeout,
    /// It was made to fail by chaos.
    Injected,
}

/// One attempt of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptRecord {
    /// When it began, counted from the call's own beginning.
    pub began_after: Duration,
    /// How long it took.
    pub took: Duration,
    /// What its outcome meant.
    pub class: Class,
}

impl<E> CallError<E> {
    /// The shortest wait after which a repetition can succeed, if a policy knows one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected(rejection) => rejection.retry_after,
            _ => None,
        }
    }

    /// Whether attempts, or the budget for them, were used up here. A service that answers its own caller says so, by
    /// `Intertie-Retry: exhausted` on the wire, and the caller's [`Verdict`](super::Verdict) says it again:
    /// one tier repeats, and budgets do not multiply.
    pub fn is_exhausted(&self) -> bool {
        matches!(self, Self::Exhausted(exhausted) if exhausted.used_up)
    }

    /// The operation's own error, if it is what failed last; otherwise the error as it is.
    ///
    /// # Errors
    /// What a policy made of the call.
    pub fn into_operation(self) -> Result<E, Self> {
        match self {
            Self::Operation(error) => Ok(error),
            Self::Exhausted(exhausted) => match *exhausted {
                Exhausted { last: AttemptError::Operation(error), .. } => Ok(error),
                other => Err(Self::Exhausted(Box::new(other))),
            },
            other => Err(other),
        }
    }

    /// The operation's own error, if it is what failed last.
    pub fn operation(&self) -> Option<&E> {
        match self {
            Self::Operation(error) => Some(error),
            Self::Exhausted(exhausted) => match &exhausted.last {
                AttemptError::Operation(error) => Some(error),
                AttemptError::Timeout | AttemptError::Injected => None,
            },
            _ => None,
        }
    }
}

impl<E> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(_) => f.write_str("the operation failed"),
            Self::AttemptTimeout => f.write_str("the attempt took longer than its attempt_timeout"),
            Self::Injected => f.write_str("chaos made the attempt fail"),
            Self::DeadlineExceeded => f.write_str("the deadline of the call is over"),
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Exhausted(exhausted) => {
                let attempts = exhausted.attempts;
                match exhausted.last {
                    _ if attempts == 1 => {
                        f.write_str("the attempt failed, and the retry budget paid for no other")
                    }
                    AttemptError::Operation(_) => write!(f, "the call failed after {attempts} attempts"),
                    AttemptError::Timeout => {
                        write!(
                            f,
                            "the call failed after {attempts} attempts, the last one by its attempt_timeout"
                        )
                    }
                    AttemptError::Injected => {
                        write!(f, "the call failed after {attempts} attempts, the last one by chaos")
                    }
                }
            }
        }
    }
}

impl<E: Error + 'static> Error for CallError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.operation().map(|error| error as _)
    }
}

impl<E> From<Rejection> for CallError<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}
