//! Answers to gRPC calls: a status of HTTP that says nothing, and one of gRPC in the headers (*gRPC over HTTP2*,
//! "Trailers-Only"; the same in gRPC-Web). Pure.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::error_code::ErrorCode;
use intertie_core::percent::encoded;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static GRPC_RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// What a gRPC client speaks, by the `Content-Type` of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Dialect {
    Grpc,
    Web,
    WebText,
}

impl Dialect {
    /// `None` for a `Content-Type` that is none of gRPC.
    pub(in crate::proxy) fn of(content_type: &[u8]) -> Option<Self> {
        const NAME: &[u8] = b"application/grpc";
        let (name, rest) = content_type.split_at_checked(NAME.len())?;
        if !name.eq_ignore_ascii_case(NAME) {
            return None;
        }
        // What follows names how messages are written: `+proto`, `;charset=…`.
        let after = |suffix: &[u8]| {
            let (said, rest) = rest.split_at_checked(suffix.len())?;
            let ends = matches!(rest, [] | [b'+' | b';' | b' ' | b'\t', ..]);
            (ends && said.eq_ignore_ascii_case(suffix)).then_some(())
        };
        after(b"")
            .map(|()| Self::Grpc)
            .or_else(|| after(b"-web").map(|()| Self::Web))
            .or_else(|| after(b"-web-text").map(|()| Self::WebText))
    }

    const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web",
            Self::WebText => "application/grpc-web-text",
        })
    }
}

/// Writes the answer to a call that failed with `code`.
pub(super) fn write(
    headers: &mut HeaderMap,
    dialect: Dialect,
    code: ErrorCode,
    detail: &str,
    retry_after: Option<Duration>,
    exhausted: bool,
) {
    headers.insert(CONTENT_TYPE, dialect.content_type());
    headers.insert(&GRPC_STATUS, HeaderValue::from(code.grpc_status() as u16));
    if let Ok(message) = HeaderValue::try_from(message(detail)) {
        headers.insert(&GRPC_MESSAGE, message);
    }
    if let Some(pushback) = pushback(retry_after, exhausted) {
        headers.insert(&GRPC_RETRY_PUSHBACK, pushback);
    }
}

/// When the client may try again by itself (gRFC A6): after a wait, rounded up so that it is never early, or not
/// at all where that was done here already.
fn pushback(retry_after: Option<Duration>, exhausted: bool) -> Option<HeaderValue> {
    if exhausted {
        return Some(HeaderValue::from_static("-1"));
    }
    let millis = retry_after?.as_nanos().div_ceil(1_000_000);
    // Clients read it as an integer of 32 bits with a sign.
    Some(HeaderValue::from(i32::try_from(millis).unwrap_or(i32::MAX)))
}

/// `grpc-message`: everything but printable ASCII, and the percent sign itself, is escaped.
fn message(text: &str) -> String {
    encoded(text.as_bytes(), |byte| matches!(byte, b' '..=b'~') && byte != b'%')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dialects_are_told_by_the_content_type() {
        for (content_type, dialect) in [
            ("application/grpc", Some(Dialect::Grpc)),
            ("Application/gRPC+proto", Some(Dialect::Grpc)),
            ("application/grpc; charset=utf-8", Some(Dialect::Grpc)),
            ("application/grpc-web", Some(Dialect::Web)),
            ("application/grpc-web+json", Some(Dialect::Web)),
            ("application/grpc-web-text+proto", Some(Dialect::WebText)),
            ("application/grpcx", None),
            ("application/grpc-website", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(Dialect::of(content_type.as_bytes()), dialect, "{content_type}");
        }
    }

    #[test]
    fn a_pushback_is_never_early_and_minus_one_when_nothing_is_left_to_try() {
        let said = |wait, exhausted| {
            pushback(wait, exhausted).map(|value| value.to_str().expect("ASCII").to_owned())
        };
        let micros = Duration::from_micros;
        assert_eq!(said(None, false), None);
        assert_eq!(said(Some(micros(1)), false).as_deref(), Some("1"));
        assert_eq!(said(Some(micros(1_500)), false).as_deref(), Some("2"));
        assert_eq!(said(Some(micros(2_000)), false).as_deref(), Some("2"));
        assert_eq!(said(Some(Duration::MAX), false).as_deref(), Some("2147483647"));
        assert_eq!(said(Some(micros(1)), true).as_deref(), Some("-1"));
    }

    #[test]
    fn messages_are_escaped_as_the_specification_shows() {
        assert_eq!(message("100 % of `limit`\n\u{fc}~"), "100 %25 of `limit`%0A%C3%BC~");
    }

    proptest! {
        #[test]
        fn any_message_is_a_header_and_reads_back(text in ".*") {
            let encoded = message(&text);
            prop_assert!(HeaderValue::from_str(&encoded).is_ok());
            prop_assert_eq!(intertie_core::percent::decoded(&encoded), Some(text.into()));
        }
    }
}
