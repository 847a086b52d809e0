//! What opening reads.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use intertie_messaging::Name;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use super::due::first_id;
use super::ids::Ids;
use super::lanes::{LaneId, Lanes};
use super::one::{Counters, Held, Queue};
use super::row::{COLUMNS, Row, readable};
use super::tables::{self, POSITIONS, place};
use super::{Alarm, QueueLimits, Queues};
use crate::damage::{Damage, Damages};
use crate::moment::later;
use crate::store::NewerSpec;
use crate::wakes::Wakes;

impl Queues {
    /// Reads what is needed at once: the queues, their leases and the settlements that are remembered,
    /// whatever the number of messages.
    ///
    /// A queue that can not be read is told of, and refused when it is named; the others are there. One of which a
    /// later version wrote what it promises is an error, since to leave something out of that would be to break it.
    pub(crate) fn load(
        connection: &Connection,
        limits: QueueLimits,
        damages: Damages,
    ) -> rusqlite::Result<Self> {
        tables::create(connection)?;
        remove_transient(connection)?;
        let mut queues = Self {
            limits,
            names: BTreeMap::new(),
            queues: HashMap::new(),
            shut: BTreeMap::new(),
            sources: HashMap::new(),
            removed: BTreeSet::new(),
            last_number: 0,
            next_timer: None,
            lease_ends: BTreeSet::new(),
            alarms: BTreeSet::new(),
            dirty: Vec::new(),
            unused: Vec::new(),
            wakes: Wakes::default(),
            ids: Ids::load(connection)?,
            delivered: 0,
            moved: 0,
            damages,
        };
        let mut statement = connection.prepare(
            "SELECT number, name, spec, dead_letters, next, deliveries, ready, delayed, bytes, used, latest FROM queue",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let found = match stored_queue(row) {
                Err(error) if NewerSpec::cause_of(&error).is_some() => return Err(error),
                found => found,
            };
            let Ok(queue) = found else {
                queues.shut(number, row, &found.expect_err("it is no queue").to_string());
                continue;
            };
            let queue = Queue { lanes: lanes(connection, number, limits.heads)?, ..queue };
            queues.names.insert(queue.name.clone(), number);
            queues.set_target(&queue.name, None, queue.dead_letters.as_ref());
            queues.queues.insert(number, queue);
        }
        let mut statement = connection.prepare("SELECT number FROM queue_removed")?;
        queues.removed = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        queues.load_leases(connection)?;
        queues.load_settlements(connection)?;
        queues.find_next_timer(connection)?;
        queues.set_alarms(connection)?;
        Ok(queues)
    }

    /// Keeps a queue that can not be read from being used, and from getting lost.
    fn shut(&mut self, number: i64, row: &SqlRow<'_>, problem: &str) {
        let name = parsed(row, 1).ok();
        if let Some(name) = &name {
            self.names.insert(name.clone(), number);
            let target = parsed(row, 3).ok();
            self.set_target(name, None, target.as_ref());
        }
        self.shut.insert(number, problem.to_owned());
        let queue = name.map_or_else(|| number.to_string(), |name| name.to_string());
        self.damages.tell(Damage { queue, position: None, problem: problem.to_owned() });
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
            let (number, position) = place(found.get(0)?);
            let Some(row) = readable(Row::of(found))? else {
                if self.queues.contains_key(&number) {
                    self.tell_of_damage(number, position);
                }
                continue;
            };
            // A lease ends by itself, also one of which nobody can tell whose it is.
            let consumer = parsed(found, 14).unwrap_or_else(|_| NOBODY.parse().expect("it is a name"));
            let Some(queue) = self.queues.get_mut(&row.number) else { continue };
            let held = Held {
                delivery: place(found.get(11)?).1,
                secret: found.get::<_, i64>(12)?.cast_unsigned(),
                until: found.get(13)?,
                consumer,
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

/// Who has a lease whose consumer can not be read.
const NOBODY: &str = "unreadable";

/// Queues that do not outlast the process, and this one is another.
fn remove_transient(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         INSERT INTO queue_removed SELECT number FROM queue
             WHERE CASE WHEN json_valid(spec) THEN NOT json_extract(spec, '$.durable') ELSE FALSE END;
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
        spec: serde_json::from_str(&spec).map_err(|error| unreadable_spec(row, error))?,
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
        held: BTreeMap::new(),
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

/// Whether a specification is damaged, or says what this version has no word for.
fn unreadable_spec(row: &SqlRow<'_>, error: serde_json::Error) -> rusqlite::Error {
    let problem = error.to_string();
    match parsed(row, 1) {
        Ok(name) if error.is_data() && problem.starts_with("unknown ") => {
            unreadable(2, NewerSpec { name: name.to_string(), problem })
        }
        _ => unreadable(2, error),
    }
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
