//! Headers that end here, and headers that begin here.

mod hop;
mod marks;
mod passage;
mod present;

use http::header::HeaderName;

pub(super) use hop::{frame_body, join_cookies, remove_hop_by_hop};
pub(super) use marks::{Marks, mark_exhausted, write_marks};
pub(super) use passage::{Passage, address_value, clean_trailers, write_identity, write_passage};
pub(super) use present::Present;

static INTERTIE_CLIENT_IDENTITY: HeaderName = HeaderName::from_static("intertie-client-identity");
pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
fn headers(pairs: &[(&'static str, &'static str)]) -> http::HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), http::HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}
