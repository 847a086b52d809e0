//! A state that lends: what is lent for a time, what nobody took, and what time it is.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::telemetry::Events;
use intertie_engine_embedded::store::{State, Store, StoreConfig, SubmitError};
use rusqlite::Connection;
use tokio::time::Instant;

use crate::store::{gauge, soon};
use crate::workload::{directory, runtime, small};

/// The most that one group gives up.
const EXPIRED_MAX: usize = 10;

struct Lender {
    last: u64,
    lent: BTreeMap<u64, Timestamp>,
    is_stuck: bool,
    /// What time was told, to be written at the end of the group.
    told: Option<i64>,
    calls: Arc<AtomicUsize>,
}

enum Command {
    /// Lends the next number for a time.
    Lend(Duration),
    Return(u64),
    /// What time it is, in nanoseconds.
    Tell,
    Hold(Arc<Mutex<()>>),
    /// Has something to do for ever.
    Stick,
}

fn nanos(time: Timestamp) -> i64 {
    time.as_unix_nanos().cast_signed()
}

impl State for Lender {
    type Command = Command;
    type Reply = u64;
    type Refusal = Infallible;

    fn bytes(_: &Command) -> usize {
        1
    }

    fn check(&self, _: &Connection, _: &Command, _: Timestamp) -> rusqlite::Result<Result<(), Infallible>> {
        Ok(Ok(()))
    }

    fn apply(&mut self, connection: &Connection, command: Command, now: Timestamp) -> rusqlite::Result<u64> {
        match command {
            Command::Lend(time) => {
                self.last += 1;
                let until = now.as_unix_nanos() + u64::try_from(time.as_nanos()).expect("short");
                let until = Timestamp::from_unix_nanos(until);
                self.lent.insert(self.last, until);
                let lend = "INSERT INTO lent VALUES (?1, ?2)";
                connection.execute(lend, [self.last.cast_signed(), nanos(until)])?;
                Ok(self.last)
            }
            Command::Return(number) => {
                self.lent.remove(&number);
                connection.execute("DELETE FROM lent WHERE number = ?1", [number.cast_signed()])?;
                Ok(0)
            }
            Command::Tell => {
                self.told = Some(nanos(now));
                Ok(now.as_unix_nanos())
            }
            Command::Hold(lock) => {
                drop(lock.lock());
                Ok(0)
            }
            Command::Stick => {
                self.is_stuck = true;
                Ok(0)
            }
        }
    }

    fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(told) = self.told.take() else { return Ok(()) };
        connection.execute("INSERT OR REPLACE INTO lent VALUES (0, ?1)", [told]).map(|_| ())
    }

    fn undelivered(reply: u64) -> Option<Command> {
        Some(Command::Return(reply))
    }

    fn next_due(&self) -> Option<Timestamp> {
        if self.is_stuck {
            return Some(Timestamp::from_unix_seconds(0));
        }
        self.lent.values().min().copied()
    }

    fn run_due(&mut self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let over = self.lent.iter().filter(|(_, until)| **until <= now);
        let over: Vec<u64> = over.map(|(number, _)| *number).take(EXPIRED_MAX).collect();
        for number in over {
            self.lent.remove(&number);
            connection.execute("DELETE FROM lent WHERE number = ?1", [number.cast_signed()])?;
        }
        Ok(())
    }
}

fn open(directory: &Path, config: &StoreConfig, clock: WallClock, calls: &Arc<AtomicUsize>) -> Store<Lender> {
    let load = |connection: &Connection| {
        connection.execute_batch("CREATE TABLE IF NOT EXISTS lent (number INTEGER PRIMARY KEY, until)")?;
        Ok(Lender { last: 0, lent: BTreeMap::new(), is_stuck: false, told: None, calls: Arc::clone(calls) })
    };
    Store::open(directory, config, clock, Events::default(), load).expect("opens")
}

fn submit(store: &Store<Lender>, command: Command) -> Result<u64, SubmitError<Infallible>> {
    runtime().block_on(store.submit(command))
}

fn lent(store: &Store<Lender>) -> u64 {
    let count = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM lent", [], |row| row.get::<_, i64>(0))
    };
    runtime().block_on(store.query(count)).expect("reads").cast_unsigned()
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn what_nobody_heard_is_taken_back_though_the_mailbox_is_full() {
    let place = directory();
    let config = StoreConfig { pending_max: NonZeroU32::MIN, ..small() };
    let store = open(place.path(), &config, WallClock::system(), &Arc::default());
    // One that is there and not heard, and one that is not there yet.
    let unheard = store.submit(Command::Lend(LONG));
    soon("it is lent", || lent(&store) == 1);
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().expect("is free");
    let hold = store.submit(Command::Hold(Arc::clone(&lock)));
    soon("the writer takes the command", || gauge(&store, "store_pending") == 0.0);
    let left = store.submit(Command::Lend(LONG));
    let overloaded = submit(&store, Command::Tell);
    assert!(matches!(overloaded, Err(SubmitError::Overloaded { bound: "pending_max", .. })));
    drop((unheard, left));
    drop(held);
    runtime().block_on(hold).expect("is held");
    soon("both are taken back", || lent(&store) == 0);
    assert_eq!(submit(&store, Command::Lend(LONG)).expect("lends"), 3);
    assert_eq!(lent(&store), 1, "what was heard is not taken back");
}

#[test]
fn an_answer_that_outlives_its_store_harms_nobody() {
    let place = directory();
    let store = open(place.path(), &small(), WallClock::system(), &Arc::default());
    let answer = store.submit(Command::Lend(LONG));
    drop(store);
    drop(answer);
    let store = open(place.path(), &small(), WallClock::system(), &Arc::default());
    assert_eq!(lent(&store), 1);
}

#[test]
fn what_a_state_gathers_is_written_in_the_same_group() {
    let place = directory();
    let store = open(place.path(), &small(), WallClock::system(), &Arc::default());
    let answers = [Command::Tell, Command::Tell, Command::Tell].map(|command| store.submit(command));
    let told = answers.map(|answer| runtime().block_on(answer).expect("tells"));
    let until = |connection: &Connection| {
        connection.query_row("SELECT until FROM lent WHERE number = 0", [], |row| row.get::<_, i64>(0))
    };
    let written = runtime().block_on(store.query(until)).expect("is written");
    assert_eq!(written.cast_unsigned(), told[2]);
}

#[test]
fn what_is_due_is_done_in_time_without_commands_and_without_polling() {
    let place = directory();
    let calls = Arc::default();
    let store = open(place.path(), &small(), WallClock::system(), &calls);
    for _ in 0..25 {
        submit(&store, Command::Lend(Duration::from_millis(50))).expect("lends");
    }
    submit(&store, Command::Lend(LONG)).expect("lends");
    let begun = Instant::now();
    soon("all are over but the last", || lent(&store) == 1);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let done = calls.load(Ordering::Relaxed);
    assert!((3..=25).contains(&done), "{done} parts of ten at most, of 25");
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(calls.load(Ordering::Relaxed), done, "nothing is due");
}

#[test]
fn a_state_that_never_does_what_is_due_does_not_keep_the_writer_from_commands_or_rest() {
    let place = directory();
    let calls = Arc::default();
    let store = open(place.path(), &small(), WallClock::system(), &calls);
    let begun = Instant::now();
    submit(&store, Command::Stick).expect("sticks");
    soon("it is asked again and again", || calls.load(Ordering::Relaxed) > 20);
    submit(&store, Command::Tell).expect("is answered");
    let (asked, passed) = (calls.load(Ordering::Relaxed), begun.elapsed().as_millis());
    // At most once in a millisecond, and once for each command.
    assert!(asked as u128 <= passed + 4, "{asked} times in {passed} ms");
}

#[test]
fn time_goes_on_from_where_it_was_across_a_restart_with_a_clock_set_back() {
    let place = directory();
    let now = WallClock::system().now().as_unix_nanos();
    let day = 86_400_000_000_000;
    let ahead = WallClock::fixed(Timestamp::from_unix_nanos(now + day));
    let store = open(place.path(), &small(), ahead.clone(), &Arc::default());
    let told = submit(&store, Command::Tell).expect("tells");
    assert_eq!(told, now + day, "a clock that is not behind is followed");
    ahead.set(Timestamp::from_unix_nanos(now));
    assert_eq!(submit(&store, Command::Tell).expect("tells"), told);
    ahead.set(Timestamp::from_unix_nanos(now + 2 * day));
    let told = submit(&store, Command::Tell).expect("tells");
    assert_eq!(told, now + 2 * day, "and so is one that jumps ahead");
    drop(store);

    let store = open(place.path(), &small(), WallClock::system(), &Arc::default());
    let first = submit(&store, Command::Tell).expect("tells");
    assert!((told..told + 10_000_000_000).contains(&first), "{first} is not long after {told}");
    std::thread::sleep(Duration::from_millis(5));
    let second = submit(&store, Command::Tell).expect("tells");
    assert!(second >= first + 5_000_000, "it goes on though the wall clock is two days behind");
    let ahead = gauge(&store, "store_time_ahead_seconds");
    assert!((ahead - 2.0 * 86_400.0).abs() < 100.0, "{ahead}");
}
