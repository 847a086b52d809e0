//! What `intertie check` refuses in routes: patterns, ties, and what routes of one service disagree on.

use super::errors::{golden, refused, routes, the_error};
use super::{FILE, check, folder, intertie};

#[test]
fn a_tie_in_full() {
    let text = routes(
        "\
[route.one]
to = \"shop\"
match = { host = \"shop.example\", path = \"/orders/{id}\", headers = { x-version = \"2\" } }

[route.two]
to = \"shop\"
match = { host = \"shop.example\", path = \"/orders/*\", headers = { x-tenant = \"*\" } }",
    );
    golden(
        &text,
        "\
error: routes `one` and `two` both want `GET shop.example/orders/* with x-tenant: x with x-version: 2` with equal right
  --> intertie.toml:8:8
  |
8 | [route.two]
  |        ^^^
  and intertie.toml:4:8
  |
4 | [route.one]
  |        ^^^
  = help: make one of them more specific: a host, a longer path, a method, a header or a query

",
    );
}

/// The request that a tie names is taken by each of the routes when the other is not there.
#[test]
fn a_tie_names_a_request_that_both_want() {
    for (one, other) in [
        (r#"path = "/x""#, r#"path = "/x", query = {}"#),
        (r#"path = "/x/**""#, r#"path = "/x/**""#),
        (r#"path = "/x/*/y""#, r#"path = "/x/{id}/y""#),
        (r#"host = "shop.example""#, r#"host = "SHOP.example.""#),
        (r#"host = "*.example", path = "/x""#, r#"host = "*.example", path = "/x""#),
        (r#"method = ["PUT", "POST"]"#, r#"method = ["GET", "POST"]"#),
        (r#"headers = { x-a = "1" }"#, r#"headers = { X-B = "*" }"#),
        (r#"headers = { x-a = "*" }"#, r#"headers = { X-A = "2" }"#),
        (
            r#"method = "PUT", query = { a = "1", b = "2" }"#,
            r#"method = "PUT", query = { b = "*", c = "3" }"#,
        ),
    ] {
        let route =
            |name: &str, matches: &str| format!("[route.{name}]\nto = \"shop\"\nmatch = {{ {matches} }}\n");
        let text = routes(&format!("{}{}", route("one", one), route("two", other)));
        let printed = check(&text, 2, &[]).stderr;
        let error = the_error(&text, &printed);
        assert_eq!(error.places, ["7:8 two", "4:8 one"], "{}", error.text);
        let (_, example) = error.text.split_once(" both want `").expect("an example");
        let (example, _) = example.split_once("` with equal right").expect("its end");
        for (name, matches) in [("one", one), ("two", other)] {
            let folder = folder(routes(&route(name, matches)));
            let request = request(example);
            let arguments: Vec<_> =
                ["explain", FILE].into_iter().chain(request.iter().map(String::as_str)).collect();
            let run = intertie(folder.path(), &arguments);
            assert!(run.stdout.contains(&format!("takes route `{name}`")), "{example}: {run:?}");
        }
    }
    for (one, other) in [
        (r#"path = "/x""#, r#"path = "/x/""#),
        (r#"host = "a.example""#, r#"host = "*.example""#),
        (r#"method = ["PUT", "POST"]"#, r#"method = ["GET", "HEAD"]"#),
        (r#"headers = { x-a = "1" }"#, r#"headers = { X-A = "2" }"#),
        (r#"query = { a = "1" }"#, r#"query = { a = "2" }"#),
        (r#"query = { a = "1" }"#, r#"query = { a = "1", b = "2" }"#),
    ] {
        let text = routes(&format!(
            "[route.one]\nto = \"shop\"\nmatch = {{ {one} }}\n[route.two]\nto = \"shop\"\nmatch = {{ {other} }}"
        ));
        assert_eq!(check(&text, 0, &[]).stderr, "", "no request can want both");
    }
}

/// `METHOD host/path with name: value with ?name=value` as arguments of `explain`.
fn request(example: &str) -> Vec<String> {
    let mut parts = example.split(" with ");
    let (method, target) =
        parts.next().and_then(|first| first.split_once(' ')).expect("a method and a target");
    let (mut headers, mut query) = (Vec::new(), Vec::new());
    for part in parts {
        match part.strip_prefix('?') {
            Some(pair) => query.push(pair),
            None => headers.extend(["-H".to_owned(), part.to_owned()]),
        }
    }
    let host = if target.starts_with('/') { "http://any.example" } else { "http://" };
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    [method.to_owned(), format!("{host}{target}{query}")].into_iter().chain(headers).collect()
}

#[test]
fn patterns_that_no_request_can_match() {
    let whole = "a parameter is a whole segment, `{name}`, `*` or, at the end, `**`";
    for (path, words) in [
        ("/a/**/b", "`**` matches all that follows, so nothing can follow it"),
        ("/a/{x}y", whole),
        ("/a/x*", whole),
        ("/{}", whole),
        ("/../x", "requests with dot segments never reach a route"),
        ("/a/./b", "requests with dot segments never reach a route"),
        ("/a?b=1", "a query is no part of the path; use match = { query = … }"),
        ("/a%zz", "bad percent-encoding"),
    ] {
        let short = routes(&format!("[route.\"{path}\"]\nto = \"shop\""));
        refused(&short, &[&format!("4:8 \"{path}\"")], &[&format!("`{path}`: {words}")]);
        let long = routes(&format!("[route.x]\nto = \"shop\"\nmatch = {{ path = \"{path}\" }}"));
        refused(&long, &["6:11 path"], &[&format!("`{path}`: {words}")]);
    }
    refused(
        &routes("[route.x]\nto = \"shop\"\nmatch = { path = \"a/b\" }"),
        &["6:11 path"],
        &["a path begins with a slash: `/a/b`"],
    );
    for host in ["shop.example:80", "*", "a.*.example", ""] {
        let text = routes(&format!("[route.x]\nto = \"shop\"\nmatch = {{ host = \"{host}\" }}"));
        refused(&text, &["6:11 host"], &[&format!("`{host}` is no host"), "without a port"]);
    }
    let text = routes("[route.x]\nto = \"shop\"\nmatch = { headers = { \"a b\" = \"1\" } }");
    refused(&text, &["6:11 headers"], &["`a b` is no header name"]);
}

#[test]
fn routes_that_say_nowhere_what_they_take() {
    for name in ["orders", "\"a/b\"", "\"\"", "\"GET\""] {
        let text = routes(&format!("[route.{name}]\nto = \"shop\""));
        let message = format!("route `{}` says nowhere which requests it takes", name.trim_matches('"'));
        refused(&text, &[&format!("4:8 {name}")], &[&message, "name it by its path", "or give it a match"]);
    }
    let text = routes("[route.\"/x\"]\nto = \"shop\"\nmatch = { path = \"/y\" }");
    refused(&text, &["6:1 match"], &["a route whose name is a path has no match of its own"]);
    let text = routes("[route.\"/x\"]\nuse = \"shop\"");
    refused(&text, &["4:1 [route.\"/x\"]"], &["the key `to` is missing"]);
}

#[test]
fn methods_are_upper_case() {
    let words = "methods are case-sensitive; did you mean `GET`?";
    refused(&routes("[route.\"get /x\"]\nto = \"shop\""), &["4:8 \"get /x\""], &[words]);
    let text = |method: &str| routes(&format!("[route.x]\nto = \"shop\"\nmatch = {{ method = {method} }}"));
    refused(&text("\"get\""), &["6:20 \"get\""], &[words]);
    refused(&text("[\"POST\", \"Get\"]"), &["6:20 [\"POST\", \"Get\"]"], &[words]);
    refused(&text("\"G T\""), &["6:20 \"G T\""], &["`G T` is no HTTP method"]);
}

#[test]
fn a_route_that_opens_tunnels_asks_for_nothing_that_they_do_not_have() {
    let text = |matches: &str| routes(&format!("[route.x]\nto = \"shop\"\nmatch = {{ {matches} }}"));
    for (matches, place, words) in [
        ("method = [\"GET\", \"CONNECT\"]", "6:11 method", "takes no other method"),
        ("method = \"CONNECT\", path = \"/db\"", "6:31 path", "there is no path in it"),
        ("method = \"CONNECT\", query = { a = \"*\" }", "6:31 query", "there is no query in it"),
    ] {
        let help = "match = { host = \"db.example\", method = \"CONNECT\" }";
        refused(&text(matches), &[place], &[words, help]);
    }
    let named = routes("[route.\"CONNECT /db\"]\nto = \"shop\"");
    refused(&named, &["4:8 \"CONNECT /db\""], &["there is no path in it"]);
    for good in ["method = \"CONNECT\", path = \"/**\"", "method = [\"CONNECT\"], headers = { team = \"a\" }"]
    {
        check(&text(good), 0, &[]);
    }
    check(&routes("[route.\"CONNECT /**\"]\nto = \"shop\""), 0, &[]);
}

#[test]
fn routes_of_one_service_agree_on_what_it_has_once() {
    for (one, other, words) in [
        (
            "bulkhead = { concurrent = 1 }",
            "bulkhead = { concurrent = 2 }",
            "the bulkhead belongs to service `shop`",
        ),
        (
            "circuit_breaker = \"standard\"",
            "circuit_breaker = \"sensitive\"",
            "the circuit_breaker belongs to service `shop`",
        ),
        (
            "retry = { budget = \"10%\" }",
            "retry = { budget = \"11%\" }",
            "the retry budget belongs to service `shop`",
        ),
    ] {
        let text = |other: &str| {
            routes(&format!("[route.\"/a\"]\nto = \"shop\"\n{one}\n\n[route.\"/b\"]\nto = \"shop\"\n{other}"))
        };
        let (key, _) = one.split_once(" =").expect("a key");
        let places = [format!("10:1 {key}"), format!("6:1 {key}")];
        let places: Vec<_> = places.iter().map(String::as_str).collect();
        refused(&text(other), &places, &[words, "its routes give it two different values"]);
        for good in [one, &format!("{key} = \"off\"")] {
            let run = intertie(folder(text(good)).path(), &["check", FILE]);
            assert!(!run.stderr.contains("error"), "{}", run.stderr);
        }
    }
}
