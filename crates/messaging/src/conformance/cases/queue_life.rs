use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::quantity::ByteSize;

use super::cases;
use crate::commit::{CommitError, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::QueueTrial;
use crate::conformance::trial::{Trial, event, id, name};
use crate::queue::{Browse, QueueSpec, QueueVerb, Settlement};
use crate::{DeclareError, EngineError, Listing};

cases!(Queue, "life":
    a_queue_that_is_declared_again_is_left_alone,
    a_queue_that_is_declared_otherwise_changes_or_says_why_not,
    a_specification_that_can_not_work_is_refused,
    names_tell_queues_apart,
    a_queue_has_one_consumer_when_it_is_exclusive,
    an_abandoned_queue_is_removed,
    a_deleted_queue_is_gone,
    a_transient_queue_does_not_outlast_a_restart,
    messages_are_browsed_page_by_page,
    depth_counts_each_state_and_knows_the_oldest,
    depth_counts_bytes_and_consumers,
    pages_of_messages_are_no_larger_than_asked,
    queues_are_listed_page_by_page,
);

async fn a_queue_that_is_declared_again_is_left_alone(trial: &mut Trial) -> Result<(), Stop> {
    let spec = trial.queue_spec();
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("a")).await?;
    queue.send(event("b")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    let first = queue.engine.declare_queue(&queue.name, &spec).await?;
    let second = queue.engine.declare_queue(&queue.name, &spec).await?;
    ensure_eq!(first, second, "what is said of a queue that is declared again");
    ensure_eq!(first.name, queue.name, "the name of what was declared");
    queue.ack(&lease).await?;
    ensure_eq!(queue.len().await?, 1, "messages of a queue that was declared again");
    Ok(())
}

async fn a_queue_that_is_declared_otherwise_changes_or_says_why_not(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(event("a")).await?;
    let spec = QueueSpec { max_deliveries: NonZeroU32::MIN, ..trial.queue_spec() };
    let changed = queue.engine.declare_queue(&queue.name, &spec).await;
    let expected = match changed {
        Ok(_) => 1,
        Err(DeclareError::Fixed { key, .. }) => {
            ensure_eq!(key, "max_deliveries", "the key that can not change");
            0
        }
        Err(other) => return Err(other.into()),
    };
    let lease = queue.must_come("what was sent before the change", Duration::ZERO).await?;
    queue.end(&lease, Settlement::Retry { after: Some(Duration::ZERO) }).await?;
    ensure_eq!(queue.dead_letters().len().await?, expected, "dead letters after one delivery");
    Ok(())
}

async fn a_specification_that_can_not_work_is_refused(trial: &mut Trial) -> Result<(), Stop> {
    let spec = trial.queue_spec();
    let zero = Duration::ZERO;
    for (field, spec) in [
        ("ttl", QueueSpec { ttl: Some(zero), ..spec.clone() }),
        ("visibility_timeout", QueueSpec { visibility_timeout: zero, ..spec.clone() }),
        ("depth_max", QueueSpec { depth_max: Some(0), ..spec.clone() }),
        ("dead_letter", QueueSpec { dead_letter: Some(name("orders")), ..spec }),
    ] {
        match trial.queues()?.declare_queue(&name("orders"), &spec).await {
            Err(DeclareError::Invalid(invalid)) => ensure_eq!(invalid.field, field, "the field"),
            other => return Err(Stop::Failed(format!("`{field}` can not work: {other:?}"))),
        }
    }
    let depth = trial.queues()?.depth(&name("orders")).await;
    ensure!(matches!(depth, Err(EngineError::NotFound { .. })), "a refused queue is there: {depth:?}");
    Ok(())
}

async fn names_tell_queues_apart(trial: &mut Trial) -> Result<(), Stop> {
    let failed = trial.queue("failed", &trial.queue_spec()).await?;
    let spec = QueueSpec { dead_letter: Some(failed.name), ..trial.queue_spec() };
    let longest = "n".repeat(128);
    let names = ["a.b", "a-b", "a_b", "A.B", "ab", "7", "select", longest.as_str()];
    let mut queues = Vec::new();
    for name in names {
        let queue = trial.queue(name, &spec).await?;
        queue.send(event(name)).await?;
        queues.push(queue);
    }
    for queue in queues {
        ensure_eq!(queue.lease_ids(10).await?, [queue.name.as_str()], "messages of `{}`", queue.name);
    }
    // Its dead letters would need a name that is too long.
    let spec = trial.queue_spec();
    let declared = trial.queues()?.declare_queue(&name(&"m".repeat(128)), &spec).await;
    let is_refused =
        matches!(&declared, Err(DeclareError::Invalid(invalid)) if invalid.field == "dead_letter");
    ensure!(is_refused, "a queue whose dead letters have no name: {declared:?}");
    Ok(())
}

async fn a_queue_has_one_consumer_when_it_is_exclusive(trial: &mut Trial) -> Result<(), Stop> {
    let queue =
        trial.queue("orders", &QueueSpec { exclusive: true, ..trial.spec_with([QueueVerb::Extend]) }).await?;
    queue.send(event("a")).await?;
    queue.send(event("b")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    let request = queue.request("second", 1, Duration::ZERO);
    let expected = EngineError::Exclusive { holder: name("worker") };
    ensure_eq!(queue.engine.lease(&request).await.err(), Some(expected.clone()), "a second consumer");
    queue.engine.extend(&queue.name, &lease.id, trial.ticks(15)).await?;
    trial.pass_ticks(11).await;
    ensure_eq!(queue.engine.lease(&request).await.err(), Some(expected), "while the first holds a lease");
    queue.ack(&lease).await?;
    let leases = queue.engine.lease(&request).await?;
    ensure_eq!(leases.len(), 1, "leases of the second consumer when the first has gone");
    let first = queue.engine.lease(&queue.request("worker", 1, Duration::ZERO)).await;
    let expected = EngineError::Exclusive { holder: name("second") };
    ensure_eq!(first.err(), Some(expected), "the first consumer, when it comes back");
    Ok(())
}

async fn an_abandoned_queue_is_removed(trial: &mut Trial) -> Result<(), Stop> {
    let spec = QueueSpec { auto_delete: Some(trial.ticks(20)), ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    queue.send(event("a")).await?;
    trial.pass_ticks(30).await;
    let lease = queue.must_come("a message of a queue that nobody uses", Duration::ZERO).await?;
    queue.ack(&lease).await?;
    trial.pass_ticks(15).await;
    ensure!(queue.next(Duration::ZERO).await?.is_none(), "a message came twice");
    trial.pass_ticks(15).await;
    ensure!(queue.next(Duration::ZERO).await?.is_none(), "a queue that is used is not removed");
    trial.pass_ticks(25).await;
    let request = queue.request("worker", 1, Duration::ZERO);
    let found = queue.engine.lease(&request).await;
    ensure!(matches!(found, Err(EngineError::NotFound { .. })), "a queue that nobody uses: {found:?}");
    Ok(())
}

async fn a_deleted_queue_is_gone(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.send(event("a")).await?;
    let lease = queue.must_come("a message", Duration::ZERO).await?;
    queue.send(event("b")).await?;
    queue.engine.delete_queue(&queue.name).await?;
    ensure!(queue.depth().await.is_err(), "a deleted queue has a depth");
    let late = queue.settle(&lease, Settlement::Ack).await;
    let is_gone = matches!(
        late,
        Err(CommitError::Refused { cause: Refused::Engine(EngineError::NotFound { .. }), .. })
    );
    ensure!(is_gone, "a settlement in a deleted queue: {late:?}");
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    queue.must_be_stale(&lease, Settlement::Ack).await?;
    ensure_eq!(queue.len().await?, 0, "messages of a deleted queue in a new one of its name");
    Ok(())
}

async fn a_transient_queue_does_not_outlast_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &QueueSpec { durable: false, ..trial.queue_spec() }).await?;
    queue.send(event("a")).await?;
    ensure_eq!(queue.lease(1).await?.len(), 1, "messages of a transient queue");
    let queue = trial.restart_with_queue(queue).await?;
    let found = queue.engine.depth(&queue.name).await;
    ensure!(matches!(found, Err(EngineError::NotFound { .. })), "a transient queue: {found:?}");
    Ok(())
}

async fn messages_are_browsed_page_by_page(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with([QueueVerb::Browse, QueueVerb::Positions])).await?;
    for at in 0..10 {
        queue.send(event(&at.to_string())).await?;
    }
    let held = queue.must_come("a message", Duration::ZERO).await?;
    let (mut ids, mut from, mut pages) = (Vec::new(), 0, 0);
    loop {
        let browse = queue.browse_from(from, 4);
        let page = queue.engine.browse(&browse).await?;
        ensure!(page.messages.len() <= 4, "{} messages on a page of 4", page.messages.len());
        for message in &page.messages {
            let is_held = Some(message.position) == held.position;
            let expected = is_held.then_some(held.until);
            ensure_eq!(message.leased_until, expected, "until when {} is held", message.position);
            ensure_eq!(message.deliveries, u32::from(is_held), "deliveries of {}", message.position);
        }
        ids.extend(page.messages.iter().map(|message| id(&message.content).to_owned()));
        pages += 1;
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    let expected: Vec<_> = (0..10).map(|at| at.to_string()).collect();
    ensure_eq!((ids, pages), (expected, 3), "messages, and on how many pages");
    ensure_eq!(queue.depth().await?.ready, 9, "messages after they were looked at");
    Ok(())
}

async fn depth_counts_each_state_and_knows_the_oldest(trial: &mut Trial) -> Result<(), Stop> {
    let queue: QueueTrial =
        trial.queue("orders", &trial.spec_with([QueueVerb::Browse, QueueVerb::Positions])).await?;
    let empty = queue.depth().await?;
    ensure_eq!(
        (empty.ready, empty.delayed, empty.in_flight, empty.oldest),
        (0, 0, 0, None),
        "an empty queue"
    );
    for id in ["a", "b", "c", "d"] {
        queue.send(event(id)).await?;
        trial.pass_ticks(1).await;
    }
    let leases = queue.lease(2).await?;
    let retry = Settlement::Retry { after: Some(trial.ticks(50)) };
    queue.end(&leases[0], retry).await?;
    let depth = queue.depth().await?;
    ensure_eq!((depth.ready, depth.delayed, depth.in_flight), (2, 1, 1), "ready, delayed and held messages");
    let gone = leases.iter().map(|lease| lease.position).collect::<Vec<_>>();
    let waits = queue.browse().await?.into_iter().find(|message| !gone.contains(&Some(message.position)));
    let stored_at = waits.map(|message| message.stored_at);
    ensure_eq!(depth.oldest, stored_at, "since when the oldest message waits");
    Ok(())
}

async fn depth_counts_bytes_and_consumers(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let empty = queue.depth().await?;
    for unknown_or_none in [empty.bytes, empty.consumers] {
        ensure_eq!(unknown_or_none.unwrap_or(0), 0, "bytes or consumers of an empty queue");
    }
    for id in ["a", "b"] {
        queue.send(event(id).with_subject(&"s".repeat(1000)).expect("a subject")).await?;
    }
    let both = queue.depth().await?.bytes;
    ensure!(both.is_none_or(|bytes| bytes >= 2000), "{both:?} bytes of two times 1000");
    let one = queue.must_come("a message", Duration::ZERO).await?;
    queue.engine.lease(&queue.request("other", 1, Duration::ZERO)).await?;
    let waits = (queue.clone(), queue.request("waiter", 1, trial.ticks(300)));
    let waiting = tokio::spawn(async move { waits.0.engine.lease(&waits.1).await });
    trial.pass_ticks(1).await;
    let depth = queue.depth().await?;
    ensure!(depth.consumers.is_none_or(|consumers| consumers == 3), "{:?} consumers of 3", depth.consumers);
    waiting.abort();
    ensure!(waiting.await.is_err(), "a wait for nothing has ended");
    queue.ack(&one).await?;
    trial.pass_ticks(1).await;
    let depth = queue.depth().await?;
    ensure!(depth.consumers.is_none_or(|consumers| consumers == 1), "{:?} consumers of 1", depth.consumers);
    let left = depth.bytes;
    ensure!(left.is_none_or(|bytes| (1000..2000).contains(&bytes)), "{left:?} bytes of 1000 that are left");
    Ok(())
}

async fn pages_of_messages_are_no_larger_than_asked(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.spec_with([QueueVerb::Browse])).await?;
    for id in 0..5 {
        let event = event(&id.to_string()).with_subject(&"s".repeat(1000)).expect("a subject");
        queue.send(event).await?;
    }
    for (bytes, most) in [(1, 1), (3000, 2), (1 << 20, 5)] {
        let browse = Browse { bytes_max: ByteSize::from_bytes(bytes), ..queue.browse_from(0, 10) };
        let (mut seen, mut from) = (0, Some(0));
        while let Some(next) = from {
            let page = queue.engine.browse(&Browse { from: next, ..browse.clone() }).await?;
            ensure!((1..=most).contains(&page.messages.len()), "{} in {bytes} bytes", page.messages.len());
            seen += page.messages.len();
            from = page.next;
        }
        ensure_eq!(seen, 5, "messages on all pages of {bytes} bytes");
    }
    Ok(())
}

async fn queues_are_listed_page_by_page(trial: &mut Trial) -> Result<(), Stop> {
    let mut expected = Vec::new();
    for number in [3, 1, 5, 2, 4] {
        let queue = trial.queue(&format!("orders-{number}"), &trial.queue_spec()).await?;
        expected.extend([queue.name.clone(), queue.dead_letters().name]);
    }
    expected.sort();
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let listing = Listing { after, most: NonZeroU32::new(3).expect("3 is not zero") };
        let page = trial.queues()?.queues(&listing).await?;
        ensure!(page.len() <= 3, "{} names on a page of 3", page.len());
        names.extend(page.iter().cloned());
        after = page.last().cloned();
        if page.len() < 3 {
            break;
        }
    }
    ensure_eq!(names, expected, "names of queues");
    Ok(())
}
