use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;

use crate::MonotonicClock;

/// What an attempt is told about itself.
#[derive(Debug, Clone)]
pub struct Cx {
    pub(super) attempt: u32,
    pub(super) until: Option<Instant>,
    pub(super) idempotency_key: Option<Arc<str>>,
}

impl Cx {
    /// The attempt's number, the first is 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the attempt is given up, if ever: the earlier of its own timeout and the call's deadline.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// What is left of that time, to be handed on to whom the attempt calls.
    pub fn remaining(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_since(MonotonicClock::now()))
    }

    /// The key under which the receiver recognises a repetition, the same for all attempts of a call.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }
}

/// What an outcome means to the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// To retry and breaker.
    pub class: Class,
    /// The wait that the dependency asked for; no repetition comes earlier.
    pub retry_after: Option<Duration>,
    /// A tier further down has used up its own attempts: repeating the call here would multiply them, so
    /// none is made. To a circuit breaker the outcome stays what its class says.
    pub exhausted: bool,
}

impl From<Class> for Verdict {
    fn from(class: Class) -> Self {
        Self { class, retry_after: None, exhausted: false }
    }
}
