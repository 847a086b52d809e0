use intertie_core::envelope::Data;
use intertie_core::quantity::ByteSize;

use super::cases;
use crate::Durability;
use crate::commit::{CommitError, Operation, Outcome, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::QueueTrial;
use crate::conformance::trial::{Trial, event, poll_times, send};
use crate::message::Message;
use crate::queue::{QueueSpec, QueueVerb};

cases!(Queue, "bounds":
    a_batch_is_stored_in_its_order,
    one_bad_message_refuses_the_batch_and_names_itself,
    a_batch_that_is_dropped_is_stored_whole_or_not_at_all,
    an_empty_commit_does_nothing,
    a_message_that_is_too_large_is_refused,
    a_full_queue_refuses_and_drops_nothing,
    sends_that_race_do_not_overfill,
    a_batch_that_does_not_fit_is_refused,
    receipts_are_as_durable_as_asked,
);

fn large(id: &str, bytes: usize) -> Message {
    event(id).with_data(Data::binary(vec![7; bytes]), Some("application/octet-stream")).expect("bytes").into()
}

async fn a_batch_is_stored_in_its_order(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with([QueueVerb::Positions, QueueVerb::Browse])).await?;
    let ids: Vec<_> = (0..100).map(|at| at.to_string()).collect();
    let outcomes = queue.commit(ids.iter().map(|id| send(&queue, event(id)))).await?;
    let positions: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Stored(receipt) => receipt.position,
            _ => None,
        })
        .collect();
    ensure_eq!(positions.len(), ids.len(), "messages of the batch that are stored");
    ensure!(positions.windows(2).all(|pair| pair[0] < pair[1]), "positions do not grow: {positions:?}");
    let browsed: Vec<_> = queue.browse().await?.iter().map(|message| message.position).collect();
    ensure_eq!(browsed, positions, "positions");
    Ok(())
}

async fn one_bad_message_refuses_the_batch_and_names_itself(trial: &mut Trial) -> Result<(), Stop> {
    let message_bytes_max = ByteSize::from_bytes(4096);
    let queue = trial.queue("orders", &QueueSpec { message_bytes_max, ..trial.queue_spec() }).await?;
    let bad = [large("large", 5000), Message { priority: 9, ..event("urgent").into() }];
    for (at, bad) in bad.into_iter().enumerate() {
        let mut batch: Vec<_> = (0..6).map(|id: u32| send(&queue, event(&id.to_string()))).collect();
        batch.insert(at * 3 + 2, Operation::Send { queue: queue.name.clone(), message: bad });
        let refused = queue.commit(batch).await;
        let operation = match &refused {
            Err(CommitError::Refused { operation, .. }) => Some(*operation),
            _ => None,
        };
        ensure_eq!(operation, Some(at * 3 + 2), "the refused operation of {refused:?}");
        ensure_eq!(queue.len().await?, 0, "messages of a refused batch");
    }
    Ok(())
}

async fn a_batch_that_is_dropped_is_stored_whole_or_not_at_all(trial: &mut Trial) -> Result<(), Stop> {
    for polls in 1..100 {
        let queue = trial.queue(&format!("orders-{polls}"), &trial.queue_spec()).await?;
        let ids: Vec<_> = (0..5).map(|at| at.to_string()).collect();
        let batch: Vec<_> = ids.iter().map(|id| send(&queue, event(id))).collect();
        let stored = poll_times(queue.commit(batch), polls).await;
        if stored.is_none() {
            // What was handed over may still be on its way.
            trial.pass_ticks(2).await;
        }
        let depth = queue.len().await?;
        ensure!(depth == 0 || depth == 5, "{depth} of 5 messages are stored after {polls} polls");
        if let Some(stored) = stored {
            stored?;
            ensure_eq!(depth, 5, "messages of a batch that is stored");
            return Ok(());
        }
    }
    Err(Stop::Failed("a commit is not done after 100 polls".to_owned()))
}

async fn an_empty_commit_does_nothing(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    ensure_eq!(queue.commit([]).await, Ok(Vec::new()), "a commit of nothing");
    Ok(())
}

async fn a_message_that_is_too_large_is_refused(trial: &mut Trial) -> Result<(), Stop> {
    let message_bytes_max = ByteSize::from_bytes(4096);
    let queue = trial.queue("orders", &QueueSpec { message_bytes_max, ..trial.queue_spec() }).await?;
    queue.send(large("fits", 2000)).await?;
    let Refused::TooLarge { bytes, limit } = queue.refused(large("large", 4097)).await? else {
        return Err(Stop::Failed("a message that is too large is refused for another reason".to_owned()));
    };
    ensure!(bytes >= 4097 && limit == 4096, "{bytes} bytes of {limit}");
    // Attributes count.
    let wordy = event("wordy").with_subject(&"s".repeat(4097)).expect("a subject");
    ensure!(
        matches!(queue.refused(wordy).await?, Refused::TooLarge { .. }),
        "attributes that are too large are refused for another reason"
    );
    ensure_eq!(queue.len().await?, 1, "depth");
    Ok(())
}

async fn full(trial: &Trial) -> Result<QueueTrial, Stop> {
    trial.queue("orders", &QueueSpec { depth_max: Some(3), ..trial.queue_spec() }).await
}

async fn a_full_queue_refuses_and_drops_nothing(trial: &mut Trial) -> Result<(), Stop> {
    let queue = full(trial).await?;
    for id in ["a", "b", "c"] {
        queue.send(event(id)).await?;
    }
    ensure_eq!(queue.refused(event("d")).await?, Refused::Full { limit: 3 }, "the refusal of a full queue");
    let leases = queue.lease(1).await?;
    ensure_eq!(queue.refused(event("d")).await?, Refused::Full { limit: 3 }, "while one of them is held");
    queue.ack(&leases[0]).await?;
    queue.send(event("d")).await?;
    let mut ids = queue.lease_ids(10).await?;
    ids.sort();
    ensure_eq!(ids, ["b", "c", "d"], "messages of a queue that was full");
    Ok(())
}

async fn sends_that_race_do_not_overfill(trial: &mut Trial) -> Result<(), Stop> {
    let queue = full(trial).await?;
    let ids: Vec<_> = (0..20).map(|at| at.to_string()).collect();
    let outcomes = queue.race(ids.iter().map(|id| send(&queue, event(id)))).await?;
    let stored = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Stored(_)))).count();
    let refused = Err(CommitError::Refused { operation: 0, cause: Refused::Full { limit: 3 } });
    let others = outcomes.iter().filter(|outcome| **outcome == refused).count();
    ensure_eq!((stored, others), (3, 17), "sends of 20 that were stored and that had no room: {outcomes:?}");
    ensure_eq!(queue.len().await?, 3, "depth");
    Ok(())
}

async fn a_batch_that_does_not_fit_is_refused(trial: &mut Trial) -> Result<(), Stop> {
    let queue = full(trial).await?;
    queue.send(event("a")).await?;
    let refused = queue.commit(["b", "c", "d"].map(|id| send(&queue, event(id)))).await;
    let expected = CommitError::Refused { operation: 2, cause: Refused::Full { limit: 3 } };
    ensure_eq!(refused, Err(expected), "three messages where two have room");
    ensure_eq!(queue.len().await?, 1, "depth");
    queue.commit(["b", "c"].map(|id| send(&queue, event(id)))).await?;
    Ok(())
}

async fn receipts_are_as_durable_as_asked(trial: &mut Trial) -> Result<(), Stop> {
    for (copies, synced) in [(1, 0), (1, 1), (2, 1), (3, 3)] {
        let spec = QueueSpec { durability: Durability { copies, synced }, ..trial.queue_spec() };
        match receipt_is_as_durable_as_asked(trial, &format!("orders-{copies}-{synced}"), &spec).await {
            Err(Stop::Refused(_)) if copies + synced > 1 => {}
            other => other?,
        }
    }
    Ok(())
}

async fn receipt_is_as_durable_as_asked(trial: &Trial, name: &str, spec: &QueueSpec) -> Result<(), Stop> {
    let queue = trial.queue(name, spec).await?;
    match queue.try_send(event("a")).await? {
        Outcome::Stored(receipt) => {
            let is = receipt.durability;
            ensure!(is.satisfies(spec.durability), "a receipt says {is}, and {} was asked", spec.durability);
            ensure!(is.synced <= is.copies, "a receipt says {is}");
        }
        other => return Err(Stop::Failed(format!("a message was sent, and the outcome is {other:?}"))),
    }
    Ok(())
}
