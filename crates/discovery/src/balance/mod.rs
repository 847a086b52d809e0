//! Chooses the endpoint for the next call among those that can be used now.
//!
//! | `balance` | chooses | when |
//! |---|---|---|
//! | `round_robin` | each in turn | endpoints alike, calls alike |
//! | `weighted_round_robin` | in turn, by weight, evenly spread | shares must be exact: a canary, unlike machines |
//! | `least_requests` | the fewest requests in flight per weight | calls of unlike length |
//! | `p2c_ewma` | of two random ones the less loaded by latency and requests in flight | unlike speed, thousands |
//!
//! A pick looks at endpoints up to the next usable one with `round_robin`, at every one with
//! `weighted_round_robin` and `least_requests`, and at two with `p2c_ewma`, or a few more when many can not
//! be used.
//!
//! [`Balancer`] neither allocates nor reads a clock when it picks: usability, requests in flight and latency
//! are what the caller says of each endpoint at that moment, and a random number is an argument.
//!
//! Sources: smooth weighted round robin and the turns of equally loaded endpoints are nginx's
//! (`ngx_http_upstream_round_robin.c`, `ngx_http_upstream_least_conn_module.c`); the power of two choices is
//! Mitzenmacher's (*The Power of Two Choices in Randomized Load Balancing*, 2001); the load that it compares
//! is that of Finagle's `PeakEwma`, in [`PeakEwma`].

mod ewma;
mod state;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use intertie_core::config::Invalid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::ewma::PeakEwma;
use self::state::{LeastRequests, RoundRobin, SmoothWeighted, two_choices};

/// How a service's calls are spread over its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Each usable endpoint in turn. Refuses weights that differ, because they would have no effect.
    #[default]
    RoundRobin,
    /// Each usable endpoint in turn, as often as its weight says, its turns spread evenly: weights 5, 1 and 1
    /// give `a a b a c a a`, not `a a a a a b c`.
    WeightedRoundRobin,
    /// The usable endpoint with the fewest requests in flight divided by its weight. Equals, idle endpoints
    /// above all, take turns by weight. With few requests in flight a light endpoint gets more than its
    /// share: it counts as the freer one whenever it is idle and the heavy one is not.
    LeastRequests,
    /// Of two random usable endpoints the one with the smaller load: recent peak latency x (requests in
    /// flight + 1) / weight. An endpoint without a measurement is compared by requests in flight alone.
    P2cEwma,
}

impl Balance {
    /// Checks that endpoints of these weights can be balanced this way.
    ///
    /// # Errors
    /// When the weights differ and this is `round_robin`, on which they would have no effect.
    pub fn validate(self, weights: &[NonZeroU32]) -> Result<(), Invalid> {
        let (Some(least), Some(most)) = (weights.iter().min(), weights.iter().max()) else {
            return Ok(());
        };
        if self == Self::RoundRobin && least != most {
            return Err(Invalid::new(
                "balance",
                format!(
                    "`round_robin` gives every endpoint the same share, but the weights of the endpoints range from \
                     {least} to {most}; choose `weighted_round_robin`, or leave out the weights"
                ),
            ));
        }
        Ok(())
    }
}

/// What the balancer needs to know of an endpoint that can be used now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The endpoint's share relative to its siblings. 0 counts as 1.
    pub weight: u32,
    /// Requests sent to the endpoint and not yet answered.
    pub in_flight: u32,
    /// What [`PeakEwma::value`] says, in nanoseconds; 0 when nothing was measured. Only `p2c_ewma` reads it.
    pub latency_nanos: f64,
}

/// Picks endpoints, each named by its place in the service's list.
#[derive(Debug, Clone)]
pub struct Balancer {
    endpoint_count: usize,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    RoundRobin(RoundRobin),
    WeightedRoundRobin(SmoothWeighted),
    LeastRequests(LeastRequests),
    P2cEwma,
}

impl Balancer {
    /// A balancer over `endpoint_count` endpoints, none of which has had a turn yet.
    pub fn new(balance: Balance, endpoint_count: usize) -> Self {
        let state = match balance {
            Balance::RoundRobin => State::RoundRobin(RoundRobin::default()),
            Balance::WeightedRoundRobin => State::WeightedRoundRobin(SmoothWeighted::new(endpoint_count)),
            Balance::LeastRequests => State::LeastRequests(LeastRequests::new(endpoint_count)),
            Balance::P2cEwma => State::P2cEwma,
        };
        Self { endpoint_count, state }
    }

    /// The endpoint for the next call, or `None` when none can be used.
    ///
    /// `candidate(i)` describes endpoint `i`, or is `None` when the call must not go there: ejected,
    /// unhealthy, its breaker open, already tried by this call. It may be asked more than once for the same
    /// endpoint and may answer from counters that move meanwhile. `random` is a number from the whole range of
    /// `u64`, new for each pick; only `p2c_ewma` uses it.
    ///
    /// An endpoint keeps its place in the turns while it can not be used, so it neither loses a turn nor is
    /// flooded when it comes back.
    pub fn pick(&mut self, random: u64, candidate: impl Fn(usize) -> Option<Candidate>) -> Option<usize> {
        match &mut self.state {
            State::RoundRobin(turns) => turns.pick(self.endpoint_count, |i| candidate(i).is_some()),
            State::WeightedRoundRobin(turns) => turns.pick(|i| candidate(i).map(|it| it.weight)),
            State::LeastRequests(least) => least.pick(candidate),
            State::P2cEwma => two_choices(self.endpoint_count, random, candidate),
        }
    }
}
