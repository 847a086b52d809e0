//! Why connections of clients could not be taken.

use std::io;

use crate::stats::Counter;

/// What was missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AcceptFailure {
    /// A descriptor of this process.
    Descriptors,
    /// A descriptor of the whole machine.
    SystemDescriptors,
    /// Memory, or a buffer of the kernel's.
    Memory,
    /// Nothing here: the connection had ended, or the network failed it.
    Connection,
}

/// Numbers of errors that have no kind of their own: `EMFILE`, `ENFILE`, `ENOBUFS`.
const DESCRIPTORS: i32 = 24;
const SYSTEM_DESCRIPTORS: i32 = 23;
#[cfg(target_os = "linux")]
const BUFFERS: i32 = 105;
#[cfg(not(target_os = "linux"))]
const BUFFERS: i32 = 55;

impl AcceptFailure {
    pub(super) const ALL: [Self; 4] =
        [Self::Descriptors, Self::SystemDescriptors, Self::Memory, Self::Connection];

    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(DESCRIPTORS) => Self::Descriptors,
            Some(SYSTEM_DESCRIPTORS) => Self::SystemDescriptors,
            Some(BUFFERS) => Self::Memory,
            _ if error.kind() == io::ErrorKind::OutOfMemory => Self::Memory,
            _ => Self::Connection,
        }
    }

    /// The label of its counter.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::SystemDescriptors => "system_descriptors",
            Self::Memory => "memory",
            Self::Connection => "connection",
        }
    }
}

/// Counts them by their cause.
#[derive(Debug, Default)]
pub(super) struct AcceptFailures([Counter; AcceptFailure::ALL.len()]);

impl AcceptFailures {
    pub(super) fn count(&self, failure: AcceptFailure) {
        self.0[failure as usize].increment();
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        AcceptFailure::ALL.into_iter().zip(&self.0).map(|(failure, counter)| (failure.name(), counter.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_counts_for_what_was_missing() {
        let failures = AcceptFailures::default();
        for (number, times) in [(24, 1), (23, 2), (12, 3), (BUFFERS, 1), (103, 1), (71, 1)] {
            for _ in 0..times {
                failures.count(AcceptFailure::of(&io::Error::from_raw_os_error(number)));
            }
        }
        let counts: Vec<_> = failures.counts().collect();
        let expected = [("descriptors", 1), ("system_descriptors", 2), ("memory", 4), ("connection", 2)];
        assert_eq!(counts, expected);
    }
}
