use std::time::Duration;

use super::cases;
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::QueueTrial;
use crate::conformance::trial::{Trial, event, name};
use crate::queue::{Cause, QueueSpec, Settlement};
use crate::{DeclareError, Durability, EngineError, Name, Unfit};

cases!(Queue, "dead_letter_target":
    a_queue_of_dead_letters_is_not_deleted,
    a_queue_of_dead_letters_outlasts_the_process_like_its_sources,
    a_queue_of_dead_letters_is_not_removed_for_idleness,
    a_queue_of_dead_letters_is_as_durable_as_its_sources,
    dead_letters_do_not_go_in_a_circle,
    empty_dead_letters_go_with_their_queue,
    the_last_dead_letter_takes_its_queue_along,
);

fn dying_into(target: &QueueTrial, spec: QueueSpec) -> QueueSpec {
    QueueSpec { dead_letter: Some(target.name.clone()), ..spec }
}

/// Why the dead letters of `queue` can not go where `spec` says.
async fn unfit(trial: &Trial, queue: &str, spec: &QueueSpec) -> Result<(Name, Name, Unfit), Stop> {
    match trial.queues()?.declare_queue(&name(queue), spec).await {
        Err(DeclareError::DeadLetter { queue, target, unfit }) => Ok((queue, target, unfit)),
        Err(DeclareError::Refused(refusals)) => Err(Stop::Refused(refusals)),
        other => Err(Stop::Failed(format!("dead letters of `{queue}` get lost: {other:?}"))),
    }
}

async fn a_queue_of_dead_letters_is_not_deleted(trial: &mut Trial) -> Result<(), Stop> {
    let failed = trial.queue("failed", &trial.queue_spec()).await?;
    let orders = trial.queue("orders", &dying_into(&failed, trial.queue_spec())).await?;
    let plain = trial.queue("plain", &trial.queue_spec()).await?;
    for (target, by) in [(&failed, &orders), (&plain.dead_letters(), &plain)] {
        let deleted = target.engine.delete_queue(&target.name).await;
        let expected = Err(EngineError::InUse { by: by.name.clone() });
        ensure_eq!(deleted, expected, "the deletion of a queue that dead letters go to");
        ensure_eq!(target.len().await?, 0, "its depth");
    }
    orders.engine.delete_queue(&orders.name).await?;
    ensure_eq!(failed.engine.delete_queue(&failed.name).await, Ok(()), "its deletion when nobody names it");
    Ok(())
}

async fn a_queue_of_dead_letters_outlasts_the_process_like_its_sources(
    trial: &mut Trial,
) -> Result<(), Stop> {
    let transient = QueueSpec { durable: false, ..trial.queue_spec() };
    let failed = trial.queue("failed", &transient).await?;
    let found = unfit(trial, "orders", &dying_into(&failed, trial.queue_spec())).await?;
    ensure_eq!(found, (name("orders"), name("failed"), Unfit::Transient), "a durable queue");
    trial.queue("hasty", &dying_into(&failed, transient)).await?;
    Ok(())
}

async fn a_queue_of_dead_letters_is_not_removed_for_idleness(trial: &mut Trial) -> Result<(), Stop> {
    let idle = QueueSpec { auto_delete: Some(trial.ticks(20)), ..trial.queue_spec() };
    let fleeting = trial.queue("fleeting", &idle).await?;
    let found = unfit(trial, "orders", &dying_into(&fleeting, trial.queue_spec())).await?;
    ensure_eq!(found, (name("orders"), name("fleeting"), Unfit::AutoDelete), "a queue that may go");
    // Nor does one become so that others name.
    let failed = trial.queue("failed", &trial.queue_spec()).await?;
    trial.queue("orders", &dying_into(&failed, idle.clone())).await?;
    let found = unfit(trial, "failed", &idle).await?;
    ensure_eq!(found, (name("orders"), name("failed"), Unfit::AutoDelete), "a queue that is named");
    trial.pass_ticks(10).await;
    ensure_eq!(failed.len().await?, 0, "depth of a queue that is left as it was");
    Ok(())
}

async fn a_queue_of_dead_letters_is_as_durable_as_its_sources(trial: &mut Trial) -> Result<(), Stop> {
    let (has, needs) = (Durability { copies: 0, synced: 0 }, Durability::UNSYNCED);
    let anyhow = QueueSpec { durability: has, ..trial.queue_spec() };
    let failed = trial.queue("failed", &anyhow).await?;
    let found = unfit(trial, "orders", &dying_into(&failed, trial.queue_spec())).await?;
    ensure_eq!(found, (name("orders"), name("failed"), Unfit::LessDurable { has, needs }), "a safer queue");
    Ok(())
}

async fn dead_letters_do_not_go_in_a_circle(trial: &mut Trial) -> Result<(), Stop> {
    let plain = trial.queue_spec();
    let first = trial.queue("first", &plain).await?;
    let second = trial.queue("second", &dying_into(&first, plain.clone())).await?;
    let third = trial.queue("third", &dying_into(&second, plain.clone())).await?;
    let through = ["third", "second", "first"].map(name).to_vec();
    let found = unfit(trial, "first", &dying_into(&third, plain.clone())).await?;
    ensure_eq!(found, (name("first"), name("third"), Unfit::Circle { through }), "a circle of three");
    let own = trial.queues()?.declare_queue(&name("first"), &dying_into(&first, plain)).await;
    let is_invalid = matches!(&own, Err(DeclareError::Invalid(invalid)) if invalid.field == "dead_letter");
    ensure!(is_invalid, "a queue that is its own queue of dead letters: {own:?}");
    Ok(())
}

async fn gone(queue: &QueueTrial) -> bool {
    matches!(queue.engine.depth(&queue.name).await, Err(EngineError::NotFound { .. }))
}

async fn empty_dead_letters_go_with_their_queue(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let dead = queue.dead_letters();
    ensure_eq!(dead.len().await?, 0, "dead letters of a new queue");
    queue.engine.delete_queue(&queue.name).await?;
    ensure!(gone(&dead).await, "empty dead letters of a queue that was deleted");
    let idle = QueueSpec { auto_delete: Some(trial.ticks(20)), ..trial.queue_spec() };
    let queue = trial.queue("orders", &idle).await?;
    trial.pass_ticks(25).await;
    ensure!(gone(&queue).await && gone(&dead).await, "empty dead letters of a queue that nobody used");
    // Others may have named them.
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let other = trial.queue("others", &dying_into(&dead, trial.queue_spec())).await?;
    queue.engine.delete_queue(&queue.name).await?;
    ensure_eq!(dead.len().await?, 0, "dead letters that another queue names");
    other.engine.delete_queue(&other.name).await?;
    ensure!(gone(&dead).await, "empty dead letters that nobody names any more");
    Ok(())
}

async fn the_last_dead_letter_takes_its_queue_along(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let dead = queue.dead_letters();
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    let reason = "broken".to_owned();
    queue.end(&lease, Settlement::DeadLetter { cause: Cause::Rejected, reason }).await?;
    queue.engine.delete_queue(&queue.name).await?;
    ensure_eq!(dead.len().await?, 1, "dead letters of a queue that was deleted");
    let lease = dead.must_come("a dead letter", Duration::ZERO).await?;
    dead.ack(&lease).await?;
    trial.pass_ticks(1).await;
    ensure!(gone(&dead).await, "dead letters of a queue that was deleted, when there are none any more");
    Ok(())
}
