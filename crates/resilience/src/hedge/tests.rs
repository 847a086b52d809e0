use std::cell::Cell;
use std::future::{Future, pending, ready};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::quantity::Ratio;
use proptest::prelude::*;
use tokio::time::sleep;

use super::*;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("not zero")
}

fn after(delay: u64, attempts: u32) -> HedgeConfig {
    HedgeConfig { attempts: count(attempts), ..HedgeConfig::after(ms(delay)) }
}

fn hedge(config: HedgeConfig) -> Hedge {
    Hedge::new(config).expect("valid")
}

/// How long an attempt takes, and whether it succeeds then.
type Script = (u64, bool);

/// An attempt says its number, whether it succeeds or not.
async fn play(number: u32, (took, succeeds): Script) -> Result<u32, u32> {
    if took > 0 {
        sleep(ms(took)).await;
    }
    if succeeds { Ok(number) } else { Err(number) }
}

async fn run(hedge: &Hedge, scripts: &[Script]) -> (Result<u32, u32>, u64) {
    let start = tokio::time::Instant::now();
    let outcome = hedge.run(|number| play(number, scripts[number as usize - 1])).await;
    (outcome, u64::try_from(start.elapsed().as_millis()).expect("short"))
}

#[tokio::test(start_paused = true)]
async fn the_first_success_wins() {
    let hedge = hedge(after(50, 2));
    assert_eq!(run(&hedge, &[(49, true)]).await, (Ok(1), 49));
    assert_eq!(run(&hedge, &[(50, true)]).await, (Ok(1), 50), "ready when the next is due: none begins");
    assert_eq!(run(&hedge, &[(1_000, true), (10, true)]).await, (Ok(2), 60));
    assert_eq!(run(&hedge, &[(60, true), (100, true)]).await, (Ok(1), 60));
    let stats = hedge.stats();
    assert_eq!(stats, Stats { calls: 4, hedged: 2, won_by_hedge: 1, refused: 0, failed: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_failure_waits_for_those_under_way_and_makes_room_for_the_next() {
    let hedge = hedge(after(50, 3));
    assert_eq!(run(&hedge, &[(10, false), (10, true)]).await, (Ok(2), 20), "the next begins at once");
    let scripts = [(100, false), (20, false), (500, true)];
    assert_eq!(run(&hedge, &scripts).await, (Ok(3), 570), "the third began when the second failed");
    let scripts = [(300, true), (20, false), (20, false)];
    assert_eq!(run(&hedge, &scripts).await, (Ok(1), 300), "the first was still under way");
    let scripts = [(300, false), (20, false), (20, false)];
    assert_eq!(run(&hedge, &scripts).await, (Err(1), 300), "the error of the one that failed last");
    let instantly = [(0, false), (0, false), (0, false)];
    assert_eq!(run(&hedge, &instantly).await, (Err(3), 0));
    assert_eq!(hedge.stats().failed, 2);
}

/// Raises a counter when it is dropped.
struct Dropped(Rc<Cell<u32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn losers_are_gone_before_the_success_is_handed_out() {
    let hedge = hedge(after(50, 3));
    let drops = Rc::new(Cell::new(0));
    let mut call = pin!(hedge.run(|number| {
        let guard = Dropped(Rc::clone(&drops));
        async move {
            let _guard = guard;
            sleep(ms(if number == 2 { 10 } else { 1_000 })).await;
            Ok::<_, ()>(number)
        }
    }));
    assert_eq!(call.as_mut().await, Ok(2));
    assert_eq!(drops.get(), 2);
    let again = AssertUnwindSafe(|| call.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    assert!(catch_unwind(again).is_err(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_drops_all_its_attempts() {
    let hedge = hedge(after(50, 3));
    for (wait, under_way) in [(0, 1), (60, 2), (110, 3), (500, 3)] {
        let drops = Rc::new(Cell::new(0));
        let begun = Cell::new(0);
        let call = hedge.run(|_| {
            begun.set(begun.get() + 1);
            let guard = Dropped(Rc::clone(&drops));
            async move {
                let _guard = guard;
                pending::<Result<(), ()>>().await
            }
        });
        tokio::time::timeout(ms(wait), call).await.expect_err("none ends");
        assert_eq!((begun.get(), drops.get()), (under_way, under_way), "after {wait} ms");
    }
    drop(hedge.run(|_| ready(Ok::<_, ()>(()))));
    assert_eq!(hedge.stats().calls, 4, "a call that was never polled did not begin");
}

#[test]
fn a_call_that_is_ready_arms_no_timer() {
    // There is no runtime here: a timer would panic.
    let hedge = hedge(after(50, 2));
    let mut call = pin!(hedge.run(|number| ready(Ok::<_, ()>(number))));
    assert_eq!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(1)));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_callers_to_see() {
    let hedge = hedge(after(50, 2));
    let drops = Rc::new(Cell::new(0));
    let mut call = Box::pin(hedge.run(|number| {
        let guard = Dropped(Rc::clone(&drops));
        async move {
            let _guard = guard;
            assert!(number == 1, "a bug in user code");
            pending::<Result<(), ()>>().await
        }
    }));
    tokio::time::timeout(ms(49), call.as_mut()).await.expect_err("waits");
    sleep(ms(2)).await;
    let poll = AssertUnwindSafe(|| call.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    assert!(catch_unwind(poll).is_err());
    drop(call);
    assert_eq!(drops.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn calls_are_as_sendable_as_their_operations() {
    let hedge = hedge(after(50, 2));
    let local = Rc::new(7);
    assert_eq!(hedge.run(async |_| Ok::<_, ()>(*local)).await, Ok(7));
    let spawned = tokio::spawn(async move { hedge.run(|number| play(number, (1, true))).await });
    assert_eq!(spawned.await.expect("no panic"), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn further_attempts_are_paid_for() {
    let config = HedgeConfig { budget: Ratio::ZERO, budget_minimum: 1, ..after(50, 3) };
    let hedge = hedge(config);
    assert_eq!(
        run(&hedge, &[(200, true), (1_000, true), (10, true)]).await,
        (Ok(1), 200),
        "one was paid for"
    );
    assert_eq!(run(&hedge, &[(10, false), (0, true)]).await, (Err(1), 10), "neither is one after a failure");
    assert_eq!(run(&hedge, &[(500, true), (0, true)]).await, (Ok(1), 500), "which asks once");
    assert_eq!(hedge.stats(), Stats { calls: 3, hedged: 1, won_by_hedge: 0, refused: 3, failed: 1 });
    sleep(Duration::from_secs(10)).await;
    assert_eq!(run(&hedge, &[(500, true), (10, true)]).await, (Ok(2), 60), "the budget forgot");
}

#[tokio::test(start_paused = true)]
async fn calls_earn_the_share_of_further_attempts() {
    let hedge = hedge(HedgeConfig { budget: Ratio::from_percent(25), budget_minimum: 0, ..after(50, 2) });
    for _ in 0..3 {
        assert_eq!(run(&hedge, &[(100, true), (10, true)]).await.0, Ok(1), "not yet one in four");
    }
    assert_eq!(run(&hedge, &[(100, true), (10, true)]).await.0, Ok(2));
}

/// p90 of at least ten calls.
fn measuring() -> HedgeConfig {
    HedgeConfig {
        samples_min: count(10),
        budget: Ratio::ONE,
        ..HedgeConfig::quantile("p90".parse().expect("a quantile"))
    }
}

#[tokio::test(start_paused = true)]
async fn the_delay_follows_the_measured_latency() {
    let hedge = hedge(measuring());
    for n in 1..=9 {
        assert_eq!(run(&hedge, &[(n * 10, true), (0, true)]).await, (Ok(1), n * 10), "too few samples");
        assert_eq!(hedge.delay(), None);
    }
    let _ = run(&hedge, &[(1_000, true), (0, true)]).await;
    let delay = hedge.delay().expect("ten samples");
    assert!((ms(90)..=ms(96)).contains(&delay), "{delay:?}");
    let (outcome, took) = run(&hedge, &[(1_000, true), (10, true)]).await;
    assert!(outcome == Ok(2) && (100..=107).contains(&took), "{took} ms");
    assert_eq!(hedge.stats().won_by_hedge, 1);

    sleep(Duration::from_secs(60)).await;
    let _ = run(&hedge, &[(10, true), (0, true)]).await;
    assert_eq!(hedge.delay(), None, "all that is forgotten");
}

#[tokio::test(start_paused = true)]
async fn the_fixed_delay_holds_until_enough_was_measured() {
    let hedge = hedge(HedgeConfig { after: Some(ms(30)), ..measuring() });
    assert_eq!(run(&hedge, &[(500, true), (10, true)]).await, (Ok(2), 40));
    for _ in 0..20 {
        let _ = run(&hedge, &[(5, true)]).await;
    }
    let delay = hedge.delay().expect("measured");
    assert!((ms(5)..=ms(6)).contains(&delay), "{delay:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_measured_is_the_first_attempt() {
    let hedge = hedge(HedgeConfig { samples_min: count(1), ..measuring() });
    let _ = run(&hedge, &[(10, false), (500, true)]).await;
    assert_eq!(hedge.delay(), None, "a failure is no latency, nor is what came after it");
    let _ = run(&hedge, &[(100, true)]).await;
    let before = hedge.delay().expect("one sample");
    for _ in 0..50 {
        assert_eq!(run(&hedge, &[(10_000, true), (10, true)]).await.0, Ok(2));
    }
    let then = hedge.delay().expect("measured");
    assert!(then > before, "who was overtaken was slow: {before:?} {then:?}");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_never_waits_took_no_time() {
    let hedge = hedge(HedgeConfig { samples_min: count(1), ..measuring() });
    let _ = run(&hedge, &[(0, true)]).await;
    assert_eq!(hedge.delay(), Some(Duration::ZERO));
}

#[test]
fn the_delay_is_found_again_as_samples_go_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let hedge = hedge(measuring());
        for _ in 0..200 {
            let _ = run(&hedge, &[(1, true)]).await;
        }
        for _ in 0..200 {
            let _ = run(&hedge, &[(4, true), (100, true)]).await;
        }
        let delay = hedge.delay().expect("measured");
        assert!((ms(4)..=ms(5)).contains(&delay), "{delay:?}");
    });
}

#[test]
fn contradictory_settings_are_refused_by_name() {
    let refused = |config: HedgeConfig| config.validate().expect_err("contradictory").field;
    assert_eq!(refused(HedgeConfig { after: None, ..after(1, 2) }), "after");
    assert_eq!(refused(after(0, 2)), "after");
    assert_eq!(refused(after(1, 1)), "attempts");
    assert_eq!(refused(after(1, 4)), "attempts");
    assert_eq!(refused(HedgeConfig { window: Duration::ZERO, ..after(1, 2) }), "window");
    assert_eq!(refused(HedgeConfig { budget: Ratio::ZERO, budget_minimum: 0, ..after(1, 2) }), "budget");
    assert!(Hedge::new(after(1, 4)).is_err());
    assert!(after(1, 3).validate().is_ok());
}

#[test]
fn files_say_the_same() {
    let read = |text| serde_json::from_str::<HedgeConfig>(text);
    assert_eq!(read(r#"{ "after": "50ms" }"#).expect("valid"), after(50, 2));
    let full = r#"{ "after": "1s", "quantile": "p99", "samples_min": 7, "window": "10s", "attempts": 3,
        "budget": "5%", "budget_minimum": 3 }"#;
    let expected = HedgeConfig {
        after: Some(ms(1_000)),
        quantile: Some(Quantile::P99),
        samples_min: count(7),
        window: ms(10_000),
        attempts: count(3),
        budget: Ratio::from_percent(5),
        budget_minimum: 3,
    };
    assert_eq!(read(full).expect("valid"), expected);
    let unknown = read(r#"{ "delay": "50ms" }"#).expect_err("an unknown key").to_string();
    assert!(unknown.contains("delay"), "{unknown}");
    let quantile = read(r#"{ "quantile": "95%" }"#).expect_err("no quantile").to_string();
    assert!(quantile.contains("`95%` is no quantile; write it as \"p95\""), "{quantile}");
}

#[test]
fn quantiles_are_texts() {
    for text in ["p50", "p95", "p99.9"] {
        assert_eq!(text.parse::<Quantile>().expect(text).to_string(), text);
    }
    for text in ["p49.9", "p100", "p101", "95", "p", "pp", "p-5", "p95%"] {
        assert!(text.parse::<Quantile>().is_err(), "{text}");
    }
    assert_eq!(["p95".parse(), "p99".parse()], [Ok(Quantile::P95), Ok(Quantile::P99)]);
}

/// What a call does, millisecond by millisecond.
fn naive(delay: u64, scripts: &[Script]) -> (Result<u32, u32>, u64) {
    let mut under_way = vec![(1_u32, scripts[0].0)];
    let mut begun = 1;
    let mut due = delay;
    for now in 0.. {
        loop {
            let Some(place) = under_way.iter().position(|(_, end)| *end == now) else {
                if now != due || begun == scripts.len() {
                    break;
                }
                under_way.push((begun as u32 + 1, now + scripts[begun].0));
                begun += 1;
                due = now + delay;
                continue;
            };
            let (number, _) = under_way.remove(place);
            if scripts[number as usize - 1].1 {
                return (Ok(number), now);
            }
            if begun < scripts.len() {
                under_way.push((begun as u32 + 1, now + scripts[begun].0));
                begun += 1;
                due = now + delay;
            } else if under_way.is_empty() {
                return (Err(number), now);
            }
        }
    }
    unreachable!("each attempt ends")
}

proptest! {
    #[test]
    fn calls_equal_a_walk_through_time(
        delay in 1_u64..20,
        scripts in prop::collection::vec((0_u64..40, any::<bool>()), 2..=3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let hedge = hedge(after(delay, scripts.len() as u32));
            prop_assert_eq!(run(&hedge, &scripts).await, naive(delay, &scripts));
            Ok(())
        })?;
    }

    /// The decisions of [`Attempts`] against lists of what happened.
    #[test]
    fn no_call_ends_while_an_attempt_is_under_way(
        most in 1_u32..4,
        steps in prop::collection::vec(0_u8..3, 1..12),
    ) {
        let mut attempts = Attempts::new(most);
        let (mut begun, mut failed, mut refused) = (0, 0, false);
        prop_assert!(!attempts.have_ended());
        for step in steps {
            let next = match step {
                0 if begun < most && !refused => {
                    begun += 1;
                    prop_assert_eq!(attempts.begin(), begun);
                    continue;
                }
                1 if failed < begun => {
                    failed += 1;
                    attempts.fail()
                }
                2 if failed < begun => {
                    refused = true;
                    attempts.refuse()
                }
                _ => continue,
            };
            prop_assert_eq!(attempts.may_begin(), begun < most && !refused);
            prop_assert_eq!(attempts.begun(), begun);
            let expected = match (attempts.may_begin(), begun > failed) {
                (true, _) => Next::Begin,
                (false, true) => Next::Wait,
                (false, false) => Next::Fail,
            };
            prop_assert_eq!(next, expected);
            prop_assert_eq!(attempts.have_ended(), next == Next::Fail);
        }
    }

    /// The estimate against the exact quantile of a log, over windows that turn.
    #[test]
    fn a_quantile_is_never_too_short_and_hardly_too_long(
        steps in prop::collection::vec((0_u64..40, 0_u32..34, any::<u64>()), 1..200),
        millionths in 500_000_u32..1_000_000,
    ) {
        let text = format!("p{}", f64::from(millionths) / 10_000.0);
        let quantile: Quantile = text.parse().expect("a quantile");
        let mut latencies = Latencies::new(Duration::from_nanos(200));
        let mut log = Vec::new();
        let mut now = 0;
        for (step, bits, random) in steps {
            now += step;
            let micros = random % (1 << bits);
            log.push((now / 100, micros.min(u64::from(u32::MAX))));
            latencies.record(Instant::from_nanos(now), Duration::from_micros(micros));
            let mut alive: Vec<u64> =
                log.iter().filter(|(half, _)| half + 2 > now / 100).map(|(_, micros)| *micros).collect();
            alive.sort_unstable();
            let at = Instant::from_nanos(now);
            prop_assert_eq!(latencies.samples(at), alive.len() as u64);
            let rank = (alive.len() as u128 * u128::from(millionths)).div_ceil(1_000_000) as usize;
            let exact = alive[rank - 1];
            let estimate = latencies.quantile(at, quantile).expect("samples").as_micros() as u64;
            prop_assert!(exact <= estimate && estimate <= exact + exact / 16, "{} {}", exact, estimate);
        }
    }
}

#[test]
fn latencies_are_rounded_up_to_microseconds() {
    let mut latencies = Latencies::new(Duration::from_secs(1));
    let now = Instant::from_nanos(5);
    assert_eq!(latencies.quantile(now, Quantile::P95), None);
    latencies.record(now, Duration::from_nanos(1));
    assert_eq!(latencies.quantile(now, Quantile::P95), Some(Duration::from_micros(1)));
}

#[test]
fn latencies_take_the_memory_that_is_written_of_them() {
    assert_eq!(size_of::<Latencies>(), 2 * (29 * 16 * 4 + 8) + 16, "29 powers of two of 16 buckets, twice");
}

#[test]
fn a_reading_from_before_the_present_half_empties_nothing() {
    let mut latencies = Latencies::new(Duration::from_nanos(200));
    latencies.record(Instant::from_nanos(500), ms(1));
    latencies.record(Instant::from_nanos(350), ms(1));
    assert_eq!(latencies.samples(Instant::from_nanos(500)), 2);
}

#[test]
fn many_threads_may_hedge_at_once() {
    let hedge = hedge(measuring());
    let begun = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let mut call = pin!(hedge.run(|_| {
                        begun.fetch_add(1, Ordering::Relaxed);
                        ready(Ok::<_, ()>(()))
                    }));
                    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
                }
            });
        }
    });
    assert_eq!((hedge.stats().calls, begun.into_inner()), (2_000, 2_000));
}
