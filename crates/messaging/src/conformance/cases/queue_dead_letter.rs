use std::num::NonZeroU32;
use std::time::Duration;

use super::cases;
use super::queue_delivery::rich;
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::QueueTrial;
use crate::conformance::trial::{Trial, event, many, name};
use crate::message::Content;
use crate::queue::{Cause, DeadLetter, Origin, QueueSpec, QueueVerb, Settlement};

cases!(Queue, "dead_letter":
    after_max_deliveries_there_is_one_dead_letter,
    leases_that_end_in_silence_count_to_max_deliveries,
    a_rejected_message_is_dead_at_once_with_its_reason,
    dead_letters_go_to_the_queue_that_was_named,
    a_named_queue_of_dead_letters_must_be_there,
    dead_letters_have_no_end_of_deliveries,
    what_is_rejected_among_dead_letters_stays_there,
    dead_letters_outlast_a_restart,
    dead_letters_outlast_their_queue,
    a_full_queue_takes_dead_letters,
);

const RETRY_NOW: Settlement = Settlement::Retry { after: Some(Duration::ZERO) };

fn reject(reason: &str) -> Settlement {
    Settlement::DeadLetter { cause: Cause::Rejected, reason: reason.to_owned() }
}

fn died_in(dead: &DeadLetter) -> &str {
    match &dead.origin {
        Origin::Queue { queue, .. } => queue.as_str(),
        Origin::Topic { .. } => "a topic",
    }
}

fn three() -> NonZeroU32 {
    NonZeroU32::new(3).expect("3 is not zero")
}

async fn after_max_deliveries_there_is_one_dead_letter(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec { max_deliveries: three(), ..trial.spec_with([QueueVerb::Positions]) };
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("before")).await?;
    let before = queue.must_come("a message", Duration::ZERO).await?;
    queue.ack(&before).await?;
    let position = queue.send(rich("poison")).await?;
    for delivery in 1..=3 {
        ensure_eq!(queue.dead_letters().len().await?, 0, "dead letters before delivery {delivery}");
        let lease = queue.must_come("a message that failed", trial.ticks(3)).await?;
        ensure_eq!(lease.deliveries.get(), delivery, "deliveries");
        queue.end(&lease, RETRY_NOW).await?;
    }
    trial.pass_ticks(20).await;
    ensure_eq!(queue.len().await?, 0, "copies of a dead message in its own queue");
    let dead = queue.dead_letters().lease(10).await?;
    ensure_eq!(dead.len(), 1, "dead letters");
    ensure_eq!(dead[0].content, Content::Envelope(rich("poison")), "the dead message");
    let found = dead[0].dead_letter.as_deref();
    let found = found.ok_or(Stop::Failed("a dead letter tells no cause".to_owned()))?;
    ensure_eq!(found.cause, Cause::MaxDeliveries, "the cause");
    let origin = Origin::Queue { queue: queue.name.clone(), position };
    ensure_eq!(found.origin, origin, "the queue and the position that it died at");
    ensure_eq!(found.deliveries, 3, "the deliveries that it died of");
    ensure_eq!(found.reason, None, "the reason, where nobody gave one");
    ensure_eq!(found.redrives, 0, "how often it was sent again");
    ensure_eq!(dead[0].deliveries.get(), 1, "deliveries as a dead letter");
    Ok(())
}

async fn leases_that_end_in_silence_count_to_max_deliveries(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec { max_deliveries: three(), ..trial.spec_with([QueueVerb::Browse]) };
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("a")).await?;
    for delivery in 1..=3 {
        let lease = queue.must_come("a message whose lease ended", trial.ticks(15)).await?;
        ensure_eq!(lease.deliveries.get(), delivery, "deliveries");
    }
    trial.pass_ticks(12).await;
    ensure!(queue.next(trial.ticks(12)).await?.is_none(), "a message came after `max_deliveries`");
    let dead = queue.dead_letters().browse().await?;
    ensure_eq!(dead.len(), 1, "dead letters");
    let found = dead[0].dead_letter.as_ref().map(|dead| (dead.cause, dead.deliveries));
    ensure_eq!(found, Some((Cause::MaxDeliveries, 3)), "cause and deliveries");
    Ok(())
}

async fn a_rejected_message_is_dead_at_once_with_its_reason(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with([QueueVerb::Browse, QueueVerb::Positions])).await?;
    let position = queue.send(rich("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.end(&lease, reject("no such customer")).await?;
    ensure_eq!(queue.len().await?, 0, "copies of a rejected message in its own queue");
    let dead = queue.dead_letters().browse().await?;
    ensure_eq!(dead.len(), 1, "dead letters");
    ensure_eq!(dead[0].content, Content::Envelope(rich("a")), "the dead message");
    let found = dead[0].dead_letter.as_deref();
    let found = found.ok_or(Stop::Failed("a dead letter tells no cause".to_owned()))?;
    ensure_eq!(found.cause, Cause::Rejected, "the cause");
    ensure_eq!(found.reason.as_deref(), Some("no such customer"), "the reason");
    let origin = Origin::Queue { queue: queue.name.clone(), position };
    ensure_eq!((&found.origin, found.deliveries), (&origin, 1), "origin and deliveries");
    Ok(())
}

async fn dead_letters_go_to_the_queue_that_was_named(trial: &mut Trial) -> Result<(), Stop> {
    let failed = trial.queue("failed", &trial.spec_with([QueueVerb::Browse])).await?;
    let spec = QueueSpec { dead_letter: Some(failed.name.clone()), ..trial.queue_spec() };
    for from in ["orders", "shipments"] {
        let queue = trial.queue(from, &spec).await?;
        queue.send(event("a")).await?;
        let lease = queue.must_come("a message", Duration::ZERO).await?;
        queue.end(&lease, reject("broken")).await?;
    }
    let dead = failed.browse().await?;
    let mut origins: Vec<_> =
        dead.iter().filter_map(|dead| dead.dead_letter.as_deref()).map(died_in).collect();
    origins.sort_unstable();
    ensure_eq!(origins, ["orders", "shipments"], "the queues of the dead letters");
    // A queue that was declared has dead letters of its own.
    let lease = failed.must_come("a dead letter", Duration::ZERO).await?;
    failed.end(&lease, reject("still broken")).await?;
    let twice = failed.dead_letters().browse().await?;
    ensure_eq!(twice.len(), 1, "dead letters of dead letters");
    let found = twice[0].dead_letter.as_deref().map(died_in);
    ensure_eq!(found, Some("failed"), "the queue that it died in last");
    Ok(())
}

async fn a_named_queue_of_dead_letters_must_be_there(trial: &mut Trial) -> Result<(), Stop> {
    // One that is refused for another reason ends the case here.
    trial.queue("orders", &trial.queue_spec()).await?;
    let spec = QueueSpec { dead_letter: Some(name("nowhere")), ..trial.queue_spec() };
    let declared = trial.queues()?.declare_queue(&name("shipments"), &spec).await;
    ensure!(declared.is_err(), "a queue whose dead letters go nowhere was declared");
    Ok(())
}

async fn dead_letters_have_no_end_of_deliveries(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec { max_deliveries: NonZeroU32::MIN, ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.end(&lease, RETRY_NOW).await?;
    let dead = queue.dead_letters();
    for delivery in 1..=12 {
        let lease = dead.must_come("a dead letter", trial.ticks(3)).await?;
        ensure_eq!(lease.deliveries.get(), delivery, "deliveries of a dead letter");
        dead.end(&lease, RETRY_NOW).await?;
    }
    Ok(())
}

async fn what_is_rejected_among_dead_letters_stays_there(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with([QueueVerb::Browse])).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.end(&lease, reject("broken")).await?;
    let dead = queue.dead_letters();
    let lease = dead.must_come("a dead letter", Duration::ZERO).await?;
    dead.end(&lease, reject("still broken")).await?;
    let left = dead.browse().await?;
    ensure_eq!(left.len(), 1, "copies of a dead letter that was rejected");
    let reason = left[0].dead_letter.as_ref().and_then(|dead| dead.reason.as_deref());
    ensure_eq!(reason, Some("still broken"), "what its last consumer said");
    Ok(())
}

async fn dead_letters_outlast_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with([QueueVerb::Browse])).await?;
    queue.send(rich("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.end(&lease, reject("broken")).await?;
    let before = queue.dead_letters().browse().await?;
    let queue = trial.restart_with_queue(queue).await?;
    ensure_eq!(queue.dead_letters().browse().await?, before, "dead letters after a restart");
    ensure_eq!(queue.len().await?, 0, "copies of a rejected message in its own queue");
    Ok(())
}

async fn dead_letters_outlast_their_queue(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.end(&lease, reject("broken")).await?;
    queue.engine.delete_queue(&queue.name).await?;
    ensure!(queue.depth().await.is_err(), "a deleted queue is still there");
    ensure_eq!(queue.dead_letters().len().await?, 1, "dead letters of a deleted queue");
    Ok(())
}

async fn a_full_queue_takes_dead_letters(trial: &mut Trial) -> Result<(), Stop> {
    let failed = trial.queue("failed", &QueueSpec { depth_max: Some(1), ..trial.queue_spec() }).await?;
    let spec = QueueSpec { dead_letter: Some(failed.name.clone()), ..trial.queue_spec() };
    let queue: QueueTrial = trial.queue("orders", &spec).await?;
    for at in 0..3 {
        queue.send(event(&at.to_string())).await?;
        let lease = queue.must_come("a message", Duration::ZERO).await?;
        queue.end(&lease, reject("broken")).await?;
    }
    ensure_eq!(failed.lease(many(10).get()).await?.len(), 3, "dead letters");
    ensure_eq!(queue.len().await?, 0, "messages that could not die");
    Ok(())
}
