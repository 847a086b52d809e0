//! Room on the disk for the next opening.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::config::StoreConfig;

/// A file that holds room for a copy of the write-ahead log.
///
/// Opening after a crash first copies the log (see [`renew_log`](super::renewal::renew_log)), and a crash of a full
/// disk is one. The copy is written over this file, which so needs no room, and takes the place of the log, whose
/// room the checkpoint then has. Without a log to copy the file is removed, and its room is what opening may use.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// As much as the log may grow by before it is looked at again.
    step: u64,
    /// A log that a reader pins past this has no reserve for the rest.
    most: u64,
    bytes: u64,
    /// The last try found no room.
    is_refused: bool,
}

/// What came of looking after a reserve.
#[derive(Debug)]
pub(super) enum Kept {
    /// Nothing changed.
    AsBefore,
    /// It is large enough again.
    Whole,
    /// It can not be made large enough, and before this it was.
    Short(io::Error),
}

impl Reserve {
    /// A reserve at `path`, where there is none yet.
    pub(super) fn new(path: PathBuf, config: &StoreConfig) -> Self {
        let (step, most) = (config.checkpoint_after.bytes(), config.wal_max.bytes());
        Self { path, step, most, bytes: 0, is_refused: false }
    }

    /// How much room it holds.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps it ahead of a log of `log` bytes. What was refused is tried again in idle time only.
    pub(super) fn keep_ahead(&mut self, log: u64, is_idle: bool) -> Kept {
        let needed = needed(log, self.step, self.most);
        if self.bytes >= needed || self.is_refused && !is_idle {
            return Kept::AsBefore;
        }
        match self.grow(needed) {
            Ok(()) if self.is_refused => {
                self.is_refused = false;
                Kept::Whole
            }
            Ok(()) => Kept::AsBefore,
            Err(_) if self.is_refused => Kept::AsBefore,
            Err(error) => {
                self.is_refused = true;
                Kept::Short(error)
            }
        }
    }

    fn grow(&mut self, bytes: u64) -> io::Result<()> {
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&self.path)?;
        let grown = allocate(&file, bytes).and_then(|()| file.sync_all());
        match grown {
            Ok(()) => self.bytes = bytes,
            // A part of it would take the last room and be too small.
            Err(_) if self.bytes == 0 => fs::remove_file(&self.path)?,
            Err(_) => file.set_len(self.bytes)?,
        }
        grown
    }
}

/// The reserve for a log of `log` bytes: a whole number of steps, and at least one more than the log has.
fn needed(log: u64, step: u64, most: u64) -> u64 {
    log.saturating_add(step).div_ceil(step).saturating_mul(step).min(most)
}

/// Gives the file `bytes` of the disk.
#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    Ok(nix::fcntl::posix_fallocate(file, 0, bytes)?)
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    use io::Read;
    io::copy(&mut io::repeat(0).take(bytes), &mut &*file).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_ahead_of_the_log_by_a_step_until_its_bound(log in 0_u64..1 << 40, step in 4096_u64..1 << 24) {
            let most = 1 << 36;
            let needed = needed(log, step, most);
            prop_assert!(needed == most || needed >= log + step && needed < log + 2 * step);
        }
    }

    #[test]
    fn its_room_is_real_and_what_was_refused_is_tried_again_when_idle() {
        let place = tempfile::tempdir().expect("directory");
        let path = place.path().join("below/reserve");
        let mut reserve = Reserve::new(path.clone(), &StoreConfig::default());
        assert!(matches!(reserve.keep_ahead(0, false), Kept::Short(_)), "there is no such directory");
        fs::create_dir(place.path().join("below")).expect("creates");
        assert!(matches!(reserve.keep_ahead(0, false), Kept::AsBefore));
        assert_eq!(reserve.bytes(), 0);
        assert!(matches!(reserve.keep_ahead(0, true), Kept::Whole));
        assert!(matches!(reserve.keep_ahead(1, false), Kept::AsBefore));
        let metadata = fs::metadata(&path).expect("is there");
        assert!(metadata.len() > 16 << 20 && metadata.blocks() * 512 >= metadata.len(), "{metadata:?}");
    }
}
