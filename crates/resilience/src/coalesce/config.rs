use std::num::NonZeroU32;

use intertie_core::config::Invalid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many keys and callers a group takes, and what a failure means to those who waited for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CoalesceConfig {
    /// Keys that are under way at the same time. Default 10000. A call of one more key is rejected.
    pub keys_max: NonZeroU32,
    /// Callers of one key at the same time, the one who makes the call included: at least 2, default 1000.
    /// One more is rejected.
    pub callers_max: NonZeroU32,
    /// Whether an error or a panic goes to all who wait for the call. Default true. With false it goes to
    /// the caller who made the call, and the others make their own, one after the other.
    pub share_errors: bool,
    /// With `share_errors = false`: how many failed calls of others a caller waits for before it is
    /// rejected. Default 3, which is also how many times longer than one call it may take.
    pub failures_max: NonZeroU32,
}

impl CoalesceConfig {
    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.callers_max.get() < 2 {
            return Err(Invalid::new(
                "callers_max",
                "1 leaves no room for anybody to share a call; the least is 2",
            ));
        }
        Ok(())
    }
}

impl Default for CoalesceConfig {
    fn default() -> Self {
        Self {
            keys_max: NonZeroU32::new(10_000).expect("10000 is not zero"),
            callers_max: NonZeroU32::new(1_000).expect("1000 is not zero"),
            share_errors: true,
            failures_max: NonZeroU32::new(3).expect("3 is not zero"),
        }
    }
}
