use std::cell::Cell;
use std::time::Duration;

use intertie_core::clock::Instant;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One endpoint as a test sees it: unusable, or a candidate.
type Endpoint = Option<Candidate>;

fn weighing(weight: u32) -> Candidate {
    Candidate { weight, in_flight: 0, latency_nanos: 0.0 }
}

fn candidates() -> impl Strategy<Value = Candidate> {
    // Few distinct values, so that equals are common.
    let latency = prop_oneof![Just(0.0), (1_u32..5).prop_map(|ms| f64::from(ms) * 1e6)];
    (1_u32..5, 0_u32..6, latency).prop_map(|(weight, in_flight, latency_nanos)| Candidate {
        weight,
        in_flight,
        latency_nanos,
    })
}

fn endpoints(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Endpoint>> {
    vec(proptest::option::weighted(0.7, candidates()), count)
}

/// The same endpoints again and again, with another subset of them usable in each round.
fn rounds() -> impl Strategy<Value = Vec<Vec<Endpoint>>> {
    vec(candidates(), 0..7).prop_flat_map(|all| {
        vec(vec(proptest::bool::weighted(0.7), all.len()), 0..60).prop_map(move |rounds| {
            rounds
                .iter()
                .map(|usable| all.iter().zip(usable).map(|(it, usable)| usable.then_some(*it)).collect())
                .collect()
        })
    })
}

fn pick(balancer: &mut Balancer, random: u64, endpoints: &[Endpoint]) -> Option<usize> {
    balancer.pick(random, |i| endpoints[i])
}

/// How often each endpoint is picked in `picks` rounds.
fn counts(balancer: &mut Balancer, endpoints: &[Endpoint], picks: usize) -> Vec<usize> {
    let mut counts = vec![0; endpoints.len()];
    for random in 0..picks {
        if let Some(i) = pick(balancer, random as u64, endpoints) {
            counts[i] += 1;
        }
    }
    counts
}

fn load(it: &Candidate) -> f64 {
    it.latency_nanos * f64::from(it.in_flight + 1) / f64::from(it.weight)
}

const ALL: [Balance; 4] =
    [Balance::RoundRobin, Balance::WeightedRoundRobin, Balance::LeastRequests, Balance::P2cEwma];

#[test]
fn names_in_files_are_the_fields_standard_terms() {
    let names: Vec<_> = ALL.iter().map(|it| serde_json::to_string(it).expect("serializes")).collect();
    assert_eq!(
        names,
        [r#""round_robin""#, r#""weighted_round_robin""#, r#""least_requests""#, r#""p2c_ewma""#]
    );
    assert_eq!(Balance::default(), Balance::RoundRobin);
    assert!(serde_json::from_str::<Balance>(r#""weighted""#).is_err());
}

#[test]
fn weights_without_effect_are_refused_with_the_way_out() {
    let weights = |weights: &[u32]| -> Vec<_> {
        weights.iter().map(|weight| NonZeroU32::new(*weight).expect("not zero")).collect()
    };
    let refusal = Balance::RoundRobin.validate(&weights(&[9, 1, 3])).expect_err("weights differ");
    assert_eq!(refusal.field, "balance");
    for part in ["`weighted_round_robin`", "from 1 to 9"] {
        assert!(refusal.problem.contains(part), "{refusal}");
    }
    for equal in [&[][..], &[1], &[3, 3]] {
        assert_eq!(Balance::RoundRobin.validate(&weights(equal)), Ok(()), "{equal:?}");
    }
    for balance in &ALL[1..] {
        assert_eq!(balance.validate(&weights(&[9, 1])), Ok(()), "{balance:?}");
    }
}

#[test]
fn weighted_turns_are_spread_as_nginx_spreads_them() {
    let mut balancer = Balancer::new(Balance::WeightedRoundRobin, 3);
    let endpoints = [5, 1, 1].map(|weight| Some(weighing(weight)));
    let picks: Vec<_> = (0..7).filter_map(|_| pick(&mut balancer, 0, &endpoints)).collect();
    assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn idle_endpoints_share_by_weight_under_least_requests() {
    let mut balancer = Balancer::new(Balance::LeastRequests, 3);
    assert_eq!(counts(&mut balancer, &[Some(weighing(1)); 3], 300), [100; 3]);
    let mut balancer = Balancer::new(Balance::LeastRequests, 2);
    assert_eq!(counts(&mut balancer, &[Some(weighing(9)), Some(weighing(1))], 100), [90, 10]);
}

#[test]
fn a_weight_of_zero_counts_as_one() {
    let zero = [Some(weighing(0)), Some(weighing(1))];
    for balance in [Balance::WeightedRoundRobin, Balance::LeastRequests] {
        assert_eq!(counts(&mut Balancer::new(balance, 2), &zero, 10), [5, 5], "{balance:?}");
    }
    let busy = |weight, in_flight| Some(Candidate { in_flight, ..weighing(weight) });
    for balance in [Balance::LeastRequests, Balance::P2cEwma] {
        for (endpoints, expected) in [([busy(0, 2), busy(1, 1)], 1), ([busy(1, 2), busy(0, 1)], 1)] {
            assert_eq!(pick(&mut Balancer::new(balance, 2), 0, &endpoints), Some(expected), "{balance:?}");
            let swapped = [endpoints[1], endpoints[0]];
            assert_eq!(pick(&mut Balancer::new(balance, 2), 0, &swapped), Some(1 - expected), "{balance:?}");
        }
    }
}

#[test]
fn least_requests_survives_counters_that_move_during_a_pick() {
    let asked = Cell::new(0);
    let busier_each_time = |_| {
        asked.set(asked.get() + 1);
        Some(Candidate { in_flight: if asked.get() <= 2 { 0 } else { asked.get() }, ..weighing(1) })
    };
    assert_eq!(Balancer::new(Balance::LeastRequests, 2).pick(0, busier_each_time), Some(0));
}

#[test]
fn two_choices_ask_about_two_of_many_endpoints() {
    for random in 0..1_000 {
        let asked = Cell::new(0);
        let picked = Balancer::new(Balance::P2cEwma, 5_000).pick(random, |_| {
            asked.set(asked.get() + 1);
            Some(weighing(1))
        });
        assert!(picked.is_some());
        assert_eq!(asked.get(), 2);
    }
}

#[test]
fn two_choices_reach_equal_endpoints_equally_often() {
    let check = |endpoints: &[Endpoint], expected: usize| {
        let usable = endpoints.iter().flatten().count();
        let counts =
            counts(&mut Balancer::new(Balance::P2cEwma, endpoints.len()), endpoints, usable * expected);
        for (i, count) in counts.iter().enumerate().filter(|(i, _)| endpoints[*i].is_some()) {
            assert!(
                count.abs_diff(expected) < expected / 5,
                "{count} picks of endpoint {i}, expected {expected}"
            );
        }
    };
    check(&[Some(weighing(1)); 2], 1_000);
    check(&[Some(weighing(1)); 20], 1_000);
    // So few can be used that drawing does not find two of them.
    let mut sparse = [None; 1_000];
    for i in [3, 4, 500, 999] {
        sparse[i] = Some(weighing(1));
    }
    check(&sparse, 1_000);
    let mut pair = [None; 1_000];
    for i in [3, 4] {
        pair[i] = Some(weighing(1));
    }
    check(&pair, 1_000);
}

#[test]
fn an_endpoint_without_a_measurement_is_compared_by_requests_in_flight() {
    let new = |in_flight| Some(Candidate { in_flight, ..weighing(1) });
    let fast = |in_flight| Some(Candidate { in_flight, latency_nanos: 1e3, ..weighing(1) });
    let mut balancer = Balancer::new(Balance::P2cEwma, 2);
    for random in 0..100 {
        assert_eq!(pick(&mut balancer, random, &[new(3), fast(2)]), Some(1));
        assert_eq!(pick(&mut balancer, random, &[new(2), fast(3)]), Some(0));
    }
}

#[test]
fn latency_rises_at_once_and_is_forgotten_gradually() {
    let at = |secs| Instant::ORIGIN + Duration::from_secs(secs);
    let mut latency = PeakEwma::default();
    assert_eq!(latency.value(at(100)), 0.0);
    latency.observe(at(100), Duration::from_millis(800));
    assert_eq!(latency.value(at(100)), 8e8);
    assert_eq!((latency.value(at(110)) / 1e6).round(), 294.0);
    assert_eq!((latency.value(at(160)) / 1e6).round(), 2.0);
    latency.observe(at(100), Duration::from_millis(100));
    assert_eq!(latency.value(at(100)), 8e8, "no time passed, so nothing is forgotten");
    latency.observe(at(110), Duration::from_millis(100));
    assert_eq!((latency.value(at(110)) / 1e6).round(), 358.0, "0.368 x 800 + 0.632 x 100");
    latency.observe(at(105), Duration::from_millis(900));
    assert_eq!(latency.value(at(110)), 9e8, "a late peak counts, and time does not run backwards");
    let mut forgetful = PeakEwma::new(Duration::ZERO);
    forgetful.observe(at(1), Duration::from_secs(1));
    assert_eq!((forgetful.value(at(1)), forgetful.value(at(2))), (1e9, 0.0));
}

proptest! {
    #[test]
    fn a_pick_exists_exactly_when_an_endpoint_can_be_used(rounds in rounds(), random: u64) {
        for balance in ALL {
            let mut balancer = Balancer::new(balance, rounds.first().map_or(0, Vec::len));
            for endpoints in &rounds {
                let picked = pick(&mut balancer, random, endpoints);
                prop_assert_eq!(picked.is_some(), endpoints.iter().any(Option::is_some), "{:?}", balance);
                prop_assert!(picked.is_none_or(|i| endpoints[i].is_some()), "{:?} took an unusable one", balance);
            }
        }
    }

    #[test]
    fn round_robin_visits_usable_endpoints_evenly(
        endpoints in endpoints(1..12), before in 0_usize..20, picks in 0_usize..100,
    ) {
        let mut balancer = Balancer::new(Balance::RoundRobin, endpoints.len());
        let everyone = vec![Some(weighing(1)); endpoints.len()];
        counts(&mut balancer, &everyone, before);
        let counts = counts(&mut balancer, &endpoints, picks);
        let usable = || counts.iter().zip(&endpoints).filter(|(_, it)| it.is_some()).map(|(count, _)| *count);
        if let (Some(least), Some(most)) = (usable().min(), usable().max()) {
            prop_assert!(most - least <= 1, "{:?}", counts);
            prop_assert_eq!(usable().sum::<usize>(), picks);
        }
    }

    #[test]
    fn round_robin_goes_on_after_the_last_pick(rounds in rounds()) {
        let count = rounds.first().map_or(0, Vec::len);
        let mut balancer = Balancer::new(Balance::RoundRobin, count);
        let mut last = None;
        for endpoints in &rounds {
            // The model: walk from the place after the last pick, once around the list.
            let start = last.map_or(0, |last| last + 1);
            let expected = (start..start + count).map(|i| i % count).find(|i| endpoints[*i].is_some());
            prop_assert_eq!(pick(&mut balancer, 0, endpoints), expected);
            last = expected.or(last);
        }
    }

    #[test]
    fn weighted_shares_are_exact_over_each_cycle(endpoints in endpoints(1..8), offset in 0_usize..40) {
        let mut balancer = Balancer::new(Balance::WeightedRoundRobin, endpoints.len());
        let weights: Vec<_> = endpoints.iter().map(|it| it.map_or(0, |it| it.weight as usize)).collect();
        let cycle = weights.iter().sum();
        counts(&mut balancer, &endpoints, offset);
        for _ in 0..3 {
            prop_assert_eq!(&counts(&mut balancer, &endpoints, cycle), &weights);
        }
    }

    #[test]
    fn no_endpoint_is_a_whole_turn_ahead_of_its_weighted_share(weights in vec(1_u32..20, 1..8)) {
        let mut balancer = Balancer::new(Balance::WeightedRoundRobin, weights.len());
        let endpoints: Vec<_> = weights.iter().map(|weight| Some(weighing(*weight))).collect();
        let total: u32 = weights.iter().sum();
        let mut turns = vec![0; weights.len()];
        for picks in 1..=total {
            let picked = pick(&mut balancer, 0, &endpoints).expect("all can be used");
            turns[picked] += 1;
            prop_assert!((turns[picked] - 1) * total < picks * weights[picked]);
        }
    }

    #[test]
    fn weighted_turns_follow_from_the_whole_history(rounds in rounds()) {
        let mut balancer = Balancer::new(Balance::WeightedRoundRobin, rounds.first().map_or(0, Vec::len));
        let mut history: Vec<(&Vec<Endpoint>, usize)> = Vec::new();
        for endpoints in &rounds {
            // The model: what an endpoint was due in every round so far and in this one, less what its own
            // turns cost, a turn costing the weight of all who could have had it.
            let weight = |endpoints: &[Endpoint], i: usize| endpoints[i].map_or(0, |it| i64::from(it.weight));
            let credit = |i: usize| {
                let due: i64 = history.iter().map(|(past, _)| weight(past, i)).sum();
                let own = history.iter().filter(|(_, picked)| *picked == i);
                let spent: i64 = own.map(|(past, _)| (0..past.len()).map(|j| weight(past, j)).sum::<i64>()).sum();
                due + weight(endpoints, i) - spent
            };
            let usable = (0..endpoints.len()).filter(|i| endpoints[*i].is_some());
            let expected = usable.rev().max_by_key(|i| credit(*i));
            prop_assert_eq!(pick(&mut balancer, 0, endpoints), expected);
            history.extend(expected.map(|picked| (endpoints, picked)));
        }
    }

    #[test]
    fn least_requests_never_passes_over_a_freer_endpoint(rounds in vec(endpoints(6..7), 1..20)) {
        let mut balancer = Balancer::new(Balance::LeastRequests, 6);
        for endpoints in &rounds {
            let picked = pick(&mut balancer, 0, endpoints).and_then(|i| endpoints[i]);
            for other in endpoints.iter().flatten() {
                let picked = picked.expect("one can be used");
                prop_assert!(picked.in_flight * other.weight <= other.in_flight * picked.weight, "{:?}", endpoints);
            }
        }
    }

    #[test]
    fn two_choices_prefer_the_better_of_two(
        a in candidates(), b in candidates(), count in 2_usize..200, places: (prop::sample::Index, prop::sample::Index),
        random: u64,
    ) {
        let (i, j) = (places.0.index(count), places.1.index(count));
        prop_assume!(i != j && a.latency_nanos > 0.0 && b.latency_nanos > 0.0);
        let mut endpoints = vec![None; count];
        (endpoints[i], endpoints[j]) = (Some(a), Some(b));
        let picked = pick(&mut Balancer::new(Balance::P2cEwma, count), random, &endpoints);
        let picked = picked.and_then(|i| endpoints[i]).expect("two can be used");
        prop_assert!(load(&picked) <= load(&a).min(load(&b)) * (1.0 + 1e-12), "{:?} of {:?} and {:?}", picked, a, b);
    }

    #[test]
    fn two_choices_never_take_the_worst_of_many(
        others in vec(candidates(), 1..50), place: prop::sample::Index, random: u64,
    ) {
        let worst = Candidate { weight: 1, in_flight: 7, latency_nanos: 9e6 };
        let mut endpoints: Vec<_> = others.into_iter().map(Some).collect();
        let place = place.index(endpoints.len() + 1);
        endpoints.insert(place, Some(worst));
        prop_assert_ne!(pick(&mut Balancer::new(Balance::P2cEwma, endpoints.len()), random, &endpoints), Some(place));
    }

    #[test]
    fn two_choices_ask_a_bounded_number_of_times(usable in vec(proptest::bool::weighted(0.1), 0..300), random: u64) {
        let asked = Cell::new(0);
        Balancer::new(Balance::P2cEwma, usable.len()).pick(random, |i| {
            asked.set(asked.get() + 1);
            usable[i].then(|| weighing(1))
        });
        prop_assert!(asked.get() <= 16 + usable.len());
    }

    #[test]
    fn latency_stays_between_the_last_answer_and_the_peak(answers in vec((0_u64..20_000, 1_u64..5_000), 1..50)) {
        let mut latency = PeakEwma::default();
        let mut now = Instant::ORIGIN;
        let mut peak = 0.0_f64;
        for (after, took) in answers {
            now = now + Duration::from_millis(after);
            let before = latency.value(now);
            let took = Duration::from_millis(took);
            latency.observe(now, took);
            let (value, took) = (latency.value(now), took.as_nanos() as f64);
            peak = peak.max(took);
            prop_assert!(value >= took && value >= before * (1.0 - 1e-12), "{} after {} and {}", value, before, took);
            prop_assert!(value <= peak * (1.0 + 1e-12));
        }
    }
}
