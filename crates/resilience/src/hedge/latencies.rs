use std::time::Duration;

use intertie_core::clock::{Instant, nanos};

use super::quantile::Quantile;

/// The latencies of late, for their quantiles: no clock, no lock, and always the same memory, 3.7 KiB.
///
/// They are counted in whole microseconds, rounded up, in buckets that are at most a sixteenth of their
/// smallest value wide. So a quantile is never too short, and too long by a sixteenth and a microsecond at
/// most: 100 ms may be told as 106.2 ms. Latencies above 71 minutes count as that.
///
/// There are two halves, each for half of the window. When one is full of time, the other is emptied and
/// takes its place, so that the quantile looks back over half of the window at least and all of it at most.
///
/// The buckets are those of Gil Tene's HdrHistogram.
#[derive(Debug)]
pub struct Latencies {
    half_nanos: u64,
    /// The number of the present half since the clock's origin.
    present: u64,
    halves: [Histogram; 2],
}

#[derive(Debug)]
struct Histogram {
    buckets: [u32; BUCKETS],
    total: u64,
}

/// Each power of two is divided into 2^4 buckets.
const PRECISION: u32 = 4;
const DIVISIONS: u64 = 1 << PRECISION;

/// From 0 to 2^32 µs: the values below 2^4 have a bucket each, then come 28 powers of two.
const BUCKETS: usize = ((32 - PRECISION + 1) as usize) << PRECISION;

impl Latencies {
    /// None yet.
    pub fn new(window: Duration) -> Self {
        let empty = || Histogram { buckets: [0; BUCKETS], total: 0 };
        Self { half_nanos: (nanos(window) / 2).max(1), present: 0, halves: [empty(), empty()] }
    }

    /// A call that succeeded now, or that was overtaken, took so long.
    pub fn record(&mut self, now: Instant, latency: Duration) {
        self.turn_to(now);
        let micros = u32::try_from(nanos(latency).div_ceil(1_000)).unwrap_or(u32::MAX);
        let half = &mut self.halves[(self.present % 2) as usize];
        let bucket = &mut half.buckets[bucket(micros)];
        *bucket = bucket.saturating_add(1);
        half.total += 1;
    }

    /// How many latencies are remembered.
    pub fn samples(&mut self, now: Instant) -> u64 {
        self.turn_to(now);
        self.halves[0].total + self.halves[1].total
    }

    /// The latency that `quantile` of the remembered ones did not exceed; `None` when there are none.
    pub fn quantile(&mut self, now: Instant, quantile: Quantile) -> Option<Duration> {
        let samples = self.samples(now);
        let mut left = quantile.rank(samples).checked_sub(1)?;
        let [one, other] = &self.halves;
        for (index, (one, other)) in one.buckets.iter().zip(&other.buckets).enumerate() {
            let here = u64::from(*one) + u64::from(*other);
            match left.checked_sub(here) {
                Some(rest) => left = rest,
                None => return Some(Duration::from_micros(longest(index))),
            }
        }
        None
    }

    /// Empties what is older than the window. A reading from before the present half, as two threads may
    /// bring them, leaves the halves where they are.
    fn turn_to(&mut self, now: Instant) {
        let present = now.as_nanos() / self.half_nanos;
        let passed = present.saturating_sub(self.present);
        for step in 1..=passed.min(2) {
            let half = &mut self.halves[((self.present + step) % 2) as usize];
            half.buckets.fill(0);
            half.total = 0;
        }
        self.present = self.present.max(present);
    }
}

fn bucket(micros: u32) -> usize {
    let shift = micros.checked_ilog2().unwrap_or(0).saturating_sub(PRECISION);
    let within = micros >> shift;
    (shift << PRECISION) as usize + within as usize
}

/// The largest value of a bucket, in microseconds.
fn longest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / DIVISIONS).saturating_sub(1);
    let within = bucket - shift * DIVISIONS;
    ((within + 1) << shift) - 1
}
