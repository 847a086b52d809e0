//! What commits do to topics.

use std::borrow::Cow;

use intertie_messaging::commit::{Outcome, Receipt, Refused};
use intertie_messaging::log::{Cleanup, KeyHash, Membership, Record};
use intertie_messaging::{DeclareError, Durability, EngineError, Name};
use rusqlite::Connection;

use super::group::instant;
use super::tables::{END, key};
use super::{Ask, Row, Said, Topic, Topics};
use crate::content;
use crate::moment::{Moment, later};

/// An operation on topics, made ready by its caller so that the writer has less to do.
#[derive(Debug)]
pub(crate) enum Change {
    /// [`Operation::Append`](intertie_messaging::commit::Operation::Append).
    Append { topic: Name, draft: Draft },
    /// [`Operation::Advance`](intertie_messaging::commit::Operation::Advance).
    Advance { membership: Membership, partition: u32, next: u64 },
}

/// A record to be appended.
#[derive(Debug)]
pub(crate) struct Draft {
    content: Vec<u8>,
    /// The partition that it names.
    partition: Option<u32>,
    key: Option<(Box<str>, KeyHash)>,
    /// Whether it has a key and no data, and so ends the key where records replace each other.
    is_end: bool,
    /// What speaks against it in a topic that is cleaned up so.
    unfit: [Option<&'static str>; 2],
}

impl From<Record> for Draft {
    fn from(record: Record) -> Self {
        let unfit = |cleanup| match record.check(cleanup) {
            Err(Refused::Tombstone { problem }) => Some(problem),
            _ => None,
        };
        let envelope = &record.envelope;
        let key = envelope.partition_key().map(Cow::into_owned);
        Self {
            content: content::write_envelope(envelope),
            partition: record.partition,
            is_end: key.is_some() && envelope.data().is_none(),
            unfit: [unfit(Cleanup::Delete), unfit(Cleanup::Compact)],
            key: key.map(|key| {
                let hash = KeyHash::of(&key);
                (key.into(), hash)
            }),
        }
    }
}

/// Positions that stay free, so that no commit runs out of them half way: more than any commit has operations.
const SPARE: u64 = 1 << 32;

impl Change {
    pub(crate) fn append(topic: Name, record: Record) -> Self {
        Self::Append { topic, draft: record.into() }
    }

    pub(crate) fn advance(membership: Membership, partition: u32, next: u64) -> Self {
        Self::Advance { membership, partition, next }
    }

    /// What its sender chose the size of.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append { draft, .. } => {
                draft.content.len() + draft.key.as_ref().map_or(0, |(key, _)| key.len())
            }
            Self::Advance { .. } => 0,
        }
    }
}

impl Topics {
    /// Whether `change`, which can be done once, was done; nothing for others.
    pub(crate) fn was_done(&self, change: &Change, now: Moment) -> Option<bool> {
        let Change::Advance { membership, partition, next } = change else { return None };
        let is_own = self.is_own(membership, *partition, now);
        let group = || self.topics.get(&membership.member.topic)?.groups.get(&membership.member.group);
        let position = || group()?.positions.get(*partition as usize).copied().flatten();
        Some(is_own.is_ok() && position().is_some_and(|position| position >= *next))
    }

    /// Whether `change` can be done.
    pub(crate) fn check(&self, change: &Change, now: Moment) -> Result<(), Refused> {
        match change {
            Change::Append { topic, draft } => {
                let topic = self.partition(topic, draft.partition.unwrap_or(0))?;
                topic.check(draft, self.limits.key_bytes)
            }
            Change::Advance { membership, partition, next } => {
                self.is_own(membership, *partition, now)?;
                let topic = self.partition(&membership.member.topic, *partition)?;
                let end = topic.partitions[*partition as usize].next;
                let beyond = || EngineError::Limit { key: "end", limit: end.to_string() };
                if *next <= end { Ok(()) } else { Err(beyond().into()) }
            }
        }
    }

    /// Whether who advances has the partition.
    fn is_own(&self, membership: &Membership, partition: u32, now: Moment) -> Result<(), EngineError> {
        let Membership { member, generation } = membership;
        let topic = self.partition(&member.topic, partition)?;
        let Some(group) = topic.groups.get(&member.group) else {
            return Err(EngineError::StaleMembership { generation: 0 });
        };
        if group.coordinator.owns(instant(now), &member.member, *generation, partition) {
            return Ok(());
        }
        Err(EngineError::StaleMembership { generation: group.coordinator.current() })
    }

    /// Does what was checked.
    pub(crate) fn apply(
        &mut self,
        connection: &Connection,
        change: Change,
        now: Moment,
    ) -> rusqlite::Result<Outcome> {
        const CHECKED: &str = "it was checked before";
        match change {
            Change::Append { topic, draft } => {
                let (partition, position) = self.append(connection, &topic, draft, now)?.expect(CHECKED);
                let position = Some(position);
                Ok(Outcome::Stored(Receipt { partition, position, durability: Durability::SYNCED }))
            }
            Change::Advance { membership: Membership { member, .. }, partition, next } => {
                let topic = self.topics.get_mut(&member.topic).expect(CHECKED);
                let group = topic.groups.get_mut(&member.group).expect(CHECKED);
                group.advance(connection, partition, next)?;
                Ok(Outcome::Done)
            }
        }
    }

    /// Puts a record at the end of its partition: which, and where. Nothing without the topic.
    fn append(
        &mut self,
        connection: &Connection,
        name: &Name,
        draft: Draft,
        now: Moment,
    ) -> rusqlite::Result<Option<(u32, u64)>> {
        let Some(topic) = self.topics.get_mut(name) else { return Ok(None) };
        let partition = topic.choose(&draft);
        let own = &mut topic.partitions[partition as usize];
        let position = own.add(draft.content.len() as u64);
        topic.highest = topic.highest.max(own.next);
        self.appends.records += 1;
        self.appends.bytes += draft.content.len() as u64;
        let row = Row { id: key(own.number, position), stored: now, content: draft.content };
        let spec = &topic.spec;
        let (has_alarm, is_compact) = (own.alarm.is_some(), spec.cleanup == Cleanup::Compact);
        let (ends, is_over) =
            (later(now, spec.retention), spec.retention_bytes.is_some_and(|limit| own.bytes > limit.bytes()));
        self.touch(name, partition);
        match draft.key {
            Some((record_key, _)) if is_compact => {
                self.replace(connection, name, partition, &row, &record_key, draft.is_end)?;
            }
            _ => {
                self.rows.push(row);
                if is_over {
                    self.set_alarm(name, partition, now);
                } else if !has_alarm && !is_compact {
                    self.set_alarm(name, partition, ends);
                }
            }
        }
        Ok(Some((partition, position)))
    }

    /// Whether something can be done that is asked for.
    pub(crate) fn check_ask(&self, ask: &Ask) -> Result<(), DeclareError> {
        match ask {
            Ask::Declare { name, spec } => self.check_declare(name, spec),
            Ask::Delete { name } if self.shut.contains_key(name) => Ok(()),
            Ask::Delete { name } => Ok(self.topic(name).map(|_| ())?),
            Ask::Leave(membership) => Ok(self.topic(&membership.member.topic).map(|_| ())?),
            Ask::Join { .. } | Ask::Heartbeat(_) | Ask::Seek { .. } => Ok(()),
        }
    }

    /// Does what is asked.
    pub(crate) fn ask(&mut self, connection: &Connection, ask: Ask, now: Moment) -> rusqlite::Result<Said> {
        Ok(match ask {
            Ask::Declare { name, spec } => {
                self.declare(connection, &name, *spec, now)?;
                Said::Done
            }
            Ask::Delete { name } => {
                self.delete(connection, &name)?;
                Said::Done
            }
            Ask::Join { join, starts } => Said::Joined(self.join(connection, &join, &starts, now)?),
            Ask::Heartbeat(heartbeat) => Said::Stayed(self.heartbeat(connection, &heartbeat, now)?),
            Ask::Leave(membership) => {
                self.leave(connection, &membership, now)?;
                Said::Done
            }
            Ask::Seek { seek, starts } => Said::Sought(self.seek(connection, &seek, &starts)?),
        })
    }
}

impl Topic {
    fn check(&self, draft: &Draft, key_bytes: usize) -> Result<(), Refused> {
        let is_compact = self.spec.cleanup == Cleanup::Compact;
        if let Some(problem) = draft.unfit[usize::from(is_compact)] {
            return Err(Refused::Tombstone { problem });
        }
        let (bytes, limit) = (draft.content.len() as u64, self.spec.record_bytes_max.bytes());
        if bytes > limit {
            return Err(Refused::TooLarge { bytes, limit });
        }
        let is_long = draft.key.as_ref().is_some_and(|(key, _)| key.len() > key_bytes);
        if is_compact && is_long {
            return Err(EngineError::Limit { key: "key_bytes_max", limit: key_bytes.to_string() }.into());
        }
        if self.highest > END - SPARE {
            return Err(EngineError::Limit { key: "positions", limit: END.to_string() }.into());
        }
        Ok(())
    }

    /// The partition of a record: the one that it names, the one of its key, or one after the other.
    fn choose(&mut self, draft: &Draft) -> u32 {
        let partitions = self.spec.partitions;
        match (draft.partition, &draft.key) {
            (Some(partition), _) => partition,
            (None, Some((_, hash))) => hash.partition(partitions),
            (None, None) => {
                self.turn = (self.turn + 1) % partitions.get();
                self.turn
            }
        }
    }
}
