use std::panic::Location;
use std::time::Duration;

use super::manage::PoolError;

/// What happens where no caller would learn of it.
#[derive(Debug)]
pub enum Event<'a, E> {
    /// A connect in the background failed. Callers get the errors of their own.
    ConnectFailed(&'a PoolError<E>),
    /// A check failed and its resource was dropped; without an error it took longer than `check_timeout`.
    CheckFailed(Option<&'a E>),
    /// A resource has been in use for longer than `leak_after`.
    Leaked {
        /// Where in the code it was got.
        checked_out_at: &'static Location<'static>,
        /// For how long it has been out.
        out_for: Duration,
    },
}

pub(super) type Listener<E> = Box<dyn Fn(Event<'_, E>) + Send + Sync>;
