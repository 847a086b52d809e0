use std::num::NonZeroU32;

use intertie_core::failure::Class;
use tokio::time::{Instant, timeout};

use super::*;
use crate::EngineError;
use crate::commit::{CommitError, Refused};
use crate::queue::LeaseRequest;

#[tokio::test(start_paused = true)]
async fn each_request_gets_its_own_answer_whatever_the_order() {
    let trial = Trial::new().await;
    let responder = trial.responder();
    let (consumer, _) = trial.serve(responder.respond(|request: Envelope, _: Context| async move {
        // The later ones are answered first.
        let wait = 10 - request.id().parse::<u64>()?;
        sleep(Duration::from_secs(wait)).await;
        answer(&format!("to {}", request.id()))
    }));
    let requester = trial.requester(RequesterConfig::default()).await;
    let asked: Vec<_> = (0..10)
        .map(|id| {
            let (requester, queue) = (requester.clone(), trial.queue.clone());
            // They are of one flow, which tells none of them from the others.
            let question = question(&id.to_string()).with_correlation_id("order-1").expect("text");
            tokio::spawn(async move { requester.request(&queue, question).await })
        })
        .collect();
    for (id, asked) in asked.into_iter().enumerate() {
        let reply = asked.await.expect("no panic").expect("answered");
        assert_eq!(reply.id(), format!("to {id}"));
        assert_eq!(reply.correlation_id().as_deref(), Some("order-1"));
    }
    let stats = requester.stats();
    assert_eq!((stats.begun, stats.answered, stats.late + stats.again + stats.unasked), (10, 10, 0));
    assert_eq!((consumer.read().acknowledged, responder.source().read().answered), (10, 10));
    sleep(SECOND).await;
    assert_eq!(trial.engine.depth(requester.reply_to()).await.expect("there").in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_too_late_is_discarded_and_counted() {
    let trial = Trial::new().await;
    // A responder that knows no deadlines.
    let engine = Arc::clone(&trial.engine);
    trial.serve(handle(move |request: Envelope, _: Context| {
        let engine = Arc::clone(&engine);
        async move {
            sleep(10 * SECOND).await;
            for _ in 0..2 {
                let reply = Envelope::new("1", "/sales", "quote.given")?.with_causation_id(request.id())?;
                let queue = request.reply_to().expect("there").parse()?;
                engine.commit(Operation::Send { queue, message: reply.into() }.into()).await?;
            }
            Ok(Commit::default())
        }
    }));
    let requester = trial.requester(RequesterConfig::default()).await;
    let request = Request { timeout: Some(2 * SECOND), ..question("7").into() };
    let began = Instant::now();
    let failed = requester.request(&trial.queue, request).await.expect_err("too late");
    let responders = Responders::Known(1);
    assert_eq!(failed, RequestError::TimedOut { after: 2 * SECOND, responders });
    assert_eq!(began.elapsed(), 2 * SECOND);
    sleep(60 * SECOND).await;
    assert_eq!((requester.stats().timed_out, requester.stats().late), (1, 2));
    assert_eq!(trial.told("reply_discarded"), 2);

    // One that is answered twice, and one that nobody asked for.
    requester.request(&trial.queue, question("8")).await.expect("answered");
    trial.send(requester.reply_to(), question("9").with_causation_id("10").expect("text")).await;
    trial.send(requester.reply_to(), question("11")).await;
    sleep(60 * SECOND).await;
    let stats = requester.stats();
    assert_eq!((stats.late, stats.again, stats.unasked, stats.answered), (2, 1, 2, 1));
    let depth = trial.engine.depth(requester.reply_to()).await.expect("there");
    assert_eq!((depth.ready, depth.in_flight), (0, 0), "nothing of it stays");
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_with_the_same_id_gets_the_late_reply() {
    let trial = Trial::new().await;
    let requester = trial.requester(RequesterConfig { fail_fast: false, ..RequesterConfig::default() }).await;
    let request = Request { timeout: Some(SECOND), ..question("7").into() };
    requester.request(&trial.queue, request).await.expect_err("nobody answers");
    let again = requester.request(&trial.queue, question("7"));
    let reply = Envelope::new("1", "/sales", "quote.given").and_then(|reply| reply.with_causation_id("7"));
    let reply = async { trial.send(requester.reply_to(), reply.expect("text")).await };
    let (answered, ()) = tokio::join!(again, reply);
    assert_eq!(answered.expect("answered").id(), "1");
    assert_eq!(requester.stats().late, 0);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_nobody_serves_is_refused_fast_and_nothing_is_sent() {
    let trial = Trial::new().await;
    let requester = trial.requester(RequesterConfig::default()).await;
    let began = Instant::now();
    let failed = requester.request(&trial.queue, question("7")).await;
    assert_eq!(failed, Err(RequestError::NoResponder { queue: trial.queue.clone() }));
    assert_eq!(began.elapsed(), Duration::from_millis(100));
    assert_eq!(trial.engine.depth(&trial.queue).await.expect("there").ready, 0);
    assert_eq!(requester.stats().without_responder, 1);

    let nowhere = requester.request(&name("quote"), question("8")).await.expect_err("no such queue");
    let RequestError::Engine(EngineError::NotFound { nearest, .. }) = nowhere else { panic!("{nowhere:?}") };
    assert_eq!(nearest, Some(trial.queue.clone()));

    trial.answer_after(Duration::ZERO);
    requester.request(&trial.queue, question("9")).await.expect("there is one now");
}

#[tokio::test(start_paused = true)]
async fn a_responder_between_two_messages_is_given_its_time() {
    let trial = Trial::new().await;
    let requester = trial.requester(RequesterConfig::default()).await;
    let asked = requester.request(&trial.queue, question("7"));
    let come = async {
        sleep(Duration::from_millis(50)).await;
        trial.answer_after(Duration::ZERO);
    };
    let (answered, ()) = tokio::join!(asked, come);
    answered.expect("answered");
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_are_bounded_and_told_apart() {
    let trial = Trial::new().await;
    trial.answer_after(10 * SECOND);
    let in_flight_max = NonZeroU32::new(2).expect("positive");
    let requester = trial.requester(RequesterConfig { in_flight_max, ..RequesterConfig::default() }).await;
    let ask = |id: &'static str| requester.request(&trial.queue, question(id));
    let (first, second, twice, third) = tokio::join!(ask("1"), ask("2"), ask("2"), ask("3"));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(twice, Err(RequestError::Twice));
    assert_eq!(third, Err(RequestError::Overloaded { bound: "in_flight_max", limit: 2 }));
    ask("3").await.expect("there is room again");
    assert_eq!((requester.stats().refused, requester.stats().answered), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_makes_room_and_its_reply_is_late() {
    let trial = Trial::new().await;
    trial.answer_after(5 * SECOND);
    let one = RequesterConfig { in_flight_max: NonZeroU32::MIN, ..RequesterConfig::default() };
    let requester = trial.requester(one).await;
    let dropped = timeout(SECOND, requester.request(&trial.queue, question("1"))).await;
    assert!(dropped.is_err());
    requester.request(&trial.queue, question("2")).await.expect("there is room");
    let stats = requester.stats();
    assert_eq!((stats.dropped, stats.late, stats.answered, stats.timed_out), (1, 1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn faults_arrive_typed() {
    let trial = Trial::new().await;
    let responder = trial.responder();
    let (consumer, _) = trial.serve(responder.respond(|request: Envelope, _: Context| async move {
        match request.id() {
            "price" => Err(Fault::permanent("no_price", "we do not sell that")),
            "later" => Err(Failure::of_class(Class::Throttled, "busy").retry_after(SECOND).into()),
            "error" => "x".parse::<u32>().map_err(Fault::from).and_then(|_| answer("1")),
            _ => panic!("out of paper"),
        }
    }));
    let requester = trial.requester(RequesterConfig::default()).await;
    let internal = Fault::retryable("internal", "invalid digit found in string");
    for (id, expected, class) in [
        ("price", Fault::permanent("no_price", "we do not sell that"), Class::Permanent),
        ("later", Fault::retryable("throttled", "busy").retry_after(SECOND), Class::Unavailable),
        ("error", internal, Class::Transient),
        ("panic", Fault::retryable("panicked", "the responder panicked"), Class::Transient),
    ] {
        let failed = requester.request(&trial.queue, question(id)).await.expect_err(id);
        assert_eq!(failed.class(), class, "{id}");
        assert_eq!(failed, RequestError::Failed(expected));
    }
    sleep(60 * SECOND).await;
    assert_eq!((requester.stats().failed, responder.source().read().failed), (4, 4));
    assert_eq!((consumer.read().acknowledged, consumer.read().retried), (4, 0), "none comes again");
}

#[tokio::test(start_paused = true)]
async fn urgent_requests_go_first_and_metadata_arrives() {
    let trial = Trial::new().await;
    let config = RequesterConfig { fail_fast: false, ..RequesterConfig::default() };
    let requester = trial.requester(config).await;
    let ask = |id: &str, priority| {
        let envelope = question(id).with_user_id("ann").expect("text");
        let (requester, queue) = (requester.clone(), trial.queue.clone());
        async move { requester.request(&queue, Request { priority, ..envelope.into() }).await }
    };
    let lease = async {
        sleep(SECOND).await;
        let most = NonZeroU32::new(3).expect("positive");
        let request = LeaseRequest {
            queue: trial.queue.clone(),
            consumer: name("sales"),
            most,
            bytes_max: ByteSize::from_bytes(1 << 20),
            visibility_timeout: None,
            wait: Duration::ZERO,
        };
        trial.engine.lease(&request).await.expect("leased")
    };
    let asked = async { tokio::join!(ask("1", 0), ask("2", 2), ask("3", 1)) };
    let leased = tokio::select! {
        _ = asked => unreachable!("nobody answers"),
        leased = lease => leased,
    };
    let seen: Vec<_> = leased
        .iter()
        .map(|lease| match &lease.content {
            Content::Envelope(envelope) => (envelope.id().to_owned(), envelope.user_id().map(String::from)),
            Content::Undecodable { .. } => unreachable!("an envelope was sent"),
        })
        .collect();
    assert_eq!(seen, ["2", "3", "1"].map(|id| (id.to_owned(), Some("ann".to_owned()))));

    let refused = ask("4", 3).await.expect_err("there are three priorities");
    let RequestError::NotSent(CommitError::Refused { cause, .. }) = &refused else { panic!("{refused:?}") };
    assert!(matches!(cause, Refused::NotDeclared { key: "priorities", .. }), "{cause:?}");
    assert_eq!(refused.class(), Class::Permanent);
}

#[tokio::test(start_paused = true)]
async fn a_reply_queue_that_went_with_its_engine_is_made_anew() {
    let trial = Trial::new().await;
    trial.answer_after(Duration::ZERO);
    let requester = trial.requester(RequesterConfig::default()).await;
    requester.request(&trial.queue, question("1")).await.expect("answered");
    trial.engine.delete_queue(requester.reply_to()).await.expect("deleted");
    requester.request(&trial.queue, question("2")).await.expect("answered all the same");
    assert_eq!(requester.stats().reopened, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_envelope_is_taken_out_of_the_reply_queue() {
    let trial = Trial::new().await;
    let requester = trial.requester(RequesterConfig::default()).await;
    let bury = Operation::Bury {
        queue: requester.reply_to().clone(),
        content: Content::Undecodable {
            bytes: b"\xff".to_vec().into(),
            headers: Vec::new(),
            problem: "no JSON".to_owned(),
        },
        dead_letter: Box::new(crate::queue::DeadLetter {
            cause: crate::queue::Cause::Undecodable,
            reason: None,
            origin: crate::queue::Origin::Queue { queue: name("elsewhere"), position: None },
            deliveries: 1,
            at: trial.clock.now(),
            redrives: 0,
        }),
    };
    trial.engine.commit(bury.into()).await.expect("buried");
    sleep(SECOND).await;
    assert_eq!(requester.stats().undecodable, 1);
    let depth = trial.engine.depth(requester.reply_to()).await.expect("there");
    assert_eq!((depth.ready, depth.in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_second_requester_of_the_name_waits_until_the_first_is_gone() {
    let trial = Trial::new().await;
    let first = trial.requester(RequesterConfig::default()).await;
    let second = timeout(5 * SECOND, trial.requester_named("shop", RequesterConfig::default())).await;
    assert!(second.is_err(), "the first is there");
    let began = Instant::now();
    let refused = trial.requester_named("shop", RequesterConfig::default()).await.expect_err("still there");
    assert!(matches!(refused, RequesterError::Engine(EngineError::Exclusive { .. })), "{refused:?}");
    assert!(began.elapsed() >= 40 * SECOND);
    drop(first);
    trial.requester_named("shop", RequesterConfig::default()).await.expect("it is gone");

    let long = "n".repeat(96);
    let refused = trial.requester_named(&long, RequesterConfig::default()).await.expect_err("too long");
    assert!(matches!(refused, RequesterError::Invalid(invalid) if invalid.problem.contains("at most 95")));
}

#[tokio::test(start_paused = true)]
async fn a_requester_on_an_engine_that_promises_less_is_refused() {
    let trial = Trial::on(|model| model.refusing(["exclusive"])).await;
    let refused = trial.requester_named("shop", RequesterConfig::default()).await;
    assert!(matches!(refused, Err(RequesterError::Declare(_))), "{refused:?}");
}
