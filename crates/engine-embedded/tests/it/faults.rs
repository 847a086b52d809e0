//! A disk that says no: to each sync, each write and reads of a workload in turn.

use std::sync::Arc;

use intertie_engine_embedded::store::{Defect, Health, SubmitError};
use intertie_simulated_disk::{Disk, Fault};

use crate::ledger::{Command, Progress};
use crate::workload::{Told, directory, open, run, runtime};

/// What came of one workload with one fault.
enum Outcome {
    /// The fault was due later than the workload's end.
    NotReached,
    /// The store could not be opened.
    NotOpened,
    /// The store stopped, or the fault came when it closed.
    Stopped,
}

/// Runs a workload into `fault`, from before the store is opened; opens the store again, uses it, and looks at what
/// is there, and at what some losses of power since the fault leave.
fn check(fault: Fault, seed: u64) -> Outcome {
    let context = format!("{fault:?}");
    let place = directory();
    let disk = Arc::new(Disk::beneath(place.path()).expect("a disk"));
    let progress = Progress::above(&disk);
    let mut told = Told::default();

    disk.fail(Some(fault));
    let outcome = match open(place.path(), &progress) {
        Err(_) => Outcome::NotOpened,
        Ok(store) => {
            run(&store, 10, &mut told);
            if disk.has_failed() && !told.refused.is_empty() {
                let health = store.health();
                assert!(matches!(health, Health::Failed { .. }), "{context}: {health:?}");
                let late = runtime().block_on(store.submit(Command::Enter { identity: 1 }));
                assert!(matches!(late, Err(SubmitError::Unavailable(_))), "{context}: {late:?}");
                let read = store
                    .query(|connection| connection.query_row("SELECT 1", [], |row| row.get::<_, i64>(0)));
                assert_eq!(runtime().block_on(read).expect("reads go on"), 1);
            }
            Outcome::Stopped
        }
    };
    if !disk.has_failed() {
        return Outcome::NotReached;
    }
    // What is not open yet has no log: there SQLite rolls back the first page of the file.
    if matches!(outcome, Outcome::Stopped) {
        assert_eq!(disk.written_in_doubt(), 0, "{context}: wrote on after a failed sync");
    }
    let failed_at = disk.operations();
    if matches!(fault, Fault::NoRoom(_)) {
        // A try while there is still no room makes nothing worse.
        drop(open(place.path(), &Progress::default()));
    }
    disk.fail(None);
    told.check(place.path(), usize::MAX, &progress, &context);
    let reopened = open(place.path(), &progress).expect("opens again");
    run(&reopened, 3, &mut told);
    drop(reopened);
    told.check(place.path(), usize::MAX, &progress, &context);

    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..5 {
        let moment = random.usize(failed_at..=disk.operations());
        let crash = disk.crashes(random.u64(..)).nth(moment).expect("not after the last");
        let after = directory();
        crash.lay_out(after.path()).expect("lays out");
        let _disk = Disk::beneath(after.path()).expect("a disk");
        let context = format!("{context}, crash {moment} after {failed_at}");
        told.check(after.path(), moment, &progress, &context);
    }
    outcome
}

/// Checks every `step`-th fault of a kind until the workload ends before it; every one where the environment sets
/// `INTERTIE_TEST_EVERY_FAULT`, which takes minutes.
fn check_each(fault: impl Fn(usize) -> Fault, step: usize) {
    let (mut not_opened, mut stopped) = (0, 0);
    let step = if std::env::var_os("INTERTIE_TEST_EVERY_FAULT").is_some() { 1 } else { step };
    for number in (0..).step_by(step) {
        match check(fault(number), number as u64) {
            Outcome::NotReached => break,
            Outcome::NotOpened => not_opened += 1,
            Outcome::Stopped => stopped += 1,
        }
    }
    assert!(not_opened > 0 && stopped > 5, "{not_opened} not opened and {stopped} stopped");
}

#[test]
fn no_failed_sync_loses_what_was_acknowledged_or_is_written_past() {
    check_each(Fault::Sync, 1);
}

#[test]
#[should_panic(expected = "wrote on after a failed sync")]
fn a_writer_that_writes_on_after_a_failed_sync_is_found() {
    for number in 0.. {
        Defect::WritesOnAfterFailedSync.seed();
        if matches!(check(Fault::Sync(number), number as u64), Outcome::NotReached) {
            return;
        }
    }
}

#[test]
fn no_failed_write_loses_what_was_acknowledged() {
    check_each(Fault::Write, 5);
}

#[test]
fn a_full_disk_loses_nothing_and_opens_again_once_there_is_room() {
    check_each(Fault::NoRoom, 9);
}

#[test]
fn no_failed_read_loses_what_was_acknowledged() {
    check_each(Fault::Read, 9);
}
