//! An engine that does not answer.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use intertie_core::clock::Timestamp;
use tokio::time::sleep;

use super::*;
use crate::commit::{CommitError, Committed, Together};
use crate::queue::{Lease, LeaseId, LeaseRequest, Page, QueueFeature, Settlement};
use crate::support::{Declared, EngineId, Support};
use crate::{DeclareError, EngineError, Listing, Pending};

/// A model whose next answers to commits and questions for messages get lost.
#[derive(Debug)]
struct Away {
    model: Arc<Model>,
    /// Commits that are not done.
    refused: AtomicU32,
    /// Commits that are done, and said not to be known.
    unknown: AtomicU32,
    leases: AtomicU32,
    /// Commits that are never answered.
    unanswered: AtomicU32,
    /// Commits that it was asked for.
    commits: AtomicU32,
    /// How long it takes to extend a lease.
    extending: Mutex<Duration>,
    /// What it says to questions for messages that get lost.
    error: EngineError,
    /// What was leased, in order.
    leased: Mutex<Vec<LeaseId>>,
}

impl Away {
    fn before(model: &Arc<Model>) -> Self {
        let model = Arc::clone(model);
        let (refused, unknown, leases, unanswered, commits) = Default::default();
        let (cause, retry_after) = unavailable();
        Self {
            model,
            refused,
            unknown,
            leases,
            unanswered,
            commits,
            extending: Mutex::default(),
            error: EngineError::Unavailable { cause, retry_after },
            leased: Mutex::default(),
        }
    }

    /// Ends a lease behind the back of who has it.
    async fn steal(&self, queue: &Name, at: usize) {
        let lease = self.leased.lock().expect("not poisoned")[at].clone();
        let settle = Operation::Settle { queue: queue.clone(), lease, settlement: Settlement::Release };
        self.model.commit(settle.into()).await.expect("it was held");
    }
}

fn take(count: &AtomicU32) -> bool {
    count.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
}

fn unavailable() -> (String, Option<Duration>) {
    ("it is away".to_owned(), None)
}

impl Engine for Away {
    fn id(&self) -> &EngineId {
        self.model.id()
    }

    fn commit_support(&self, together: Together) -> Support {
        self.model.commit_support(together)
    }

    fn commit(&self, commit: Commit) -> Pending<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            let (cause, retry_after) = unavailable();
            self.commits.fetch_add(1, Relaxed);
            if take(&self.unanswered) {
                return std::future::pending().await;
            }
            if take(&self.refused) {
                return Err(CommitError::Unavailable { cause, retry_after });
            }
            let done = self.model.commit(commit).await?;
            if take(&self.unknown) { Err(CommitError::Unknown { cause }) } else { Ok(done) }
        })
    }
}

impl QueueEngine for Away {
    fn support(&self, feature: QueueFeature) -> Support {
        QueueEngine::support(&*self.model, feature)
    }

    fn declare_queue<'a>(
        &'a self,
        name: &'a Name,
        spec: &'a QueueSpec,
    ) -> Pending<'a, Result<Declared, DeclareError>> {
        self.model.declare_queue(name, spec)
    }

    fn delete_queue<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<(), EngineError>> {
        self.model.delete_queue(name)
    }

    fn queues<'a>(&'a self, listing: &'a Listing) -> Pending<'a, Result<Vec<Name>, EngineError>> {
        self.model.queues(listing)
    }

    fn lease<'a>(&'a self, request: &'a LeaseRequest) -> Pending<'a, Result<Vec<Lease>, EngineError>> {
        if take(&self.leases) {
            return Box::pin(std::future::ready(Err(self.error.clone())));
        }
        Box::pin(async move {
            let leased = self.model.lease(request).await?;
            self.leased.lock().expect("not poisoned").extend(leased.iter().map(|lease| lease.id.clone()));
            Ok(leased)
        })
    }

    fn extend<'a>(
        &'a self,
        queue: &'a Name,
        lease: &'a LeaseId,
        time: Duration,
    ) -> Pending<'a, Result<Timestamp, EngineError>> {
        let takes = *self.extending.lock().expect("not poisoned");
        Box::pin(async move {
            sleep(takes).await;
            self.model.extend(queue, lease, time).await
        })
    }

    fn depth<'a>(&'a self, queue: &'a Name) -> Pending<'a, Result<Depth, EngineError>> {
        self.model.depth(queue)
    }

    fn browse<'a>(&'a self, browse: &'a Browse) -> Pending<'a, Result<Page, EngineError>> {
        self.model.browse(browse)
    }
}

/// Handles one message on an engine that is away as `set` says.
async fn check(set: impl FnOnce(&mut Away)) -> (Trial, Stats) {
    let trial = Trial::new(QueueSpec { max_deliveries: number(2), ..QueueSpec::default() }).await;
    trial.engine.declare_queue(&name("parcels"), &trial.spec).await.expect("declared");
    trial.send(["1"]).await;
    let mut away = Away::before(&trial.engine);
    set(&mut away);
    let (config, events) = (ConsumerConfig::default(), trial.events.clone());
    let engine = Arc::new(away);
    let consumer = Consumer::new(engine, &trial.queue, &trial.spec, &name("packer"), config, events);
    let consumer = consumer.expect("a consumer");
    let stats = consumer.stats();
    let handler = answering(&Diary::default(), |id, _| {
        Ok(Operation::Send { queue: name("parcels"), message: envelope(id).into() }.into())
    });
    consumer.run(handler, sleep(10 * MINUTE)).await.expect("drained");
    assert_eq!(trial.browse("parcels").await.len(), 1, "done once");
    assert_eq!(trial.depth().await.ready, 0);
    (trial, stats.read())
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_for_a_while_costs_nothing() {
    let (trial, stats) = check(|away| away.refused.store(5, Relaxed)).await;
    assert_eq!((stats.calls, stats.acknowledged, stats.unsettled), (1, 1, 0));
    assert_eq!(trial.dead().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_which_nothing_is_known_is_sent_again_and_done_once() {
    let (_, stats) = check(|away| away.unknown.store(5, Relaxed)).await;
    assert_eq!((stats.calls, stats.acknowledged), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_is_asked_again() {
    let (_, stats) = check(|away| away.unanswered.store(2, Relaxed)).await;
    assert_eq!((stats.calls, stats.acknowledged, stats.extended), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_for_longer_gets_the_message_again_when_its_time_is_over() {
    let (trial, stats) = check(|away| away.refused.store(9, Relaxed)).await;
    assert_eq!((stats.calls, stats.unsettled, stats.acknowledged), (2, 1, 1));
    assert_eq!(trial.told("message_unsettled").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn questions_for_messages_are_asked_again_later_each_time() {
    let (trial, stats) = check(|away| away.leases.store(6, Relaxed)).await;
    assert_eq!((stats.acknowledged, stats.paused), (1, 6));
    let told = trial.told("consumer_paused");
    let seconds: Vec<f64> = told.iter().map(|told| told["seconds"].parse().expect("a number")).collect();
    assert!(seconds.windows(2).all(|pair| pair[0] < pair[1]), "{seconds:?}");
    assert_eq!((told[0]["by"].as_str(), told[0]["reason"].as_str()), ("engine", "it is away"));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_has_too_much_to_do_is_asked_again_and_ends_nobody() {
    let (trial, stats) = check(|away| {
        away.leases.store(3, Relaxed);
        away.error = EngineError::Overloaded { bound: "waiting_max", limit: 1 };
    })
    .await;
    assert_eq!((stats.acknowledged, stats.paused), (1, 3));
    assert_eq!(trial.told("consumer_paused")[0]["reason"], "too much waits already: `waiting_max` is 1");
}

/// A consumer of batches of 100, on an engine that counts.
async fn batches(messages: usize, set: impl FnOnce(&Away)) -> (Trial, Arc<Away>, Consumer) {
    let trial = Trial::new(QueueSpec::default()).await;
    let ids: Vec<_> = (0..messages).map(|id| id.to_string()).collect();
    trial.send(ids.iter().map(String::as_str)).await;
    let away = Arc::new(Away::before(&trial.engine));
    set(&away);
    let config = ConsumerConfig { concurrent: number(1), prefetch: number(100), ..ConsumerConfig::default() };
    let (own, queue, events) = (name("packer"), &trial.queue, trial.events.clone());
    let consumer = Consumer::new(Arc::clone(&away) as _, queue, &trial.spec, &own, config, events);
    let consumer = consumer.expect("a consumer");
    (trial, away, consumer)
}

#[tokio::test(start_paused = true)]
async fn the_messages_of_a_batch_are_settled_together() {
    let (trial, away, consumer) = batches(100, |_| {}).await;
    let stats = consumer.stats();
    let handler =
        handle_batch(|_: Vec<Delivery>| async { Err(Failure::transient("busy").retry_after(MINUTE)) });
    consumer.run_batches(handler, sleep(SECOND)).await.expect("drained");
    assert_eq!((stats.read().retried, away.commits.load(Relaxed)), (100, 1));
    assert_eq!(trial.depth().await.delayed, 100);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_somebody_elses_keeps_none_of_its_batch_from_being_settled() {
    let (trial, away, consumer) = batches(3, |_| {}).await;
    let (stats, engine) = (consumer.stats(), Arc::clone(&away));
    let handler = handle_batch(move |_: Vec<Delivery>| {
        let engine = Arc::clone(&engine);
        async move {
            engine.steal(&name("orders"), 1).await;
            Err(Failure::transient("busy").retry_after(60 * MINUTE))
        }
    });
    let running = consumer.run_batches(handler, std::future::pending());
    let _ = tokio::time::timeout(SECOND / 2, running).await;
    assert_eq!((stats.read().retried, stats.read().lost), (3, 1), "the stolen one came again");
    assert_eq!(trial.depth().await.delayed, 3);
}

#[tokio::test(start_paused = true)]
async fn the_messages_of_a_batch_are_extended_together() {
    // One after the other they would take longer than their time.
    let (trial, _, consumer) =
        batches(100, |away| *away.extending.lock().expect("not poisoned") = SECOND).await;
    let stats = consumer.stats();
    let handler = handle_batch(|_: Vec<Delivery>| async {
        sleep(2 * MINUTE).await;
        Ok(Commit::default())
    });
    consumer.run_batches(handler, sleep(3 * MINUTE)).await.expect("drained");
    assert_eq!((stats.read().acknowledged, stats.read().lost), (100, 0));
    assert_eq!(trial.depth().await.ready, 0);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_not_there_is_no_queue_to_wait_for() {
    let trial = Trial::new(QueueSpec::default()).await;
    let consumer = trial.consumer(ConsumerConfig::default());
    let handler = answering(&Diary::default(), |_, _| Ok(Commit::default()));
    trial.engine.delete_queue(&trial.queue).await.expect("deleted");
    let ended = consumer.run(handler, std::future::pending()).await;
    assert!(matches!(ended, Err(EngineError::NotFound { .. })), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_exclusive_queue_gets_it_when_it_is_free() {
    let trial = Trial::new(QueueSpec { exclusive: true, ..QueueSpec::default() }).await;
    trial.send(["1"]).await;
    let handler = || answering(&Diary::default(), |_, _| Ok(Commit::default()));
    let second = trial.consumer_named("second", ConsumerConfig::default());
    let stats = second.stats();
    let first = trial.consumer_named("first", ConsumerConfig::default()).run(handler(), sleep(MINUTE));
    let later = async {
        sleep(2 * MINUTE).await;
        trial.send(["2"]).await;
        sleep(MINUTE).await;
    };
    let (first, second) = tokio::join!(first, second.run(handler(), later));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(stats.read().acknowledged, 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_somebody_elses_by_now_holds_up_no_other_of_its_batch() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["0", "1"]).await;
    let engine = Arc::new(Away::before(&trial.engine));
    let (config, events) = (ConsumerConfig::default(), trial.events.clone());
    let consumer =
        Consumer::new(Arc::clone(&engine) as _, &trial.queue, &trial.spec, &name("packer"), config, events);
    let consumer = consumer.expect("a consumer");
    let (stats, diary) = (consumer.stats(), Diary::default());
    let noted = diary.clone();
    let handler = handle_batch(move |batch: Vec<Delivery>| {
        let ids: Vec<_> = batch.iter().map(|delivery| delivery.envelope.id()).collect();
        noted.note(ids.join(" "));
        let engine = Arc::clone(&engine);
        async move {
            if batch.len() == 2 {
                engine.steal(&name("orders"), 0).await;
            }
            Ok(Commit::default())
        }
    });
    consumer.run_batches(handler, sleep(SECOND)).await.expect("drained");
    assert_eq!((diary.read().len(), &diary.read()[0]), (3, &"0 1".to_owned()));
    let stats = stats.read();
    assert_eq!((stats.received, stats.acknowledged, stats.lost), (3, 2, 1));
}
