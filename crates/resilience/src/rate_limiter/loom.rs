//! Every order in which threads can meet at a limiter, by loom.

use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::quantity::Rate;
use loom::sync::Arc;
use loom::thread;

use super::keyed::{Keyed, Owner};
use super::leased::Leased;
use super::limit::{Decision, Limit, StateCell};
use super::token_bucket::{AtomicInstant, TokenBucket};
use crate::striped::be_thread;

const NOW: Instant = Instant::from_nanos(5);
const INTERVAL: Duration = Duration::from_nanos(100);

/// One permit each 100 ns after `burst` at once.
fn bucket(burst: u64) -> TokenBucket {
    let limit = Rate::new(1, INTERVAL).expect("a rate");
    TokenBucket::new(limit, burst)
}

/// Runs `threads` at the same time with what `shared` makes, and `then` after them with what they returned.
fn check<S, T, const N: usize>(shared: fn() -> S, threads: [fn(&S) -> T; N], then: fn(&S, [T; N]))
where
    S: Send + Sync + 'static,
    T: Send + 'static,
{
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(move || {
        let shared = Arc::new(shared());
        let mut number = 0;
        let handles = threads.map(|run| {
            let (shared, own) = (Arc::clone(&shared), number);
            number += 1;
            thread::spawn(move || {
                be_thread(own);
                run(&shared)
            })
        });
        then(&shared, handles.map(|handle| handle.join().expect("no panic")));
    });
}

/// As for the bulkhead: each more takes many times as long.
const PREEMPTIONS_MAX: usize = 3;

type Word = (TokenBucket, AtomicInstant);

fn admits((bucket, word): &Word, now: Instant) -> u64 {
    let decision = word.update(|full_at| bucket.decide(full_at, now, 1));
    u64::from(matches!(decision, Decision::Admitted { .. }))
}

#[test]
fn a_bucket_admits_its_burst_and_what_was_refilled_and_no_more() {
    let asks = |word: &Word| admits(word, NOW) + admits(word, NOW + INTERVAL);
    check(
        || (bucket(1), AtomicInstant::default()),
        [asks, asks],
        |_, admitted| {
            assert_eq!(admitted.iter().sum::<u64>(), 2, "one at once and one later: {admitted:?}");
        },
    );
}

#[test]
fn the_last_permit_is_taken_once() {
    let asks = |word: &Word| admits(word, NOW);
    check(
        || (bucket(2), AtomicInstant::default()),
        [asks, asks, asks],
        |_, admitted| {
            assert_eq!(admitted.iter().sum::<u64>(), 2, "{admitted:?}");
        },
    );
}

#[test]
fn a_reservation_that_is_given_back_leaves_nothing_taken_twice() {
    let waits = |(bucket, word): &Word| {
        let reserved = word.update(|full_at| bucket.reserve(full_at, NOW, 1, INTERVAL * 4));
        let reservation = reserved.expect("two others wait at most");
        word.update(|full_at| bucket.give_back(full_at, &reservation));
        0
    };
    let reserves = |(bucket, word): &Word| {
        let reserved = word.update(|full_at| bucket.reserve(full_at, NOW, 1, INTERVAL * 4));
        reserved.expect("two others wait at most").wait.as_nanos() as u64 / 100
    };
    check(
        || (bucket(1), AtomicInstant::default()),
        [waits, reserves, reserves],
        |_, [_, one, other]| {
            assert_ne!(one, other, "two callers have the same turn");
        },
    );
}

fn leased(leased: &Leased, stripe: usize) -> u64 {
    u64::from(matches!(leased.decide_in(stripe, NOW, 1), Decision::Admitted { .. }))
}

fn lie_there(leased: &Leased) -> u64 {
    leased.in_stripes().iter().sum::<u64>() + leased.in_bucket(NOW)
}

#[test]
fn leases_make_no_permit_in_one_stripe() {
    let asks = |limiter: &Leased| leased(limiter, 0);
    check(
        || Leased::new(bucket(2), 1),
        [asks, asks, asks],
        |limiter, admitted| {
            let admitted = admitted.iter().sum::<u64>();
            assert!(admitted + lie_there(limiter) <= 2, "{admitted} of 2, {} left", lie_there(limiter));
            assert!(limiter.in_stripes().iter().all(|permits| *permits <= 1), "no more than a lease");
        },
    );
}

#[test]
fn leases_make_no_permit_in_two_stripes_that_steal() {
    let one = |limiter: &Leased| leased(limiter, 0) + leased(limiter, 0);
    let other = |limiter: &Leased| leased(limiter, 1) + leased(limiter, 1);
    check(
        || Leased::new(bucket(2), 1),
        [one, other],
        |limiter, admitted| {
            let admitted = admitted.iter().sum::<u64>();
            assert!(admitted + lie_there(limiter) <= 2, "{admitted} of 2, {} left", lie_there(limiter));
            assert!(admitted > 0, "a full bucket rejected everyone");
        },
    );
}

type FewKeys = Keyed<TokenBucket, 4>;

fn asks_as(keyed: &FewKeys, key: u64) -> (u64, Owner) {
    let limit = bucket(1);
    let (decision, owner) = keyed.update(&limit, key, NOW, |full_at| limit.decide(full_at, NOW, 1));
    (u64::from(matches!(decision, Decision::Admitted { .. })), owner)
}

#[test]
fn never_more_keys_are_remembered_than_there_is_room_for() {
    let one_of_two_is_taken = || {
        let keyed = FewKeys::new(2);
        asks_as(&keyed, 0);
        keyed
    };
    // Two shards: an even and an odd key.
    check(one_of_two_is_taken, [|keyed| asks_as(keyed, 2), |keyed| asks_as(keyed, 3)], |keyed, answers| {
        let own = answers.iter().filter(|(_, owner)| *owner == Owner::Key).count();
        assert_eq!((own, keyed.len()), (1, 2), "{answers:?}");
        assert_eq!(answers.map(|(admitted, _)| admitted), [1, 1], "a quota each, its own or the strangers'");
    });
}

#[test]
fn one_key_has_one_quota() {
    check(
        || FewKeys::new(2),
        [|keyed| asks_as(keyed, 1), |keyed| asks_as(keyed, 1)],
        |keyed, answers| {
            assert_eq!(answers.iter().map(|(admitted, _)| admitted).sum::<u64>(), 1, "{answers:?}");
            assert_eq!(keyed.len(), 1);
        },
    );
}
