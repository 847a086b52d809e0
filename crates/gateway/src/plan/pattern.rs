use std::error::Error;

use crate::config::{Problem, RouteConfig, parse_method};
use crate::route::{Condition, HostPattern, ParsePatternError, RoutePattern};

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
        return Ok(RoutePattern { host: HostPattern::Any, path, condition });
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
    Ok(RoutePattern { host, path, condition })
}
