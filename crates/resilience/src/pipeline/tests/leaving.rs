//! Calls that are dropped, and operations that panic.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_await_gives_everything_back() {
    let pipeline = everything();
    // Waits for a place; then an attempt waits twice, fails, and is repeated after a second.
    for awaits in 0..8 {
        let place = pipeline.bulkhead().expect("in force").acquire(None).await.expect("free");
        {
            let call = pipeline.call(async |_| {
                tokio::task::yield_now().await;
                tokio::time::sleep(SECOND).await;
                Err::<(), _>("failed")
            });
            let mut call = pin!(call.idempotent());
            let mut place = Some(place);
            for step in 0..awaits {
                let polled = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await;
                assert!(polled, "still under way after {step} steps of {awaits}");
                drop(place.take());
                tokio::time::advance(SECOND).await;
            }
        }
        let stats = pipeline.bulkhead().expect("in force").stats();
        assert_eq!((stats.running, stats.waiting), (0, 0), "after {awaits} steps");
    }
    assert_eq!(pipeline.stats().cancelled, 7, "the one that was never polled is none");
}

/// Notes, when it is dropped, how many calls hold a place.
struct Witness<'a>(&'a Pipeline, &'a Cell<u32>);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        self.1.set(self.0.bulkhead().expect("in force").stats().running);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_lets_go_of_its_operation_before_its_place() {
    let pipeline = Pipeline::named("narrow").bulkhead(one_at_a_time()).build().expect("valid");
    let running = Cell::new(0);
    let call = pipeline.call(async |_| {
        let _witness = Witness(&pipeline, &running);
        pending::<Result<(), ()>>().await
    });
    assert!(tokio::time::timeout(SECOND, call).await.is_err());
    assert_eq!(running.get(), 1, "nobody else was let in before it ended");
    assert_eq!(pipeline.bulkhead().expect("in force").stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_anywhere_in_the_operation_is_a_failure_and_frees_the_place() {
    let pipeline =
        Pipeline::named("panics").bulkhead(one_at_a_time()).circuit_breaker(touchy()).build().expect("valid");
    for asynchronously in [false, true] {
        let call = pipeline.call(|_| {
            assert!(asynchronously, "before the future");
            async {
                tokio::task::yield_now().await;
                panic!("in the future");
                #[expect(unreachable_code, reason = "names the type")]
                Ok::<(), ()>(())
            }
        });
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let mut call = pin!(call);
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..3 {
                let _ = call.as_mut().poll(&mut context);
            }
        }));
        assert!(unwound.is_err());
        let breaker = pipeline.circuit_breaker().expect("in force");
        assert_eq!(breaker.stats(MonotonicClock::now()).phase, Phase::Open);
        breaker.reset();
        assert!(pipeline.call(|_| Does::Succeed.it()).await.is_ok(), "the place is free");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panicked_has_ended() {
    let pipeline = everything();
    let mut call = Box::pin(pipeline.call(|_| async { panic!("as planned") as Result<(), ()> }));
    for expected in ["as planned", "polled again"] {
        let mut context = Context::from_waker(Waker::noop());
        let panic = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context).is_ready()));
        let panic = panic.expect_err("panics");
        let text = panic.downcast_ref::<&str>().expect("text");
        assert!(text.contains(expected), "{text}");
    }
    drop(call);
    assert_eq!(pipeline.stats().cancelled, 1, "counted once");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ended_holds_no_place_in_the_budget_however_long_it_is_kept() {
    let retry = RetryConfig { budget_in_flight: Some(NonZeroU32::MIN), ..retry() };
    let limiter = per_minute("1/min", Count::Attempts);
    let pipeline = Pipeline::named("kept").retry(retry).rate_limiter(limiter).build().expect("valid");
    let mut kept = pin!(pipeline.call(|_| Does::Fail.it()).idempotent());
    assert!(kept.as_mut().await.is_err(), "its repetition found no quota");
    let budget = pipeline.shared.budget.as_ref().expect("in force");
    assert_eq!(budget.stats(MonotonicClock::now()).in_flight, 0);
}
