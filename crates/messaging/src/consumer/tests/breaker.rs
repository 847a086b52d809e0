use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use intertie_resilience::rate_limiter::RateLimiterConfig;
use intertie_resilience::{CircuitBreakerConfig, PipelineConfig};
use tokio::time::{Instant, sleep};

use super::*;

fn config() -> ConsumerConfig {
    let circuit_breaker = Some(CircuitBreakerConfig::sensitive());
    let pipeline = PipelineConfig { circuit_breaker, ..PipelineConfig::default() };
    ConsumerConfig { pipeline, ..ConsumerConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_stops_intake_and_burns_no_deliveries() {
    let trial = Trial::new(QueueSpec { max_deliveries: number(3), ..QueueSpec::default() }).await;
    let ids: Vec<_> = (0..50).map(|id| id.to_string()).collect();
    trial.send(ids.iter().map(String::as_str)).await;
    let circuit_breaker =
        Some(CircuitBreakerConfig { open_max: Some(10 * MINUTE), ..CircuitBreakerConfig::sensitive() });
    let pipeline = PipelineConfig { circuit_breaker, ..PipelineConfig::default() };
    let config = ConsumerConfig { concurrent: number(1), pipeline, ..ConsumerConfig::default() };
    let consumer = trial.consumer(config);
    let (stats, diary) = (consumer.stats(), Diary::default());
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let handler = answering(&diary, move |_, _| {
        if is_down.load(Relaxed) { Err(Failure::transient("down")) } else { Ok(Commit::default()) }
    });
    let outage = async {
        sleep(10 * SECOND).await;
        // Five failures opened it; everything that it held is back in the queue.
        assert_eq!(diary.read().len(), 5);
        assert!(stats.read().is_paused);
        assert_eq!(trial.depth().await.in_flight, 0);
        sleep(5 * MINUTE).await;
        down.store(false, Relaxed);
        sleep(30 * MINUTE).await;
    };
    consumer.run(handler, outage).await.expect("drained");
    assert_eq!(trial.dead().await, []);
    let stats = stats.read();
    assert_eq!(stats.acknowledged, 50);
    // The failures that opened it, and probes after 30, 60 and 120 s, each with another message.
    assert_eq!((stats.retried, stats.released), (8, 9));
    let told = trial.told("consumer_paused");
    assert_eq!((told[0]["by"].as_str(), told[0]["seconds"].as_str()), ("circuit_breaker", "30.000"));
}

#[tokio::test(start_paused = true)]
async fn a_half_open_breaker_takes_in_as_many_as_it_probes_with() {
    let trial = Trial::new(QueueSpec::default()).await;
    let consumer = trial.consumer(config());
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let handler = handle(move |_: Envelope, _: Context| {
        let number = count.fetch_add(1, Relaxed);
        async move {
            if number < 5 {
                return Err(Failure::transient("down"));
            }
            sleep(5 * SECOND).await;
            Ok(Commit::default())
        }
    });
    let outage = async {
        trial.send(["1", "2", "3", "4", "5"]).await;
        sleep(SECOND).await;
        assert_eq!(handled.load(Relaxed), 5);
        trial.send(["6", "7", "8", "9", "10", "11", "12"]).await;
        sleep(33 * SECOND).await;
        // Three successes close it.
        assert_eq!(handled.load(Relaxed), 8);
        assert_eq!(trial.depth().await.in_flight, 3);
        sleep(10 * SECOND).await;
        assert_eq!(handled.load(Relaxed), 16);
        // The one that failed last, as it opened, waits behind the probes.
        sleep(MINUTE).await;
        assert_eq!(handled.load(Relaxed), 17);
    };
    consumer.run(handler, outage).await.expect("drained");
    assert_eq!(trial.depth().await.ready, 0);
    assert_eq!(trial.dead().await, []);
}

#[tokio::test(start_paused = true)]
async fn what_is_the_messages_own_fault_opens_nothing() {
    let trial = Trial::new(QueueSpec::default()).await;
    let ids: Vec<_> = (0..20).map(|id| id.to_string()).collect();
    trial.send(ids.iter().map(String::as_str)).await;
    let consumer = trial.consumer(config());
    let stats = consumer.stats();
    let handler = answering(&Diary::default(), |_, _| Err(Failure::permanent("no stock")));
    consumer.run(handler, sleep(10 * SECOND)).await.expect("drained");
    assert_eq!((stats.read().dead_lettered, stats.read().paused), ([0, 20, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_lets_messages_wait_where_they_are() {
    let trial = Trial::new(QueueSpec { max_deliveries: number(1), ..QueueSpec::default() }).await;
    let ids: Vec<_> = (0..30).map(|id| id.to_string()).collect();
    trial.send(ids.iter().map(String::as_str)).await;
    let rate_limiter = RateLimiterConfig::new("10/s".parse().expect("a rate"));
    let pipeline = PipelineConfig { rate_limiter: Some(rate_limiter), ..PipelineConfig::default() };
    let config = ConsumerConfig { concurrent: number(2), pipeline, ..ConsumerConfig::default() };
    let consumer = trial.consumer(config);
    let (stats, diary, began) = (consumer.stats(), Diary::default(), Instant::now());
    let noted = diary.clone();
    let handler = handle(move |order: Envelope, _: Context| {
        noted.note(order.id());
        std::future::ready(Ok(Commit::default()))
    });
    let done = async {
        while stats.read().acknowledged < 30 {
            sleep(SECOND / 10).await;
        }
    };
    consumer.run(handler, done).await.expect("drained");
    let took = began.elapsed();
    assert!((SECOND..4 * SECOND).contains(&took), "{took:?}");
    // Nothing was given back for it, and the order is as it was.
    assert_eq!((stats.read().released, stats.read().received), (0, 30));
    assert_eq!(diary.read(), ids);
}
