use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::super::keyed::{Keyed, Owner};
use super::super::table::{Found, Table};
use super::super::token_bucket::TokenBucket;
use super::*;

fn once_a_second() -> TokenBucket {
    TokenBucket::new(rate("1/s"), 1)
}

fn decide(keyed: &Keyed<TokenBucket, 4>, key: u64, now: Instant) -> (bool, Owner) {
    let bucket = once_a_second();
    keyed.update(&bucket, key, now, |state| admits(&bucket, state, now, 1))
}

#[test]
fn keys_beyond_the_bound_share_one_quota_until_others_are_idle() {
    let keyed = Keyed::new(2);
    let admits = |key, now| decide(&keyed, key, now).0;
    assert!(admits(1, NOW) && admits(2, NOW), "two keys have their own");
    assert!(admits(3, NOW) && !admits(4, NOW), "the strangers share one");
    assert!(!admits(1, NOW));
    assert!(admits(3, NOW + ms(1_000)) && admits(4, NOW + ms(1_000)), "idle keys made room");
    assert!(keyed.len() <= 2);
}

#[test]
fn a_full_table_holds_exactly_its_bound_over_all_shards() {
    let keyed = Keyed::new(10_000);
    let key = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let owners: Vec<Owner> = (1..=12_000).map(|number| decide(&keyed, key(number), NOW).1).collect();
    assert_eq!(owners.iter().position(|owner| *owner == Owner::Strangers), Some(10_000));
    assert_eq!(keyed.len(), 10_000);
    let later = NOW + ms(1_000);
    let admitted = (20_000..30_000).filter(|number| decide(&keyed, key(*number), later).0).count();
    assert!(admitted > 9_900, "nearly all newcomers find an idle key in their shard: {admitted}");
    assert!(keyed.len() <= 10_000);
}

#[test]
fn keys_that_differ_in_one_bit_have_quotas_of_their_own() {
    let keyed = Keyed::new(1_000);
    assert!(decide(&keyed, 0, NOW).0);
    for bit in 0..64 {
        assert!(decide(&keyed, 1 << bit, NOW).0, "bit {bit}");
    }
}

#[test]
fn what_leaves_nothing_to_remember_takes_no_room() {
    let keyed: Keyed<TokenBucket, 4> = Keyed::new(2);
    let bucket = once_a_second();
    for key in 0..10 {
        let (admitted, _) = keyed.update(&bucket, key, NOW, |state| admits(&bucket, state, NOW, 2));
        assert!(!admitted, "never fits");
    }
    assert_eq!(keyed.len(), 0);
    assert!(decide(&keyed, 1, NOW).0 && decide(&keyed, 2, NOW).0);
}

#[test]
fn threads_share_the_bound_and_every_quota() {
    let keyed = Keyed::new(5_000);
    let admitted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..4_000_u64 {
                    let (is_admitted, owner) = decide(&keyed, number << 40 | number, NOW);
                    assert_eq!(owner, Owner::Key);
                    admitted.fetch_add(is_admitted.into(), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 4_000, "one call for each key");
    assert_eq!(keyed.len(), 4_000);
}

#[test]
fn keys_cost_at_most_37_bytes_each() {
    let mut table: Table<TokenBucket, 4> = Table::default();
    let bucket = once_a_second();
    assert_eq!(table.line_bytes(), 64);
    // Up to what each of 256 shards holds of a million keys.
    for number in 1..=3_907_usize {
        let key = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        table.insert(key, NOW + ms(1_000), &bucket, NOW);
        let bytes = table.lines() * table.line_bytes();
        assert!(number < 64 || bytes <= number * 37, "{bytes} for {number} keys");
    }
}

proptest! {
    /// The table against a map: what is live is found, what is idle may be gone, and the count is right.
    /// Few distinct homes make lines overflow into the next and removals move callers back.
    #[test]
    fn a_table_equals_a_map(
        steps in prop::collection::vec((0_u64..60, 0_u8..6, 0_u64..300), 1..600),
        homes in 1_u64..5,
    ) {
        let bucket = once_a_second();
        let mut table: Table<TokenBucket, 4> = Table::default();
        let mut map: HashMap<u64, Instant> = HashMap::new();
        let mut now = NOW;
        for (number, what, step) in steps {
            now = now + ms(step);
            let key = (number % homes) << 8 | number << 40;
            let live = map.get(&key).copied().filter(|until| *until > now);
            let found = table.find(key, &bucket, now);
            match (found, what) {
                (Found::Known(position), 0) => {
                    table.change(position, |state| *state = Instant::ORIGIN);
                    map.remove(&key);
                }
                (Found::Known(position), _) => {
                    let known = table.change(position, |state| std::mem::replace(state, now + ms(1_000)));
                    if live.is_some() {
                        prop_assert_eq!(Some(known), live);
                    }
                    map.insert(key, now + ms(1_000));
                }
                (_, _) if live.is_some() => prop_assert!(false, "a live key is lost"),
                (Found::Idle(position), 2..) => {
                    table.take_over(position, key, now + ms(1_000));
                    map.insert(key, now + ms(1_000));
                }
                (Found::Nothing, 2..) => {
                    table.insert(key, now + ms(1_000), &bucket, now);
                    map.insert(key, now + ms(1_000));
                }
                (_, 1) => {
                    table.forget_one(&bucket, now);
                }
                _ => {}
            }
            let live: HashSet<u64> =
                map.iter().filter(|(_, until)| **until > now).map(|(key, _)| *key).collect();
            for key in &live {
                prop_assert!(matches!(table.find(*key, &bucket, now), Found::Known(_)), "{key:x}");
            }
            prop_assert!(table.remembered() >= live.len());
            prop_assert_eq!(table.remembered(), table.count());
        }
    }

    /// Sharded and behind locks, each key has its quota and no other.
    #[test]
    fn keyed_quotas_equal_a_map_of_buckets(
        steps in prop::collection::vec((0_u64..40, 0_u64..400), 1..400),
    ) {
        let keyed = Keyed::new(3_000);
        let bucket = once_a_second();
        let mut map: HashMap<u64, Instant> = HashMap::new();
        let mut now = NOW;
        for (key, step) in steps {
            now = now + ms(step);
            let expected = admits(&bucket, map.entry(key).or_default(), now, 1);
            prop_assert_eq!(decide(&keyed, key, now), (expected, Owner::Key));
        }
    }
}
