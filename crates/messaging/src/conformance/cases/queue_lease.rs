use std::num::NonZeroU32;
use std::time::Duration;

use super::cases;
use crate::commit::Committed;
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::trial::{Trial, event, many};
use crate::queue::{Cause, LeaseRequest, QueueSpec, QueueVerb, Settlement};
use crate::{EngineError, Name};

cases!(Queue, "lease":
    a_lease_that_ends_counts_and_its_message_comes_again,
    a_settlement_that_comes_late_is_stale,
    a_stale_settlement_harms_nobody,
    the_same_settlement_again_is_done_before,
    of_settlements_that_race_one_is_done,
    another_settlement_of_a_settled_lease_is_stale,
    an_extended_lease_lasts_past_its_first_end,
    an_extension_may_be_shorter,
    a_lease_that_is_over_can_not_be_extended,
    a_consumer_may_ask_for_another_time,
    a_release_does_not_count,
    a_retry_comes_no_earlier_than_asked,
    a_retry_that_says_no_time_waits_as_declared,
    a_retry_outlasts_a_restart,
    no_more_leases_than_leases_max,
);

const RETRY_NOW: Settlement = Settlement::Retry { after: Some(Duration::ZERO) };

async fn a_lease_that_ends_counts_and_its_message_comes_again(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    ensure!(lease.until > trial.now(), "a lease is over when it is handed out");
    trial.pass_ticks(8).await;
    ensure_eq!(queue.lease_ids(1).await?, Vec::<String>::new(), "a message that is still held");
    trial.pass_ticks(3).await;
    let again = queue.must_come("a message whose lease is over", trial.ticks(5)).await?;
    ensure_eq!(again.deliveries.get(), 2, "deliveries");
    ensure_eq!(again.position, lease.position, "the position of a message that comes again");
    ensure!(again.id != lease.id, "two deliveries have one lease");
    queue.ack(&again).await
}

async fn a_settlement_that_comes_late_is_stale(trial: &mut Trial) -> Result<(), Stop> {
    let reason = || "late".to_owned();
    let settlements = [
        Settlement::Ack,
        RETRY_NOW,
        Settlement::Release,
        Settlement::DeadLetter { cause: Cause::Rejected, reason: reason() },
    ];
    for (at, settlement) in settlements.into_iter().enumerate() {
        let queue = trial.queue(&format!("orders-{at}"), &trial.queue_spec()).await?;
        queue.send(event("a")).await?;
        let lease = queue.must_come("a message", Duration::ZERO).await?;
        trial.pass_ticks(11).await;
        queue.must_be_stale(&lease, settlement).await?;
        ensure_eq!(queue.len().await?, 1, "messages after a late settlement");
    }
    Ok(())
}

async fn a_stale_settlement_harms_nobody(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    trial.pass_ticks(11).await;
    let others = queue.must_come("a message whose lease is over", trial.ticks(5)).await?;
    queue.must_be_stale(&lease, Settlement::Ack).await?;
    queue.must_be_stale(&lease, Settlement::Release).await?;
    ensure_eq!(queue.depth().await?.in_flight, 1, "messages that the second consumer holds");
    queue.ack(&others).await?;
    ensure_eq!(queue.len().await?, 0, "depth when all is done");
    Ok(())
}

async fn the_same_settlement_again_is_done_before(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let reject = Settlement::DeadLetter { cause: Cause::Rejected, reason: "broken".to_owned() };
    let later = Settlement::Retry { after: Some(trial.ticks(100)) };
    for settlement in [Settlement::Ack, later, reject] {
        queue.send(event("a")).await?;
        let lease = queue.must_come("a message", Duration::ZERO).await?;
        queue.end(&lease, settlement.clone()).await?;
        let again = queue.try_commit([queue.settling(&lease, settlement.clone())]).await;
        ensure_eq!(again, Ok(Committed::DoneBefore), "{settlement:?} again");
    }
    ensure_eq!(queue.dead_letters().len().await?, 1, "copies of a message that was rejected twice");
    Ok(())
}

async fn of_settlements_that_race_one_is_done(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    let reject = Settlement::DeadLetter { cause: Cause::Rejected, reason: "broken".to_owned() };
    let settlements = (0..10).map(|_| [queue.settling(&lease, reject.clone())]);
    let outcomes = queue.race_commits(settlements).await?;
    let done = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Committed::Done(_)))).count();
    let again = outcomes.iter().filter(|outcome| **outcome == Ok(Committed::DoneBefore)).count();
    ensure_eq!((done, again), (1, 9), "settlements of 10 that were done and done before: {outcomes:?}");
    ensure_eq!(queue.dead_letters().len().await?, 1, "copies of a message that was rejected ten times");
    Ok(())
}

async fn another_settlement_of_a_settled_lease_is_stale(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.ack(&lease).await?;
    queue.must_be_stale(&lease, Settlement::Release).await?;
    ensure_eq!(queue.len().await?, 0, "messages after a release of what was acknowledged");
    Ok(())
}

async fn an_extended_lease_lasts_past_its_first_end(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with([QueueVerb::Extend])).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    for _ in 0..3 {
        trial.pass_ticks(7).await;
        let until = queue.engine.extend(&queue.name, &lease.id, trial.ticks(10)).await?;
        ensure!(until > lease.until, "the end after an extension, {until}, is not later");
        ensure_eq!(queue.lease_ids(1).await?, Vec::<String>::new(), "a message of an extended lease");
    }
    queue.ack(&lease).await?;
    ensure_eq!(queue.len().await?, 0, "depth when all is done");
    Ok(())
}

async fn an_extension_may_be_shorter(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with([QueueVerb::Extend])).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.engine.extend(&queue.name, &lease.id, trial.ticks(2)).await?;
    trial.pass_ticks(3).await;
    queue.must_come("a message whose lease was cut short", trial.ticks(3)).await?;
    queue.must_be_stale(&lease, Settlement::Ack).await
}

async fn a_lease_that_is_over_can_not_be_extended(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with([QueueVerb::Extend])).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    trial.pass_ticks(11).await;
    let extended = queue.engine.extend(&queue.name, &lease.id, trial.ticks(10)).await;
    ensure_eq!(extended, Err(EngineError::StaleLease), "an extension that comes late");
    let again = queue.must_come("a message whose lease is over", trial.ticks(5)).await?;
    queue.ack(&again).await?;
    let extended = queue.engine.extend(&queue.name, &again.id, trial.ticks(10)).await;
    ensure_eq!(extended, Err(EngineError::StaleLease), "an extension of what was acknowledged");
    Ok(())
}

async fn a_consumer_may_ask_for_another_time(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with([QueueVerb::LeaseTime])).await?;
    queue.send(event("a")).await?;
    let request = queue.request("hasty", 1, Duration::ZERO);
    let request = LeaseRequest { visibility_timeout: Some(trial.ticks(2)), ..request };
    queue.engine.lease(&request).await?;
    trial.pass_ticks(3).await;
    let again = queue.must_come("a message of a short lease", trial.ticks(3)).await?;
    ensure_eq!(again.deliveries.get(), 2, "deliveries");
    Ok(())
}

async fn a_release_does_not_count(trial: &mut Trial) -> Result<(), Stop> {
    let twice = NonZeroU32::new(2).expect("2 is not zero");
    let spec = QueueSpec { max_deliveries: twice, ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("a")).await?;
    for _ in 0..5 {
        let lease = queue.must_come("a message that was released", Duration::ZERO).await?;
        ensure_eq!(lease.deliveries.get(), 1, "deliveries of a message that was only released");
        queue.end(&lease, Settlement::Release).await?;
    }
    ensure_eq!(queue.dead_letters().len().await?, 0, "dead letters");
    Ok(())
}

async fn a_retry_comes_no_earlier_than_asked(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.end(&lease, Settlement::Retry { after: Some(trial.ticks(20)) }).await?;
    let depth = queue.depth().await?;
    ensure_eq!((depth.ready, depth.delayed, depth.in_flight), (0, 1, 0), "ready, delayed and held messages");
    trial.pass(trial.ticks(20) - trial.edge().before).await;
    ensure_eq!(queue.lease_ids(1).await?, Vec::<String>::new(), "a message before its time");
    trial.pass(trial.edge().across).await;
    let again = queue.must_come("a message that is to be repeated", trial.ticks(5)).await?;
    ensure_eq!(again.deliveries.get(), 2, "deliveries");
    Ok(())
}

async fn a_retry_that_says_no_time_waits_as_declared(trial: &mut Trial) -> Result<(), Stop> {
    let mut spec = trial.queue_spec();
    spec.redelivery.base = trial.ticks(5);
    spec.redelivery.cap = trial.ticks(10);
    spec.redelivery.multiplier = many(2);
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("a")).await?;
    for wait in [5, 10, 10] {
        let lease = queue.must_come("a message", trial.ticks(3)).await?;
        queue.end(&lease, Settlement::Retry { after: None }).await?;
        trial.pass_ticks(wait - 1).await;
        ensure_eq!(queue.lease_ids(1).await?, Vec::<String>::new(), "a message before its {wait} ticks");
        trial.pass_ticks(1).await;
    }
    Ok(())
}

async fn a_retry_outlasts_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.end(&lease, Settlement::Retry { after: Some(trial.ticks(20)) }).await?;
    let queue = trial.restart_with_queue(queue).await?;
    trial.pass_ticks(5).await;
    ensure_eq!(queue.lease_ids(1).await?, Vec::<String>::new(), "a message before its time");
    let again = queue.must_come("a message that is to be repeated", trial.ticks(25)).await?;
    ensure_eq!(again.deliveries.get(), 2, "deliveries, of which one was before the restart");
    Ok(())
}

async fn no_more_leases_than_leases_max(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec { leases_max: many(3), ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    for at in 0..5 {
        queue.send(event(&at.to_string())).await?;
    }
    let leases = queue.lease(2).await?;
    let other: Name = "other".parse().expect("a name");
    let request = LeaseRequest { consumer: other, ..queue.request("other", 5, Duration::ZERO) };
    ensure_eq!(queue.engine.lease(&request).await?.len(), 1, "leases of a second consumer");
    ensure_eq!(queue.lease(5).await?.len(), 0, "leases beyond the limit");
    queue.ack(&leases[0]).await?;
    ensure_eq!(queue.lease(5).await?.len(), 1, "leases when one was given back");
    Ok(())
}
