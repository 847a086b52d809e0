//! A [`Pipeline`](crate::Pipeline) as a layer around services of `tower`, such as those of axum, tonic and hyper.
//! Behind the feature `tower`.
//!
//! - [`PipelineLayer`]: puts a pipeline around a service; clones of the service share it.
//! - [`Protocol`]: how requests and answers are understood. [`Http`] and [`Grpc`] are ready; [`Plain`] asks for
//!   nothing and repeats nothing.
//! - [`Handle`]: the pipeline itself, or the one that a [`Registry`](crate::Registry) has under a name, so that
//!   other settings apply from the next call on.
//! - [`AnsweringLayer`]: for servers, whose callers want an answer and no error.
//!
//! A service under it can be cloned whatever the policies, and repeats without a policy written by hand: tower's
//! own `RateLimit` is no `Clone`, and its `Retry` does nothing until somebody implements `Policy`.
//!
//! # Readiness
//! The layer's service is always ready: it never makes a caller wait outside of its deadline, and what has no
//! room is rejected. Each attempt, the first included, takes a clone of the inner service, waits until that
//! clone is ready, and calls it: the wait is part of the attempt, so it is within the attempt's timeout, and
//! an error of readiness is judged like one of the call.
//!
//! # Outcomes
//! An answer is judged by its head. What goes wrong in a body afterwards is neither repeated nor seen by the
//! circuit breaker, and the call's place in the bulkhead is free once the head is there.
//!
//! # What it costs
//! Each call boxes its future, as the type of a pipeline's call has no name that a service could give.

mod answering;
mod handle;
mod http;
mod layer;
mod protocol;
mod service;
#[cfg(test)]
mod tests;

pub use self::http::{Grpc, Http};
pub use answering::{Answering, AnsweringLayer};
pub use handle::Handle;
pub use layer::PipelineLayer;
pub use protocol::{KeyedBy, Plain, Protocol};
pub use service::PipelineService;
