use std::time::Duration;

use super::cases;
use crate::Name;
use crate::commit::{CommitError, Operation, Outcome, Refused};
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::queue_trial::{QueueTrial, supported};
use crate::conformance::topic_trial::TopicTrial;
use crate::conformance::trial::{Trial, event, name, poll_times, send};
use crate::queue::{Lease, QueueSpec, Settlement};

cases!(Commit, "commit":
    a_handler_acknowledges_marks_sends_and_appends_at_once,
    one_operation_that_is_refused_refuses_them_all,
    a_stale_acknowledgement_sends_nothing,
    a_message_is_marked_once,
    of_marks_that_race_one_wins,
    a_mark_is_forgotten_after_its_time,
    a_mark_outlasts_a_restart,
    a_commit_that_is_dropped_is_done_whole_or_not_at_all,
);

struct Handler {
    orders: QueueTrial,
    shipments: QueueTrial,
    topic: TopicTrial,
    inbox: Name,
}

/// What a handler's commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    orders: u64,
    shipments: u64,
    records: usize,
    marked: bool,
}

const NOTHING: Seen = Seen { orders: 1, shipments: 0, records: 0, marked: false };
const ALL: Seen = Seen { orders: 0, shipments: 2, records: 1, marked: true };

impl Handler {
    async fn begin(trial: &Trial, number: usize) -> Result<(Self, Lease), Stop> {
        Self::begin_for(trial, number, 300).await
    }

    /// One whose lease lasts so many ticks.
    async fn begin_for(trial: &Trial, number: usize, ticks: u32) -> Result<(Self, Lease), Stop> {
        trial.inboxes()?;
        let spec = QueueSpec { visibility_timeout: trial.ticks(ticks), ..trial.queue_spec() };
        let handler = Self {
            orders: trial.queue(&format!("orders-{number}"), &spec).await?,
            shipments: trial.queue(&format!("shipments-{number}"), &spec).await?,
            topic: trial.topic(&format!("facts-{number}"), &trial.topic_spec()).await?,
            inbox: name(&format!("shipping-{number}")),
        };
        handler.orders.send(event("order")).await?;
        let lease = handler.orders.must_come("an order", Duration::ZERO).await?;
        Ok((handler, lease))
    }

    fn operations(&self, trial: &Trial, lease: &Lease) -> Vec<Operation> {
        vec![
            self.orders.settling(lease, Settlement::Ack),
            self.mark(trial),
            send(&self.shipments, event("first")),
            self.topic.append_to(event("fact")),
            send(&self.shipments, event("second")),
        ]
    }

    fn mark(&self, trial: &Trial) -> Operation {
        let (inbox, key) = (self.inbox.clone(), "/conformance order".to_owned());
        Operation::Mark { inbox, key, kept: trial.ticks(50) }
    }

    async fn seen(&self, trial: &Trial) -> Result<Seen, Stop> {
        Ok(Seen {
            orders: self.orders.len().await?,
            shipments: self.shipments.len().await?,
            records: self.topic.all(0).await?.len(),
            marked: self.is_marked(trial).await?,
        })
    }

    async fn is_marked(&self, trial: &Trial) -> Result<bool, Stop> {
        Ok(trial.inboxes()?.is_marked(&self.inbox, "/conformance order").await?)
    }
}

async fn a_handler_acknowledges_marks_sends_and_appends_at_once(trial: &mut Trial) -> Result<(), Stop> {
    let (handler, lease) = Handler::begin(trial, 0).await?;
    ensure_eq!(handler.seen(trial).await?, NOTHING, "before the commit");
    let outcomes = handler.orders.commit(handler.operations(trial, &lease)).await?;
    let is_as_asked = matches!(
        outcomes[..],
        [
            Outcome::Done,
            Outcome::Done,
            Outcome::Stored(first),
            Outcome::Stored(_),
            Outcome::Stored(second),
        ] if first.position < second.position
    );
    ensure!(is_as_asked, "outcomes: {outcomes:?}");
    ensure_eq!(handler.seen(trial).await?, ALL, "after the commit");
    Ok(())
}

async fn one_operation_that_is_refused_refuses_them_all(trial: &mut Trial) -> Result<(), Stop> {
    let (handler, lease) = Handler::begin(trial, 0).await?;
    let unknown = QueueTrial::new(handler.orders.engine.clone(), name("zzz"));
    for at in 0..=5 {
        let mut operations = handler.operations(trial, &lease);
        operations.insert(at, send(&unknown, event("lost")));
        let refused = supported(handler.orders.commit(operations).await)?;
        let operation = match &refused {
            Err(CommitError::Refused { operation, .. }) => Some(*operation),
            _ => None,
        };
        ensure_eq!(operation, Some(at), "the refused operation of {refused:?}");
        ensure_eq!(handler.seen(trial).await?, NOTHING, "after a commit that was refused at {at}");
    }
    handler.orders.ack(&lease).await
}

async fn a_stale_acknowledgement_sends_nothing(trial: &mut Trial) -> Result<(), Stop> {
    let (handler, lease) = Handler::begin_for(trial, 0, 10).await?;
    trial.pass_ticks(11).await;
    let stale = handler.orders.commit(handler.operations(trial, &lease)).await;
    let stale = supported(stale)?;
    let is_stale = matches!(stale, Err(CommitError::Refused { operation: 0, cause: Refused::Engine(_) }));
    ensure!(is_stale, "a commit under a lease that is over: {stale:?}");
    ensure_eq!(handler.seen(trial).await?, NOTHING, "after a commit under a lease that is over");
    Ok(())
}

async fn a_message_is_marked_once(trial: &mut Trial) -> Result<(), Stop> {
    let (handler, lease) = Handler::begin(trial, 0).await?;
    ensure!(!handler.is_marked(trial).await?, "an inbox that nobody marked has a mark");
    ensure_eq!(handler.orders.one(handler.mark(trial)).await, Ok(Outcome::Done), "the first mark");
    ensure!(handler.is_marked(trial).await?, "a mark is not there");
    let again = handler.orders.one(handler.mark(trial)).await;
    let refused = Err(CommitError::Refused { operation: 0, cause: Refused::HandledBefore });
    ensure_eq!(again, refused, "the second mark");
    let again = handler.orders.commit(handler.operations(trial, &lease)).await;
    let again = supported(again)?;
    let refused = Err(CommitError::Refused { operation: 1, cause: Refused::HandledBefore });
    ensure_eq!(again, refused, "a handler of a message that was handled");
    let nothing_else = Seen { marked: true, ..NOTHING };
    ensure_eq!(handler.seen(trial).await?, nothing_else, "what a refused handler did");
    let mark = |key: &str| {
        let (inbox, key) = (handler.inbox.clone(), key.to_owned());
        Operation::Mark { inbox, key, kept: trial.ticks(50) }
    };
    handler.orders.one(mark("other")).await?;
    let twice = handler.orders.commit([mark("twice"), mark("twice")]).await;
    let twice = supported(twice)?;
    let refused = Err(CommitError::Refused { operation: 1, cause: Refused::HandledBefore });
    ensure_eq!(twice, refused, "one mark twice in a commit");
    Ok(())
}

async fn of_marks_that_race_one_wins(trial: &mut Trial) -> Result<(), Stop> {
    let (handler, _) = Handler::begin(trial, 0).await?;
    let outcomes = handler.orders.race((0..20).map(|_| handler.mark(trial))).await?;
    let won = outcomes.iter().filter(|outcome| **outcome == Ok(Outcome::Done)).count();
    let refused = Err(CommitError::Refused { operation: 0, cause: Refused::HandledBefore });
    let lost = outcomes.iter().filter(|outcome| **outcome == refused).count();
    ensure_eq!((won, lost), (1, 19), "marks of 20 that won and that lost: {outcomes:?}");
    Ok(())
}

async fn a_mark_is_forgotten_after_its_time(trial: &mut Trial) -> Result<(), Stop> {
    let (handler, _) = Handler::begin(trial, 0).await?;
    handler.orders.one(handler.mark(trial)).await?;
    trial.pass_ticks(48).await;
    ensure!(handler.is_marked(trial).await?, "a mark is forgotten before its time");
    for _ in 0..200 {
        trial.pass_ticks(3).await;
        if !handler.is_marked(trial).await? {
            ensure_eq!(handler.orders.one(handler.mark(trial)).await, Ok(Outcome::Done), "a new mark");
            return Ok(());
        }
    }
    Err(Stop::Failed("a mark is never forgotten".to_owned()))
}

async fn a_mark_outlasts_a_restart(trial: &mut Trial) -> Result<(), Stop> {
    let (handler, _) = Handler::begin(trial, 0).await?;
    handler.orders.one(handler.mark(trial)).await?;
    let Handler { orders, shipments, topic, inbox } = handler;
    drop((shipments, topic));
    trial.restart_with_queue(orders).await?;
    let marked = trial.inboxes()?.is_marked(&inbox, "/conformance order").await?;
    ensure!(marked, "a mark is forgotten over a restart");
    Ok(())
}

async fn a_commit_that_is_dropped_is_done_whole_or_not_at_all(trial: &mut Trial) -> Result<(), Stop> {
    for polls in 1..100 {
        let (handler, lease) = Handler::begin(trial, polls).await?;
        let done = poll_times(handler.orders.commit(handler.operations(trial, &lease)), polls).await;
        if done.is_none() {
            // What was handed over may still be on its way.
            trial.pass_ticks(2).await;
        }
        let seen = handler.seen(trial).await?;
        ensure!(seen == ALL || seen == NOTHING, "a commit that was dropped after {polls} polls: {seen:?}");
        if let Some(done) = done {
            done?;
            ensure_eq!(seen, ALL, "a commit that is done");
            return Ok(());
        }
    }
    Err(Stop::Failed("a commit is not done after 100 polls".to_owned()))
}
