//! The whole machine against a log of everything that happened.

use proptest::prelude::*;

use super::*;

/// The same machine written as a log of everything that happened.
struct Model {
    config: CircuitBreakerConfig,
    outcomes: Vec<(u64, bool)>,
    open_until: Option<u64>,
    probes: Option<(Vec<usize>, u32, u64)>,
}

const TENTH: u64 = 1_000_000;

impl Model {
    fn phase(&self) -> Phase {
        match (&self.open_until, &self.probes) {
            (Some(_), _) => Phase::Open,
            (None, Some(_)) => Phase::HalfOpen,
            (None, None) => Phase::Closed,
        }
    }

    fn trips(&self, now: u64) -> bool {
        let alive: Vec<bool> = match self.config.window {
            Window::Time(_) => self
                .outcomes
                .iter()
                .filter(|(at, _)| at / TENTH + 10 > now / TENTH)
                .map(|(_, f)| *f)
                .collect(),
            Window::Calls(calls) => {
                let skip = self.outcomes.len().saturating_sub(calls.get() as usize);
                self.outcomes.iter().skip(skip).map(|(_, f)| *f).collect()
            }
        };
        let failures = alive.iter().filter(|failed| **failed).count();
        let in_a_row = self.outcomes.iter().rev().take_while(|(_, failed)| *failed).count();
        let volume = alive.len() >= self.config.minimum_calls as usize;
        let reached = |limit: Option<NonZeroU32>, count: usize| {
            limit.is_some_and(|limit| count >= limit.get() as usize)
        };
        let rate = self
            .config
            .failure_rate
            .is_some_and(|rate| failures as f64 >= rate.as_f64() * alive.len() as f64);
        reached(self.config.consecutive_failures, in_a_row)
            || volume && failures > 0 && (reached(self.config.failures, failures) || rate)
    }
}

proptest! {
    /// Random calls that overlap in time, resolve in any order or never, against the log.
    #[test]
    fn the_machine_equals_its_log(
        by_count in any::<bool>(),
        failures in prop::option::of(1_u32..6),
        rate in prop::option::of(1_u32..=100),
        consecutive in prop::option::of(1_u32..5),
        minimum_calls in 0_u32..8,
        steps in prop::collection::vec((0_u64..4 * TENTH, 0_usize..8, 0_u8..10), 1..300),
    ) {
        let window = if by_count {
            Window::Calls(NonZeroU32::new(8).expect("not zero"))
        } else {
            Window::Time(Duration::from_nanos(TENTH * 10))
        };
        let config = CircuitBreakerConfig {
            window,
            failures: failures.and_then(NonZeroU32::new),
            failure_rate: rate.map(Ratio::from_percent),
            consecutive_failures: consecutive.and_then(NonZeroU32::new),
            minimum_calls,
            open: Duration::from_nanos(20 * TENTH),
            probe_age_max: Duration::from_nanos(30 * TENTH),
            ..CircuitBreakerConfig::standard()
        };
        prop_assume!(config.validate().is_ok());
        let subject = Subject::new(config.clone());
        let mut model = Model { config, outcomes: Vec::new(), open_until: None, probes: None };
        let mut era = 0_usize;
        // Calls in flight: the permit, and the model's (era, call number).
        let mut in_flight: Vec<(Permit<'_>, usize, usize)> = Vec::new();
        let mut now = 100 * TENTH;
        for (number, (step, choice, what)) in steps.into_iter().enumerate() {
            now += step;
            let instant = Instant::from_nanos(now);
            if what < 4 || in_flight.is_empty() {
                let would = subject.breaker.would_admit(instant);
                let admitted = subject.admit(instant);
                prop_assert_eq!(would, admitted.is_ok());
                let expected = match (model.open_until, &mut model.probes) {
                    (Some(until), _) if now < until => false,
                    (Some(_), probes) => {
                        *probes = Some((vec![number], 0, now));
                        model.open_until = None;
                        era += 1;
                        true
                    }
                    (None, Some((places, _, last))) if places.len() < 3 => {
                        places.push(number);
                        *last = now;
                        true
                    }
                    (None, Some((places, _, last))) if now - *last >= 30 * TENTH => {
                        *places = vec![number];
                        *last = now;
                        true
                    }
                    (None, Some(_)) => false,
                    (None, None) => true,
                };
                prop_assert_eq!(admitted.is_ok(), expected);
                if let Ok(permit) = admitted {
                    in_flight.push((permit, era, number));
                }
            } else {
                let (permit, call_era, call) = in_flight.swap_remove(choice % in_flight.len());
                let evidence = match what {
                    4..=6 => Evidence::Failure,
                    7..=8 => Evidence::Success,
                    _ => Evidence::None,
                };
                permit.record(instant, evidence);
                if call_era == era {
                    match (&mut model.probes, evidence) {
                        (Some(_), Evidence::Failure) => {
                            model.probes = None;
                            model.open_until = Some(now + 20 * TENTH);
                            era += 1;
                        }
                        (Some((places, successes, _)), evidence) => {
                            places.retain(|place| *place != call);
                            *successes += u32::from(evidence == Evidence::Success);
                            if *successes == 3 {
                                model.probes = None;
                                model.outcomes.clear();
                                era += 1;
                            }
                        }
                        (None, Evidence::None) => {}
                        (None, evidence) => {
                            model.outcomes.push((now, evidence == Evidence::Failure));
                            if evidence == Evidence::Failure && model.trips(now) {
                                model.open_until = Some(now + 20 * TENTH);
                                era += 1;
                            }
                        }
                    }
                }
            }
            prop_assert_eq!(subject.phase(), model.phase());
        }
        // What is left in flight would be given back on another clock.
        for (permit, ..) in in_flight {
            permit.record(Instant::from_nanos(now), Evidence::None);
        }
    }
}
