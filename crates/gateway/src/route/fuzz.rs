//! For fuzzing: what must hold of routes whatever stands in a file, and of requests whatever a client asks.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use super::{Condition, Found, HostPattern, Mismatch, PathPattern, RequestView, RoutePattern, Router};
use crate::config::{MatchConfig, Methods};

/// What stands in a line: `host path`, then behind tabs `m=GET,POST`, `h=name:value` and `q=name:value`.
struct Line<'a> {
    host: &'a str,
    path: &'a str,
    methods: Vec<Method>,
    headers: Vec<(&'a str, &'a str)>,
    query: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.split('\t');
        let (host, path) = words.next()?.split_once(' ')?;
        let mut read = Self { host, path, methods: Vec::new(), headers: Vec::new(), query: Vec::new() };
        for word in words {
            match word.split_once('=')? {
                ("m", names) => {
                    let methods =
                        names.split(',').filter_map(|name| Method::from_bytes(name.as_bytes()).ok());
                    read.methods.extend(methods);
                }
                ("h", pair) => read.headers.push(pair.split_once(':')?),
                ("q", pair) => read.query.push(pair.split_once(':')?),
                _ => return None,
            }
        }
        Some(read)
    }

    /// The route that it describes. What its pattern shows is read back as the same pattern.
    fn route(self) -> Option<RoutePattern> {
        let host = if self.host == "*" { HostPattern::Any } else { self.host.parse().ok()? };
        let path: PathPattern = self.path.parse().ok()?;
        if host != HostPattern::Any {
            assert_eq!(host.to_string().parse(), Ok(host.clone()), "a host is read back");
        }
        assert_eq!(path.to_string().parse(), Ok(path.clone()), "a path is read back");
        let owned = |pairs: Vec<(&str, &str)>| {
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let config = MatchConfig {
            method: (!self.methods.is_empty()).then_some(Methods(self.methods)),
            headers: owned(self.headers),
            query: owned(self.query),
            ..MatchConfig::default()
        };
        Some(RoutePattern { host, path, condition: Condition::new(&config).ok()? })
    }
}

/// A route is a line of its own; the last line is the request. The route that is found is the first candidate
/// that matches, no other is as specific, and a method that is said to be wanted instead is.
pub fn routes(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<_> = text.lines().take(32).filter_map(Line::read).collect();
    let Some(asked) = lines.pop() else { return };
    let routes: Vec<_> = lines.into_iter().filter_map(Line::route).collect();
    let router = match Router::new(routes.clone()) {
        Ok(router) => router,
        Err(ties) => return assert!(!ties.is_empty(), "refused without a tie"),
    };
    let (path, query) = match asked.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (asked.path, None),
    };
    let headers: HeaderMap = asked
        .headers
        .iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        })
        .collect();
    let method = asked.methods.first().unwrap_or(&Method::GET);
    let request = RequestView { host: asked.host, path, query, method, headers: &headers };
    let candidates = router.candidates(&request);
    assert!(candidates.iter().all(|candidate| candidate.route < routes.len()));
    let mut matching = candidates.iter().filter(|candidate| candidate.mismatch.is_none());
    let first = matching.next().map(|candidate| candidate.route);
    match router.find(&request) {
        Found::Route(route) => {
            assert_eq!(first, Some(route));
            let rank = |route: usize| {
                let RoutePattern { host, path, condition } = &routes[route];
                (host, path, condition.rank())
            };
            assert!(matching.all(|other| rank(other.route) != rank(route)), "two routes are as specific");
        }
        Found::Nothing => {
            let by_method = |candidate: &super::Candidate| candidate.mismatch == Some(Mismatch::Method);
            assert!(first.is_none(), "{candidates:?}");
            // A route of tunnels says nothing of paths.
            let all_tunnels = candidates.iter().filter(|candidate| by_method(candidate)).all(|candidate| {
                routes[candidate.route].condition.methods.iter().all(|method| *method == Method::CONNECT)
            });
            assert!(all_tunnels, "it could have been said which methods are wanted: {candidates:?}");
        }
        Found::Ambiguous => assert!(candidates.is_empty(), "{candidates:?}"),
        Found::OtherMethods(methods) => {
            assert!(first.is_none(), "{candidates:?}");
            assert!(!methods.is_empty() || *method == Method::CONNECT, "no other method is named");
            for method in &methods {
                let found = router.find(&RequestView { method, ..request });
                assert!(matches!(found, Found::Route(_)), "{method} is said to be wanted: {found:?}");
            }
        }
    }
}
