use std::error::Error;
use std::fmt;
use std::future::Future;

use intertie_core::rejection::Rejection;

/// Makes and judges the resources of a pool. bb8 calls it `ManageConnection`, deadpool `Manager`.
///
/// # Cancellation
/// The futures are dropped when their time is over or their caller leaves. A connect that is dropped must
/// leave nothing behind. After a check that is dropped the resource is dropped too.
///
/// # Panics
/// A panic in any of these methods reaches whoever awaits it and costs the pool at most the one resource.
pub trait Manage: Send + Sync + 'static {
    /// What is pooled.
    type Resource: Send + 'static;
    /// Why a connect or a check failed.
    type Error: Error + Send + Sync + 'static;

    /// Makes a resource. The pool limits its time by `connect_timeout`.
    fn connect(&self) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Finds out whether the resource works, usually by a round trip. The pool limits its time by
    /// `check_timeout`.
    fn check(&self, resource: &mut Self::Resource) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether the resource is known not to work, without waiting: asked when it comes back and before it is
    /// handed out.
    ///
    /// A caller may be cancelled half-way through an exchange. A resource that can not go on after that must
    /// know it, and say it here.
    fn is_broken(&self, resource: &Self::Resource) -> bool;
}

/// Why a caller got no resource.
#[derive(Debug)]
pub enum PoolError<E> {
    /// The pool is at a bound: `queue` callers wait already, or `acquire_timeout` is over.
    Rejected(Rejection),
    /// The connect that was made for this caller failed.
    Connect(E),
    /// The connect that was made for this caller was not done within `connect_timeout`.
    ConnectTimeout,
    /// The pool was closed.
    Closed,
}

impl<E> fmt::Display for PoolError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Connect(_) => f.write_str("the connect failed"),
            Self::ConnectTimeout => f.write_str("the connect took longer than `connect_timeout`"),
            Self::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl<E: Error + 'static> Error for PoolError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Rejected(_) | Self::ConnectTimeout | Self::Closed => None,
        }
    }
}
