use std::time::Duration;

use intertie_core::clock::Timestamp;

use super::cases;
use crate::commit::{CommitError, Operation, Outcome, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::QueueTrial;
use crate::conformance::trial::{Trial, event, id};
use crate::message::{Due, Message};
use crate::queue::{Cause, QueueSpec, QueueVerb, Settlement, TtlCounts};

cases!(Queue, "time":
    what_waits_longer_than_ttl_is_dead,
    a_message_may_ask_for_less_than_ttl_and_not_for_more,
    ttl_stands_still_while_a_consumer_has_the_message,
    a_delayed_message_comes_when_it_is_due,
    a_message_comes_at_its_moment,
    a_moment_that_has_passed_is_now,
    a_delay_outlasts_a_restart,
    what_waits_is_cancelled_once,
    what_a_consumer_holds_is_not_cancelled,
    a_queue_without_delays_refuses_them,
    a_cancelled_message_can_be_sent_again,
    the_age_of_a_message_goes_on_while_it_is_repeated,
);

const NOBODY: Vec<String> = Vec::new();

async fn causes(queue: &QueueTrial) -> Result<Vec<(String, Cause)>, Stop> {
    let dead = queue.dead_letters().browse().await?;
    let cause = |message: &crate::queue::Browsed| {
        let dead = message.dead_letter.as_ref()?;
        Some((id(&message.content).to_owned(), dead.cause))
    };
    Ok(dead.iter().filter_map(cause).collect())
}

async fn what_waits_longer_than_ttl_is_dead(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec { ttl: Some(trial.ticks(10)), ..trial.spec_with([QueueVerb::Browse]) };
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("in-time")).await?;
    trial.pass_ticks(8).await;
    ensure_eq!(queue.lease_ids(1).await?, ["in-time"], "a message within `ttl`");
    queue.send(event("late")).await?;
    trial.pass_ticks(11).await;
    ensure_eq!(queue.lease_ids(10).await?, ["in-time"], "messages after `ttl` and the end of a lease");
    ensure_eq!(causes(&queue).await?, [("late".to_owned(), Cause::Expired)], "dead letters");
    Ok(())
}

async fn a_message_may_ask_for_less_than_ttl_and_not_for_more(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec {
        ttl: Some(trial.ticks(20)),
        ..trial.spec_with([QueueVerb::Browse, QueueVerb::Expirytime])
    };
    let mortal = trial.queue("mortal", &spec).await?;
    mortal.send(event("less").with_expiry_time(trial.in_ticks(5))).await?;
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("less").with_expiry_time(trial.in_ticks(5))).await?;
    queue.send(event("more").with_expiry_time(trial.in_ticks(100))).await?;
    queue.send(event("none")).await?;
    trial.pass_ticks(6).await;
    ensure_eq!(mortal.lease_ids(10).await?, NOBODY, "messages after their `expirytime`");
    ensure_eq!(causes(&mortal).await?, [("less".to_owned(), Cause::Expired)], "its dead letters");
    queue.send(event("later")).await?;
    trial.pass_ticks(15).await;
    ensure_eq!(queue.lease_ids(10).await?, ["later"], "messages after `ttl`");
    let mut dead = causes(&queue).await?;
    dead.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = ["less", "more", "none"].map(|id| (id.to_owned(), Cause::Expired));
    ensure_eq!(dead, expected, "dead letters");
    ensure_eq!(queue.dead_letters().lease(10).await?.len(), 3, "dead letters whose `expirytime` is over");
    Ok(())
}

async fn ttl_stands_still_while_a_consumer_has_the_message(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec {
        ttl: Some(trial.ticks(10)),
        visibility_timeout: trial.ticks(50),
        ..trial.spec_with([QueueVerb::Browse])
    };
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    trial.pass_ticks(30).await;
    queue.ack(&lease).await?;
    ensure_eq!(causes(&queue).await?, [], "dead letters");
    Ok(())
}

async fn delayed(trial: &Trial) -> Result<QueueTrial, Stop> {
    trial.queue("orders", &QueueSpec { delays: true, ..trial.queue_spec() }).await
}

async fn cancellable(trial: &Trial) -> Result<QueueTrial, Stop> {
    let needs = [QueueVerb::Positions, QueueVerb::Cancel, QueueVerb::Browse];
    trial.queue("orders", &QueueSpec { delays: true, ..trial.spec_with(needs) }).await
}

async fn comes_after(trial: &Trial, queue: &QueueTrial, ticks: u32) -> Result<(), Stop> {
    let depth = queue.depth().await?;
    ensure_eq!((depth.ready, depth.delayed, depth.oldest), (0, 1, None), "ready, delayed and oldest");
    trial.pass(trial.ticks(ticks) - trial.edge().before).await;
    ensure_eq!(queue.lease_ids(1).await?, NOBODY, "messages before their time");
    trial.pass(trial.edge().across).await;
    let lease = queue.must_come("a message that is due", trial.ticks(2)).await?;
    ensure_eq!(lease.deliveries.get(), 1, "deliveries");
    queue.ack(&lease).await
}

async fn a_delayed_message_comes_when_it_is_due(trial: &mut Trial) -> Result<(), Stop> {
    let queue = delayed(trial).await?;
    queue.send(Message { due: Due::After(trial.ticks(10)), ..event("a").into() }).await?;
    comes_after(trial, &queue, 10).await
}

async fn a_message_comes_at_its_moment(trial: &mut Trial) -> Result<(), Stop> {
    let queue = delayed(trial).await?;
    queue.send(Message { due: Due::At(trial.in_ticks(10)), ..event("a").into() }).await?;
    comes_after(trial, &queue, 10).await
}

async fn a_moment_that_has_passed_is_now(trial: &mut Trial) -> Result<(), Stop> {
    let queue = delayed(trial).await?;
    queue.send(Message { due: Due::At(Timestamp::from_unix_seconds(1)), ..event("a").into() }).await?;
    queue.send(Message { due: Due::After(Duration::ZERO), ..event("b").into() }).await?;
    ensure_eq!(queue.lease(2).await?.len(), 2, "messages that are due at once");
    Ok(())
}

async fn a_delay_outlasts_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let queue = delayed(trial).await?;
    queue.send(Message { due: Due::After(trial.ticks(20)), ..event("a").into() }).await?;
    let queue = trial.restart_with_queue(queue).await?;
    trial.pass_ticks(5).await;
    ensure_eq!(queue.lease_ids(1).await?, NOBODY, "messages before their time");
    queue.must_come("a message that is due", trial.ticks(20)).await?;
    Ok(())
}

fn cancel(queue: &QueueTrial, position: Option<u64>) -> Operation {
    Operation::Cancel { queue: queue.name.clone(), position: position.unwrap_or(u64::MAX) }
}

const NOT_WAITING: Result<Outcome, CommitError> =
    Err(CommitError::Refused { operation: 0, cause: Refused::NotWaiting });

async fn what_waits_is_cancelled_once(trial: &mut Trial) -> Result<(), Stop> {
    let queue = cancellable(trial).await?;
    let position = queue.send(Message { due: Due::After(trial.ticks(10)), ..event("a").into() }).await?;
    let other = queue.send(Message { due: Due::After(trial.ticks(10)), ..event("b").into() }).await?;
    let twice = queue.commit([cancel(&queue, other), cancel(&queue, other)]).await;
    let refused = CommitError::Refused { operation: 1, cause: Refused::NotWaiting };
    ensure_eq!(twice, Err(refused), "a message cancelled twice in one commit");
    ensure_eq!(queue.one(cancel(&queue, position)).await, Ok(Outcome::Done), "the first cancel");
    ensure_eq!(queue.one(cancel(&queue, position)).await, NOT_WAITING, "the second cancel");
    ensure_eq!(
        queue.one(cancel(&queue, other.map(|other| other + 1000))).await,
        NOT_WAITING,
        "a position that never was"
    );
    trial.pass_ticks(12).await;
    ensure_eq!(queue.lease_ids(10).await?, ["b"], "messages of which one was cancelled");
    ensure_eq!(causes(&queue).await?, [], "dead letters");
    Ok(())
}

async fn what_a_consumer_holds_is_not_cancelled(trial: &mut Trial) -> Result<(), Stop> {
    let queue = cancellable(trial).await?;
    let position = queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    ensure_eq!(queue.one(cancel(&queue, position)).await, NOT_WAITING, "a cancel of what is held");
    queue.end(&lease, Settlement::Ack).await?;
    ensure_eq!(queue.one(cancel(&queue, position)).await, NOT_WAITING, "a cancel of what is done");
    Ok(())
}

async fn a_queue_without_delays_refuses_them(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let later = Message { due: Due::After(trial.ticks(5)), ..event("a").into() };
    let Refused::NotDeclared { key, .. } = queue.refused(later).await? else {
        return Err(Stop::Failed("a delay that was not declared is refused for another reason".to_owned()));
    };
    ensure_eq!(key, "delays", "the key that would allow it");
    ensure_eq!(queue.len().await?, 0, "depth");
    Ok(())
}

async fn a_cancelled_message_can_be_sent_again(trial: &mut Trial) -> Result<(), Stop> {
    let needs = [QueueVerb::Positions, QueueVerb::Cancel];
    let deduplication_window = Some(trial.ticks(500));
    let queue = trial.queue("orders", &QueueSpec { deduplication_window, ..trial.spec_with(needs) }).await?;
    let other = queue.send(event("b")).await?;
    let position = queue.send(event("a")).await?;
    ensure_eq!(queue.one(cancel(&queue, position)).await, Ok(Outcome::Done), "a cancel");
    let again = queue.send(event("a")).await?;
    ensure!(again > position, "the position of a message that was sent again: {again:?}");
    let duplicate = queue.try_send(event("a")).await?;
    ensure!(matches!(duplicate, Outcome::Duplicate(_)), "the same id once more: {duplicate:?}");
    let duplicate = queue.try_send(event("b")).await?;
    let is_first = matches!(duplicate, Outcome::Duplicate(receipt) if receipt.position == other);
    ensure!(is_first, "an id of which no message was cancelled: {duplicate:?}");
    ensure_eq!(queue.len().await?, 2, "depth");
    Ok(())
}

async fn the_age_of_a_message_goes_on_while_it_is_repeated(trial: &mut Trial) -> Result<(), Stop> {
    let ttl = Some(trial.ticks(20));
    let spec = QueueSpec { ttl, ttl_counts: TtlCounts::Age, ..trial.spec_with([QueueVerb::Browse]) };
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("a")).await?;
    for _ in 0..2 {
        trial.pass_ticks(8).await;
        let lease = queue.must_come("a message within `ttl`", trial.ticks(1)).await?;
        queue.end(&lease, Settlement::Retry { after: Some(Duration::ZERO) }).await?;
    }
    trial.pass_ticks(6).await;
    ensure_eq!(queue.lease_ids(10).await?, NOBODY, "messages that are older than `ttl`");
    ensure_eq!(causes(&queue).await?, [("a".to_owned(), Cause::Expired)], "dead letters");
    let wait = QueueSpec { ttl_counts: TtlCounts::Wait, ..spec };
    let queue = trial.queue("patient", &wait).await?;
    queue.send(event("a")).await?;
    for _ in 0..4 {
        trial.pass_ticks(8).await;
        let lease = queue.must_come("a message that waits anew", trial.ticks(1)).await?;
        queue.end(&lease, Settlement::Retry { after: Some(Duration::ZERO) }).await?;
    }
    Ok(())
}
