use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use intertie_core::clock::WallClock;
use intertie_core::failure::Class;

use super::protocol::Protocol;
use crate::pipeline::http::{
    grpc_verdict, idempotency_key, is_idempotent, remaining, verdict, write_exhausted, write_grpc_timeout,
    write_marks,
};
use crate::pipeline::{Cx, Verdict};

/// HTTP with bodies of type `B`, read as [`crate::pipeline::http`] says.
///
/// A request is repeated when its method or an `Idempotency-Key` allows it and its body can be cloned. Many types
/// of bodies are streams that can not; who has such bodies says by [`Http::with_bodies`] which of them can be
/// made once more, or has one attempt.
pub struct Http<B> {
    try_clone: fn(&B) -> Option<B>,
    clock: WallClock,
}

impl<B> Http<B> {
    /// Requests whose bodies can not be cloned: one attempt of each.
    pub fn new() -> Self {
        Self::with_bodies(|_| None)
    }

    /// Requests whose bodies `try_clone` makes once more, those that it can.
    pub fn with_bodies(try_clone: fn(&B) -> Option<B>) -> Self {
        Self { try_clone, clock: WallClock::system() }
    }

    /// Requests whose bodies are cloned.
    pub fn cloning() -> Self
    where
        B: Clone,
    {
        Self::with_bodies(|body| Some(body.clone()))
    }
}

impl<B, R, E> Protocol<Request<B>, Response<R>, E> for Http<B> {
    fn is_idempotent(&self, request: &Request<B>) -> bool {
        is_idempotent(request.method(), request.headers())
    }

    fn try_clone(&self, request: &Request<B>) -> Option<Request<B>> {
        let mut copy = Request::new((self.try_clone)(request.body())?);
        request.method().clone_into(copy.method_mut());
        request.uri().clone_into(copy.uri_mut());
        *copy.version_mut() = request.version();
        request.headers().clone_into(copy.headers_mut());
        request.extensions().clone_into(copy.extensions_mut());
        Some(copy)
    }

    fn idempotency_key(&self, request: &Request<B>) -> Option<Arc<str>> {
        idempotency_key(request.headers()).map(Arc::from)
    }

    fn remaining(&self, request: &Request<B>) -> Option<Duration> {
        remaining(request.headers())
    }

    fn mark(&self, request: &mut Request<B>, cx: &Cx) {
        write_marks(request.headers_mut(), cx);
    }

    fn mark_exhausted(&self, answer: &mut Response<R>) {
        write_exhausted(answer.headers_mut());
    }

    fn classify(&self, outcome: &Result<Response<R>, E>) -> Verdict {
        match outcome {
            Ok(response) => verdict(response.status(), response.headers(), &self.clock),
            Err(_) => Class::Transient.into(),
        }
    }
}

/// gRPC with bodies of type `B`: HTTP whose answers are judged by their `grpc-status`, and whose attempts say
/// their time in a `grpc-timeout` too.
///
/// All its requests are POST: only those with an `Idempotency-Key` are repeated, if their bodies can be cloned.
pub struct Grpc<B>(Http<B>);

impl<B> From<Http<B>> for Grpc<B> {
    fn from(http: Http<B>) -> Self {
        Self(http)
    }
}

impl<B, R, E> Protocol<Request<B>, Response<R>, E> for Grpc<B> {
    fn is_idempotent(&self, request: &Request<B>) -> bool {
        Protocol::<_, Response<R>, E>::is_idempotent(&self.0, request)
    }

    fn try_clone(&self, request: &Request<B>) -> Option<Request<B>> {
        Protocol::<_, Response<R>, E>::try_clone(&self.0, request)
    }

    fn idempotency_key(&self, request: &Request<B>) -> Option<Arc<str>> {
        Protocol::<_, Response<R>, E>::idempotency_key(&self.0, request)
    }

    fn remaining(&self, request: &Request<B>) -> Option<Duration> {
        Protocol::<_, Response<R>, E>::remaining(&self.0, request)
    }

    fn mark(&self, request: &mut Request<B>, cx: &Cx) {
        write_marks(request.headers_mut(), cx);
        write_grpc_timeout(request.headers_mut(), cx);
    }

    fn mark_exhausted(&self, answer: &mut Response<R>) {
        write_exhausted(answer.headers_mut());
    }

    fn classify(&self, outcome: &Result<Response<R>, E>) -> Verdict {
        match outcome {
            Ok(response) => grpc_verdict(response.status(), response.headers(), &self.0.clock),
            Err(_) => Class::Transient.into(),
        }
    }
}

impl<B> Default for Http<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> fmt::Debug for Http<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for Grpc<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grpc").field(&self.0).finish()
    }
}
