//! What commits do to queues: what it is, and whether it can be done.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use intertie_messaging::commit::{CommitError, Refused};
use intertie_messaging::queue::{DeadLetter, LeaseId, LeaseToken, Settlement};
use intertie_messaging::{Content, Due, EngineError, Message, Name};
use rusqlite::{Connection, OptionalExtension, params};

use super::Queues;
use super::row;
use super::settle::Standing;
use super::tables::{PLACES_MAX, is_place};
use crate::content;
use crate::moment::{Moment, later, moment};

/// An operation on queues, made ready by its caller so that the writer has less to do.
#[derive(Debug)]
pub(crate) enum Change {
    /// [`Operation::Send`].
    Send { queue: Name, draft: Draft },
    /// [`Operation::Cancel`].
    Cancel { queue: Name, position: u64 },
    /// [`Operation::Settle`]; of nothing, when the lease is no text that was ever one.
    Settle { queue: Name, token: Option<LeaseToken>, settlement: Settlement },
    /// [`Operation::Redrive`].
    Redrive { queue: Name, position: u64, to: Name },
    /// [`Operation::Bury`].
    Bury { queue: Name, content: Vec<u8>, dead: Box<DeadLetter> },
}

/// A message to be sent.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(super) content: Vec<u8>,
    pub(super) priority: u8,
    pub(super) due: Due,
    pub(super) expires: Option<Moment>,
    pub(super) member: Option<Box<str>>,
}

impl From<Message> for Draft {
    fn from(message: Message) -> Self {
        let envelope = &message.envelope;
        let expires = envelope.expiry_time().ok().flatten().and_then(|time| time.timestamp());
        Self {
            content: content::write_envelope(envelope),
            priority: message.priority,
            due: message.due,
            expires: expires.map(moment),
            member: envelope.partition_key().map(Cow::into_owned).map(Into::into),
        }
    }
}

/// The group of what is stored as `written`.
pub(super) fn member_of(written: &[u8]) -> Option<Box<str>> {
    match content::read(Bytes::copy_from_slice(written)) {
        Content::Envelope(envelope) => envelope.partition_key().map(Cow::into_owned).map(Into::into),
        Content::Undecodable { .. } => None,
    }
}

impl Change {
    pub(crate) fn send(queue: Name, message: Message) -> Self {
        Self::Send { queue, draft: message.into() }
    }

    pub(crate) fn settle(queue: Name, lease: &LeaseId, settlement: Settlement) -> Self {
        Self::Settle { queue, token: token(lease), settlement }
    }

    pub(crate) fn bury(queue: Name, content: &Content, dead: Box<DeadLetter>) -> Self {
        Self::Bury { queue, content: content::write(content), dead }
    }

    /// What its sender chose the size of.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Send { draft, .. } => draft.content.len(),
            Self::Bury { content, dead, .. } => content.len() + dead.reason.as_ref().map_or(0, String::len),
            Self::Settle { settlement: Settlement::DeadLetter { reason, .. }, .. } => reason.len(),
            Self::Cancel { .. } | Self::Settle { .. } | Self::Redrive { .. } => 0,
        }
    }
}

pub(crate) fn token(lease: &LeaseId) -> Option<LeaseToken> {
    lease.as_str().parse().ok()
}

/// What the operations of one commit that were looked at so far come to together.
#[derive(Debug, Default)]
pub(crate) struct Together<'a> {
    stored: HashMap<i64, u64>,
    ids: HashSet<(i64, &'a str)>,
    new_ids: u64,
    /// Messages that move, and their bytes.
    moved: (u64, u64),
    taken: HashSet<(i64, u64)>,
    settled: HashMap<(i64, LeaseToken), &'a Settlement>,
}

impl Together<'_> {
    fn moves(&mut self, bytes: u64) {
        self.moved.0 += u64::from(bytes > 0);
        self.moved.1 = self.moved.1.saturating_add(bytes);
    }
}

impl Queues {
    /// Whether `change`, which can be done once, was done; nothing for others.
    pub(crate) fn was_done(
        &self,
        connection: &Connection,
        change: &Change,
        now: Moment,
    ) -> rusqlite::Result<Option<bool>> {
        let Change::Settle { queue, token, settlement } = change else { return Ok(None) };
        let (Ok(number), Some(token)) = (self.number(queue), *token) else { return Ok(Some(false)) };
        let standing = self.standing(connection, number, token, settlement, now)?;
        Ok(Some(standing == Standing::SettledSo))
    }

    /// Whether `change` can be done, beside those that `together` has.
    pub(crate) fn check<'a>(
        &self,
        connection: &Connection,
        change: &'a Change,
        together: &mut Together<'a>,
        now: Moment,
    ) -> rusqlite::Result<Result<(), Refused>> {
        match change {
            Change::Send { queue, draft } => self.check_send(connection, queue, draft, together, now),
            Change::Cancel { queue, position } => {
                let number = found!(self.number(queue));
                let waits = self.waiting(connection, number, *position)?.is_some();
                let is_first = together.taken.insert((number, *position));
                Ok(if waits && is_first { Ok(()) } else { Err(Refused::NotWaiting) })
            }
            Change::Settle { queue, token, settlement } => {
                let number = found!(self.number(queue));
                let Some(token) = *token else { return Ok(Err(EngineError::StaleLease.into())) };
                let Some(held) = self.at(number).live(token, now) else {
                    return Ok(Err(EngineError::StaleLease.into()));
                };
                match together.settled.insert((number, token), settlement) {
                    Some(before) if before != settlement => return Ok(Err(EngineError::StaleLease.into())),
                    Some(_) => {}
                    None => together.moves(self.moves(number, held, settlement)),
                }
                Ok(Ok(()))
            }
            Change::Redrive { queue, position, to } => {
                let number = found!(self.number(queue));
                let row = self.waiting(connection, number, *position)?;
                let is_first = together.taken.insert((number, *position));
                let Some(row) = row.filter(|row| is_first && row.dead.is_some()) else {
                    return Ok(Err(Refused::NotWaiting));
                };
                let to = found!(self.number(to));
                if let Err(refused) = self.fits(to, row.bytes) {
                    return Ok(Err(refused));
                }
                together.moves(row.bytes);
                Ok(self.has_room(to, together))
            }
            Change::Bury { queue, .. } => Ok(self.has_places(found!(self.number(queue)))),
        }
    }

    /// Whether what a commit moves, beside what its own bytes are, fits the group, as its bytes do.
    pub(crate) fn check_moves(&self, together: &Together<'_>) -> Result<(), CommitError> {
        let (bound, limit) = ("group_bytes_max", self.limits.bytes);
        let (messages, bytes) = together.moved;
        if messages > 1 && bytes > limit {
            Err(CommitError::TooLarge { bound, is: bytes, limit })
        } else if messages > 0 && self.moved > 0 && self.moved.saturating_add(bytes) > limit {
            Err(CommitError::Overloaded { bound, limit })
        } else {
            Ok(())
        }
    }

    fn check_send<'a>(
        &self,
        connection: &Connection,
        name: &Name,
        draft: &'a Draft,
        together: &mut Together<'a>,
        now: Moment,
    ) -> rusqlite::Result<Result<(), Refused>> {
        let number = found!(self.number(name));
        let spec = &self.at(number).spec;
        if let Err(refused) = self.fits(number, draft.content.len() as u64) {
            return Ok(Err(refused));
        }
        if draft.priority >= spec.priorities.get() {
            let problem = format!("the priority is {}, and there are {}", draft.priority, spec.priorities);
            return Ok(Err(Refused::NotDeclared { key: "priorities", problem }));
        }
        if draft.due != Due::Now && !spec.delays {
            let problem = "the message is for later".to_owned();
            return Ok(Err(Refused::NotDeclared { key: "delays", problem }));
        }
        let (bound, limit) = ("key_bytes_max", self.limits.key_bytes);
        if spec.groups && draft.member.as_ref().is_some_and(|member| member.len() > limit) {
            return Ok(Err(EngineError::Limit { key: bound, limit: limit.to_string() }.into()));
        }
        if spec.deduplication_window.is_some() {
            let id = content::identity(&draft.content).unwrap_or_default();
            if id.len() > limit {
                return Ok(Err(EngineError::Limit { key: bound, limit: limit.to_string() }.into()));
            }
            if !together.ids.insert((number, id)) || self.duplicate_of(connection, number, id, now)?.is_some()
            {
                return Ok(Ok(()));
            }
            together.new_ids += 1;
            if !self.ids.has_room(together.new_ids, self.limits.ids) {
                let limit = self.limits.ids;
                return Ok(Err(EngineError::Overloaded { bound: "ids_max", limit }.into()));
            }
        }
        Ok(self.has_room(number, together))
    }

    /// Whether the queue has positions left.
    fn has_places(&self, number: i64) -> Result<(), Refused> {
        if self.at(number).counters.next < PLACES_MAX {
            return Ok(());
        }
        Err(EngineError::Limit { key: "positions", limit: PLACES_MAX.to_string() }.into())
    }

    fn fits(&self, number: i64, bytes: u64) -> Result<(), Refused> {
        let limit = self.at(number).spec.message_bytes_max.bytes();
        if bytes <= limit { Ok(()) } else { Err(Refused::TooLarge { bytes, limit }) }
    }

    /// Whether the queue takes one more, which is counted if it does.
    fn has_room(&self, number: i64, together: &mut Together<'_>) -> Result<(), Refused> {
        self.has_places(number)?;
        let queue = self.at(number);
        let Some(limit) = queue.spec.depth_max else { return Ok(()) };
        let more = together.stored.entry(number).or_default();
        if queue.len() + *more >= limit {
            return Err(Refused::Full { limit });
        }
        *more += 1;
        Ok(())
    }

    /// The message that stands there, if nobody holds it.
    fn waiting(
        &self,
        connection: &Connection,
        number: i64,
        position: u64,
    ) -> rusqlite::Result<Option<row::Row>> {
        if !is_place(position) || self.at(number).held.contains_key(&position) {
            return Ok(None);
        }
        row::read(connection, number, position)
    }

    /// Where the message stands, or stood, that was sent with this id within the window.
    pub(super) fn duplicate_of(
        &self,
        connection: &Connection,
        number: i64,
        id: &str,
        now: Moment,
    ) -> rusqlite::Result<Option<u64>> {
        let Some(window) = self.at(number).spec.deduplication_window else { return Ok(None) };
        let sql = "SELECT id, at FROM message_seen WHERE queue = ?1 AND key = ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let read = |row: &rusqlite::Row<'_>| Ok((super::tables::place(row.get(0)?).1, row.get(1)?));
        let seen: Option<(u64, Moment)> = statement.query_row(params![number, id], read).optional()?;
        Ok(seen.filter(|(_, at)| now < later(*at, window)).map(|(position, _)| position))
    }
}
