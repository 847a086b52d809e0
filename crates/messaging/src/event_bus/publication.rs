//! One publication: through the middlewares, into the topic, and then to the handlers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use intertie_core::envelope::Envelope;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::bus::Shared;
use super::config::PartitionBy;
use super::context::EventContext;
use super::counters::count;
use super::published::{HandlerFailure, PublishError, Published, PublishedBatch};
use super::subscriptions::{Middleware, Subscription, told};
use crate::Name;
use crate::commit::{Commit, CommitError, Committed, Operation, Outcome, Receipt};
use crate::consumer::Failure;
use crate::unwind::caught;

/// Publishes `events`, of which there is one at least.
pub(super) async fn publish(
    shared: &Arc<Shared>,
    events: Vec<Envelope>,
) -> Result<PublishedBatch, PublishError> {
    let subscribed = shared.subscribed();
    let (first, all) = (events[0].clone(), events.len());
    let stored = async {
        let mut cut = shared.cut.subscribe();
        let events = tokio::select! {
            biased;
            () = cut_off(&mut cut) => return Err(PublishError::ShutDown),
            processed = processed(shared, &subscribed.middlewares, events) => processed?,
        };
        let receipts = store(shared, &events).await.map_err(PublishError::Store)?;
        Ok((events, receipts))
    };
    let (events, receipts) = match stored.await {
        Ok(stored) => stored,
        Err(error) => {
            count(&shared.counters.not_published, all);
            tell_not_published(shared, &first, all, &error);
            return Err(error);
        }
    };
    count(&shared.counters.published, all);
    let stored = Arc::new(Stored { events, receipts });
    let turns = told(&subscribed.subscriptions, &stored.events);
    let mut published: Vec<_> = stored.published().collect();
    dispatch(shared, &stored, turns, &mut published).await;
    for published in &published {
        let handled = published.handlers_executed;
        count(&shared.counters.without_handler, usize::from(handled == 0 && published.is_success()));
        tell_published(shared, published);
    }
    Ok(PublishedBatch { events: published })
}

/// What is in the topic, with where.
struct Stored {
    events: Vec<Envelope>,
    receipts: Vec<Receipt>,
}

impl Stored {
    /// The report of each event, before any handler was called.
    fn published(&self) -> impl Iterator<Item = Published> {
        self.events.iter().zip(&self.receipts).map(|(event, receipt)| Published {
            event: event.clone(),
            receipt: *receipt,
            handlers_executed: 0,
            failures: Vec::new(),
        })
    }
}

/// `events` as the middlewares leave them, and as they are ordered in the topic.
async fn processed(
    shared: &Shared,
    middlewares: &[Arc<Middleware>],
    events: Vec<Envelope>,
) -> Result<Vec<Envelope>, PublishError> {
    let mut processed = Vec::with_capacity(events.len());
    for (at, mut event) in events.into_iter().enumerate() {
        for middleware in middlewares {
            event = in_time(shared, middleware.process(event)).await.map_err(|failure| {
                PublishError::Middleware { middleware: middleware.name.clone(), event: at, failure }
            })?;
        }
        processed.push(ordered(event, shared.config.partition_by));
    }
    Ok(processed)
}

/// The event with what it is in order with others by.
fn ordered(event: Envelope, by: PartitionBy) -> Envelope {
    match event.subject() {
        Some(subject) if by == PartitionBy::Subject && event.partition_key().is_none() => {
            let subject = subject.to_owned();
            event.with_partition_key(&subject).expect("what an attribute held, another one can hold")
        }
        _ => event,
    }
}

/// Stores all of `events`: where each of them is.
async fn store(shared: &Shared, events: &[Envelope]) -> Result<Vec<Receipt>, CommitError> {
    let append =
        |event: &Envelope| Operation::Append { topic: shared.topic.clone(), record: event.clone().into() };
    let commit: Commit = events.iter().map(append).collect();
    let committed = timeout(shared.config.store_timeout, shared.engine.commit(commit)).await;
    let committed = committed.unwrap_or_else(|_| {
        let cause = "the engine did not answer within `store_timeout`".to_owned();
        Err(CommitError::Unknown { cause })
    })?;
    let outcomes = match committed {
        Committed::Done(outcomes) => outcomes,
        // Appends are nothing that can be done once.
        Committed::DoneBefore => Vec::new(),
    };
    let receipts = outcomes.into_iter().filter_map(|outcome| match outcome {
        Outcome::Stored(receipt) | Outcome::Duplicate(receipt) => Some(receipt),
        Outcome::Done => None,
    });
    let receipts: Vec<_> = receipts.collect();
    if receipts.len() == events.len() {
        return Ok(receipts);
    }
    let cause = format!("the engine told of {} records instead of {}", receipts.len(), events.len());
    Err(CommitError::Unknown { cause })
}

type Turns = Vec<(Arc<Subscription>, Vec<usize>)>;

/// Calls the handlers, each with its events one after the other, and reports each call.
async fn dispatch(shared: &Arc<Shared>, stored: &Arc<Stored>, turns: Turns, published: &mut [Published]) {
    let mut waiting = turns.into_iter();
    let mut running = JoinSet::new();
    let mut begin = |running: &mut JoinSet<_>| {
        if let Some((subscription, events)) = waiting.next() {
            let (shared, stored) = (Arc::clone(shared), Arc::clone(stored));
            running.spawn(async move { turn(&shared, &stored, &subscription, events).await });
        }
    };
    for _ in 0..shared.config.concurrent.get() {
        begin(&mut running);
    }
    while let Some(ended) = running.join_next().await {
        begin(&mut running);
        // What handlers panic with is caught.
        for Called { event, handler, was_begun, outcome } in ended.unwrap_or_default() {
            let published = &mut published[event];
            published.handlers_executed += usize::from(was_begun);
            if let Err(failure) = outcome {
                published.failures.push(HandlerFailure { handler, failure });
            }
        }
    }
}

/// How one call of a handler ended.
struct Called {
    event: usize,
    handler: Name,
    was_begun: bool,
    outcome: Result<(), Failure>,
}

/// Calls one handler with all of its events.
async fn turn(
    shared: &Shared,
    stored: &Stored,
    subscription: &Subscription,
    events: Vec<usize>,
) -> Vec<Called> {
    let mut cut = shared.cut.subscribe();
    let mut called = Vec::with_capacity(events.len());
    for at in events {
        let event = &stored.events[at];
        let context = EventContext {
            topic: shared.topic.clone(),
            receipt: stored.receipts[at],
            handler: subscription.name.clone(),
            event: event.clone(),
        };
        let was_begun = !*cut.borrow();
        let outcome = tokio::select! {
            biased;
            () = cut_off(&mut cut) => Err(Failure::not_tried("the bus was shut down")),
            outcome = in_time(shared, subscription.handle(event.clone(), context)) => outcome,
        };
        match &outcome {
            Ok(()) => {
                subscription.succeeded.fetch_add(1, Relaxed);
                count(&shared.counters.handled, 1);
            }
            Err(failure) => {
                subscription.failed.fetch_add(1, Relaxed);
                count(&shared.counters.failed, 1);
                tell_failed(shared, event, subscription, failure);
            }
        }
        called.push(Called { event: at, handler: subscription.name.clone(), was_begun, outcome });
    }
    called
}

async fn cut_off(cut: &mut watch::Receiver<bool>) {
    if cut.wait_for(|cut| *cut).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What a handler or a middleware ends with; a panic is a failure, and so is the end of its time.
async fn in_time<T>(shared: &Shared, called: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match timeout(shared.config.handler_timeout, caught(called)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(words)) => Err(Failure::transient(format!("it panicked: {words}"))),
        Err(_) => Err(Failure::transient("it took longer than `handler_timeout`")),
    }
}

/// Who and what an event is, for the audit log.
fn fields(shared: &Shared, event: &Envelope) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("topic", shared.topic.to_string()),
        ("id", event.id().to_owned()),
        ("source", event.source().to_owned()),
        ("type", event.r#type().to_owned()),
    ];
    let said = [
        ("subject", event.subject().map(Into::into)),
        ("correlation_id", event.correlation_id()),
        ("causation_id", event.causation_id()),
        ("user_id", event.user_id()),
    ];
    fields.extend(said.into_iter().filter_map(|(name, value)| Some((name, value?.into_owned()))));
    fields
}

fn tell_published(shared: &Shared, published: &Published) {
    shared.events.tell("event_published", || {
        let mut fields = fields(shared, &published.event);
        fields.push(("partition", published.receipt.partition.to_string()));
        if let Some(position) = published.receipt.position {
            fields.push(("position", position.to_string()));
        }
        fields.push(("handlers_executed", published.handlers_executed.to_string()));
        fields.push(("failures", published.failures.len().to_string()));
        fields
    });
}

fn tell_not_published(shared: &Shared, first: &Envelope, events: usize, error: &PublishError) {
    shared.events.tell("event_not_published", || {
        let mut fields = fields(shared, first);
        fields.extend([("events", events.to_string()), ("reason", error.to_string())]);
        fields
    });
}

fn tell_failed(shared: &Shared, event: &Envelope, subscription: &Subscription, failure: &Failure) {
    shared.events.tell("event_handler_failed", || {
        let mut fields = fields(shared, event);
        let handler = subscription.name.to_string();
        fields.extend([("handler", handler), ("reason", failure.reason().to_owned())]);
        fields
    });
}
