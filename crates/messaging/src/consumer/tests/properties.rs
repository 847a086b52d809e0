//! What holds whatever handlers do, and whenever consumers stop.

use std::collections::HashMap;

use intertie_core::failure::Class;
use intertie_resilience::{CircuitBreakerConfig, PipelineConfig};
use proptest::prelude::*;
use tokio::time::{sleep, timeout};

use super::*;

/// What a handler does with one delivery.
#[derive(Debug, Clone, Copy)]
enum Does {
    Succeed,
    Fail(Class),
    Panic,
    /// Takes so many seconds, and succeeds.
    Take(u8),
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        6 => Just(Does::Succeed),
        2 => Just(Does::Fail(Class::Transient)),
        1 => Just(Does::Fail(Class::Throttled)),
        1 => Just(Does::Fail(Class::Permanent)),
        1 => Just(Does::Fail(Class::Unjudged)),
        1 => Just(Does::Panic),
        2 => (1..50u8).prop_map(Does::Take),
    ]
}

#[derive(Debug, Clone)]
struct Case {
    /// The group of each message; 0 is none.
    groups: Vec<u8>,
    /// What its handler does with each delivery of each message, by turns.
    does: Vec<Vec<Does>>,
    max_deliveries: u32,
    concurrent: u32,
    prefetch: u32,
    batches: bool,
    breaker: bool,
    /// Consumers, one after the other, that are stopped after so many seconds, and whether gracefully.
    consumers: Vec<(u8, bool)>,
}

fn case() -> impl Strategy<Value = Case> {
    let bounds = (1..4u32, 1..5u32, 0..5u32);
    let consumers = prop::collection::vec((1..120u8, any::<bool>()), 0..4);
    let messages = prop::collection::vec((0..3u8, prop::collection::vec(does(), 1..4)), 1..12);
    (messages, bounds, any::<bool>(), any::<bool>(), consumers).prop_map(
        |(messages, (max_deliveries, concurrent, more), batches, breaker, consumers)| {
            let (groups, does) = messages.into_iter().unzip();
            let prefetch = concurrent + more;
            Case { groups, does, max_deliveries, concurrent, prefetch, batches, breaker, consumers }
        },
    )
}

/// What handlers saw and did, across all consumers.
#[derive(Debug, Default)]
struct Seen {
    /// The numbers of deliveries that each message was handled in.
    deliveries: HashMap<usize, Vec<u32>>,
    calls: HashMap<usize, usize>,
    /// Messages that a handler has now.
    at_once: Vec<usize>,
    finished: Vec<usize>,
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<Seen>>;

async fn handle_one(case: Arc<Case>, seen: Shared, delivery: Delivery) -> Result<Commit, Failure> {
    struct Leaving(Shared, usize);
    impl Drop for Leaving {
        fn drop(&mut self) {
            let mut seen = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let own = self.1;
            seen.at_once.retain(|number| *number != own);
        }
    }
    let number: usize = delivery.envelope.id().parse().expect("a number");
    let does = {
        let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let deliveries = delivery.context.deliveries.get();
        seen.deliveries.entry(number).or_default().push(deliveries);
        if deliveries > case.max_deliveries {
            seen.wrong.push(format!("{number} in its delivery {deliveries}"));
        }
        let group = case.groups[number];
        let earlier = (0..number)
            .find(|other| group > 0 && case.groups[*other] == group && !seen.finished.contains(other));
        if let Some(earlier) = earlier {
            seen.wrong.push(format!("{number} before {earlier}"));
        }
        if seen.at_once.contains(&number) {
            seen.wrong.push(format!("{number} twice at once"));
        }
        seen.at_once.push(number);
        let call = seen.calls.entry(number).or_default();
        *call += 1;
        case.does[number][(*call - 1) % case.does[number].len()]
    };
    let _leaving = Leaving(Arc::clone(&seen), number);
    let finish = || seen.lock().expect("not poisoned").finished.push(number);
    match does {
        Does::Succeed => {}
        Does::Take(seconds) => sleep(u32::from(seconds) * SECOND).await,
        Does::Panic => {
            finish();
            // Without the hook's words.
            std::panic::resume_unwind(Box::new("as it should"))
        }
        Does::Fail(class) => {
            // A message that dies lets the next of its group go on.
            if class == Class::Permanent || class.is_retriable() && delivery.context.is_last_delivery {
                finish();
            }
            return Err(Failure::of_class(class, "as it should"));
        }
    }
    finish();
    let message = delivery.envelope.into();
    Ok(Operation::Send { queue: name("parcels"), message }.into())
}

async fn check(case: Case) -> Result<(), TestCaseError> {
    let spec = QueueSpec {
        max_deliveries: number(case.max_deliveries),
        groups: !case.batches,
        ..QueueSpec::default()
    };
    let trial = Trial::new(spec).await;
    trial.engine.declare_queue(&name("parcels"), &trial.spec).await.expect("declared");
    for (number, group) in case.groups.iter().enumerate() {
        let mut order = envelope(&number.to_string());
        if *group > 0 {
            order = order.with_partition_key(&group.to_string()).expect("a key");
        }
        trial.send_message(order.into()).await;
    }
    let circuit_breaker = case.breaker.then(CircuitBreakerConfig::sensitive);
    let config = ConsumerConfig {
        concurrent: number(case.concurrent),
        prefetch: number(case.prefetch),
        batch_max: number(case.prefetch),
        handling_max: MINUTE,
        drain_timeout: 20 * SECOND,
        panics: Panics::DeadLetter,
        pipeline: PipelineConfig { circuit_breaker, ..PipelineConfig::default() },
        inbox: Some(InboxConfig::named(name("packing"))),
        ..ConsumerConfig::default()
    };
    let (case, seen) = (Arc::new(case), Shared::default());
    let last = (u8::MAX, true);
    let mut dropped = 0;
    for (at, (seconds, gracefully)) in case.consumers.iter().copied().chain([last]).enumerate() {
        let time = if at == case.consumers.len() { 24 * 60 * MINUTE } else { u32::from(seconds) * SECOND };
        let before = trial.depth().await.in_flight;
        let consumer = trial.consumer(config.clone());
        let (own, noted) = (Arc::clone(&case), Arc::clone(&seen));
        let stop = async { if gracefully { sleep(time).await } else { std::future::pending().await } };
        let running = async {
            if case.batches {
                let handler = handle_batch(move |batch: Vec<Delivery>| {
                    let (case, seen) = (Arc::clone(&own), Arc::clone(&noted));
                    async move {
                        let mut effects = Commit::default();
                        for delivery in batch {
                            let done = handle_one(Arc::clone(&case), Arc::clone(&seen), delivery).await?;
                            effects.operations.extend(done.operations);
                        }
                        Ok(effects)
                    }
                });
                consumer.run_batches(handler, stop).await
            } else {
                let handler = handle(move |envelope: Envelope, context: Context| {
                    let delivery = Delivery { envelope, context };
                    handle_one(Arc::clone(&own), Arc::clone(&noted), delivery)
                });
                consumer.run(handler, stop).await
            }
        };
        if gracefully {
            let drained = running.await.expect("it ends well");
            prop_assert_eq!(drained.left, 0);
            prop_assert!(trial.depth().await.in_flight <= before, "drain leaves no lease out");
        } else {
            let _ = timeout(time, running).await;
            dropped += 1;
        }
    }
    let wrong = std::mem::take(&mut seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).wrong);
    // The order of a batch, and of what a dropped consumer still holds, is the queue's to keep.
    let ordered = !case.batches && dropped == 0;
    let wrong: Vec<_> = wrong.into_iter().filter(|wrong| ordered || !wrong.contains(" before ")).collect();
    prop_assert_eq!(wrong, Vec::<String>::new());
    // What is tried at some time is done or dies at some time, and lets others go on; what never is does neither.
    let is_tried = |does: &Vec<Does>| does.iter().any(|does| !matches!(does, Does::Fail(Class::Unjudged)));
    if case.does.iter().all(is_tried) {
        prop_assert_eq!(trial.browse("orders").await.len(), 0, "each message has an end");
    }
    let mut ends: Vec<String> = trial.dead().await.into_iter().map(|dead| dead.0).collect();
    ends.extend(trial.browse("parcels").await.iter().map(|parcel| id(&parcel.content).to_owned()));
    ends.extend(trial.browse("orders").await.iter().map(|order| id(&order.content).to_owned()));
    ends.sort();
    let mut sent: Vec<_> = (0..case.groups.len()).map(|number| number.to_string()).collect();
    sent.sort();
    prop_assert_eq!(ends, sent, "each message has one end, and none is lost");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn nothing_is_lost_doubled_or_handled_too_often(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(check(case))?;
    }
}
