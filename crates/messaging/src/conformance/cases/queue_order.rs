use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::cases;
use crate::commit::Refused;
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::QueueTrial;
use crate::conformance::trial::{Trial, event, event_of, id};
use crate::message::Message;
use crate::queue::{Cause, QueueSpec, Settlement};

cases!(Queue, "order":
    higher_priorities_come_first,
    a_higher_priority_that_comes_later_comes_first,
    messages_of_one_priority_keep_their_order,
    a_priority_that_is_not_declared_is_refused,
    a_group_is_in_order_one_at_a_time,
    groups_do_not_wait_for_each_other,
    a_group_waits_while_its_first_message_is_repeated,
    a_group_waits_for_what_was_released,
    a_group_waits_for_a_lease_that_ended,
    a_group_is_in_order_after_a_restart,
    a_group_goes_on_when_its_first_message_is_dead,
    messages_without_a_group_wait_for_nobody,
);

async fn three_priorities(trial: &Trial) -> Result<QueueTrial, Stop> {
    let priorities = NonZeroU8::new(3).expect("3 is not zero");
    trial.queue("orders", &QueueSpec { priorities, ..trial.queue_spec() }).await
}

fn urgent(id: &str, priority: u8) -> Message {
    Message { priority, ..event(id).into() }
}

/// The ids in the order in which one consumer gets them, one by one.
async fn drain(queue: &QueueTrial) -> Result<Vec<String>, Stop> {
    let mut ids = Vec::new();
    while let Some(lease) = queue.next(Duration::ZERO).await? {
        ids.push(id(&lease.content).to_owned());
        queue.ack(&lease).await?;
    }
    Ok(ids)
}

async fn higher_priorities_come_first(trial: &mut Trial) -> Result<(), Stop> {
    let queue = three_priorities(trial).await?;
    for (id, priority) in [("low", 0), ("high", 2), ("middle", 1), ("high too", 2), ("low too", 0)] {
        queue.send(urgent(id, priority)).await?;
    }
    let leases = queue.lease(1).await?;
    ensure!(leases.iter().all(|lease| lease.priority == 2), "the priority that a lease tells");
    queue.ack(&leases[0]).await?;
    let mut rest = drain(&queue).await?;
    rest.insert(0, id(&leases[0].content).to_owned());
    ensure_eq!(rest, ["high", "high too", "middle", "low", "low too"], "messages in order of delivery");
    Ok(())
}

async fn a_higher_priority_that_comes_later_comes_first(trial: &mut Trial) -> Result<(), Stop> {
    let queue = three_priorities(trial).await?;
    for at in 0..20 {
        queue.send(urgent(&at.to_string(), 0)).await?;
    }
    for at in 0..10 {
        let first = queue.must_come("a message", Duration::ZERO).await?;
        ensure_eq!(id(&first.content), at.to_string(), "the lowest priority, when there is no other");
        queue.ack(&first).await?;
        queue.send(urgent("urgent", 2)).await?;
        let next = queue.must_come("a message", Duration::ZERO).await?;
        ensure_eq!(id(&next.content), "urgent", "the next message");
        queue.ack(&next).await?;
    }
    Ok(())
}

async fn messages_of_one_priority_keep_their_order(trial: &mut Trial) -> Result<(), Stop> {
    let queue = three_priorities(trial).await?;
    let (mut even, mut odd) = (Vec::new(), Vec::new());
    for at in 0..40u8 {
        let name = at.to_string();
        queue.send(urgent(&name, at % 2)).await?;
        if at % 2 == 0 { even.push(name) } else { odd.push(name) }
    }
    odd.extend(even);
    ensure_eq!(drain(&queue).await?, odd, "messages in order of delivery");
    Ok(())
}

async fn a_priority_that_is_not_declared_is_refused(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &trial.queue_spec()).await?;
    let Refused::NotDeclared { key, .. } = queue.refused(urgent("a", 1)).await? else {
        return Err(Stop::Failed(
            "a priority that was not declared is refused for another reason".to_owned(),
        ));
    };
    ensure_eq!(key, "priorities", "the key that would allow it");
    ensure_eq!(queue.len().await?, 0, "depth");
    Ok(())
}

/// A queue of groups: `a1 b1 a2 b2 a3`, each in the group of its letter.
async fn groups(trial: &Trial) -> Result<QueueTrial, Stop> {
    let max_deliveries = NonZeroU32::new(10).expect("10 is not zero");
    let spec = QueueSpec { groups: true, max_deliveries, ..trial.queue_spec() };
    let queue = trial.queue("orders", &spec).await?;
    for id in ["a1", "b1", "a2", "b2", "a3"] {
        queue.send(event_of(&id[..1], id)).await?;
    }
    Ok(queue)
}

async fn a_group_is_in_order_one_at_a_time(trial: &mut Trial) -> Result<(), Stop> {
    let queue = groups(trial).await?;
    for expected in [&["a1", "b1"][..], &["a2", "b2"], &["a3"], &[]] {
        let leases = queue.lease(10).await?;
        let mut ids: Vec<_> = leases.iter().map(|lease| id(&lease.content)).collect();
        ids.sort_unstable();
        ensure_eq!(ids, expected, "one message of each group");
        ensure_eq!(queue.lease_ids(10).await?, Vec::<String>::new(), "messages behind those");
        for lease in &leases {
            queue.ack(lease).await?;
        }
    }
    Ok(())
}

async fn groups_do_not_wait_for_each_other(trial: &mut Trial) -> Result<(), Stop> {
    let queue = groups(trial).await?;
    let leases = queue.lease(2).await?;
    let of_b = leases.iter().find(|lease| id(&lease.content) == "b1");
    queue.ack(of_b.ok_or(Stop::Failed("b1 did not come beside a1".to_owned()))?).await?;
    ensure_eq!(queue.lease_ids(10).await?, ["b2"], "what comes while a1 is held");
    Ok(())
}

/// The next message of the first group, which must be this one.
async fn head(trial: &Trial, queue: &QueueTrial, expected: &str) -> Result<crate::queue::Lease, Stop> {
    // What else comes is of the other group, and stays with us.
    for _ in 0..3 {
        let lease = queue.must_come(expected, trial.ticks(15)).await?;
        if id(&lease.content).starts_with('a') {
            ensure_eq!(id(&lease.content), expected, "the first of the group");
            return Ok(lease);
        }
        queue.ack(&lease).await?;
    }
    Err(Stop::Failed(format!("{expected} did not come")))
}

async fn nothing_of_the_group(queue: &QueueTrial, why: &str) -> Result<(), Stop> {
    let ids = queue.lease_ids(10).await?;
    ensure!(!ids.iter().any(|id| id.starts_with('a')), "{ids:?} came {why}");
    Ok(())
}

async fn the_rest_is_in_order(trial: &Trial, queue: &QueueTrial) -> Result<(), Stop> {
    for expected in ["a2", "a3"] {
        let lease = head(trial, queue, expected).await?;
        queue.ack(&lease).await?;
    }
    Ok(())
}

async fn a_group_waits_while_its_first_message_is_repeated(trial: &mut Trial) -> Result<(), Stop> {
    let queue = groups(trial).await?;
    for _ in 0..3 {
        let lease = head(trial, &queue, "a1").await?;
        queue.end(&lease, Settlement::Retry { after: Some(trial.ticks(5)) }).await?;
        trial.pass_ticks(2).await;
        nothing_of_the_group(&queue, "while a1 waited to be repeated").await?;
        trial.pass_ticks(3).await;
    }
    let lease = head(trial, &queue, "a1").await?;
    queue.ack(&lease).await?;
    the_rest_is_in_order(trial, &queue).await
}

async fn a_group_waits_for_what_was_released(trial: &mut Trial) -> Result<(), Stop> {
    let queue = groups(trial).await?;
    for _ in 0..3 {
        let lease = head(trial, &queue, "a1").await?;
        queue.end(&lease, Settlement::Release).await?;
    }
    let lease = head(trial, &queue, "a1").await?;
    queue.ack(&lease).await?;
    the_rest_is_in_order(trial, &queue).await
}

async fn a_group_waits_for_a_lease_that_ended(trial: &mut Trial) -> Result<(), Stop> {
    let queue = groups(trial).await?;
    head(trial, &queue, "a1").await?;
    nothing_of_the_group(&queue, "while a1 was held").await?;
    trial.pass_ticks(10).await;
    let lease = head(trial, &queue, "a1").await?;
    ensure_eq!(lease.deliveries.get(), 2, "deliveries");
    queue.ack(&lease).await?;
    the_rest_is_in_order(trial, &queue).await
}

async fn a_group_is_in_order_after_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let queue = groups(trial).await?;
    let lease = head(trial, &queue, "a1").await?;
    queue.end(&lease, Settlement::Retry { after: Some(trial.ticks(8)) }).await?;
    let queue = trial.restart_with_queue(queue).await?;
    nothing_of_the_group(&queue, "while a1 waited to be repeated").await?;
    let lease = head(trial, &queue, "a1").await?;
    queue.ack(&lease).await?;
    the_rest_is_in_order(trial, &queue).await
}

async fn a_group_goes_on_when_its_first_message_is_dead(trial: &mut Trial) -> Result<(), Stop> {
    let queue = groups(trial).await?;
    let lease = head(trial, &queue, "a1").await?;
    queue.end(&lease, Settlement::DeadLetter { cause: Cause::Rejected, reason: "broken".to_owned() }).await?;
    the_rest_is_in_order(trial, &queue).await?;
    ensure_eq!(queue.dead_letters().len().await?, 1, "dead letters");
    Ok(())
}

async fn messages_without_a_group_wait_for_nobody(trial: &mut Trial) -> Result<(), Stop> {
    let queue = trial.queue("orders", &QueueSpec { groups: true, ..trial.queue_spec() }).await?;
    for id in ["x", "y", "z"] {
        queue.send(event(id)).await?;
    }
    ensure_eq!(queue.lease(10).await?.len(), 3, "messages of no group, at once");
    Ok(())
}
