//! What a failure is told by, in both of its forms: S4's error format and problem documents (RFC 9457). Pure.

mod accept;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use intertie_core::clock::Timestamp;
use serde_json::json;

pub use accept::{names_problem, prefers_problem};

/// What a body tells of a failure.
#[derive(Debug)]
pub struct Document<'a> {
    /// The status of its answer.
    pub status: StatusCode,
    /// The stable code.
    pub code: &'a str,
    /// The code in words.
    pub title: &'a str,
    /// What happened to this request.
    pub detail: &'a str,
    /// The JSON pointer (RFC 6901) to what is wrong in the body of the request, if anything is.
    pub pointer: Option<&'a str>,
    /// The id of the request.
    pub request_id: &'a str,
    /// The route that took it, if one did.
    pub route: Option<&'a str>,
    /// When.
    pub at: Timestamp,
}

impl Document<'_> {
    /// S4's error format.
    pub fn errors(&self) -> Bytes {
        let mut meta = json!({ "timestamp": self.at.to_string(), "requestId": self.request_id });
        if let Some(route) = self.route {
            meta["route"] = route.into();
        }
        let mut error = json!({
            "id": self.request_id,
            "status": self.status.as_str(),
            "code": self.code,
            "title": self.title,
            "detail": self.detail,
            "meta": meta,
        });
        if let Some(pointer) = self.pointer {
            error["source"] = json!({ "pointer": pointer });
        }
        Bytes::from(json!({ "errors": [error] }).to_string())
    }

    /// A problem document (RFC 9457). `pages` is where the pages of the codes begin; without them `type` says
    /// that the status says all, and `title` is then its phrase.
    pub fn problem(&self, pages: Option<&str>) -> Bytes {
        let (kind, title) = match pages {
            Some(pages) => (format!("{pages}{}", self.code), self.title),
            None => ("about:blank".to_owned(), self.status.canonical_reason().unwrap_or_default()),
        };
        let mut document = json!({
            "type": kind,
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "instance": self.request_id,
            "code": self.code,
            "timestamp": self.at.to_string(),
        });
        if let Some(route) = self.route {
            document["route"] = route.into();
        }
        if let Some(pointer) = self.pointer {
            document["pointer"] = pointer.into();
        }
        Bytes::from(document.to_string())
    }
}

/// `Retry-After` counts whole seconds; rounding up keeps the hint from firing early.
pub fn retry_after_value(wait: Duration) -> HeaderValue {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_never_early() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2")] {
            assert_eq!(retry_after_value(Duration::from_millis(millis)), seconds);
        }
    }
}
