//! What operators do with a data directory.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use intertie_engine_embedded::store::maintenance::{MaintenanceError, backup, restore, stats, verify};
use intertie_simulated_disk::{Disk, Fault};
use rusqlite::Connection;

use crate::ledger::{Command, Progress, audit};
use crate::workload::{Told, directory, open, run, runtime};

/// A directory with some entries, closed.
fn filled(rounds: u64) -> (tempfile::TempDir, Vec<u64>) {
    let place = directory();
    let store = open(place.path(), &Progress::default()).expect("opens");
    run(&store, rounds, &mut Told::default());
    let identities = runtime().block_on(store.query(audit)).expect("reads");
    (place, identities)
}

fn no_checks(_: &Connection) -> rusqlite::Result<Vec<String>> {
    Ok(Vec::new())
}

#[test]
fn a_backup_of_a_store_in_use_is_restored_into_an_empty_directory_with_all_that_was_there() {
    let (place, identities) = filled(20);
    let store = open(place.path(), &Progress::default()).expect("opens");
    let other = directory();
    let (file, target) = (other.path().join("copy.db"), other.path().join("restored"));
    let mut steps = Vec::new();
    backup(place.path(), &file, |progress| steps.push(progress)).expect("copies");
    run(&store, 3, &mut Told::default());

    let last = steps.last().expect("tells how far it is");
    assert!(last.total > 0 && last.done == last.total, "{last:?}");
    let beside: Vec<_> =
        fs::read_dir(other.path()).expect("reads").map(|entry| entry.expect("is").path()).collect();
    assert_eq!(beside, std::slice::from_ref(&file), "one file and nothing beside it");
    restore(&file, &target, |_| ()).expect("restores");
    let restored = open(&target, &Progress::default()).expect("opens");
    assert_eq!(runtime().block_on(restored.query(audit)).expect("reads"), identities);
}

#[test]
fn a_backup_is_of_the_moment_of_the_call_whatever_is_written_meanwhile() {
    let (place, identities) = filled(4);
    let store = open(place.path(), &Progress::default()).expect("opens");
    let runtime = runtime();
    // More than is copied at once.
    runtime.block_on(store.submit(Command::Scratch { bytes: 9_000_000 })).expect("fills");
    let other = directory();
    let (file, target) = (other.path().join("copy.db"), other.path().join("restored"));
    let mut steps = 0;
    backup(place.path(), &file, |_| {
        steps += 1;
        assert!(steps < 100, "the copy began anew");
        runtime.block_on(store.submit(Command::Enter { identity: steps })).expect("enters");
    })
    .expect("copies");
    assert!(steps > 2);
    restore(&file, &target, |_| ()).expect("restores");
    let restored = open(&target, &Progress::default()).expect("opens");
    assert_eq!(runtime.block_on(restored.query(audit)).expect("reads"), identities);
}

#[test]
fn nothing_is_overwritten() {
    let (place, _) = filled(2);
    let other = directory();
    let file = other.path().join("copy.db");
    fs::write(&file, "theirs").expect("writes");
    let refused = backup(place.path(), &file, |_| ()).expect_err("exists");
    assert!(matches!(refused, MaintenanceError::Exists { .. }), "{refused}");
    assert_eq!(fs::read(&file).expect("is there"), b"theirs");

    let copy = other.path().join("other.db");
    backup(place.path(), &copy, |_| ()).expect("copies");
    let refused = restore(&copy, other.path(), |_| ()).expect_err("is not empty");
    assert!(matches!(refused, MaintenanceError::NotEmpty { .. }), "{refused}");
}

#[test]
fn restoring_that_failed_or_was_killed_is_tried_again() {
    let (place, identities) = filled(10);
    let other = directory();
    let (file, target) = (other.path().join("copy.db"), other.path().join("restored"));
    backup(place.path(), &file, |_| ()).expect("copies");
    fs::create_dir(&target).expect("creates");
    let disk = Disk::beneath(&target).expect("a disk");
    for number in (0..1000).step_by(7) {
        disk.fail(Some(Fault::Write(number)));
        if restore(&file, &target, |_| ()).is_ok() {
            assert!(number > 7, "it failed at first");
            break;
        }
        assert!(!target.join("intertie.db").exists(), "a copy in part has no name");
    }
    disk.fail(None);
    let restored = open(&target, &Progress::default()).expect("opens");
    assert_eq!(runtime().block_on(restored.query(audit)).expect("reads"), identities);

    let killed = directory();
    for left in ["intertie.lock", "intertie.db.partial", "intertie.db.partial-journal"] {
        fs::write(killed.path().join(left), "a part").expect("writes");
    }
    restore(&file, killed.path(), |_| ()).expect("restores");
    let restored = open(killed.path(), &Progress::default()).expect("opens");
    assert_eq!(runtime().block_on(restored.query(audit)).expect("reads"), identities);
    assert!(!killed.path().join("intertie.db.partial").exists());
}

#[test]
fn only_what_is_ours_is_restored() {
    let other = directory();
    let file = other.path().join("theirs.db");
    let theirs = Connection::open(&file).expect("opens");
    theirs.execute_batch("CREATE TABLE theirs (name)").expect("creates");
    drop(theirs);
    let target = other.path().join("restored");
    restore(&file, &target, |_| ()).expect_err("is theirs");
    assert!(!target.exists());
}

/// Writes nonsense over the middle of a page.
fn damage(database: &Path, page: u64) {
    let file = fs::File::options().write(true).open(database).expect("opens");
    file.write_all_at(&[0xa5; 512], page * 4096 + 1000).expect("writes");
}

#[test]
fn damage_is_found_and_a_damaged_copy_is_not_kept() {
    let (place, _) = filled(40);
    assert_eq!(verify(place.path(), no_checks).expect("verifies"), [""; 0]);
    let database = place.path().join("intertie.db");
    let pages = fs::metadata(&database).expect("is there").len() / 4096;
    let found = (3..pages).any(|page| {
        damage(&database, page);
        !matches!(verify(place.path(), no_checks), Ok(findings) if findings.is_empty())
    });
    assert!(found, "nonsense over every page is noticed");
    let other = directory();
    let file = other.path().join("copy.db");
    backup(place.path(), &file, |_| ()).expect_err("is damaged");
    assert_eq!(fs::read_dir(other.path()).expect("reads").count(), 0, "no copy and no part of one");
}

#[test]
fn checks_of_owners_are_asked_and_bounded() {
    let (place, _) = filled(2);
    let findings = verify(place.path(), |connection| {
        let entries: i64 = connection.query_row("SELECT count(*) FROM entry", [], |row| row.get(0))?;
        Ok((0..1000).map(|number| format!("{number} of {entries}")).collect())
    });
    assert_eq!(findings.expect("verifies").len(), 100);
}

#[test]
fn stats_tell_what_takes_the_room() {
    let (place, identities) = filled(20);
    let mut steps = Vec::new();
    let stats = stats(place.path(), |progress| steps.push(progress.done)).expect("counts");
    let names: Vec<_> = stats.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["entry", "scratch", "store_time", "total"]);
    assert_eq!(stats.tables[0].rows, identities.len() as u64);
    assert_eq!(steps, [0, 1, 2, 3, 4]);
    assert_eq!(stats.database_bytes, u64::from(stats.pages) * u64::from(stats.page_bytes));
    let used: u64 = stats.tables.iter().map(|table| table.bytes).sum();
    assert!(used <= stats.database_bytes && used > stats.database_bytes / 2, "{stats:?}");
    assert_eq!((stats.wal_bytes, stats.schema_version), (0, 1), "a closed store leaves no log");
}
