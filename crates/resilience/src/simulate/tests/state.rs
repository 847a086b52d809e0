//! The dependency against a model that looks at each millisecond and knows no shortcuts.

use std::collections::BTreeMap;

use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::simulate::Reason;
use crate::simulate::outcome::Failure;
use crate::simulate::state::Dependency;

/// What is told: when, to which call, and what.
type Told = (u64, usize, Result<(), Reason>);

#[derive(Debug, Clone)]
struct Case {
    config: SimulationConfig,
    /// The millisecond of each call, in order.
    arrivals: Vec<u64>,
    /// The calls whose callers go, and when.
    departures: BTreeMap<usize, u64>,
}

/// Long enough for everything to end.
const END: u64 = 4_000;

fn event_driven(case: &Case) -> Vec<Told> {
    let mut dependency = Dependency::new(&case.config, Rng::with_seed(5));
    let mut told = Vec::new();
    let mut now = 0;
    loop {
        for (number, answer) in dependency.advance(millis(now)) {
            told.push((now, number, answer.map_err(|failure| failure.reason)));
        }
        for (number, _) in case.departures.iter().filter(|(_, at)| **at == now) {
            dependency.leave(millis(now), *number);
        }
        for number in positions(&case.arrivals, now) {
            if let Err(failure) = dependency.arrive(millis(now), number) {
                told.push((now, number, Err(failure.reason)));
            }
        }
        let due = dependency.next(millis(now)).map(|next| next.as_millis() as u64);
        let outside = case.arrivals.iter().chain(case.departures.values()).copied();
        match outside.chain(due).filter(|at| *at > now).min() {
            Some(next) => now = next,
            None => return told,
        }
    }
}

fn positions(arrivals: &[u64], now: u64) -> Vec<usize> {
    arrivals.iter().enumerate().filter(|(_, at)| **at == now).map(|(number, _)| number).collect()
}

#[derive(Debug, Clone, Copy)]
struct Job {
    number: usize,
    left: u64,
    luck: f64,
    fails: bool,
}

fn every_millisecond(case: &Case) -> Vec<Told> {
    let config = &case.config;
    let mut random = Rng::with_seed(5);
    let (mut running, mut waiting) = (Vec::<Job>::new(), Vec::<Job>::new());
    let mut told = Vec::new();
    for now in 0..END {
        let faults = |at: u64| {
            config.faults.iter().filter(move |fault| fault.at <= millis(at) && millis(at) < fault.ends())
        };
        let has = |at: u64, effect: Effect| faults(at).any(|fault| fault.effect == effect);
        if now > 0 && !has(now - 1, Effect::Hang) {
            running.iter_mut().for_each(|job| job.left -= 1);
        }
        let mut done: Vec<Job> = running.extract_if(.., |job| job.left == 0).collect();
        done.sort_by_key(|job| job.number);
        told.extend(
            done.iter().map(|job| (now, job.number, if job.fails { Err(Reason::Failed) } else { Ok(()) })),
        );
        let refuses = has(now, Effect::Refuse);
        if refuses {
            // In the order in which they would have been done, then in that of the queue.
            running.sort_by_key(|job| (job.left, job.number));
            let lost = running.drain(..).chain(waiting.drain(..));
            told.extend(lost.map(|job| (now, job.number, Err(Reason::Refused))));
        }
        let mut capacity = config.capacity.get();
        let (mut slow, mut fail) = (1, config.error_rate);
        let mut throttled = false;
        for fault in faults(now) {
            match fault.effect {
                Effect::Capacity(servers) => capacity = capacity.min(servers.get()),
                Effect::Slow(times) => slow *= u64::from(times.get()),
                Effect::Fail(share) => fail = fail.max(share),
                Effect::Throttle(_) => throttled = true,
                Effect::Hang | Effect::Refuse => {}
            }
        }
        let start = |job: Job| Job { left: job.left * slow, fails: job.luck < fail.as_f64(), ..job };
        let serve = |running: &mut Vec<Job>, waiting: &mut Vec<Job>| {
            while running.len() < capacity as usize && !waiting.is_empty() {
                running.push(start(waiting.remove(0)));
            }
        };
        serve(&mut running, &mut waiting);
        if config.abandons_cancelled {
            let stays = |job: &Job| case.departures.get(&job.number) != Some(&now);
            running.retain(stays);
            waiting.retain(stays);
            serve(&mut running, &mut waiting);
        }
        for number in positions(&case.arrivals, now) {
            let left = config.latency.draw(&mut random).as_millis() as u64;
            let job = Job { number, left, luck: random.f64(), fails: false };
            if refuses {
                told.push((now, number, Err(Reason::Refused)));
            } else if throttled {
                told.push((now, number, Err(Reason::Throttled)));
            } else if running.len() < capacity as usize {
                running.push(start(job));
            } else if waiting.len() < config.queue as usize {
                waiting.push(job);
            } else {
                told.push((now, number, Err(Reason::Overloaded)));
            }
        }
    }
    assert!(running.is_empty() && waiting.is_empty(), "END is late enough");
    told
}

fn effects() -> impl Strategy<Value = Effect> {
    prop_oneof![
        Just(Effect::Refuse),
        Just(Effect::Hang),
        (1..100_u32).prop_map(|percent| Effect::Fail(Ratio::from_percent(percent))),
        (2..4_u32).prop_map(|times| Effect::Slow(number(times))),
        (1..3_u32).prop_map(|servers| Effect::Capacity(number(servers))),
        Just(Effect::Throttle(millis(1))),
    ]
}

prop_compose! {
    fn cases()(
        capacity in 1..4_u32,
        queue in 0..4_u32,
        errors in 0..50_u32,
        abandons_cancelled in any::<bool>(),
        faults in prop::collection::vec((0..300_u64, 1..80_u64, effects()), 0..4),
        mut arrivals in prop::collection::vec(0..300_u64, 1..60),
        departures in prop::collection::btree_map(0..60_usize, 1..40_u64, 0..20),
    ) -> Case {
        arrivals.sort_unstable();
        let mut config = config("1/s", millis(1), capacity);
        config.latency = Latency::Uniform(crate::simulate::Uniform { from: millis(1), to: millis(20) });
        config.queue = queue;
        config.error_rate = Ratio::from_percent(errors);
        config.abandons_cancelled = abandons_cancelled;
        config.faults = faults
            .into_iter()
            .map(|(at, lasts, effect)| FaultConfig { at: millis(at), lasts: millis(lasts), effect })
            .collect();
        // A caller goes after it came.
        let departures = departures
            .into_iter()
            .filter_map(|(number, after)| Some((number, arrivals.get(number)? + after)))
            .collect();
        Case { config, arrivals, departures }
    }
}

proptest! {
    #[test]
    fn it_does_what_a_look_at_each_millisecond_would_see(case in cases()) {
        prop_assert_eq!(event_driven(&case), every_millisecond(&case));
    }
}

#[test]
fn every_failure_means_to_policies_what_its_status_would() {
    use intertie_core::failure::Class;
    use intertie_core::rejection::Policy;
    for (reason, class) in [
        (Reason::Refused, Class::Transient),
        (Reason::Overloaded, Class::Unavailable),
        (Reason::Throttled, Class::Throttled),
        (Reason::Failed, Class::Transient),
        (Reason::AttemptTimeout, Class::Transient),
        (Reason::Deadline, Class::Transient),
        (Reason::Rejected(Policy::RateLimiter), Class::Throttled),
        (Reason::Rejected(Policy::CircuitBreaker), Class::Unavailable),
        (Reason::Rejected(Policy::Bulkhead), Class::Unavailable),
    ] {
        assert_eq!(Failure::new(reason, None).class, class, "{reason}");
    }
}
