use std::time::Duration;

use intertie_core::quantity::ByteSize;

use super::cases;
use crate::EngineError;
use crate::commit::{CommitError, Committed, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::QueueTrial;
use crate::conformance::trial::{Trial, event, many};
use crate::queue::{Lease, LeaseId, LeaseRequest, QueueSpec, QueueVerb, Settlement};

cases!(Queue, "fence":
    a_lease_of_another_queue_is_stale,
    a_lease_can_not_be_guessed,
    a_settlement_is_known_for_its_window,
    no_more_settlements_are_known_than_settlements_max,
    one_consumer_holds_no_more_than_its_share,
    no_lease_is_longer_than_visibility_timeout_max,
    no_extension_is_longer_than_visibility_timeout_max,
    leases_are_no_larger_than_asked,
);

async fn held(queue: &QueueTrial, id: &str) -> Result<Lease, Stop> {
    queue.send(event(id)).await?;
    queue.must_come("a message", Duration::ZERO).await
}

async fn a_lease_of_another_queue_is_stale(trial: &mut Trial) -> Result<(), Stop> {
    let spec = trial.spec_with([QueueVerb::Extend]);
    let orders = trial.queue("orders", &spec).await?;
    let others = trial.queue("others", &spec).await?;
    let lease = held(&orders, "a").await?;
    let own = held(&others, "b").await?;
    others.must_be_stale(&lease, Settlement::Ack).await?;
    let extended = others.engine.extend(&others.name, &lease.id, trial.ticks(10)).await;
    ensure_eq!(extended, Err(EngineError::StaleLease), "an extension in another queue");
    ensure_eq!((orders.len().await?, others.len().await?), (1, 1), "messages of both queues");
    orders.ack(&lease).await?;
    // Nor is one known there that was settled in its own.
    others.must_be_stale(&lease, Settlement::Ack).await?;
    others.ack(&own).await
}

async fn a_lease_can_not_be_guessed(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let lease = held(&queue, "a").await?;
    let text = lease.id.as_str().to_owned();
    for (at, character) in text.char_indices() {
        // Another one of its kind, so that the text keeps its form.
        let other = match character {
            '0'..='8' | 'a'..='e' | 'A'..='E' => char::from_u32(character as u32 + 1).unwrap_or('0'),
            '9' => '0',
            _ => 'a',
        };
        let guess = format!("{}{other}{}", &text[..at], &text[at + character.len_utf8()..]);
        let guess = Lease { id: LeaseId::new(guess), ..lease.clone() };
        queue.must_be_stale(&guess, Settlement::Ack).await?;
    }
    for guess in ["", "0", "1", "-", "..", "\0", &"9".repeat(1000)] {
        queue.must_be_stale(&Lease { id: LeaseId::new(guess), ..lease.clone() }, Settlement::Ack).await?;
    }
    queue.ack(&lease).await
}

async fn again(queue: &QueueTrial, lease: &Lease) -> Result<Committed, CommitError> {
    queue.try_commit([queue.settling(lease, Settlement::Ack)]).await
}

const STALE: Result<Committed, CommitError> =
    Err(CommitError::Refused { operation: 0, cause: Refused::Engine(EngineError::StaleLease) });

async fn a_settlement_is_known_for_its_window(trial: &mut Trial) -> Result<(), Stop> {
    // Longer than the lease, which has nothing to do with it.
    let spec = QueueSpec { settlement_window: trial.ticks(20), ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    let lease = held(&queue, "a").await?;
    queue.ack(&lease).await?;
    trial.pass(trial.ticks(20) - trial.edge().before).await;
    ensure_eq!(again(&queue, &lease).await, Ok(Committed::DoneBefore), "a settlement again, in its window");
    trial.pass(trial.edge().across).await;
    ensure_eq!(again(&queue, &lease).await, STALE, "a settlement again, after its window");
    let none = QueueSpec { settlement_window: Duration::ZERO, ..trial.queue_spec() };
    let queue = trial.queue("none", &none).await?;
    let lease = held(&queue, "a").await?;
    queue.ack(&lease).await?;
    trial.pass(trial.edge().across).await;
    ensure_eq!(again(&queue, &lease).await, STALE, "a settlement again, where none is remembered");
    Ok(())
}

async fn no_more_settlements_are_known_than_settlements_max(trial: &mut Trial) -> Result<(), Stop> {
    let spec =
        QueueSpec { settlement_window: trial.ticks(500), settlements_max: many(3), ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    let mut leases = Vec::new();
    for at in 0..5 {
        let lease = held(&queue, &at.to_string()).await?;
        queue.ack(&lease).await?;
        leases.push(lease);
    }
    for (at, lease) in leases.iter().enumerate() {
        let expected = if at < 2 { STALE } else { Ok(Committed::DoneBefore) };
        ensure_eq!(again(&queue, lease).await, expected, "settlement {at} of 5 again, of which 3 are known");
    }
    Ok(())
}

async fn one_consumer_holds_no_more_than_its_share(trial: &mut Trial) -> Result<(), Stop> {
    let spec =
        QueueSpec { leases_max: many(5), leases_per_consumer_max: Some(many(2)), ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    for at in 0..8 {
        queue.send(event(&at.to_string())).await?;
    }
    let mut counts = Vec::new();
    let mut first = Vec::new();
    for consumer in ["one", "two", "three", "one"] {
        let leases = queue.engine.lease(&queue.request(consumer, 5, Duration::ZERO)).await?;
        counts.push(leases.len());
        first.extend(leases);
    }
    ensure_eq!(counts, [2, 2, 1, 0], "leases of four that asked for 5, of which the first comes twice");
    queue.ack(&first[0]).await?;
    let more = queue.engine.lease(&queue.request("one", 5, Duration::ZERO)).await?;
    ensure_eq!(more.len(), 1, "leases of the first when it has given one back");
    Ok(())
}

fn is_limit<T: std::fmt::Debug>(result: &Result<T, EngineError>) -> bool {
    matches!(result, Err(EngineError::Limit { key: "visibility_timeout_max", .. }))
}

async fn no_lease_is_longer_than_visibility_timeout_max(trial: &mut Trial) -> Result<(), Stop> {
    let spec =
        QueueSpec { visibility_timeout_max: trial.ticks(20), ..trial.spec_with([QueueVerb::LeaseTime]) };
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("a")).await?;
    let ask = |ticks| LeaseRequest {
        visibility_timeout: Some(trial.ticks(ticks)),
        ..queue.request("worker", 1, Duration::ZERO)
    };
    let refused = queue.engine.lease(&ask(21)).await;
    ensure!(is_limit(&refused), "a lease that is longer than allowed: {refused:?}");
    ensure_eq!(queue.depth().await?.in_flight, 0, "messages that are held");
    ensure_eq!(queue.engine.lease(&ask(20)).await?.len(), 1, "leases of the longest time");
    Ok(())
}

async fn no_extension_is_longer_than_visibility_timeout_max(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec { visibility_timeout_max: trial.ticks(20), ..trial.spec_with([QueueVerb::Extend]) };
    let queue = trial.queue("orders", &spec).await?;
    let lease = held(&queue, "a").await?;
    let refused = queue.engine.extend(&queue.name, &lease.id, trial.ticks(21)).await;
    ensure!(is_limit(&refused), "an extension that is longer than allowed: {refused:?}");
    for _ in 0..3 {
        // Again and again is no matter.
        queue.engine.extend(&queue.name, &lease.id, trial.ticks(20)).await?;
        trial.pass_ticks(15).await;
    }
    queue.ack(&lease).await
}

async fn leases_are_no_larger_than_asked(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let large = "x".repeat(1000);
    for id in 0..6 {
        let event = event(&id.to_string()).with_subject(&large);
        queue.send(event.map_err(|error| Stop::Failed(error.to_string()))?).await?;
    }
    let ask = |bytes| LeaseRequest {
        bytes_max: ByteSize::from_bytes(bytes),
        ..queue.request("worker", 10, Duration::ZERO)
    };
    ensure_eq!(queue.engine.lease(&ask(1)).await?.len(), 1, "messages, when one is too large already");
    let some = queue.engine.lease(&ask(3000)).await?.len();
    ensure!((1..=2).contains(&some), "{some} messages of more than 1000 bytes in 3000");
    ensure_eq!(queue.engine.lease(&ask(1 << 20)).await?.len(), 5 - some, "messages that are left");
    Ok(())
}
