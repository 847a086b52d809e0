//! What `intertie check` warns of, and how it counts the amplification.

use super::{FILE, check, folder, intertie, messages, root, without_series};
use crate::harness::PATIENCE;

const SHOP: &str =
    "[service.shop]\nendpoints = [{ at = \"127.0.0.1:7001\" }]\n\n[route.\"/**\"]\nto = \"shop\"\n";

/// `text` runs, and `check` says exactly `expected`: severity, place, and words of each message, in order.
fn doubted(text: &str, expected: &[(&str, &str, &str)]) {
    let doubtful = expected.iter().any(|(severity, ..)| *severity == "warning");
    let run = check(text, i32::from(doubtful), &[]);
    let found = messages(text, &run.stderr);
    assert_eq!(found.len(), expected.len(), "of\n{text}\n{}", run.stderr);
    for (found, (severity, place, words)) in found.iter().zip(expected) {
        assert_eq!(
            (found.severity.as_str(), found.places[0].as_str()),
            (*severity, *place),
            "{}",
            found.text
        );
        assert!(found.text.contains(words), "no `{words}` in\n{}", found.text);
    }
    let counted = |severity| match expected.iter().filter(|expected| expected.0 == severity).count() {
        1 => format!("1 {severity}"),
        count => format!("{count} {severity}s"),
    };
    let summary = format!("{}, {}\n", counted("warning"), counted("note"));
    assert!(run.stdout.ends_with(&summary), "{}", run.stdout);
}

/// The file of [`SHOP`] with `keys` as its route's own; the first of them stands in line 6.
fn route(keys: &str) -> String {
    format!("{SHOP}{keys}\n")
}

/// Services that call each other: name, keys, and the services that each calls.
fn chain(services: &[(&str, &str, &str)], routes: &str) -> String {
    let mut text = String::new();
    for (name, keys, calls) in services {
        text.push_str(&format!(
            "[service.{name}]\nendpoints = [{{ at = \"127.0.0.1:7001\" }}]\ncalls = [{calls}]\n{keys}\n\n"
        ));
    }
    text + routes
}

/// The last lines of what `check` prints: one for each service, then the summary.
fn amplification(text: &str) -> Vec<String> {
    let run = intertie(folder(text).path(), &["check", FILE]);
    let (head, rows) = run.stdout.split_once('\n').expect("a table");
    assert_eq!(head, "worst-case requests for one client call:");
    let rows = rows.lines().filter(|line| line.starts_with("  "));
    rows.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_worst_case_above_the_deadline_in_full() {
    let text = "\
[defaults]
deadline = \"5s\"

[policy.standard]
retry = { preset = \"quick\", attempts = 4 }
circuit_breaker = \"standard\"
attempt_timeout = \"1200ms\"
bulkhead = { concurrent = 20, queue = 5, wait = \"250ms\" }

[service.shop]
endpoints = [{ at = \"127.0.0.1:7001\" }]

[route.\"/**\"]
to = \"shop\"
use = \"standard\"
";
    let run = check(text, 1, &[]);
    // 4 × 1.2 s, then 100, 200 and 400 ms with 30% of jitter, then 250 ms of waiting for a place.
    assert_eq!(
        run.stderr,
        "\
warning: route `/**` may need 5s 960ms but its deadline is 5s: 4 × 1s 200ms + 910ms of backoff + 250ms in the queue
  --> intertie.toml:2:1
  |
2 | deadline = \"5s\"
  | ^^^^^^^^
  = help: shorten attempt_timeout, allow fewer attempts, or lengthen the deadline

"
    );
    assert_eq!(
        without_series(&run.stdout),
        "\
worst-case requests for one client call:
  shop     4   by /** ×4 → shop
intertie.toml: 1 route, 1 service, 1 warning, 0 notes
"
    );
}

#[test]
fn a_worst_case_of_just_the_deadline_fits() {
    let keys = |deadline: &str| {
        route(&format!(
            "deadline = \"{deadline}\"\nattempt_timeout = \"1s\"\nretry = \"quick\"\ncircuit_breaker = \"standard\""
        ))
    };
    doubted(&keys("3390ms"), &[]);
    doubted(&keys("3389ms"), &[("warning", "6:1 deadline", "3 × 1s + 390ms of backoff + 0s in the queue")]);
}

#[test]
fn retry_wants_company() {
    let retries = |budget: &str| format!("retry = {{ preset = \"quick\", budget = \"{budget}\" }}");
    let (timeout, breaker) = ("attempt_timeout = \"1s\"", "circuit_breaker = \"standard\"");
    let text = |parts: &[&str]| route(&parts.join("\n"));
    doubted(&text(&[&retries("20%"), timeout, breaker]), &[]);
    doubted(&text(&["retry = { attempts = 1 }"]), &[]);
    doubted(
        &text(&[&retries("20%"), breaker]),
        &[("warning", "6:1 retry", "route `/**` retries without an attempt_timeout")],
    );
    doubted(
        &text(&[&retries("20%"), timeout]),
        &[("warning", "6:1 retry", "route `/**` retries without a circuit_breaker")],
    );
    doubted(&text(&[&retries("50%"), timeout, breaker]), &[]);
    doubted(
        &text(&[&retries("50.1%"), timeout, breaker]),
        &[("warning", "6:1 retry", "route `/**` may retry 50.1% of its calls")],
    );
    doubted(
        &text(&[&retries("20%"), "attempt_timeout = \"100ms\"", breaker, "bulkhead = { concurrent = 3 }"]),
        &[("warning", "9:1 bulkhead", "hold one of 3 bulkhead places during up to 390ms of backoff")],
    );
}

#[test]
fn a_policy_further_up_is_where_its_trap_is_shown() {
    let text = format!("[defaults]\nretry = \"quick\"\ncircuit_breaker = \"standard\"\n\n{SHOP}");
    doubted(&text, &[("warning", "2:1 retry", "route `/**` retries without an attempt_timeout")]);
}

#[test]
fn a_limiter_by_what_never_repeats_limits_nobody() {
    for header in ["x-request-id", "traceparent", "X-Correlation-Id", "Idempotency-Key"] {
        let text = route(&format!("rate_limiter = {{ limit = \"1/s\", by = \"header:{header}\" }}"));
        let words = format!("`{}` differs with every request", header.to_lowercase());
        doubted(&text, &[("warning", "6:1 rate_limiter", &words)]);
    }
    doubted(&route("rate_limiter = { limit = \"1/s\", by = \"header:x-tenant\" }"), &[]);
    let shared = "[limit.shared]\nlimit = \"1/s\"\nby = \"header:X-Request-Id\"\n\n";
    let words = "`x-request-id` differs with every request";
    doubted(&format!("{shared}{}", route("limits = [\"shared\"]")), &[("warning", "1:8 shared", words)]);
}

#[test]
fn a_call_without_an_end_is_doubtful() {
    let words = "nothing limits how long a call of route `/**` may take";
    doubted(&route("deadline = \"off\""), &[("warning", "6:1 deadline", words)]);
    doubted(&route("deadline = \"off\"\nattempt_timeout = \"1s\""), &[]);
}

#[test]
fn what_nothing_uses_is_a_mistake() {
    let text = format!(
        "[policy.spare]\ndeadline = \"1s\"\n\n[limit.spare]\nlimit = \"1/s\"\n\n\
         [service.spare]\nendpoints = [{{ at = \"127.0.0.1:7002\" }}]\n\n{SHOP}"
    );
    doubted(
        &text,
        &[
            ("warning", "4:8 spare", "no route or policy names limit `spare`"),
            ("warning", "1:9 spare", "no route or service uses policy `spare`"),
            ("warning", "7:10 spare", "nothing calls service `spare`"),
        ],
    );
    let used = text.replace("[service.shop]\n", "[service.shop]\nuse = \"spare\"\ncalls = [\"spare\"]\n");
    doubted(
        &format!("{}limits = [\"spare\"]\n", used.replacen("\"1s\"", "\"1s\" ", 1)),
        &[(
            "warning",
            "12:1 calls",
            "service `shop` may need 30s for its calls (spare 30s) but route `/**` allows it 1s",
        )],
    );
}

#[test]
fn notes_do_not_fail() {
    let keys = "retry = \"quick\"\nattempt_timeout = \"1s\"\ncircuit_breaker = \"standard\"\n";
    let limited = route(&format!("{keys}rate_limiter = {{ limit = \"7/s\" }}"));
    doubted(&limited, &[("note", "9:1 rate_limiter", "with 3 attempts the service may see 3 × 7/s")]);
    doubted(&limited.replace("\"7/s\"", "\"7/s\", count = \"attempts\""), &[]);
    let writes =
        SHOP.replace("[route.\"/**\"]", "[route.writes]\nmatch = { method = [\"POST\", \"PATCH\"] }");
    doubted(
        &format!("{writes}{keys}"),
        &[("note", "7:1 retry", "only requests with an Idempotency-Key are retried")],
    );
    doubted(&format!("{writes}{keys}").replace("PATCH", "PUT"), &[]);
    let short = SHOP.replace("\"/**\"", "\"POST /**\"");
    doubted(
        &format!("{short}{keys}"),
        &[("note", "6:1 retry", "route `POST /**` takes no idempotent method")],
    );
}

#[test]
fn calls_must_fit_into_what_the_caller_allows() {
    let services = |inventory: &str, payments: &str, orders: &str| {
        chain(
            &[
                ("orders", orders, "\"inventory\", \"payments\""),
                ("inventory", &format!("deadline = \"{inventory}\""), ""),
                ("payments", &format!("deadline = \"{payments}\""), ""),
            ],
            "[route.\"/**\"]\nto = \"orders\"\nattempt_timeout = \"1s\"\n",
        )
    };
    doubted(&services("599ms", "400ms", ""), &[]);
    let text = services("600ms", "400ms", "");
    let words = "service `orders` may need 1s for its calls (inventory 600ms + payments 400ms) but route `/**` allows it 1s";
    doubted(&text, &[("warning", "3:1 calls", words)]);
    let places = messages(&text, &check(&text, 1, &[]).stderr).remove(0).places;
    assert_eq!(places, ["3:1 calls", "18:1 attempt_timeout"]);
    // The service's own deadline shortens that of its routes.
    let text = services("599ms", "400ms", "deadline = \"900ms\"").replace("attempt_timeout = \"1s\"\n", "");
    let words = "(inventory 599ms + payments 400ms) but route `/**` allows it 900ms";
    doubted(&text, &[("warning", "3:1 calls", words)]);
}

#[test]
fn a_called_service_may_need_what_its_policy_allows_it() {
    let policy = "[policy.inner]\nattempt_timeout = \"100ms\"\nretry = { attempts = 3, base = \"10ms\" }\n\n";
    let text = |deadline: &str| {
        let services = [("shop", "", "\"stock\""), ("stock", "use = \"inner\"", "")];
        let route = format!("[route.\"/**\"]\nto = \"shop\"\ndeadline = \"{deadline}\"\n");
        format!("{policy}{}", chain(&services, &route))
    };
    // 3 × 100 ms and 10 + 20 ms with 30% of jitter.
    let words = "service `shop` may need 339ms for its calls (stock 339ms) but route `/**` allows it 339ms";
    doubted(&text("339ms"), &[("warning", "7:1 calls", words)]);
    doubted(&text("340ms"), &[]);
}

#[test]
fn the_chain_is_proved_at_every_link() {
    let text = chain(
        &[
            ("a", "deadline = \"1s\"", "\"b\""),
            ("b", "deadline = \"900ms\"", "\"c\""),
            ("c", "deadline = \"2s\"", ""),
        ],
        "[route.\"/**\"]\nto = \"a\"\n",
    );
    let words = "service `b` may need 2s for its calls (c 2s) but its own deadline is 900ms";
    doubted(&text, &[("warning", "8:1 calls", words)]);
    // What its callers allow a service that has no route is what its own policy says.
    let services = [("a", "", "\"b\""), ("b", "use = \"inner\"", "\"c\""), ("c", "deadline = \"300ms\"", "")];
    let inner = "[policy.inner]\nattempt_timeout = \"150ms\"\n\n";
    let text = format!("{inner}{}", chain(&services, "[route.\"/**\"]\nto = \"a\"\n"));
    let words = "service `b` may need 300ms for its calls (c 300ms) but its callers allow it 150ms";
    doubted(&text, &[("warning", "11:1 calls", words)]);
}

#[test]
fn the_shop_in_full() {
    let run = intertie(&root().join("examples/shop"), &["check", FILE]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        without_series(&run.stdout),
        "\
worst-case requests for one client call:
  inventory     6   by /orders/** ×3 → orders ×2 → inventory
  orders        3   by /orders/** ×3 → orders
  payments      6   by /orders/** ×3 → orders ×2 → payments
intertie.toml: 3 routes, 3 services, 0 warnings, 1 note
"
    );
    assert!(!run.stderr.contains("warning") && !run.stderr.contains("error"), "{}", run.stderr);
}

#[test]
fn attempts_multiply_along_the_chain() {
    let policy = "[policy.thrice]\nretry = { attempts = 3 }\n\n[policy.never]\nretry = \"off\"\n\n";
    let services = [
        ("a", "use = \"never\"", "\"b\", \"d\""),
        ("b", "use = \"thrice\"", "\"c\""),
        ("c", "", ""),
        ("d", "use = \"never\"", ""),
    ];
    let text = format!(
        "[defaults]\nretry = {{ attempts = 2 }}\n\n{policy}{}",
        chain(
            &services,
            "[route.\"/**\"]\nto = \"a\"\nretry = { attempts = 5 }\n[route.\"/c\"]\nto = \"c\"\n"
        )
    );
    assert_eq!(
        amplification(&text),
        [
            "a 5 by /** ×5 → a",
            "b 15 by /** ×5 → a ×3 → b",
            "c 30 by /** ×5 → a ×3 → b ×2 → c",
            "d 5 by /** ×5 → a ×1 → d"
        ]
    );
}

/// A service that is called on two ways sees the requests of both.
#[test]
fn ways_that_meet_add_up() {
    let services = [("a", "", "\"b\", \"c\""), ("b", "", "\"d\""), ("c", "", "\"d\", \"d\""), ("d", "", "")];
    let rows = amplification(&chain(&services, "[route.\"/**\"]\nto = \"a\"\n"));
    assert!(rows[3].starts_with("d 3 by /** ×1 → a ×1 → "), "{rows:?}");
}

/// However many ways there are, and here they double with each service, they are counted and not walked.
#[test]
fn many_ways_are_counted_at_once() {
    let names: Vec<_> = (0..40).map(|number| format!("s{number:02}")).collect();
    let later =
        |number: usize| names[number + 1..].iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>();
    let calls: Vec<_> = (0..names.len()).map(|number| later(number).join(", ")).collect();
    let services: Vec<_> =
        names.iter().zip(&calls).map(|(name, calls)| (name.as_str(), "", calls.as_str())).collect();
    let text = chain(&services, "[route.\"/**\"]\nto = \"s00\"\n");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(amplification(&text)));
    let rows = receiver.recv_timeout(PATIENCE).expect("check ends soon");
    assert!(rows[39].starts_with("s39 274877906944 by "), "2 to the power of 38: {}", rows[39]);
}
