use intertie_core::clock::Instant;

use super::FloodLimits;
use crate::wire::Violation;

/// What is counted because it costs its sender next to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// A stream that the client resets, or makes the gateway reset.
    Reset,
    Settings,
    Ping,
    WindowUpdate,
    /// PRIORITY, GOAWAY, and types that nobody here knows.
    Ignored,
    EmptyData,
}

impl Counted {
    pub(super) const KINDS: usize = 6;

    pub(super) const ALL: [Self; Self::KINDS] =
        [Self::Reset, Self::Settings, Self::Ping, Self::WindowUpdate, Self::Ignored, Self::EmptyData];

    pub(super) fn violation(self) -> Violation {
        match self {
            Self::Reset => Violation::Http2Resets,
            Self::Settings => Violation::Http2Settings,
            Self::Ping => Violation::Http2Pings,
            Self::WindowUpdate => Violation::Http2WindowUpdates,
            Self::Ignored => Violation::Http2IgnoredFrames,
            Self::EmptyData => Violation::Http2EmptyData,
        }
    }
}

/// How many window updates the answer to one DATA frame may take: one for its stream and one for the
/// connection, twice.
const UPDATES_FOR_DATA: u32 = 4;

/// The counts of one connection since its window began.
///
/// The clock is only asked when a count is above its limit. A window that nothing has ended by then is as
/// long as it is; so no client is refused that stayed below the limits in every window, and none gets more
/// than twice a limit into one.
#[derive(Debug)]
pub(super) struct Flood {
    began: Instant,
    counts: [u32; Counted::KINDS],
}

impl Flood {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, counts: [0; Counted::KINDS] }
    }

    /// Counts one more.
    ///
    /// # Errors
    /// The limit that it is above.
    pub(super) fn count(
        &mut self,
        counted: Counted,
        limits: &FloodLimits,
        now: impl FnOnce() -> Instant,
    ) -> Result<(), Violation> {
        let count = &mut self.counts[counted as usize];
        *count += 1;
        if *count <= limits.most[counted as usize] {
            return Ok(());
        }
        let now = now();
        if now.saturating_since(self.began) < limits.window {
            return Err(counted.violation());
        }
        *self = Self::new(now);
        self.counts[counted as usize] = 1;
        Ok(())
    }

    /// DATA went to the client, which gives it a reason to measure the connection and to open its windows.
    pub(super) fn data_was_sent(&mut self) {
        for (counted, earned) in [(Counted::Ping, 1), (Counted::WindowUpdate, UPDATES_FOR_DATA)] {
            let count = &mut self.counts[counted as usize];
            *count = count.saturating_sub(earned);
        }
    }
}
