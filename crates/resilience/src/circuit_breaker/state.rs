//! The phases and the ways between them: no clock, no lock, no await.
//!
//! What a closed breaker counts, and when that opens it, is in [`super::outcomes`].

use std::time::Duration;

use intertie_core::clock::{Instant, nanos};
use intertie_core::failure::Evidence;
use intertie_core::quantity::Ratio;
use intertie_core::rejection::{Policy, Rejection};

use super::admission::Admission;
use super::config::CircuitBreakerConfig;

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
    /// The window's share of slow calls reached `slow_call_rate`.
    SlowCallRate,
    /// As many failures in a row as `consecutive_failures` allows.
    ConsecutiveFailures,
    /// The time in open is over.
    OpenElapsed,
    /// A probe failed.
    ProbeFailed,
    /// Enough probes succeeded in a row.
    ProbesSucceeded,
    /// Someone closed it by hand.
    Reset,
}

impl Cause {
    /// The name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::FailureRate => "failure_rate",
            Self::SlowCallRate => "slow_call_rate",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::OpenElapsed => "open_elapsed",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::Reset => "reset",
        }
    }
}

/// What a call showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What the breaker learns from it.
    pub evidence: Evidence,
    /// The wait that the dependency asked for.
    pub retry_after: Option<Duration>,
    /// How long the dependency took, when that is not the time until the outcome is told.
    pub took: Option<Duration>,
}

impl From<Evidence> for Outcome {
    fn from(evidence: Evidence) -> Self {
        Self { evidence, retry_after: None, took: None }
    }
}

/// The phases of one breaker.
#[derive(Debug)]
pub(super) struct State {
    config: CircuitBreakerConfig,
    stage: Stage,
    epoch: u32,
    /// Failed probes since it was last closed.
    reopened: u32,
}

#[derive(Debug)]
enum Stage {
    Closed,
    Open { until: Instant },
    HalfOpen { round: u32, probes: u32, successes: u32, last_probe: Instant },
}

impl State {
    /// Closed.
    pub(super) fn new(config: CircuitBreakerConfig) -> Self {
        Self { config, stage: Stage::Closed, epoch: 0, reopened: 0 }
    }

    /// The present phase. An open breaker whose time is over is still open until the next call asks.
    pub(super) fn phase(&self) -> Phase {
        match self.stage {
            Stage::Closed => Phase::Closed,
            Stage::Open { .. } => Phase::Open,
            Stage::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// When an open breaker lets probes through.
    pub(super) fn open_until(&self) -> Option<Instant> {
        match self.stage {
            Stage::Open { until } => Some(until),
            _ => None,
        }
    }

    /// The rejection that a call would get now, with the time until probes are let through.
    pub(super) fn rejection(&self, now: Instant) -> Option<Rejection> {
        match &self.stage {
            Stage::Open { until } if now < *until => Some(still_open(*until, now)),
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
    pub(super) fn admit(&mut self, now: Instant) -> Result<(Admission, Option<Transition>), Rejection> {
        if let Some(rejection) = self.rejection(now) {
            return Err(rejection);
        }
        let places = self.config.successes_to_close.get();
        let transition = match &mut self.stage {
            Stage::Closed => None,
            Stage::Open { .. } => {
                let stage = Stage::HalfOpen { round: 0, probes: 1, successes: 0, last_probe: now };
                Some(self.turn(stage, Cause::OpenElapsed))
            }
            Stage::HalfOpen { probes, last_probe, .. } if *probes < places => {
                *probes += 1;
                *last_probe = now;
                None
            }
            Stage::HalfOpen { round, probes, last_probe, .. } => {
                // The probes are lost, or only slow: their places go to others, and what they show still counts.
                *round = round.wrapping_add(1);
                *probes = 1;
                *last_probe = now;
                None
            }
        };
        let admission = match self.stage {
            Stage::HalfOpen { round, .. } => Admission::probe(self.epoch, round, now),
            _ => Admission::call(self.epoch, now),
        };
        Ok((admission, transition))
    }

    /// A closed breaker's outcomes since `epoch` began reached a condition to open. `random` between 0 and
    /// 1 chooses the jitter.
    pub(super) fn trip(
        &mut self,
        now: Instant,
        epoch: u32,
        cause: Cause,
        retry_after: Option<Duration>,
        random: Ratio,
    ) -> Option<Transition> {
        let current = epoch == self.epoch && self.phase() == Phase::Closed;
        current.then(|| self.open(now, cause, retry_after, random))
    }

    /// Counts a probe's outcome, unless the phase that admitted it is over.
    pub(super) fn record_probe(
        &mut self,
        now: Instant,
        admission: Admission,
        outcome: Outcome,
        random: Ratio,
    ) -> Option<Transition> {
        if admission.epoch() != self.epoch {
            return None;
        }
        let Stage::HalfOpen { round, probes, successes, .. } = &mut self.stage else { return None };
        if admission.is_of_round(*round) {
            *probes = probes.saturating_sub(1);
        }
        match outcome.evidence {
            Evidence::Failure => {
                self.reopened = self.reopened.saturating_add(1);
                Some(self.open(now, Cause::ProbeFailed, outcome.retry_after, random))
            }
            Evidence::Success => {
                *successes += 1;
                let enough = *successes >= self.config.successes_to_close.get();
                enough.then(|| self.close(Cause::ProbesSucceeded))
            }
            Evidence::None => None,
        }
    }

    /// Closes it by hand; what was counted before counts no more.
    pub(super) fn reset(&mut self) -> Transition {
        self.close(Cause::Reset)
    }

    fn is_stale(&self, now: Instant, last_probe: Instant) -> bool {
        now.saturating_since(last_probe) >= self.config.probe_age_max
    }

    fn close(&mut self, cause: Cause) -> Transition {
        self.reopened = 0;
        self.turn(Stage::Closed, cause)
    }

    fn open(
        &mut self,
        now: Instant,
        cause: Cause,
        retry_after: Option<Duration>,
        random: Ratio,
    ) -> Transition {
        let grown = match self.config.open_max {
            None => self.config.open,
            Some(most) => {
                let factor = 1_u32.checked_shl(self.reopened).unwrap_or(u32::MAX);
                self.config.open.saturating_mul(factor).min(most)
            }
        };
        let jitter = random.of(self.config.open_jitter.of(nanos(grown)));
        let hint = retry_after.unwrap_or_default().min(self.config.retry_after_max);
        // The jitter comes on top of the hint too: it must never be fired early, nor by all together.
        let until = now + grown.max(hint).saturating_add(Duration::from_nanos(jitter));
        self.turn(Stage::Open { until }, cause)
    }

    fn turn(&mut self, stage: Stage, cause: Cause) -> Transition {
        let from = self.phase();
        self.stage = stage;
        self.epoch = self.epoch.wrapping_add(1);
        Transition { from, to: self.phase(), cause }
    }
}

/// The rejection by a breaker that stays open until `until`.
pub(super) fn still_open(until: Instant, now: Instant) -> Rejection {
    let wait = Some(until.saturating_since(now));
    Rejection { by: Policy::CircuitBreaker, bound: "open", retry_after: wait }
}
