//! For fuzzing: what must hold of headers whatever a client wrote there.

use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use intertie_core::trace::TraceContext;

use super::headers::{self, Marks, Present};

/// The headers in `bytes`, one a line, as far as they are any.
fn read(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon..].get(1..).unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// What is for one connection goes, what only the gateway may say goes, and what is written is read back.
pub fn headers(bytes: &[u8]) {
    let original = read(bytes);
    let present = Present::among(&original);
    let marks = Marks::read(&original, present);
    assert!(marks.remaining.is_none() || present != Present::among(&HeaderMap::new()), "read from nothing");
    let proved = HeaderValue::from_static("proved");
    for proved in [None, Some(&proved)] {
        let mut headers = original.clone();
        headers::remove_hop_by_hop(&mut headers, present);
        for name in [&CONNECTION, &TRANSFER_ENCODING] {
            assert!(!headers.contains_key(name), "{name} is for one connection");
        }
        let both = original.contains_key(TRANSFER_ENCODING) && original.contains_key(CONTENT_LENGTH);
        assert!(!both || !headers.contains_key(CONTENT_LENGTH), "two framings are left");
        headers::write_identity(&mut headers, present, proved);
        let claimed =
            headers.iter().filter(|(name, _)| name.as_str().replace('_', "-") == "intertie-client-identity");
        assert!(claimed.map(|(_, value)| value).eq(proved), "an identity that is not proved");
        headers::join_cookies(&mut headers, present);
        assert!(headers.get_all(COOKIE).iter().count() <= 1);
        headers::write_marks(&mut headers, present, Some(Duration::from_millis(250)), 3);
        let written = Marks::read(&headers, Present::among(&headers));
        assert_eq!((written.remaining, written.is_repetition), (Some(Duration::from_millis(250)), true));
    }
    let mut trailers = original.clone();
    headers::clean_trailers(&mut trailers);
    let forged = |name: &HeaderName| name.as_str().replace('_', "-").starts_with("x-forwarded-");
    assert!(!trailers.keys().any(forged), "a trailer says where the request came from");
    for value in original.values() {
        if let Some(trace) = TraceContext::parse(value.as_bytes()) {
            assert_eq!(TraceContext::parse(&trace.to_traceparent()), Some(trace));
        }
    }
}
