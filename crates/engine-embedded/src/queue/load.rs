//! What opening reads.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use intertie_messaging::Name;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use super::due::{first_id, first_timer};
use super::lanes::{LaneId, Lanes};
use super::one::{Counters, Held, Queue};
use super::row::{COLUMNS, Row};
use super::tables::{self, POSITIONS, place};
use super::{Alarm, QueueLimits, Queues};
use crate::moment::later;
use crate::wakes::Wakes;

impl Queues {
    /// Reads what is needed at once: the queues, their leases and the settlements that are remembered,
    /// whatever the number of messages.
    pub(crate) fn load(connection: &Connection, limits: QueueLimits) -> rusqlite::Result<Self> {
        tables::create(connection)?;
        remove_transient(connection)?;
        let mut queues = Self {
            limits,
            names: BTreeMap::new(),
            queues: HashMap::new(),
            removed: BTreeSet::new(),
            last_number: 0,
            next_timer: None,
            lease_ends: BTreeSet::new(),
            alarms: BTreeSet::new(),
            dirty: Vec::new(),
            unused: Vec::new(),
            wakes: Wakes::default(),
        };
        let mut statement = connection.prepare(
            "SELECT number, name, spec, dead_letters, next, deliveries, ready, delayed, bytes, used, latest FROM queue",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let queue = Queue { lanes: lanes(connection, number, limits.heads)?, ..stored_queue(row)? };
            queues.names.insert(queue.name.clone(), number);
            queues.queues.insert(number, queue);
        }
        let mut statement = connection.prepare("SELECT number FROM queue_removed")?;
        queues.removed = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        queues.load_leases(connection)?;
        queues.load_settlements(connection)?;
        queues.next_timer = first_timer(connection)?;
        queues.set_alarms(connection)?;
        Ok(queues)
    }

    fn load_leases(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = format!(
            "SELECT {COLUMNS}, message_lease.id, secret, until, consumer FROM message_lease
             JOIN message ON message.id = (message_lease.id >> {POSITIONS} << {POSITIONS}) | message_lease.position
             WHERE settlement IS NULL"
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(found) = rows.next()? {
            let row = Row::of(found)?;
            let Some(queue) = self.queues.get_mut(&row.number) else { continue };
            let held = Held {
                delivery: place(found.get(11)?).1,
                secret: found.get::<_, i64>(12)?.cast_unsigned(),
                until: found.get(13)?,
                consumer: parsed(found, 14)?,
                deliveries: row.deliveries.saturating_add(1),
                stored: row.stored,
                priority: row.priority,
                first_due: row.first_due,
                expires: row.expires,
                ends: row.ends,
                member: row.member,
                bytes: row.bytes,
            };
            self.lease_ends.insert((held.until, row.number, row.position));
            queue.hold(row.position, held);
        }
        Ok(())
    }

    fn load_settlements(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "SELECT id, until FROM message_lease WHERE settlement IS NOT NULL";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (number, delivery) = place(row.get(0)?);
            let Some(queue) = self.queues.get_mut(&number) else { continue };
            queue.settled.push_back((row.get(1)?, delivery));
        }
        for queue in self.queues.values_mut() {
            queue.settled.make_contiguous().sort_unstable();
        }
        Ok(())
    }

    /// Sets what goes off by itself.
    fn set_alarms(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for (number, queue) in &mut self.queues {
            if let Some((at, _)) = queue.settled.front() {
                let at = later(*at, queue.spec.settlement_window);
                self.alarms.insert((at, *number, Alarm::Settlements));
            }
            if let Some(at) = first_id(connection, *number)? {
                queue.has_ids = true;
                let window = queue.spec.deduplication_window.unwrap_or_default();
                self.alarms.insert((later(at, window), *number, Alarm::Ids));
            }
            if queue.spec.auto_delete.is_some() || queue.dead_letters.is_none() {
                self.unused.push(*number);
                queue.watched = Some(0);
                self.alarms.insert((0, *number, Alarm::Abandoned));
            }
        }
        Ok(())
    }
}

/// Queues that do not outlast the process, and this one is another.
fn remove_transient(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         INSERT INTO queue_removed SELECT number FROM queue WHERE NOT json_extract(spec, '$.durable');
         DELETE FROM queue WHERE number IN (SELECT number FROM queue_removed);
         COMMIT",
    )
}

fn stored_queue(row: &SqlRow<'_>) -> rusqlite::Result<Queue> {
    let count = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let spec: String = row.get(2)?;
    let dead_letters: Option<String> = row.get(3)?;
    Ok(Queue {
        name: parsed(row, 1)?,
        spec: serde_json::from_str(&spec).map_err(|error| unreadable(2, error))?,
        dead_letters: dead_letters.map(|_| parsed(row, 3)).transpose()?,
        counters: Counters {
            next: count(4)?,
            deliveries: count(5)?,
            ready: count(6)?,
            delayed: count(7)?,
            bytes: count(8)?,
            used: row.get(9)?,
            latest: row.get(10)?,
        },
        lanes: Lanes::new([], 1),
        held: HashMap::new(),
        holders: BTreeMap::new(),
        settled: VecDeque::new(),
        asked: None,
        has_ids: false,
        watched: None,
        is_dirty: false,
    })
}

fn parsed(row: &SqlRow<'_>, at: usize) -> rusqlite::Result<Name> {
    row.get::<_, String>(at)?.parse().map_err(|error: intertie_messaging::InvalidName| unreadable(at, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

/// The lanes that have something in them: one step into the tree for each.
fn lanes(connection: &Connection, number: i64, heads: usize) -> rusqlite::Result<Lanes> {
    let sql = "SELECT lane FROM message_ready WHERE queue = ?1 AND lane > ?2 ORDER BY lane LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let (mut lanes, mut last) = (Vec::new(), -1);
    while let Some(lane) = statement.query_row([number, last], |row| row.get::<_, u16>(0)).optional()? {
        lanes.push(LaneId::from_number(lane));
        last = lane.into();
    }
    Ok(Lanes::new(lanes, heads))
}
