//! What the gateway says itself: its own answers in the form that their client reads, and its own headers.

mod forms;
mod grpc;
mod passing;
mod rate_limit;
mod statuses;

use crate::harness::Origin;

/// One route `/**` to `origin`, with `keys` of its own.
fn one(origin: &Origin, keys: &str) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n{keys}\n",
        origin.address
    )
}
