//! What of a request is refused before a route is looked for.

use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderMap, Version};

use super::answer::Failure;
use super::error_code::ErrorCode;
use super::exchange::Exchange;
use super::headers::Present;

/// Refuses a request that expects what is not known here, or that goes round in circles.
///
/// # Errors
/// The answer to it.
pub(super) fn accept(exchange: &Exchange, parts: &Parts) -> Result<(), Failure> {
    let present = exchange.present;
    if present.any(Present::EXPECT) && parts.version != Version::HTTP_10 && !expects_continue(&parts.headers)
    {
        let detail = "the request expects something else than 100-continue";
        return Err(Failure::new(ErrorCode::ExpectationFailed, detail));
    }
    if present.any(Present::VIA)
        && let Some(limit) = exchange.worker.signature.loop_limit(&parts.headers)
    {
        let detail = format!("the request came through more gateways than hops_max, {limit}");
        return Err(Failure::new(ErrorCode::LoopDetected, detail));
    }
    Ok(())
}

/// Whether all that is expected is `100-continue` (RFC 9110, section 10.1.1).
fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get_all(EXPECT).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
