use std::time::Duration;

use intertie_core::clock::Instant;

use crate::circuit_breaker::{Mode, Phase};
use crate::pipeline::Pipeline;

/// How a pipeline fares now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whether calls get through.
    pub state: State,
    /// When probes are let through again, while its breaker is open.
    pub retry_after: Option<Duration>,
}

/// Whether the calls of a pipeline get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They do.
    Healthy,
    /// Some do: its breaker probes.
    Degraded,
    /// None does: its breaker is open.
    Unhealthy,
}

impl State {
    /// The name in health answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl Health {
    pub(super) fn of(pipeline: &Pipeline, now: Instant) -> Self {
        let healthy = Self { state: State::Healthy, retry_after: None };
        let Some(breaker) = pipeline.circuit_breaker() else { return healthy };
        let stats = breaker.stats(now);
        let retry_after = breaker.rejection(now).and_then(|rejection| rejection.retry_after);
        match (stats.mode, stats.phase, retry_after) {
            (Mode::ForcedOpen, ..) => Self { state: State::Unhealthy, retry_after: None },
            (Mode::Observe | Mode::Disabled, ..) | (Mode::Enforce, Phase::Closed, _) => healthy,
            (Mode::Enforce, _, Some(_)) => Self { state: State::Unhealthy, retry_after },
            // It lets a probe through, or its probes are under way.
            (Mode::Enforce, _, None) => Self { state: State::Degraded, retry_after: None },
        }
    }
}
