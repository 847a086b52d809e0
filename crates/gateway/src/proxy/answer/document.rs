//! The bodies of the gateway's own answers. Pure.

use bytes::Bytes;
use intertie_core::clock::Timestamp;
use serde_json::json;

use super::super::error_code::ErrorCode;

/// What a body tells of a failure.
pub(super) struct Document<'a> {
    pub(super) code: ErrorCode,
    pub(super) detail: &'a str,
    pub(super) request_id: &'a str,
    pub(super) route: Option<&'a str>,
    pub(super) at: Timestamp,
}

impl Document<'_> {
    /// S4's error format.
    pub(super) fn errors(&self) -> Bytes {
        let mut meta = json!({ "timestamp": self.at.to_string(), "requestId": self.request_id });
        if let Some(route) = self.route {
            meta["route"] = route.into();
        }
        let document = json!({ "errors": [{
            "id": self.request_id,
            "status": self.code.status().as_str(),
            "code": self.code.code(),
            "title": self.code.title(),
            "detail": self.detail,
            "meta": meta,
        }] });
        Bytes::from(document.to_string())
    }

    /// A problem document (RFC 9457). `pages` is where the pages of the codes begin; without them `type` says
    /// that the status says all, and `title` is then its phrase.
    pub(super) fn problem(&self, pages: Option<&str>) -> Bytes {
        let status = self.code.status();
        let (kind, title) = match pages {
            Some(pages) => (format!("{pages}{}", self.code.code()), self.code.title()),
            None => ("about:blank".to_owned(), status.canonical_reason().unwrap_or_default()),
        };
        let mut document = json!({
            "type": kind,
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
            "instance": self.request_id,
            "code": self.code.code(),
            "timestamp": self.at.to_string(),
        });
        if let Some(route) = self.route {
            document["route"] = route.into();
        }
        Bytes::from(document.to_string())
    }
}
