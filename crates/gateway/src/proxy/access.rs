//! What the access log is told of a request.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use intertie_core::percent::decoded_lossy;
use intertie_core::quantity::Ratio;
use intertie_core::telemetry::Access;

use crate::route::without_userinfo;

/// Where finished requests are told. It is called on a data thread, and must not wait.
pub type AccessSink = Arc<dyn Fn(Access) + Send + Sync>;

/// Where finished requests are told, which of them, and how much of each.
#[derive(Clone)]
pub struct AccessLogging {
    /// Where.
    pub sink: AccessSink,
    /// Which, and how much.
    pub terms: Arc<AccessTerms>,
}

impl fmt::Debug for AccessLogging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLogging").field("terms", &self.terms).finish_non_exhaustive()
    }
}

/// Which finished requests are told, and how much of each.
#[derive(Debug, Clone)]
pub struct AccessTerms {
    /// The share of successful requests. Failed ones are always told.
    pub sample: Ratio,
    /// A successful request that took as long is always told.
    pub slow: Duration,
    /// Whether the query is told.
    pub query: bool,
    /// The names of query parameters and headers, in lower case, whose values are not told.
    pub redact: Vec<String>,
    /// The request headers that are told, by their names in lower case.
    pub headers: Vec<(HeaderName, Arc<str>)>,
}

/// What stands for a value that is not told.
const REDACTED: &str = "[redacted]";

/// Methods that need no memory of their own to be told.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"];

/// As much of a header's value as is told.
const HEADER_BYTES_MAX: usize = 256;

impl AccessTerms {
    /// Whether a request that ended so is told: `None` when it is not, and with the share of such that are when
    /// it stands for others too.
    pub(super) fn keep(&self, failed: bool, duration: Duration) -> Option<Option<Ratio>> {
        if failed || self.sample == Ratio::ONE || duration >= self.slow {
            return Some(None);
        }
        // By chance of our own: whoever chose the request's trace id could choose not to be logged.
        let kept = Ratio::from_millionths(fastrand::u32(1..=1_000_000)) <= self.sample;
        kept.then_some(Some(self.sample))
    }

    fn redacts(&self, name: &str) -> bool {
        self.redact.iter().any(|redacted| redacted.eq_ignore_ascii_case(name))
    }

    /// The query without the values that are not told.
    fn query<'a>(&self, query: &'a str) -> Cow<'a, str> {
        // As services read it: `%74oken` is `token`.
        let hides =
            |pair: &str| self.redacts(&decoded_lossy(pair.split_once('=').map_or(pair, |(name, _)| name)));
        if !query.split('&').any(hides) {
            return Cow::Borrowed(query);
        }
        let shown = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if hides(pair) => format!("{name}={REDACTED}"),
            _ => pair.to_owned(),
        });
        Cow::Owned(shown.collect::<Vec<_>>().join("&"))
    }

    fn header(&self, name: &str, value: &HeaderValue) -> String {
        if self.redacts(name) {
            return REDACTED.to_owned();
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        text[..text.floor_char_boundary(HEADER_BYTES_MAX)].to_owned()
    }
}

/// What is kept of a request's head for its line.
#[derive(Debug)]
pub(super) struct RequestLine {
    pub(super) method: Cow<'static, str>,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) headers: Vec<(Arc<str>, String)>,
    /// Where its last attempt went.
    pub(super) endpoint: Option<Arc<str>>,
}

impl RequestLine {
    pub(super) fn read(terms: &AccessTerms, parts: &Parts) -> Self {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).map(without_userinfo);
        let mut path = match parts.uri.authority() {
            // CONNECT names no path, but a port.
            Some(authority) if parts.uri.path().is_empty() => without_userinfo(authority.as_str()).to_owned(),
            _ => parts.uri.path().to_owned(),
        };
        if let Some(query) = parts.uri.query().filter(|_| terms.query) {
            path.push('?');
            path.push_str(&terms.query(query));
        }
        let told = terms.headers.iter().filter_map(|(name, shown)| {
            let value = parts.headers.get(name)?;
            Some((Arc::clone(shown), terms.header(shown, value)))
        });
        Self {
            method: method(&parts.method),
            host: parts.uri.host().or(host).unwrap_or_default().to_owned(),
            path,
            headers: told.collect(),
            endpoint: None,
        }
    }

    /// It was refused unread, so nothing in it is known.
    pub(super) fn forget(&mut self) {
        (self.method, self.path) = (Cow::Borrowed("-"), "-".to_owned());
        self.headers.clear();
    }
}

fn method(method: &Method) -> Cow<'static, str> {
    match METHODS.iter().find(|known| **known == method.as_str()) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(method.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn terms() -> AccessTerms {
        AccessTerms {
            sample: Ratio::ZERO,
            slow: Duration::from_secs(1),
            query: true,
            redact: vec!["token".to_owned(), "x-key".to_owned()],
            headers: vec![
                (HeaderName::from_static("x-key"), "x-key".into()),
                (HeaderName::from_static("user-agent"), "user-agent".into()),
            ],
        }
    }

    #[test]
    fn secrets_are_replaced_however_their_names_are_written() {
        let terms = terms();
        for (query, told) in [
            ("page=2&token=7", "page=2&token=[redacted]"),
            ("TOKEN=7&a", "TOKEN=[redacted]&a"),
            ("%74oken=7", "%74oken=[redacted]"),
            ("%7=a&%zz=b&token", "%7=a&%zz=b&token"),
            ("tokens=7", "tokens=7"),
            ("token=a=b", "token=[redacted]"),
        ] {
            assert_eq!(terms.query(query), told);
        }
    }

    #[test]
    fn as_much_of_a_head_is_kept_as_the_terms_say() {
        let long = "é".repeat(200);
        let request = Request::get("http://shop/orders?token=7")
            .header("user-agent", long.as_bytes())
            .header("x-key", "secret")
            .header("cookie", "secret");
        let parts = request.body(()).expect("a request").into_parts().0;
        let line = RequestLine::read(&terms(), &parts);
        assert_eq!((line.host.as_str(), line.path.as_str()), ("shop", "/orders?token=[redacted]"));
        let headers: Vec<_> = line.headers.iter().map(|(name, value)| (&**name, value.as_str())).collect();
        assert_eq!(headers, [("x-key", REDACTED), ("user-agent", &long[..HEADER_BYTES_MAX])]);
        let tunnel = Request::connect("db.example:5432").body(()).expect("a request").into_parts().0;
        let line = RequestLine::read(&terms(), &tunnel);
        assert_eq!((line.host.as_str(), line.path.as_str()), ("db.example", "db.example:5432"));
        for request in [
            Request::connect("user:secret@db.example:1"),
            Request::get("http://user:secret@db.example:1/"),
            Request::get("/").header(HOST, "user:secret@secret@db.example:1"),
        ] {
            let line = RequestLine::read(&terms(), &request.body(()).expect("a request").into_parts().0);
            assert!(line.host.starts_with("db.example"), "{line:?}");
            assert!(!format!("{line:?}").contains("secret"), "{line:?}");
        }
        let silent = AccessTerms { query: false, headers: Vec::new(), ..terms() };
        let line = RequestLine::read(&silent, &parts);
        assert_eq!((line.path.as_str(), line.headers.len()), ("/orders", 0));
    }

    #[test]
    fn failures_and_slow_requests_are_always_told() {
        let (none, second) = (terms(), Duration::from_secs(1));
        assert_eq!(none.keep(true, Duration::ZERO), Some(None));
        assert_eq!(none.keep(false, second), Some(None));
        assert_eq!(none.keep(false, second - Duration::from_nanos(1)), None);
        let all = AccessTerms { sample: Ratio::ONE, ..terms() };
        assert_eq!(all.keep(false, Duration::ZERO), Some(None));
        let tenth = Ratio::from_percent(10);
        let some = AccessTerms { sample: tenth, ..terms() };
        fastrand::seed(7);
        let kept: Vec<_> = (0..10_000).filter_map(|_| some.keep(false, Duration::ZERO)).collect();
        assert!((900..=1_100).contains(&kept.len()), "{}", kept.len());
        assert!(kept.iter().all(|share| *share == Some(tenth)));
    }
}
