//! What the gateway says of itself in messages: `Via` in those that pass through it (RFC 9110, section 7.6.3),
//! `Proxy-Status` in its own answers (RFC 9209).

use std::cell::{RefCell, RefMut};

use http::header::VIA;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::proxy_error::ProxyError;
use crate::config::{AnswersConfig, Via};

static PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The values that one data thread writes. Each has its own: what threads share, its core would have to fetch
/// for every message.
#[derive(Debug)]
pub(super) struct Signature {
    config: AnswersConfig,
    via: [HeaderValue; 3],
    /// Where what rate limiters say is put together.
    items: RefCell<Vec<u8>>,
}

impl Signature {
    pub(super) fn new(config: AnswersConfig) -> Self {
        let via = ["1.0", "1.1", "2"].map(|version| {
            // The file has no name that is no header.
            HeaderValue::try_from(format!("{version} {}", config.name))
                .unwrap_or_else(|_| HeaderValue::from_static("1.1 intertie"))
        });
        Self { config, via, items: RefCell::default() }
    }

    /// Where the pages of the error codes begin.
    pub(super) fn error_pages(&self) -> Option<&str> {
        self.config.error_pages.as_deref()
    }

    /// Where the items of `RateLimit` are put together, if clients are told them.
    pub(super) fn rate_limit_items(&self) -> Option<RefMut<'_, Vec<u8>>> {
        self.config.rate_limit_headers.then(|| {
            let mut items = self.items.borrow_mut();
            items.clear();
            items
        })
    }

    /// Adds that a request came here in `version`.
    pub(super) fn write_via_request(&self, headers: &mut HeaderMap, version: Version) {
        if self.config.via != Via::Off {
            self.write_via(headers, version);
        }
    }

    /// Adds that an answer came here in `version`.
    pub(super) fn write_via_answer(&self, headers: &mut HeaderMap, version: Version) {
        if self.config.via == Via::Both {
            self.write_via(headers, version);
        }
    }

    fn write_via(&self, headers: &mut HeaderMap, version: Version) {
        let place = match version {
            Version::HTTP_10 => 0,
            Version::HTTP_2 => 2,
            _ => 1,
        };
        // Another line of a list is a further entry of it.
        headers.append(VIA, self.via[place].clone());
    }

    /// The limit that a request has passed which comes with `Via`, if it has.
    pub(super) fn loop_limit(&self, headers: &HeaderMap) -> Option<u32> {
        let limit = self.config.hops_max.get();
        (self.config.via != Via::Off && hops(headers) > limit as usize).then_some(limit)
    }

    /// Says what went wrong, in an answer of the gateway's own.
    pub(super) fn write_proxy_status(&self, headers: &mut HeaderMap, error: ProxyError) {
        if !self.config.proxy_status {
            return;
        }
        let mut status = format!("{}; error={}", self.config.name, error.name());
        if let Some(alert) = error.alert() {
            status.push_str(&format!("; alert-id={alert}"));
        }
        if let Ok(value) = HeaderValue::try_from(status) {
            headers.insert(&PROXY_STATUS, value);
        }
    }
}

/// The entries of `Via`. A comma in a comment makes it one more, which no honest sender does twenty times.
fn hops(headers: &HeaderMap) -> usize {
    let entries = |value: &HeaderValue| value.as_bytes().split(|byte| *byte == b',').count();
    headers.get_all(VIA).iter().map(entries).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(via: Via) -> Signature {
        Signature::new(AnswersConfig { via, name: "edge-1".to_owned(), ..AnswersConfig::default() })
    }

    #[test]
    fn via_names_the_version_that_the_message_came_in() {
        for (version, said) in [
            (Version::HTTP_10, "1.0 edge-1"),
            (Version::HTTP_11, "1.1 edge-1"),
            (Version::HTTP_2, "2 edge-1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(VIA, HeaderValue::from_static("1.1 other"));
            signature(Via::Both).write_via_answer(&mut headers, version);
            signature(Via::Requests).write_via_answer(&mut headers, version);
            signature(Via::Off).write_via_request(&mut headers, version);
            let entries: Vec<_> = headers.get_all(VIA).iter().collect();
            assert_eq!(entries, ["1.1 other", said]);
        }
    }

    #[test]
    fn entries_are_counted_over_all_lines() {
        let mut headers = HeaderMap::new();
        headers.append(VIA, HeaderValue::from_static("1.1 a, 2 b"));
        headers.append(VIA, HeaderValue::from_static("1.0 c"));
        assert_eq!(hops(&headers), 3);
        let check = |via, limit: u32, expected: Option<u32>| {
            let hops_max = limit.try_into().expect("not zero");
            let config = AnswersConfig { via, hops_max, ..AnswersConfig::default() };
            assert_eq!(Signature::new(config).loop_limit(&headers), expected);
        };
        check(Via::Requests, 3, None);
        check(Via::Requests, 2, Some(2));
        check(Via::Off, 2, None);
    }
}
