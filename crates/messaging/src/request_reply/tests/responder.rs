use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::*;

/// A request as it lies in the queue, to be answered on `shop.replies`.
fn sent(id: &str, deadline: &str) -> Envelope {
    let request = question(id).with_reply_to("shop.replies").expect("text");
    request.with_extension(DEADLINE, deadline).expect("text")
}

const IN_TIME: &str = "2026-01-01T00:00:00Z";

impl Trial {
    async fn with_reply_queue(self) -> Self {
        self.engine.declare_queue(&name("shop.replies"), &self.spec).await.expect("declared");
        self
    }

    /// Answers, and counts how often it was asked.
    fn counting(&self, takes: Duration) -> (ResponderSource, ConsumerStats, Arc<AtomicU32>) {
        let (responder, asked) = (self.responder(), Arc::new(AtomicU32::new(0)));
        let count = Arc::clone(&asked);
        let (consumer, _) = self.serve(responder.respond(move |request: Envelope, _: Context| {
            count.fetch_add(1, Relaxed);
            async move {
                sleep(takes).await;
                let effect = Operation::Send { queue: "invoices".parse()?, message: question("1").into() };
                Ok(Answer { effects: effect.into(), ..answer(request.id())? })
            }
        }));
        (responder.source(), consumer, asked)
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_its_effects_and_the_acknowledgement_are_one() {
    let trial = Trial::new().await.with_reply_queue().await;
    trial.send(&trial.queue, sent("7", IN_TIME)).await;
    let (responder, consumer, asked) = trial.counting(Duration::ZERO);
    sleep(Duration::from_millis(500)).await;
    // There is no queue for the effect yet.
    assert_eq!(trial.browse("shop.replies").await.len(), 0);
    assert_eq!((asked.load(Relaxed), consumer.read().retried), (1, 1));
    trial.engine.declare_queue(&name("invoices"), &trial.spec).await.expect("declared");
    sleep(10 * SECOND).await;
    assert_eq!((trial.browse("shop.replies").await.len(), trial.browse("invoices").await.len()), (1, 1));
    assert_eq!((asked.load(Relaxed), consumer.read().acknowledged, responder.read().answered), (2, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_is_not_worked_on() {
    let trial = Trial::new().await.with_reply_queue().await;
    trial.send(&trial.queue, sent("7", "2020-01-01T00:00:00Z")).await;
    let (responder, consumer, asked) = trial.counting(Duration::ZERO);
    sleep(SECOND).await;
    assert_eq!((asked.load(Relaxed), responder.read().expired, consumer.read().acknowledged), (0, 1, 1));
    assert_eq!(trial.browse("shop.replies").await, []);
    assert_eq!(trial.told("request_given_up"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_ends_the_work() {
    let trial = Trial::new().await.with_reply_queue().await;
    // The clock stands at 10:30 sharp.
    trial.send(&trial.queue, sent("7", "2025-08-23T10:30:05Z")).await;
    let (responder, consumer, asked) = trial.counting(60 * SECOND);
    sleep(4 * SECOND).await;
    assert_eq!(responder.read().expired, 0);
    sleep(2 * SECOND).await;
    assert_eq!((asked.load(Relaxed), responder.read().expired, consumer.read().acknowledged), (1, 1, 1));
    assert_eq!(trial.browse("shop.replies").await, []);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_answered_goes_to_the_dead_letters() {
    let trial = Trial::new().await.with_reply_queue().await;
    let to = |queue: &str| question("7").with_reply_to(queue).expect("text");
    for request in [question("7"), to("a b"), to("invoices"), sent("7", "soon")] {
        trial.send(&trial.queue, request).await;
    }
    let (responder, consumer, asked) = trial.counting(Duration::ZERO);
    sleep(SECOND).await;
    let dead = trial.browse("quotes.dead").await;
    let reasons: Vec<_> = dead
        .into_iter()
        .map(|dead| dead.dead_letter.and_then(|letter| letter.reason).unwrap_or_default())
        .collect();
    for (reason, words) in reasons.iter().zip([
        "has no `replyto`",
        "is no name of a queue",
        "none that `reply_to` of the responder means",
        "is no time of RFC 3339",
    ]) {
        assert!(reason.contains(words), "{reason}");
    }
    assert_eq!((asked.load(Relaxed), responder.read().unanswerable), (0, 4));
    assert_eq!(consumer.read().dead_lettered, [0, 4, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_reply_queue_is_gone_ends_acknowledged() {
    for max_deliveries in [1, 5] {
        let mut trial = Trial::new().await;
        trial.spec.max_deliveries = max_deliveries.try_into().expect("positive");
        trial.engine.declare_queue(&trial.queue, &trial.spec).await.expect("changed");
        trial.engine.declare_queue(&name("invoices"), &trial.spec).await.expect("declared");
        trial.send(&trial.queue, sent("7", IN_TIME)).await;
        let (responder, consumer, asked) = trial.counting(Duration::ZERO);
        sleep(60 * SECOND).await;
        let stats = (responder.read().abandoned, consumer.read().acknowledged, asked.load(Relaxed));
        assert_eq!(stats, (1, 1, 1), "{max_deliveries}");
        assert_eq!(trial.browse("quotes.dead").await, []);
        assert_eq!(trial.browse("invoices").await, [], "its effects were for its answer");
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_can_not_answer_and_acknowledge_as_one_is_refused() {
    let trial = Trial::on(|model| model.refusing(["commit"])).await;
    let (engine, clock) = (Arc::clone(&trial.engine), trial.clock.clone());
    let config = ResponderConfig::default();
    let refused = Responder::new(engine, &name("sales"), config, clock, trial.events.clone());
    assert_eq!(refused.expect_err("refused").feature, "request_reply");
}
