use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::*;
use crate::config::MatchConfig;

/// `METHOD host/path?query` with headers, as a request.
#[derive(Debug)]
struct Request {
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
}

impl Request {
    fn new(method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> Self {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        Self {
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            method: method.parse().expect("a method"),
            headers: headers
                .iter()
                .map(|(name, value)| {
                    (name.parse::<http::HeaderName>().expect("a name"), value.parse().expect("a value"))
                })
                .collect(),
        }
    }

    fn view(&self) -> RequestView<'_> {
        RequestView {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            headers: &self.headers,
        }
    }
}

fn pattern(host: &str, path: &str, config: &str) -> RoutePattern {
    let config: MatchConfig = toml::from_str(config).expect("conditions");
    let host = if host == "*" { HostPattern::Any } else { host.parse().expect("a host") };
    RoutePattern {
        host,
        path: path.parse().expect("a path"),
        condition: Condition::new(&config).expect("conditions"),
    }
}

fn check(routes: &[(&str, &str, &str)], request: &Request, expected: &Found) {
    let patterns = routes.iter().map(|(host, path, config)| pattern(host, path, config)).collect();
    let router = Router::new(patterns).expect("no ties");
    assert_eq!(router.find(&request.view()), *expected, "{} {}", request.host, request.path);
}

/// It would be the name of requests that name no host.
#[test]
fn a_dot_alone_is_no_host() {
    for text in [".", "..", "*..", "*.", ""] {
        assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
    }
    assert_eq!("Shop.example.".parse(), Ok(HostPattern::Exact("shop.example".to_owned())));
}

#[test]
fn the_most_specific_path_wins() {
    let routes = [
        ("*", "/orders", ""),
        ("*", "/orders/{id}", ""),
        ("*", "/orders/special", ""),
        ("*", "/orders/**", ""),
        ("*", "/**", ""),
        ("*", "/orders/*/lines", ""),
    ];
    for (path, expected) in [
        ("/orders", 0),
        ("/orders/7", 1),
        ("/orders/special", 2),
        ("/orders/%73pecial", 2),
        ("/orders/7/lines", 5),
        ("/orders/7/lines/3", 3),
        ("/orders/", 3),
        ("/elsewhere", 4),
        ("/", 4),
    ] {
        check(&routes, &Request::new("GET", "any", path, &[]), &Found::Route(expected));
    }
}

#[test]
fn the_host_comes_before_the_path() {
    let routes = [
        ("*", "/a/b/c", ""),
        ("*.example", "/**", ""),
        ("*.shop.example", "/a/**", ""),
        ("www.shop.example", "/**", ""),
    ];
    for (host, path, expected) in [
        ("other", "/a/b/c", 0),
        ("x.example", "/a/b/c", 1),
        ("a.shop.example", "/a/b/c", 2),
        ("a.shop.example", "/b", 1),
        ("WWW.Shop.Example.", "/a/b/c", 3),
    ] {
        check(&routes, &Request::new("GET", host, path, &[]), &Found::Route(expected));
    }
    check(&routes[1..], &Request::new("GET", "example", "/", &[]), &Found::Nothing);
}

#[test]
fn then_method_then_headers_then_queries() {
    let routes = [
        ("*", "/x", ""),
        ("*", "/x", "method = 'GET'"),
        ("*", "/x", "headers = { a = '1', b = '*' }"),
        ("*", "/x", "headers = { a = '1' }"),
        ("*", "/x", "query = { v = '2' }"),
        ("*", "/x", "method = ['GET', 'PUT']\nheaders = { a = '1' }"),
    ];
    for (method, target, headers, expected) in [
        ("GET", "/x", &[][..], 1),
        ("POST", "/x", &[], 0),
        ("POST", "/x?v=2", &[], 4),
        ("POST", "/x?v=2", &[("a", "1")], 3),
        ("POST", "/x", &[("a", "1"), ("b", "anything")], 2),
        ("GET", "/x", &[("a", "1"), ("b", "anything")], 5),
        ("GET", "/x?v=2", &[], 1),
        ("POST", "/x?w=2&v=%32", &[], 4),
        ("POST", "/x?v=1&v=2", &[], 0),
        ("POST", "/x", &[("a", "1"), ("a", "1")], 0),
    ] {
        check(&routes, &Request::new(method, "any", target, headers), &Found::Route(expected));
    }
}

#[test]
fn a_known_path_with_another_method_is_told_which() {
    let routes = [("*", "/x", "method = 'GET'"), ("*", "/{y}", "method = ['PUT', 'GET']")];
    let found = Found::OtherMethods(vec![Method::GET, Method::PUT]);
    check(&routes, &Request::new("DELETE", "any", "/x", &[]), &found);
    check(&routes, &Request::new("PUT", "any", "/x", &[]), &Found::Route(1));
    check(&routes, &Request::new("DELETE", "any", "/x/y", &[]), &Found::Nothing);
}

#[test]
fn a_tunnel_is_opened_only_by_a_route_that_names_connect() {
    let routes = [
        ("*", "/**", ""),
        ("*", "/", ""),
        ("db.example", "/**", "method = 'CONNECT'"),
        ("*.lab.example", "/**", "method = 'CONNECT'\nheaders = { team = 'a' }"),
        ("shop.example", "/orders", "method = 'GET'"),
    ];
    let connect = |host, headers: &[_], expected| {
        for path in ["", "/", "/orders", "/a/../b"] {
            check(&routes, &Request::new("CONNECT", host, path, headers), &expected);
        }
    };
    connect("db.example", &[], Found::Route(2));
    connect("a.lab.example", &[("team", "a")], Found::Route(3));
    connect("a.lab.example", &[("team", "b")], Found::OtherMethods(Vec::new()));
    connect("shop.example", &[], Found::OtherMethods(Vec::new()));
    check(&routes, &Request::new("GET", "db.example", "/", &[]), &Found::Route(1));
    // Whoever asks for a page is not told of tunnels.
    let alone = [("*", "/**", "method = 'CONNECT'")];
    check(&alone, &Request::new("GET", "db.example", "/", &[]), &Found::Nothing);
}

#[test]
fn paths_that_servers_read_differently_are_ambiguous() {
    let routes = [("*", "/**", "")];
    for path in [
        "/a/../b",
        "/./a",
        "/a/%2e%2e/b",
        "/a/.%2E",
        "/a\\b",
        "/%5c",
        "/%00",
        "/%zz",
        "/%4",
        "*",
        "",
        "//a",
        "/a//b",
        "/a%2Fb",
        "/..%2fa",
        "/..;/a",
        "/a/..;x=1/b",
        "/.%2e;/a",
    ] {
        check(&routes, &Request::new("GET", "any", path, &[]), &Found::Ambiguous);
    }
    for path in ["/a..b", "/...", "/.hidden", "/a/b.txt", "/a/", "/%41", "/a;v=1/b"] {
        check(&routes, &Request::new("GET", "any", path, &[]), &Found::Route(0));
    }
}

#[test]
fn ties_are_refused_with_a_request_that_hits_both() {
    let tie = |one: (&str, &str, &str), other: (&str, &str, &str)| {
        let patterns = [one, other].map(|(host, path, config)| pattern(host, path, config)).to_vec();
        Router::new(patterns).err().map(|ties| ties[0].example.clone())
    };
    for (one, other, example) in [
        (("*", "/a/{x}", ""), ("*", "/a/*", ""), Some("GET /a/*")),
        (("*", "/a", "method = 'GET'"), ("*", "/a", "method = ['PUT', 'GET']"), Some("GET /a")),
        (
            ("h", "/a", "headers = { a = '1' }"),
            ("h", "/a", "headers = { b = '2' }"),
            Some("GET h/a with b: 2 with a: 1"),
        ),
        (("*", "/a", "headers = { a = '1' }"), ("*", "/a", "headers = { a = '2' }"), None),
        (
            ("*", "/a", "headers = { a = '1' }"),
            ("*", "/a", "headers = { a = '*' }"),
            Some("GET /a with a: 1"),
        ),
        (("*", "/a", "method = 'GET'"), ("*", "/a", "method = 'PUT'"), None),
        (("*", "/a", "query = { v = '1' }"), ("*", "/a", "headers = { a = '1' }"), None),
        (("*", "/a", ""), ("h", "/a", ""), None),
        (("*", "/a", ""), ("*", "/a/**", ""), None),
    ] {
        assert_eq!(tie(one, other).as_deref(), example, "{one:?} {other:?}");
    }
}

#[test]
fn nonsense_patterns_are_refused() {
    for bad in ["a/b", "", "/a/**/b", "/{a}b", "/a*", "/{}", "/../a", "/a?b=c", "/%zz", "/{a*}"] {
        assert!(bad.parse::<PathPattern>().is_err(), "{bad}");
    }
    for bad in ["", "a b", "a:80", "*.", "a/b", "*"] {
        assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
    }
}

/// How specific a route is, compared part by part: the documentation's sentence as a list.
fn rank(route: &RoutePattern) -> (usize, Vec<u8>, (bool, usize, usize)) {
    let host = match &route.host {
        HostPattern::Any => 0,
        HostPattern::Below(name) => 1 + name.matches('.').count(),
        HostPattern::Exact(_) => usize::MAX,
    };
    let mut path: Vec<u8> = route
        .path
        .segments
        .iter()
        .map(|segment| match segment {
            Segment::Literal(_) => 3,
            Segment::Parameter(_) => 2,
            Segment::Rest => 1,
        })
        .collect();
    // An exact end beats "everything below" where both match.
    path.push(4);
    (host, path, route.condition.rank())
}

fn wants(route: &RoutePattern, request: &Request) -> bool {
    let host = match &route.host {
        HostPattern::Any => true,
        HostPattern::Exact(name) => *name == request.host,
        HostPattern::Below(name) => request.host.ends_with(&format!(".{name}")),
    };
    let path = if request.method == Method::CONNECT { "/" } else { &request.path };
    let parts: Vec<&str> = path[1..].split('/').collect();
    let segments = &route.path.segments;
    let rest = segments.last() == Some(&Segment::Rest);
    let fixed = if rest { &segments[..segments.len() - 1] } else { segments };
    let length = if rest { parts.len() >= fixed.len() } else { parts.len() == fixed.len() };
    let path = fixed.iter().zip(&parts).all(|(segment, part)| match segment {
        Segment::Literal(text) => text == part,
        _ => !part.is_empty(),
    });
    host && length && path && route.condition.mismatch(&request.view()).is_none()
}

fn any_route() -> impl Strategy<Value = RoutePattern> {
    let host = prop::sample::select(vec!["*", "*.b", "*.a.b", "a.b", "x.a.b"]);
    let segment = prop::sample::select(vec!["p", "q", "{v}", "*"]);
    let path = (prop::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(segments, rest)| {
        let mut path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        if rest {
            path.push_str("/**");
        }
        if path.is_empty() { "/".to_owned() } else { path }
    });
    let condition = prop::sample::select(vec![
        "",
        "method = 'GET'",
        "method = ['GET', 'PUT']",
        "headers = { h = '1' }",
        "headers = { h = '*' }",
        "headers = { h = '1', i = '1' }",
        "query = { q = '1' }",
        "method = 'PUT'\nquery = { q = '*' }",
        "method = 'CONNECT'",
        "method = 'CONNECT'\nheaders = { h = '1' }",
    ]);
    (host, path, condition).prop_map(|(host, path, config)| pattern(host, &path, config))
}

fn any_request() -> impl Strategy<Value = Request> {
    let host = prop::sample::select(vec!["a.b", "x.a.b", "y.b", "c", "z.x.a.b"]);
    let path = prop::collection::vec(prop::sample::select(vec!["p", "q", "r"]), 0..5)
        .prop_map(|parts| format!("/{}", parts.join("/")));
    let query = prop::sample::select(vec!["", "?q=1", "?q=2", "?r=1&q=1"]);
    let method = prop::sample::select(vec!["GET", "PUT", "POST", "CONNECT"]);
    let headers =
        prop::sample::select(vec![vec![], vec![("h", "1")], vec![("h", "2")], vec![("h", "1"), ("i", "1")]]);
    (method, host, path, query, headers).prop_map(|(method, host, path, query, headers)| {
        Request::new(method, host, &format!("{path}{query}"), &headers)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The index against a scan of all routes.
    #[test]
    fn the_router_equals_a_scan(
        routes in prop::collection::vec(any_route(), 1..12),
        requests in prop::collection::vec(any_request(), 1..20),
    ) {
        // Keep of each group of ties the first route, as the author of a file would after the error.
        let mut kept: Vec<RoutePattern> = Vec::new();
        for route in routes {
            let mut with = kept.clone();
            with.push(route);
            if Router::new(with.clone()).is_ok() {
                kept = with;
            }
        }
        let router = Router::new(kept.clone()).expect("no ties");
        for request in requests {
            let mut wanting: Vec<usize> = (0..kept.len()).filter(|route| wants(&kept[*route], &request)).collect();
            wanting.sort_by_key(|route| std::cmp::Reverse(rank(&kept[*route])));
            if let [first, second, ..] = wanting[..] {
                prop_assert_ne!(rank(&kept[first]), rank(&kept[second]), "an unreported tie");
            }
            let found = router.find(&request.view());
            match wanting.first() {
                Some(best) => prop_assert_eq!(found, Found::Route(*best)),
                None if request.method == Method::CONNECT => {
                    prop_assert_eq!(found, Found::OtherMethods(Vec::new()));
                }
                None => prop_assert!(matches!(found, Found::Nothing | Found::OtherMethods(_))),
            }
            let candidates = router.candidates(&request.view());
            let first = candidates.iter().find(|candidate| candidate.mismatch.is_none());
            prop_assert_eq!(first.map(|candidate| candidate.route), wanting.first().copied());
        }
    }
}
