//! The state machine: no clock, no lock, no await.

use std::collections::VecDeque;

use intertie_core::clock::Instant;
use intertie_core::failure::Evidence;
use intertie_core::rejection::{Policy, Rejection};

use super::config::{CircuitBreakerConfig, Window};
use crate::window::{Counts, TimeWindow};

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Calls pass, outcomes are watched.
    Closed,
    /// Calls are rejected.
    Open,
    /// A few probes pass.
    HalfOpen,
}

impl Phase {
    /// The name in metrics, logs and health answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A change of phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The phase that ended.
    pub from: Phase,
    /// The phase that began.
    pub to: Phase,
    /// Why.
    pub cause: Cause,
}

/// Why a breaker changed its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The window holds as many failures as `failures` allows.
    Failures,
    /// The window's share of failures reached `failure_rate`.
    FailureRate,
    /// As many failures in a row as `consecutive_failures` allows.
    ConsecutiveFailures,
    /// The time in open is over.
    OpenElapsed,
    /// A probe failed.
    ProbeFailed,
    /// Enough probes succeeded in a row.
    ProbesSucceeded,
}

impl Cause {
    /// The name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::FailureRate => "failure_rate",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::OpenElapsed => "open_elapsed",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesSucceeded => "probes_succeeded",
        }
    }
}

/// What an admitted call must hand back with its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The period between two transitions in which the call was admitted.
    pub epoch: u32,
    /// Whether it is a probe of a half-open breaker, whose outcome others wait for.
    pub probe: bool,
}

/// One breaker.
#[derive(Debug)]
pub struct State {
    config: CircuitBreakerConfig,
    stage: Stage,
    epoch: u32,
}

#[derive(Debug)]
enum Stage {
    Closed { outcomes: Outcomes, consecutive_failures: u32 },
    Open { until: Instant },
    HalfOpen { probes: u32, successes: u32, last_probe: Instant },
}

impl State {
    /// A closed breaker with an empty window.
    pub fn new(config: CircuitBreakerConfig) -> Self {
        let stage = Stage::closed(&config);
        Self { config, stage, epoch: 0 }
    }

    /// The present phase. An open breaker whose time is over is still open until the next call asks.
    pub fn phase(&self) -> Phase {
        match self.stage {
            Stage::Closed { .. } => Phase::Closed,
            Stage::Open { .. } => Phase::Open,
            Stage::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// The options in force.
    pub fn config(&self) -> &CircuitBreakerConfig {
        &self.config
    }

    /// Whether [`State::admit`] would let a call through now. Changes nothing, takes no place.
    pub fn would_admit(&self, now: Instant) -> bool {
        self.rejection(now).is_none()
    }

    /// The rejection that a call would get now, with the time until probes are let through.
    pub fn rejection(&self, now: Instant) -> Option<Rejection> {
        match &self.stage {
            Stage::Open { until } if now < *until => {
                let wait = Some(until.saturating_since(now));
                Some(Rejection { by: Policy::CircuitBreaker, bound: "open", retry_after: wait })
            }
            Stage::HalfOpen { probes, last_probe, .. }
                if *probes >= self.config.successes_to_close.get() && !self.is_stale(now, *last_probe) =>
            {
                // The probes under way decide, and nobody knows when.
                Some(Rejection { by: Policy::CircuitBreaker, bound: "successes_to_close", retry_after: None })
            }
            _ => None,
        }
    }

    /// Lets a call through or says when to come back. An open breaker whose time is over turns half-open
    /// here, and the asking call is its first probe.
    ///
    /// # Errors
    /// A [`Rejection`] with the time until probes are let through.
    pub fn admit(&mut self, now: Instant) -> Result<(Admission, Option<Transition>), Rejection> {
        if let Some(rejection) = self.rejection(now) {
            return Err(rejection);
        }
        let places = self.config.successes_to_close.get();
        let transition = match &mut self.stage {
            Stage::Closed { .. } => None,
            Stage::Open { .. } => {
                let stage = Stage::HalfOpen { probes: 1, successes: 0, last_probe: now };
                Some(self.turn(stage, Cause::OpenElapsed))
            }
            Stage::HalfOpen { probes, last_probe, .. } if *probes < places => {
                *probes += 1;
                *last_probe = now;
                None
            }
            Stage::HalfOpen { .. } => {
                // The probes are lost: start over, and let their outcomes count for nothing.
                self.epoch = self.epoch.wrapping_add(1);
                self.stage = Stage::HalfOpen { probes: 1, successes: 0, last_probe: now };
                None
            }
        };
        let probe = self.phase() == Phase::HalfOpen;
        Ok((Admission { epoch: self.epoch, probe }, transition))
    }

    /// Counts an admitted call's outcome, unless the phase that admitted it is over.
    pub fn record(&mut self, now: Instant, admission: Admission, evidence: Evidence) -> Option<Transition> {
        if admission.epoch != self.epoch {
            return None;
        }
        match (&mut self.stage, evidence) {
            (Stage::Closed { outcomes, consecutive_failures }, Evidence::Success) => {
                *consecutive_failures = 0;
                outcomes.add(now, false);
                // A success can complete the minimum volume, or bring old failures to their share of it.
                let cause = verdict(&self.config, outcomes, 0, now)?;
                Some(self.open(now, cause))
            }
            (Stage::Closed { outcomes, consecutive_failures }, Evidence::Failure) => {
                *consecutive_failures = consecutive_failures.saturating_add(1);
                outcomes.add(now, true);
                let cause = verdict(&self.config, outcomes, *consecutive_failures, now)?;
                Some(self.open(now, cause))
            }
            (Stage::HalfOpen { .. }, Evidence::Failure) => Some(self.open(now, Cause::ProbeFailed)),
            (Stage::HalfOpen { probes, successes, .. }, Evidence::Success) => {
                *probes = probes.saturating_sub(1);
                *successes += 1;
                if *successes < self.config.successes_to_close.get() {
                    return None;
                }
                let stage = Stage::closed(&self.config);
                Some(self.turn(stage, Cause::ProbesSucceeded))
            }
            (Stage::HalfOpen { probes, .. }, Evidence::None) => {
                *probes = probes.saturating_sub(1);
                None
            }
            // Nothing is admitted in the epoch of an open breaker.
            (Stage::Closed { .. } | Stage::Open { .. }, _) => None,
        }
    }

    /// Calls and failures in the window; zero unless closed.
    pub fn window_counts(&mut self, now: Instant) -> (u64, u64) {
        match &mut self.stage {
            Stage::Closed { outcomes, .. } => {
                let counts = outcomes.total(now);
                (counts.all, counts.marked)
            }
            _ => (0, 0),
        }
    }

    fn is_stale(&self, now: Instant, last_probe: Instant) -> bool {
        now.saturating_since(last_probe) >= self.config.probe_age_max
    }

    fn open(&mut self, now: Instant, cause: Cause) -> Transition {
        let until = now + self.config.open;
        self.turn(Stage::Open { until }, cause)
    }

    fn turn(&mut self, stage: Stage, cause: Cause) -> Transition {
        let from = self.phase();
        self.stage = stage;
        self.epoch = self.epoch.wrapping_add(1);
        Transition { from, to: self.phase(), cause }
    }
}

impl Stage {
    fn closed(config: &CircuitBreakerConfig) -> Self {
        Self::Closed { outcomes: Outcomes::new(config.window), consecutive_failures: 0 }
    }
}

fn verdict(
    config: &CircuitBreakerConfig,
    outcomes: &mut Outcomes,
    consecutive: u32,
    now: Instant,
) -> Option<Cause> {
    if config.consecutive_failures.is_some_and(|limit| consecutive >= limit.get()) {
        return Some(Cause::ConsecutiveFailures);
    }
    let counts = outcomes.total(now);
    if counts.all < u64::from(config.minimum_calls) || counts.marked == 0 {
        return None;
    }
    if config.failures.is_some_and(|limit| counts.marked >= u64::from(limit.get())) {
        return Some(Cause::Failures);
    }
    let rate_reached = config.failure_rate.is_some_and(|rate| rate.is_reached_by(counts.marked, counts.all));
    rate_reached.then_some(Cause::FailureRate)
}

/// The outcomes that a closed breaker looks at.
#[derive(Debug)]
enum Outcomes {
    Time(TimeWindow),
    Calls { last: VecDeque<bool>, capacity: usize, failures: u64 },
}

impl Outcomes {
    fn new(window: Window) -> Self {
        match window {
            Window::Time(length) => Self::Time(TimeWindow::new(length)),
            Window::Calls(calls) => {
                let capacity = calls.get() as usize;
                Self::Calls { last: VecDeque::with_capacity(capacity), capacity, failures: 0 }
            }
        }
    }

    fn add(&mut self, now: Instant, failed: bool) {
        match self {
            Self::Time(window) => window.add(now, Counts { all: 1, marked: failed.into() }),
            Self::Calls { last, capacity, failures } => {
                if last.len() == *capacity && last.pop_front() == Some(true) {
                    *failures -= 1;
                }
                last.push_back(failed);
                *failures += u64::from(failed);
            }
        }
    }

    fn total(&mut self, now: Instant) -> Counts {
        match self {
            Self::Time(window) => window.total(now),
            Self::Calls { last, failures, .. } => Counts { all: last.len() as u64, marked: *failures },
        }
    }
}
