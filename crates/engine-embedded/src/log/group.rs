//! One group: where it is, and who its members are.

use std::collections::BTreeMap;
use std::time::Duration;

use intertie_core::clock::{Timestamp, nanos};
use intertie_messaging::Name;
use intertie_messaging::log::{Coordinator, Held, StartAt};
use rusqlite::{Connection, params};

use super::tables::place;
use crate::moment::{Moment, moment, timestamp};
use crate::statement::run;

/// A group in memory, and as it was stored last.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) number: i64,
    /// Where its last member that joined would begin.
    pub(super) start: StartAt,
    /// Where it goes on, by partition.
    pub(super) positions: Vec<Option<u64>>,
    pub(super) coordinator: Coordinator,
    stored: Stored,
}

/// What of a group is in the database.
#[derive(Debug, Clone, PartialEq, Default)]
struct Stored {
    head: Option<(u64, StartAt)>,
    owners: Vec<Option<Name>>,
    sessions: BTreeMap<Name, (u64, Duration)>,
}

impl Group {
    pub(super) fn new(number: i64, partitions: u32, generation: u64) -> Self {
        let count = partitions as usize;
        Self {
            number,
            start: StartAt::Beginning,
            positions: vec![None; count],
            coordinator: Coordinator::new(partitions, generation),
            stored: Stored { owners: vec![None; count], ..Stored::default() },
        }
    }

    /// One that is stored so, whose members' sessions have yet to begin anew.
    pub(super) fn stored(number: i64, generation: u64, start: StartAt, partitions: u32) -> Self {
        let mut group = Self::new(number, partitions, generation);
        group.start = start;
        group.stored.head = Some((generation, start));
        group
    }

    /// Notes what is stored of a member.
    pub(super) fn note(&mut self, held: &Held) {
        self.stored.sessions.insert(held.member.clone(), (held.generation, held.session));
        for partition in &held.partitions {
            self.stored.owners[*partition as usize] = Some(held.member.clone());
        }
    }

    /// There are more partitions now.
    pub(super) fn grow(&mut self, connection: &Connection, partitions: u32) -> rusqlite::Result<()> {
        // All that is appended there came after the group.
        let new: Vec<_> = (self.positions.len() as u32..partitions).collect();
        self.positions.resize(partitions as usize, Some(0));
        self.stored.owners.resize(partitions as usize, None);
        self.coordinator.grow(partitions);
        self.write(connection, &new)
    }

    /// Writes what is not stored yet: who is a member, who has which partition, and where the group is in those that
    /// `moved`.
    pub(super) fn write(&mut self, connection: &Connection, moved: &[u32]) -> rusqlite::Result<()> {
        let Self { number, start, positions, coordinator, stored } = self;
        let number = *number;
        let head = Some((coordinator.generation(), *start));
        if stored.head != head {
            let (kind, at) = start_code(*start);
            let generation = coordinator.generation().cast_signed();
            let sql = "UPDATE topic_group SET generation = ?2, start = ?3, start_at = ?4 WHERE number = ?1";
            run(connection, sql, [number, generation, kind, at])?;
            stored.head = head;
        }
        stored.write_sessions(connection, number, coordinator)?;
        // Most of the time nothing changes hands.
        if moved.is_empty() && stored.owners == coordinator.owners() {
            return Ok(());
        }
        let mut moved = moved.iter().copied().peekable();
        for (partition, owner) in (0..).zip(coordinator.owners()) {
            let has_moved = moved.next_if_eq(&partition).is_some();
            let before = &mut stored.owners[partition as usize];
            if before != owner || has_moved {
                before.clone_from(owner);
                let position = positions[partition as usize].map(u64::cast_signed);
                let sql = "INSERT OR REPLACE INTO topic_position VALUES (?1, ?2, ?3)";
                let owner = owner.as_ref().map(Name::as_str);
                run(connection, sql, params![place(number, partition), position, owner])?;
            }
        }
        Ok(())
    }

    /// Goes on at `next`, unless it is further already.
    pub(super) fn advance(
        &mut self,
        connection: &Connection,
        partition: u32,
        next: u64,
    ) -> rusqlite::Result<()> {
        let position = &mut self.positions[partition as usize];
        *position = (*position).max(Some(next));
        let sql = "INSERT INTO topic_position (id, next) VALUES (?1, ?2)
                   ON CONFLICT (id) DO UPDATE SET next = excluded.next";
        let next = position.map_or(0, u64::cast_signed);
        run(connection, sql, [place(self.number, partition), next]).map(|_| ())
    }
}

impl Stored {
    /// Writes who joined, and who is a member no more.
    fn write_sessions(
        &mut self,
        connection: &Connection,
        number: i64,
        coordinator: &Coordinator,
    ) -> rusqlite::Result<()> {
        if self.sessions.iter().map(|(member, stored)| (member, *stored)).eq(sessions(coordinator)) {
            return Ok(());
        }
        let mut gone = std::mem::take(&mut self.sessions);
        for (member, (generation, session)) in sessions(coordinator) {
            if gone.remove(member) != Some((generation, session)) {
                let session = i64::try_from(nanos(session)).unwrap_or(i64::MAX);
                let sql = "INSERT OR REPLACE INTO topic_member VALUES (?1, ?2, ?3, ?4)";
                run(connection, sql, params![number, member.as_str(), generation.cast_signed(), session])?;
            }
            self.sessions.insert(member.clone(), (generation, session));
        }
        for member in gone.keys() {
            let sql = "DELETE FROM topic_member WHERE number = ?1 AND member = ?2";
            run(connection, sql, params![number, member.as_str()])?;
        }
        Ok(())
    }
}

/// Each member with its generation, and how long its session lasts.
fn sessions(coordinator: &Coordinator) -> impl Iterator<Item = (&Name, (u64, Duration))> {
    coordinator.sessions().map(|(member, generation, session)| (member, (generation, session)))
}

/// A start as two columns.
pub(super) fn start_code(start: StartAt) -> (i64, Moment) {
    match start {
        StartAt::Beginning => (0, 0),
        StartAt::End => (1, 0),
        StartAt::Position(position) => (2, i64::try_from(position).unwrap_or(i64::MAX)),
        StartAt::Time(time) => (3, moment(time)),
    }
}

/// The start that two columns tell.
pub(super) fn start_of(kind: i64, at: Moment) -> StartAt {
    match kind {
        1 => StartAt::End,
        2 => StartAt::Position(at.max(0).cast_unsigned()),
        3 => StartAt::Time(timestamp(at)),
        _ => StartAt::Beginning,
    }
}

/// Sessions are counted on the line of time of the store.
pub(super) fn instant(now: Moment) -> intertie_core::clock::Instant {
    let now: Timestamp = timestamp(now);
    intertie_core::clock::Instant::from_nanos(now.as_unix_nanos())
}
