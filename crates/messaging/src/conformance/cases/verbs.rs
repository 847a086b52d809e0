use std::time::Duration;

use super::cases;
use crate::EngineError;
use crate::commit::{CommitError, Operation, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::QueueTrial;
use crate::conformance::trial::{Trial, event};
use crate::queue::{LeaseRequest, QueueFeature, QueueVerb};
use crate::support::Support;

cases!(Support, "verbs":
    what_is_not_offered_is_refused_when_it_is_used,
);

/// Uses `verb` of a queue with one message, and another of it that is held.
async fn used(queue: &QueueTrial, trial: &Trial, verb: QueueVerb) -> Result<Result<(), EngineError>, Stop> {
    let held = queue.must_come("a message", Duration::ZERO).await?;
    let refused = |committed: Result<_, CommitError>| match committed {
        Ok(_) | Err(CommitError::Refused { cause: Refused::NotWaiting, .. }) => Ok(Ok(())),
        Err(CommitError::Refused { operation: 0, cause: Refused::Engine(error) }) => Ok(Err(error)),
        Err(other) => Err(Stop::from(other)),
    };
    let (name, position) = (queue.name.clone(), u64::MAX);
    match verb {
        QueueVerb::Extend => Ok(queue.engine.extend(&queue.name, &held.id, trial.ticks(5)).await.map(|_| ())),
        QueueVerb::LeaseTime => {
            let visibility_timeout = Some(trial.ticks(5));
            let request = LeaseRequest { visibility_timeout, ..queue.request("hasty", 1, Duration::ZERO) };
            Ok(queue.engine.lease(&request).await.map(|_| ()))
        }
        QueueVerb::Browse => Ok(queue.engine.browse(&queue.browse_from(0, 10)).await.map(|_| ())),
        QueueVerb::Positions => {
            // No verb of its own: what is not told is missing.
            let told = (held.position, queue.send(event("told")).await?);
            let offered = queue.engine.support(QueueFeature::Verb(verb));
            let is_offered = !matches!(offered, Support::Refused { .. });
            ensure_eq!((told.0.is_some(), told.1.is_some()), (is_offered, is_offered), "told positions");
            Ok(offered
                .refusal(verb.name(), queue.engine.id())
                .map_or(Ok(()), |refusal| Err(EngineError::Unsupported(Box::new(refusal)))))
        }
        QueueVerb::Cancel => refused(queue.one(Operation::Cancel { queue: name, position }).await),
        QueueVerb::Redrive => {
            let to = name.clone();
            refused(queue.one(Operation::Redrive { queue: name, position, to }).await)
        }
        QueueVerb::Expirytime => {
            refused(queue.try_send(event("mortal").with_expiry_time(trial.in_ticks(100))).await)
        }
    }
}

async fn what_is_not_offered_is_refused_when_it_is_used(trial: &mut Trial) -> Result<(), Stop> {
    for verb in QueueVerb::ALL {
        let queue = trial.queue(&format!("orders-{}", verb.name()), &trial.queue_spec()).await?;
        queue.send(event("held")).await?;
        queue.send(event("waits")).await?;
        let before = queue.len().await?;
        let refused = queue.engine.support(QueueFeature::Verb(verb)).refusal(verb.name(), queue.engine.id());
        match (used(&queue, trial, verb).await?, refused) {
            (Err(EngineError::Unsupported(found)), Some(said)) => {
                ensure_eq!(*found, said, "the refusal of `{}`", verb.name());
                ensure!(
                    !said.why.is_empty() && !said.hint.is_empty(),
                    "{said:?} without a reason and a hint"
                );
                let more = u64::from(verb == QueueVerb::Positions);
                ensure_eq!(queue.len().await?, before + more, "messages after `{}` was refused", verb.name());
            }
            (Ok(()), None) => {}
            (used, said) => {
                let problem = format!("`{}` is {used:?}, and was said to be {said:?}", verb.name());
                return Err(Stop::Failed(problem));
            }
        }
    }
    Ok(())
}
