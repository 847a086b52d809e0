//! What holds whatever responders do, and however long whoever asks waits.

use proptest::prelude::*;
use tokio::time::timeout;

use super::*;

/// What a responder does with a request.
#[derive(Debug, Clone, Copy)]
enum Does {
    Answer,
    Fail,
    Panic,
}

#[derive(Debug, Clone, Copy)]
struct Ask {
    does: Does,
    /// Seconds from the beginning until it is asked, that its responder takes, that it may take, and until whoever asked
    /// drops it.
    at: u8,
    takes: u8,
    timeout: u8,
    dropped: u8,
}

fn ask() -> impl Strategy<Value = Ask> {
    let does = prop_oneof![3 => Just(Does::Answer), 1 => Just(Does::Fail), 1 => Just(Does::Panic)];
    (does, 0..20u8, 0..12u8, 1..12u8, 1..30u8).prop_map(|(does, at, takes, timeout, dropped)| Ask {
        does,
        at,
        takes,
        timeout,
        dropped,
    })
}

fn seconds(seconds: u8) -> Duration {
    Duration::from_secs(seconds.into())
}

async fn holds(asks: Vec<Ask>, in_flight_max: u32, stop_at: u8) -> Result<(), TestCaseError> {
    let trial = Trial::new().await;
    let does = asks.clone();
    let responder = trial.responder();
    let (consumer, _) = trial.serve(responder.respond(move |request: Envelope, _: Context| {
        let ask = request.id().parse::<usize>().map(|id| does[id]);
        async move {
            let ask = ask?;
            sleep(seconds(ask.takes)).await;
            match ask.does {
                Does::Answer => answer(&format!("to {}", request.id())),
                Does::Fail => Err(Fault::permanent("no", format!("to {}", request.id()))),
                Does::Panic => panic!("as it was told"),
            }
        }
    }));
    sleep(SECOND / 2).await;
    let in_flight_max = in_flight_max.try_into().expect("positive");
    let requester = trial.requester(RequesterConfig { in_flight_max, ..RequesterConfig::default() }).await;
    let asked: Vec<_> = asks
        .iter()
        .copied()
        .enumerate()
        .map(|(id, ask)| {
            let (requester, queue) = (requester.clone(), trial.queue.clone());
            tokio::spawn(async move {
                sleep(seconds(ask.at)).await;
                let request =
                    Request { timeout: Some(seconds(ask.timeout)), ..question(&id.to_string()).into() };
                timeout(seconds(ask.dropped), requester.request(&queue, request)).await.ok()
            })
        })
        .collect();
    sleep(seconds(stop_at)).await;
    let ended = requester.shut_down().await;
    prop_assert!(ended.in_time && ended.queue_removed, "no request is longer than `drain_timeout`");
    let mut counts = [0; 5];
    for (id, (asked, ask)) in asked.into_iter().zip(&asks).enumerate() {
        let outcome = asked.await.expect("no panic");
        let at = match &outcome {
            Some(Ok(reply)) => {
                prop_assert_eq!(reply.id(), format!("to {id}"));
                prop_assert!(matches!(ask.does, Does::Answer) && ask.takes <= ask.timeout);
                0
            }
            Some(Err(RequestError::Failed(fault))) => {
                match ask.does {
                    Does::Fail => prop_assert_eq!(fault.message(), format!("to {id}")),
                    _ => prop_assert!(matches!(ask.does, Does::Panic) && fault.code() == "panicked"),
                }
                1
            }
            Some(Err(RequestError::TimedOut { after, .. })) => {
                prop_assert_eq!(*after, seconds(ask.timeout));
                // A responder has ten hands, and a busy one may come too late.
                prop_assert!(ask.takes >= ask.timeout || asks.len() > 10);
                2
            }
            None => {
                prop_assert!(ask.dropped <= ask.timeout);
                3
            }
            Some(Err(RequestError::Overloaded { bound: "in_flight_max", .. } | RequestError::ShutDown)) => 4,
            Some(Err(error)) => return Err(TestCaseError::fail(format!("{id}: {error}"))),
        };
        counts[at] += 1;
    }
    let stats = requester.stats();
    let counted = [stats.answered, stats.failed, stats.timed_out, stats.dropped, stats.refused];
    prop_assert_eq!(counted, counts);
    prop_assert_eq!(stats.begun, counts[..4].iter().sum::<u64>());
    prop_assert_eq!((stats.unasked, stats.again, stats.cut, stats.not_sent), (0, 0, 0, 0));
    // In the end nothing is left of any request, answered or not.
    sleep(60 * SECOND).await;
    let depth = trial.engine.depth(&trial.queue).await.expect("there");
    prop_assert_eq!((depth.ready, depth.delayed, depth.in_flight), (0, 0, 0));
    prop_assert_eq!(trial.browse("quotes.dead").await.len(), 0);
    let responses = responder.source().read();
    let handed = responses.answered + responses.failed;
    prop_assert!(stats.answered + stats.failed + stats.late <= handed);
    prop_assert!(consumer.read().acknowledged >= stats.answered + stats.failed);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_request_ends_once_as_its_own(
        asks in prop::collection::vec(ask(), 1..16),
        in_flight_max in 1..8u32,
        stop_at in 0..40u8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(holds(asks, in_flight_max, stop_at))?;
    }
}
