/// What a pool holds, and what it did since it was made.
///
/// Each resource ends in one way: `connects` = `idle` + `in_use` + `checking` + `reaped_idle` +
/// `reaped_lifetime` + `broken` + `checks_failed` + `taken` + `dropped_at_close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Resources in use, idle, being checked and being connected: at most `max`.
    pub open: usize,
    /// Resources that wait for a caller.
    pub idle: usize,
    /// Resources that callers hold, or that are checked for a caller.
    pub in_use: usize,
    /// Resources that are checked in the background.
    pub checking: usize,
    /// Connects under way.
    pub connecting: usize,
    /// Callers in the queue.
    pub waiting: usize,
    /// Connects that succeeded.
    pub connects: u64,
    /// Connects that failed or took too long.
    pub connect_failures: u64,
    /// Resources dropped because a check failed or took too long.
    pub checks_failed: u64,
    /// Callers that got nothing within `acquire_timeout`.
    pub timed_out: u64,
    /// Callers whose own deadline ended sooner than that.
    pub deadline_exceeded: u64,
    /// Callers that found the queue full.
    pub rejected: u64,
    /// Resources dropped after `idle_timeout`.
    pub reaped_idle: u64,
    /// Resources dropped after `lifetime`.
    pub reaped_lifetime: u64,
    /// Resources dropped because they were broken, or a panic or a cancelled check left them in doubt.
    pub broken: u64,
    /// Resources that callers kept.
    pub taken: u64,
    /// Resources dropped because the pool was closed.
    pub dropped_at_close: u64,
    /// Resources reported as in use for longer than `leak_after`.
    pub leaked: u64,
}
