//! Whether a commit can be done, decided by what was found: nothing here waits or changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use intertie_idempotency::{Bounds, Record, Usage, record};
use intertie_messaging::commit::Refused;
use intertie_messaging::queue::Settlement;
use intertie_messaging::{Due, EngineError, Name};

use super::change::{Change, Draft, Lease};
use crate::moment::{Moment, later, timestamp};
use crate::queues::{Known, Queues};
use crate::row::Row;
use crate::schema::digest_of;

/// What stays true until the end of the transaction.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) queues: Queues,
    pub(crate) rows: BTreeMap<(i32, i64), Row>,
    /// By queue and delivery.
    pub(crate) remembered: BTreeMap<(i32, i64), Remembered>,
    pub(crate) requests: BTreeMap<Vec<u8>, Record>,
    /// What may be kept of requests, and what is.
    pub(crate) room: Option<(Bounds, Usage)>,
    /// How much queues with a bound hold.
    pub(crate) depths: BTreeMap<i32, u64>,
    /// The positions of what operations put somewhere.
    pub(crate) places: BTreeMap<usize, i64>,
    /// Marks that were not there before.
    pub(crate) marked: BTreeSet<(String, Vec<u8>)>,
    /// Where the first message of each id stands.
    pub(crate) seen: BTreeMap<(i32, Vec<u8>), i64>,
    pub(crate) now: Moment,
}

/// A settlement that was done.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) secret: i64,
    pub(crate) settlement: Vec<u8>,
    pub(crate) at: Moment,
}

/// What the operations of one commit that were looked at so far come to together.
#[derive(Debug, Default)]
struct Together<'a> {
    stored: BTreeMap<i32, u64>,
    ids: BTreeSet<(i32, &'a [u8])>,
    taken: BTreeSet<(i32, i64)>,
    settled: BTreeMap<(i32, i64), &'a Settlement>,
    marked: BTreeSet<(&'a str, &'a [u8])>,
}

/// A settlement as it is remembered: bytes that are the same when it is.
pub(crate) fn written(settlement: &Settlement) -> Vec<u8> {
    match settlement {
        Settlement::Ack => b"ack".to_vec(),
        Settlement::Release => b"release".to_vec(),
        Settlement::Retry { after: None } => b"retry".to_vec(),
        Settlement::Retry { after: Some(after) } => format!("retry {}", after.as_nanos()).into_bytes(),
        Settlement::DeadLetter { cause, reason } => digest_of(&[cause.name().as_bytes(), reason.as_bytes()]),
    }
}

impl Facts {
    fn queue(&self, name: &Name) -> Result<&Known, Refused> {
        let not_found = || EngineError::NotFound { name: name.clone(), nearest: None };
        self.queues.get(name).ok_or_else(|| not_found().into())
    }

    /// The message of a lease that stands.
    pub(crate) fn live(&self, queue: &Known, lease: Lease) -> Option<&Row> {
        let row = self.rows.get(&(queue.number, lease.position))?;
        let held = row.held.as_ref().filter(|held| self.now < held.until)?;
        ((held.delivery, held.secret) == (lease.delivery, lease.secret)).then_some(row)
    }

    /// The message at a place, if nobody has it.
    pub(crate) fn waiting(&self, queue: &Known, position: i64) -> Option<&Row> {
        self.rows.get(&(queue.number, position)).filter(|row| !row.is_held(self.now))
    }

    /// Whether `change` gets a position, if it is done.
    pub(crate) fn needs_place(&self, change: &Change) -> bool {
        match change {
            Change::Send { .. } | Change::Bury { .. } | Change::Redrive { .. } => true,
            Change::Settle { queue, lease: Some(lease), settlement } => {
                let Some(queue) = self.queues.get(queue) else { return false };
                let row = self.live(queue, *lease);
                match settlement {
                    Settlement::DeadLetter { .. } => row.is_some(),
                    Settlement::Retry { .. } => row.is_some_and(|row| row.is_last(queue)),
                    Settlement::Ack | Settlement::Release => false,
                }
            }
            _ => false,
        }
    }

    /// Whether what can be done once in `changes` was done: all of it or nothing.
    ///
    /// # Errors
    /// The first of those that were, where others were not.
    pub(crate) fn is_done_before(&self, changes: &[Change]) -> Result<bool, usize> {
        let once: Vec<(usize, bool)> = changes
            .iter()
            .enumerate()
            .filter_map(|(at, change)| self.was_done(change).map(|done| (at, done)))
            .collect();
        match once.iter().find(|(_, done)| *done) {
            None => Ok(false),
            Some(_) if once.iter().all(|(_, done)| *done) => Ok(true),
            Some((at, _)) => Err(*at),
        }
    }

    /// Whether `change`, which can be done once, was done; nothing for others.
    fn was_done(&self, change: &Change) -> Option<bool> {
        match change {
            Change::Settle { queue, lease, settlement } => Some(self.was_settled(queue, *lease, settlement)),
            Change::Complete { digest, fence, .. } => {
                let found = self.requests.get(digest);
                let again = record::complete(found, *fence, None, timestamp(self.now), Duration::ZERO);
                Some(again == Ok(None))
            }
            _ => None,
        }
    }

    fn was_settled(&self, queue: &Name, lease: Option<Lease>, settlement: &Settlement) -> bool {
        let (Some(queue), Some(lease)) = (self.queues.get(queue), lease) else { return false };
        let before = self.remembered.get(&(queue.number, lease.delivery));
        before.is_some_and(|before| {
            before.secret == lease.secret
                && before.settlement == written(settlement)
                && self.now < later(before.at, queue.spec.settlement_window)
        })
    }

    /// The first of `changes` that can not be done, beside those before it.
    pub(crate) fn first_refused(&self, changes: &[Change]) -> Option<(usize, Refused)> {
        let mut together = Together::default();
        changes
            .iter()
            .enumerate()
            .find_map(|(at, change)| self.check(at, change, &mut together).err().map(|refused| (at, refused)))
    }

    fn check<'a>(&self, at: usize, change: &'a Change, together: &mut Together<'a>) -> Result<(), Refused> {
        match change {
            Change::Send { queue, draft } => self.check_send(at, queue, draft, together),
            Change::Cancel { queue, position } => {
                let queue = self.queue(queue)?;
                self.waiting(queue, *position).ok_or(Refused::NotWaiting)?;
                take(together, queue, *position)
            }
            Change::Settle { queue, lease, settlement } => {
                let queue = self.queue(queue)?;
                let lease = lease.filter(|lease| self.live(queue, *lease).is_some());
                let lease = lease.ok_or(EngineError::StaleLease)?;
                let before = together.settled.insert((queue.number, lease.position), settlement);
                match before {
                    Some(other) if other != settlement => Err(EngineError::StaleLease.into()),
                    _ => Ok(()),
                }
            }
            Change::Redrive { queue, position, to } => {
                let queue = self.queue(queue)?;
                let row = self.waiting(queue, *position).filter(|row| row.dead.is_some());
                let row = row.ok_or(Refused::NotWaiting)?;
                take(together, queue, *position)?;
                let to = self.queue(to)?;
                fits(row.bytes.cast_unsigned(), to)?;
                self.has_room(to, together)
            }
            Change::Bury { queue, .. } => self.queue(queue).map(|_| ()),
            Change::Mark { inbox, digest, .. } => {
                let is_new = self.marked.contains(&(inbox.as_str().to_owned(), digest.clone()));
                let is_first = together.marked.insert((inbox.as_str(), &digest[..]));
                if is_new && is_first { Ok(()) } else { Err(Refused::HandledBefore) }
            }
            Change::Complete { digest, fence, kept, .. } => {
                let found = self.requests.get(digest);
                let completed = record::complete(found, *fence, None, timestamp(self.now), *kept);
                completed.map(|_| ()).map_err(|_| Refused::Lost)
            }
            Change::Unsupported => Err(Refused::Engine(EngineError::StaleLease)),
        }
    }

    fn check_send<'a>(
        &self,
        at: usize,
        queue: &Name,
        draft: &'a Draft,
        together: &mut Together<'a>,
    ) -> Result<(), Refused> {
        let queue = self.queue(queue)?;
        let spec = &queue.spec;
        fits(draft.content.len() as u64, queue)?;
        if draft.priority >= spec.priorities.get() {
            let problem = format!("the priority is {}, and there are {}", draft.priority, spec.priorities);
            return Err(Refused::NotDeclared { key: "priorities", problem });
        }
        if draft.due != Due::Now && !spec.delays {
            let problem = "the message is for later".to_owned();
            return Err(Refused::NotDeclared { key: "delays", problem });
        }
        let is_first = together.ids.insert((queue.number, &draft.id[..]));
        if spec.deduplication_window.is_some() && (!is_first || self.duplicate_of(at, queue, draft).is_some())
        {
            return Ok(());
        }
        self.has_room(queue, together)
    }

    /// Where the message stands that this one is a duplicate of.
    pub(crate) fn duplicate_of(&self, at: usize, queue: &Known, draft: &Draft) -> Option<i64> {
        let first = self.seen.get(&(queue.number, draft.id.clone()))?;
        (self.places.get(&at) != Some(first)).then_some(*first)
    }

    /// Whether `queue` takes one more, beside what comes before.
    fn has_room(&self, queue: &Known, together: &mut Together<'_>) -> Result<(), Refused> {
        let Some(limit) = queue.spec.depth_max else { return Ok(()) };
        let before = together.stored.entry(queue.number).or_default();
        let is = self.depths.get(&queue.number).copied().unwrap_or_default().saturating_add(*before);
        *before += 1;
        if is < limit { Ok(()) } else { Err(Refused::Full { limit }) }
    }
}

fn fits(bytes: u64, queue: &Known) -> Result<(), Refused> {
    let limit = queue.spec.message_bytes_max.bytes();
    if bytes <= limit { Ok(()) } else { Err(Refused::TooLarge { bytes, limit }) }
}

/// Takes what waits at `position`, which nothing before has.
fn take(together: &mut Together<'_>, queue: &Known, position: i64) -> Result<(), Refused> {
    let is_first = together.taken.insert((queue.number, position));
    if is_first { Ok(()) } else { Err(Refused::NotWaiting) }
}
