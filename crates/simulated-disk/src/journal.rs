//! What was done to a disk, in order.

/// The name of a file in the disk's directory.
pub(crate) type Name = String;

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Bytes were handed to the kernel.
    Write { file: Name, offset: u64, bytes: Vec<u8> },
    /// A file got its name, in place of any other, with all of it synced.
    Replace { file: Name, bytes: Vec<u8> },
    /// A file was cut or extended.
    Truncate { file: Name, size: u64 },
    /// A file was removed.
    Delete { file: Name },
    /// The disk has all of a file that was written before.
    Sync { file: Name },
    /// The disk was to have it, and said no.
    FailedSync { file: Name },
}
