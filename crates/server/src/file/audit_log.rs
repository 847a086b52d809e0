use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::quantity::{self, DurationText};
use intertie_gateway::config::Problem;
use schemars::JsonSchema;
use serde::Deserialize;

/// `[server.audit_log]`: where auditors read what policies and operators decided.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AuditLog")]
pub(crate) struct AuditLogConfig {
    /// The path of a file, which is appended to, and made for its owner alone; or "stdout".
    pub(crate) to: String,
    /// Events that may wait to be written, at most 1000000. Further ones are lost, which the log tells. Default
    /// 65536.
    #[serde(default = "queue")]
    #[schemars(default = "queue")]
    pub(crate) queue: NonZeroU32,
    /// How often each data thread tells of rejections by the same policy, at most; "0s" tells of each. Default
    /// "1s".
    #[serde(with = "quantity::duration", default = "rejections_every")]
    #[schemars(with = "DurationText")]
    pub(crate) rejections_every: Duration,
}

const QUEUE_MAX: u32 = 1_000_000;

fn queue() -> NonZeroU32 {
    NonZeroU32::new(65_536).expect("65536 is not zero")
}

fn rejections_every() -> Duration {
    Duration::from_secs(1)
}

impl AuditLogConfig {
    /// What is wrong.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::error(["server", "audit_log", key], message));
        };
        if self.to.is_empty() || self.to == "off" {
            wrong("to", format!("the audit log can not be written to `{}`", self.to));
        }
        if self.queue.get() > QUEUE_MAX {
            wrong("queue", format!("queue is {}; it must be from 1 to {QUEUE_MAX}", self.queue));
        }
        problems
    }
}
