use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use intertie_core::failure::Class;

use crate::pipeline::{Cx, Verdict};

/// What requests `Q`, answers `A` and errors `E` of a service say about a call. Every method has a default that is
/// safe for any protocol.
pub trait Protocol<Q, A, E> {
    /// Whether making the request twice does no harm. Default: no, so there is one attempt.
    fn is_idempotent(&self, request: &Q) -> bool {
        let _ = request;
        false
    }

    /// The same request once more, asked for only when the pipeline may make a second attempt of it. Default:
    /// none, so there is one attempt whatever [`Protocol::is_idempotent`] says.
    ///
    /// What it cloned once it must clone again: a third attempt panics otherwise.
    fn try_clone(&self, request: &Q) -> Option<Q> {
        let _ = request;
        None
    }

    /// The key by which the receiver recognises a repetition, for [`Cx::idempotency_key`]. Default: none.
    fn idempotency_key(&self, request: &Q) -> Option<Arc<str>> {
        let _ = request;
        None
    }

    /// What the deadline of the request's sender leaves. Default: it has none.
    fn remaining(&self, request: &Q) -> Option<Duration> {
        let _ = request;
        None
    }

    /// Whose quota of the rate limiter the call counts against: a key that is written to `hasher`, as
    /// [`KeyedBy`] does. Default: nothing is written, and the quota is everybody's.
    fn key(&self, request: &Q, hasher: &mut dyn Hasher) {
        let _ = (request, hasher);
    }

    /// Tells the receiver about the attempt. Default: nothing.
    fn mark(&self, request: &mut Q, cx: &Cx) {
        let _ = (request, cx);
    }

    /// Says in an answer that attempts were used up for it, so that whoever gets it makes no more. Default: nothing.
    fn mark_exhausted(&self, answer: &mut A) {
        let _ = answer;
    }

    /// What the outcome of an attempt means. Default: each error is transient.
    fn classify(&self, outcome: &Result<A, E>) -> Verdict {
        match outcome {
            Ok(_) => Class::Success.into(),
            Err(_) => Class::Transient.into(),
        }
    }
}

/// Requests of which nothing is known: they are never repeated, and each error speaks against the service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plain;

impl<Q, A, E> Protocol<Q, A, E> for Plain {}

/// A protocol whose requests have quotas of their own: those for which a closure returns the same.
#[derive(Clone)]
pub struct KeyedBy<P, F> {
    protocol: P,
    key: F,
}

impl<P, F> KeyedBy<P, F> {
    /// `protocol`, with quotas by `key`.
    pub fn new(protocol: P, key: F) -> Self {
        Self { protocol, key }
    }
}

impl<P, F, K, Q, A, E> Protocol<Q, A, E> for KeyedBy<P, F>
where
    P: Protocol<Q, A, E>,
    F: Fn(&Q) -> K,
    K: Hash,
{
    fn is_idempotent(&self, request: &Q) -> bool {
        self.protocol.is_idempotent(request)
    }

    fn try_clone(&self, request: &Q) -> Option<Q> {
        self.protocol.try_clone(request)
    }

    fn idempotency_key(&self, request: &Q) -> Option<Arc<str>> {
        self.protocol.idempotency_key(request)
    }

    fn remaining(&self, request: &Q) -> Option<Duration> {
        self.protocol.remaining(request)
    }

    fn key(&self, request: &Q, mut hasher: &mut dyn Hasher) {
        (self.key)(request).hash(&mut hasher);
    }

    fn mark(&self, request: &mut Q, cx: &Cx) {
        self.protocol.mark(request, cx);
    }

    fn mark_exhausted(&self, answer: &mut A) {
        self.protocol.mark_exhausted(answer);
    }

    fn classify(&self, outcome: &Result<A, E>) -> Verdict {
        self.protocol.classify(outcome)
    }
}

impl<P: fmt::Debug, F> fmt::Debug for KeyedBy<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBy").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}
