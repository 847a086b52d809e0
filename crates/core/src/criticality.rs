//! How much a call matters, for the choice of which to serve when not all can be.

use serde::{Deserialize, Serialize};

/// How much a call matters to whoever waits for it. Greater means more.
///
/// Three steps, as many as people can tell apart when they label calls, after the criticalities of Google,
/// *Site Reliability Engineering*, chapter 21; S1's `priority: high` is `Critical`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criticality {
    /// Batch work and whatever is tried again later: the first to be turned away.
    Sheddable,
    /// What nobody labelled.
    #[default]
    Default,
    /// A user sees it fail: the last to be turned away. Provision for all of these.
    Critical,
}

impl Criticality {
    /// All, the least critical first.
    pub const ALL: [Self; 3] = [Self::Sheddable, Self::Default, Self::Critical];

    /// The name in configuration keys, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::Default => "default",
            Self::Critical => "critical",
        }
    }
}
