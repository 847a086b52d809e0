//! What [`Pool::maintain`] does, under a paused clock.

use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::quantity::Ratio;
use tokio::time::Instant;

use super::super::{CheckOnCheckout, Event, Pool, PoolConfig};
use super::fake::{Answer, Fake, Refused, config, ms};
use super::{assert_whole, pool};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn it_keeps_min_idle_ready_beside_what_is_in_use() {
    let (fake, pool) = pool(config(2, 4));
    let maintenance = tokio::spawn(pool.maintain());
    tokio::time::sleep(ms(1)).await;
    assert_eq!(pool.stats().idle, 2);
    let mut held = Vec::new();
    for (open, idle) in [(3, 2), (4, 2), (4, 1), (4, 0)] {
        held.push(pool.get().await.expect("ready"));
        tokio::time::sleep(ms(1)).await;
        assert_eq!((pool.stats().open, pool.stats().idle), (open, idle));
    }
    drop(held.pop().expect("held").take());
    tokio::time::sleep(ms(1)).await;
    assert_eq!((pool.stats().open, pool.stats().idle), (4, 1), "what was taken is replaced");
    drop(held);
    tokio::time::sleep(secs(30) + ms(1)).await;
    assert_eq!((pool.stats().open, pool.stats().reaped_idle), (2, 2), "and what is too much goes");
    assert_eq!(fake.plan().peak, 4);
    drop(pool);
    maintenance.await.expect("it ends with the last handle");
    assert_eq!(fake.plan().open, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_pool_does_not_churn() {
    // bb8 #123: the reaper dropped `min_idle` each `idle_timeout`, to connect it anew.
    let (fake, pool) = pool(config(2, 4));
    tokio::spawn(pool.maintain());
    tokio::time::sleep(secs(20 * 60)).await;
    let plan = fake.plan();
    assert_eq!((plan.connects, plan.open), (2, 2));
    assert!(plan.checks >= 2 * 19, "each is checked every 60 s, not {}", plan.checks);
}

#[tokio::test(start_paused = true)]
async fn a_check_is_no_use_that_keeps_a_resource_from_being_reaped() {
    let (fake, pool) = pool(PoolConfig { check_every: secs(10), ..config(1, 3) });
    tokio::spawn(pool.maintain());
    drop(tokio::join!(pool.get(), pool.get(), pool.get()));
    tokio::time::sleep(secs(29)).await;
    assert_eq!((pool.stats().idle, fake.plan().checks), (3, 6));
    tokio::time::sleep(secs(2)).await;
    assert_eq!((pool.stats().idle, pool.stats().reaped_idle), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_goes_when_its_replacement_is_ready() {
    let (fake, pool) = pool(PoolConfig { lifetime_jitter: Ratio::ZERO, ..config(3, 4) });
    fake.plan().connect_takes = secs(2);
    tokio::spawn(pool.maintain());
    tokio::time::sleep(secs(3 * 30 * 60 + 30)).await;
    let plan = fake.plan();
    assert_eq!((plan.connects, plan.open), (12, 3), "three, replaced three times");
    assert!(plan.ended.iter().all(|(_, left)| *left == 3), "never fewer than `min_idle`: {:?}", plan.ended);
    assert_eq!(plan.peak, 4, "one at a time");
}

#[tokio::test(start_paused = true)]
async fn with_all_places_taken_the_old_one_goes_first_and_one_at_a_time() {
    let (fake, pool) = pool(PoolConfig { lifetime_jitter: Ratio::ZERO, ..config(3, 3) });
    fake.plan().connect_takes = secs(2);
    tokio::spawn(pool.maintain());
    tokio::time::sleep(secs(30 * 60 + 30)).await;
    let plan = fake.plan();
    assert_eq!((plan.connects, plan.open, plan.peak), (6, 3, 3));
    assert!(plan.ended.iter().all(|(_, left)| *left == 2), "{:?}", plan.ended);
}

#[tokio::test(start_paused = true)]
async fn under_load_what_is_too_old_is_replaced_one_at_a_time() {
    let (fake, pool) = pool(PoolConfig { lifetime_jitter: Ratio::ZERO, ..config(0, 3) });
    fake.plan().connect_takes = secs(1);
    let callers: Vec<_> = (0..6)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..2 * 31 * 60 {
                    let held = pool.get().await.expect("served");
                    tokio::time::sleep(secs(1)).await;
                    drop(held);
                }
            })
        })
        .collect();
    tokio::spawn(pool.maintain());
    tokio::time::sleep(secs(30 * 60 + 30)).await;
    {
        let plan = fake.plan();
        assert_eq!((plan.connects, plan.ended.len()), (6, 3), "nobody ever lets them be idle");
        assert!(plan.ended.iter().all(|(_, left)| *left == 2), "{:?}", plan.ended);
    }
    for caller in callers {
        caller.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_connected_together_does_not_end_together() {
    let (fake, pool) = pool(config(8, 10));
    tokio::spawn(pool.maintain());
    tokio::time::sleep(secs(30 * 60 + 1)).await;
    let plan = fake.plan();

    let first: Vec<Instant> = plan.ended.iter().take(8).map(|(at, _)| *at).collect();
    let connected = plan.began[0];
    assert_eq!(first.len(), 8);
    for pair in first.windows(2) {
        assert!(pair[1] - pair[0] >= secs(5), "{first:?}");
    }
    assert!(first[0] - connected >= secs(24 * 60) && first[7] - connected <= secs(30 * 60), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_stays_as_long_as_nothing_can_replace_it() {
    for max in [2, 3] {
        let (fake, pool) = pool(config(2, max));
        tokio::spawn(pool.maintain());
        tokio::time::sleep(secs(60)).await;
        fake.plan().connect = Answer::Bad;
        tokio::time::sleep(secs(60 * 60)).await;
        let needed = if max == 2 { 1 } else { 2 };
        assert_eq!(fake.plan().open, needed, "at most the one that had to make room is lost");
        fake.plan().connect = Answer::Good;
        tokio::time::sleep(secs(60)).await;
        assert_eq!((fake.plan().open, pool.stats().idle), (2, 2));
        assert_eq!(pool.stats().reaped_lifetime, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_connects_are_told_and_come_ever_later() {
    let told = Arc::new(Mutex::new(0));
    let fake = Fake::default();
    fake.plan().connect = Answer::Bad;
    let listener = {
        let told = Arc::clone(&told);
        move |event: Event<'_, Refused>| {
            assert!(matches!(event, Event::ConnectFailed(_)), "{event:?}");
            *told.lock().expect("unpoisoned") += 1;
        }
    };
    let pool = Pool::with_listener(fake.clone(), config(2, 4), listener).expect("valid");
    tokio::spawn(pool.maintain());
    tokio::time::sleep(secs(60)).await;
    {
        let plan = fake.plan();
        let waits: Vec<u128> = plan.began.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        // Timers have a resolution of 1 ms.
        let rounded: Vec<u128> = waits.iter().map(|wait| wait / 10 * 10).collect();
        assert_eq!(rounded, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000, 10_000]);
        assert_eq!(*told.lock().expect("unpoisoned"), plan.began.len());
    }
    fake.plan().connect = Answer::Good;
    drop(pool.get().await.expect("a caller does not wait for that"));
    tokio::time::sleep(ms(1)).await;
    assert_eq!(pool.stats().idle, 2, "and its success ends the wait");
}

#[tokio::test(start_paused = true)]
async fn what_died_in_silence_is_found_and_replaced() {
    let (fake, pool) = pool(PoolConfig { check_on_checkout: CheckOnCheckout::Never, ..config(2, 4) });
    tokio::spawn(pool.maintain());
    tokio::time::sleep(secs(1)).await;
    fake.plan().check = Answer::Bad;
    tokio::time::sleep(secs(58)).await;
    assert_eq!(fake.plan().checks, 0);
    tokio::time::sleep(secs(2)).await;
    assert_eq!((fake.plan().checks, pool.stats().checks_failed, pool.stats().idle), (2, 2, 2));
    assert_eq!(fake.plan().connects, 4);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_waits_gets_what_maintenance_connects_or_checks() {
    let (fake, pool) = pool(config(1, 1));
    fake.plan().connect_takes = ms(100);
    fake.plan().check_takes = ms(100);
    tokio::spawn(pool.maintain());
    tokio::time::sleep(ms(10)).await;
    let start = Instant::now();
    drop(pool.get().await.expect("connected by maintenance"));
    assert!(start.elapsed() <= ms(91), "{:?}", start.elapsed());
    tokio::time::sleep(secs(60) + ms(50)).await;
    assert_eq!(pool.stats().checking, 1);
    drop(pool.get().await.expect("given back by maintenance"));
    let plan = fake.plan();
    assert_eq!((plan.connects, plan.checks), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_leak_is_reported_once_with_the_place_that_got_it() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let listener = {
        let reports = Arc::clone(&reports);
        move |event: Event<'_, Refused>| match event {
            Event::Leaked { checked_out_at, out_for } => {
                reports.lock().expect("unpoisoned").push((checked_out_at, out_for));
            }
            event => panic!("{event:?}"),
        }
    };
    let config = PoolConfig { leak_after: Some(secs(5)), ..config(0, 2) };
    let pool = Pool::with_listener(Fake::default(), config, listener).expect("valid");
    tokio::spawn(pool.maintain());
    tokio::time::sleep(ms(1)).await;
    let (leaked, here) = (pool.get().await.expect("free"), Location::caller());
    let in_time = pool.get().await.expect("free");
    tokio::time::sleep(secs(4)).await;
    drop(in_time);
    assert_eq!(pool.stats().leaked, 0);
    tokio::time::sleep(secs(60)).await;
    let reports = reports.lock().expect("unpoisoned").clone();
    let [(at, out_for)] = reports[..] else { panic!("{reports:?}") };
    assert_eq!((at.file(), at.line()), (here.file(), here.line()));
    assert!(out_for >= secs(5) && out_for < secs(5) + ms(10), "{out_for:?}");
    assert_eq!(pool.stats().leaked, 1);
    drop(leaked);
}

#[tokio::test(start_paused = true)]
async fn cancelled_or_panicked_it_leaves_a_pool_without_maintenance() {
    let (fake, pool) = pool(config(1, 2));
    fake.plan().connect = Answer::Panic;
    tokio::spawn(pool.maintain()).await.expect_err("it panics");
    fake.plan().connect = Answer::Good;
    assert_whole(&fake, &pool).await;
    for delay in [0, 50, 60_001] {
        fake.plan().connect_takes = ms(100);
        fake.plan().check_takes = ms(100);
        let maintenance = tokio::spawn(pool.maintain());
        tokio::time::sleep(ms(delay)).await;
        maintenance.abort();
        maintenance.await.expect_err("aborted");
        fake.plan().connect_takes = ms(0);
        fake.plan().check_takes = ms(0);
        assert_whole(&fake, &pool).await;
    }
    // Nobody is left who would replace it in time, so what is past its lifetime goes when it comes back.
    let (old, _other) = (pool.get().await.expect("ready"), pool.get().await.expect("a second place"));
    tokio::time::sleep(PoolConfig::default().lifetime).await;
    let reaped = pool.stats().reaped_lifetime;
    drop(old);
    assert_eq!(pool.stats().reaped_lifetime, reaped + 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_one_takes_over_from_the_first() {
    let (_, pool) = pool(config(1, 2));
    let first = tokio::spawn(pool.maintain());
    let second = tokio::spawn(pool.maintain());
    tokio::time::sleep(ms(1)).await;
    first.abort();
    first.await.expect_err("aborted");
    pool.get().await.expect("ready").take();
    tokio::time::sleep(ms(1)).await;
    assert_eq!(pool.stats().idle, 1);
    pool.close().await;
    second.await.expect("it ends");
}
