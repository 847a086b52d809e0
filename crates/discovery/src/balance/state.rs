//! The algorithms behind [`Balancer`](super::Balancer).

use std::cmp::Ordering;

use super::Candidate;

/// How often `two_choices` draws before it looks at every endpoint. With half of the endpoints usable, one
/// pick in 3,855 needs that.
const PROBES: u32 = 16;

/// Turns in the order of the list. The place after the last pick comes next, whoever was skipped, so that the
/// neighbour of an unusable endpoint does not inherit its share.
#[derive(Debug, Clone, Default)]
pub(super) struct RoundRobin {
    next: usize,
}

impl RoundRobin {
    pub(super) fn pick(&mut self, count: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let picked = (self.next..count).chain(0..self.next.min(count)).find(|i| usable(*i))?;
        self.next = picked + 1;
        Some(picked)
    }
}

/// Turns by weight. Each pick credits every usable endpoint with its weight, takes the one with the most
/// credit, and charges it what all were credited, so credits always add up to zero.
#[derive(Debug, Clone)]
pub(super) struct SmoothWeighted {
    credits: Vec<i64>,
}

impl SmoothWeighted {
    pub(super) fn new(count: usize) -> Self {
        Self { credits: vec![0; count] }
    }

    pub(super) fn pick(&mut self, weight: impl Fn(usize) -> Option<u32>) -> Option<usize> {
        let mut total = 0;
        let mut richest: Option<(usize, i64)> = None;
        for (i, credit) in self.credits.iter_mut().enumerate() {
            let Some(weight) = weight(i) else { continue };
            let weight = i64::from(weight.max(1));
            *credit += weight;
            total += weight;
            if richest.is_none_or(|(_, most)| *credit > most) {
                richest = Some((i, *credit));
            }
        }
        let (picked, _) = richest?;
        self.credits[picked] -= total;
        Some(picked)
    }
}

/// The fewest requests in flight per weight; equals take turns by weight.
#[derive(Debug, Clone)]
pub(super) struct LeastRequests {
    turns: SmoothWeighted,
}

impl LeastRequests {
    pub(super) fn new(count: usize) -> Self {
        Self { turns: SmoothWeighted::new(count) }
    }

    pub(super) fn pick(&mut self, candidate: impl Fn(usize) -> Option<Candidate>) -> Option<usize> {
        let mut least: Option<(usize, Candidate)> = None;
        let mut has_equal = false;
        for i in 0..self.turns.credits.len() {
            let Some(it) = candidate(i) else { continue };
            match least.map_or(Ordering::Less, |(_, least)| it.requests_per_weight_cmp(&least)) {
                Ordering::Less => (least, has_equal) = (Some((i, it)), false),
                Ordering::Equal => has_equal = true,
                Ordering::Greater => {}
            }
        }
        let (first, least) = least?;
        if !has_equal {
            return Some(first);
        }
        // Counters move, and every equal may have become busier by now; then the first is as good as any.
        let equal = |it: &Candidate| it.requests_per_weight_cmp(&least).is_le();
        self.turns.pick(|i| candidate(i).filter(equal).map(|it| it.weight)).or(Some(first))
    }
}

/// The less loaded of two usable endpoints that are drawn at random, the only one if there is but one.
///
/// Draws [`PROBES`] times at most. Where so few endpoints can be used that this does not find two, one pass
/// over all of them draws two by reservoir sampling; so the pair is uniformly random either way.
pub(super) fn two_choices(
    count: usize,
    random: u64,
    candidate: impl Fn(usize) -> Option<Candidate>,
) -> Option<usize> {
    if count < 2 {
        return (0..count).find(|i| candidate(*i).is_some());
    }
    let mut draws = SplitMix(random);
    let mut first = None;
    for _ in 0..PROBES {
        match first {
            None => {
                let i = draws.below(count);
                first = candidate(i).map(|it| (i, it));
            }
            Some(first) => {
                let other = draws.below(count - 1);
                let i = if other < first.0 { other } else { other + 1 };
                if let Some(it) = candidate(i) {
                    return Some(less_loaded(first, (i, it)));
                }
            }
        }
    }

    let mut pair = [None, None];
    let mut usable = 0;
    for i in 0..count {
        let Some(it) = candidate(i) else { continue };
        usable += 1;
        let place = if usable <= pair.len() { usable - 1 } else { draws.below(usable) };
        if let Some(place) = pair.get_mut(place) {
            *place = Some((i, it));
        }
    }
    // Equals must not always fall to the one that stands first in the list.
    if draws.below(2) == 1 {
        pair.reverse();
    }
    match pair {
        [Some(one), Some(other)] => Some(less_loaded(one, other)),
        [one, other] => one.or(other).map(|(i, _)| i),
    }
}

fn less_loaded(one: (usize, Candidate), other: (usize, Candidate)) -> usize {
    if other.1.is_less_loaded_than(&one.1) { other.0 } else { one.0 }
}

impl Candidate {
    fn requests_per_weight_cmp(&self, other: &Self) -> Ordering {
        let cross = |a: u32, b: u32| u64::from(a) * u64::from(b.max(1));
        cross(self.in_flight, other.weight).cmp(&cross(other.in_flight, self.weight))
    }

    /// Without a measurement of both, the two count as equally fast: a new endpoint is neither shunned nor
    /// flooded before its first answer.
    fn is_less_loaded_than(&self, other: &Self) -> bool {
        let measured = self.latency_nanos > 0.0 && other.latency_nanos > 0.0;
        let load = |a: &Self, b: &Self| {
            let latency = if measured { a.latency_nanos } else { 1.0 };
            latency * (f64::from(a.in_flight) + 1.0) * f64::from(b.weight.max(1))
        };
        load(self, other) < load(other, self)
    }
}

/// Many random numbers from one: Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, 2014.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, by multiplication and shift. Its bias is `end` in 2⁶⁴.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}
