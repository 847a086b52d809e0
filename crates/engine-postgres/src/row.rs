//! One message as it stands in its queue, and what becomes of it: decisions that take the moment and touch nothing.

use intertie_messaging::queue::{Cause, DeadLetter, Origin, QueueSpec, TtlCounts};
use tokio_postgres::Row as Columns;

use crate::failure::Failure;
use crate::moment::{Moment, later, timestamp};
use crate::queues::Known;

/// May be leased.
pub(crate) const READY: i16 = 0;
/// Waits for its time.
pub(crate) const DELAYED: i16 = 1;
/// Waits for those of its group that were sent before it. The number between is that of a message that is held, which
/// only the statement writes that hands it out.
pub(crate) const BEHIND: i16 = 3;

/// What [`Row::read`] reads, of a table that is called `m`.
macro_rules! columns {
    () => {
        "m.queue, m.position, m.state, m.priority, m.deliveries, m.bytes, m.stored_at, m.due, m.first_due, m.expires, \
         m.ends, m.key, m.member, m.dead, m.delivery, m.secret, m.consumer, m.until"
    };
}
pub(crate) use columns;

/// A row of `message`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) queue: i32,
    pub(crate) position: i64,
    pub(crate) state: i16,
    pub(crate) priority: i16,
    pub(crate) deliveries: i32,
    pub(crate) bytes: i64,
    pub(crate) stored_at: Moment,
    pub(crate) due: Moment,
    /// When it might have been delivered first.
    pub(crate) first_due: Moment,
    /// Its own `expirytime`.
    pub(crate) expires: Option<Moment>,
    /// When it has waited too long, unless a consumer has it.
    pub(crate) ends: Option<Moment>,
    /// The digest of its `partitionkey`.
    pub(crate) key: Option<Vec<u8>>,
    /// The same where that makes a group.
    pub(crate) member: Option<Vec<u8>>,
    /// What it died of last, as JSON.
    pub(crate) dead: Option<String>,
    pub(crate) held: Option<Held>,
}

/// Who has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    pub(crate) delivery: i64,
    pub(crate) secret: i64,
    pub(crate) consumer: String,
    pub(crate) until: Moment,
}

impl Row {
    pub(crate) fn read(columns: &Columns) -> Result<Self, Failure> {
        let held = match columns.try_get::<_, Option<i64>>(14)? {
            None => None,
            Some(delivery) => Some(Held {
                delivery,
                secret: columns.try_get(15)?,
                consumer: columns.try_get(16)?,
                until: columns.try_get(17)?,
            }),
        };
        Ok(Self {
            queue: columns.try_get(0)?,
            position: columns.try_get(1)?,
            state: columns.try_get(2)?,
            priority: columns.try_get(3)?,
            deliveries: columns.try_get(4)?,
            bytes: columns.try_get(5)?,
            stored_at: columns.try_get(6)?,
            due: columns.try_get(7)?,
            first_due: columns.try_get(8)?,
            expires: columns.try_get(9)?,
            ends: columns.try_get(10)?,
            key: columns.try_get(11)?,
            member: columns.try_get(12)?,
            dead: columns.try_get(13)?,
            held,
        })
    }

    /// Whether a delivery goes on at `now`.
    pub(crate) fn is_held(&self, now: Moment) -> bool {
        self.held.as_ref().is_some_and(|held| now < held.until)
    }

    /// Whether that was its last delivery.
    pub(crate) fn is_last(&self, queue: &Known) -> bool {
        let most = i32::try_from(queue.spec.max_deliveries.get()).unwrap_or(i32::MAX);
        queue.dead_letters.is_some() && self.deliveries >= most
    }

    /// The same message, given back to wait until `due`.
    pub(crate) fn given_back(mut self, spec: &QueueSpec, due: Moment, now: Moment) -> Self {
        self.held = None;
        self.due = due;
        self.state = waiting(due, now);
        self.ends = ends(spec, &self);
        self
    }

    /// The same message, dead.
    pub(crate) fn dead(
        self,
        queue: &Known,
        target: &Known,
        death: Death,
        position: i64,
    ) -> Result<Self, Failure> {
        let before = self.dead_letter()?;
        let Death { cause, reason, at } = death;
        let letter = match before {
            // What stays among its dead letters died elsewhere.
            Some(before) if queue.number == target.number => {
                DeadLetter { cause, reason, at: timestamp(at), ..before }
            }
            before => DeadLetter {
                cause,
                reason,
                origin: Origin::Queue {
                    queue: queue.name.clone(),
                    position: Some(self.position.cast_unsigned()),
                },
                deliveries: self.deliveries.cast_unsigned(),
                at: timestamp(at),
                redrives: before.map_or(0, |before| before.redrives),
            },
        };
        Ok(self.moved(target, position, &letter, at))
    }

    /// The same message at the end of another queue, as a dead letter that begins anew there.
    pub(crate) fn moved(mut self, to: &Known, position: i64, letter: &DeadLetter, at: Moment) -> Self {
        (self.queue, self.position) = (to.number, position);
        (self.deliveries, self.held) = (0, None);
        (self.stored_at, self.due, self.first_due) = (at, at, at);
        self.dead = Some(dead_text(letter));
        self.member = self.key.clone().filter(|_| to.spec.groups);
        self.state = if self.member.is_some() { BEHIND } else { READY };
        self.ends = ends(&to.spec, &self);
        self
    }

    /// What it died of.
    pub(crate) fn dead_letter(&self) -> Result<Option<DeadLetter>, Failure> {
        self.dead.as_deref().map(read_dead).transpose()
    }
}

/// What ends a message, and when.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Death {
    pub(crate) cause: Cause,
    pub(crate) reason: Option<String>,
    pub(crate) at: Moment,
}

/// The state of a message that nobody has and that is the first of its group.
pub(crate) fn waiting(due: Moment, now: Moment) -> i16 {
    if due <= now { READY } else { DELAYED }
}

/// When a message has waited too long. `expirytime` is a moment, and one that a dead message has outlived already.
pub(crate) fn ends(spec: &QueueSpec, row: &Row) -> Option<Moment> {
    let begins = match spec.ttl_counts {
        TtlCounts::Wait => row.due,
        TtlCounts::Age => row.first_due,
    };
    let own = row.expires.filter(|_| row.dead.is_none());
    own.into_iter().chain(spec.ttl.map(|ttl| later(begins, ttl))).min()
}

pub(crate) fn dead_text(letter: &DeadLetter) -> String {
    serde_json::to_string(letter).expect("names, numbers and texts")
}

pub(crate) fn read_dead(text: &str) -> Result<DeadLetter, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::Damaged { what: "dead letter", problem: error.to_string() })
}
