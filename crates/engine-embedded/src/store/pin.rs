//! Who keeps the write-ahead log from getting shorter.

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
        let processes: Vec<String> = self.processes.iter().map(ToString::to_string).collect();
        f.write_str(&processes.join(", "))
    }
}

/// The bytes of the shared-memory file that SQLite's readers lock while they read from the log.
const READ_MARKS: RangeInclusive<u64> = 123..=127;

impl WalPin {
    /// Looks up who reads the database whose shared memory is at `shm`.
    ///
    /// By its metadata and the system's list alone: to open that file and close it again would release the locks
    /// that SQLite has on it in this process.
    pub(super) fn look_up(shm: &Path) -> Self {
        let processes = fs::metadata(shm)
            .and_then(|metadata| Ok(readers(&fs::read_to_string("/proc/locks")?, metadata.ino())));
        Self { processes: processes.unwrap_or_default() }
    }
}

/// The processes that have a reader's lock on the file `inode`, by the lines of `/proc/locks`, such as
/// `3: POSIX  ADVISORY  READ  4711 fe:00:123456 124 124`.
fn readers(locks: &str, inode: u64) -> Vec<u32> {
    let mut processes: Vec<u32> = locks
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, "POSIX", _, "READ", process, file, first, _] = words[..] else { return None };
            let is_mark = READ_MARKS.contains(&first.parse().ok()?);
            let is_file = file.rsplit(':').next()?.parse() == Ok(inode);
            if is_mark && is_file { process.parse().ok() } else { None }
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
    fn processes_with_a_read_mark_on_the_file_are_found() {
        let locks = "\
1: POSIX  ADVISORY  READ  30 fe:00:77 124 124
2: POSIX  ADVISORY  READ  20 fe:00:77 123 123
3: POSIX  ADVISORY  READ  20 fe:00:77 126 126
4: POSIX  ADVISORY  READ  40 fe:00:77 128 128
5: POSIX  ADVISORY  WRITE 50 fe:00:77 123 123
6: POSIX  ADVISORY  READ  60 fe:00:78 124 124
7: FLOCK  ADVISORY  WRITE 70 fe:00:77 0 EOF
7: -> POSIX  ADVISORY  READ 80 fe:00:77 124 124
nonsense";
        assert_eq!(readers(locks, 77), [20, 30]);
    }
}
