use std::error::Error;
use std::fmt;

use intertie_core::rejection::Rejection;

/// Why a caller got no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoalesceError<E> {
    /// The operation failed. Its error is this caller's own, or shared when `share_errors` says so.
    Failed(E),
    /// The operation panicked. What it said went to the panic hook of the process.
    Panicked,
    /// The group has no room, or this caller saw too many failures of others.
    Rejected(Rejection),
}

impl<E> fmt::Display for CoalesceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed(_) => "the coalesced operation failed",
            Self::Panicked => "the coalesced operation panicked",
            Self::Rejected(_) => "the call was not coalesced",
        })
    }
}

impl<E: Error + 'static> Error for CoalesceError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Panicked => None,
            Self::Rejected(rejection) => Some(rejection),
        }
    }
}

impl<E> From<Rejection> for CoalesceError<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}
