//! What holds whatever handlers do, and whoever subscribes.

use proptest::prelude::*;

use super::*;
use crate::Pattern;

#[derive(Debug, Clone)]
struct Case {
    /// The pattern of each handler, and the ids modulo 5 at which it fails and panics.
    handlers: Vec<(&'static str, usize, usize)>,
    /// The types of the events of each publication.
    publications: Vec<Vec<&'static str>>,
    concurrent: u32,
}

fn case() -> impl Strategy<Value = Case> {
    let pattern =
        prop::sample::select(&["**", "orders.*", "orders.placed", "*.left", "users.**", "none"][..]);
    let of = prop::sample::select(&["orders.placed", "orders.paid", "users.left", "users", "x.y.left"][..]);
    let handlers = prop::collection::vec((pattern, 0..8usize, 0..8usize), 0..5);
    let publications = prop::collection::vec(prop::collection::vec(of, 1..6), 1..5);
    (handlers, publications, 1..4u32).prop_map(|(handlers, publications, concurrent)| Case {
        handlers,
        publications,
        concurrent,
    })
}

async fn holds(case: Case) -> Result<(), TestCaseError> {
    let concurrent = case.concurrent.try_into().expect("positive");
    let trial = Trial::with(EventBusConfig { concurrent, ..EventBusConfig::default() }).await;
    for (at, (pattern, fails, panics)) in case.handlers.iter().copied().enumerate() {
        trial.subscribe(&format!("h{at}"), pattern, move |id| {
            let id: usize = id.parse().expect("a number");
            assert!(id % 5 != panics, "it panics");
            if id % 5 == fails { Err(Failure::transient("it fails")) } else { Ok(()) }
        });
    }
    let mut all = Vec::new();
    for publication in &case.publications {
        let events: Vec<_> = publication
            .iter()
            .map(|of| {
                all.push(*of);
                event(&(all.len() - 1).to_string(), of)
            })
            .collect();
        let published = trial.bus.publish_batch(events).await.expect("stored");
        for published in published.events {
            let id: usize = published.event.id().parse().expect("a number");
            let told = |pattern: &str| {
                let pattern: Pattern = pattern.parse().expect("a pattern");
                pattern.matches(published.event.r#type())
            };
            let told: Vec<_> =
                case.handlers.iter().enumerate().filter(|(_, (pattern, ..))| told(pattern)).collect();
            let failing = told.iter().filter(|(_, (_, fails, panics))| id % 5 == *fails || id % 5 == *panics);
            let failing: Vec<_> = failing.map(|(at, _)| format!("h{at}")).collect();
            let mut failed: Vec<_> =
                published.failures.iter().map(|failure| failure.handler.to_string()).collect();
            failed.sort();
            prop_assert_eq!(published.handlers_executed, told.len());
            prop_assert_eq!(failed, failing);
        }
    }
    let stored: Vec<_> = trial.stored(0).await.iter().map(|event| event.id().to_owned()).collect();
    prop_assert_eq!(stored, (0..all.len()).map(|id| id.to_string()).collect::<Vec<_>>());
    // Each handler is told of what its pattern means, of each event once, in order.
    let diary = trial.diary.read();
    for (at, (pattern, ..)) in case.handlers.iter().enumerate() {
        let pattern: Pattern = pattern.parse().expect("a pattern");
        let meant = all.iter().enumerate().filter(|(_, of)| pattern.matches(of));
        let meant: Vec<_> = meant.map(|(id, _)| format!("h{at} {id}")).collect();
        let own = format!("h{at} ");
        let called: Vec<_> = diary.iter().filter(|line| line.starts_with(&own)).cloned().collect();
        prop_assert_eq!(called, meant);
    }
    let stats = trial.bus.stats();
    prop_assert_eq!((stats.published as usize, stats.in_flight), (all.len(), 0));
    prop_assert_eq!((stats.handled + stats.failed) as usize, diary.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_event_is_stored_once_and_every_handler_told_of_what_it_asked_for(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(holds(case))?;
    }
}
