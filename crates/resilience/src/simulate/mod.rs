//! Runs pipelines against a model of a dependency that falls and comes back, in virtual time.
//!
//! What runs is the real [`Pipeline`](crate::Pipeline) with the real policies; only what it calls is a model,
//! and the clock is tokio's, paused, so that a minute takes milliseconds and nothing waits. It answers what
//! no look at a configuration can: how much of the load still succeeds while the dependency is down, how
//! many attempts it gets instead, and how long after the outage's end all is well again, if ever. Systems
//! that stay down after the cause is gone are *metastable* (Bronson et al., *Metastable Failures in
//! Distributed Systems*, HotOS 2021); retries that nothing bounds are their most common cause.
//!
//! | part | what it is | source |
//! |---|---|---|
//! | load | calls that arrive whatever becomes of those before them, at random (an open loop, Poisson) | Schroeder et al., *Open Versus Closed*, NSDI 2006 |
//! | tiers | [`Pipeline`](crate::Pipeline)s, each the operation of the one before | |
//! | dependency | a number of servers, a bounded queue in front of them, a distribution of latencies | |
//! | script | what befalls the dependency, when, and for how long: [`Effect`] | |
//! | [`in_virtual_time`] | the thread, the clock and the chance, for simulations of another kind | |
//! | [`Report`] | goodput, amplification, latency, time to recover | |
//!
//! # Precision
//! tokio's timers tick once in a millisecond: arrivals are moved to the next one, and the latencies of the
//! model are rounded to whole milliseconds, at least one. A dependency that answers in microseconds looks
//! slower than it is.
//!
//! # Repeatability
//! The same seed gives the same report, bit for bit, in any process, beside other simulations and after
//! them. What arrives, how long each call would take and which calls fail are drawn apart from what the
//! policies draw, so that two sets of policies are tried with the same load.
//!
//! # Cost
//! tokio's `test-util`, which this needs, costs one load at each reading of the clock until a process's first
//! simulation. From then on each reading takes a lock, everywhere in the process: do not simulate where you
//! serve.

mod config;
mod downstream;
mod faults;
mod latency;
mod layer;
mod outcome;
mod recovery;
mod report;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod tiers;
mod virtual_time;

pub use config::{Effect, FaultConfig, SimulationConfig};
pub use latency::{Latency, LogNormal, Quantile, Uniform};
pub use layer::{Simulation, SimulationError};
pub use outcome::Reason;
pub use report::{Amplification, FaultReport, Latencies, Report, Second};
pub use virtual_time::in_virtual_time;
