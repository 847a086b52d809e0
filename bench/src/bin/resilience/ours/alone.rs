//! What our patterns for many callers, and those for bad days, cost a caller who is alone on a good one.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::fallback::LastGood;
use intertie_resilience::{
    BatchConfig, Batcher, Chaos, ChaosConfig, CoalesceConfig, Group, Hedge, HedgeConfig, Pipeline,
};

use super::circuit_breaker::outcome;
use crate::subject::{Failure, Object, Outcome, Row, Share, Subject, block_on, passes, plain, work};

pub fn subjects() -> Vec<Subject> {
    let of = |name, calls, check| Subject { row: Row::Alone, name, object: Object::Shared(calls), check };
    vec![
        of("ours, hedge", hedged, check_hedge),
        of("ours, coalesce", coalesced, check_coalesce),
        of("ours, batch of one", batched, check_batch),
        of("ours, last good value", remembered, check_last_good),
        of("ours, chaos that is off", undisturbed, check_chaos),
    ]
}

fn hedge() -> Hedge {
    Hedge::new(HedgeConfig::after(Duration::from_millis(50))).expect("the settings work together")
}

fn hedged(row: Row) -> Share {
    let shared = hedge();
    Box::new(move || {
        let hedge = shared.clone();
        work(row, async move |number| plain(&hedge.run(|_| passes(number)).await))
    })
}

fn check_hedge() -> Result<()> {
    let hedge = Hedge::new(HedgeConfig::after(Duration::from_millis(1))).expect("the settings work together");
    let first_hangs = async |attempt| {
        if attempt == 1 {
            std::future::pending::<()>().await;
        }
        Ok::<_, Failure>(attempt)
    };
    ensure!(block_on(async { hedge.run(first_hangs).await }) == Ok(2), "the second attempt did not win");
    Ok(())
}

fn group() -> Group<u64, u64, Failure> {
    Group::new(CoalesceConfig::default()).expect("the settings work together")
}

fn coalesced(row: Row) -> Share {
    let shared = group();
    Box::new(move || {
        let group = shared.clone();
        work(row, async move |number| plain(&group.run(number, move || passes(number)).await))
    })
}

fn check_coalesce() -> Result<()> {
    let group = group();
    let run = || {
        group.run(1, || async {
            tokio::task::yield_now().await;
            Ok(1)
        })
    };
    block_on(async { tokio::task::unconstrained(futures_of_two(run(), run())).await });
    ensure!(group.stats().flights == 1, "two callers of one key made two calls");
    Ok(())
}

/// Both, on one thread and at the same time.
async fn futures_of_two<T>(first: impl Future<Output = T>, second: impl Future<Output = T>) {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    let mut left = [true; 2];
    std::future::poll_fn(|context| {
        left[0] = left[0] && first.as_mut().poll(context).is_pending();
        left[1] = left[1] && second.as_mut().poll(context).is_pending();
        if left == [false; 2] { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

fn batcher() -> Batcher<u64, u64, Failure> {
    let config = BatchConfig::new(NonZeroU32::new(8).expect("some"));
    let function = async |items: Vec<u64>| Ok(items.into_iter().map(Ok).collect());
    Batcher::new(config, function).expect("the settings work together")
}

fn batched(row: Row) -> Share {
    let shared = batcher();
    Box::new(move || {
        let batcher = shared.clone();
        work(row, async move |number| match batcher.call(number).await {
            Ok(_) => Outcome::Passed,
            Err(_) => Outcome::Failed,
        })
    })
}

fn check_batch() -> Result<()> {
    ensure!(block_on(async { batcher().call(7).await }) == Ok(7), "the item got another one's result");
    Ok(())
}

fn remembered(row: Row) -> Share {
    Box::new(move || {
        let pipeline = Pipeline::named("remembered").build().expect("nothing to be wrong");
        let last = LastGood::new(Duration::from_secs(60));
        work(row, async move |number| outcome(&pipeline.call(|_| passes(number)).or_last_good(&last).await))
    })
}

fn check_last_good() -> Result<()> {
    let pipeline = Pipeline::named("remembered").build().expect("nothing to be wrong");
    let last = LastGood::new(Duration::from_secs(60));
    block_on(async {
        let good = pipeline.call(|_| passes(7)).or_last_good(&last).await;
        let bad = pipeline.call(|_| crate::subject::always_fails(0)).or_last_good(&last).await;
        ensure!(matches!((good, bad), (Ok(7), Ok(7))), "the last good value was not answered");
        Ok(())
    })
}

fn undisturbed(row: Row) -> Share {
    let shared = Chaos::new(ChaosConfig::default()).expect("the settings work together");
    Box::new(move || {
        let chaos = shared.clone();
        work(row, async move |number| plain(&chaos.run(passes(number), || Err(Failure)).await))
    })
}

fn check_chaos() -> Result<()> {
    let chaos = Chaos::new(ChaosConfig::default()).expect("the settings work together");
    ensure!(block_on(chaos.run(passes(7), || Err(Failure))) == Ok(7), "chaos that is off made a call fail");
    Ok(())
}
