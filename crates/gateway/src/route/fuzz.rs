//! For fuzzing: what must hold of routes whatever stands in a file, and of requests whatever a client asks.

use http::{HeaderMap, Method};

use super::{Condition, Found, HostPattern, PathPattern, RequestView, RoutePattern, Router};
use crate::config::MatchConfig;

/// A route is `host path` in a line of its own; the last line is the request. What a pattern shows is read back
/// as the same pattern, and the route that is found is the first candidate that matches.
pub fn routes(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<_> = text.lines().take(32).filter_map(|line| line.split_once(' ')).collect();
    let Some((host, target)) = lines.pop() else { return };
    let pattern = |(host, path): (&str, &str)| {
        let host = if host == "*" { HostPattern::Any } else { host.parse().ok()? };
        let path: PathPattern = path.parse().ok()?;
        if host != HostPattern::Any {
            assert_eq!(host.to_string().parse(), Ok(host.clone()), "a host is read back");
        }
        assert_eq!(path.to_string().parse(), Ok(path.clone()), "a path is read back");
        Some(RoutePattern { host, path, condition: Condition::new(&MatchConfig::default()).ok()? })
    };
    let routes: Vec<_> = lines.into_iter().filter_map(pattern).collect();
    let number = routes.len();
    let router = match Router::new(routes) {
        Ok(router) => router,
        Err(ties) => return assert!(!ties.is_empty(), "refused without a tie"),
    };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let headers = HeaderMap::new();
    let request = RequestView { host, path, query, method: &Method::GET, headers: &headers };
    let candidates = router.candidates(&request);
    assert!(candidates.iter().all(|candidate| candidate.route < number));
    match router.find(&request) {
        Found::Route(route) => {
            let first = candidates.iter().find(|candidate| candidate.mismatch.is_none());
            assert_eq!(first.map(|candidate| candidate.route), Some(route));
        }
        Found::Nothing | Found::Ambiguous => assert!(candidates.is_empty(), "{candidates:?}"),
        Found::OtherMethods(methods) => panic!("no route wants methods, and yet {methods:?}"),
    }
}
