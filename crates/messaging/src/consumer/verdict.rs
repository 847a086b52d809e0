//! What becomes of messages, decided without a clock, a lock or an await.

use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::failure::Class;
use intertie_resilience::CallError;
use intertie_resilience::pipeline::AttemptError;

use super::failure::Failure;
use crate::EngineError;
use crate::commit::{CommitError, Refused};
use crate::queue::{Cause, RedeliveryConfig, Settlement};

/// What bounds the deliveries of a message.
#[derive(Debug, Clone)]
pub(super) struct Deliveries {
    pub(super) max: NonZeroU32,
    pub(super) redelivery: RedeliveryConfig,
    pub(super) retry_after_max: Duration,
}

impl Deliveries {
    pub(super) fn is_last(&self, deliveries: NonZeroU32) -> bool {
        deliveries >= self.max
    }

    /// What becomes of a message that failed, and is to wait for so long at least. `random` is uniform in
    /// `0..=u32::MAX`.
    pub(super) fn settlement(
        &self,
        failure: &Failure,
        wait: Option<Duration>,
        deliveries: NonZeroU32,
        random: u32,
    ) -> Settlement {
        let dead = |cause| Settlement::DeadLetter { cause, reason: failure.reason().to_owned() };
        match failure.class() {
            Class::Success | Class::Unjudged => Settlement::Release,
            Class::Permanent => dead(failure.cause()),
            // The engine would say what ended it, but not why.
            _ if self.is_last(deliveries) => dead(Cause::MaxDeliveries),
            _ => {
                let redelivery = self.redelivery.wait(deliveries, random);
                let after = wait.map(|wait| wait.min(self.retry_after_max).max(redelivery));
                Settlement::Retry { after }
            }
        }
    }

    /// Whether a failed batch is handled again in halves: because one of its messages may be to blame for all, or
    /// because one would die of what others are to blame for.
    pub(super) fn bisects(
        &self,
        failure: &Failure,
        mut deliveries: impl ExactSizeIterator<Item = NonZeroU32>,
    ) -> bool {
        if deliveries.len() < 2 {
            return false;
        }
        match failure.class() {
            Class::Permanent => true,
            class => class.is_retriable() && deliveries.any(|deliveries| self.is_last(deliveries)),
        }
    }
}

/// What a call was that its pipeline did not reject.
pub(super) fn failure_of_call(error: CallError<Failure>) -> Failure {
    let timeout = || Failure::transient("the handler took longer than `attempt_timeout`");
    let injected = || Failure::transient("chaos made the handler fail");
    match error {
        CallError::Operation(failure) => failure,
        CallError::AttemptTimeout => timeout(),
        CallError::Injected => injected(),
        CallError::DeadlineExceeded => Failure::transient("the handler took longer than its time"),
        CallError::Rejected(rejection) => {
            let failure = Failure::not_tried(rejection.to_string());
            rejection.retry_after.map_or(failure.clone(), |wait| failure.retry_after(wait))
        }
        CallError::Exhausted(exhausted) => match exhausted.last {
            AttemptError::Operation(failure) => failure,
            AttemptError::Timeout => timeout(),
            AttemptError::Injected => injected(),
        },
    }
}

/// What it means for a message that what its handler wants to be done with it can not be.
pub(super) fn failure_of_commit(error: &CommitError) -> Failure {
    let class = match error {
        CommitError::Refused { cause, .. } => match cause {
            Refused::TooLarge { .. } | Refused::NotDeclared { .. } => Class::Permanent,
            Refused::Full { .. } => Class::Throttled,
            Refused::Engine(EngineError::Limit { .. }) => Class::Permanent,
            Refused::Engine(error) if away(error).is_some() => Class::Unavailable,
            _ => Class::Transient,
        },
        CommitError::TooLarge { .. } => Class::Permanent,
        // Not the message's fault, and none the less true of the next one.
        CommitError::Unsupported(_) => Class::Unjudged,
        CommitError::Overloaded { .. } | CommitError::Unavailable { .. } | CommitError::Unknown { .. } => {
            Class::Unavailable
        }
    };
    Failure::of_class(class, format!("what the handler asks for can not be done: {error}"))
}

/// The wait that an engine asks for which will answer otherwise by and by; nothing for one that will not.
pub(super) fn away(error: &EngineError) -> Option<Option<Duration>> {
    match error {
        EngineError::Unavailable { retry_after, .. } => Some(*retry_after),
        EngineError::Overloaded { .. } => Some(None),
        _ => None,
    }
}

/// The wait before the engine is asked again, unless asking again is in vain.
pub(super) fn again(error: &CommitError) -> Option<Option<Duration>> {
    match error {
        CommitError::Unavailable { retry_after, .. } => Some(*retry_after),
        CommitError::Overloaded { .. } | CommitError::Unknown { .. } => Some(None),
        CommitError::Refused { cause: Refused::Engine(error), .. } => away(error),
        CommitError::Refused { .. } | CommitError::Unsupported(_) | CommitError::TooLarge { .. } => None,
    }
}
