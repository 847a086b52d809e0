//! What HTTP and gRPC messages say about a call, for operations that speak them. Behind the feature `http`.
//!
//! | question | answered by |
//! |---|---|
//! | what does this answer mean to retry and breaker? | [`verdict`], [`grpc_verdict`] |
//! | may this request be made twice? | [`is_idempotent`], [`idempotency_key`] |
//! | how much time does its caller leave? | [`remaining`] |
//! | what is the receiver told about an attempt? | [`write_marks`], [`write_grpc_timeout`] |
//! | how is a call answered that a policy ended? | [`answer`] |
//!
//! The headers are those of the gateway: `Intertie-Deadline` in milliseconds, `Intertie-Attempt`, counted from 1,
//! and `Intertie-Retry: exhausted`. What is malformed counts as absent, but for `grpc-retry-pushback-ms`, which then
//! forbids a repetition (gRFC A6).

mod answer;
mod marks;
#[cfg(test)]
mod tests;
mod verdict;

use http::HeaderValue;

pub use answer::{answer, write_exhausted};
pub use marks::{idempotency_key, is_idempotent, remaining, write_grpc_timeout, write_marks};
pub use verdict::{grpc_verdict, retry_after, verdict};

const INTERTIE_DEADLINE: &str = "intertie-deadline";
const INTERTIE_ATTEMPT: &str = "intertie-attempt";
const INTERTIE_RETRY: &str = "intertie-retry";
const EXHAUSTED: &str = "exhausted";

fn number(value: &HeaderValue) -> Option<u64> {
    digits(value.to_str().ok()?.trim())
}

/// A number as HTTP and gRPC write it. `parse` alone would take a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
