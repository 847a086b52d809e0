//! What `intertie explain` says of a request, and that live traffic does just that.

mod live;

use std::path::Path;

use super::{FILE, GOOD, Run, folder, intertie};

const TEXT: &str = r#"[defaults]
deadline = "20s"
retry = "quick"
circuit_breaker = "sensitive"
attempt_timeout = "2s"

[policy.everywhere]
retry = { attempts = 4, base = "50ms" }
body_max = "1MiB"

[policy.versioned]
rate_limiter = { limit = "100/s" }
circuit_breaker = "sensitive"
limits = ["shared"]
bulkhead = { concurrent = 7, queue = 2, wait = "100ms" }

[limit.shared]
limit = "10/s"

[service.shop]
endpoints = [{ at = "127.0.0.1:7001", weight = 3 }, { at = "[::1]:7002" }]
balance = "least_requests"
use = "everywhere"

[route.versioned]
to = "shop"
use = "versioned"
rate_limiter = "off"
match = { host = "shop.example", path = "/orders/{id}", method = "GET", headers = { x-version = "2" } }

[route.plain]
to = "shop"
match = { host = "shop.example", path = "/orders/{id}", method = "GET" }

[route.paged]
to = "shop"
match = { host = "*.example", path = "/orders", query = { page = "*" } }

[route.writes]
to = "shop"
match = { host = "*.example", path = "/orders/**", method = ["POST", "PUT"] }

[route."GET /orders/**"]
to = "shop"
body_max = "1KiB"
"#;

fn explain(arguments: &[&str]) -> Run {
    explain_in(folder(TEXT).path(), arguments)
}

fn explain_in(folder: &Path, arguments: &[&str]) -> Run {
    let arguments: Vec<_> = ["explain", FILE].into_iter().chain(arguments.iter().copied()).collect();
    let run = intertie(folder, &arguments);
    assert!(run.code == 2 || run.stderr.is_empty(), "{}", run.stderr);
    run
}

#[test]
fn an_explanation_in_full() {
    let run = explain(&["GET", "http://shop.example/orders/7", "-H", "X-Version: 2"]);
    assert_eq!(run.code, 0);
    assert_eq!(
        run.stdout,
        "\
GET http://shop.example/orders/7
  takes route `versioned` (intertie.toml:25) to service `shop`
  not route `plain` (intertie.toml:31): it is less specific
  not route `writes` (intertie.toml:39): it wants another method
  not route `GET /orders/**` (intertie.toml:43): it is less specific

policies, outermost first:
  deadline             20s  (intertie.toml:2)
  rate_limiter         off  (intertie.toml:28)
  limits               shared  (intertie.toml:14)
  bulkhead             7 at once, 2 waiting for at most 100ms  (intertie.toml:15)
  retry                4 attempts, waiting 50ms, 100ms, 200ms + up to 30% of jitter, budget 20% of calls and 10 in 10s  (intertie.toml:8)
  circuit_breaker      opens at 5 failures in 10s, for 30s; 3 successes in a row close it  (intertie.toml:13)
  attempt_timeout      2s  (intertie.toml:5)
  replay_body_max      64KiB  (built-in default)
  body_max             1MiB  (intertie.toml:9)
  upgrade              websocket  (built-in default)
  upgrade_idle_timeout 5m  (built-in default)

worst case:
  4 requests to the service for one call
  8s 555ms by attempts, backoff and queue; the deadline ends it at the latest

towards service `shop`:
  protocol                http1  (built-in default)
  tls                     off  (built-in default)

endpoints:
  127.0.0.1:7001 weight 3
  [::1]:7002 weight 1
"
    );
}

#[test]
fn what_holds_for_all_routes_is_told_where_the_file_sets_it() {
    let own = "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nforwarded_header = \"forwarded\"\n\
               proxy_protocol = \"required\"\n[server.answers]\nname = \"edge\"\nvia = \"both\"\nhops_max = 7\n\
               proxy_status = false\nrate_limit_headers = false\nerror_pages = \"https://docs.example/\"\n";
    let folder = folder(format!("{own}{GOOD}"));
    let said = explain_in(folder.path(), &["GET", "/"]).stdout;
    let (_, rest) = said.split_once("for all routes:\n").expect("a section");
    assert_eq!(
        rest,
        "  server.trusted_proxies            10.0.0.0/8, ::1  (intertie.toml:2)\n  \
         server.forwarded_header           forwarded  (intertie.toml:3)\n  \
         server.proxy_protocol             required  (intertie.toml:4)\n  \
         server.answers.name               edge  (intertie.toml:6)\n  \
         server.answers.via                both  (intertie.toml:7)\n  \
         server.answers.hops_max           7  (intertie.toml:8)\n  \
         server.answers.proxy_status       false  (intertie.toml:9)\n  \
         server.answers.rate_limit_headers false  (intertie.toml:10)\n  \
         server.answers.error_pages        https://docs.example/  (intertie.toml:11)\n"
    );
}

#[test]
fn the_most_specific_route_wins_and_losers_say_why() {
    for (request, winner, losers) in [
        (
            &["GET", "http://shop.example/orders/7"][..],
            "plain",
            &["versioned` (intertie.toml:25): it wants another value of the header `x-version`"][..],
        ),
        (
            &["GET", "http://SHOP.example.:8080/orders/%37?page=1#top"],
            "plain",
            &["GET /orders/**` (intertie.toml:43): it is less specific"],
        ),
        (
            &["GET", "http://shop.example/orders?page=2"],
            "paged",
            &[
                "GET /orders/**` (intertie.toml:43): it is less specific",
                "writes` (intertie.toml:39): it wants another method",
            ],
        ),
        (
            &["GET", "http://shop.example/orders"],
            "GET /orders/**",
            &["paged` (intertie.toml:35): it wants another value of the query parameter `page`"],
        ),
        (
            &["POST", "http://a.shop.example/orders/7/items"],
            "writes",
            &["GET /orders/**` (intertie.toml:43): it wants another method"],
        ),
        (&["GET", "/orders/7"], "GET /orders/**", &[]),
        (&["GET", "/orders/7", "--header", "host: shop.example"], "plain", &[]),
        (&["GET", "/orders/7", "-H", "Host: Shop.example:8080"], "plain", &[]),
    ] {
        let run = explain(request);
        assert_eq!(run.code, 0, "{request:?}: {}{}", run.stdout, run.stderr);
        assert!(
            run.stdout.contains(&format!("\n  takes route `{winner}` (intertie.toml:")),
            "{}",
            run.stdout
        );
        for loser in losers {
            assert!(
                run.stdout.contains(&format!("\n  not route `{loser}\n")),
                "no {loser} in {}",
                run.stdout
            );
        }
        assert!(!run.stdout.contains(&format!("not route `{winner}`")), "{}", run.stdout);
    }
}

#[test]
fn a_request_that_no_route_takes_fails() {
    for (request, words) in [
        (["GET", "http://shop.example/other"], "is answered 404: no route wants this host and path"),
        (["GET", "http://shop.example"], "is answered 404"),
        (["DELETE", "http://shop.example/orders/7"], "is answered 405: this path takes GET, POST, PUT"),
        (["DELETE", "http://other.test/orders/7"], "is answered 405: this path takes GET\n"),
        (["CONNECT", "shop.example:443"], "is answered 405: no route opens a tunnel to this host\n"),
        (["GET", "/orders/../admin"], "is answered 400: the path can be read in more than one way"),
        (["GET", "/orders/%2e%2E/admin"], "is answered 400"),
    ] {
        let run = explain(&request);
        assert_eq!(run.code, 1, "{request:?}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(words), "{request:?}: {}", run.stdout);
        assert!(!run.stdout.contains("policies"), "{}", run.stdout);
    }
}

#[test]
fn a_tunnel_is_explained_by_its_host() {
    let tunnel = "[route.db]\nto = \"shop\"\nmatch = { host = \"db.example\", method = \"CONNECT\" }\n";
    let folder = folder(format!("{GOOD}{tunnel}"));
    let run = explain_in(folder.path(), &["CONNECT", "db.example:5432"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for words in [
        "CONNECT db.example:5432\n  takes route `db` (",
        ") to service `shop`\n  opens a tunnel to an endpoint of the service, whatever port is named\n",
        "  not route `/**` (",
        "): it wants another method\n",
    ] {
        assert!(run.stdout.contains(words), "no `{words}` in {}", run.stdout);
    }
    let other = explain_in(folder.path(), &["GET", "http://db.example/"]);
    assert!(
        other.stdout.contains("takes route `/**`") && !other.stdout.contains("tunnel"),
        "{}",
        other.stdout
    );
}

#[test]
fn what_can_not_be_explained_is_refused() {
    for (request, words) in [
        (&["GET", "orders/7"][..], "error: `orders/7` is no URL"),
        (&["G T", "/orders"], "error: `G T` is no method"),
        (&["GET", "/orders", "-H", "x-version"], "error: `x-version` is no header; write -H 'Name: value'"),
        (&["GET", "/orders", "-H", "x version: 2"], "error: `x version: 2` is no header"),
    ] {
        let run = explain(request);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{request:?}");
        assert!(run.stderr.starts_with(words), "{}", run.stderr);
    }
}

/// A key stands in any of the four places; the last of the chain that has it wins as a whole.
#[test]
fn each_value_names_the_last_of_its_chain() {
    let text = |own: &str| {
        format!(
            "[defaults]\nattempt_timeout = \"1s\"\nretry = {{ attempts = 2, base = \"10ms\" }}\n\n\
             [policy.service]\nattempt_timeout = \"2s\"\n\n[policy.route]\nattempt_timeout = \"3s\"\n\n\
             [service.shop]\nendpoints = [{{ at = \"127.0.0.1:7001\" }}]\n{own}"
        )
    };
    let (of_service, of_route) = ("use = \"service\"\n", "use = \"route\"\n");
    let route = "[route.\"/**\"]\nto = \"shop\"\n";
    let own = "attempt_timeout = \"4s\"\n";
    let off = "attempt_timeout = \"off\"\nretry = { attempts = 5 }\n";
    for (own, value) in [
        (route.to_owned(), "1s  (intertie.toml:2)"),
        (format!("{of_service}{route}"), "2s  (intertie.toml:6)"),
        (format!("{of_service}{route}{of_route}"), "3s  (intertie.toml:9)"),
        (format!("{route}{of_route}"), "3s  (intertie.toml:9)"),
        (format!("{of_service}{route}{of_route}{own}"), "4s  (intertie.toml:17)"),
        (format!("{of_service}{route}{of_route}{off}"), "off  (intertie.toml:17)"),
    ] {
        let run = explain_in(folder(text(&own)).path(), &["GET", "/"]);
        assert!(run.stdout.contains(&format!("\n  attempt_timeout      {value}\n")), "{own}: {}", run.stdout);
    }
    let run = explain_in(folder(text(&format!("{route}{off}"))).path(), &["GET", "/"]);
    let whole = "\n  retry                5 attempts, waiting 1s, 2s, 4s, 8s + up to 30% of jitter, ";
    assert!(run.stdout.contains(whole), "a table is not mixed with the one it replaces: {}", run.stdout);
}

#[test]
fn a_services_own_deadline_shortens_that_of_its_routes() {
    let text = |service: &str, route: &str| {
        format!(
            "[service.shop]\nendpoints = [{{ at = \"127.0.0.1:7001\" }}]\ndeadline = \"{service}\"\n\n\
             [route.\"/**\"]\nto = \"shop\"\ndeadline = \"{route}\"\n"
        )
    };
    for (service, route, value) in [
        ("1s", "2s", "1s  (intertie.toml:3)"),
        ("2s", "1s", "1s  (intertie.toml:7)"),
        ("1s", "off", "1s  (intertie.toml:3)"),
    ] {
        let run = explain_in(folder(text(service, route)).path(), &["GET", "/"]);
        assert!(run.stdout.contains(&format!("\n  deadline             {value}\n")), "{}", run.stdout);
    }
}

#[test]
fn every_policy_can_be_switched_off_where_it_is_inherited() {
    let policies = [
        ("deadline", "\"1s\"", "1s"),
        (
            "rate_limiter",
            "{ limit = \"5/s\", burst = 2, by = \"client_address\" }",
            "5/s calls, burst 2, by client_address",
        ),
        (
            "bulkhead",
            "{ concurrent = 3, adaptive = { algorithm = \"gradient\", max = 9 } }",
            "3 at once, from 1 to 9 by gradient, no queue",
        ),
        ("retry", "{ attempts = 1 }", "1 attempts + "),
        (
            "circuit_breaker",
            "{ failure_rate = \"50%\", consecutive_failures = 4 }",
            "opens at 50% failures in 1m of at least 10 calls or 4 failures in a row, for 30s",
        ),
        ("attempt_timeout", "\"500ms\"", "500ms"),
        ("body_max", "\"1MiB\"", "1MiB"),
    ];
    let defaults: String = policies.iter().map(|(key, value, _)| format!("{key} = {value}\n")).collect();
    let off: String = policies.iter().map(|(key, ..)| format!("{key} = \"off\"\n")).collect();
    let text = |own: &str| {
        format!(
            "[defaults]\n{defaults}\n[service.shop]\nendpoints = [{{ at = \"127.0.0.1:7001\" }}]\n\n\
             [route.\"/**\"]\nto = \"shop\"\n{own}"
        )
    };
    let on = explain_in(folder(text("")).path(), &["GET", "/"]).stdout;
    let off = explain_in(folder(text(&off)).path(), &["GET", "/"]).stdout;
    for (position, (key, _, words)) in policies.iter().enumerate() {
        let line = |text: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("  {key} "))).expect(key);
            line.split_once(key).expect(key).1.trim().to_owned()
        };
        let origin = format!("(intertie.toml:{})", position + 2);
        assert!(line(&on).starts_with(words) && line(&on).ends_with(&origin), "{key}: {}", line(&on));
        assert_eq!(line(&off), format!("off  (intertie.toml:{})", position + 8 + policies.len()), "{key}");
    }
}

#[test]
fn an_access_log_is_told_once_and_from_where_it_stands() {
    for (keys, to) in [
        ("[server]\nadmin = \"127.0.0.1:9901\"\naccess_log = \"off\"\n", "off  (intertie.toml:3)"),
        ("[server.access_log]\nformat = \"text\"\nto = \"a.log\"\n", "a.log  (intertie.toml:3)"),
        ("[server.access_log]\nformat = \"text\"\n", "stdout  (built-in default)"),
    ] {
        let base =
            "[service.shop]\nendpoints = [{ at = \"127.0.0.1:7001\" }]\n\n[route.\"/**\"]\nto = \"shop\"\n";
        let folder = folder(format!("{keys}{base}"));
        for arguments in [&[][..], &["GET", "/"]] {
            let told = explain_in(folder.path(), arguments).stdout;
            assert!(told.contains(&format!("\naccess_log:\n  to               {to}\n")), "{told}");
            assert_eq!(told.matches("access_log").count(), 1, "{told}");
        }
    }
}

#[test]
fn a_worst_case_is_bounded_by_what_is_in_force() {
    let base =
        "[service.shop]\nendpoints = [{ at = \"127.0.0.1:7001\" }]\n\n[route.\"/**\"]\nto = \"shop\"\n";
    let (unlimited, attempt) = ("deadline = \"off\"\n", "attempt_timeout = \"1s\"\n");
    for (keys, words) in [
        (String::new(), "  nothing but the deadline bounds an attempt\n"),
        (unlimited.to_owned(), "  nothing bounds an attempt\n"),
        (attempt.to_owned(), "  1s by attempts, backoff and queue; the deadline ends it at the latest\n"),
        (format!("{unlimited}{attempt}"), "  1s by attempts, backoff and queue\n"),
    ] {
        let run = explain_in(folder(format!("{base}{keys}")).path(), &["GET", "/"]);
        let worst_case = format!("\nworst case:\n  1 request to the service for one call\n{words}");
        assert!(run.stdout.contains(&worst_case), "{keys}: {}", run.stdout);
    }
}

#[test]
fn only_what_may_be_repeated_is_counted_more_than_once() {
    let many = "\n  4 requests to the service for one call\n";
    let one = "\n  1 request to the service for one call: it is not idempotent and has no Idempotency-Key,\n";
    let url = "http://a.example/orders/7";
    for (request, words) in [
        (&["PUT", url][..], many),
        (&["POST", url], one),
        (&["POST", url, "-H", "Idempotency-Key: 1"], many),
        (&["GET", "http://shop.example/orders/7"], many),
    ] {
        let run = explain(request);
        assert!(run.stdout.contains(words), "{request:?}: {}", run.stdout);
    }
}
