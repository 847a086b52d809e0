//! What a disk may hold after power was lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use fastrand::Rng;

use crate::journal::{Name, Operation};

/// Goes through the moments at which power can be lost, first to last: before the first operation, after it,
/// after the second, and so on.
#[derive(Debug)]
pub struct Crashes {
    operations: std::vec::IntoIter<Operation>,
    done: usize,
    is_begun: bool,
    files: BTreeMap<Name, File>,
    random: Rng,
}

/// What the disk holds after one loss of power.
#[derive(Debug)]
pub struct Crash {
    /// How many operations had been done.
    pub operations: usize,
    files: BTreeMap<Name, Vec<u8>>,
}

/// A file: what the disk has for sure, and what was done since.
#[derive(Debug, Default)]
struct File {
    /// No file, if the disk has none.
    durable: Option<Vec<u8>>,
    pending: Vec<Operation>,
}

impl Crashes {
    pub(crate) fn new(operations: Vec<Operation>, seed: u64) -> Self {
        Self {
            operations: operations.into_iter(),
            done: 0,
            is_begun: false,
            files: BTreeMap::new(),
            random: Rng::with_seed(seed),
        }
    }

    fn record(&mut self, operation: Operation) {
        match operation {
            Operation::Write { ref file, .. } | Operation::Truncate { ref file, .. } => {
                self.files.entry(file.clone()).or_default().pending.push(operation);
            }
            Operation::Replace { file, bytes } => {
                self.files.insert(file, File { durable: Some(bytes), pending: Vec::new() });
            }
            // That a file is gone becomes durable with the next sync of any file, as in a file system's journal.
            Operation::Delete { ref file } => {
                self.files.entry(file.clone()).or_default().pending.push(operation);
            }
            Operation::Sync { file } => {
                for deleted in self.files.values_mut() {
                    deleted.delete_what_is_deleted();
                }
                self.files.entry(file).or_default().sync();
            }
            Operation::FailedSync { file } => {
                let random = &mut self.random;
                self.files.entry(file).or_default().lose(random);
            }
        }
    }
}

impl Crashes {
    /// Does one more operation, but for the first time.
    fn advance(&mut self) -> Option<()> {
        if self.is_begun {
            let operation = self.operations.next()?;
            self.record(operation);
            self.done += 1;
        }
        self.is_begun = true;
        Some(())
    }
}

impl Iterator for Crashes {
    type Item = Crash;

    fn next(&mut self) -> Option<Crash> {
        self.advance()?;
        let random = &mut self.random;
        let files = self.files.iter().filter_map(|(name, file)| {
            let content = file.after_crash(random)?;
            Some((name.clone(), content))
        });
        let files = files.collect();
        Some(Crash { operations: self.done, files })
    }

    fn nth(&mut self, count: usize) -> Option<Crash> {
        // What is passed over is not laid out.
        for _ in 0..count {
            self.advance()?;
        }
        self.next()
    }
}

impl Crash {
    /// Writes the files into `directory`, which they replace there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn lay_out(&self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            fs::remove_file(entry?.path())?;
        }
        self.files.iter().try_for_each(|(name, content)| fs::write(directory.join(name), content))
    }
}

impl File {
    fn sync(&mut self) {
        for operation in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &operation);
        }
        self.durable.get_or_insert_default();
    }

    fn delete_what_is_deleted(&mut self) {
        if let Some(last) =
            self.pending.iter().rposition(|operation| matches!(operation, Operation::Delete { .. }))
        {
            self.pending.drain(..=last);
            self.durable = None;
        }
    }

    /// A failed sync: each part that it should have written is on the disk or lost.
    fn lose(&mut self, random: &mut Rng) {
        for operation in std::mem::take(&mut self.pending) {
            if random.bool() {
                apply(&mut self.durable, &operation);
            }
        }
    }

    /// What is found after power is lost now, if there is a file at all.
    fn after_crash(&self, random: &mut Rng) -> Option<Vec<u8>> {
        let mut content = self.durable.clone();
        // How much the disk's cache held back: all, nothing, or any part.
        let share = [0, 128, 255][random.usize(..3)];
        let mut survivors: Vec<&Operation> =
            self.pending.iter().filter(|_| random.u8(..=254) < share).collect();
        if random.bool() {
            random.shuffle(&mut survivors);
        }
        let (torn, flipped) = (random.u8(..4) == 0, random.u8(..4) == 0);
        let sector = if random.bool() { 512 } else { 4096 };
        for survivor in survivors {
            match survivor {
                Operation::Write { file, offset, bytes } if torn || flipped => {
                    for (offset, mut part) in sectors(*offset, bytes, sector) {
                        if torn && random.bool() {
                            continue;
                        }
                        if flipped && random.u8(..8) == 0 {
                            let bit = random.usize(..part.len() * 8);
                            part[bit / 8] ^= 1 << (bit % 8);
                        }
                        apply(&mut content, &Operation::Write { file: file.clone(), offset, bytes: part });
                    }
                }
                survivor => apply(&mut content, survivor),
            }
        }
        content
    }
}

fn apply(content: &mut Option<Vec<u8>>, operation: &Operation) {
    match operation {
        Operation::Write { offset, bytes, .. } => {
            let content = content.get_or_insert_default();
            let start = usize::try_from(*offset).expect("simulated files fit into memory");
            let end = start + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(bytes);
        }
        Operation::Truncate { size, .. } => {
            let size = usize::try_from(*size).expect("simulated files fit into memory");
            content.get_or_insert_default().resize(size, 0);
        }
        Operation::Delete { .. } => *content = None,
        Operation::Replace { .. } | Operation::Sync { .. } | Operation::FailedSync { .. } => {}
    }
}

/// The parts of a write that a disk writes as one.
fn sectors(offset: u64, bytes: &[u8], sector: u64) -> Vec<(u64, Vec<u8>)> {
    let mut parts = Vec::new();
    let (mut offset, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let room = usize::try_from(sector - offset % sector).expect("sectors are small");
        let (part, after) = rest.split_at(room.min(rest.len()));
        parts.push((offset, part.to_vec()));
        offset += part.len() as u64;
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: u64, bytes: &[u8]) -> Operation {
        Operation::Write { file: "a".to_owned(), offset, bytes: bytes.to_vec() }
    }

    fn sync() -> Operation {
        Operation::Sync { file: "a".to_owned() }
    }

    /// All contents of the file that crashes at the end of `operations` can leave, over many seeds.
    fn found(operations: &[Operation]) -> std::collections::BTreeSet<Option<Vec<u8>>> {
        let last = |seed| Crashes::new(operations.to_vec(), seed).last().expect("a crash before the first");
        (0..500).map(|seed| last(seed).files.remove("a")).collect()
    }

    #[test]
    fn what_was_synced_is_found_whatever_comes_after() {
        for content in found(&[write(0, b"abcd"), sync(), write(4, b"efgh")]) {
            assert!(content.expect("the file is there").starts_with(b"abcd"));
        }
        assert_eq!(found(&[write(0, b"abcd"), sync()]).len(), 1);
    }

    #[test]
    fn what_was_not_synced_is_lost_kept_reordered_torn_and_flipped() {
        let contents = found(&[write(0, b"aaaa"), write(2, b"bbbb")]);
        for expected in [None, Some(&b"aaaa"[..]), Some(b"\0\0bbbb"), Some(b"aabbbb"), Some(b"aaaabb")] {
            assert!(contents.contains(&expected.map(<[u8]>::to_vec)), "{expected:?}");
        }
        let flipped = |content: &Vec<u8>| content.iter().any(|byte| !b"ab\0".contains(byte));
        assert!(contents.iter().flatten().any(flipped));
        let torn = found(&[write(510, b"aaaa")]);
        assert!(torn.iter().flatten().any(|content| content.len() == 512));
    }

    #[test]
    fn what_a_failed_sync_lost_no_later_one_brings_back() {
        let failed = Operation::FailedSync { file: "a".to_owned() };
        let contents = found(&[write(0, b"a"), sync(), write(0, b"b"), failed, sync()]);
        assert!(contents.contains(&Some(b"a".to_vec())) && contents.contains(&Some(b"b".to_vec())));
    }

    #[test]
    fn a_deleted_file_may_come_back_until_the_next_sync() {
        let delete = Operation::Delete { file: "a".to_owned() };
        let deleted = [write(0, b"a"), sync(), delete];
        assert_eq!(found(&deleted).len(), 2);
        let other = Operation::Sync { file: "b".to_owned() };
        assert_eq!(found(&[&deleted[..], &[other]].concat()), [None].into());
    }

    #[test]
    fn there_is_a_crash_before_and_after_each_operation() {
        let crashes = Crashes::new(vec![write(0, b"a"), sync()], 0);
        assert_eq!(crashes.map(|crash| crash.operations).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
