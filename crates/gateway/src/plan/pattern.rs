use std::error::Error;

use http::Method;

use crate::config::{Problem, RouteConfig, parse_method};
use crate::route::{Condition, HostPattern, ParsePatternError, RoutePattern, Segment};

/// What the route `name` answers for, read from its `match` or from its name.
pub(super) fn pattern(name: &str, route: &RouteConfig) -> Result<RoutePattern, Problem> {
    let (method, path) = match name.split_once(' ') {
        Some((method, path)) if path.starts_with('/') => (Some(method), Some(path)),
        _ if name.starts_with('/') => (None, Some(name)),
        _ => (None, None),
    };
    let Some(matches) = &route.matches else {
        let Some(path) = path else {
            let message = format!("route `{name}` says nowhere which requests it takes");
            return Err(Problem::error(["route", name], message)
                .help("name it by its path, [route.\"/orders/**\"], or give it a match = { path = … }"));
        };
        let mut condition = Condition::default();
        if let Some(method) = method {
            let parsed =
                parse_method(method).map_err(|error| Problem::error(["route", name], error.to_string()))?;
            condition.methods.push(parsed);
        }
        let path = path
            .parse()
            .map_err(|error: ParsePatternError| Problem::error(["route", name], error.to_string()))?;
        return tunnel(RoutePattern { host: HostPattern::Any, path, condition }, &["route", name], false);
    };
    if path.is_some() {
        let message = "a route whose name is a path has no match of its own";
        return Err(Problem::error(["route", name, "match"], message)
            .help("give the route another name, and its path as match = { path = … }"));
    }
    let at = |key, error: &dyn Error| Problem::error(["route", name, "match", key], error.to_string());
    let host = match &matches.host {
        None => HostPattern::Any,
        Some(host) => host.parse().map_err(|error: ParsePatternError| at("host", &error))?,
    };
    let path = matches.path.as_deref().unwrap_or("/**");
    let path = path.parse().map_err(|error: ParsePatternError| at("path", &error))?;
    let condition = Condition::new(matches).map_err(|error| at("headers", &error))?;
    tunnel(RoutePattern { host, path, condition }, &["route", name, "match"], true)
}

/// The pattern of a route, found at `section` in the file, unless it wants of a tunnel what tunnels do not have:
/// CONNECT names a host and nothing else.
fn tunnel(pattern: RoutePattern, section: &[&str], has_keys: bool) -> Result<RoutePattern, Problem> {
    let condition = &pattern.condition;
    if !condition.methods.contains(&Method::CONNECT) {
        return Ok(pattern);
    }
    let (key, message) = if condition.methods.len() > 1 {
        ("method", "CONNECT opens tunnels, which are no answers: a route that takes it takes no other method")
    } else if pattern.path.segments != [Segment::Rest] {
        ("path", "CONNECT asks for a tunnel to a host; there is no path in it that a route could want")
    } else if !condition.query.is_empty() {
        ("query", "CONNECT asks for a tunnel to a host; there is no query in it that a route could want")
    } else {
        return Ok(pattern);
    };
    let mut problem =
        Problem::error([], message).help("match = { host = \"db.example\", method = \"CONNECT\" }");
    let keys = section.iter().copied().chain(has_keys.then_some(key));
    problem.at = keys.map(str::to_owned).collect();
    Err(problem)
}
