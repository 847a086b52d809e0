//! Errors of sockets that say something of this machine and nothing of the other side.

use std::io;

/// Numbers of errors that have no kind of their own: the process or the machine has no descriptor left
/// (`ENFILE`, `EMFILE`), or no buffer (`ENOBUFS`).
#[cfg(target_os = "linux")]
const NUMBERS: [i32; 3] = [23, 24, 105];
#[cfg(not(target_os = "linux"))]
const NUMBERS: [i32; 3] = [23, 24, 55];

/// Whether a connection could not be opened for want of something that this machine had used up: a local port, a
/// descriptor, memory.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
        || error.raw_os_error().is_some_and(|number| NUMBERS.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_machine_lacks_is_its_own_fault() {
        for ours in [23, 24] {
            assert!(is_exhausted(&io::Error::from_raw_os_error(ours)), "{ours}");
        }
        assert!(is_exhausted(&io::ErrorKind::AddrNotAvailable.into()));
        for theirs in
            [io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut, io::ErrorKind::HostUnreachable]
        {
            assert!(!is_exhausted(&theirs.into()), "{theirs}");
        }
    }
}
