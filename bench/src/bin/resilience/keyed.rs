//! A quota for each of a million random keys, each store in a process of its own: time per call, and memory.

use std::hint::black_box;
use std::num::NonZeroU32;

use anyhow::{Context as _, Result, bail, ensure};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::{DashMapStateStore, HashMapStateStore, KeyedStateStore};
use governor::{Quota, RateLimiter};
use intertie_bench::statistics::Samples;
use intertie_resilience::{MonotonicClock, RateLimiterConfig};

use crate::args::{Args, Effort};
use crate::child;
use crate::measure::{clock, cpu_time};
use crate::subject::Row;

/// What a child is told to measure.
pub const KIND: &str = "keyed";

const KEYS: u64 = 1_000_000;

pub const OURS: &str = "ours";
pub const GOVERNOR: &str = "governor, DashMap";
const GOVERNOR_HASHMAP: &str = "governor, HashMap";

/// One store, one sample for each process.
pub struct Keyed {
    pub name: &'static str,
    pub net: Samples,
    pub clock: Samples,
    pub bytes_per_key: Samples,
}

pub fn all(args: &Args) -> Result<Vec<Keyed>> {
    if !args.rows.contains(&Row::Keyed) {
        return Ok(Vec::new());
    }
    let keyed = |name| Keyed {
        name,
        net: Samples::default(),
        clock: Samples::default(),
        bytes_per_key: Samples::default(),
    };
    let mut all = [OURS, GOVERNOR, GOVERNOR_HASHMAP].map(keyed);
    for process in 0..args.processes {
        eprintln!("a million keys, process {}/{}", process + 1, args.processes);
        for keyed in &mut all {
            let [net, clock, bytes] = child::measure(KIND, keyed.name, args.effort)?;
            keyed.net.push(net);
            keyed.clock.push(clock);
            keyed.bytes_per_key.push(bytes);
        }
    }
    Ok(all.into())
}

/// The child's part: net nanoseconds per call, those of a reading of the clock, bytes per key.
pub fn measure(name: &str, effort: Effort) -> Result<Vec<f64>> {
    match name {
        OURS => {
            let keys_max = NonZeroU32::new(2 * KEYS as u32).context("some keys")?;
            let config = |limit: &str| -> Result<_> {
                Ok(RateLimiterConfig { keys_max, ..RateLimiterConfig::new(limit.parse()?) })
            };
            let limiter = |limit: &str| -> Result<_> {
                let made = intertie_resilience::RateLimiter::new(config(limit)?);
                made.map_err(|invalid| anyhow::anyhow!("{invalid:?}"))
            };
            let (wide, narrow) = (limiter("60/h")?, limiter("2/h")?);
            measure_store(
                effort,
                |key| wide.try_acquire(key, MonotonicClock::now(), 1).is_ok(),
                |key| narrow.try_acquire(key, MonotonicClock::now(), 1).is_ok(),
            )
        }
        GOVERNOR => measure_governor::<DashMapStateStore<u64>>(effort),
        GOVERNOR_HASHMAP => measure_governor::<HashMapStateStore<u64>>(effort),
        _ => bail!("there is no store {name:?}"),
    }
}

type Governor<S> = RateLimiter<u64, S, DefaultClock, NoOpMiddleware<<DefaultClock as Clock>::Instant>>;

fn measure_governor<S: KeyedStateStore<u64> + Default>(effort: Effort) -> Result<Vec<f64>> {
    let limiter = |quota| Governor::<S>::new(quota, S::default(), DefaultClock::default());
    let of = |amount| NonZeroU32::new(amount).context("an amount");
    let (wide, narrow) = (limiter(Quota::per_hour(of(60)?)), limiter(Quota::per_hour(of(2)?)));
    measure_store(effort, |key| wide.check_key(&key).is_ok(), |key| narrow.check_key(&key).is_ok())
}

/// `narrow` admits two calls of a key, `wide` all that come: some twelve of a key, where it would take sixty,
/// one a minute. A quota that filled up again at once would be no key to remember.
fn measure_store(
    effort: Effort,
    wide: impl Fn(u64) -> bool,
    narrow: impl Fn(u64) -> bool,
) -> Result<Vec<f64>> {
    let admitted = (0..1_000).flat_map(|_| [7, 8]).filter(|key| narrow(*key)).count();
    ensure!(admitted == 4, "2 an hour for each of two keys admitted {admitted}");

    let before = resident_bytes()?;
    ensure!((0..KEYS).all(|number| wide(random(number))), "a new key was refused");
    let bytes_per_key = resident_bytes()?.saturating_sub(before) as f64 / KEYS as f64;

    let (rounds, calls) = if effort == Effort::Quick { (3, 300_000) } else { (11, 1_000_000) };
    let (mut net, mut readings) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        let chosen = |call: u64| random(random(round * calls + call) % KEYS);
        let bare = nanos_per_call(calls, |call| chosen(call) != 1);
        net.push(nanos_per_call(calls, |call| wide(chosen(call))) - bare);
        let started = cpu_time();
        clock()(calls);
        readings.push((cpu_time() - started).as_nanos() as f64 / calls as f64);
    }
    Ok(vec![net.median(), readings.median(), bytes_per_key])
}

/// Of calls that must all be admitted.
fn nanos_per_call(calls: u64, admits: impl Fn(u64) -> bool) -> f64 {
    let started = cpu_time();
    let refused = (0..calls).filter(|call| !black_box(admits(black_box(*call)))).count();
    let nanos = (cpu_time() - started).as_nanos() as f64;
    assert_eq!(refused, 0, "a call within its quota was refused");
    nanos / calls as f64
}

/// SplitMix64: random keys without a table of them, which would take cache from the store.
fn random(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
    Ok(kibibytes.context("find VmRSS")?.trim().parse::<u64>()? * 1_024)
}
