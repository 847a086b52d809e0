use std::error::Error;
use std::fmt;

use intertie_core::rejection::Rejection;

/// Why a caller got no result for its item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchError<E> {
    /// This item failed; others of its batch may have succeeded.
    Item(E),
    /// The call failed for all its items.
    Batch(E),
    /// The call gave another number of results than it got items, so nobody knows which result is whose.
    Count {
        /// Items in the call.
        items: usize,
        /// Results that it gave.
        results: usize,
    },
    /// The call panicked. What it said went to the panic hook of the process.
    Panicked,
    /// The item was not sent.
    Rejected(Rejection),
}

impl<E> fmt::Display for BatchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(_) => f.write_str("the item failed"),
            Self::Batch(_) => f.write_str("the batch failed"),
            Self::Count { items, results } => write!(f, "the batch of {items} items gave {results} results"),
            Self::Panicked => f.write_str("the batch panicked"),
            Self::Rejected(_) => f.write_str("the item was not sent"),
        }
    }
}

impl<E: Error + 'static> Error for BatchError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Item(error) | Self::Batch(error) => Some(error),
            Self::Count { .. } | Self::Panicked => None,
            Self::Rejected(rejection) => Some(rejection),
        }
    }
}

impl<E> From<Rejection> for BatchError<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}
