use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;

use super::cases;
use crate::commit::{CommitError, Committed, Operation, Outcome, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::{QueueTrial, supported};
use crate::conformance::trial::{Trial, event, id, name};
use crate::message::Content;
use crate::queue::{Cause, DeadLetter, Lease, Origin, QueueSpec, QueueVerb, Settlement};

cases!(Queue, "redrive":
    a_redriven_message_comes_again_and_is_counted,
    a_redrive_goes_past_the_deduplication_window,
    only_a_dead_letter_that_waits_is_redriven,
    a_redriven_message_outlives_its_expirytime,
    a_redrive_needs_room,
    a_redrive_may_go_elsewhere,
    a_cause_travels_with_its_settlement,
    what_can_not_be_read_is_buried_as_it_came,
    what_a_group_could_not_handle_is_buried_with_its_advance,
);

const NEEDS: [QueueVerb; 3] = [QueueVerb::Positions, QueueVerb::Redrive, QueueVerb::Browse];

fn reject(cause: Cause, reason: &str) -> Settlement {
    Settlement::DeadLetter { cause, reason: reason.to_owned() }
}

/// Leases a message, and gives it up.
async fn kill(queue: &QueueTrial) -> Result<Lease, Stop> {
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.end(&lease, reject(Cause::Rejected, "broken")).await?;
    Ok(lease)
}

/// Where the only dead letter stands.
async fn dead_position(dead: &QueueTrial) -> Result<u64, Stop> {
    let found = dead.browse().await?;
    ensure_eq!(found.len(), 1, "dead letters");
    Ok(found[0].position)
}

fn redrive(from: &QueueTrial, position: u64, to: &QueueTrial) -> Operation {
    Operation::Redrive { queue: from.name.clone(), position, to: to.name.clone() }
}

async fn redriven(from: &QueueTrial, to: &QueueTrial) -> Result<(), Stop> {
    let outcome = from.one(redrive(from, dead_position(from).await?, to)).await?;
    ensure!(matches!(outcome, Outcome::Stored(_)), "a redrive of a dead letter: {outcome:?}");
    ensure_eq!(from.len().await?, 0, "dead letters after the only one was redriven");
    Ok(())
}

async fn a_redriven_message_comes_again_and_is_counted(trial: &mut Trial) -> Result<(), Stop> {
    let twice = NonZeroU32::new(2).expect("2 is not zero");
    let queue = trial.queue("orders", &QueueSpec { max_deliveries: twice, ..trial.spec_with(NEEDS) }).await?;
    queue.send(event("a")).await?;
    for redrives in 0..3 {
        let lease = kill(&queue).await?;
        ensure_eq!(lease.deliveries.get(), 1, "deliveries since it was sent or redriven");
        let told = lease.dead_letter.as_ref().map(|dead| dead.redrives);
        let expected = (redrives > 0).then_some(redrives);
        ensure_eq!(told, expected, "redrives, as a consumer is told");
        let dead = queue.dead_letters().browse().await?;
        ensure_eq!(dead.len(), 1, "dead letters");
        let told = dead[0].dead_letter.as_ref().map(|dead| dead.redrives);
        ensure_eq!(told, Some(redrives), "redrives, as the dead letter tells");
        redriven(&queue.dead_letters(), &queue).await?;
    }
    let lease = queue.must_come("a message that was redriven", Duration::ZERO).await?;
    ensure_eq!(id(&lease.content), "a", "what was redriven");
    queue.ack(&lease).await?;
    ensure_eq!(queue.len().await?, 0, "depth when all is done");
    Ok(())
}

async fn a_redrive_goes_past_the_deduplication_window(trial: &mut Trial) -> Result<(), Stop> {
    let deduplication_window = Some(trial.ticks(500));
    let queue = trial.queue("orders", &QueueSpec { deduplication_window, ..trial.spec_with(NEEDS) }).await?;
    queue.send(event("a")).await?;
    kill(&queue).await?;
    redriven(&queue.dead_letters(), &queue).await?;
    ensure_eq!(queue.lease_ids(10).await?, ["a"], "a message of an id that its queue remembers");
    let again = queue.try_send(event("a")).await?;
    ensure!(matches!(again, Outcome::Duplicate(_)), "the id of a redriven message is forgotten: {again:?}");
    Ok(())
}

const NOT_WAITING: Result<Outcome, CommitError> =
    Err(CommitError::Refused { operation: 0, cause: Refused::NotWaiting });

async fn only_a_dead_letter_that_waits_is_redriven(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with(NEEDS)).await?;
    let other = trial.queue("others", &trial.spec_with(NEEDS)).await?;
    let dead = queue.dead_letters();
    let position = queue.send(event("living")).await?.unwrap_or(u64::MAX);
    ensure_eq!(queue.one(redrive(&queue, position, &other)).await, NOT_WAITING, "a living message");
    kill(&queue).await?;
    let position = dead_position(&dead).await?;
    ensure_eq!(dead.one(redrive(&dead, position + 1000, &queue)).await, NOT_WAITING, "what never was");
    let lease = dead.must_come("a dead letter", Duration::ZERO).await?;
    ensure_eq!(dead.one(redrive(&dead, position, &queue)).await, NOT_WAITING, "what a consumer holds");
    dead.end(&lease, Settlement::Release).await?;
    let twice = dead.commit([redrive(&dead, position, &queue), redrive(&dead, position, &other)]).await;
    let refused = CommitError::Refused { operation: 1, cause: Refused::NotWaiting };
    ensure_eq!(supported(twice)?, Err(refused), "a dead letter redriven twice in one commit");
    redriven(&dead, &queue).await?;
    ensure_eq!(dead.one(redrive(&dead, position, &queue)).await, NOT_WAITING, "what was redriven");
    ensure_eq!((queue.len().await?, other.len().await?), (1, 0), "copies of what was redriven");
    Ok(())
}

async fn a_redriven_message_outlives_its_expirytime(trial: &mut Trial) -> Result<(), Stop> {
    let needs = NEEDS.into_iter().chain([QueueVerb::Expirytime]);
    let queue = trial.queue("orders", &trial.spec_with(needs)).await?;
    queue.send(event("a").with_expiry_time(trial.in_ticks(5))).await?;
    trial.pass_ticks(6).await;
    ensure_eq!(queue.lease(10).await?.len(), 0, "messages after their `expirytime`");
    redriven(&queue.dead_letters(), &queue).await?;
    trial.pass_ticks(3).await;
    ensure_eq!(queue.lease_ids(10).await?, ["a"], "a message that was redriven after its `expirytime`");
    Ok(())
}

async fn a_redrive_needs_room(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &QueueSpec { depth_max: Some(1), ..trial.spec_with(NEEDS) }).await?;
    queue.send(event("a")).await?;
    kill(&queue).await?;
    queue.send(event("b")).await?;
    let dead = queue.dead_letters();
    let refused = dead.one(redrive(&dead, dead_position(&dead).await?, &queue)).await;
    let expected = Err(CommitError::Refused { operation: 0, cause: Refused::Full { limit: 1 } });
    ensure_eq!(refused, expected, "a redrive to a full queue");
    ensure_eq!(dead.len().await?, 1, "dead letters");
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.ack(&lease).await?;
    redriven(&dead, &queue).await
}

async fn a_redrive_may_go_elsewhere(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with(NEEDS)).await?;
    let repaired = trial.queue("repaired", &trial.spec_with(NEEDS)).await?;
    let position = queue.send(event("a")).await?;
    kill(&queue).await?;
    redriven(&queue.dead_letters(), &repaired).await?;
    let lease = repaired.must_come("what was redriven", Duration::ZERO).await?;
    let origin = lease.dead_letter.as_ref().map(|dead| dead.origin.clone());
    let expected = Origin::Queue { queue: queue.name.clone(), position };
    ensure_eq!(origin, Some(expected), "where it died last");
    Ok(())
}

async fn a_cause_travels_with_its_settlement(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    for cause in [Cause::Rejected, Cause::Undecodable, Cause::MaxDeliveries, Cause::Expired] {
        queue.send(event("a")).await?;
        let lease = queue.must_come("a message", Duration::ZERO).await?;
        queue.end(&lease, reject(cause, "because")).await?;
        let dead = queue.dead_letters().must_come("a dead letter", Duration::ZERO).await?;
        ensure_eq!(dead.dead_letter.as_ref().map(|dead| dead.cause), Some(cause), "the cause");
        queue.dead_letters().ack(&dead).await?;
    }
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.end(&lease, reject(Cause::Rejected, &"ö".repeat(5000))).await?;
    let dead = queue.dead_letters().must_come("a dead letter", Duration::ZERO).await?;
    let reason = dead.dead_letter.and_then(|dead| dead.reason).unwrap_or_default();
    let expected = DeadLetter::kept_reason("ö".repeat(5000));
    ensure_eq!(reason.len(), expected.len(), "bytes that are kept of a long reason");
    Ok(())
}

fn bury(queue: &QueueTrial, content: Content, dead_letter: DeadLetter) -> Operation {
    Operation::Bury { queue: queue.name.clone(), content, dead_letter: Box::new(dead_letter) }
}

fn death(trial: &Trial, topic: &str) -> DeadLetter {
    DeadLetter {
        cause: Cause::Undecodable,
        reason: Some("no JSON".to_owned()),
        origin: Origin::Topic { topic: name(topic), group: name("readers"), partition: 0, position: 7 },
        deliveries: 3,
        at: trial.now(),
        redrives: 0,
    }
}

async fn what_can_not_be_read_is_buried_as_it_came(trial: &mut Trial) -> Result<(), Stop> {
    let needs = QueueSpec { depth_max: Some(1), ..trial.spec_with(NEEDS) };
    let failed = trial.queue("failed", &needs).await?;
    failed.send(event("full")).await?;
    let content = Content::Undecodable {
        bytes: Bytes::from((0..=255).collect::<Vec<u8>>()),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        problem: "an envelope has no id".to_owned(),
    };
    let dead = death(trial, "prices");
    let outcome = failed.one(bury(&failed, content.clone(), dead.clone())).await?;
    ensure!(matches!(outcome, Outcome::Stored(_)), "what is buried: {outcome:?}");
    let found = failed.browse().await?.pop().ok_or(Stop::Failed("nothing is buried".to_owned()))?;
    ensure_eq!(found.content, content, "what was buried");
    ensure_eq!(found.dead_letter.as_deref(), Some(&dead), "of what it died");
    let to = trial.queue("repaired", &trial.spec_with(NEEDS)).await?;
    failed.one(redrive(&failed, found.position, &to)).await?;
    let lease = to.must_come("what was redriven", Duration::ZERO).await?;
    ensure_eq!(lease.content, content, "what was redriven");
    let expected = DeadLetter { redrives: 1, ..dead };
    ensure_eq!(lease.dead_letter.as_deref(), Some(&expected), "of what it had died");
    Ok(())
}

async fn what_a_group_could_not_handle_is_buried_with_its_advance(trial: &mut Trial) -> Result<(), Stop> {
    let failed = trial.queue("failed", &trial.queue_spec()).await?;
    let topic = trial.topic("prices", &trial.topic_spec()).await?;
    let position = topic.append_at(event("poison")).await?;
    let member = topic.join("first", trial.ticks(500)).await?;
    let commit = || {
        let poison = Content::Envelope(event("poison"));
        [bury(&failed, poison, death(trial, "prices")), topic.advance_to(&member.membership, 0, position + 1)]
    };
    supported(failed.commit(commit()).await)??;
    // Its outcome got lost, and it is sent again.
    let again = failed.try_commit(commit()).await;
    ensure_eq!(again, Ok(Committed::DoneBefore), "the same again");
    ensure_eq!(failed.len().await?, 1, "copies of what a group could not handle");
    ensure_eq!(topic.lag().await?[0].records, 0, "records that are left to the group");
    Ok(())
}
