use std::time::Duration;

use super::cases;
use crate::commit::{CommitError, Committed, Kind, Operation, Outcome, Refused, Together};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::{QueueTrial, commit_as_said, supported};
use crate::conformance::topic_trial::TopicTrial;
use crate::conformance::trial::{Trial, event, name, send};
use crate::log::StartAt;
use crate::message::Content;
use crate::queue::{Cause, DeadLetter, Lease, Origin, Settlement};

cases!(Commit, "once":
    a_commit_that_was_done_is_not_done_again,
    a_commit_of_which_some_was_done_is_refused,
    of_commits_that_race_one_is_done,
    a_commit_is_known_over_a_restart,
    an_advance_and_its_appends_are_not_done_again,
    what_can_be_committed_together_is_said_before,
);

/// A message that is held, and where its handler sends another one.
async fn handled(trial: &Trial) -> Result<(QueueTrial, QueueTrial, Lease), Stop> {
    let orders = trial.queue("orders", &trial.queue_spec()).await?;
    let shipments = trial.queue("shipments", &trial.queue_spec()).await?;
    orders.send(event("order")).await?;
    let lease = orders.must_come("an order", Duration::ZERO).await?;
    Ok((orders, shipments, lease))
}

async fn a_commit_that_was_done_is_not_done_again(trial: &mut Trial) -> Result<(), Stop> {
    for settlement in [Settlement::Ack, Settlement::Retry { after: Some(trial.ticks(100)) }] {
        let (orders, shipments, lease) = handled(trial).await?;
        let commit = || [orders.settling(&lease, settlement.clone()), send(&shipments, event("shipment"))];
        let outcomes = orders.commit(commit()).await?;
        ensure!(matches!(outcomes[..], [Outcome::Done, Outcome::Stored(_)]), "outcomes: {outcomes:?}");
        let before = shipments.len().await?;
        for _ in 0..2 {
            let again = orders.try_commit(commit()).await;
            ensure_eq!(again, Ok(Committed::DoneBefore), "a commit of {settlement:?} again");
        }
        ensure_eq!(shipments.len().await?, before, "what was sent with a settlement that was done before");
    }
    Ok(())
}

async fn a_commit_of_which_some_was_done_is_refused(trial: &mut Trial) -> Result<(), Stop> {
    let (orders, shipments, first) = handled(trial).await?;
    orders.send(event("another order")).await?;
    let second = orders.must_come("another order", Duration::ZERO).await?;
    orders.ack(&first).await?;
    let both = [
        orders.settling(&second, Settlement::Ack),
        orders.settling(&first, Settlement::Ack),
        send(&shipments, event("shipment")),
    ];
    let refused = supported(orders.try_commit(both).await)?;
    let expected = Err(CommitError::Refused { operation: 1, cause: Refused::DoneBefore });
    ensure_eq!(refused, expected, "two settlements of which one was done before");
    ensure_eq!(shipments.len().await?, 0, "what was sent with them");
    orders.ack(&second).await
}

async fn of_commits_that_race_one_is_done(trial: &mut Trial) -> Result<(), Stop> {
    let (orders, shipments, lease) = handled(trial).await?;
    let commits =
        (0..10).map(|_| [orders.settling(&lease, Settlement::Ack), send(&shipments, event("shipment"))]);
    let mut committed = Vec::new();
    for one in orders.race_commits(commits).await? {
        committed.push(supported(one)?);
    }
    let done = committed.iter().filter(|one| matches!(one, Ok(Committed::Done(_)))).count();
    let again = committed.iter().filter(|one| **one == Ok(Committed::DoneBefore)).count();
    ensure_eq!((done, again), (1, 9), "commits of 10 that were done and done before: {committed:?}");
    ensure_eq!(shipments.len().await?, 1, "what was sent by ten equal commits");
    Ok(())
}

async fn a_commit_is_known_over_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let (orders, shipments, lease) = handled(trial).await?;
    let (to, id) = (shipments.name.clone(), lease.id.clone());
    let commit = || [orders.settling(&lease, Settlement::Ack), send(&shipments, event("shipment"))];
    orders.commit(commit()).await?;
    let again = commit();
    drop(shipments);
    let orders = trial.restart_with_queue(orders).await?;
    match orders.try_commit(again).await {
        // An engine may forget what it has settled, but then it knows the lease no more.
        Ok(Committed::DoneBefore) | Err(CommitError::Refused { operation: 0, cause: Refused::Engine(_) }) => {
        }
        other => return Err(Stop::Failed(format!("a commit with {id} again after a restart: {other:?}"))),
    }
    let shipments = QueueTrial::new(orders.engine.clone(), to);
    ensure_eq!(shipments.len().await?, 1, "what was sent before and after a restart");
    Ok(())
}

async fn an_advance_and_its_appends_are_not_done_again(trial: &mut Trial) -> Result<(), Stop> {
    let orders = trial.topic("orders", &trial.topic_spec()).await?;
    let totals = trial.topic("totals", &trial.topic_spec()).await?;
    let first = orders.append_at(event("first")).await?;
    let second = orders.append_at(event("second")).await?;
    let member = orders.join("adder", trial.ticks(500)).await?;
    let commit = |next| {
        [orders.advance_to(&member.membership, 0, next), totals.append_to(event(&format!("at-{next}")))]
    };
    orders.commit(commit(second)).await?;
    for next in [second, first] {
        let again = orders.try_commit(commit(next)).await;
        ensure_eq!(again, Ok(Committed::DoneBefore), "an advance to {next} of a group that is at {second}");
    }
    ensure_eq!(totals.all(0).await?.len(), 1, "what was appended with an advance that was done before");
    let lag = orders.lag().await?[0];
    ensure_eq!((lag.position, lag.records), (second, 1), "where the group is, and what is left to it");
    Ok(())
}

/// Operations of one kind each, on places of their own.
struct Kinds {
    queue: QueueTrial,
    lease: Lease,
    topic: TopicTrial,
}

impl Kinds {
    async fn begin(trial: &Trial, number: usize) -> Result<Self, Stop> {
        let queue = trial.queue(&format!("orders-{number}"), &trial.queue_spec()).await?;
        queue.send(event("held")).await?;
        let lease = queue.must_come("a message", Duration::ZERO).await?;
        let topic = trial.topic(&format!("facts-{number}"), &trial.topic_spec()).await?;
        topic.append(event("read")).await?;
        Ok(Self { queue, lease, topic })
    }

    async fn operation(&self, trial: &Trial, kind: Kind, at: usize) -> Result<Option<Operation>, Stop> {
        let queue = self.queue.name.clone();
        Ok(Some(match kind {
            Kind::Send => send(&self.queue, event(&format!("sent-{at}"))),
            Kind::Settle => self.queue.settling(&self.lease, Settlement::Ack),
            Kind::Append => self.topic.append_to(event(&format!("appended-{at}"))),
            Kind::Advance => {
                let member = self.topic.join("reader", trial.ticks(500)).await?;
                self.topic.advance_to(&member.membership, 0, self.topic.find(StartAt::End).await?)
            }
            Kind::Mark => {
                let (inbox, key) = (name("inbox"), format!("{queue} {at}"));
                Operation::Mark { inbox, key, kept: trial.ticks(50) }
            }
            Kind::Bury => {
                let origin = Origin::Queue { queue: name("elsewhere"), position: None };
                let (cause, at) = (Cause::Rejected, trial.now());
                let dead = DeadLetter { cause, reason: None, origin, deliveries: 1, at, redrives: 0 };
                let content = Content::Envelope(event("dead"));
                Operation::Bury { queue, content, dead_letter: Box::new(dead) }
            }
            // These need something that is there already.
            Kind::Cancel | Kind::Redrive | Kind::Complete => return Ok(None),
        }))
    }
}

async fn what_can_be_committed_together_is_said_before(trial: &mut Trial) -> Result<(), Stop> {
    let engine = trial.queues()?;
    let declared = engine.declare_queue(&name("orders"), &trial.queue_spec()).await?;
    let said = |(name, together): &(&'static str, Together)| (*name, engine.commit_support(*together));
    let expected: Vec<_> = Together::COMMON.iter().map(said).collect();
    ensure_eq!(declared.commits, expected, "what is said of commits when a queue is declared");
    let kinds = [Kind::Send, Kind::Settle, Kind::Append, Kind::Advance, Kind::Mark, Kind::Bury];
    for number in 0..kinds.len() * kinds.len() {
        let pair = [kinds[number / kinds.len()], kinds[number % kinds.len()]];
        if matches!(pair, [Kind::Settle, Kind::Settle] | [Kind::Advance, Kind::Advance]) {
            continue;
        }
        let places = Kinds::begin(trial, number).await?;
        let mut operations = Vec::new();
        for (at, kind) in pair.into_iter().enumerate() {
            operations.extend(places.operation(trial, kind, at).await?);
        }
        match commit_as_said(&*engine, operations.into_iter().collect()).await {
            Ok(Committed::Done(_)) | Err(CommitError::Unsupported(_)) => {}
            other => return Err(Stop::Failed(format!("a commit of {pair:?}: {other:?}"))),
        }
    }
    Ok(())
}
