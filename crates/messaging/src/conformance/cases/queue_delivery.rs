use std::collections::BTreeMap;
use std::time::Duration;

use intertie_core::envelope::{Data, Envelope};
use tokio::task::JoinSet;

use super::cases;
use crate::EngineError;
use crate::commit::{CommitError, Outcome, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::QueueTrial;
use crate::conformance::trial::{Trial, event, id, name, poll_times, send};
use crate::message::{Content, Due, Message};
use crate::queue::{LeaseRequest, QueueSpec, QueueVerb, Settlement};

cases!(Queue, "delivery":
    a_message_is_leased_once_and_gone_after_its_ack,
    messages_come_as_they_were_sent,
    competing_consumers_get_each_message_once,
    no_more_messages_come_than_there_is_credit_for,
    a_waiting_consumer_wakes_when_a_message_is_sent,
    a_waiting_consumer_wakes_when_a_message_is_due,
    a_waiting_consumer_wakes_when_a_lease_ends,
    a_wait_for_nothing_ends_in_time,
    a_dropped_lease_loses_and_keeps_nothing,
    a_dropped_wait_loses_and_keeps_nothing,
    settlements_race_the_end_of_leases_and_one_wins,
    what_was_stored_outlasts_a_restart,
    an_unknown_queue_is_refused_with_the_nearest_name,
);

async fn a_message_is_leased_once_and_gone_after_its_ack(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with([QueueVerb::Positions])).await?;
    let mut sent = Vec::new();
    for id in ["a", "b", "c"] {
        sent.push(queue.send(event(id)).await?);
    }
    ensure!(sent[0].is_some() && sent[0] < sent[1] && sent[1] < sent[2], "positions do not grow: {sent:?}");
    let leases = queue.lease(10).await?;
    let mut positions: Vec<_> = leases.iter().map(|lease| lease.position).collect();
    positions.sort_unstable();
    ensure_eq!(positions, sent, "leased positions");
    for lease in &leases {
        ensure_eq!(lease.deliveries.get(), 1, "deliveries at the first of them");
        ensure!(lease.dead_letter.is_none(), "a living message has a cause of death");
    }
    ensure_eq!(queue.lease_ids(10).await?, Vec::<String>::new(), "messages that somebody holds");
    for lease in &leases {
        queue.ack(lease).await?;
    }
    trial.pass_ticks(20).await;
    ensure_eq!(queue.lease_ids(10).await?, Vec::<String>::new(), "messages that were acknowledged");
    ensure_eq!(queue.len().await?, 0, "depth when all is done");
    ensure_eq!(queue.dead_letters().len().await?, 0, "dead letters when all is done");
    Ok(())
}

/// A message with everything that an envelope may have.
pub(super) fn rich(id: &str) -> Envelope {
    let event = Envelope::new(id, "https://shop.example/orders?of=gr%C3%B6%C3%9Fe", "com.example.ordered")
        .and_then(|event| event.with_subject("Ünïcode 💡 \"quoted\""))
        .and_then(|event| event.with_data_schema("https://shop.example/schema"))
        .and_then(|event| event.with_correlation_id("flow-1"))
        .and_then(|event| event.with_causation_id("cause-1"))
        .and_then(|event| event.with_reply_to("answers"))
        .and_then(|event| event.with_extension("flagged", true))
        .and_then(|event| event.with_extension("count", -7));
    let bytes: Vec<u8> = (0..=255).collect();
    let event =
        event.and_then(|event| event.with_data(Data::binary(bytes), Some("application/octet-stream")));
    let time = "2018-04-05T17:31:00.123+02:00".parse::<intertie_core::envelope::Time>().expect("a time");
    event.expect("an event").with_time(time)
}

async fn messages_come_as_they_were_sent(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let json = Data::json(r#"{ "b": 1.50, "a": [ null ] }"#).expect("JSON");
    let json = event("json").with_data(json, Some("application/json")).expect("an event");
    let bare = event("bare").without_data(None).expect("an event");
    for sent in [rich("rich"), json, bare] {
        queue.send(sent.clone()).await?;
        let lease = queue.must_come("a message", Duration::ZERO).await?;
        ensure_eq!(lease.content, Content::Envelope(sent.clone()), "what was sent");
        queue.end(&lease, Settlement::Release).await?;
        let again = queue.must_come("a message that was released", trial.ticks(5)).await?;
        ensure_eq!(again.content, Content::Envelope(sent), "what was sent, the second time");
        queue.ack(&again).await?;
    }
    Ok(())
}

async fn consume(queue: QueueTrial, consumer: String) -> Result<Vec<String>, Stop> {
    let mut had = Vec::new();
    loop {
        let leases = queue.engine.lease(&queue.request(&consumer, 3, Duration::ZERO)).await?;
        if leases.is_empty() {
            return Ok(had);
        }
        for lease in leases {
            queue.ack(&lease).await?;
            had.push(id(&lease.content).to_owned());
        }
        tokio::task::yield_now().await;
    }
}

async fn competing_consumers_get_each_message_once(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec { visibility_timeout: trial.ticks(500), ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    let (messages, consumers) = (trial.config.messages.get(), trial.config.consumers.get());
    for at in 0..messages {
        queue.send(event(&at.to_string())).await?;
    }
    let mut tasks = JoinSet::new();
    for consumer in 0..consumers {
        tasks.spawn(consume(queue.clone(), format!("consumer-{consumer}")));
    }
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    while let Some(had) = tasks.join_next().await {
        for id in had.map_err(|error| Stop::Failed(error.to_string()))?? {
            *times.entry(id).or_default() += 1;
        }
    }
    let often = times.iter().find(|(_, times)| **times > 1);
    ensure!(often.is_none(), "a message was acknowledged more than once: {often:?}");
    ensure_eq!(times.len(), messages as usize, "messages that came");
    ensure_eq!(queue.len().await?, 0, "depth when all is done");
    Ok(())
}

async fn no_more_messages_come_than_there_is_credit_for(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    for id in ["a", "b", "c"] {
        queue.send(event(id)).await?;
    }
    let first = queue.lease(1).await?;
    ensure_eq!(first.len(), 1, "leases for a credit of one");
    ensure_eq!(queue.lease(5).await?.len(), 2, "leases for a credit of five, of two that are left");
    Ok(())
}

/// What a consumer gets that began to wait before `act`, and whether it waited for that.
async fn while_waiting(
    trial: &Trial,
    queue: &QueueTrial,
    act: impl Future<Output = Result<(), Stop>>,
) -> Result<Option<String>, Stop> {
    let other = queue.clone();
    let request = queue.request("waiter", 1, trial.ticks(100));
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { other.engine.lease(&request).await });
    trial.pass_ticks(1).await;
    act.await?;
    // Far from the end of the wait: what comes only then was not woken by anything.
    let woken = tokio::time::timeout(trial.ticks(50), waiting.join_next()).await;
    match woken {
        Ok(Some(Ok(leases))) => Ok(leases?.first().map(|lease| id(&lease.content).to_owned())),
        _ => Ok(None),
    }
}

async fn a_waiting_consumer_wakes_when_a_message_is_sent(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let got = while_waiting(trial, &queue, async { queue.send(event("a")).await.map(|_| ()) }).await?;
    ensure_eq!(got.as_deref(), Some("a"), "what a waiting consumer got");
    Ok(())
}

async fn a_waiting_consumer_wakes_when_a_message_is_due(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &QueueSpec { delays: true, ..trial.queue_spec() }).await?;
    queue.send(Message { due: Due::After(trial.ticks(8)), ..event("a").into() }).await?;
    let got = while_waiting(trial, &queue, async { Ok(()) }).await?;
    ensure_eq!(got.as_deref(), Some("a"), "what a waiting consumer got");
    Ok(())
}

async fn a_waiting_consumer_wakes_when_a_lease_ends(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(event("a")).await?;
    queue.must_come("a message", Duration::ZERO).await?;
    let got = while_waiting(trial, &queue, async { Ok(()) }).await?;
    ensure_eq!(got.as_deref(), Some("a"), "what a waiting consumer got");
    Ok(())
}

async fn a_wait_for_nothing_ends_in_time(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let waited = tokio::time::timeout(trial.ticks(20), queue.next(trial.ticks(3))).await;
    ensure!(matches!(waited, Ok(Ok(None))), "a wait for nothing: {waited:?}");
    Ok(())
}

async fn a_dropped_lease_loses_and_keeps_nothing(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec { visibility_timeout: trial.ticks(400), ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("a")).await?;
    for polls in 1..100 {
        let request = queue.request("dropped", 1, Duration::ZERO);
        let polled = poll_times(queue.engine.lease(&request), polls).await;
        let ended = polled.is_some();
        let lease = match polled {
            Some(leases) => leases?.pop().ok_or(Stop::Failed("the message did not come".to_owned()))?,
            None => queue.must_come("what a dropped lease had", trial.ticks(20)).await?,
        };
        ensure_eq!(lease.deliveries.get(), 1, "deliveries, of which none was handed out");
        queue.end(&lease, Settlement::Release).await?;
        if ended {
            return Ok(());
        }
    }
    Err(Stop::Failed("a lease that does not wait is not done after 100 polls".to_owned()))
}

async fn a_dropped_wait_loses_and_keeps_nothing(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec { visibility_timeout: trial.ticks(900), ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    for polls in 1..20 {
        let request = queue.request("dropped", 1, trial.ticks(100));
        let mut waiting = queue.engine.lease(&request);
        let early = poll_times(&mut waiting, 1).await;
        ensure!(early.is_none(), "a wait for nothing ended at once: {early:?}");
        queue.send(event("a")).await?;
        let lease = match poll_times(waiting, polls).await {
            Some(leases) => leases?.pop().ok_or(Stop::Failed("a wait ended with nothing".to_owned()))?,
            None => queue.must_come("what a dropped wait had", trial.ticks(20)).await?,
        };
        ensure_eq!(lease.deliveries.get(), 1, "deliveries, of which none was handed out");
        queue.ack(&lease).await?;
    }
    Ok(())
}

/// Handles messages for about as long as its leases last.
async fn handle_slowly(
    queue: QueueTrial,
    consumer: String,
    request: LeaseRequest,
    times: Vec<Duration>,
) -> Result<Vec<String>, Stop> {
    let mut done = Vec::new();
    for time in times {
        let request = LeaseRequest { consumer: name(&consumer), ..request.clone() };
        let Some(lease) = queue.engine.lease(&request).await?.pop() else { continue };
        tokio::time::sleep(time).await;
        match queue.settle(&lease, Settlement::Ack).await {
            Ok(Outcome::Done) => done.push(id(&lease.content).to_owned()),
            Err(CommitError::Refused { cause: Refused::Engine(EngineError::StaleLease), .. }) => {}
            other => return Err(Stop::Failed(format!("an ack that races the end of its lease: {other:?}"))),
        }
    }
    Ok(done)
}

async fn settlements_race_the_end_of_leases_and_one_wins(trial: &mut Trial) -> Result<(), Stop> {
    let many = 1000.try_into().expect("1000 is not zero");
    let needs = [QueueVerb::Browse, QueueVerb::LeaseTime];
    let spec = QueueSpec { max_deliveries: many, ..trial.spec_with(needs) };
    let queue = trial.queue("orders", &spec).await?;
    for at in 0..60 {
        queue.send(event(&at.to_string())).await?;
    }
    let lasts = trial.ticks(2);
    let request = queue.request("racer", 1, trial.ticks(6));
    let request = LeaseRequest { visibility_timeout: Some(lasts), ..request };
    let step = trial.tick() / 5;
    let mut tasks = JoinSet::new();
    for consumer in 0..8u32 {
        // From well before the end of a lease to well after it, each consumer in another order.
        let times: Vec<_> = (0..12).map(|at| lasts - step * 2 + step * ((at + consumer) % 5)).collect();
        tasks.spawn(handle_slowly(queue.clone(), format!("racer-{consumer}"), request.clone(), times));
    }
    let mut done = Vec::new();
    while let Some(had) = tasks.join_next().await {
        done.extend(had.map_err(|error| Stop::Failed(error.to_string()))??);
    }
    trial.pass_ticks(3).await;
    let browse = queue.browse_from(0, 1000);
    let left = queue.engine.browse(&browse).await?.messages;
    let mut all: Vec<_> = left.iter().map(|message| id(&message.content).to_owned()).collect();
    all.extend(done.iter().cloned());
    all.sort();
    let mut expected: Vec<_> = (0..60).map(|at| at.to_string()).collect();
    expected.sort();
    ensure_eq!(all, expected, "messages that are done or still there");
    ensure!(!done.is_empty() && !left.is_empty(), "nothing raced: {} are done", done.len());
    Ok(())
}

async fn what_was_stored_outlasts_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(rich("waits")).await?;
    queue.send(event("done")).await?;
    let leases = queue.lease(2).await?;
    queue.ack(&leases[1]).await?;
    let queue = trial.restart_with_queue(queue).await?;
    let lease = queue.must_come("what was held at the restart", trial.ticks(30)).await?;
    ensure_eq!(lease.content, Content::Envelope(rich("waits")), "what was stored before the restart");
    ensure_eq!(lease.deliveries.get(), 2, "deliveries, of which one was before the restart");
    queue.ack(&lease).await?;
    trial.pass_ticks(20).await;
    ensure_eq!(queue.len().await?, 0, "what was acknowledged before the restart comes again");
    Ok(())
}

async fn an_unknown_queue_is_refused_with_the_nearest_name(trial: &mut Trial) -> Result<(), Stop> {
    let orders = trial.queue("orders", &trial.queue_spec()).await?;
    trial.queue("shipments", &trial.queue_spec()).await?;
    let unknown = QueueTrial::new(orders.engine.clone(), name("order"));
    let expected = EngineError::NotFound { name: name("order"), nearest: Some(name("orders")) };
    let request = unknown.request("worker", 1, Duration::ZERO);
    ensure_eq!(unknown.engine.lease(&request).await.err(), Some(expected.clone()), "a lease");
    ensure_eq!(unknown.engine.depth(&unknown.name).await.err(), Some(expected.clone()), "a depth");
    ensure_eq!(unknown.engine.delete_queue(&unknown.name).await.err(), Some(expected.clone()), "a deletion");
    let commit = [send(&orders, event("a")), send(&unknown, event("b"))];
    let refused = CommitError::Refused { operation: 1, cause: Refused::Engine(expected) };
    ensure_eq!(orders.commit(commit).await, Err(refused), "a message to an unknown queue");
    ensure_eq!(orders.len().await?, 0, "what was sent together with the refused message");
    let unlike = QueueTrial::new(orders.engine.clone(), name("q"));
    let found = unlike.engine.depth(&unlike.name).await.err();
    ensure!(matches!(found, Some(EngineError::NotFound { .. })), "a name like no other: {found:?}");
    Ok(())
}
