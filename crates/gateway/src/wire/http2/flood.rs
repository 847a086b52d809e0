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

/// Window updates come in pairs, one for the stream and one for the connection. Whoever takes a frame may send
/// one for each part of this many bytes: Go's `net/http` sends one for about each 4 KiB that a handler reads,
/// and others for each piece that they read.
const BYTES_FOR_UPDATES: u32 = 1 << 10;

/// How many window updates a DATA frame of so many bytes gives a reason for: two for each part of it, and two
/// pairs for the shortest.
fn updates_for(bytes: u32) -> u32 {
    2 * bytes.div_ceil(BYTES_FOR_UPDATES).max(2)
}

/// The counts of one connection since its window began.
///
/// The clock is only asked when a count is above its limit. A window that nothing has ended by then is as
/// long as it is; so no client is refused that stayed below the limits in every window, and none gets more
/// than twice a limit into one, beyond what it has earned.
#[derive(Debug)]
pub(super) struct Flood {
    began: Instant,
    counts: [u32; Counted::KINDS],
    /// Window updates that do not count, since DATA is on its way that they are owed for. At most as many as
    /// may come without.
    updates_earned: u32,
}

impl Flood {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, counts: [0; Counted::KINDS], updates_earned: 0 }
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
        if counted == Counted::WindowUpdate && self.updates_earned > 0 {
            self.updates_earned -= 1;
            return Ok(());
        }
        let count = &mut self.counts[counted as usize];
        *count += 1;
        if *count <= limits.most[counted as usize] {
            return Ok(());
        }
        let now = now();
        if now.saturating_since(self.began) < limits.window {
            return Err(counted.violation());
        }
        *self = Self { updates_earned: self.updates_earned, ..Self::new(now) };
        self.counts[counted as usize] = 1;
        Ok(())
    }

    /// A DATA frame of so many bytes went to the other side, which gives it a reason to measure the connection
    /// and to open its windows: those updates that came before, as from whoever waits for a closed window to
    /// open, and those that come after.
    pub(super) fn data_was_sent(&mut self, bytes: u32, limits: &FloodLimits) {
        let pings = &mut self.counts[Counted::Ping as usize];
        *pings = pings.saturating_sub(1);
        let updates = &mut self.counts[Counted::WindowUpdate as usize];
        let earned = updates_for(bytes);
        let left = earned.saturating_sub(*updates);
        *updates = updates.saturating_sub(earned);
        let most = limits.most[Counted::WindowUpdate as usize];
        self.updates_earned = self.updates_earned.saturating_add(left).min(most);
    }
}
