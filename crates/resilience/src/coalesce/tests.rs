use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::by_hand::{Call, Steps, settle};

type Outcome = Result<u64, CoalesceError<u64>>;

fn bound(bound: u32) -> NonZeroU32 {
    NonZeroU32::new(bound).expect("not zero")
}

fn group(config: CoalesceConfig) -> Group<u8, u64, u64> {
    Group::new(config).expect("valid")
}

fn unshared(failures_max: u32) -> CoalesceConfig {
    CoalesceConfig { share_errors: false, failures_max: bound(failures_max), ..CoalesceConfig::default() }
}

/// How an operation of a test ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Value,
    Error,
    Panic,
}

/// Operations that wait for the test, and how many of a key ran at the same time.
#[derive(Clone, Default)]
struct Operations(Arc<Mutex<Vec<Steps>>>, Arc<Mutex<HashMap<u8, usize>>>);

struct Running(u8, Arc<Mutex<HashMap<u8, usize>>>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.1.lock().expect("no panic").entry(self.0).or_default() -= 1;
    }
}

impl Operations {
    fn made(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    fn steps(&self, which: usize) -> Steps {
        self.0.lock().expect("no panic")[which].clone()
    }

    /// A caller whose operation takes `steps` and ends with its `id`.
    fn caller(&self, group: &Group<u8, u64, u64>, key: u8, id: u64, steps: usize, end: End) -> Call<Outcome> {
        let (group, operations) = (group.clone(), self.clone());
        Call::new(async move {
            let operation = move || {
                let steps = Steps::new(steps);
                operations.0.lock().expect("no panic").push(steps.clone());
                let running = Running(key, Arc::clone(&operations.1));
                {
                    let mut all = operations.1.lock().expect("no panic");
                    *all.entry(key).or_default() += 1;
                    assert_eq!(all[&key], 1, "two calls of one key at the same time");
                }
                async move {
                    let _running = running;
                    steps.ended().await;
                    match end {
                        End::Value => Ok(id),
                        End::Error => Err(id),
                        End::Panic => panic!("as ordered by the test"),
                    }
                }
            };
            group.run(key, operation).await
        })
    }
}

#[test]
fn callers_of_one_key_share_one_call_and_others_do_not() {
    let (group, operations) = (group(CoalesceConfig::default()), Operations::default());
    let mut calls: Vec<_> =
        (0..6).map(|id| operations.caller(&group, u8::from(id >= 4), id, 1, End::Value)).collect();
    settle(&mut calls);
    assert_eq!((group.stats().running, operations.made()), (2, 2));
    operations.steps(0).finish();
    operations.steps(1).finish();
    settle(&mut calls);
    let outputs: Vec<_> = calls.iter().map(|call| call.output().cloned()).collect();
    assert_eq!(outputs, [0, 0, 0, 0, 4, 4].map(|id| Some(Ok(id))));
    let stats = group.stats();
    assert_eq!((stats.running, stats.flights, stats.followers, stats.taken_over), (0, 2, 4, 0));
}

#[test]
fn who_comes_after_the_end_makes_a_new_call() {
    let (group, operations) = (group(CoalesceConfig::default()), Operations::default());
    let mut first = operations.caller(&group, 0, 1, 1, End::Value);
    let mut asleep = operations.caller(&group, 0, 2, 1, End::Value);
    assert!(!first.poll() && !asleep.poll());
    operations.steps(0).finish();
    assert!(first.poll());
    let mut second = operations.caller(&group, 0, 3, 0, End::Value);
    assert!(second.poll());
    assert_eq!(second.output(), Some(&Ok(3)), "never the result of a call that had ended before it came");
    assert!(asleep.poll());
    assert_eq!(asleep.output(), Some(&Ok(1)));
}

#[test]
fn a_leader_cancelled_at_any_poll_leaves_its_call_to_the_others() {
    for polls in 1..8 {
        let (group, operations) = (group(CoalesceConfig::default()), Operations::default());
        let mut calls: Vec<_> = (0..4).map(|id| operations.caller(&group, 0, id, 8, End::Value)).collect();
        for call in &mut calls {
            assert!(!call.poll());
        }
        for _ in 1..polls {
            operations.steps(0).advance();
            assert!(!calls[0].poll());
        }
        calls[0].cancel();
        for _ in polls..=8 {
            operations.steps(0).advance();
            settle(&mut calls);
        }
        for call in &calls[1..] {
            assert_eq!(call.output(), Some(&Ok(0)), "cancelled at poll {polls}");
        }
        assert_eq!(operations.made(), 1, "nobody began anew");
        let stats = group.stats();
        assert_eq!((stats.running, stats.flights, stats.taken_over), (0, 1, 1));
    }
}

#[test]
fn one_caller_after_the_other_leaves_and_the_last_gets_the_value() {
    let (group, operations) = (group(CoalesceConfig::default()), Operations::default());
    let mut calls: Vec<_> = (0..100).map(|id| operations.caller(&group, 0, id, 100, End::Value)).collect();
    settle(&mut calls);
    for leaver in &mut calls[..99] {
        operations.steps(0).advance();
        // Whoever leaves is the very one who polled last.
        leaver.poll();
        leaver.cancel();
    }
    operations.steps(0).advance();
    settle(&mut calls);
    assert_eq!(calls[99].output(), Some(&Ok(0)));
    assert_eq!(group.stats().taken_over, 1);
}

#[test]
fn an_operation_that_nobody_waits_for_is_dropped_and_the_next_caller_begins_anew() {
    let (group, operations) = (group(CoalesceConfig::default()), Operations::default());
    let mut calls: Vec<_> = (0..2).map(|id| operations.caller(&group, 0, id, 1, End::Value)).collect();
    settle(&mut calls);
    calls[0].cancel();
    calls[1].cancel();
    assert_eq!((operations.1.lock().expect("no panic")[&0], group.stats().running), (0, 0));
    let mut next = operations.caller(&group, 0, 7, 0, End::Value);
    assert!(next.poll());
    assert_eq!(next.output(), Some(&Ok(7)));
}

#[test]
fn a_caller_that_is_kept_but_polled_no_more_holds_up_nobody() {
    let (group, operations) = (group(CoalesceConfig::default()), Operations::default());
    let mut asleep = operations.caller(&group, 0, 0, 1, End::Value);
    let mut awake = operations.caller(&group, 0, 1, 1, End::Value);
    assert!(!asleep.poll() && !awake.poll());
    operations.steps(0).finish();
    settle([&mut awake]);
    assert_eq!(awake.output(), Some(&Ok(0)));
}

#[test]
fn an_error_is_shared_by_default() {
    let (group, operations) = (group(CoalesceConfig::default()), Operations::default());
    let mut calls: Vec<_> = (0..3).map(|id| operations.caller(&group, 0, id, 1, End::Error)).collect();
    settle(&mut calls);
    operations.steps(0).finish();
    settle(&mut calls);
    assert!(calls.iter().all(|call| call.output() == Some(&Err(CoalesceError::Failed(0)))));
    assert_eq!(operations.made(), 1);
}

#[test]
fn an_error_that_is_not_shared_leaves_each_its_own_attempt_one_after_the_other() {
    for end in [End::Error, End::Panic] {
        let (group, operations) = (group(unshared(4)), Operations::default());
        let mut calls: Vec<_> = (0..4).map(|id| operations.caller(&group, 0, id, 1, end)).collect();
        settle(&mut calls);
        for attempt in 0..4 {
            assert_eq!(operations.made(), attempt + 1, "one at a time");
            operations.steps(attempt).finish();
            settle(&mut calls);
        }
        for (id, call) in calls.iter().enumerate() {
            let own = match end {
                End::Panic => CoalesceError::Panicked,
                _ => CoalesceError::Failed(id as u64),
            };
            assert_eq!(call.output(), Some(&Err(own)));
        }
    }
}

#[test]
fn a_value_is_shared_even_if_errors_are_not() {
    let (group, operations) = (group(unshared(3)), Operations::default());
    let mut calls: Vec<_> = [End::Error, End::Value, End::Error]
        .into_iter()
        .enumerate()
        .map(|(id, end)| operations.caller(&group, 0, id as u64, 1, end))
        .collect();
    settle(&mut calls);
    operations.steps(0).finish();
    settle(&mut calls);
    operations.steps(1).finish();
    settle(&mut calls);
    assert_eq!(calls[0].output(), Some(&Err(CoalesceError::Failed(0))));
    assert_eq!((calls[1].output(), calls[2].output()), (Some(&Ok(1)), Some(&Ok(1))));
}

#[test]
fn nobody_waits_for_more_failures_of_others_than_allowed() {
    let (group, operations) = (group(unshared(2)), Operations::default());
    let mut calls: Vec<_> = (0..4).map(|id| operations.caller(&group, 0, id, 1, End::Error)).collect();
    settle(&mut calls);
    for attempt in 0..2 {
        operations.steps(attempt).finish();
        settle(&mut calls);
    }
    for call in &calls[2..] {
        let Some(Err(CoalesceError::Rejected(rejection))) = call.output() else {
            panic!("{:?}", call.output());
        };
        assert_eq!(rejection.bound, "failures_max");
    }
    assert_eq!((operations.made(), group.stats().rejected), (2, 2));
}

#[test]
fn a_panic_reaches_all_and_wedges_nothing() {
    let (group, operations) = (group(CoalesceConfig::default()), Operations::default());
    let mut calls: Vec<_> = (0..3).map(|id| operations.caller(&group, 0, id, 1, End::Panic)).collect();
    settle(&mut calls);
    operations.steps(0).finish();
    settle(&mut calls);
    assert!(calls.iter().all(|call| call.output() == Some(&Err(CoalesceError::Panicked))));
    let mut next = operations.caller(&group, 0, 7, 0, End::Value);
    assert!(next.poll());
    assert_eq!(next.output(), Some(&Ok(7)));

    let at_once = Call::new({
        let group = group.clone();
        async move {
            group.run(0, || -> std::future::Ready<Result<u64, u64>> { panic!("before its future") }).await
        }
    });
    let mut calls = [at_once];
    settle(&mut calls);
    assert_eq!(calls[0].output(), Some(&Err(CoalesceError::Panicked)));
    assert_eq!(group.stats().running, 0);
}

#[test]
fn each_bound_is_named() {
    let config = CoalesceConfig { keys_max: bound(2), callers_max: bound(2), ..CoalesceConfig::default() };
    let (group, operations) = (group(config), Operations::default());
    let mut calls: Vec<_> =
        [0, 0, 0, 1, 2].map(|key| operations.caller(&group, key, 0, 1, End::Value)).into_iter().collect();
    settle(&mut calls);
    let bounds: Vec<_> = calls
        .iter()
        .map(|call| match call.output() {
            Some(Err(CoalesceError::Rejected(rejection))) => Some(rejection.bound),
            _ => None,
        })
        .collect();
    assert_eq!(bounds, [None, None, Some("callers_max"), None, Some("keys_max")]);
    assert_eq!(group.stats().rejected, 2);
    calls[0].cancel();
    let mut follower = operations.caller(&group, 0, 0, 1, End::Value);
    assert!(!follower.poll() && follower.is_waiting(), "a place is free again");
}

#[test]
fn callers_on_threads_of_their_own_share_calls() {
    let group = group(CoalesceConfig::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                runtime.block_on(async {
                    for round in 0..500_u32 {
                        let key = u8::from(round % 2 == 1);
                        let operation = move || async move {
                            tokio::task::yield_now().await;
                            tokio::task::yield_now().await;
                            Ok(u64::from(key))
                        };
                        assert_eq!(group.run(key, operation).await, Ok(u64::from(key)));
                    }
                });
            });
        }
    });
    let stats = group.stats();
    assert_eq!((stats.running, stats.flights + stats.followers), (0, 2000));
}

/// A value that counts its clones.
#[derive(Debug)]
struct Costly(Arc<AtomicUsize>);

impl Clone for Costly {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&self.0))
    }
}

#[test]
fn a_caller_without_followers_pays_for_no_clone() {
    let clones = Arc::new(AtomicUsize::new(0));
    let group: Group<u8, Costly, ()> = Group::new(CoalesceConfig::default()).expect("valid");
    let mut call = Call::new({
        let (group, value) = (group.clone(), Costly(Arc::clone(&clones)));
        async move { group.run(0, || async { Ok(value) }).await.map(drop) }
    });
    assert!(call.poll());
    assert_eq!(clones.load(Ordering::SeqCst), 0);
}

#[test]
fn options_are_read_and_checked() {
    let config: CoalesceConfig =
        serde_json::from_str(r#"{ "keys_max": 5, "share_errors": false }"#).expect("good");
    assert_eq!(
        config,
        CoalesceConfig { keys_max: bound(5), share_errors: false, ..CoalesceConfig::default() }
    );
    assert!(serde_json::from_str::<CoalesceConfig>(r#"{ "keys": 5 }"#).is_err());
    let alone = CoalesceConfig { callers_max: bound(1), ..CoalesceConfig::default() };
    assert_eq!(alone.validate().expect_err("nobody can follow").field, "callers_max");
}

#[derive(Debug, Clone)]
enum Event {
    Arrive {
        key: u8,
        steps: usize,
        end: End,
    },
    Poll(usize),
    Cancel(usize),
    /// Kept, and never polled again.
    Sleep(usize),
    Advance(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let end = prop_oneof![4 => Just(End::Value), 2 => Just(End::Error), 1 => Just(End::Panic)];
    prop_oneof![
        4 => (0_u8..3, 0_usize..4, end).prop_map(|(key, steps, end)| Event::Arrive { key, steps, end }),
        6 => any::<usize>().prop_map(Event::Poll),
        2 => any::<usize>().prop_map(Event::Cancel),
        1 => any::<usize>().prop_map(Event::Sleep),
        5 => any::<usize>().prop_map(Event::Advance),
    ]
}

proptest! {
    /// Whatever the order of arrivals, polls, cancellations and wake-ups, everybody who is still polled gets
    /// an answer of its own key, and an executor that polls only who was woken is enough for it.
    #[test]
    fn no_schedule_makes_anybody_hang(
        share_errors in any::<bool>(),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let config = CoalesceConfig { share_errors, failures_max: bound(200), ..CoalesceConfig::default() };
        let (group, operations) = (group(config), Operations::default());
        let mut calls: Vec<(Call<Outcome>, u8, bool)> = Vec::new();
        for event in events {
            let count = calls.len();
            match event {
                Event::Arrive { key, steps, end } => {
                    let id = count as u64;
                    calls.push((operations.caller(&group, key, id, steps, end), key, true));
                }
                Event::Poll(which) if count > 0 => {
                    let (call, _, is_polled) = &mut calls[which % count];
                    if *is_polled {
                        call.poll();
                    }
                }
                Event::Cancel(which) if count > 0 => calls[which % count].0.cancel(),
                Event::Sleep(which) if count > 0 => calls[which % count].2 = false,
                Event::Advance(which) if operations.made() > 0 => {
                    operations.steps(which % operations.made()).advance();
                }
                _ => {}
            }
        }
        let mut finished = 0;
        settle(calls.iter_mut().filter(|call| call.2).map(|call| &mut call.0));
        while finished < operations.made() {
            operations.steps(finished).finish();
            settle(calls.iter_mut().filter(|call| call.2).map(|call| &mut call.0));
            finished += 1;
        }
        for (call, key, is_polled) in &calls {
            prop_assert!(!(*is_polled && call.is_waiting()), "a caller hangs");
            if let Some(Ok(id) | Err(CoalesceError::Failed(id))) = call.output() {
                prop_assert_eq!(calls[usize::try_from(*id).expect("small")].1, *key);
            }
        }
        prop_assert_eq!(group.stats().flights, operations.made() as u64);
        drop(calls);
        prop_assert_eq!(group.stats().running, 0);
        prop_assert!(operations.1.lock().expect("no panic").values().all(|running| *running == 0));
    }

    /// The state against a plain list of flights.
    #[test]
    fn flights_equal_a_list(
        keys_max in 1_u32..4,
        callers_max in 1_u32..4,
        steps in prop::collection::vec((0_u8..5, 0_u8..5, any::<usize>()), 1..300),
    ) {
        let mut state: State<u8, u64> = State::new(keys_max, callers_max);
        let mut flights: Vec<(u8, Number, u64, u32)> = Vec::new();
        let mut callers: Vec<(u8, Number)> = Vec::new();
        let mut begun = 0;
        for (what, key, which) in steps {
            match what {
                0..=2 => {
                    let known = flights.iter().position(|flight| flight.0 == key);
                    let arrival = state.arrive(&key, |_| { begun += 1; begun });
                    match (arrival, known) {
                        (Arrival::Leads(number, flight), None) => {
                            prop_assert!(flights.len() < keys_max as usize);
                            prop_assert!(flights.iter().all(|other| other.1 != number));
                            flights.push((key, number, flight, 1));
                            callers.push((key, number));
                        }
                        (Arrival::Follows(number, flight), Some(known)) => {
                            prop_assert_eq!((flights[known].1, flights[known].2), (number, flight));
                            flights[known].3 += 1;
                            prop_assert!(flights[known].3 <= callers_max);
                            callers.push((key, number));
                        }
                        (Arrival::Rejected("callers_max"), Some(known)) => {
                            prop_assert_eq!(flights[known].3, callers_max);
                        }
                        (Arrival::Rejected("keys_max"), None) => {
                            prop_assert_eq!(flights.len(), keys_max as usize);
                        }
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
                3 if !callers.is_empty() => {
                    let (key, number) = callers.remove(which % callers.len());
                    let left = state.leave(&key, number);
                    let Some(known) = flights.iter().position(|flight| flight.1 == number) else {
                        prop_assert_eq!(left, Left::Nothing);
                        continue;
                    };
                    flights[known].3 -= 1;
                    if flights[known].3 == 0 {
                        prop_assert_eq!(left, Left::Last(flights.remove(known).2));
                    } else {
                        prop_assert_eq!(left, Left::Others);
                    }
                }
                4 if !callers.is_empty() => {
                    // Also of flights that are over already.
                    let (key, number) = callers[which % callers.len()];
                    let known = flights.iter().position(|flight| flight.1 == number);
                    prop_assert_eq!(state.end(&key, number), known.map(|known| flights.remove(known).2));
                }
                _ => {}
            }
            prop_assert_eq!(state.flights(), flights.len());
        }
    }
}
