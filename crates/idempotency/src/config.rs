use std::num::NonZeroU64;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, ByteSize, DurationText};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Bounds;

/// How repetitions are known, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdempotencyConfig {
    /// How long an answer is kept for repetitions. Default "24h".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub kept: Duration,
    /// How long a request is under way after its process was last heard of, which is asked every third of it; then a
    /// repetition may do it again. Default "1m".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub in_flight_timeout: Duration,
    /// The largest answer that is kept; a repetition of a request with a larger one is told so, and not done. Default
    /// "1MiB".
    pub answer_bytes_max: ByteSize,
    /// Records that the store keeps, of all callers; at this many a request with a new key is refused, and not done.
    /// Default 1,000,000, which at `kept` of "24h" is 11 new keys a second; a record takes some hundred bytes.
    pub records_max: NonZeroU64,
    /// Bytes of answers that the store keeps, of all callers; at this many a request with a new key is refused, and an
    /// answer that would go past it is not kept, as one larger than `answer_bytes_max`. Default "1GiB"; at least
    /// `answer_bytes_max`.
    pub answers_bytes_max: ByteSize,
}

impl Default for IdempotencyConfig {
    fn default() -> Self {
        Self {
            kept: Duration::from_secs(24 * 3600),
            in_flight_timeout: Duration::from_secs(60),
            answer_bytes_max: ByteSize::from_bytes(1 << 20),
            records_max: NonZeroU64::new(1_000_000).expect("not zero"),
            answers_bytes_max: ByteSize::from_bytes(1 << 30),
        }
    }
}

impl IdempotencyConfig {
    /// Finds settings that can not work.
    ///
    /// # Errors
    /// The first of them, with its value and the limit.
    pub fn check(&self) -> Result<(), Invalid> {
        for (field, duration) in [("kept", self.kept), ("in_flight_timeout", self.in_flight_timeout)] {
            if duration.is_zero() {
                return Err(Invalid::new(field, "0s is no time; it must be above zero"));
            }
        }
        if self.kept < self.in_flight_timeout {
            let [kept, time] = [self.kept, self.in_flight_timeout].map(quantity::format_duration);
            return Err(Invalid::new(
                "kept",
                format!("{kept} is shorter than `in_flight_timeout`, which is {time}"),
            ));
        }
        if self.answers_bytes_max < self.answer_bytes_max {
            let (all, one) = (self.answers_bytes_max, self.answer_bytes_max);
            let problem = format!("{all} is below `answer_bytes_max`, which is {one}");
            return Err(Invalid::new("answers_bytes_max", problem));
        }
        Ok(())
    }

    /// The bounds that a store is to keep to.
    pub fn bounds(&self) -> Bounds {
        Bounds { records: self.records_max.get(), answer_bytes: self.answers_bytes_max.bytes() }
    }
}
