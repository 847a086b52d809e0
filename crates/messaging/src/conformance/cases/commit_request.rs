use bytes::Bytes;
use intertie_idempotency::{Decision, Fingerprint, Key};

use super::cases;
use crate::commit::{CommitError, Committed, Operation, Outcome, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::{QueueTrial, supported};
use crate::conformance::trial::{Trial, event, send};

cases!(Commit, "request":
    a_request_is_completed_with_what_it_sends,
    a_request_that_was_completed_sends_nothing_again,
    a_request_that_is_anothers_sends_nothing,
    a_completed_request_outlasts_a_restart,
);

fn key() -> Key {
    Key::parse(b"order-7").expect("a key")
}

fn fingerprint() -> Fingerprint {
    Fingerprint::of("POST", "/orders", b"{}")
}

async fn begin(trial: &Trial) -> Result<Decision, Stop> {
    let began = trial.requests()?.begin("ann", &key(), fingerprint(), trial.ticks(10)).await;
    began.map_err(|error| Stop::Failed(error.to_string()))
}

async fn fence(trial: &Trial) -> Result<u64, Stop> {
    match begin(trial).await? {
        Decision::Begin { fence } => Ok(fence),
        other => Err(Stop::Failed(format!("a request that nobody does: {other:?}"))),
    }
}

fn complete(trial: &Trial, fence: u64) -> Operation {
    let (scope, kept) = ("ann".to_owned(), trial.ticks(500));
    Operation::Complete { scope, key: key(), fence, answer: Some(Bytes::from_static(b"201")), kept }
}

fn all(trial: &Trial, fence: u64, shipments: &QueueTrial) -> [Operation; 2] {
    [complete(trial, fence), send(shipments, event("shipment"))]
}

fn replay() -> Decision {
    Decision::Replay(Some(Bytes::from_static(b"201")))
}

async fn a_request_is_completed_with_what_it_sends(trial: &mut Trial) -> Result<(), Stop> {
    let fence = fence(trial).await?;
    let shipments = trial.queue("shipments", &trial.queue_spec()).await?;
    let outcomes = shipments.commit(all(trial, fence, &shipments)).await?;
    ensure!(matches!(outcomes[..], [Outcome::Done, Outcome::Stored(_)]), "outcomes: {outcomes:?}");
    ensure_eq!(begin(trial).await?, replay(), "a request that was done");
    ensure_eq!(shipments.len().await?, 1, "what it sent");
    Ok(())
}

async fn a_request_that_was_completed_sends_nothing_again(trial: &mut Trial) -> Result<(), Stop> {
    let fence = fence(trial).await?;
    let shipments = trial.queue("shipments", &trial.queue_spec()).await?;
    shipments.commit(all(trial, fence, &shipments)).await?;
    let again = shipments.try_commit(all(trial, fence, &shipments)).await;
    ensure_eq!(again, Ok(Committed::DoneBefore), "a request that is completed again");
    ensure_eq!(shipments.len().await?, 1, "what it sent");
    let completed = trial.requests()?.complete("ann", &key(), fence, None, trial.ticks(500)).await;
    ensure_eq!(completed, Ok(()), "a request that was completed in a commit, completed again by itself");
    ensure_eq!(begin(trial).await?, replay(), "its answer");
    Ok(())
}

async fn a_request_that_is_anothers_sends_nothing(trial: &mut Trial) -> Result<(), Stop> {
    let slow = fence(trial).await?;
    let shipments = trial.queue("shipments", &trial.queue_spec()).await?;
    trial.pass_ticks(11).await;
    let other = fence(trial).await?;
    ensure!(other > slow, "fences do not grow: {slow}, {other}");
    let lost = supported(shipments.try_commit(all(trial, slow, &shipments)).await)?;
    let expected = Err(CommitError::Refused { operation: 0, cause: Refused::Lost });
    ensure_eq!(lost, expected, "a request that is another's by now");
    ensure_eq!(shipments.len().await?, 0, "what it sent");
    shipments.commit(all(trial, other, &shipments)).await?;
    Ok(())
}

async fn a_completed_request_outlasts_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let fence = fence(trial).await?;
    let shipments = trial.queue("shipments", &trial.queue_spec()).await?;
    shipments.commit(all(trial, fence, &shipments)).await?;
    let again = all(trial, fence, &shipments);
    let shipments = trial.restart_with_queue(shipments).await?;
    ensure_eq!(begin(trial).await?, replay(), "a request that was done before a restart");
    ensure_eq!(shipments.try_commit(again).await, Ok(Committed::DoneBefore), "its commit again");
    ensure_eq!(shipments.len().await?, 1, "what it sent");
    Ok(())
}
