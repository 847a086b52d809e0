use crate::deadline::LimitedBy;

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum End<T> {
    Outcome(T),
    /// It ran into this limit.
    TimedOut(LimitedBy),
    /// Chaos made it fail.
    Injected,
}
