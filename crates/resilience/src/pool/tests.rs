mod fake;
mod maintenance;
mod model;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::quantity::Ratio;
use intertie_core::rejection::Policy;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use self::fake::{Answer, Fake, Refused, cancel_after, config, ms};
use super::*;

fn pool(config: PoolConfig) -> (Fake, Pool<Fake>) {
    let fake = Fake::default();
    let pool = Pool::new(fake.clone(), config).expect("valid");
    (fake, pool)
}

/// Callers that note their name once they have a resource, keep it for 10 ms and bring it back.
fn call(
    pool: &Pool<Fake>,
    name: u32,
    order: &Arc<Mutex<Vec<u32>>>,
) -> tokio::task::JoinHandle<Result<(), PoolError<Refused>>> {
    let (pool, order) = (pool.clone(), Arc::clone(order));
    tokio::spawn(async move {
        let held = pool.get().await?;
        order.lock().expect("unpoisoned").push(name);
        tokio::time::sleep(ms(10)).await;
        drop(held);
        Ok(())
    })
}

/// The pool serves `max` callers at once, and no more is open than they hold.
async fn assert_whole(fake: &Fake, pool: &Pool<Fake>) {
    let mut held = Vec::new();
    for _ in 0..pool.config().max.get() {
        held.push(timeout(ms(1), pool.get()).await.expect("no stall").expect("a resource"));
    }
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.open, stats.waiting), (held.len(), held.len(), 0), "{stats:?}");
    assert_eq!(fake.plan().open, held.len(), "as many as really are open");
    assert!(fake.plan().peak <= held.len(), "never more than `max`");
}

#[tokio::test(start_paused = true)]
async fn who_comes_first_is_served_first_and_resources_are_used_again() {
    let (fake, pool) = pool(config(0, 2));
    let order = Arc::default();
    let calls: Vec<_> = (0..6).map(|name| call(&pool, name, &order)).collect();
    for call in calls {
        call.await.expect("no panic").expect("served");
    }
    assert_eq!(*order.lock().expect("unpoisoned"), [0, 1, 2, 3, 4, 5]);
    assert_eq!((fake.plan().connects, pool.stats().idle), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failed_connect_reaches_who_waited_for_it_and_wakes_the_next() {
    // bb8 #67: everybody timed out for ever and nobody learned why.
    let (fake, pool) = pool(config(0, 1));
    fake.plan().connect_takes = ms(100);
    fake.plan().connect = Answer::Bad;
    let order = Arc::default();
    let calls: Vec<_> = (0..3).map(|name| call(&pool, name, &order)).collect();
    let start = Instant::now();
    for call in calls {
        let error = call.await.expect("no panic").expect_err("refused");
        assert!(matches!(error, PoolError::Connect(Refused)), "{error}");
    }
    assert_eq!(start.elapsed(), ms(300), "one after the other, since one may be open");
    assert_eq!(pool.stats().connect_failures, 3);
    fake.plan().connect = Answer::Good;
    drop(pool.get().await.expect("it works again"));
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_takes_too_long_ends_and_the_next_caller_tries() {
    let (fake, pool) = pool(PoolConfig { connect_timeout: ms(200), ..config(0, 1) });
    fake.plan().connect_takes = Duration::from_secs(3_600);
    let order = Arc::default();
    let first = call(&pool, 0, &order);
    yield_now().await;
    let second = call(&pool, 1, &order);
    yield_now().await;
    let stats = pool.stats();
    assert_eq!((stats.open, stats.connecting, stats.waiting), (1, 1, 1));
    let start = Instant::now();
    let error = first.await.expect("no panic").expect_err("too slow");
    assert!(matches!(error, PoolError::ConnectTimeout), "{error}");
    fake.plan().connect_takes = Duration::ZERO;
    second.await.expect("no panic").expect_err("it had begun when connects were slow");
    assert_eq!((start.elapsed(), fake.plan().open), (ms(400), 0));
    assert_whole(&fake, &pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_cancelled_at_any_await_takes_nothing_along() {
    // bb8 #122: a cancelled caller left the others waiting.
    for polls in 0..30 {
        for step in [ms(1), ms(7)] {
            let (fake, pool) =
                pool(PoolConfig { check_on_checkout: CheckOnCheckout::Always, ..config(0, 1) });
            fake.plan().connect_takes = ms(5);
            fake.plan().check_takes = ms(5);
            // It waits, is granted a resource, checks it, and connects another when the check failed.
            let order = Arc::default();
            let first = call(&pool, 0, &order);
            tokio::time::sleep(ms(2)).await;
            let cancelled = async { drop(cancel_after(pool.get(), polls, step).await) };
            let third = async {
                yield_now().await;
                pool.get().await.map(drop)
            };
            fake.plan().check = Answer::Bad;
            let ((), third) = tokio::join!(cancelled, timeout(ms(300), third));
            third.expect("no stall").expect("served");
            first.await.expect("no panic").expect("served");
            fake.plan().connect_takes = Duration::ZERO;
            fake.plan().check_takes = Duration::ZERO;
            fake.plan().check = Answer::Good;
            assert_whole(&fake, &pool).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_granted_to_a_cancelled_caller_goes_to_the_next() {
    let (fake, pool) = pool(config(0, 1));
    let held = pool.get().await.expect("free");
    let mut cancelled = Box::pin(pool.get());
    assert!(timeout(Duration::ZERO, &mut cancelled).await.is_err(), "it waits");
    let order = Arc::default();
    let next = call(&pool, 1, &order);
    yield_now().await;
    drop(held);
    drop(cancelled);
    next.await.expect("no panic").expect("served");
    assert_eq!((fake.plan().connects, pool.stats().waiting), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_caller_leaves_the_queue() {
    let (_, pool) = pool(PoolConfig { queue: 1, ..config(0, 1) });
    let held = pool.get().await.expect("free");
    for _ in 0..3 {
        let waiting = timeout(ms(1), pool.get()).await;
        assert!(waiting.is_err(), "it waits, so the seat was free");
    }
    drop(held);
    assert_eq!(pool.stats().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn each_bound_rejects_by_its_name() {
    let (_, pool) = pool(PoolConfig { queue: 1, acquire_timeout: ms(6_000), ..config(0, 1) });
    let _held = pool.get().await.expect("free");
    let start = Instant::now();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(drop) }
    });
    yield_now().await;
    let bound = |error| match error {
        PoolError::Rejected(rejection) => rejection.bound,
        error => panic!("{error}"),
    };
    assert_eq!(bound(pool.get().await.expect_err("the queue is full")), "queue");
    assert_eq!(bound(waiting.await.expect("no panic").expect_err("nothing came back")), "acquire_timeout");
    assert_eq!(start.elapsed(), ms(6_000));
    let stats = pool.stats();
    assert_eq!((stats.rejected, stats.timed_out, stats.waiting), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_callers_deadline_shortens_the_wait_and_never_lengthens_it() {
    let (_, pool) = pool(PoolConfig { acquire_timeout: ms(6_000), ..config(0, 1) });
    let held = pool.get_within(ms(1)).await.expect("free");
    for (remaining, by, bound, waited) in [
        (ms(0), Policy::Deadline, "deadline", ms(0)),
        (ms(50), Policy::Deadline, "deadline", ms(50)),
        (ms(6_000), Policy::Deadline, "deadline", ms(6_000)),
        (ms(6_001), Policy::Pool, "acquire_timeout", ms(6_000)),
        (Duration::MAX, Policy::Pool, "acquire_timeout", ms(6_000)),
    ] {
        let start = Instant::now();
        match pool.get_within(remaining).await.expect_err("nothing comes back") {
            PoolError::Rejected(rejection) => assert_eq!((rejection.by, rejection.bound), (by, bound)),
            error => panic!("{error}"),
        }
        assert_eq!(start.elapsed(), waited, "with {remaining:?} left");
    }
    let stats = pool.stats();
    assert_eq!((stats.deadline_exceeded, stats.timed_out, stats.waiting), (3, 2, 0));
    drop(held);
    assert!(pool.get_within(Duration::ZERO).await.is_err(), "nothing begins when nothing is left");
    drop(pool.get_within(ms(1)).await.expect("idle"));
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_a_hurried_caller_breaks_off_is_no_failed_one() {
    let (fake, pool) = pool(config(0, 1));
    fake.plan().connect_takes = ms(100);
    assert!(pool.get_within(ms(99)).await.is_err());
    assert_eq!((pool.stats().connect_failures, pool.stats().deadline_exceeded), (0, 1));
    fake.plan().connect_takes = Duration::ZERO;
    assert_whole(&fake, &pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_checked_before_it_is_handed_out_as_configured() {
    for (check_on_checkout, expected) in
        [(CheckOnCheckout::Always, 3), (CheckOnCheckout::AfterIdle(ms(500)), 1), (CheckOnCheckout::Never, 0)]
    {
        let (fake, pool) = pool(PoolConfig { check_on_checkout, ..config(1, 1) });
        drop(pool.get().await.expect("connected, which shows that it works"));
        for idle in [0, 499, 500] {
            tokio::time::sleep(ms(idle)).await;
            drop(pool.get().await.expect("works"));
        }
        assert_eq!(fake.plan().checks, expected, "{check_on_checkout:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_its_check_is_replaced_before_the_caller_gets_it() {
    for too_slow in [false, true] {
        let fake = Fake::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = {
            let told = Arc::clone(&told);
            move |event: Event<'_, Refused>| told.lock().expect("unpoisoned").push(format!("{event:?}"))
        };
        let config = PoolConfig { check_timeout: ms(50), ..config(1, 1) };
        let pool = Pool::with_listener(fake.clone(), config, listener).expect("valid");
        drop(pool.get().await.expect("connected"));
        tokio::time::sleep(ms(1_000)).await;
        if too_slow {
            fake.plan().check_takes = ms(51);
        } else {
            fake.plan().check = Answer::Bad;
        }
        assert_eq!(pool.get().await.expect("a new one").number, 2);
        assert_eq!((pool.stats().checks_failed, fake.plan().peak), (1, 1));
        let expected = if too_slow { "CheckFailed(None)" } else { "CheckFailed(Some(Refused))" };
        assert_eq!(*told.lock().expect("unpoisoned"), [expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_broken_is_not_used_again() {
    let (fake, pool) = pool(config(2, 2));
    pool.get().await.expect("connected").broken = true;
    assert_eq!((fake.plan().open, pool.stats().broken), (0, 1));
    drop(pool.get().await.expect("a new one"));
    // It breaks while it is idle, and knows it.
    fake.plan().is_broken = Answer::Bad;
    assert_eq!(pool.get().await.expect("a new one").number, 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_leaves_room_for_another() {
    let (fake, pool) = pool(config(0, 1));
    let taken = pool.get().await.expect("free").take();
    let held = pool.get().await.expect("there is room");
    assert_eq!((taken.number, held.number), (1, 2));
    let order = Arc::default();
    let waiting = call(&pool, 0, &order);
    yield_now().await;
    let also_taken = held.take();
    waiting.await.expect("no panic").expect("connected for itself");
    assert_eq!((also_taken.number, fake.plan().connects, pool.stats().taken), (2, 3, 2));
}

#[tokio::test(start_paused = true)]
async fn without_maintenance_checkouts_reap_and_what_is_too_old_does_not_come_back() {
    let (fake, pool) = pool(PoolConfig { lifetime_jitter: Ratio::ZERO, ..config(1, 3) });
    let all = tokio::join!(pool.get(), pool.get(), pool.get());
    drop(all);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let held = pool.get().await.expect("idle");
    let stats = pool.stats();
    assert_eq!((stats.reaped_idle, stats.open), (2, 1), "down to `min_idle`");
    tokio::time::sleep(pool.config().lifetime).await;
    drop(held);
    assert_eq!((fake.plan().open, pool.stats().reaped_lifetime), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_refuses_everybody_and_waits_for_what_is_in_use() {
    let (fake, pool) = pool(config(0, 2));
    let held = pool.get().await.expect("free");
    drop(pool.get().await.expect("free"));
    let connecting = pool.get().await.expect("idle");
    drop(connecting.take());
    fake.plan().connect_takes = ms(40);
    let order = Arc::default();
    let connecting = call(&pool, 0, &order);
    yield_now().await;
    let waiting = call(&pool, 1, &order);
    yield_now().await;
    let start = Instant::now();
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    assert!(matches!(waiting.await.expect("no panic"), Err(PoolError::Closed)));
    assert_eq!(start.elapsed(), Duration::ZERO, "at once");
    assert!(matches!(pool.get().await, Err(PoolError::Closed)));
    assert!(matches!(connecting.await.expect("no panic"), Err(PoolError::Closed)));
    tokio::time::sleep(ms(60)).await;
    assert!(!closing.is_finished(), "one is in use");
    drop(held);
    timeout(ms(1_000), closing).await.expect("it ends").expect("no panic");
    assert_eq!((start.elapsed(), fake.plan().open), (ms(100), 0));
    pool.close().await;
}

/// Runs `future` on a task of its own, which is to panic.
async fn panics(future: impl Future<Output = ()> + Send + 'static) {
    let error = tokio::spawn(future).await.expect_err("it panics");
    assert!(error.is_panic());
}

#[tokio::test(start_paused = true)]
async fn a_panic_anywhere_costs_one_resource_and_no_place() {
    let (fake, pool) = pool(PoolConfig { check_on_checkout: CheckOnCheckout::Always, ..config(0, 2) });
    let get_and_drop = |pool: &Pool<Fake>| {
        let pool = pool.clone();
        async move { drop(pool.get().await) }
    };
    let good = |fake: &Fake| {
        let mut plan = fake.plan();
        (plan.connect, plan.check) = (Answer::Good, Answer::Good);
        (plan.is_broken, plan.drop) = (Answer::Good, Answer::Good);
    };
    fake.plan().connect = Answer::Panic;
    panics(get_and_drop(&pool)).await;
    good(&fake);
    assert_whole(&fake, &pool).await;

    fake.plan().check = Answer::Panic;
    panics(get_and_drop(&pool)).await;
    good(&fake);
    assert_whole(&fake, &pool).await;

    fake.plan().is_broken = Answer::Panic;
    panics(get_and_drop(&pool)).await;
    good(&fake);
    assert_whole(&fake, &pool).await;

    let connects = fake.plan().connects;
    panics({
        let pool = pool.clone();
        async move {
            let _both = (pool.get().await.expect("free"), pool.get().await.expect("free"));
            panic!("half-way through an exchange");
        }
    })
    .await;
    assert_whole(&fake, &pool).await;
    assert_eq!(fake.plan().connects, connects + 2, "what the panic went through is not used again");

    // The destructor of what is reaped panics while another is handed out.
    tokio::time::sleep(Duration::from_secs(30)).await;
    fake.plan().drop = Answer::Panic;
    panics(get_and_drop(&pool)).await;
    good(&fake);
    assert_whole(&fake, &pool).await;
}

#[test]
fn threads_that_get_and_cancel_lose_nothing() {
    let (fake, pool) = pool(PoolConfig { queue: 1_000, ..config(0, 3) });
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let pool = pool.clone();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                runtime.expect("a runtime").block_on(async {
                    for turn in 0..500 {
                        let polls = (turn * 7 + thread) % 4;
                        // Polls without a waker, so the cancelled never get far; the others must.
                        drop(cancel_after(pool.get(), polls, Duration::ZERO).await);
                        let held = pool.get().await.expect("served");
                        if turn % 16 == 0 {
                            drop(held.take());
                        }
                    }
                });
            });
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.connecting, stats.waiting), (0, 0, 0), "{stats:?}");
    assert!(stats.open <= 3 && fake.plan().open == stats.open, "{stats:?}");
}

#[test]
fn contradictory_settings_are_refused_by_name() {
    type Change = fn(&mut PoolConfig);
    let cases: [(&str, Change); 14] = [
        ("min_idle", |config| config.min_idle = 11),
        ("idle_timeout", |config| config.idle_timeout = Duration::ZERO),
        ("lifetime", |config| config.lifetime = Duration::ZERO),
        ("acquire_timeout", |config| config.acquire_timeout = Duration::ZERO),
        ("connect_timeout", |config| config.connect_timeout = Duration::ZERO),
        ("check_timeout", |config| config.check_timeout = Duration::ZERO),
        ("check_every", |config| config.check_every = Duration::ZERO),
        ("leak_after", |config| config.leak_after = Some(Duration::ZERO)),
        ("idle_timeout", |config| config.idle_timeout = config.lifetime),
        ("check_every", |config| config.check_every = config.lifetime),
        ("connect_timeout", |config| config.connect_timeout = config.acquire_timeout),
        ("check_timeout", |config| config.check_timeout = config.acquire_timeout),
        ("lifetime_jitter", |config| config.lifetime_jitter = Ratio::ONE),
        ("check_on_checkout", |config| config.check_on_checkout = CheckOnCheckout::AfterIdle(ms(0))),
    ];
    assert_eq!(PoolConfig::default().validate(), Ok(()));
    for (field, change) in cases {
        let mut config = PoolConfig::default();
        change(&mut config);
        assert_eq!(config.validate().expect_err(field).field, field);
    }
}

#[test]
fn files_write_what_code_reads() {
    let read = |text| serde_json::from_str::<PoolConfig>(text);
    assert_eq!(read("{}").expect("all keys may be left out"), PoolConfig::default());
    let config = read(r#"{ "max": 3, "check_on_checkout": { "after_idle": "5s" }, "leak_after": "1m" }"#);
    let config = config.expect("valid");
    assert_eq!(config.check_on_checkout, CheckOnCheckout::AfterIdle(Duration::from_secs(5)));
    assert_eq!(config.leak_after, Some(Duration::from_secs(60)));
    let written = serde_json::to_string(&config).expect("serializes");
    assert_eq!(read(&written).expect("reads what it wrote"), config);
    let never = read(r#"{ "check_on_checkout": "never" }"#).expect("valid");
    assert_eq!(never.check_on_checkout, CheckOnCheckout::Never);
    read(r#"{ "maximum": 3 }"#).expect_err("an unknown key");
}

#[test]
fn the_settings_on_the_page_are_valid() {
    let page = include_str!("../../../../docs/patterns/pool.md");
    let (_, block) = page.split_once("```json\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let config: PoolConfig = serde_json::from_str(block).expect("readable");
    assert_eq!(config.validate(), Ok(()));
}
