use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use intertie_resilience::pool::Manage;
use intertie_resilience::{BatchConfig, Batcher, Pool, PoolConfig};

use super::{SECOND, number};

/// Makes numbers; the first `failing` times nothing comes of it.
#[derive(Default)]
struct Numbers {
    failing: AtomicU32,
    hanging: AtomicU32,
    made: Arc<AtomicU32>,
}

fn count_down(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

impl Manage for Numbers {
    type Resource = u32;
    type Error = io::Error;

    async fn connect(&self) -> Result<u32, io::Error> {
        if count_down(&self.hanging) {
            pending::<()>().await;
        }
        if count_down(&self.failing) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        tokio::time::sleep(SECOND / 10).await;
        Ok(self.made.fetch_add(1, Ordering::Relaxed))
    }

    async fn check(&self, _: &mut u32) -> Result<(), io::Error> {
        Ok(())
    }

    fn is_broken(&self, _: &u32) -> bool {
        false
    }
}

/// Defect 19: after connects that failed or hung, every later caller times out (bb8 #67).
#[tokio::test(start_paused = true)]
async fn a_pool_serves_again_when_the_other_side_is_back() {
    let numbers = Numbers { failing: 10.into(), hanging: 10.into(), ..Numbers::default() };
    let pool = Pool::new(numbers, PoolConfig { max: number(3), ..PoolConfig::default() }).expect("valid");
    for _ in 0..20 {
        pool.get().await.expect_err("nothing comes of it");
    }
    let three = [pool.get().await, pool.get().await, pool.get().await];
    assert!(three.iter().all(Result::is_ok), "{three:?}");
}

/// Defect 19, second half: a caller that leaves takes its turn along, and the others stall (bb8 #122).
#[tokio::test(start_paused = true)]
async fn callers_that_leave_stall_nobody() {
    let config = PoolConfig { min_idle: 0, max: number(1), ..PoolConfig::default() };
    let pool = Pool::new(Numbers::default(), config).expect("valid");
    let held = pool.get().await.expect("one");
    let leaves = async {
        tokio::time::timeout(SECOND, pool.get()).await.expect_err("it is in use");
    };
    let stays = async { pool.get().await.map(drop) };
    let releases = async {
        tokio::time::sleep(2 * SECOND).await;
        drop(held);
    };
    let ((), stayed, ()) = tokio::join!(leaves, stays, releases);
    stayed.expect("the next in the queue");
    assert_eq!(pool.stats().open, 1);
}

/// Defect 19, third half: the reaper closes and connects `min_idle` resources again and again (bb8 #123).
#[tokio::test(start_paused = true)]
async fn idle_resources_that_are_to_be_kept_are_not_reaped() {
    let numbers = Numbers::default();
    let made = Arc::clone(&numbers.made);
    let pool = Pool::new(numbers, PoolConfig { min_idle: 2, ..PoolConfig::default() }).expect("valid");
    tokio::time::timeout(1_000 * SECOND, pool.maintain()).await.expect_err("it goes on");
    assert_eq!((made.load(Ordering::Relaxed), pool.stats().idle), (2, 2));
}

/// Defect 19, fourth half: resources live for ever (deadpool #178).
#[tokio::test(start_paused = true)]
async fn a_resource_does_not_outlive_its_lifetime() {
    let pool = Pool::new(Numbers::default(), PoolConfig::default()).expect("valid");
    let first = *pool.get().await.expect("one");
    tokio::time::timeout(pool.config().lifetime, pool.maintain()).await.expect_err("it goes on");
    assert_ne!(*pool.get().await.expect("another"), first);
}

/// Defect 22: a window makes every lone item wait (graphql/dataloader #58).
#[tokio::test(start_paused = true)]
async fn a_lone_item_waits_for_nobody() {
    let config = BatchConfig {
        concurrent: number(2),
        window: SECOND,
        wait: 2 * SECOND,
        ..BatchConfig::new(number(10))
    };
    let echo = Batcher::new(config, async |items: Vec<u32>| Ok::<_, ()>(items.into_iter().map(Ok).collect()));
    let began = tokio::time::Instant::now();
    assert_eq!(echo.expect("valid").call(7).await, Ok(7));
    assert!(began.elapsed().is_zero(), "{:?}", began.elapsed());
}

/// Defect 22, second half: one batch after the other with a window between costs the throughput of a busy
/// service (async-graphql #1306).
#[tokio::test(start_paused = true)]
async fn a_busy_batcher_sends_full_batches_without_a_pause() {
    let echo = Batcher::new(BatchConfig::new(number(10)), |items: Vec<u32>| async move {
        tokio::time::sleep(SECOND / 100).await;
        Ok::<_, ()>(items.into_iter().map(Ok).collect())
    });
    let echo = echo.expect("valid");
    let began = tokio::time::Instant::now();
    let tasks: Vec<_> = (0..100)
        .map(|item| {
            let echo = echo.clone();
            tokio::spawn(async move { echo.call(item).await })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic").expect("sent");
    }
    assert_eq!(echo.stats().batches, 11, "one, which the first item filled alone, and the rest");
    assert_eq!(began.elapsed(), 11 * SECOND / 100);
}

/// Seed trap (b) of the same list: a batch that fails leaves its callers hanging, and later batches too.
#[tokio::test(start_paused = true)]
async fn a_failed_batch_fails_its_callers_and_nobody_after_them() {
    let failing = AtomicU32::new(1);
    let echo = Batcher::new(BatchConfig::new(number(10)), move |items: Vec<u32>| {
        let fails = count_down(&failing);
        async move { if fails { Err("down") } else { Ok(items.into_iter().map(Ok).collect()) } }
    });
    let echo = echo.expect("valid");
    echo.call(1).await.expect_err("down");
    assert_eq!(echo.call(2).await, Ok(2));
}
