use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::super::directory::{DATABASE, Directory, LOCK, sync_directory};
use super::verify::structure;
use super::{MaintenanceError, Progress, open};

/// Pages that are copied between two reports: 4 MiB.
const STEP_PAGES: i32 = 1024;

/// Copies the database in `directory` to the new file `to`, as of the moment of the call, while others write to
/// it.
///
/// The copy is a whole database of its own that SQLite can open. It is checked, synced, and gets its name only
/// then, so a file that has the name is a good one.
///
/// # Errors
/// When `to` exists, the database can not be read, the copy can not be written, or is found to be damaged.
pub fn backup(directory: &Path, to: &Path, progress: impl FnMut(Progress)) -> Result<(), MaintenanceError> {
    copy(&open(&directory.join(DATABASE))?, to, progress)
}

/// Makes a data directory of the file `from`, which [`backup`] made. `directory` is empty, or not there yet, or holds
/// what a restoring that failed or was killed left there: that can be tried again.
///
/// # Errors
/// When `directory` has something in it, `from` is no database of ours or of a later version, or the copy can not
/// be written, or is found to be damaged.
pub fn restore(
    from: &Path,
    directory: &Path,
    progress: impl FnMut(Progress),
) -> Result<(), MaintenanceError> {
    let source = open(from)?;
    refuse_what_is_full(directory)?;
    let directory = Directory::open(directory).map_err(MaintenanceError::Open)?;
    // Ours alone from here on: a copy that is there in part belongs to nobody who still makes it.
    refuse_what_is_full(directory.path())?;
    discard(&partial(&directory.database()))?;
    copy(&source, &directory.database(), progress)
}

/// Refuses a directory with anything in it but what a copy into it leaves when it is killed.
fn refuse_what_is_full(directory: &Path) -> Result<(), MaintenanceError> {
    let left = partial(Path::new(DATABASE));
    let is_left =
        |name: &OsStr| name == LOCK || leftovers(&left).iter().any(|left| *name == *left.as_os_str());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    match entries {
        Ok(entries) if entries.iter().all(|entry| is_left(&entry.file_name())) => Ok(()),
        Ok(_) => Err(MaintenanceError::NotEmpty { directory: directory.to_owned() }),
        Err(error) => Err(MaintenanceError::io(directory, error)),
    }
}

fn copy(from: &Connection, to: &Path, progress: impl FnMut(Progress)) -> Result<(), MaintenanceError> {
    if to.exists() {
        return Err(MaintenanceError::Exists { path: to.to_owned() });
    }
    let partial = &partial(to);
    File::create_new(partial).map_err(|source| MaintenanceError::io(partial, source))?;
    let copied = fill(from, partial, progress).and_then(|()| {
        // A link, unlike a new name, never takes the place of a file that came meanwhile.
        fs::hard_link(partial, to).map_err(|source| MaintenanceError::io(to, source))
    });
    // It is ours, made above; if it can not be removed, the next copy names it.
    copied.and(discard(partial))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_directory(parent).map_err(|source| MaintenanceError::io(parent, source))
}

/// Where a copy is made before it gets its name.
fn partial(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// A file that is being made, and what SQLite has beside it meanwhile.
fn leftovers(partial: &Path) -> [PathBuf; 4] {
    ["", "-journal", "-wal", "-shm"].map(|suffix| {
        let mut name = partial.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

/// Removes what was made in part.
fn discard(partial: &Path) -> Result<(), MaintenanceError> {
    for file in leftovers(partial) {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(MaintenanceError::io(&file, error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn fill(from: &Connection, to: &Path, progress: impl FnMut(Progress)) -> Result<(), MaintenanceError> {
    let sqlite = |source| MaintenanceError::sqlite(to, source);
    let mut copy = Connection::open(to).map_err(sqlite)?;
    pages(from, &mut copy, progress).map_err(sqlite)?;
    // One file, without a log beside it.
    copy.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(())).map_err(sqlite)?;
    let findings = structure(&copy).map_err(sqlite)?;
    if !findings.is_empty() {
        return Err(MaintenanceError::Damaged { findings });
    }
    copy.close().map_err(|(_, source)| sqlite(source))?;
    File::open(to).and_then(|file| file.sync_all()).map_err(|source| MaintenanceError::io(to, source))
}

/// Copies page by page. `from` is in a transaction, so that what is written meanwhile does not begin the copy anew.
fn pages(from: &Connection, to: &mut Connection, mut progress: impl FnMut(Progress)) -> rusqlite::Result<()> {
    let copy = Backup::new(from, to)?;
    loop {
        let step = copy.step(STEP_PAGES)?;
        let count = |pages: i32| u64::try_from(pages).unwrap_or(0);
        let state = copy.progress();
        let total = count(state.pagecount);
        progress(Progress { done: total.saturating_sub(count(state.remaining)), total });
        match step {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            // Another process is recovering or checkpointing.
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
