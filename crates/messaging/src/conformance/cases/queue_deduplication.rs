use intertie_core::envelope::Envelope;

use super::cases;
use crate::commit::Outcome;
use crate::conformance::case::{Stop, ensure_eq};
use crate::conformance::queue_trial::QueueTrial;
use crate::conformance::trial::{Trial, event, send};
use crate::queue::{QueueSpec, QueueVerb};

cases!(Queue, "deduplication":
    an_id_within_the_window_is_stored_once,
    the_window_ends_at_its_edge,
    an_id_is_remembered_when_its_message_is_done,
    an_id_is_remembered_over_a_restart,
    the_same_id_of_another_source_is_another_message,
    the_same_id_in_another_queue_is_another_message,
    the_same_id_twice_in_one_commit_is_stored_once,
    of_sends_that_race_with_one_id_one_is_stored,
    a_duplicate_fits_into_a_full_queue,
    without_a_window_no_id_is_remembered,
    duplicates_in_a_batch_take_no_room,
);

async fn window(trial: &Trial, name: &str) -> Result<QueueTrial, Stop> {
    let deduplication_window = Some(trial.ticks(20));
    trial.queue(name, &QueueSpec { deduplication_window, ..trial.spec_with([QueueVerb::Positions]) }).await
}

async fn must_be_duplicate(queue: &QueueTrial, of: Option<u64>, when: &str) -> Result<(), Stop> {
    let outcome = queue.try_send(event("a")).await?;
    match outcome {
        Outcome::Duplicate(receipt) => ensure_eq!(receipt.position, of, "the position of the first, {when}"),
        other => return Err(Stop::Failed(format!("an id that was sent before, {when}: {other:?}"))),
    }
    Ok(())
}

async fn an_id_within_the_window_is_stored_once(trial: &mut Trial) -> Result<(), Stop> {
    let queue = window(trial, "orders").await?;
    let position = queue.send(event("a")).await?;
    must_be_duplicate(&queue, position, "at once").await?;
    trial.pass_ticks(10).await;
    must_be_duplicate(&queue, position, "half a window later").await?;
    queue.send(event("b")).await?;
    ensure_eq!(queue.lease(10).await?.len(), 2, "messages");
    Ok(())
}

async fn the_window_ends_at_its_edge(trial: &mut Trial) -> Result<(), Stop> {
    let queue = window(trial, "orders").await?;
    let position = queue.send(event("a")).await?;
    trial.pass(trial.ticks(20) - trial.edge().before).await;
    must_be_duplicate(&queue, position, "just before the edge").await?;
    trial.pass(trial.edge().across).await;
    // The duplicate before the edge did not begin a window of its own.
    let again = queue.send(event("a")).await?;
    must_be_duplicate(&queue, again, "in the next window").await
}

async fn an_id_is_remembered_when_its_message_is_done(trial: &mut Trial) -> Result<(), Stop> {
    let queue = window(trial, "orders").await?;
    let position = queue.send(event("a")).await?;
    let leases = queue.lease(1).await?;
    queue.ack(&leases[0]).await?;
    must_be_duplicate(&queue, position, "when it was acknowledged").await?;
    ensure_eq!(queue.len().await?, 0, "depth");
    Ok(())
}

async fn an_id_is_remembered_over_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let queue = window(trial, "orders").await?;
    let position = queue.send(event("a")).await?;
    let queue = trial.restart_with_queue(queue).await?;
    must_be_duplicate(&queue, position, "after a restart").await
}

async fn the_same_id_of_another_source_is_another_message(trial: &mut Trial) -> Result<(), Stop> {
    let queue = window(trial, "orders").await?;
    queue.send(event("a")).await?;
    queue.send(Envelope::new("a", "/elsewhere", "tested").expect("an event")).await?;
    ensure_eq!(queue.lease(10).await?.len(), 2, "messages of one id and two sources");
    Ok(())
}

async fn the_same_id_in_another_queue_is_another_message(trial: &mut Trial) -> Result<(), Stop> {
    window(trial, "orders").await?.send(event("a")).await?;
    let other = window(trial, "shipments").await?;
    other.send(event("a")).await?;
    ensure_eq!(other.lease(10).await?.len(), 1, "messages of an id that another queue has");
    Ok(())
}

async fn the_same_id_twice_in_one_commit_is_stored_once(trial: &mut Trial) -> Result<(), Stop> {
    let queue = window(trial, "orders").await?;
    let outcomes = queue.commit([send(&queue, event("a")), send(&queue, event("a"))]).await?;
    match outcomes[..] {
        [Outcome::Stored(first), Outcome::Duplicate(second)] => {
            ensure_eq!(second.position, first.position, "the position of the second");
        }
        _ => return Err(Stop::Failed(format!("one id twice in a commit: {outcomes:?}"))),
    }
    ensure_eq!(queue.len().await?, 1, "depth");
    Ok(())
}

async fn of_sends_that_race_with_one_id_one_is_stored(trial: &mut Trial) -> Result<(), Stop> {
    let queue = window(trial, "orders").await?;
    let outcomes = queue.race((0..20).map(|_| send(&queue, event("a")))).await?;
    let stored = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Stored(_)))).count();
    let again = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Duplicate(_)))).count();
    ensure_eq!(
        (stored, again),
        (1, 19),
        "sends of 20 that were stored and that were duplicates: {outcomes:?}"
    );
    ensure_eq!(queue.len().await?, 1, "depth");
    Ok(())
}

async fn a_duplicate_fits_into_a_full_queue(trial: &mut Trial) -> Result<(), Stop> {
    let deduplication_window = Some(trial.ticks(20));
    let spec = QueueSpec { deduplication_window, depth_max: Some(1), ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    let position = queue.send(event("a")).await?;
    must_be_duplicate(&queue, position, "when the queue is full").await
}

async fn without_a_window_no_id_is_remembered(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(event("a")).await?;
    queue.send(event("a")).await?;
    ensure_eq!(queue.lease(10).await?.len(), 2, "messages of one id");
    Ok(())
}

async fn duplicates_in_a_batch_take_no_room(trial: &mut Trial) -> Result<(), Stop> {
    let deduplication_window = Some(trial.ticks(20));
    let spec = QueueSpec { deduplication_window, depth_max: Some(3), ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("a")).await?;
    let batch = ["a", "b", "b", "a", "c", "b"].map(|id| send(&queue, event(id)));
    let outcomes = queue.commit(batch).await?;
    let stored: Vec<_> = outcomes.iter().map(|outcome| matches!(outcome, Outcome::Stored(_))).collect();
    ensure_eq!(stored, [false, true, false, false, true, false], "what of a batch is stored");
    ensure_eq!(queue.len().await?, 3, "depth");
    Ok(())
}
