//! One limit for several nodes: a coordinator leases permits out of each window's limit, and the nodes
//! spend them without asking anybody.
//!
//! [`Coordinator`] and [`Node`] are state machines without clock and network. Whoever runs them carries
//! [`Question`]s and [`Grant`]s between them, in any order, late, several times, or not at all.
//!
//! # What holds
//! In each window of the coordinator all nodes together admit at most
//!
//! ```text
//! limit + nodes × lease
//! ```
//!
//! where `nodes` are those that were granted a lease in this window or the one before. The limit bounds
//! what is granted in the window; each node may besides spend the one lease of the window before that it
//! still held when that ended. With `unreachable = "local_share"` a node that can not ask adds at most
//! `lease + 2 × limit / nodes_max` in each window, and with `"open"` there is no bound while it lasts.
//!
//! # What it rests on
//! - **Clocks need no common time.** A lease lasts for a duration that the node counts from the moment
//!   at which it asked (Gray and Cheriton, *Leases*, 1989), so it ends before the coordinator's window
//!   does, whatever time either clock shows. The node's clock may run up to twice as fast, and must run
//!   more than half as fast, as the coordinator's; a slow one lets the lease reach into the next window.
//! - **A node holds one lease at a time.** It asks only when it has spent or lost what it had, numbers its
//!   questions, and takes one answer to the question that it waits for. A node that starts again is a
//!   new node with an identity never used before.
//! - **One coordinator grants at a time.** Who succeeds another has a higher epoch, knows nothing of what
//!   was granted, and therefore grants nothing for one window. A node that has heard of it refuses grants
//!   of an older epoch: a fencing token. That there is one is up to whoever elects it.

mod coordinator;
mod node;

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText, Rate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use coordinator::{Coordinator, Refused};
pub use node::{Node, Verdict};

/// How nodes share a limit. The same for the coordinator and all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseConfig {
    /// What all nodes together may admit, in each period of it, such as "1000/s".
    pub limit: Rate,
    /// Permits in one lease, at most the amount of `limit`. More mean fewer questions and a wider bound;
    /// a call that costs more than a lease is never admitted.
    pub lease: NonZeroU64,
    /// Nodes that may hold a lease; further ones are refused.
    pub nodes_max: NonZeroU32,
    /// The time without an answer after which a node asks again. At most `patience`. Default 100 ms.
    #[serde(default = "ask_again_default", with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub ask_again: Duration,
    /// The time without an answer after which the coordinator counts as unreachable. Default 1 s.
    #[serde(default = "patience_default", with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub patience: Duration,
    /// What a node does then: `closed` (the default), `open` or `local_share`.
    #[serde(default)]
    pub unreachable: Unreachable,
}

/// What a node does while it can not reach the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unreachable {
    /// Rejects every call, and the limit holds.
    #[default]
    Closed,
    /// Admits every call, and nothing is limited.
    Open,
    /// Admits the limit's share of one node out of `nodes_max`, evenly, with bursts of one lease.
    LocalShare,
}

/// A node asks for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub node: u64,
    /// The node's question, counted from 1. Asking again keeps the number.
    pub number: u64,
    /// When it was asked, on the node's clock; the answer repeats it.
    pub asked_at: Instant,
}

/// The coordinator's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Who asked.
    pub node: u64,
    /// The number of the question.
    pub number: u64,
    /// When it was asked, as the question said.
    pub asked_at: Instant,
    /// The coordinator's epoch, a fencing token: each coordinator has a higher one than those before.
    pub epoch: u64,
    /// Permits in the lease; zero when the window's limit is used up.
    pub permits: u64,
    /// The time from `asked_at` until the lease, or the want of one, ends.
    pub expires_in: Duration,
}

impl LeaseConfig {
    /// Leases of `lease` permits out of `limit` for at most `nodes_max` nodes.
    pub fn new(limit: Rate, lease: NonZeroU64, nodes_max: NonZeroU32) -> Self {
        Self {
            limit,
            lease,
            nodes_max,
            ask_again: ask_again_default(),
            patience: patience_default(),
            unreachable: Unreachable::Closed,
        }
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.lease.get() > self.limit.amount() {
            let problem = format!("{} permits are more than the limit of {}", self.lease, self.limit);
            return Err(Invalid::new("lease", problem));
        }
        if self.unreachable == Unreachable::LocalShare && self.share() == 0 {
            let problem = format!("{} nodes have no whole permit each of {}", self.nodes_max, self.limit);
            return Err(Invalid::new("nodes_max", problem));
        }
        if self.ask_again.is_zero() || self.ask_again > self.patience {
            let shown = quantity::format_duration;
            let problem = format!(
                "{} is not within 0 and the patience, {}",
                shown(self.ask_again),
                shown(self.patience)
            );
            return Err(Invalid::new("ask_again", problem));
        }
        Ok(())
    }

    /// One node's part of the limit.
    fn share(&self) -> u64 {
        self.limit.amount() / u64::from(self.nodes_max.get())
    }
}

fn ask_again_default() -> Duration {
    Duration::from_millis(100)
}

fn patience_default() -> Duration {
    Duration::from_secs(1)
}
