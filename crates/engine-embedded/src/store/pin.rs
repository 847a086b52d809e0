//! Who keeps the write-ahead log from getting shorter, or the database from being opened.

use std::fmt;
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whose reads keep the write-ahead log past its bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalPin {
    /// The processes that read as of an earlier moment, where the system tells; our own may be among them.
    pub processes: Vec<u32>,
}

impl fmt::Display for WalPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.processes.is_empty() {
            return f.write_str("unknown");
        }
        f.write_str(&names(&self.processes))
    }
}

/// The numbers of processes, for people.
pub(super) fn names(processes: &[u32]) -> String {
    let names: Vec<String> = processes.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// The bytes of the shared-memory file that SQLite's readers lock while they read from the log.
const READ_MARKS: RangeInclusive<u64> = 123..=127;

/// The bytes of the database that SQLite locks: those who write to it alone, wait for that, or, as everyone who has
/// once read from it does until he closes it, share it.
const DATABASE_LOCKS: RangeInclusive<u64> = 0x4000_0000..=0x4000_01ff;

impl WalPin {
    /// Looks up who reads the database whose shared memory is at `shm`.
    ///
    /// By its metadata and the system's list alone: to open that file and close it again would release the locks
    /// that SQLite has on it in this process.
    pub(super) fn look_up(shm: &Path) -> Self {
        Self { processes: look_up(shm, READ_MARKS) }
    }
}

/// The processes that have the database open, where the system tells; this one only if there is no other.
pub(super) fn holders(database: &Path) -> Vec<u32> {
    let mut processes = look_up(database, DATABASE_LOCKS);
    let own = std::process::id();
    if processes.iter().any(|process| *process != own) {
        processes.retain(|process| *process != own);
    }
    processes
}

fn look_up(file: &Path, bytes: RangeInclusive<u64>) -> Vec<u32> {
    let processes = fs::metadata(file)
        .and_then(|metadata| Ok(lockers(&fs::read_to_string("/proc/locks")?, metadata.ino(), &bytes)));
    processes.unwrap_or_default()
}

/// The processes that have a lock on any of `bytes` of the file `inode`, by the lines of `/proc/locks`, such as
/// `3: POSIX  ADVISORY  READ  4711 fe:00:123456 124 124`.
fn lockers(locks: &str, inode: u64, bytes: &RangeInclusive<u64>) -> Vec<u32> {
    let mut processes: Vec<u32> = locks
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, "POSIX", _, _, process, file, first, last] = words[..] else { return None };
            let last = last.parse().unwrap_or(u64::MAX);
            let is_among = first.parse::<u64>().ok()? <= *bytes.end() && last >= *bytes.start();
            let is_file = file.rsplit(':').next()?.parse() == Ok(inode);
            if is_among && is_file { process.parse().ok() } else { None }
        })
        .collect();
    processes.sort_unstable();
    processes.dedup();
    processes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_with_a_lock_on_the_bytes_of_the_file_are_found() {
        let locks = "\
1: POSIX  ADVISORY  READ  30 fe:00:77 124 124
2: POSIX  ADVISORY  READ  20 fe:00:77 123 123
3: POSIX  ADVISORY  READ  20 fe:00:77 126 126
4: POSIX  ADVISORY  READ  40 fe:00:77 128 128
5: POSIX  ADVISORY  WRITE 50 fe:00:77 120 EOF
6: POSIX  ADVISORY  READ  60 fe:00:78 124 124
7: FLOCK  ADVISORY  WRITE 70 fe:00:77 0 EOF
7: -> POSIX  ADVISORY  READ 80 fe:00:77 124 124
nonsense";
        assert_eq!(lockers(locks, 77, &READ_MARKS), [20, 30, 50]);
        assert_eq!(lockers(locks, 77, &(128..=200)), [40, 50]);
    }
}
