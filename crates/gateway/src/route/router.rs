use std::cmp::Reverse;
use std::collections::HashMap;

use http::Method;

use super::RequestView;
use super::condition::{Condition, Mismatch};
use super::literals::Literals;
use super::pattern::{HostPattern, PathPattern, Segment, is_unreachable};
use intertie_core::percent::decoded;

/// One route as the router sees it; its identity is its position in the list it was built from.
#[derive(Debug, Clone)]
pub struct RoutePattern {
    /// The hosts.
    pub host: HostPattern,
    /// The paths.
    pub path: PathPattern,
    /// Everything else.
    pub condition: Condition,
}

/// Two routes that one request would take with equal right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tie {
    /// The position of the one.
    pub one: usize,
    /// The position of the other.
    pub other: usize,
    /// A request that both want.
    pub example: String,
}

/// The answer to a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The position of the route.
    Route(usize),
    /// Routes want this path with one of these methods. None of them: no route opens a tunnel to this host.
    OtherMethods(Vec<Method>),
    /// No route wants it.
    Nothing,
    /// The path can be read in more than one way: dot segments or a malformed escape.
    Ambiguous,
}

/// A route that wants the host and path of a request, and what of the request it does not want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The position of the route.
    pub route: usize,
    /// `None` when it matches.
    pub mismatch: Option<Mismatch>,
}

/// All routes, indexed by host and path.
#[derive(Debug, Default)]
pub struct Router {
    exact_hosts: HashMap<String, usize>,
    hosts_below: HashMap<String, usize>,
    any_host: Option<usize>,
    nodes: Vec<Node>,
}

/// A place in the path.
#[derive(Debug, Default)]
struct Node {
    literals: Literals,
    parameter: Option<usize>,
    /// Routes that end here.
    here: Vec<Entry>,
    /// Routes that want all that follows.
    rest: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    route: usize,
    condition: Condition,
}

impl Router {
    /// Indexes `routes`.
    ///
    /// # Errors
    /// All ties among them.
    pub fn new(routes: Vec<RoutePattern>) -> Result<Self, Vec<Tie>> {
        let mut router = Self::default();
        let mut ties = Vec::new();
        for (route, pattern) in routes.into_iter().enumerate() {
            let RoutePattern { host, path, condition } = pattern;
            let bucket = router.bucket(&host, &path);
            let equals = bucket.iter().filter(|entry| entry.condition.rank() == condition.rank());
            for equal in equals {
                if let Some(request) = condition.overlap(&equal.condition) {
                    let (method, rest) = request.split_once(' ').unwrap_or((&request, ""));
                    let example = format!("{method} {}{path} {rest}", host_prefix(&host));
                    ties.push(Tie { one: equal.route, other: route, example: example.trim_end().to_owned() });
                }
            }
            if bucket.is_empty() {
                // Most hold one; a vector would make room for four.
                bucket.reserve_exact(1);
            }
            bucket.push(Entry { route, condition });
            bucket.sort_by_key(|entry| Reverse(entry.condition.rank()));
        }
        router.nodes.shrink_to_fit();
        if ties.is_empty() { Ok(router) } else { Err(ties) }
    }

    fn bucket(&mut self, host: &HostPattern, path: &PathPattern) -> &mut Vec<Entry> {
        let fresh = self.nodes.len();
        let root = match host {
            HostPattern::Any => *self.any_host.get_or_insert(fresh),
            HostPattern::Below(name) => *self.hosts_below.entry(name.clone()).or_insert(fresh),
            HostPattern::Exact(name) => *self.exact_hosts.entry(name.clone()).or_insert(fresh),
        };
        if root == fresh {
            self.nodes.push(Node::default());
        }
        let mut at = root;
        for segment in &path.segments {
            let fresh = self.nodes.len();
            at = match segment {
                Segment::Literal(text) => self.nodes[at].literals.get_or_insert(text, fresh),
                Segment::Parameter(_) => *self.nodes[at].parameter.get_or_insert(fresh),
                Segment::Rest => return &mut self.nodes[at].rest,
            };
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        &mut self.nodes[at].here
    }

    /// The route that `request` takes. A tunnel, which CONNECT asks for, has no path: its host alone decides.
    pub fn find(&self, request: &RequestView<'_>) -> Found {
        let wants_tunnel = *request.method == Method::CONNECT;
        let mut other_methods: Vec<Method> = Vec::new();
        let mut found = None;
        let visited = self.visit(request, &mut |entry| {
            match entry.condition.mismatch(request) {
                None => found = Some(entry.route),
                Some(Mismatch::Method) => {
                    for method in &entry.condition.methods {
                        // What a host takes as the end of a tunnel says nothing of its paths, and the reverse.
                        if !wants_tunnel && *method != Method::CONNECT && !other_methods.contains(method) {
                            other_methods.push(method.clone());
                        }
                    }
                }
                Some(_) => {}
            }
            found.is_some()
        });
        match (visited, found) {
            (false, _) => Found::Ambiguous,
            (true, Some(route)) => Found::Route(route),
            (true, None) if other_methods.is_empty() && !wants_tunnel => Found::Nothing,
            (true, None) => Found::OtherMethods(other_methods),
        }
    }

    /// Every route that wants the host and path of `request`, the most specific first. The first without
    /// a mismatch is the one that [`Router::find`] finds.
    pub fn candidates(&self, request: &RequestView<'_>) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        self.visit(request, &mut |entry| {
            candidates.push(Candidate { route: entry.route, mismatch: entry.condition.mismatch(request) });
            false
        });
        candidates
    }

    /// Visits the routes that want host and path, the most specific first, until `done` says so.
    /// False when the path is ambiguous.
    fn visit(&self, request: &RequestView<'_>, done: &mut dyn FnMut(&Entry) -> bool) -> bool {
        let path = if *request.method == Method::CONNECT { Some("") } else { readable(request.path) };
        let Some(path) = path else { return false };
        let lower;
        let host = if request.host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = request.host.to_ascii_lowercase();
            lower.as_str()
        } else {
            request.host
        };
        let host = host.trim_end_matches('.');
        let exact = if self.exact_hosts.is_empty() { None } else { self.exact_hosts.get(host) };
        let mut names = host;
        let below = std::iter::from_fn(|| {
            if self.hosts_below.is_empty() {
                return None;
            }
            let (_, parent) = names.split_once('.')?;
            names = parent;
            Some(parent)
        });
        let roots = exact
            .into_iter()
            .chain(below.filter_map(|name| self.hosts_below.get(name)))
            .chain(&self.any_host);
        for root in roots {
            if self.walk(*root, Some(path), done) {
                break;
            }
        }
        true
    }

    /// Walks down from `node`; `path` is what follows its slash, `None` at the end.
    fn walk(&self, node: usize, path: Option<&str>, done: &mut dyn FnMut(&Entry) -> bool) -> bool {
        let node = &self.nodes[node];
        match path {
            None => {
                if node.here.iter().any(&mut *done) {
                    return true;
                }
            }
            Some(path) => {
                let (segment, rest) = match path.split_once('/') {
                    Some((segment, rest)) => (segment, Some(rest)),
                    None => (path, None),
                };
                let literal = match segment.contains('%') {
                    false => node.literals.get(segment),
                    true => decoded(segment).and_then(|segment| node.literals.get(segment.as_ref())),
                };
                if literal.is_some_and(|child| self.walk(child, rest, done)) {
                    return true;
                }
                if !segment.is_empty() && node.parameter.is_some_and(|child| self.walk(child, rest, done)) {
                    return true;
                }
            }
        }
        node.rest.iter().any(done)
    }
}

fn host_prefix(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => String::new(),
        host => host.to_string(),
    }
}

/// The path after its first slash, unless a server behind us could read another path in it: dot segments
/// and slashes that are escaped, empty segments that some servers drop, backslashes that some take for
/// slashes, parameters (`..;`) that some cut off, or malformed escapes.
fn readable(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/')?;
    // Nearly all paths hold none of the bytes that such readings need.
    let mut before = b'/';
    let suspicious = path.bytes().any(|byte| {
        let empty = byte == b'/' && before == b'/';
        before = byte;
        empty || matches!(byte, b'.' | b'%' | b'\\' | b';')
    });
    if !suspicious {
        return Some(path);
    }
    let last = path.matches('/').count();
    for (position, segment) in path.split('/').enumerate() {
        if is_unreachable(&decoded(segment)?, position == last) {
            return None;
        }
    }
    Some(path)
}
