use std::collections::HashSet;

use intertie_core::failure::Class;
use intertie_resilience::rate_limiter::RateLimiterConfig;
use intertie_resilience::{CircuitBreakerConfig, PipelineConfig};
use tokio::time::sleep;

use super::*;

/// A batch handler that notes what it gets and fails by `failure` when `poison` is in it.
fn choking(
    diary: &Diary,
    poison: &'static [&'static str],
    failure: fn(u32) -> Failure,
) -> impl Handler<Vec<Delivery>> {
    let diary = diary.clone();
    handle_batch(move |batch: Vec<Delivery>| {
        let ids: Vec<_> = batch.iter().map(|delivery| delivery.envelope.id().to_owned()).collect();
        diary.note(ids.join(" "));
        let chokes = ids.iter().any(|id| poison.contains(&id.as_str()));
        let most = batch.iter().map(|delivery| delivery.context.deliveries.get()).max().unwrap_or(0);
        std::future::ready(if chokes { Err(failure(most)) } else { Ok(Commit::default()) })
    })
}

async fn trial(messages: usize, max_deliveries: u32) -> Trial {
    let trial =
        Trial::new(QueueSpec { max_deliveries: number(max_deliveries), ..QueueSpec::default() }).await;
    let ids: Vec<_> = (0..messages).map(|id| id.to_string()).collect();
    trial.send(ids.iter().map(String::as_str)).await;
    trial
}

fn config() -> ConsumerConfig {
    ConsumerConfig {
        concurrent: number(1),
        prefetch: number(8),
        batch_max: number(8),
        ..ConsumerConfig::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_what_is_there() {
    let trial = trial(20, 5).await;
    let (diary, consumer) = (Diary::default(), trial.consumer(config()));
    let stats = consumer.stats();
    consumer.run_batches(choking(&diary, &[], |_| unreachable!()), sleep(MINUTE)).await.expect("drained");
    let sizes: Vec<_> = diary.read().iter().map(|batch| batch.split(' ').count()).collect();
    assert_eq!(sizes, [8, 8, 4]);
    assert_eq!((stats.read().acknowledged, stats.read().calls), (20, 3));
}

#[tokio::test(start_paused = true)]
async fn the_poison_is_found_by_halves_and_its_neighbours_are_done() {
    let trial = trial(8, 5).await;
    let (diary, consumer) = (Diary::default(), trial.consumer(config()));
    let stats = consumer.stats();
    let handler = choking(&diary, &["5"], |_| Failure::permanent("no stock"));
    consumer.run_batches(handler, sleep(MINUTE)).await.expect("drained");
    assert_eq!(
        diary.read(),
        ["0 1 2 3 4 5 6 7", "0 1 2 3", "4 5 6 7", "4 5", "4", "5", "6 7"],
        "2 log2(8) + 1 calls"
    );
    assert_eq!(trial.dead().await, [("5".to_owned(), "rejected", "no stock".to_owned())]);
    assert_eq!((stats.read().acknowledged, stats.read().bisections), (7, 3));
}

#[tokio::test(start_paused = true)]
async fn nobody_dies_of_what_a_neighbour_is_to_blame_for() {
    let trial = trial(8, 3).await;
    let (diary, consumer) = (Diary::default(), trial.consumer(config()));
    let handler = choking(&diary, &["2", "3"], |_| Failure::transient("broken pipe"));
    consumer.run_batches(handler, sleep(MINUTE)).await.expect("drained");
    let mut dead = trial.dead().await;
    dead.sort();
    let expected = ["2", "3"].map(|id| (id.to_owned(), "max_deliveries", "broken pipe".to_owned()));
    assert_eq!(dead, expected);
    assert_eq!(trial.depth().await.ready, 0);
    // Until its last delivery the batch comes again as it was: a service that is away gets no more calls.
    assert_eq!(diary.read()[..2], ["0 1 2 3 4 5 6 7", "0 1 2 3 4 5 6 7"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_not_tried_is_not_cut() {
    let trial = trial(8, 1).await;
    let (diary, consumer) = (Diary::default(), trial.consumer(config()));
    let handler =
        choking(&diary, &["0"], |_| Failure::of_class(Class::Unjudged, "closed").retry_after(MINUTE));
    consumer.run_batches(handler, sleep(2 * MINUTE - SECOND)).await.expect("drained");
    assert_eq!(diary.read(), ["0 1 2 3 4 5 6 7"; 2]);
    assert_eq!(trial.depth().await.ready, 8);
}

/// Has 8 messages handled of which 5 is poison, under a policy that rejects in between: what was handled.
async fn searched(pipeline: PipelineConfig, max_deliveries: u32, failure: fn(u32) -> Failure) -> Trial {
    let trial = trial(8, max_deliveries).await;
    // The policy takes longer to admit again than a call, or a lease, may last.
    let config = ConsumerConfig { pipeline, handling_max: SECOND, ..config() };
    let (diary, consumer) = (Diary::default(), trial.consumer(config));
    let stats = consumer.stats();
    let running = consumer.run_batches(choking(&diary, &["5"], failure), sleep(60 * MINUTE));
    running.await.expect("drained");
    let searched = ["0 1 2 3 4 5 6 7", "0 1 2 3", "4 5 6 7", "4 5", "4", "5", "6 7"];
    assert_eq!(diary.read(), searched, "each part once");
    let stats = stats.read();
    assert_eq!((stats.received, stats.released, stats.acknowledged, stats.lost), (8, 0, 7, 0));
    trial
}

#[tokio::test(start_paused = true)]
async fn an_empty_bucket_does_not_begin_the_search_for_the_poison_anew() {
    let rate_limiter = RateLimiterConfig::new("1/m".parse().expect("a rate"));
    let pipeline = PipelineConfig { rate_limiter: Some(rate_limiter), ..PipelineConfig::default() };
    let trial = searched(pipeline, 5, |_| Failure::permanent("no stock")).await;
    assert_eq!(trial.dead().await, [("5".to_owned(), "rejected", "no stock".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_on_the_poison_does_not_begin_the_search_anew() {
    let circuit_breaker =
        CircuitBreakerConfig { consecutive_failures: Some(number(2)), ..CircuitBreakerConfig::sensitive() };
    let pipeline = PipelineConfig { circuit_breaker: Some(circuit_breaker), ..PipelineConfig::default() };
    let trial = searched(pipeline, 1, |_| Failure::transient("broken pipe")).await;
    assert_eq!(trial.dead().await, [("5".to_owned(), "max_deliveries", "broken pipe".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_search_that_waits_for_a_policy_ends_when_the_consumer_is_to_stop() {
    let trial = trial(8, 5).await;
    let rate_limiter = RateLimiterConfig::new("1/h".parse().expect("a rate"));
    let pipeline = PipelineConfig { rate_limiter: Some(rate_limiter), ..PipelineConfig::default() };
    let (diary, consumer) = (Diary::default(), trial.consumer(ConsumerConfig { pipeline, ..config() }));
    let handler = choking(&diary, &["5"], |_| Failure::permanent("no stock"));
    let began = tokio::time::Instant::now();
    let drained = consumer.run_batches(handler, sleep(10 * MINUTE)).await.expect("drained");
    assert_eq!((drained.in_time, drained.left), (true, 0));
    assert!(began.elapsed() < 10 * MINUTE + SECOND, "it does not wait for the policy");
    assert_eq!((diary.read().len(), trial.depth().await.ready), (1, 8));
}

#[tokio::test(start_paused = true)]
async fn what_a_batch_sends_is_sent_once_with_all_of_its_acknowledgements() {
    let trial = trial(8, 5).await;
    trial.engine.declare_queue(&name("parcels"), &trial.spec).await.expect("declared");
    let handler = handle_batch(|batch: Vec<Delivery>| async move {
        let parcel = |delivery: Delivery| Operation::Send {
            queue: name("parcels"),
            message: delivery.envelope.into(),
        };
        if batch.iter().any(|delivery| delivery.envelope.id() == "1") && batch.len() > 1 {
            return Err(Failure::permanent("too many"));
        }
        Ok(batch.into_iter().map(parcel).collect())
    });
    trial.consumer(config()).run_batches(handler, sleep(MINUTE)).await.expect("drained");
    let parcels = trial.browse("parcels").await;
    let ids: HashSet<_> = parcels.iter().map(|parcel| id(&parcel.content)).collect();
    assert_eq!((parcels.len(), ids.len()), (8, 8));
}
