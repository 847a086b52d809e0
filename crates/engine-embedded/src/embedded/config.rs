use std::num::{NonZeroU32, NonZeroU64};

use intertie_core::config::Invalid;
use intertie_core::quantity::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::StoreConfig;

/// What one data directory may hold beside what each queue is declared for, and how much of it in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Embedded")]
pub struct EmbeddedConfig {
    /// The directory's file, its writer and its readers.
    pub store: StoreConfig,
    /// Operations of one commit; a larger one is refused. Default 10,000. Its bytes are bounded by
    /// `store.group_bytes_max`.
    pub operations_max: NonZeroU32,
    /// Queues, those of dead letters that came with others included, and those that are being removed.
    /// Default 10,000; at most 100,000.
    pub queues_max: NonZeroU32,
    /// Messages of each priority of a queue whose places are kept in memory at least, and twice as many at
    /// most: 32 bytes each. Those behind them are read from the file when these are used up. Default 1,024.
    pub ready_heads: NonZeroU32,
    /// Consumers that wait for messages at once, of all queues; a further one is refused as overload, and asks again
    /// after its `backoff`, or without waiting. Default 100,000.
    pub waiting_max: NonZeroU32,
    /// Records of requests, those included that are over for less than an hour; at this many a request with a
    /// new key is refused. Default 1,000,000.
    pub records_max: NonZeroU64,
    /// Bytes of the answers in them; at this many a request with a new key is refused, and an answer that
    /// would go past it is not kept. Default 1 GiB.
    pub answers_bytes_max: ByteSize,
    /// Bytes of a group's key (`partitionkey`) in a queue with groups, of a message's source and id in one with a
    /// `deduplication_window`, and of a mark: each stands in an index. A longer one is refused. Default 4,096.
    pub key_bytes_max: NonZeroU32,
    /// Ids within the windows of deduplication of all queues, about 100 bytes on the disk each; at this many a message
    /// with a new id is refused as overload. Default 10,000,000: 30,000 a second for five minutes.
    pub ids_max: NonZeroU64,
    /// Marks in all inboxes, about 100 bytes on the disk each; at this many a commit with a new one is refused as
    /// overload. Default 10,000,000.
    pub marks_max: NonZeroU64,
    /// What is told of things that can not be read, by [`Embedded::damages`](crate::Embedded::damages): the first so
    /// many. Each one is told as an event, and counted. Default 100.
    pub damages_kept: NonZeroU32,
    /// What the time does by itself in one commit: leases that end, messages that become due or die, ids and
    /// marks that are forgotten. What is left is done after the commands that wait. Default 1,024. Those that die move
    /// no more than `store.group_bytes_max` in one commit, but for the last of them.
    pub step: NonZeroU32,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        let count = |count| NonZeroU32::new(count).expect("defaults are not zero");
        Self {
            store: StoreConfig::default(),
            operations_max: count(10_000),
            queues_max: count(10_000),
            ready_heads: count(1024),
            waiting_max: count(100_000),
            records_max: NonZeroU64::new(1_000_000).expect("defaults are not zero"),
            answers_bytes_max: ByteSize::from_bytes(1 << 30),
            key_bytes_max: count(4096),
            ids_max: NonZeroU64::new(10_000_000).expect("defaults are not zero"),
            marks_max: NonZeroU64::new(10_000_000).expect("defaults are not zero"),
            damages_kept: count(100),
            step: count(1024),
        }
    }
}

impl EmbeddedConfig {
    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.queues_max.get() > QUEUES_MAX {
            let problem = format!("{} is above {QUEUES_MAX}, all of which are in memory", self.queues_max);
            return Err(Invalid::new("queues_max", problem));
        }
        self.store.validate()
    }
}

/// The most queues of a directory.
const QUEUES_MAX: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_can_not_work_are_refused_by_name() {
        let standard = EmbeddedConfig::default();
        standard.validate().expect("the defaults work");
        let many = EmbeddedConfig { queues_max: NonZeroU32::MAX, ..standard.clone() };
        assert_eq!(many.validate().expect_err("too many").field, "queues_max");
        let store = StoreConfig { cache: ByteSize::from_bytes(1), ..StoreConfig::default() };
        let store = EmbeddedConfig { store, ..standard.clone() };
        assert_eq!(store.validate().expect_err("too small").field, "cache");
        let text = serde_json::to_string(&standard).expect("serializes");
        assert_eq!(serde_json::from_str::<EmbeddedConfig>(&text).expect("round trip"), standard);
        serde_json::from_str::<EmbeddedConfig>(r#"{"queues":1}"#).expect_err("unknown key");
    }
}
