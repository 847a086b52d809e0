//! A state whose every damage shows: entries that are numbered without a gap, made of their identity, and added up.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intertie_core::clock::Timestamp;
use intertie_engine_embedded::store::State;
use intertie_simulated_disk::Disk;
use rusqlite::{Connection, OptionalExtension, params};

/// What is in memory beside the tables.
#[derive(Debug)]
pub(crate) struct Ledger {
    last: u64,
    now: Timestamp,
    progress: Progress,
}

/// What the writer did, for tests to look at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<Ends>>);

#[derive(Debug, Default)]
struct Ends {
    /// The last entry of each group that was committed, with how many operations the disk had done when the writer
    /// was about to say so.
    committed: Vec<(u64, usize)>,
    /// The last entry that was applied.
    applied: u64,
    disk: Option<Arc<Disk>>,
}

/// What a test can ask of a ledger.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Enters something under the next number, which is the reply.
    Enter { identity: u64 },
    /// The same if the last number is `last`.
    EnterAfter { last: u64, identity: u64 },
    /// Nothing, while the test holds the lock.
    Hold(Arc<Mutex<()>>),
    /// Nothing, at the weight of so many bytes.
    Weigh(usize),
    /// Fills so many free pages, or frees them again.
    Scratch { bytes: u32 },
    /// Breaks a rule of the schema.
    Break,
    /// Panics.
    Panic,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotTheLast {
    pub(crate) last: u64,
}

impl fmt::Display for NotTheLast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the last entry is {}", self.last)
    }
}

impl Progress {
    /// That of a writer above `disk`.
    pub(crate) fn above(disk: &Arc<Disk>) -> Self {
        Self(Arc::new(Mutex::new(Ends { disk: Some(Arc::clone(disk)), ..Ends::default() })))
    }

    /// How many operations the disk had done when entry `number` was acknowledged.
    pub(crate) fn acknowledged_at(&self, number: u64) -> usize {
        let ends = self.ends();
        let group = ends.committed.iter().find(|(last, _)| *last >= number);
        group.expect("an entry that was acknowledged is of a group").1
    }

    /// Whether a store may end after entry `last`: where a group ends, or where the one ends that was under way.
    pub(crate) fn may_end(&self, last: u64) -> bool {
        let ends = self.ends();
        last == 0 || last == ends.applied || ends.committed.iter().any(|(end, _)| *end == last)
    }

    fn applied(&self, last: u64) {
        self.ends().applied = last;
    }

    fn committed(&self, last: u64) {
        let mut ends = self.ends();
        let operations = ends.disk.as_ref().map_or(0, |disk| disk.operations());
        ends.committed.push((last, operations));
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Makes the tables at their first use, and reads the last number.
    pub(crate) fn load(connection: &Connection, progress: &Progress) -> rusqlite::Result<Self> {
        connection.execute_batch(
            "BEGIN;
             CREATE TABLE IF NOT EXISTS entry (number INTEGER PRIMARY KEY, identity INTEGER, content BLOB);
             CREATE TABLE IF NOT EXISTS total (one INTEGER PRIMARY KEY, entries INTEGER, identities INTEGER);
             CREATE TABLE IF NOT EXISTS scratch (place INTEGER PRIMARY KEY, content BLOB);
             COMMIT",
        )?;
        let last = "SELECT number FROM entry ORDER BY number DESC LIMIT 1";
        let last: Option<i64> = connection.query_row(last, [], |row| row.get(0)).optional()?;
        let last = last.unwrap_or(0).cast_unsigned();
        progress.committed(last);
        Ok(Self { last, now: Timestamp::from_unix_seconds(0), progress: progress.clone() })
    }
}

impl State for Ledger {
    type Command = Command;
    type Reply = u64;
    type Refusal = NotTheLast;

    fn bytes(command: &Command) -> usize {
        if let Command::Weigh(bytes) = command { *bytes } else { 100 }
    }

    fn check(
        &self,
        _: &Connection,
        command: &Command,
        _: Timestamp,
    ) -> rusqlite::Result<Result<(), NotTheLast>> {
        match command {
            Command::EnterAfter { last, .. } if *last != self.last => Ok(Err(NotTheLast { last: self.last })),
            _ => Ok(Ok(())),
        }
    }

    fn apply(&mut self, connection: &Connection, command: Command, now: Timestamp) -> rusqlite::Result<u64> {
        assert!(now >= self.now, "time went back");
        self.now = now;
        let identity = match command {
            Command::Enter { identity } | Command::EnterAfter { identity, .. } => identity,
            Command::Hold(lock) => {
                drop(lock.lock());
                return Ok(self.last);
            }
            Command::Weigh(_) => return Ok(self.last),
            Command::Scratch { bytes } => {
                let fill = "INSERT OR REPLACE INTO scratch VALUES (-1, zeroblob(?1))";
                return connection.execute(fill, [bytes]).map(|_| self.last);
            }
            Command::Break => {
                self.last += 1;
                let doubled = "INSERT INTO entry VALUES (1, 0, NULL), (1, 0, NULL)";
                return connection.execute(doubled, []).map(|_| 0);
            }
            Command::Panic => panic!("as it was told"),
        };
        self.last += 1;
        let (number, identity) = (self.last.cast_signed(), identity.cast_signed());
        connection.prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3)")?.execute(params![
            number,
            identity,
            content(identity)
        ])?;
        connection
            .prepare_cached(
                "INSERT INTO total VALUES (1, 1, ?1)
                 ON CONFLICT DO UPDATE SET entries = entries + 1, identities = identities + ?1",
            )?
            .execute([identity])?;
        // Large contents that come and go leave free pages, which vacuum moves about.
        connection
            .prepare_cached("INSERT OR REPLACE INTO scratch VALUES (?1, zeroblob(?2))")?
            .execute([number % 5, number * 7919 % 40_000])?;
        self.progress.applied(self.last);
        Ok(self.last)
    }

    fn committed(&mut self) {
        self.progress.committed(self.last);
    }
}

/// What an entry holds, made of its identity.
fn content(identity: i64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(identity.cast_unsigned());
    (0..random.usize(10..600)).map(|_| random.u8(..)).collect()
}

/// The identities of all entries in order, once it is sure that nothing is damaged.
pub(crate) fn audit(connection: &Connection) -> rusqlite::Result<Vec<u64>> {
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(sound, "ok");
    let mut statement = connection.prepare("SELECT number, identity, content FROM entry ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut identities = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, identity): (i64, i64) = (row.get(0)?, row.get(1)?);
        assert_eq!(number as usize, identities.len() + 1, "numbers have no gap");
        assert_eq!(row.get::<_, Vec<u8>>(2)?, content(identity), "entry {number} is whole");
        identities.push(identity.cast_unsigned());
    }
    let total = "SELECT entries, identities FROM total";
    let total: Option<(i64, i64)> =
        connection.query_row(total, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let expected = (identities.len() as i64, identities.iter().sum::<u64>().cast_signed());
    assert_eq!(total.unwrap_or((0, 0)), expected, "the total was written with the entries");
    Ok(identities)
}
