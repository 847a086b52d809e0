use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use crate::crash::Crashes;
use crate::journal::{Name, Operation};
use crate::vfs;

/// A disk that everything in one directory is on, until it is dropped.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
}

/// What a disk is told to fail, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The sync after so many others.
    Sync(usize),
    /// The write or truncation after so many others fails with an I/O error. Of a write, half is done.
    Write(usize),
    /// The write after so many others finds no room left, and so does each one after it.
    NoRoom(usize),
    /// The read after so many others.
    Read(usize),
}

#[derive(Debug)]
pub(crate) struct Shared {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    operations: Vec<Operation>,
    fault: Option<Fault>,
    has_failed: bool,
    /// The database was not opened again since a sync failed.
    is_doubtful: bool,
    written_in_doubt: usize,
    syncs: usize,
    writes: usize,
    reads: usize,
    /// The numbers that the file system has for the files.
    inodes: HashMap<Name, u64>,
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    Failed,
    Full,
}

impl Disk {
    /// Puts a disk beneath `directory`, with all files in it synced.
    ///
    /// # Errors
    /// When the directory can not be read.
    pub fn beneath(directory: &Path) -> io::Result<Self> {
        let directory = directory.canonicalize()?;
        let mut state = State::default();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // Shared memory of SQLite's connections is nothing that a disk keeps.
            if !name.ends_with("-shm") {
                state.operations.push(Operation::Replace { file: name, bytes: fs::read(&path)? });
            }
        }
        let shared = Arc::new(Shared { directory, state: Mutex::new(state) });
        vfs::mount(&shared);
        Ok(Self { shared })
    }

    /// Fails what `fault` says, counted from now; nothing, if there is none.
    pub fn fail(&self, fault: Option<Fault>) {
        let mut state = self.shared.state();
        (state.fault, state.has_failed) = (fault, false);
        (state.syncs, state.writes, state.reads) = (0, 0, 0);
    }

    /// Whether the fault has come.
    pub fn has_failed(&self) -> bool {
        self.shared.state().has_failed
    }

    /// How many writes came after a failed sync, before the database was opened again.
    pub fn written_in_doubt(&self) -> usize {
        self.shared.state().written_in_doubt
    }

    /// How many operations were done so far. Reads do not count.
    pub fn operations(&self) -> usize {
        self.shared.state().operations.len()
    }

    /// How many syncs, writes and reads were asked for since [`Disk::fail`] was last called.
    pub fn counts(&self) -> (usize, usize, usize) {
        let state = self.shared.state();
        (state.syncs, state.writes, state.reads)
    }

    /// The moments at which power could have been lost so far. `seed` decides what each leaves behind.
    pub fn crashes(&self, seed: u64) -> Crashes {
        Crashes::new(self.shared.state().operations.clone(), seed)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        vfs::unmount(&self.shared);
    }
}

impl Shared {
    /// The name of the file at `path`, if it is on this disk.
    pub(crate) fn name(&self, path: &Path) -> Option<Name> {
        let name = path.strip_prefix(&self.directory).ok()?;
        Some(name.to_str()?.to_owned())
    }

    /// Notes that SQLite opened the file at `path`, which someone may have replaced.
    pub(crate) fn opened(&self, file: &str, path: &Path, is_database: bool) -> io::Result<()> {
        let mut state = self.state();
        if is_database {
            state.is_doubtful = false;
        }
        let inode = fs::metadata(path)?.ino();
        if state.inodes.insert(file.to_owned(), inode).is_some_and(|before| before != inode) {
            let bytes = fs::read(path)?;
            state.operations.push(Operation::Replace { file: file.to_owned(), bytes });
        }
        Ok(())
    }

    pub(crate) fn write(&self, file: &str, offset: u64, bytes: &[u8]) -> Verdict {
        let mut state = self.state();
        let verdict = state.change();
        let kept = if verdict == Verdict::Done { bytes } else { &bytes[..bytes.len() / 2] };
        let file = file.to_owned();
        state.operations.push(Operation::Write { file, offset, bytes: kept.to_vec() });
        verdict
    }

    pub(crate) fn truncate(&self, file: &str, size: u64) -> Verdict {
        let mut state = self.state();
        let verdict = state.change();
        if verdict != Verdict::Failed {
            state.operations.push(Operation::Truncate { file: file.to_owned(), size });
        }
        verdict
    }

    pub(crate) fn delete(&self, file: &str) {
        let mut state = self.state();
        state.inodes.remove(file);
        state.operations.push(Operation::Delete { file: file.to_owned() });
    }

    pub(crate) fn sync(&self, file: &str) -> Verdict {
        let mut state = self.state();
        let fails = state.fault == Some(Fault::Sync(state.syncs));
        state.syncs += 1;
        let file = file.to_owned();
        if fails {
            (state.has_failed, state.is_doubtful) = (true, true);
            state.operations.push(Operation::FailedSync { file });
            return Verdict::Failed;
        }
        state.operations.push(Operation::Sync { file });
        Verdict::Done
    }

    pub(crate) fn read(&self) -> Verdict {
        let mut state = self.state();
        let fails = state.fault == Some(Fault::Read(state.reads));
        state.reads += 1;
        state.has_failed |= fails;
        if fails { Verdict::Failed } else { Verdict::Done }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a write or truncation, and says whether it is to be done.
    fn change(&mut self) -> Verdict {
        self.written_in_doubt += usize::from(self.is_doubtful);
        let number = self.writes;
        self.writes += 1;
        let verdict = match self.fault {
            Some(Fault::Write(at)) if at == number => Verdict::Failed,
            Some(Fault::NoRoom(at)) if at <= number => Verdict::Full,
            _ => return Verdict::Done,
        };
        self.has_failed = true;
        verdict
    }
}
