//! Bugs that tests seed, to see that they are found. Without the feature `defects`, which only tests have, there are
//! none.

#[cfg(feature = "defects")]
use std::cell::Cell;

use super::failure::Step;

/// A bug of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// It answers before the group is durable.
    AcknowledgesBeforeSync,
    /// It takes a failed commit for the end of one group only.
    WritesOnAfterFailedSync,
    /// It panics as it begins this.
    Panics(Step),
}

#[cfg(feature = "defects")]
thread_local! {
    static SEEDED: Cell<Option<Defect>> = const { Cell::new(None) };
}

impl Defect {
    /// Seeds a bug into the next store that this thread opens.
    #[cfg(feature = "defects")]
    pub fn seed(self) {
        SEEDED.set(Some(self));
    }

    /// What is seeded into the store that this thread is opening.
    #[cfg(feature = "defects")]
    pub(super) fn take() -> Option<Self> {
        SEEDED.take()
    }

    #[cfg(not(feature = "defects"))]
    pub(super) fn take() -> Option<Self> {
        None
    }
}
