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
    /// Topics. Default 1,000; at most 100,000.
    pub topics_max: NonZeroU32,
    /// Partitions of all topics, and those of topics that are being removed. Default 10,000; at most 100,000: some 200
    /// bytes each in memory.
    pub partitions_max: NonZeroU32,
    /// Groups of all topics, and those of topics that are being removed. Default 1,000; at most 100,000.
    pub groups_max: NonZeroU32,
    /// Positions that all groups may have, one for each group and partition of its topic: some 50 bytes each in
    /// memory. Default 100,000.
    pub positions_max: NonZeroU32,
    /// Members of one group whose sessions go on: some 200 bytes each in memory. Default 1,000.
    pub members_max: NonZeroU32,
    /// Readers that wait for records at once, of all topics; a further one is refused as overload, and may ask without
    /// waiting. Those that are woken together read one after the other, and are not refused by
    /// `store.reads_pending_max`. Default 100,000.
    pub readers_waiting_max: NonZeroU32,
    /// Records of a page, whatever its reader asks for. Default 10,000.
    pub page_records_max: NonZeroU32,
    /// Bytes of a page, whatever its reader asks for, but for the first record. Default 8 MiB.
    pub page_bytes_max: ByteSize,
    /// Records of requests, those included that are over for less than an hour; at this many a request with a
    /// new key is refused. Default 1,000,000.
    pub records_max: NonZeroU64,
    /// Bytes of the answers in them; at this many a request with a new key is refused, and an answer that
    /// would go past it is not kept. Default 1 GiB.
    pub answers_bytes_max: ByteSize,
    /// Bytes of a group's key (`partitionkey`) in a queue with groups, of a message's source and id in one with a
    /// `deduplication_window`, of a record's key in a topic that is compacted, and of a mark: each stands in an index. A longer one is refused. Default 4,096.
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
    /// marks that are forgotten, records that need not be kept. What is left is done after the commands that wait.
    /// Default 1,024. Messages that die and records that are removed have no more than `store.group_bytes_max` in one
    /// commit, but for the last of them.
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
            topics_max: count(1000),
            partitions_max: count(10_000),
            groups_max: count(1000),
            positions_max: count(100_000),
            members_max: count(1000),
            readers_waiting_max: count(100_000),
            page_records_max: count(10_000),
            page_bytes_max: ByteSize::from_bytes(8 << 20),
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
        for (field, asked) in [
            ("queues_max", self.queues_max),
            ("topics_max", self.topics_max),
            ("partitions_max", self.partitions_max),
            ("groups_max", self.groups_max),
        ] {
            if asked.get() > IN_MEMORY_MAX {
                let problem = format!("{asked} is above {IN_MEMORY_MAX}, all of which are in memory");
                return Err(Invalid::new(field, problem));
            }
        }
        self.store.validate()
    }
}

/// The most of what is in memory of a directory, whether anybody uses it or not.
const IN_MEMORY_MAX: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_can_not_work_are_refused_by_name() {
        let standard = EmbeddedConfig::default();
        standard.validate().expect("the defaults work");
        let most = NonZeroU32::MAX;
        for (field, many) in [
            ("queues_max", EmbeddedConfig { queues_max: most, ..standard.clone() }),
            ("topics_max", EmbeddedConfig { topics_max: most, ..standard.clone() }),
            ("partitions_max", EmbeddedConfig { partitions_max: most, ..standard.clone() }),
            ("groups_max", EmbeddedConfig { groups_max: most, ..standard.clone() }),
        ] {
            assert_eq!(many.validate().expect_err("too many").field, field);
        }
        let store = StoreConfig { cache: ByteSize::from_bytes(1), ..StoreConfig::default() };
        let store = EmbeddedConfig { store, ..standard.clone() };
        assert_eq!(store.validate().expect_err("too small").field, "cache");
        let text = serde_json::to_string(&standard).expect("serializes");
        assert_eq!(serde_json::from_str::<EmbeddedConfig>(&text).expect("round trip"), standard);
        serde_json::from_str::<EmbeddedConfig>(r#"{"queues":1}"#).expect_err("unknown key");
    }
}
