use std::time::Duration;

use intertie_core::criticality::Criticality;

/// Who asks for a place. It matters only when the call must wait.
///
/// `None` and `Some(remaining)` stand for a caller that says no more than how much time it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caller {
    /// What the caller's deadline leaves. `None`: it has none.
    pub remaining: Option<Duration>,
    /// Higher ones are served first, and take the seats of lower ones when the queue is full.
    pub criticality: Criticality,
    /// Calls with the same key, such as the hash of a tenant's name, stand in one line, and the lines of
    /// one criticality are served in turns. Calls without a key share a line.
    pub key: Option<u64>,
}

impl From<Option<Duration>> for Caller {
    fn from(remaining: Option<Duration>) -> Self {
        Self { remaining, ..Self::default() }
    }
}
