use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::by_hand::{Call, Steps, settle};

fn stepping(steps: &Steps) -> Arc<Flight<&'static str>> {
    let steps = steps.clone();
    Flight::new(async move {
        steps.ended().await;
        "landed"
    })
}

/// Three callers, and the operation needs five wake-ups.
#[test]
fn whoever_is_polled_goes_on_and_all_get_the_outcome() {
    let steps = Steps::new(5);
    let flight = stepping(&steps);
    let mut calls: Vec<_> = (0..3).map(|_| Call::new(Arc::clone(&flight).wait())).collect();
    settle(&mut calls);
    for driver in [1, 0, 2, 0] {
        steps.advance();
        assert!(calls.iter().all(Call::is_woken), "any of them may be the next to be polled");
        assert!(!calls[driver].poll());
    }
    steps.advance();
    settle(&mut calls);
    for call in &calls {
        assert_eq!(call.output(), Some(&Ok(Arc::new("landed"))));
    }
}

#[test]
fn a_caller_that_is_kept_but_polled_no_more_holds_up_nobody() {
    let steps = Steps::new(3);
    let flight = stepping(&steps);
    let mut asleep = Call::new(Arc::clone(&flight).wait());
    let mut awake = Call::new(flight.wait());
    assert!(!asleep.poll() && !awake.poll());
    for _ in 0..3 {
        steps.advance();
        settle([&mut awake]);
    }
    assert!(awake.output().is_some());
    assert!(asleep.is_waiting() && asleep.poll(), "and it finds the outcome when it is polled at last");
}

/// While one caller polls the operation, the other is polled, finds nothing to do and sleeps. Only then is the
/// operation woken, or ends. The first caller, who sees that, is never polled again.
#[test]
fn what_happens_during_a_poll_reaches_those_who_came_meanwhile() {
    for ends_in_that_poll in [false, true] {
        let other: Arc<Mutex<Option<Call<Outcome<()>>>>> = Arc::default();
        let polls = AtomicUsize::new(0);
        let flight = Flight::new(poll_fn({
            let other = Arc::clone(&other);
            move |context| {
                if polls.fetch_add(1, Ordering::SeqCst) == 0 {
                    context.waker().wake_by_ref();
                    let mut other = other.lock().expect("not poisoned");
                    assert!(!other.as_mut().expect("set below").poll(), "the operation is being polled");
                    return if ends_in_that_poll { Poll::Ready(()) } else { Poll::Pending };
                }
                Poll::Ready(())
            }
        }));
        *other.lock().expect("not poisoned") = Some(Call::new(Arc::clone(&flight).wait()));
        let mut first = Call::new(flight.wait());
        assert_eq!(first.poll(), ends_in_that_poll);
        let mut other = other.lock().expect("not poisoned").take().expect("set above");
        settle([&mut other]);
        assert!(other.output().is_some(), "nobody told it that there is something to do");
    }
}

/// As `yield_now` does: a caller that registers only after its poll would never be told.
#[test]
fn an_operation_that_wakes_itself_during_its_poll_goes_on() {
    let polls = AtomicUsize::new(0);
    let flight = Flight::new(poll_fn(move |context| {
        context.waker().wake_by_ref();
        if polls.fetch_add(1, Ordering::SeqCst) < 3 { Poll::Pending } else { Poll::Ready(()) }
    }));
    let mut call = Call::new(flight.wait());
    settle([&mut call]);
    assert!(call.output().is_some());
}

#[test]
fn an_operation_that_was_not_woken_is_not_polled() {
    let polls = Arc::new(AtomicUsize::new(0));
    let flight: Arc<Flight<()>> = Flight::new(poll_fn({
        let polls = Arc::clone(&polls);
        move |_| {
            polls.fetch_add(1, Ordering::SeqCst);
            Poll::Pending
        }
    }));
    let mut calls: Vec<_> = (0..3).map(|_| Call::new(Arc::clone(&flight).wait())).collect();
    for call in &mut calls {
        assert!(!call.poll() && !call.poll());
    }
    assert_eq!(polls.load(Ordering::SeqCst), 1, "a thousand callers would poll it a thousand times");
}

#[test]
fn a_panic_is_an_outcome_for_all() {
    let steps = Steps::new(1);
    let flight: Arc<Flight<()>> = Flight::new({
        let steps = steps.clone();
        async move {
            steps.ended().await;
            panic!("as ordered by the test");
        }
    });
    let mut calls: Vec<_> = (0..3).map(|_| Call::new(Arc::clone(&flight).wait())).collect();
    settle(&mut calls);
    steps.advance();
    settle(&mut calls);
    assert!(calls.iter().all(|call| call.output() == Some(&Err(Panicked))));
}

#[test]
fn the_last_handle_drops_the_operation_though_its_waker_lives_on() {
    let alive = Arc::new(());
    let kept: Arc<Mutex<Option<Waker>>> = Arc::default();
    let flight: Arc<Flight<()>> = Flight::new({
        let (alive, kept) = (Arc::clone(&alive), Arc::clone(&kept));
        async move {
            poll_fn(|context| {
                *kept.lock().expect("not poisoned") = Some(context.waker().clone());
                Poll::<()>::Pending
            })
            .await;
            drop(alive);
        }
    });
    let mut first = Call::new(Arc::clone(&flight).wait());
    let mut second = Call::new(flight.wait());
    settle([&mut first, &mut second]);
    first.cancel();
    assert_eq!(Arc::strong_count(&alive), 2);
    second.cancel();
    assert_eq!(Arc::strong_count(&alive), 1, "nobody waits any more");
    let waker = kept.lock().expect("not poisoned").take().expect("it was polled");
    waker.wake();
}

#[test]
fn a_caller_that_left_is_not_woken() {
    let steps = Steps::new(2);
    let flight = stepping(&steps);
    let mut left = Call::new(Arc::clone(&flight).wait());
    let mut stays = Call::new(flight.wait());
    settle([&mut left, &mut stays]);
    left.cancel();
    let before = left.wakes();
    steps.advance();
    assert_eq!(left.wakes(), before);
}

/// Wake-ups from another thread, cancelled callers, and callers on threads of their own.
#[test]
fn no_wake_up_is_lost_between_threads() {
    for round in 0..300 {
        let steps = Steps::new(4);
        let flight = stepping(&steps);
        thread::scope(|scope| {
            for caller in 0..3 {
                let waiter = Arc::clone(&flight).wait();
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .build()
                        .expect("a runtime without drivers");
                    runtime.block_on(async {
                        if caller == round % 3 {
                            let mut waiter = std::pin::pin!(waiter);
                            poll_fn(|context| Poll::Ready(waiter.as_mut().poll(context).is_ready())).await;
                        } else {
                            assert_eq!(waiter.await, Ok(Arc::new("landed")));
                        }
                    });
                });
            }
            scope.spawn(|| {
                for _ in 0..4 {
                    steps.advance();
                    thread::yield_now();
                }
            });
        });
    }
}
