use std::cell::Cell;
use std::ffi::OsString;
use std::future::{Future, pending, ready};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Evidence;
use proptest::prelude::*;
use tokio::time::{sleep, timeout};

use super::*;
use crate::MonotonicClock;
use crate::deadline::LimitedBy;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(late: Late, limit: u64, grace: u64) -> TimeoutConfig {
    TimeoutConfig { late, grace: ms(grace), ..TimeoutConfig::new(ms(limit)) }
}

fn dropping(limit: u64) -> Timeout {
    Timeout::new(config(Late::Drop, limit, 0)).expect("valid")
}

fn cooperating(limit: u64, grace: u64) -> Timeout {
    Timeout::new(config(Late::Cooperate, limit, grace)).expect("valid")
}

async fn takes(n: u64) -> Result<&'static str, &'static str> {
    sleep(ms(n)).await;
    Ok("done")
}

/// Raises a counter when it is dropped.
struct Dropped<'a>(&'a AtomicU32);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn timed_out<T>(outcome: Result<T, TimeoutError<&'static str>>) -> TimedOut {
    match outcome.map(drop).expect_err("it ended in time") {
        TimeoutError::TimedOut(timed_out) => timed_out,
        TimeoutError::Operation(error) => panic!("{error}"),
    }
}

async fn elapsed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let start = tokio::time::Instant::now();
    let outcome = call.await;
    (outcome, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn an_operation_in_time_has_its_own_outcome() {
    let timeout = dropping(100);
    assert_eq!(timeout.run(|_| takes(99)).await, Ok("done"));
    assert_eq!(timeout.run(|_| takes(100)).await, Ok("done"), "at the very instant");
    let failed = timeout.run(|_| ready(Err::<(), _>("broken"))).await;
    assert_eq!(failed, Err(TimeoutError::Operation("broken")));
    assert_eq!(timeout.stats(), Stats { finished: 3, ..Stats::default() });
}

#[tokio::test(start_paused = true)]
async fn a_late_operation_is_gone_before_its_substitute_is_asked_for() {
    let timeout = dropping(100);
    let drops = AtomicU32::new(0);
    let operation = async |cx: Cx| {
        let _guard = Dropped(&drops);
        assert_eq!(cx.remaining(), ms(100));
        cx.cancelled().await;
        Ok("a dropped operation is not told")
    };
    let substitute = |late: TimedOut| {
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        assert_eq!(
            (late.limit, late.by, late.evidence),
            (ms(100), LimitedBy::AttemptTimeout, Evidence::Failure)
        );
        Ok::<_, &str>("substitute")
    };
    let (outcome, took) = elapsed(timeout.run(operation).on_timeout(substitute)).await;
    assert_eq!((outcome, took), (Ok("substitute"), ms(100)));
    assert_eq!(timeout.stats(), Stats { timed_out: 1, ..Stats::default() });
    let own = timeout.run(|_| ready(Err::<(), _>("broken"))).on_timeout(|_| Ok(())).await;
    assert_eq!(own, Err("broken"), "nothing is substituted for an operation's own error");
}

#[test]
fn an_operation_that_is_ready_arms_no_timer() {
    // There is no runtime here: a timer would panic.
    let timeout = cooperating(100, 10);
    let mut call = pin!(timeout.run(|_| ready(Ok::<_, ()>(7))));
    assert_eq!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(7)));
    assert_eq!(timeout.stats().finished, 1);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_told_has_the_last_word_within_its_grace() {
    let timeout = cooperating(100, 50);
    let listening = async |cx: Cx| {
        assert!(!cx.is_cancelled());
        cx.cancelled().await;
        assert!(cx.is_cancelled() && cx.remaining().is_zero());
        sleep(ms(20)).await;
        Ok::<_, &str>("partial")
    };
    assert_eq!(elapsed(timeout.run(listening)).await, (Ok("partial"), ms(120)));
    for _ in 0..2 {
        assert_eq!(elapsed(timeout.run(|_| takes(99))).await, (Ok("done"), ms(99)));
    }
    assert_eq!(timeout.stats(), Stats { finished: 2, finished_late: 1, ..Stats::default() });

    let (outcome, took) = elapsed(timeout.run(|_| takes(1_000))).await;
    assert_eq!((timed_out(outcome).limit, took), (ms(100), ms(150)), "it did not listen");
    assert_eq!(timeout.stats().timed_out, 1);
}

#[tokio::test(start_paused = true)]
async fn an_inner_timeout_takes_what_is_left_of_the_outer_one() {
    let (outer, inner) = (cooperating(100, 50), dropping(80));
    let late = outer
        .run(async |cx| {
            sleep(ms(70)).await;
            let (outcome, took) = elapsed(inner.run(|_| takes(1_000)).within(&cx)).await;
            assert_eq!(took, ms(30));
            Ok::<_, ()>(timed_out(outcome))
        })
        .await
        .expect("the inner one ended it");
    assert_eq!((late.limit, late.by, late.evidence), (ms(30), LimitedBy::Deadline, Evidence::None));

    let own = outer
        .run(async |cx| Ok::<_, ()>(timed_out(inner.run(|_| takes(1_000)).within(&cx).await)))
        .await
        .expect("the inner one ended it");
    assert_eq!((own.limit, own.by, own.evidence), (ms(80), LimitedBy::AttemptTimeout, Evidence::Failure));
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_when_nothing_is_left() {
    let timeout = cooperating(100, 50);
    let begun = Cell::new(false);
    let operation = |_| {
        begun.set(true);
        takes(0)
    };
    let late = timed_out(timeout.run(operation).until(MonotonicClock::now()).await);
    assert_eq!((late.limit, begun.get()), (Duration::ZERO, false));
    let until = MonotonicClock::now() + ms(40);
    let (outcome, took) = elapsed(timeout.run(|_| takes(1_000)).until(until).until(until + ms(5))).await;
    assert_eq!((timed_out(outcome).limit, took), (ms(40), ms(40)), "the earlier holds");
    assert_eq!(timeout.stats(), Stats { timed_out: 2, ..Stats::default() });
}

#[tokio::test(start_paused = true)]
async fn an_inner_grace_ends_with_the_outer_one() {
    let (outer, inner) = (cooperating(100, 50), cooperating(90, 1_000));
    let nested = outer.run(async |cx| {
        let (outcome, took) = elapsed(inner.run(|_| takes(5_000)).within(&cx)).await;
        assert_eq!((timed_out(outcome).limit, took), (ms(90), ms(150)));
        Ok::<_, ()>(())
    });
    assert_eq!(elapsed(nested).await, (Ok(()), ms(150)));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_drops_its_operation_and_is_counted_once() {
    let timeout = dropping(100);
    let drops = AtomicU32::new(0);
    let operation = |_| {
        let guard = Dropped(&drops);
        async move {
            let _guard = guard;
            pending::<Result<(), ()>>().await
        }
    };
    drop(timeout.run(operation));
    assert_eq!(timeout.stats(), Stats::default(), "it had not begun");
    tokio::time::timeout(ms(50), timeout.run(operation)).await.expect_err("given up by its caller");
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    assert_eq!(timeout.stats(), Stats { cancelled: 1, ..Stats::default() });
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_callers_to_see() {
    let timeout = dropping(100);
    let mut call = Box::pin(timeout.run(async |_| -> Result<(), ()> { panic!("a bug in user code") }));
    let polled =
        catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut Context::from_waker(Waker::noop()))));
    assert!(polled.is_err());
    drop(call);
    assert_eq!(timeout.stats(), Stats { cancelled: 1, ..Stats::default() });
}

#[tokio::test(start_paused = true)]
async fn calls_are_as_sendable_as_their_operations() {
    let timeout = dropping(100);
    let local = Rc::new(7);
    assert_eq!(timeout.run(async |_| Ok::<_, ()>(*local)).await, Ok(7));
    let spawned = tokio::spawn(async move { timeout.run(|_| takes(1)).await });
    assert_eq!(spawned.await.expect("no panic"), Ok("done"));
}

fn detaching(limit: u64, grace: u64, detached_max: u32) -> DetachingTimeout {
    let detached_max = NonZeroU32::new(detached_max).expect("not zero");
    let config = TimeoutConfig { detached_max, ..config(Late::Detach, limit, grace) };
    DetachingTimeout::new(config, |operation| drop(tokio::spawn(operation))).expect("valid")
}

#[tokio::test(start_paused = true)]
async fn a_detached_operation_goes_on_for_its_grace() {
    let timeout = detaching(100, 50, 2);
    assert_eq!(timeout.run(|_| takes(10)).await, Ok("done"));
    let late = |took| timeout.run(move |_| takes(took));
    let (outcome, took) = elapsed(late(140)).await;
    assert_eq!((timed_out(outcome).limit, took), (ms(100), ms(100)), "its caller leaves");
    assert_eq!(timeout.detached_stats(), DetachedStats { running: 1, detached: 1, ..Default::default() });
    sleep(ms(41)).await;
    assert_eq!(timeout.detached_stats(), DetachedStats { detached: 1, finished: 1, ..Default::default() });

    timed_out(late(1_000).await);
    sleep(ms(49)).await;
    assert_eq!(timeout.detached_stats().running, 1);
    sleep(ms(2)).await;
    let stats = timeout.detached_stats();
    assert_eq!(stats, DetachedStats { detached: 2, finished: 1, ..Default::default() }, "its grace is over");
    assert_eq!(timeout.stats(), Stats { finished: 1, timed_out: 2, ..Stats::default() });
}

#[tokio::test(start_paused = true)]
async fn detached_operations_are_bounded_and_a_panic_frees_its_place() {
    let timeout = detaching(100, 1_000, 1);
    let drops = Arc::new(AtomicU32::new(0));
    let late = |panics: bool| {
        let drops = Arc::clone(&drops);
        timeout.run(move |_| async move {
            let _guard = Dropped(&drops);
            sleep(ms(200)).await;
            assert!(!panics, "a bug in user code");
            Ok::<_, &str>(())
        })
    };
    timed_out(late(true).await);
    timed_out(late(false).await);
    assert_eq!(drops.load(Ordering::Relaxed), 1, "the second found no place and was dropped");
    let stats = timeout.detached_stats();
    assert_eq!(stats, DetachedStats { running: 1, detached: 1, refused: 1, finished: 0 });
    sleep(ms(1)).await;
    assert_eq!(timeout.detached_stats().running, 0, "the first panicked");
    timed_out(late(false).await);
    assert_eq!(timeout.detached_stats().running, 1);
}

#[tokio::test(start_paused = true)]
async fn only_a_late_operation_is_detached() {
    let detaching = detaching(100, 1_000, 1);
    timeout(ms(99), detaching.run(|_| takes(200))).await.expect_err("given up by its caller");
    assert_eq!(detaching.detached_stats(), DetachedStats::default());
    assert_eq!(detaching.stats().cancelled, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_detached_operation_calls_may_go_on_with_it() {
    let (outer, inner) = (detaching(100, 50, 1), dropping(1_000));
    let seen = Arc::new(std::sync::Mutex::new(None));
    let call = outer.run({
        let (inner, seen) = (inner.clone(), Arc::clone(&seen));
        move |cx| async move {
            let (outcome, took) = elapsed(inner.run(|_| takes(5_000)).within(&cx)).await;
            *seen.lock().expect("unpoisoned") = Some((timed_out(outcome).limit, took));
            Ok::<_, &str>(())
        }
    });
    timed_out(call.await);
    sleep(ms(60)).await;
    assert_eq!(*seen.lock().expect("unpoisoned"), Some((ms(150), ms(150))));
}

#[test]
fn contradictory_settings_are_refused_by_name() {
    let refused =
        |late, limit, grace| config(late, limit, grace).validate().expect_err("contradictory").field;
    assert_eq!(refused(Late::Drop, 0, 0), "limit");
    assert_eq!(refused(Late::Drop, 1, 1), "grace");
    assert_eq!(refused(Late::Cooperate, 1, 0), "grace");
    assert_eq!(refused(Late::Detach, 1, 0), "grace");
    let detach = config(Late::Detach, 1, 1);
    assert_eq!(Timeout::new(detach.clone()).expect_err("no spawner").field, "late");
    assert!(DetachingTimeout::new(detach, drop).is_ok());
    assert_eq!(DetachingTimeout::new(config(Late::Drop, 1, 0), drop).expect_err("no use").field, "late");
}

#[test]
fn files_say_the_same() {
    let read = |text| serde_json::from_str::<TimeoutConfig>(text);
    let five = TimeoutConfig::new(Duration::from_secs(5));
    assert_eq!(read(r#"{ "limit": "5s" }"#).expect("valid"), five);
    let full = read(r#"{ "limit": "5s", "late": "detach", "grace": "100ms", "detached_max": 7 }"#);
    let detached_max = NonZeroU32::new(7).expect("not zero");
    assert_eq!(full.expect("valid"), TimeoutConfig { detached_max, ..config(Late::Detach, 5_000, 100) });
    assert!(read(r#"{ "limit": "5s", "after": "1s" }"#).is_err(), "an unknown key");
    assert_eq!(read("{}").expect_err("no limit").to_string(), "missing field `limit` at line 1 column 2");
    let no_limit = read(r#"{ "late": "cooperate", "grace": "1s" }"#).expect_err("no limit either");
    assert!(no_limit.to_string().starts_with("missing field `limit`"), "{no_limit}");
}

#[test]
fn files_name_the_presets_and_change_them() {
    let read = |text: &str| serde_json::from_str::<TimeoutConfig>(text);
    for (name, seconds) in
        [("api_call", 30), ("external_call", 15), ("database_query", 10), ("analytics", 300), ("upload", 300)]
    {
        let by_name = read(&format!("\"{name}\"")).expect(name);
        assert_eq!(by_name.limit, Duration::from_secs(seconds), "{name}");
        assert_eq!((by_name.late, by_name.grace), (Late::Drop, Duration::ZERO));
        assert_eq!(read(&format!("{{ \"preset\": \"{name}\" }}")).expect(name), by_name);
        let written = serde_json::to_string(&by_name).expect("serializes");
        assert_eq!(read(&written).expect(&written), by_name);
    }
    let told = TimeoutConfig { late: Late::Cooperate, grace: ms(100), ..TimeoutConfig::external_call() };
    for text in [
        r#"{ "preset": "external_call", "late": "cooperate", "grace": "100ms" }"#,
        r#"{ "grace": "100ms", "late": "cooperate", "preset": "external_call" }"#,
    ] {
        assert_eq!(read(text).expect(text), told, "{text}");
    }
    let shorter = read(r#"{ "limit": "9s", "preset": "database_query" }"#).expect("valid");
    assert_eq!(shorter, TimeoutConfig { limit: Duration::from_secs(9), ..TimeoutConfig::database_query() });
    let unknown = read("\"database\"").expect_err("no preset").to_string();
    assert!(unknown.contains("`database_query`"), "{unknown}");
}

#[test]
fn the_environment_overrides_the_limit_and_nothing_else() {
    let cooperate = config(Late::Cooperate, 100, 50);
    let with = |value: Option<OsString>| {
        cooperate.clone().with_variable("PAYMENTS_TIMEOUT", |name| {
            assert_eq!(name, "PAYMENTS_TIMEOUT");
            value
        })
    };
    assert_eq!(with(None), Ok(cooperate.clone()));
    assert_eq!(with(Some("2s".into())), Ok(config(Late::Cooperate, 2_000, 50)));
    for (value, expected) in [("5", "`5` is no duration"), ("", "`` is no duration"), ("0s", "0s leaves")] {
        let message = with(Some(value.into())).expect_err(value).to_string();
        assert!(message.starts_with("the environment variable PAYMENTS_TIMEOUT: "), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(cooperate.clone().with_env("INTERTIE_TEST_UNSET"), Ok(cooperate.clone()));
    assert_eq!(cooperate.clone().with_env("PATH").expect_err("no duration").variable, "PATH");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_told() {
    use std::os::unix::ffi::OsStringExt;
    let value = OsString::from_vec(vec![0xff]);
    let error = TimeoutConfig::upload().with_variable("LIMIT", |_| Some(value)).expect_err("no text");
    assert!(error.problem.ends_with("is no text"), "{error}");
}

fn late() -> impl Strategy<Value = Late> {
    prop_oneof![Just(Late::Drop), Just(Late::Cooperate), Just(Late::Detach)]
}

proptest! {
    /// A chain of timeouts, each begun within the one before: nobody waits longer than what is left outside,
    /// and each limit is the shortest of all around it.
    #[test]
    fn a_chain_never_exceeds_what_is_around_it(
        chain in prop::collection::vec((late(), 1_u64..100, 1_u64..100, 0_u64..50), 1..6),
    ) {
        let mut now = 1_000;
        let mut outer: Option<(Bounds, u64, u64)> = None;
        for (late, limit, grace, pause) in chain {
            now += pause;
            let at = |micros: u64| Instant::from_nanos(micros * 1_000);
            let grace = if late == Late::Drop { 0 } else { grace };
            let config = TimeoutConfig {
                late,
                grace: Duration::from_micros(grace),
                ..TimeoutConfig::new(Duration::from_micros(limit))
            };
            let limits = Limits::new(at(now), &config, outer.map(|(bounds, ..)| bounds));
            let (soft, hard) = outer.map_or((u64::MAX, u64::MAX), |(_, soft, hard)| (soft, hard));
            let until = (now + limit).min(soft.max(now));
            let given_up = match late {
                Late::Drop => until,
                Late::Cooperate => (until + grace).min(hard.max(now)),
                Late::Detach => until + grace,
            };
            prop_assert_eq!((limits.until(), limits.given_up()), (at(until), at(given_up)));
            let leaves = if late == Late::Cooperate { given_up } else { until };
            prop_assert_eq!(limits.caller_leaves(), at(leaves));
            prop_assert!(leaves <= hard.max(now));
            prop_assert_eq!(limits.cancelled(), (late == Late::Cooperate).then_some(at(until)));
            prop_assert_eq!(limits.by() == LimitedBy::Deadline, until < now + limit);
            prop_assert_eq!(limits.judges(config.limit), (until - now) * 10 >= limit * 9);
            let inner = if late == Late::Detach { (given_up, given_up) } else { (until, given_up) };
            outer = Some((limits.inner(), inner.0, inner.1));
            if now >= given_up {
                break;
            }
        }
    }
}
