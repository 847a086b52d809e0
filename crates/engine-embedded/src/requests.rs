//! Requests that are done once: the records of [`intertie_idempotency`].

use std::time::Duration;

use bytes::Bytes;
use intertie_idempotency::record::{self, Record, State};
use intertie_idempotency::{Bounds, Decision, Fingerprint, Full, Key, Lost, Usage};
use rusqlite::{Connection, OptionalExtension, params};

use crate::moment::{Moment, later, moment, timestamp};

/// How long a record is kept once it is over: who began it late and slow completes it still, if nobody else began.
const KEPT_OVER: Duration = Duration::from_secs(3600);

/// What is asked of a record, beside its completion, which is part of commits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask {
    Begin { fingerprint: Fingerprint, time: Duration },
    Extend { fence: u64, time: Duration },
    Abandon { fence: u64 },
}

/// All records: `request`, one row each, by scope and key and, to be forgotten, by time.
#[derive(Debug)]
pub(crate) struct Requests {
    bounds: Bounds,
    usage: Usage,
    /// The last fence that anybody was given.
    fence: u64,
    /// The end of the first of them, or a moment before that.
    next: Option<Moment>,
    step: usize,
}

impl Requests {
    pub(crate) fn load(connection: &Connection, bounds: Bounds, step: usize) -> rusqlite::Result<Self> {
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS request (
                 scope TEXT, key TEXT, fingerprint BLOB NOT NULL, done INTEGER NOT NULL, answer BLOB,
                 until INTEGER NOT NULL, fence INTEGER NOT NULL, PRIMARY KEY (scope, key)) WITHOUT ROWID;
             CREATE INDEX IF NOT EXISTS request_until ON request (until);
             CREATE TABLE IF NOT EXISTS request_counters (
                 one INTEGER PRIMARY KEY CHECK (one = 1), records INTEGER NOT NULL, answer_bytes INTEGER NOT NULL,
                 fence INTEGER NOT NULL);
             INSERT OR IGNORE INTO request_counters VALUES (1, 0, 0, 0);",
        )?;
        let counters = "SELECT records, answer_bytes, fence FROM request_counters";
        let count = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let (usage, fence) = connection.query_row(counters, [], |row| {
            Ok((Usage { records: count(row, 0)?, answer_bytes: count(row, 1)? }, count(row, 2)?))
        })?;
        Ok(Self { bounds, usage, fence, next: first(connection)?, step })
    }

    /// Whether there is room for what is asked.
    pub(crate) fn check(
        &self,
        connection: &Connection,
        scope: &str,
        key: &Key,
        ask: &Ask,
    ) -> rusqlite::Result<Result<(), Full>> {
        let admitted = self.bounds.admit(self.usage);
        if admitted.is_ok() || !matches!(ask, Ask::Begin { .. }) || read(connection, scope, key)?.is_some() {
            return Ok(Ok(()));
        }
        Ok(admitted)
    }

    /// Does what is asked.
    pub(crate) fn ask(
        &mut self,
        connection: &Connection,
        scope: &str,
        key: &Key,
        ask: Ask,
        now: Moment,
    ) -> rusqlite::Result<Result<Option<Decision>, Lost>> {
        let found = read(connection, scope, key)?;
        let at = timestamp(now);
        let (decision, record) = match ask {
            Ask::Begin { fingerprint, time } => {
                let (decision, record) = record::begin(found.as_ref(), fingerprint, at, time, self.fence + 1);
                (Some(decision), record)
            }
            Ask::Extend { fence, time } => match record::extend(found.as_ref(), fence, at, time) {
                Ok(record) => (None, Some(record)),
                Err(lost) => return Ok(Err(lost)),
            },
            Ask::Abandon { fence } => match record::abandon(found.as_ref(), fence, at) {
                Ok(record) => (None, Some(record)),
                Err(lost) => return Ok(Err(lost)),
            },
        };
        if let Some(record) = record {
            self.write(connection, scope, key, &record, found.as_ref())?;
        }
        Ok(Ok(decision))
    }

    /// Whether a request can be completed with this fence; not, when it was before.
    pub(crate) fn check_complete(
        &self,
        connection: &Connection,
        scope: &str,
        key: &Key,
        fence: u64,
        now: Moment,
    ) -> rusqlite::Result<Result<bool, Lost>> {
        let found = read(connection, scope, key)?;
        let completed = record::complete(found.as_ref(), fence, None, timestamp(now), Duration::ZERO);
        Ok(completed.map(|record| record.is_some()))
    }

    /// Keeps the answer of a request that was checked.
    pub(crate) fn complete(
        &mut self,
        connection: &Connection,
        scope: &str,
        key: &Key,
        completion: Completion,
        now: Moment,
    ) -> rusqlite::Result<()> {
        let Completion { fence, answer, kept } = completion;
        let answer = answer.filter(|answer| self.bounds.has_room(self.usage, answer.len() as u64));
        let found = read(connection, scope, key)?;
        match record::complete(found.as_ref(), fence, answer, timestamp(now), kept) {
            Ok(Some(record)) => self.write(connection, scope, key, &record, found.as_ref()),
            Ok(None) | Err(Lost) => Ok(()),
        }
    }

    fn write(
        &mut self,
        connection: &Connection,
        scope: &str,
        key: &Key,
        record: &Record,
        before: Option<&Record>,
    ) -> rusqlite::Result<()> {
        let (done, answer) = match &record.state {
            State::InFlight => (false, None),
            State::Done(answer) => (true, answer.as_deref()),
        };
        let until = moment(record.until);
        let (fingerprint, fence) = (record.fingerprint.to_bytes(), record.fence.cast_signed());
        let sql = "INSERT OR REPLACE INTO request VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let values = params![scope, key.as_str(), fingerprint, done, answer, until, fence];
        connection.prepare_cached(sql)?.execute(values)?;
        self.next = Some(self.next.map_or(until, |next| next.min(until)));
        self.fence = self.fence.max(record.fence);
        self.usage.records += u64::from(before.is_none());
        self.usage.answer_bytes -= before.map_or(0, answer_bytes);
        self.usage.answer_bytes += answer_bytes(record);
        self.write_counters(connection)
    }

    fn write_counters(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "UPDATE request_counters SET records = ?1, answer_bytes = ?2, fence = ?3";
        let values = [self.usage.records, self.usage.answer_bytes, self.fence].map(u64::cast_signed);
        connection.prepare_cached(sql)?.execute(values).map(|_| ())
    }

    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.next.map(|next| later(next, KEPT_OVER))
    }

    /// Forgets records that are over for long, up to a step of them.
    pub(crate) fn run_due(&mut self, connection: &Connection, now: Moment) -> rusqlite::Result<()> {
        if self.next_due().is_none_or(|due| due > now) {
            return Ok(());
        }
        let over = now.saturating_sub(later(0, KEPT_OVER));
        let sql = "SELECT scope, key, coalesce(length(answer), 0) FROM request WHERE until <= ?1 ORDER BY until LIMIT ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let records: Vec<(String, String, i64)> = statement
            .query_map([over, self.step as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        for (scope, key, answer) in &records {
            let sql = "DELETE FROM request WHERE scope = ?1 AND key = ?2";
            connection.prepare_cached(sql)?.execute([scope, key])?;
            self.usage.records -= 1;
            self.usage.answer_bytes -= answer.cast_unsigned();
        }
        self.next = first(connection)?;
        if records.is_empty() { Ok(()) } else { self.write_counters(connection) }
    }
}

/// What completes a request.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) fence: u64,
    pub(crate) answer: Option<Bytes>,
    pub(crate) kept: Duration,
}

fn read(connection: &Connection, scope: &str, key: &Key) -> rusqlite::Result<Option<Record>> {
    let sql = "SELECT fingerprint, done, answer, until, fence FROM request WHERE scope = ?1 AND key = ?2";
    let record = |row: &rusqlite::Row<'_>| {
        let answer: Option<Vec<u8>> = row.get(2)?;
        let state = match row.get(1)? {
            true => State::Done(answer.map(Bytes::from)),
            false => State::InFlight,
        };
        Ok(Record {
            fingerprint: Fingerprint::from_bytes(row.get(0)?),
            state,
            until: timestamp(row.get(3)?),
            fence: row.get::<_, i64>(4)?.cast_unsigned(),
        })
    };
    connection.prepare_cached(sql)?.query_row(params![scope, key.as_str()], record).optional()
}

fn answer_bytes(record: &Record) -> u64 {
    match &record.state {
        State::Done(Some(answer)) => answer.len() as u64,
        State::Done(None) | State::InFlight => 0,
    }
}

fn first(connection: &Connection) -> rusqlite::Result<Option<Moment>> {
    let sql = "SELECT until FROM request ORDER BY until LIMIT 1";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { records: 2, answer_bytes: 10 };
    const MINUTE: Duration = Duration::from_secs(60);

    fn key(text: &str) -> Key {
        Key::parse(format!("\"{text}\"").as_bytes()).expect("a key")
    }

    fn begin(requests: &mut Requests, connection: &Connection, text: &str, now: Moment) -> Result<u64, Full> {
        let ask = Ask::Begin { fingerprint: Fingerprint::of("POST", "/", b""), time: MINUTE };
        requests.check(connection, "a", &key(text), &ask).expect("checks")?;
        match requests.ask(connection, "a", &key(text), ask, now).expect("asks") {
            Ok(Some(Decision::Begin { fence })) => Ok(fence),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_forgotten_and_counted_over_a_restart() {
        let connection = Connection::open_in_memory().expect("opens");
        let load = || Requests::load(&connection, BOUNDS, 1).expect("loads");
        let mut requests = load();
        let first = begin(&mut requests, &connection, "1", 0).expect("room");
        let second = begin(&mut requests, &connection, "2", 0).expect("room");
        assert!(second > first);
        let full = begin(&mut requests, &connection, "3", 0);
        assert_eq!(full, Err(Full { bound: "records_max", limit: 2 }));
        for (text, fence) in [("1", first), ("2", second)] {
            let answer = Some(Bytes::from_static(b"seven b"));
            let completion = Completion { fence, answer, kept: MINUTE };
            requests.complete(&connection, "a", &key(text), completion, 0).expect("completes");
            let again = requests.check_complete(&connection, "a", &key(text), fence, 0).expect("reads");
            assert_eq!(again, Ok(false), "it was done before");
        }
        let mut requests = load();
        assert_eq!(requests.usage, Usage { records: 2, answer_bytes: 7 }, "there is no room for the second");
        // A record that is over may be begun anew, and is there for an hour.
        let over = later(0, MINUTE);
        let again = begin(&mut requests, &connection, "1", over).expect("its own place");
        assert!(again > second);
        assert_eq!(requests.usage, Usage { records: 2, answer_bytes: 0 });
        let due = requests.next_due().expect("something is over at some time");
        requests.run_due(&connection, due - 1).expect("runs");
        assert_eq!(requests.usage.records, 2);
        requests.run_due(&connection, later(due, MINUTE)).expect("runs");
        requests.run_due(&connection, later(due, MINUTE)).expect("runs");
        assert_eq!((requests.usage, load().usage), (Usage::default(), Usage::default()));
    }
}
