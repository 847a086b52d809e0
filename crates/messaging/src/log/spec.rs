use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, ByteSize, DurationText};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Durability;
use crate::support::{Emulation, Feature};

/// What a topic promises, whichever engine keeps it: `[topic.NAME]` in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TopicSpec {
    /// Parts that are ordered each by itself; records with one key are in one of them. It may grow, which moves
    /// keys to other partitions, and never shrinks. At most 10,000; default 1.
    pub partitions: NonZeroU32,
    /// Copies that the engine keeps on different machines. Default 1.
    pub replicas: NonZeroU8,
    /// What is removed to make room. Default "delete".
    pub cleanup: Cleanup,
    /// How long a record is kept at least; with `cleanup = "compact"` how long a tombstone is. Default "7d".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub retention: Duration,
    /// Bytes of a partition; above them its oldest records are removed before their time. Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<ByteSize>,
    /// The largest record, attributes included. Default "1MiB".
    pub record_bytes_max: ByteSize,
    /// The longest time for which a member of a group may ask to be missed before others get what it has. Default
    /// "30m".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub session_timeout_max: Duration,
    /// Where a record must be before its producer is told that it is stored. Default one copy, synced.
    pub durability: Durability,
    /// Whether promises may be kept by emulation. Default "allowed".
    pub emulation: Emulation,
}

impl Default for TopicSpec {
    fn default() -> Self {
        Self {
            partitions: NonZeroU32::MIN,
            replicas: NonZeroU8::MIN,
            cleanup: Cleanup::default(),
            retention: Duration::from_secs(7 * 24 * 3600),
            retention_bytes: None,
            record_bytes_max: ByteSize::from_bytes(1 << 20),
            session_timeout_max: Duration::from_secs(30 * 60),
            durability: Durability::default(),
            emulation: Emulation::default(),
        }
    }
}

/// The most partitions of one topic: who shares them is decided in memory.
const PARTITIONS_MAX: u32 = 10_000;

/// What is removed from a topic to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cleanup {
    /// Records that are older than `retention`, or beyond `retention_bytes`.
    #[default]
    Delete,
    /// Records whose key has a later record. The last one of each key stays for ever, unless it is a tombstone: a
    /// record with a key and no data.
    Compact,
}

/// What a specification may ask of an engine, apart from what every topic is: appended to and read in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicFeature {
    /// So many partitions.
    Partitions(NonZeroU32),
    /// So many copies.
    Replicas(NonZeroU8),
    /// Removal by age.
    Retention(Duration),
    /// Removal by size.
    RetentionBytes(ByteSize),
    /// Removal of what later records of the same key replace.
    Compaction,
    /// A bound on the size of records.
    RecordBytesMax(ByteSize),
    /// Receipts that mean at least this.
    Durability(Durability),
}

impl Feature for TopicFeature {
    fn key(self) -> &'static str {
        match self {
            Self::Partitions(_) => "partitions",
            Self::Replicas(_) => "replicas",
            Self::Retention(_) => "retention",
            Self::RetentionBytes(_) => "retention_bytes",
            Self::Compaction => "cleanup",
            Self::RecordBytesMax(_) => "record_bytes_max",
            Self::Durability(_) => "durability",
        }
    }
}

impl TopicSpec {
    /// What is asked of an engine, each promise once.
    ///
    /// It names every field, so that a new one can not be forgotten here.
    pub fn features(&self) -> Vec<TopicFeature> {
        let Self {
            partitions,
            replicas,
            cleanup,
            retention,
            retention_bytes,
            record_bytes_max,
            session_timeout_max: _,
            durability,
            emulation: _,
        } = self;
        let asked = [
            Some(TopicFeature::Partitions(*partitions)),
            Some(TopicFeature::Replicas(*replicas)),
            Some(TopicFeature::Retention(*retention)),
            retention_bytes.map(TopicFeature::RetentionBytes),
            (*cleanup == Cleanup::Compact).then_some(TopicFeature::Compaction),
            Some(TopicFeature::RecordBytesMax(*record_bytes_max)),
            Some(TopicFeature::Durability(*durability)),
        ];
        asked.into_iter().flatten().collect()
    }

    /// Finds settings that can not work on any engine.
    ///
    /// # Errors
    /// The first of them, with its value and the limit.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.partitions.get() > PARTITIONS_MAX {
            let problem = format!("{} is above the limit of {PARTITIONS_MAX}", self.partitions);
            return Err(Invalid::new("partitions", problem));
        }
        if self.session_timeout_max.is_zero() {
            return Err(Invalid::new("session_timeout_max", "0s is no time; it must be above zero"));
        }
        if self.retention.is_zero() {
            return Err(Invalid::new("retention", "0s keeps nothing; it must be above zero"));
        }
        if self.record_bytes_max.bytes() == 0 {
            return Err(Invalid::new("record_bytes_max", "no record has 0 bytes; it must be above zero"));
        }
        if let Some(bytes) = self.retention_bytes.filter(|bytes| *bytes < self.record_bytes_max) {
            let problem =
                format!("{bytes} has no room for a record of `record_bytes_max`, {}", self.record_bytes_max);
            return Err(Invalid::new("retention_bytes", problem));
        }
        if self.cleanup == Cleanup::Compact && self.retention_bytes.is_some() {
            let problem =
                "`cleanup = \"compact\"` keeps the last record of each key, however many bytes they are";
            return Err(Invalid::new("retention_bytes", problem));
        }
        let Durability { copies, synced } = self.durability;
        if synced > copies {
            return Err(Invalid::new(
                "durability",
                format!("synced = {synced} is more than copies = {copies}"),
            ));
        }
        if copies > self.replicas.get() {
            let problem = format!("copies = {copies} is more than `replicas`, which is {}", self.replicas);
            return Err(Invalid::new("durability", problem));
        }
        Ok(())
    }
}
