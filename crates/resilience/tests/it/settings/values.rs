//! Settings and inputs, with those at the ends of their ranges often among them.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::{Class, Evidence};
use intertie_core::quantity::{DURATION_MAX, Rate, Ratio};
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn duration() -> BoxedStrategy<Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(DURATION_MAX),
        Just(Duration::MAX),
        Just(Duration::from_nanos(u64::MAX)),
        (1_u64..100_000).prop_map(Duration::from_millis),
        any::<u64>().prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_secs),
    ]
    .boxed()
}

/// Above zero, and seldom absurd, so that most settings made of it are valid.
pub(crate) fn sane_duration() -> BoxedStrategy<Duration> {
    prop_oneof![
        6 => (1_u64..100_000).prop_map(Duration::from_millis),
        1 => Just(DURATION_MAX),
        1 => duration(),
    ]
    .boxed()
}

pub(crate) fn ratio() -> BoxedStrategy<Ratio> {
    prop_oneof![
        Just(Ratio::ZERO),
        Just(Ratio::ONE),
        Just(Ratio::from_millionths(1)),
        (0_u32..=1_000_000).prop_map(Ratio::from_millionths),
    ]
    .boxed()
}

pub(crate) fn number() -> BoxedStrategy<NonZeroU32> {
    let ends = select(vec![1, 2, 3, 100, 65_535, 65_536, u32::MAX - 1, u32::MAX]);
    prop_oneof![ends, 1_u32..20, 1..=u32::MAX]
        .prop_map(|number| NonZeroU32::new(number).expect("not zero"))
        .boxed()
}

/// Zero included.
pub(crate) fn count() -> BoxedStrategy<u32> {
    prop_oneof![Just(0), Just(u32::MAX), 0_u32..20].boxed()
}

pub(crate) fn large_number() -> BoxedStrategy<NonZeroU64> {
    let ends = select(vec![1, 2, u64::from(u32::MAX), u64::MAX - 1, u64::MAX]);
    prop_oneof![ends, 1_u64..20, 1..=u64::MAX]
        .prop_map(|number| NonZeroU64::new(number).expect("not zero"))
        .boxed()
}

pub(crate) fn rate() -> BoxedStrategy<Rate> {
    let period = prop_oneof![Just(Duration::from_secs(1)), sane_duration(), duration()];
    (large_number(), period)
        .prop_filter_map("a rate", |(amount, period)| Rate::new(amount.get(), period).ok())
        .boxed()
}

/// Any instant, the ends of the clock's range among them, and often the one before: clocks of threads stand
/// still, and differ.
pub(crate) fn instants(count: usize) -> BoxedStrategy<Vec<Instant>> {
    let step = prop_oneof![
        3 => Just(0_i128),
        3 => 0_i128..10_000_000_000,
        1 => -1_000_000_000_i128..0,
        1 => any::<u64>().prop_map(i128::from),
    ];
    let begin = prop_oneof![Just(0), Just(u64::MAX), Just(u64::MAX - 1_000_000_000), any::<u64>()];
    (begin, prop::collection::vec(step, count))
        .prop_map(|(begin, steps)| {
            let walk = steps.into_iter().scan(i128::from(begin), |at, step| {
                *at = (*at + step).clamp(0, u64::MAX.into());
                u64::try_from(*at).ok()
            });
            walk.map(Instant::from_nanos).collect()
        })
        .boxed()
}

pub(crate) fn evidence() -> BoxedStrategy<Evidence> {
    select(vec![Evidence::Success, Evidence::Failure, Evidence::Failure, Evidence::None]).boxed()
}

pub(crate) fn class() -> BoxedStrategy<Class> {
    select(vec![
        Class::Success,
        Class::Permanent,
        Class::Throttled,
        Class::Unavailable,
        Class::Transient,
        Class::Unjudged,
    ])
    .boxed()
}
