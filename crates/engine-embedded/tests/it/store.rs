//! What callers of a store see.

use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::{Events, Snapshot, Source, Value};
use intertie_engine_embedded::store::maintenance::stats;
use intertie_engine_embedded::store::{
    Defect, Failure, Health, OpenError, QueryError, Step, Store, StoreConfig, SubmitError,
};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::ledger::{Command, Ledger, NotTheLast, Progress, audit};
use crate::workload::{Told, directory, open, open_with, run, runtime, small};

fn enter(identity: u64) -> Command {
    Command::Enter { identity }
}

fn submit(store: &Store<Ledger>, command: Command) -> Result<u64, SubmitError<NotTheLast>> {
    runtime().block_on(store.submit(command))
}

pub(crate) fn gauge(store: &dyn Source, name: &str) -> f64 {
    let mut snapshot = Snapshot::default();
    store.read(&mut snapshot);
    let family = snapshot.families().iter().find(|family| family.name == name).expect("is told");
    let Value::Gauge(value) = family.samples[0].value else { panic!("{name} is no gauge") };
    value
}

/// Waits for something that a thread of the store is about to do.
pub(crate) fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("not within ten seconds: {what}");
}

#[test]
fn a_command_sees_those_before_it_and_a_refusal_spoils_no_neighbour() {
    let place = directory();
    let store = open(place.path(), &Progress::default()).expect("opens");
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().expect("is free");
    let hold = store.submit(Command::Hold(Arc::clone(&lock)));
    let answers = [
        enter(7),
        Command::EnterAfter { last: 5, identity: 8 },
        Command::EnterAfter { last: 1, identity: 9 },
    ]
    .map(|command| store.submit(command));
    drop(held);
    let runtime = runtime();
    runtime.block_on(hold).expect("is held");
    let [first, stale, second] = answers.map(|answer| runtime.block_on(answer));
    assert_eq!(first.expect("enters"), 1);
    assert!(matches!(stale, Err(SubmitError::Refused(NotTheLast { last: 1 }))));
    assert_eq!(second.expect("enters"), 2);
    assert_eq!(runtime.block_on(store.query(audit)).expect("reads"), [7, 9]);
}

#[test]
fn each_bound_on_what_waits_is_named_when_it_refuses() {
    let config = StoreConfig {
        pending_max: NonZeroU32::new(3).expect("not zero"),
        pending_bytes_max: ByteSize::from_bytes(5000),
        group_bytes_max: ByteSize::from_bytes(5000),
        ..small()
    };
    let place = directory();
    let store = open_with(place.path(), &config, &Progress::default()).expect("opens");
    let large = submit(&store, Command::Weigh(5001));
    assert!(matches!(large, Err(SubmitError::TooLarge { bytes: 5001, limit: 5000 })), "{large:?}");

    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().expect("is free");
    let mut answers = vec![store.submit(Command::Hold(Arc::clone(&lock)))];
    soon("the writer takes the command", || gauge(&store, "store_pending") == 0.0);
    answers.push(store.submit(Command::Weigh(4900)));
    let heavy = submit(&store, Command::Weigh(101));
    assert!(matches!(heavy, Err(SubmitError::Overloaded { bound: "pending_bytes_max", limit: 5000 })));
    answers.extend((0..2).map(|_| store.submit(Command::Weigh(1))));
    let many = submit(&store, Command::Weigh(1));
    assert!(matches!(many, Err(SubmitError::Overloaded { bound: "pending_max", limit: 3 })));
    drop(held);
    for answer in answers {
        runtime().block_on(answer).expect("what was taken in is stored");
    }
}

#[test]
fn dropping_a_store_stores_what_was_submitted() {
    let place = directory();
    let store = open(place.path(), &Progress::default()).expect("opens");
    let answers: Vec<_> = (1..=200).map(|identity| store.submit(enter(identity))).collect();
    drop(store);
    for (number, answer) in (1..).zip(answers) {
        assert_eq!(runtime().block_on(answer).expect("is stored"), number);
    }
    let store = open(place.path(), &Progress::default()).expect("opens");
    assert_eq!(runtime().block_on(store.query(audit)).expect("reads").len(), 200);
}

/// Submits `fatal` between two others; both are told that they are not stored, and opening again makes it whole.
fn check_fatal(fatal: Command, expected: fn(&Failure) -> bool) {
    let place = directory();
    let events = Events::default();
    let told = events.subscribe(8);
    let load = |connection: &_| Ledger::load(connection, &Progress::default());
    let store = Store::open(place.path(), &small(), WallClock::system(), events, load).expect("opens");
    submit(&store, enter(1)).expect("enters");
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().expect("is free");
    let commands = [Command::Hold(Arc::clone(&lock)), enter(2), fatal, enter(3)];
    let answers = commands.map(|command| store.submit(command));
    drop(held);
    for answer in answers.into_iter().skip(2) {
        match runtime().block_on(answer) {
            Err(SubmitError::Unavailable(failure)) => assert!(expected(&failure), "{failure:?}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(expected(&runtime().block_on(store.failed())));
    assert!(matches!(store.health(), Health::Failed { .. }));
    assert_eq!(told.recv().expect("an event").name, "store_failed");
    let found = runtime().block_on(store.query(audit)).expect("reads go on");
    drop(store);
    let store = open(place.path(), &Progress::default()).expect("opens again");
    let number = submit(&store, enter(4)).expect("enters");
    assert_eq!(number, found.len() as u64 + 1, "memory follows what is stored");
}

#[test]
fn a_panic_stops_the_store_and_loses_only_its_own_group() {
    check_fatal(Command::Panic, |failure| matches!(failure, Failure::Panicked { during: Step::Apply }));
}

/// Panics as the writer begins `step`: all who wait and all who come later are told, at once and truly.
fn check_panic(step: Step) {
    let place = directory();
    Defect::Panics(step).seed();
    let store = open(place.path(), &Progress::default()).expect("opens");
    let answers: Vec<_> = (1..=20).map(|identity| (identity, store.submit(enter(identity)))).collect();
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let bounded = |future| runtime.block_on(async { timeout(Duration::from_secs(20), future).await });
    let (mut stored, mut refused) = (Vec::new(), Vec::new());
    for (identity, answer) in answers {
        match bounded(answer).expect("an answer") {
            Ok(_) => stored.push(identity),
            Err(SubmitError::Unavailable(Failure::Panicked { during })) if during == step => {
                refused.push(identity);
            }
            Err(SubmitError::Unknown(Failure::Panicked { during })) => {
                assert!(during == step && matches!(step, Step::Commit | Step::Answer), "{during:?}");
            }
            other => panic!("{step:?}: {other:?}"),
        }
    }
    let failure = runtime.block_on(async { timeout(Duration::from_secs(20), store.failed()).await });
    assert!(matches!(failure, Ok(Failure::Panicked { during }) if during == step), "{failure:?}");
    assert!(matches!(store.health(), Health::Failed { .. }));
    let late = bounded(store.submit(enter(21))).expect("an answer");
    assert!(matches!(late, Err(SubmitError::Unavailable(Failure::Panicked { .. }))), "{late:?}");

    drop(store);
    let store = open(place.path(), &Progress::default()).expect("opens again");
    let found = runtime.block_on(store.query(audit)).expect("reads");
    assert!(stored.iter().all(|identity| found.contains(identity)), "{step:?}: {found:?}");
    assert!(!refused.iter().any(|identity| found.contains(identity)), "{step:?}: {found:?}");
}

#[test]
fn a_panic_of_the_writer_wherever_it_is_fails_all_who_wait_at_once() {
    use Step::{Answer, Apply, Begin, Checkpoint, Commit, Vacuum, Wait};
    for step in [Wait, Begin, Apply, Commit, Answer, Checkpoint, Vacuum] {
        check_panic(step);
    }
}

#[test]
fn a_broken_rule_of_the_schema_stops_the_store() {
    check_fatal(Command::Break, |failure| matches!(failure, Failure::Storage { during: Step::Apply, .. }));
}

#[test]
fn what_another_program_writes_stops_the_store_before_memory_and_tables_differ() {
    let place = directory();
    let store = open(place.path(), &Progress::default()).expect("opens");
    submit(&store, enter(1)).expect("enters");
    let other = Connection::open(place.path().join("intertie.db")).expect("opens");
    other.execute("INSERT INTO entry VALUES (2, 2, NULL)", []).expect("writes");
    drop(other);
    let refused = submit(&store, enter(2));
    assert!(matches!(refused, Err(SubmitError::Unavailable(Failure::ForeignWrite))), "{refused:?}");
}

fn wal_pages(directory: &Path) -> u64 {
    fs::metadata(directory.join("intertie.db-wal")).expect("is there").len() / (4096 + 24)
}

#[test]
fn the_log_stays_short_while_nobody_pins_it() {
    let place = directory();
    let store = open(place.path(), &Progress::default()).expect("opens");
    run(&store, 60, &mut Told::default());
    // Twice `checkpoint_after`, and a group, whose pages may be in the log more than once.
    assert!(wal_pages(place.path()) < 100, "{} pages", wal_pages(place.path()));
}

#[test]
fn the_next_opening_always_has_room_to_copy_the_log_and_uses_it() {
    let place = directory();
    let file = |name: &str| fs::metadata(place.path().join(name));
    let (log, reserve) = ("intertie.db-wal", "intertie.db-wal.reserve");
    // It does not wait for idle time.
    let config = StoreConfig { idle_after: Duration::from_secs(3600), ..small() };
    let store = open_with(place.path(), &config, &Progress::default()).expect("opens");
    let reader = Connection::open(place.path().join("intertie.db")).expect("opens");
    reader.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("leaves the log");
    let mut told = Told::default();
    for round in 0..40 {
        if round == 20 {
            reader.execute_batch("BEGIN; SELECT * FROM total").expect("reads, and so the log grows");
        }
        run(&store, 1, &mut told);
        // The log is looked at after the answers.
        soon("the reserve is as large as the log or as it may be", || {
            let (log, room) = (file(log).expect("is").len(), file(reserve).expect("is").blocks() * 512);
            room >= log.min(100 * 4096) && gauge(&store, "store_reserve_bytes") <= room as f64
        });
    }
    assert!(file(log).expect("is").len() > 80 * 4096, "it grew");
    submit(&store, Command::Panic).expect_err("crashes, and leaves the log");
    drop((store, reader));
    let room = file(reserve).expect("is left").ino();
    let store = open(place.path(), &Progress::default()).expect("opens");
    assert_eq!(file(log).expect("is there").ino(), room, "the copy took the place of the log");
    submit(&store, enter(1)).expect("enters");
    assert!(file(reserve).expect("there is another").ino() != room);
}

#[test]
fn a_reader_that_pins_the_log_is_told_of_and_the_log_is_cut_when_it_leaves() {
    let place = directory();
    let config = StoreConfig { reader_wait: Duration::from_millis(1), ..small() };
    let store = open_with(place.path(), &config, &Progress::default()).expect("opens");
    submit(&store, enter(1)).expect("enters");
    let reader = Connection::open(place.path().join("intertie.db")).expect("opens");
    reader.execute_batch("BEGIN; SELECT * FROM total").expect("reads");
    let mut told = Told::default();
    soon("the log is pinned", || {
        run(&store, 5, &mut told);
        let Health::Serving { wal_pinned: Some(pin) } = store.health() else { return false };
        // That of this test, where the system tells.
        assert!(pin.processes.is_empty() || pin.processes == [std::process::id()], "{pin}");
        true
    });
    assert!(wal_pages(place.path()) >= 100);
    drop(reader);
    soon("the log is free, and cut without a further write", || {
        matches!(store.health(), Health::Serving { wal_pinned: None }) && wal_pages(place.path()) < 100
    });
}

#[test]
fn free_pages_go_back_to_the_file_system_when_nobody_writes() {
    let place = directory();
    let store = open(place.path(), &Progress::default()).expect("opens");
    submit(&store, Command::Scratch { bytes: 2_000_000 }).expect("fills");
    submit(&store, Command::Scratch { bytes: 1 }).expect("frees");
    soon("all free pages but two are given back", || {
        let stats = stats(place.path(), |_| ()).expect("counts");
        stats.free_pages <= 2 && stats.database_bytes < 100_000
    });
    submit(&store, enter(1)).expect("the writer's own vacuum is no foreign write");
}

#[test]
fn queries_read_only_and_outlive_a_panic() {
    let place = directory();
    let store = open(place.path(), &Progress::default()).expect("opens");
    let runtime = runtime();
    let write = store.query(|connection| connection.execute("DELETE FROM total", []));
    assert!(matches!(runtime.block_on(write), Err(QueryError::Sqlite(_))));
    let panics = store.query(|_| -> rusqlite::Result<()> { panic!("as it should") });
    assert!(matches!(runtime.block_on(panics), Err(QueryError::Panicked)));
    assert_eq!(runtime.block_on(store.query(audit)).expect("reads"), [0; 0]);
}

#[test]
fn files_that_are_not_ours_are_refused_and_stay_as_they_are() {
    type Expected = fn(&OpenError) -> bool;
    let make = |statements: &str| {
        let place = directory();
        let theirs = Connection::open(place.path().join("intertie.db")).expect("opens");
        theirs.execute_batch(statements).expect("runs");
        drop(theirs);
        place
    };
    let garbage = directory();
    fs::write(garbage.path().join("intertie.db"), vec![7; 10_000]).expect("writes");
    let cases: [(_, Expected); 3] = [
        (make("CREATE TABLE theirs (name)"), |error| matches!(error, OpenError::NotOurs { .. })),
        (make("PRAGMA application_id = 1231975540; PRAGMA user_version = 99"), |error| {
            matches!(error, OpenError::Newer { found: 99, known: 1, .. })
        }),
        (garbage, |error| matches!(error, OpenError::Damaged { .. })),
    ];
    for (place, expected) in cases {
        let database = place.path().join("intertie.db");
        let before = fs::read(&database).expect("is there");
        let refused = open(place.path(), &Progress::default()).expect_err("is not ours");
        assert!(expected(&refused), "{refused:?}");
        assert_eq!(fs::read(&database).expect("is there"), before);
    }
}

#[test]
fn a_directory_has_one_store() {
    let place = directory();
    let store = open(place.path(), &Progress::default()).expect("opens");
    let refused = open(place.path(), &Progress::default()).expect_err("is open");
    assert!(matches!(refused, OpenError::InUse { holder: Some(_), .. }), "{refused}");
    drop(store);
    open(place.path(), &Progress::default()).expect("is free");
}
