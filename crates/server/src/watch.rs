//! Notices that files changed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// Looks at files again and again: that works on every file system, and also when an editor or an
/// orchestrator puts another file in their place.
///
/// It knows nothing of what its owner read, and when, so it reports the files that it finds first: a
/// change between the owner's reading and the first look would be missed for ever otherwise.
pub(crate) struct Watch {
    paths: Vec<PathBuf>,
    reported: Option<Vec<Stamp>>,
    /// What the last look found.
    candidate: Option<Vec<Stamp>>,
}

/// When a file was written, and its length.
type Stamp = (SystemTime, u64);

impl Watch {
    /// Watches all of `paths`; with none, nothing ever changes.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, reported: None, candidate: None }
    }

    /// Returns when the files may say something new. Cancellation loses nothing.
    pub(crate) async fn changed(&mut self) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(EVERY).await;
            let now: Option<Vec<_>> = self.paths.iter().map(|path| stamp(path)).collect();
            // A file that is gone for a moment is about to be replaced, and one that still changes is
            // being written: what counts is a change that stands still for one look.
            if now.is_some() && now != self.reported && now == self.candidate {
                self.reported = now;
                return;
            }
            self.candidate = now;
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reports(watch: &mut Watch) -> bool {
        tokio::time::timeout(EVERY * 5, watch.changed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn every_state_that_stands_still_is_reported_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "a").expect("written");
        let mut watch = Watch::new(vec![path.clone()]);
        assert!(reports(&mut watch).await, "what was written before the watch began");
        assert!(!reports(&mut watch).await, "nothing changed");
        std::fs::write(&path, "bb").expect("written");
        assert!(reports(&mut watch).await, "a change");
        std::fs::remove_file(&path).expect("removed");
        assert!(!reports(&mut watch).await, "a file that is gone says nothing");
        std::fs::write(&path, "ccc").expect("written");
        assert!(reports(&mut watch).await, "a file that came back");
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_several_files_is_enough_and_none_never_changes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let paths: Vec<_> = ["a", "b"].map(|name| folder.path().join(name)).into();
        for path in &paths {
            std::fs::write(path, "a").expect("written");
        }
        let mut watch = Watch::new(paths.clone());
        assert!(reports(&mut watch).await);
        assert!(!reports(&mut watch).await);
        std::fs::write(&paths[1], "bb").expect("written");
        assert!(reports(&mut watch).await);
        assert!(!reports(&mut Watch::new(Vec::new())).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_being_written_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.toml");
        let mut watch = Watch::new(vec![path.clone()]);
        for length in 1..6 {
            std::fs::write(&path, "a".repeat(length)).expect("written");
            assert!(tokio::time::timeout(EVERY, watch.changed()).await.is_err(), "{length} bytes so far");
        }
        assert!(reports(&mut watch).await);
    }
}
