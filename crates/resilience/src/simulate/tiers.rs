use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::failure::Class;

use super::downstream::Downstream;
use super::outcome::{Failure, Reason};
use crate::Pipeline;
use crate::pipeline::{AttemptError, CallError, Verdict};
use crate::rate_limiter::LimitBy;

/// Pipelines in front of the dependency, outermost first; each calls the next.
#[derive(Debug)]
pub(super) struct Tiers {
    tiers: Vec<Tier>,
    downstream: Arc<Downstream>,
}

#[derive(Debug)]
struct Tier {
    pipeline: Pipeline,
    marks: bool,
    tells_callers_apart: bool,
}

/// What a tier is told with a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) idempotent: bool,
    pub(super) client: u32,
    /// What the caller's deadline leaves.
    pub(super) remaining: Option<Duration>,
}

type Answering<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

impl Tiers {
    pub(super) fn new(pipelines: Vec<Pipeline>, marks: bool, downstream: Arc<Downstream>) -> Self {
        let tiers = pipelines.into_iter().map(|pipeline| {
            let config = pipeline.config();
            let limiter = config.rate_limiter.as_ref();
            let tells_callers_apart = limiter.is_some_and(|limiter| limiter.by != LimitBy::All);
            Tier { pipeline, marks, tells_callers_apart }
        });
        Self { tiers: tiers.collect(), downstream }
    }

    /// A call of the outermost tier.
    pub(super) fn call(&self, request: Request) -> Answering<'_> {
        self.call_from(0, request)
    }

    fn call_from(&self, position: usize, request: Request) -> Answering<'_> {
        let Some(tier) = self.tiers.get(position) else { return Box::pin(self.downstream.call()) };
        Box::pin(async move {
            let mut call = tier.pipeline.call(|attempt| {
                self.call_from(position + 1, Request { remaining: attempt.remaining(), ..request })
            });
            if request.idempotent {
                call = call.idempotent();
            }
            if tier.tells_callers_apart {
                call = call.key(request.client);
            }
            if let Some(remaining) = request.remaining {
                call = call.remaining(remaining);
            }
            call.classify(verdict).await.map_err(|error| tier.answer(&error))
        })
    }
}

impl Tier {
    /// What this tier answers its own caller.
    fn answer(&self, error: &CallError<Failure>) -> Failure {
        let failure = match error {
            CallError::Operation(failure) => *failure,
            CallError::Injected => Failure::new(Reason::Injected, None),
            CallError::AttemptTimeout => Failure::new(Reason::AttemptTimeout, None),
            CallError::DeadlineExceeded => Failure::new(Reason::Deadline, None),
            CallError::Rejected(rejection) => {
                Failure::new(Reason::Rejected(rejection.by), rejection.retry_after)
            }
            CallError::Exhausted(exhausted) => match exhausted.last {
                AttemptError::Operation(failure) => failure,
                AttemptError::Injected => Failure::new(Reason::Injected, None),
                AttemptError::Timeout => Failure::new(Reason::AttemptTimeout, None),
            },
        };
        let exhausted = failure.exhausted || error.is_exhausted();
        Failure { exhausted: exhausted && self.marks, ..failure }
    }
}

fn verdict(outcome: &Result<(), Failure>) -> Verdict {
    match outcome {
        Ok(()) => Class::Success.into(),
        Err(Failure { class, retry_after, exhausted, .. }) => {
            Verdict { class: *class, retry_after: *retry_after, exhausted: *exhausted }
        }
    }
}
