use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::{Decision, Fingerprint, Full, Key};

/// What a store is about to answer.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where records are kept, for all processes that may get the same request.
///
/// Each verb reads the record, decides by the function of its name in [`record`](crate::record), and writes what that
/// returned, as one step: of two that begin at the same time, one begins. What it has said is as durable as the store
/// is: a record that a crash forgets lets a request be done twice.
///
/// It keeps to its [`Bounds`](crate::Bounds): a request whose key has no record begins only where
/// [`admit`](crate::Bounds::admit) lets it, and an answer for which there is no
/// [`room`](crate::Bounds::has_room) is completed without, by whichever way it comes. What is over it forgets.
pub trait Store: fmt::Debug + Send + Sync {
    /// Decides about a request under `key`, within `scope`: who may use a key knows nothing of another's.
    ///
    /// # Errors
    /// When the store keeps as much as it may, or is not available.
    fn begin<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fingerprint: Fingerprint,
        time: Duration,
    ) -> Pending<'a, Result<Decision, StoreError>>;

    /// Gives who began another `time` from now on.
    ///
    /// # Errors
    /// When the record is another's, or the store is not available.
    fn extend<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
        time: Duration,
    ) -> Pending<'a, Result<(), StoreError>>;

    /// Keeps the answer for `kept`, or without it only that there was one. Again with the same fence it does nothing,
    /// successfully: a handler may have completed it in a transaction of its own.
    ///
    /// # Errors
    /// When the record is another's, or the store is not available.
    fn complete<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
        answer: Option<Bytes>,
        kept: Duration,
    ) -> Pending<'a, Result<(), StoreError>>;

    /// Gives up: the request was not done, and may be begun at once.
    ///
    /// # Errors
    /// When the record is another's, or the store is not available.
    fn abandon<'a>(&'a self, scope: &'a str, key: &'a Key, fence: u64)
    -> Pending<'a, Result<(), StoreError>>;
}

/// Why a store did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The record is another's by now.
    Lost,
    /// The store keeps as much as it may.
    Full(Full),
    /// The store does not answer, or takes nothing.
    Unavailable {
        /// Why, for people.
        cause: String,
    },
}

impl From<crate::Lost> for StoreError {
    fn from(_: crate::Lost) -> Self {
        Self::Lost
    }
}

impl From<Full> for StoreError {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => crate::Lost.fmt(f),
            Self::Full(full) => full.fmt(f),
            Self::Unavailable { cause } => f.write_str(cause),
        }
    }
}

impl std::error::Error for StoreError {}
