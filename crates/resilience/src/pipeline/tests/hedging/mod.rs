//! Attempts beside slow ones: when they begin, who wins, and what is measured.

mod failures;
mod policies;

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::hedge::{self, HedgeConfig, Quantile};

/// What each attempt of a call does after so long: succeed with its number, or fail.
struct Script<const N: usize> {
    attempts: [(Duration, Does); N],
    started: tokio::time::Instant,
    began: Mutex<Vec<Duration>>,
    left: AtomicU32,
}

impl<const N: usize> Script<N> {
    fn new(attempts: [(Duration, Does); N]) -> Self {
        let started = tokio::time::Instant::now();
        Self { attempts, started, began: Mutex::default(), left: AtomicU32::new(0) }
    }

    async fn attempt(&self, cx: Cx) -> Result<u32, &'static str> {
        self.began.lock().expect("unpoisoned").push(self.started.elapsed());
        let mut leaves = Leaves { left: &self.left, counts: true };
        let (after, does) = self.attempts[cx.attempt() as usize - 1];
        tokio::time::sleep(after).await;
        let outcome = does.it().await;
        leaves.counts = false;
        outcome.map(|_| cx.attempt())
    }

    fn began(&self) -> Vec<Duration> {
        self.began.lock().expect("unpoisoned").clone()
    }

    /// How many attempts were dropped before they ended.
    fn left(&self) -> u32 {
        self.left.load(Ordering::Relaxed)
    }
}

struct Leaves<'a> {
    left: &'a AtomicU32,
    counts: bool,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.left.fetch_add(u32::from(self.counts), Ordering::Relaxed);
    }
}

fn after_a_second() -> HedgeConfig {
    HedgeConfig::after(SECOND)
}

fn hedging() -> PipelineBuilder {
    Pipeline::named("hedging").hedge(after_a_second())
}

fn hedged(pipeline: &Pipeline) -> hedge::Stats {
    pipeline.hedge().expect("in force").stats()
}

fn phase(pipeline: &Pipeline) -> Phase {
    pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now()).phase
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_begins_beside_a_slow_one_and_wins() {
    let pipeline = hedging().circuit_breaker(CircuitBreakerConfig::standard()).build().expect("valid");
    let script = Script::new([(10 * SECOND, Does::Fail), (SECOND, Does::Succeed)]);
    let won = pipeline.call(|cx| script.attempt(cx)).idempotent().await;
    assert_eq!(won.expect("the second succeeds"), 2);
    assert_eq!((script.began(), script.left()), (vec![Duration::ZERO, SECOND], 1));
    assert_eq!(script.started.elapsed(), 2 * SECOND);
    let breaker = pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now());
    assert_eq!((breaker.window_calls, breaker.window_failures), (1, 0), "the loser is no evidence");
    let one_won = hedge::Stats { calls: 1, hedged: 1, won_by_hedge: 1, ..hedge::Stats::default() };
    assert_eq!(hedged(&pipeline), one_won);
    assert_eq!(pipeline.stats(), Stats { succeeded: 1, ..Stats::default() }, "a hedge is no repetition");
}

#[tokio::test(start_paused = true)]
async fn the_first_may_still_win_and_one_that_is_fast_is_alone() {
    let pipeline = hedging().build().expect("valid");
    let script = Script::new([(2 * SECOND, Does::Succeed), (10 * SECOND, Does::Succeed)]);
    assert_eq!(pipeline.call(|cx| script.attempt(cx)).idempotent().await.expect("succeeds"), 1);
    assert_eq!((script.began().len(), script.left()), (2, 1));
    let script = Script::new([(SECOND / 2, Does::Succeed)]);
    assert_eq!(pipeline.call(|cx| script.attempt(cx)).idempotent().await.expect("succeeds"), 1);
    assert_eq!(hedged(&pipeline), hedge::Stats { calls: 2, hedged: 1, ..hedge::Stats::default() });
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_marked_idempotent_is_neither_hedged_nor_measured() {
    let pipeline = hedging().build().expect("valid");
    let script = Script::new([(10 * SECOND, Does::Succeed)]);
    assert_eq!(pipeline.call(|cx| script.attempt(cx)).await.expect("succeeds"), 1);
    assert_eq!(script.began().len(), 1);
    assert_eq!(hedged(&pipeline), hedge::Stats::default());
}

#[tokio::test(start_paused = true)]
async fn up_to_three_attempts_go_side_by_side_and_know_their_numbers() {
    let three = HedgeConfig { attempts: NonZeroU32::new(3).expect("not zero"), ..after_a_second() };
    let pipeline = hedging().hedge(three).attempt_timeout(9 * SECOND).build().expect("valid");
    let seen = Mutex::new(Vec::new());
    let call = pipeline.call(async |cx: Cx| {
        seen.lock().expect("unpoisoned").push((cx.attempt(), cx.remaining()));
        pending::<Result<(), ()>>().await
    });
    assert!(matches!(call.idempotency_key("order-7").await, Err(CallError::Exhausted(_))));
    let left = |number, seconds: u32| (number, Some(seconds * SECOND));
    assert_eq!(*seen.lock().expect("unpoisoned"), [left(1, 9), left(2, 8), left(3, 7)]);
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_hedges_and_what_it_refuses_goes_on_alone() {
    let once = HedgeConfig { budget: Ratio::ZERO, budget_minimum: 1, ..after_a_second() };
    let pipeline = hedging().hedge(once).build().expect("valid");
    for attempts in [2, 1] {
        let script = Script::new([(3 * SECOND, Does::Succeed), (9 * SECOND, Does::Succeed)]);
        assert_eq!(pipeline.call(|cx| script.attempt(cx)).idempotent().await.expect("succeeds"), 1);
        assert_eq!(script.began().len(), attempts);
    }
    let stats = hedge::Stats { calls: 2, hedged: 1, refused: 1, ..hedge::Stats::default() };
    assert_eq!(hedged(&pipeline), stats);
}

#[tokio::test(start_paused = true)]
async fn the_delay_follows_the_calls_that_succeed() {
    let quantile = HedgeConfig {
        samples_min: NonZeroU32::new(4).expect("not zero"),
        window: 3_600 * SECOND,
        ..HedgeConfig::quantile(Quantile::P95)
    };
    let pipeline = hedging().hedge(quantile).retry(retry()).build().expect("valid");
    let hedge = pipeline.hedge().expect("in force");
    for seconds in [1, 2, 3, 4] {
        assert_eq!(hedge.delay(), None, "nothing is known yet");
        let script = Script::new([(seconds * SECOND, Does::Succeed)]);
        assert!(pipeline.call(|cx| script.attempt(cx)).idempotent().await.is_ok());
    }
    let delay = hedge.delay().expect("enough is known");
    assert!((4 * SECOND..4 * SECOND + SECOND / 2).contains(&delay), "{delay:?}");
    // Overtaken after 5 s and a bit: it took at least as long, and is remembered so.
    let overtaken = Script::new([(99 * SECOND, Does::Succeed), (SECOND, Does::Succeed)]);
    assert!(pipeline.call(|cx| overtaken.attempt(cx)).idempotent().await.is_ok());
    assert!((delay..delay + Duration::from_millis(2)).contains(&overtaken.began()[1]), "when it was due");
    let longer = hedge.delay().expect("known");
    assert!((5 * SECOND..6 * SECOND).contains(&longer), "{longer:?}");
    // A first attempt that failed is no latency, whoever succeeds in its place.
    for attempts in [
        [(99 * SECOND, Does::Fail), (100 * SECOND, Does::Succeed)],
        [(50 * SECOND, Does::Succeed), (99 * SECOND, Does::Fail)],
    ] {
        let script = Script::new(attempts);
        assert!(pipeline.call(|cx| script.attempt(cx)).idempotent().await.is_ok());
    }
    let longest = hedge.delay().expect("known");
    assert!((50 * SECOND..54 * SECOND).contains(&longest), "{longest:?}");
}

#[test]
fn hedges_are_explained_and_those_that_can_not_work_are_refused() {
    let refused = |builder: PipelineBuilder| {
        let error = builder.build().expect_err("refused");
        (error.policy, error.invalid.field)
    };
    let late = (Policy::Hedge, "after");
    assert_eq!(refused(hedging().deadline(SECOND)), late);
    assert_eq!(refused(hedging().attempt_timeout(SECOND)), late);
    assert_eq!(refused(hedging().hedge(HedgeConfig { after: None, ..after_a_second() })), late);
    let four = HedgeConfig { attempts: NonZeroU32::new(4).expect("not zero"), ..after_a_second() };
    assert_eq!(refused(hedging().hedge(four)), (Policy::Hedge, "attempts"));
    let pipeline = hedging().retry(retry()).deadline(60 * SECOND).attempt_timeout(5 * SECOND);
    let explained = pipeline.build().expect("valid").explain();
    assert_eq!(explained.attempts_max, 6, "three rounds of two");
    let (policy, text) = &explained.policies[2];
    assert_eq!(
        (*policy, text.as_str()),
        (Policy::Hedge, "up to 1 more beside one that is slower than 1s, within 10% of the calls")
    );
}

#[test]
fn a_file_sets_it_and_what_stays_lives_on() {
    let config: PipelineConfig =
        serde_json::from_str(r#"{ "hedge": { "after": "1s" }, "deadline": "9s" }"#).expect("a pipeline");
    assert_eq!(config.hedge, Some(after_a_second()));
    let before = Pipeline::new("file", config.clone()).expect("valid");
    before.hedge().expect("in force").count_won();
    let same = before.reconfigured(PipelineConfig { deadline: Some(8 * SECOND), ..config.clone() });
    assert_eq!(hedged(&same.expect("valid")).won_by_hedge, 1);
    let other = HedgeConfig { budget_minimum: 3, ..after_a_second() };
    let other = before.reconfigured(PipelineConfig { hedge: Some(other), ..config });
    assert_eq!(hedged(&other.expect("valid")).won_by_hedge, 0);
}
