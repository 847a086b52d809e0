//! Power is lost at every moment of a workload.

use std::fs;
use std::sync::Arc;

use intertie_engine_embedded::store::{Defect, OpenError};
use intertie_simulated_disk::Disk;
use rusqlite::Connection;

use crate::ledger::Progress;
use crate::workload::{Told, directory, open, run};

/// Runs a workload to its end and looks at what each loss of power leaves, with `seed` for the damage. Every
/// fourth recovery is cut off by another loss of power.
fn check_every_crash(seed: u64) {
    let place = directory();
    let disk = Arc::new(Disk::beneath(place.path()).expect("a disk"));
    let progress = Progress::above(&disk);
    let mut told = Told::default();
    let store = open(place.path(), &progress).expect("opens");
    run(&store, 24, &mut told);
    drop(store);
    assert!(told.unknown.is_empty() && told.refused.is_empty());

    let mut random = fastrand::Rng::with_seed(seed);
    for crash in disk.crashes(seed) {
        let context = format!("seed {seed}, crash after {}", crash.operations);
        let after = directory();
        crash.lay_out(after.path()).expect("lays out");
        let disk = Disk::beneath(after.path()).expect("a disk");
        let before = disk.operations();
        told.check(after.path(), crash.operations, &progress, &context);
        if random.u8(..4) == 0 {
            let moment = random.usize(before..=disk.operations());
            let again = disk.crashes(random.u64(..)).nth(moment).expect("not after the last");
            let after = directory();
            again.lay_out(after.path()).expect("lays out");
            let _disk = Disk::beneath(after.path()).expect("a disk");
            let context = format!("{context} and again after {}", moment - before);
            told.check(after.path(), crash.operations, &progress, &context);
        }
    }
}

#[test]
fn whatever_power_loss_leaves_is_a_prefix_of_groups_with_all_that_was_acknowledged() {
    check_every_crash(1);
}

#[test]
#[should_panic(expected = "was acknowledged")]
fn a_writer_that_answers_before_it_has_synced_is_found() {
    Defect::AcknowledgesBeforeSync.seed();
    check_every_crash(1);
}

#[test]
fn a_log_that_was_left_behind_is_renewed_by_one_who_has_the_database_alone() {
    let place = directory();
    let disk = Arc::new(Disk::beneath(place.path()).expect("a disk"));
    let progress = Progress::above(&disk);
    let mut told = Told::default();
    let store = open(place.path(), &progress).expect("opens");
    run(&store, 1, &mut told);
    let crash = disk.crashes(1).nth(disk.operations()).expect("not after the last");
    drop(store);

    let after = directory();
    crash.lay_out(after.path()).expect("lays out");
    assert!(fs::metadata(after.path().join("intertie.db-wal")).expect("is left").len() > 0);
    let other = Connection::open(after.path().join("intertie.db")).expect("opens");
    other.execute_batch("SELECT * FROM entry").expect("reads");
    let refused = open(after.path(), &Progress::default()).expect_err("another has it open");
    let OpenError::Busy { processes, .. } = &refused else { panic!("{refused:?}") };
    // That of this test, where the system tells.
    assert!(processes.is_empty() || *processes == [std::process::id()], "{refused}");
    drop(other);
    told.check(after.path(), crash.operations, &progress, "alone");
}
