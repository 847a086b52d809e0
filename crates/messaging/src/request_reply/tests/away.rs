//! An engine that knows less, and does not always answer.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::*;
use crate::commit::{CommitError, Committed, Kind, Together};
use crate::queue::{Depth, Lease, LeaseId, LeaseRequest, Page, QueueFeature};
use crate::request_reply::responders::Seen;
use crate::support::{Declared, EngineId, Support};
use crate::{DeclareError, EngineError, Listing, Pending};

/// A model that does not know who takes messages, and whose next answers get lost.
#[derive(Debug, Default)]
struct Away {
    /// Sends that are done, and said not to be known.
    unknown: AtomicU32,
    /// Questions for messages that are not answered.
    leases: AtomicU32,
    /// Questions how much there is.
    looks: AtomicU32,
}

#[derive(Debug)]
struct Lossy {
    model: Arc<Model>,
    away: Away,
}

fn take(count: &AtomicU32) -> bool {
    count.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
}

impl Engine for Lossy {
    fn id(&self) -> &EngineId {
        self.model.id()
    }

    fn commit_support(&self, together: Together) -> Support {
        // It acknowledges one by one.
        let settles = together.kinds().all(|kind| kind == Kind::Settle);
        if settles { Support::refused("one by one", "ask so") } else { self.model.commit_support(together) }
    }

    fn commit(&self, commit: Commit) -> Pending<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            let sends = commit.operations.iter().any(|operation| operation.kind() == Kind::Send);
            let settles = commit.operations.iter().filter(|operation| operation.kind() == Kind::Settle);
            assert!(settles.count() <= 1, "it said so");
            let done = self.model.commit(commit).await?;
            let cause = "it is away".to_owned();
            if sends && take(&self.away.unknown) { Err(CommitError::Unknown { cause }) } else { Ok(done) }
        })
    }
}

impl QueueEngine for Lossy {
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
        if !request.wait.is_zero() && take(&self.away.leases) {
            let error = EngineError::Overloaded { bound: "waiting_max", limit: 1 };
            return Box::pin(std::future::ready(Err(error)));
        }
        self.model.lease(request)
    }

    fn extend<'a>(
        &'a self,
        queue: &'a Name,
        lease: &'a LeaseId,
        time: Duration,
    ) -> Pending<'a, Result<Timestamp, EngineError>> {
        self.model.extend(queue, lease, time)
    }

    fn depth<'a>(&'a self, queue: &'a Name) -> Pending<'a, Result<Depth, EngineError>> {
        Box::pin(async move {
            self.away.looks.fetch_add(1, Relaxed);
            Ok(Depth { consumers: None, ..self.model.depth(queue).await? })
        })
    }

    fn browse<'a>(&'a self, browse: &'a Browse) -> Pending<'a, Result<Page, EngineError>> {
        self.model.browse(browse)
    }
}

async fn lossy(trial: &Trial, config: RequesterConfig) -> (Arc<Lossy>, Requester) {
    let engine = Arc::new(Lossy { model: Arc::clone(&trial.engine), away: Away::default() });
    let (clock, events) = (trial.clock.clone(), trial.events.clone());
    let requester = Requester::start(engine.clone(), &name("shop"), config, clock, events).await;
    (engine, requester.expect("started"))
}

#[tokio::test(start_paused = true)]
async fn a_requester_that_can_not_know_who_answers_says_so() {
    let trial = Trial::new().await;
    let (engine, requester) = lossy(&trial, RequesterConfig::default()).await;
    assert_eq!(requester.responders(&trial.queue).await, Ok(Responders::Unknown));
    let request = |id| Request { timeout: Some(SECOND / 2), ..question(id).into() };
    for id in ["1", "2"] {
        let failed = requester.request(&trial.queue, request(id)).await.expect_err("nobody answers");
        assert_eq!(failed, RequestError::TimedOut { after: SECOND / 2, responders: Responders::Unknown });
        assert!(failed.to_string().ends_with("whether anyone answers there is not known"), "{failed}");
    }
    assert_eq!(requester.stats().responders_unknown, 2);
    assert_eq!(engine.away.looks.load(Relaxed), 2, "what it can not know is not asked for each request");
    assert_eq!(trial.engine.depth(&trial.queue).await.expect("there").ready, 2, "both were sent");
}

#[tokio::test(start_paused = true)]
async fn a_request_of_which_it_is_not_known_whether_it_was_sent_waits_for_its_reply() {
    let trial = Trial::new().await;
    trial.answer_after(SECOND);
    let (engine, requester) = lossy(&trial, RequesterConfig::default()).await;
    engine.away.unknown.store(1, Relaxed);
    requester.request(&trial.queue, question("1")).await.expect("it was sent");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_is_asked_for_replies_again() {
    let trial = Trial::new().await;
    trial.answer_after(SECOND);
    let (engine, requester) = lossy(&trial, RequesterConfig::default()).await;
    engine.away.leases.store(5, Relaxed);
    let ask = |id: &'static str| requester.request(&trial.queue, question(id));
    let (first, second, third) = tokio::join!(ask("1"), ask("2"), ask("3"));
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    assert_eq!(trial.told("replies_unavailable"), 5);
    sleep(SECOND).await;
    let depth = trial.engine.depth(requester.reply_to()).await.expect("there");
    assert_eq!((depth.ready, depth.in_flight), (0, 0), "each is acknowledged by itself");
}

#[test]
fn what_was_seen_is_remembered_for_its_time_and_of_so_many_queues() {
    let at = |seconds| intertie_core::clock::Instant::ORIGIN + Duration::from_secs(seconds);
    let seen = Seen::new(SECOND, 2);
    for (queue, responders) in [("a", 1), ("b", 2), ("c", 3)] {
        seen.see(&name(queue), Responders::Known(responders), at(0));
    }
    let lately = |queue, seconds| seen.lately(&name(queue), at(seconds));
    assert_eq!((lately("a", 0), lately("b", 0)), (Some(Responders::Known(1)), Some(Responders::Known(2))));
    assert_eq!((lately("c", 0), lately("a", 1)), (None, None));
    seen.see(&name("b"), Responders::Unknown, at(1));
    seen.see(&name("c"), Responders::Known(3), at(1));
    assert_eq!((lately("b", 1), lately("c", 1)), (Some(Responders::Unknown), Some(Responders::Known(3))));
}
