use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_core::envelope::Envelope;
use intertie_core::quantity::ByteSize;

use super::{Cleanup, TopicFeature, TopicSpec};
use crate::commit::Refused;
use crate::engine::{DeclareError, Engine, Listing, Pending};
use crate::message::Content;
use crate::support::{Declared, Support};
use crate::{EngineError, Name};

/// What keeps topics. Appending and advancing are [`Engine::commit`].
pub trait LogEngine: Engine {
    /// How one promise would be kept by the engine that was found, in its version.
    fn support(&self, feature: TopicFeature) -> Support;

    /// Makes the topic as `spec` asks, or changes it to that; a topic that is as asked is left alone.
    ///
    /// # Errors
    /// When a setting can not work, a promise can not be kept, or an existing topic can not be changed so.
    fn declare_topic<'a>(
        &'a self,
        name: &'a Name,
        spec: &'a TopicSpec,
    ) -> Pending<'a, Result<Declared, DeclareError>>;

    /// Removes the topic with its records and the positions of its groups.
    ///
    /// # Errors
    /// When there is none, or the engine can not write.
    fn delete_topic<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<(), EngineError>>;

    /// The names of topics. Fewer than asked for when there are no more.
    ///
    /// # Errors
    /// When the engine is not available.
    fn topics<'a>(&'a self, listing: &'a Listing) -> Pending<'a, Result<Vec<Name>, EngineError>>;

    /// The next records of one partition, at least one when there is one. Empty when none came within `wait`. Anyone
    /// may read anything: groups only remember how far they are.
    ///
    /// # Errors
    /// When there is no such partition, or the engine is not available.
    fn read<'a>(&'a self, read: &'a Read) -> Pending<'a, Result<Records, EngineError>>;

    /// The position of the first record that `at` names, or the end when there is none.
    ///
    /// # Errors
    /// When there is no such partition, or the engine is not available.
    fn find<'a>(
        &'a self,
        topic: &'a Name,
        partition: u32,
        at: StartAt,
    ) -> Pending<'a, Result<u64, EngineError>>;

    /// Becomes a member of a group, anew each time: a member of the same name is replaced at once, and its partitions
    /// go over to this one.
    ///
    /// # Errors
    /// When there is no such topic, the session is longer than `session_timeout_max`, there are as many groups or
    /// members as the engine is configured for, or it is not available.
    fn join<'a>(&'a self, join: &'a Join) -> Pending<'a, Result<Assignment, EngineError>>;

    /// Stays a member: called again within `session_timeout`, however long the records take that are being handled.
    /// What it was told to hand back it names in `released` once it no longer works on it; nobody else gets it before.
    ///
    /// The session goes on through a restart of the engine, for one `session_timeout` more: until then nobody else
    /// gets the partitions of a member that was there before.
    ///
    /// # Errors
    /// When there is no such topic, the member was replaced or has left (it works on nothing any more, and joins), or
    /// the engine is not available.
    fn heartbeat<'a>(&'a self, heartbeat: &'a Heartbeat) -> Pending<'a, Result<Assignment, EngineError>>;

    /// Leaves a group and hands back all of its partitions. Who has left already, or was replaced, has left.
    ///
    /// # Errors
    /// When the engine is not available; the session then ends by itself.
    fn leave<'a>(&'a self, membership: &'a Membership) -> Pending<'a, Result<(), EngineError>>;

    /// The names of the groups that have a position in a topic. Fewer than asked for when there are no more.
    ///
    /// # Errors
    /// When there is no such topic, or the engine is not available.
    fn groups<'a>(
        &'a self,
        topic: &'a Name,
        listing: &'a Listing,
    ) -> Pending<'a, Result<Vec<Name>, EngineError>>;

    /// Sets where a group goes on, ahead or back, and makes it if there is none; its new positions by partition. Every
    /// member is out: what one of them advances later is refused as stale, so that nothing it still works on undoes
    /// this, and it joins again.
    ///
    /// # Errors
    /// When there is no such partition, or the engine is not available.
    fn seek<'a>(&'a self, seek: &'a Seek) -> Pending<'a, Result<Vec<(u32, u64)>, EngineError>>;

    /// How far a group is behind, partition by partition.
    ///
    /// # Errors
    /// When there is no such topic, or the engine is not available.
    fn lag<'a>(&'a self, topic: &'a Name, group: &'a Name) -> Pending<'a, Result<Vec<Lag>, EngineError>>;
}

/// What a producer appends to a topic. The key of a record is the `partitionkey` of its envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What it says.
    pub envelope: Envelope,
    /// The partition; unset, the one of its key, or any where it has none.
    pub partition: Option<u32>,
    /// Whether it ends its key, in a topic that is compacted: it then has a key and no data. A record of a key that
    /// has no data and does not say so is refused there, since engines can not tell the two apart: an empty body
    /// should not remove what was stored before.
    pub tombstone: bool,
}

impl Record {
    /// Whether a topic that is cleaned up so takes it.
    ///
    /// # Errors
    /// When it is a tombstone only by what it says of itself, or only by what it has.
    pub fn check(&self, cleanup: Cleanup) -> Result<(), Refused> {
        let (has_key, has_data) = (self.envelope.partition_key().is_some(), self.envelope.data().is_some());
        let refused = |problem| Err(Refused::Tombstone { problem });
        match (self.tombstone, cleanup) {
            (true, Cleanup::Delete) => refused("the topic is not compacted, so that it ends nothing"),
            (true, Cleanup::Compact) if !has_key => refused("it has no key to end"),
            (true, Cleanup::Compact) if has_data => refused("it has data"),
            (false, Cleanup::Compact) if has_key && !has_data => {
                refused("it has no data, which ends its key, and does not say that it is meant to")
            }
            _ => Ok(()),
        }
    }
}

impl From<Envelope> for Record {
    /// A record in the partition of its key, which ends nothing.
    fn from(envelope: Envelope) -> Self {
        Self { envelope, partition: None, tombstone: false }
    }
}

/// Which records to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Of which topic.
    pub topic: Name,
    /// Of which partition, from 0.
    pub partition: u32,
    /// From which position on; one that is no longer there reads on from the first that is, and at or behind the end
    /// there is nothing yet.
    pub from: u64,
    /// How many records at most.
    pub most: NonZeroU32,
    /// How many bytes at most, but for the first record.
    pub bytes_max: ByteSize,
    /// How long to wait for the first of them; zero does not wait.
    pub wait: Duration,
}

/// Some records of a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    /// The records, in order.
    pub records: Vec<Stored>,
    /// Where to read on.
    pub next: u64,
    /// Where the partition ended.
    pub end: u64,
}

/// A record as it lies in its partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Where it stands. Positions grow and may have gaps.
    pub position: u64,
    /// What it is.
    pub content: Content,
    /// When it was stored.
    pub stored_at: Timestamp,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest record that is kept.
    Beginning,
    /// Behind the newest.
    End,
    /// At this position.
    Position(u64),
    /// At the first record that was stored at this moment or later.
    Time(Timestamp),
}

/// A member that joins, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Who, and where.
    pub member: Member,
    /// A member that is not heard of for so long has left; at most `session_timeout_max` of the topic.
    pub session_timeout: Duration,
    /// Where the group begins in a partition that it has no position in. It is looked up when the first member is
    /// given the partition, and is the group's position from then on: what is appended afterwards is not skipped
    /// when that member leaves without a word. In a partition that the topic got later than the group it begins at the
    /// beginning, whatever this says: all that is there came afterwards.
    pub start: StartAt,
}

/// A member that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// As whom it joined.
    pub membership: Membership,
    /// Partitions that it was told to hand back, and no longer works on.
    pub released: Vec<u32>,
}

/// Where a group is to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seek {
    /// In which topic.
    pub topic: Name,
    /// Which group.
    pub group: Name,
    /// In which partition; unset, in all.
    pub partition: Option<u32>,
    /// Where to; a position that is no longer there, or not yet, is the nearest that is.
    pub to: StartAt,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// The topic that it reads.
    pub topic: Name,
    /// The group that shares it.
    pub group: Name,
    /// Its own name within the group.
    pub member: Name,
}

/// A member as it joined once: what it says as such, to advance, to stay and to hand back, so that one that was
/// replaced meanwhile is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Who.
    pub member: Member,
    /// Which joining: it grows with each of its group, of this member and of others, and with each seek. A group of a
    /// topic that was deleted and declared again gives out none that was given out before.
    pub generation: u64,
}

/// What a member has to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// As whom it advances.
    pub membership: Membership,
    /// Its partitions, and where each goes on.
    pub partitions: Vec<(u32, u64)>,
    /// Those of them that it should hand back as soon as it has finished what it works on.
    pub to_release: Vec<u32>,
}

/// How far a group is behind in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Which one.
    pub partition: u32,
    /// Where the group goes on; the beginning while it has no position.
    pub position: u64,
    /// Where the partition ends.
    pub end: u64,
    /// Records from one to the other that are kept.
    pub records: u64,
    /// When the oldest of them was stored: now less this is the lag in time.
    pub oldest: Option<Timestamp>,
}
