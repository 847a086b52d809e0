use std::collections::BTreeMap;
use std::fmt;

use intertie_core::rejection::Policy;
use serde::{Serialize, Serializer};

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It got the service's answer, and not that something is wrong with the service.
    Answered,
    /// The service failed, and what that left is what the client got.
    Failed,
    /// The last attempt took too long.
    AttemptTimeout,
    /// The call took too long.
    Deadline,
    /// A policy refused it.
    Rejected(Policy),
    /// Its client did not wait.
    ClientLeft,
    /// No route wants it: 404.
    RouteNotFound,
    /// Routes want its path with other methods: 405.
    MethodNotAllowed,
    /// Its host or its path can be read in more than one way: 400.
    BadRequest,
}

/// What became of many requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    pub(super) requests: u64,
    /// Attempts that reached the service.
    pub(super) attempts: u64,
    pub(super) outcomes: BTreeMap<Outcome, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, outcome: Outcome, attempts: u32) {
        self.requests += 1;
        self.attempts += u64::from(attempts);
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    pub(super) fn include(&mut self, other: &Self) {
        self.requests += other.requests;
        self.attempts += other.attempts;
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += count;
        }
    }

    /// Those whose outcome is among the `wanted`.
    pub(super) fn count(&self, wanted: impl Fn(Outcome) -> bool) -> u64 {
        self.outcomes.iter().filter(|(outcome, _)| wanted(**outcome)).map(|(_, count)| count).sum()
    }

    /// Attempts for each request.
    pub(super) fn amplification(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.attempts as f64 / self.requests as f64 }
    }
}

impl Outcome {
    /// Whether the gateway refused it.
    pub(super) fn is_rejection(self) -> bool {
        matches!(self, Self::Rejected(_) | Self::RouteNotFound | Self::MethodNotAllowed | Self::BadRequest)
    }

    /// Whether time ran out.
    pub(super) fn is_timeout(self) -> bool {
        matches!(self, Self::AttemptTimeout | Self::Deadline)
    }

    /// The name in JSON.
    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::AttemptTimeout => "attempt_timeout",
            Self::Deadline => "deadline",
            Self::Rejected(policy) => policy.name(),
            Self::ClientLeft => "client_left",
            Self::RouteNotFound => "route_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BadRequest => "bad_request",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered"),
            Self::Failed => f.write_str("failed by the service"),
            Self::AttemptTimeout => f.write_str("ended by attempt_timeout"),
            Self::Deadline => f.write_str("ended by deadline"),
            Self::Rejected(policy) => write!(f, "rejected by {policy}"),
            Self::ClientLeft => f.write_str("left by the client"),
            Self::RouteNotFound => f.write_str("answered 404: no route"),
            Self::MethodNotAllowed => f.write_str("answered 405: other methods"),
            Self::BadRequest => f.write_str("answered 400: ambiguous"),
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
