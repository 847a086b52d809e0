//! The dependency behind its lock, without anybody who lets it work: each call does what is due.

use std::sync::Arc;

use fastrand::Rng;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::simulate::Reason;
use crate::simulate::downstream::Downstream;
use crate::simulate::outcome::Failure;

/// One server, 10 ms for a call, no queue.
fn downstream(abandons_cancelled: bool) -> Arc<Downstream> {
    let config = SimulationConfig { abandons_cancelled, ..config("1/s", millis(10), 1) };
    Arc::new(Downstream::new(&config, Rng::with_seed(1)))
}

/// A call that has arrived when this returns.
async fn call(downstream: &Arc<Downstream>) -> JoinHandle<Result<(), Failure>> {
    let downstream = Arc::clone(downstream);
    let call = tokio::spawn(async move { downstream.call().await });
    tokio::task::yield_now().await;
    call
}

async fn answer(call: JoinHandle<Result<(), Failure>>) -> Option<Result<(), Reason>> {
    let answer = timeout(secs(1), call).await.ok()?;
    Some(answer.expect("no panic").map_err(|failure| failure.reason))
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_just_free_takes_the_call_that_just_comes() {
    let downstream = downstream(false);
    let first = call(&downstream).await;
    sleep(millis(9)).await;
    assert_eq!(answer(call(&downstream).await).await, Some(Err(Reason::Overloaded)));
    sleep(millis(1)).await;
    let second = call(&downstream).await;
    assert_eq!(answer(first).await, Some(Ok(())), "it is answered before the next one comes");
    assert_eq!(answer(second).await, None, "it was taken, and nobody works on it here");
    assert_eq!(downstream.arrivals(), [millis(0), millis(9), millis(10)]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_frees_its_server_if_the_dependency_notices() {
    for abandons_cancelled in [true, false] {
        let downstream = downstream(abandons_cancelled);
        let first = call(&downstream).await;
        first.abort();
        assert!(first.await.is_err_and(|error| error.is_cancelled()));
        let second = answer(call(&downstream).await).await;
        assert_eq!(second.is_none(), abandons_cancelled, "taken, or refused: {second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_polled_never_arrives() {
    let downstream = downstream(false);
    drop(downstream.call());
    assert_eq!(downstream.arrivals(), []);
}

#[tokio::test(start_paused = true)]
async fn who_works_answers_in_time() {
    let downstream = downstream(false);
    let worker = Arc::clone(&downstream);
    let working = tokio::spawn(async move { worker.work().await });
    sleep(millis(3)).await;
    let began = tokio::time::Instant::now();
    assert_eq!(answer(call(&downstream).await).await, Some(Ok(())));
    assert_eq!(began.elapsed(), millis(10));
    working.abort();
}
