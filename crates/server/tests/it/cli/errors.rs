//! What `intertie check` refuses, routes aside: one error each, at its place, with what would mend it.

use super::{GOOD, Message, check, messages};

/// `text` is refused with one error that marks `places` and says all of `words`.
pub(super) fn refused(text: &str, places: &[&str], words: &[&str]) {
    let run = check(text, 2, words);
    assert_eq!(run.stdout, "", "{text}");
    let error = the_error(text, &run.stderr);
    assert_eq!(error.places, places, "of\n{}", error.text);
    for words in words {
        assert!(error.text.contains(words), "no `{words}` in\n{}", error.text);
    }
}

pub(super) fn the_error(text: &str, printed: &str) -> Message {
    let mut errors: Vec<_> =
        messages(text, printed).into_iter().filter(|message| message.severity == "error").collect();
    assert_eq!(errors.len(), 1, "one error is made, one is told:\n{printed}");
    errors.remove(0)
}

/// [`GOOD`] with `keys` as its route's own; the first of them stands in line 6.
fn route(keys: &str) -> String {
    format!("{GOOD}{keys}\n")
}

/// [`GOOD`] with `keys` as its service's own; the first of them stands in line 3.
fn service(keys: &str) -> String {
    GOOD.replacen("\n\n", &format!("\n{keys}\n\n"), 1)
}

/// [`GOOD`] after `section`.
fn after(section: &str) -> String {
    format!("{section}\n\n{GOOD}")
}

/// The service alone, then `routes`; the first of them stands in line 4.
pub(super) fn routes(routes: &str) -> String {
    let (service, _) = GOOD.split_once("[route").expect("a route");
    format!("{service}{routes}\n")
}

pub(super) fn golden(text: &str, expected: &str) {
    let run = check(text, 2, &[]);
    assert_eq!(format!("{}{}", run.stderr, run.stdout), expected);
}

#[test]
fn an_unknown_key_in_full() {
    golden(
        &route("retry = { atempts = 3 }"),
        "\
error: unknown key `atempts`
  --> intertie.toml:6:11
  |
6 | retry = { atempts = 3 }
  |           ^^^^^^^
  = help: did you mean `attempts`?

",
    );
}

#[test]
fn a_limit_that_can_never_fire_in_full() {
    let text = "\
[defaults]
deadline = \"5s\"

[policy.slow]
attempt_timeout = \"5s\"

[service.shop]
endpoints = [{ at = \"127.0.0.1:7001\" }]

[route.\"/**\"]
to = \"shop\"
use = \"slow\"
";
    golden(
        text,
        "\
error: an attempt_timeout of 5s can never fire: the deadline of route `/**` ends the call after 5s
  --> intertie.toml:5:1
  |
5 | attempt_timeout = \"5s\"
  | ^^^^^^^^^^^^^^^
  and intertie.toml:2:1
  |
2 | deadline = \"5s\"
  | ^^^^^^^^

",
    );
}

#[test]
fn a_missing_service_in_full() {
    golden(
        &GOOD.replace("to = \"shop\"", "to = \"shpo\""),
        "\
error: there is no service `shpo`
  --> intertie.toml:5:1
  |
5 | to = \"shpo\"
  | ^^
  = help: did you mean `shop`?

warning: nothing calls service `shop`
  --> intertie.toml:1:10
  |
1 | [service.shop]
  |          ^^^^

",
    );
}

#[test]
fn a_duration_without_a_unit_in_full() {
    golden(
        &route("# A tab, and letters of more than one byte: \u{e4}\u{20ac}.\n\tdeadline = \"30\""),
        "\
error: `30` is no duration; write a number and a unit, such as \"250ms\", \"30s\" or \"5min\"
  --> intertie.toml:7:13
  |
7 | \tdeadline = \"30\"
  | \t           ^^^^

",
    );
}

#[test]
fn a_broken_line_in_full() {
    golden(
        &GOOD.replace("[service.shop]", "[service.shop"),
        "\
error: unclosed table, expected `]`
  --> intertie.toml:1:14
  |
1 | [service.shop
  |              ^

",
    );
}

#[test]
fn unknown_keys_wherever_they_stand() {
    for (text, place, help) in [
        (after("[serivce.other]"), "1:2 serivce", "did you mean `service`?"),
        (
            after("[queues.other]"),
            "1:2 queues",
            "known here: server, defaults, policy, limit, service, route",
        ),
        (after("[server]\nlisen = [\"127.0.0.1:0\"]"), "2:1 lisen", "did you mean `listen`?"),
        (after("[defaults]\ndeadlin = \"1s\""), "2:1 deadlin", "did you mean `deadline`?"),
        (after("[policy.standard]\nretyr = \"quick\""), "2:1 retyr", "did you mean `retry`?"),
        (after("[limit.shared]\nlimit = \"1/s\"\nbrust = 3"), "3:1 brust", "did you mean `burst`?"),
        (service("ballance = \"round_robin\""), "3:1 ballance", "did you mean `balance`?"),
        (service("health_check = { pat = \"/\" }"), "3:18 pat", "did you mean `path`?"),
        (service("outlier = { ejecton = \"1s\" }"), "3:13 ejecton", "did you mean `ejection`?"),
        (GOOD.replace(" }]", ", wieght = 2 }]"), "2:39 wieght", "did you mean `weight`?"),
        (route("uze = \"standard\""), "6:1 uze", "did you mean `use`?"),
        (route("circuit_breaker = { opn = \"1s\" }"), "6:21 opn", "did you mean `open`?"),
        (route("rate_limiter = { limt = \"1/s\" }"), "6:18 limt", "did you mean `limit`?"),
        (route("bulkhead = { concurent = 3 }"), "6:14 concurent", "did you mean `concurrent`?"),
        (routes("[route.x]\nto = \"shop\"\nmatch = { pth = \"/x\" }"), "6:11 pth", "did you mean `path`?"),
        (
            routes("[route.x]\nto = \"shop\"\n[route.x.match]\npth = \"/x\""),
            "7:1 pth",
            "did you mean `path`?",
        ),
        (
            routes("route.x = { to = \"shop\", mtch = {} }").replace("[service.shop]\n", "service.shop."),
            "3:26 mtch",
            "did you mean `match`?",
        ),
    ] {
        refused(&text, &[place], &["unknown key `", help]);
        refused(&text.replace('\n', "\r\n"), &[place], &["unknown key `", help]);
    }
}

#[test]
fn unknown_values_name_the_nearest() {
    for (text, place, help) in [
        (route("circuit_breaker = \"standrd\""), "6:19 \"standrd\"", "did you mean `standard`?"),
        (
            route("circuit_breaker = { preset = \"sensitiv\" }"),
            "6:30 \"sensitiv\"",
            "did you mean `sensitive`?",
        ),
        (route("retry = \"quik\""), "6:9 \"quik\"", "did you mean `quick`?"),
        (route("retry = \"forever\""), "6:9 \"forever\"", "known here: standard, quick, patient, short"),
        (route("retry = { backoff = \"expo\" }"), "6:21 \"expo\"", "known here: fixed, linear, exponential"),
        (service("balance = \"round_robbin\""), "3:11 \"round_robbin\"", "did you mean `round_robin`?"),
        (after("[server]\naccess_log_format = \"jsn\""), "2:21 \"jsn\"", "did you mean `json`?"),
    ] {
        refused(&text, &[place], &["unknown value `", help]);
    }
    let text = route("rate_limiter = { limit = \"1/s\", by = \"adress\" }");
    refused(&text, &["6:38 \"adress\""], &["`adress` tells no callers apart", "\"client_address\""]);
}

#[test]
fn values_of_the_wrong_type_are_marked() {
    let duration = "expected a duration as text, such as \"30s\"";
    for (text, place, words) in [
        (after("[server]\ndrain = 30"), "2:9 30", duration),
        (service("connect_timeout = 1"), "3:19 1", "integer `1`"),
        (service("idle_timeout = true"), "3:16 true", duration),
        (route("retry = { base = 0.1 }"), "6:18 0.1", duration),
        (route("deadline = 30"), "6:12 30", "integer `30`"),
        (route("deadline = true"), "6:12 true", "boolean `true`"),
        (route("retry = { budget = 0.2 }"), "6:20 0.2", "expected a percentage as text, such as \"20%\""),
        (route("rate_limiter = { limit = 100 }"), "6:26 100", "expected a rate as text, such as \"100/s\""),
        (route("replay_body_max = 64"), "6:19 64", "expected a size as text, such as \"64KiB\""),
        (route("body_max = 64"), "6:12 64", "integer `64`"),
        (route("retry = { attempts = \"3\" }"), "6:22 \"3\"", "string \"3\""),
        (route("retry = { attempts = 2.5 }"), "6:22 2.5", "floating point `2.5`"),
        (route("retry = { attempts = 0 }"), "6:22 0", "integer `0`"),
        (route("retry = { attempts = -1 }"), "6:22 -1", "integer `-1`"),
        (route("retry = true"), "6:9 true", "boolean `true`"),
        (route("bulkhead = \"10\""), "6:12 \"10\"", "string \"10\""),
        (route("rate_limiter = \"100/s\""), "6:16 \"100/s\"", "string \"100/s\""),
        (route("use = 1"), "6:7 1", "expected a string"),
        (GOOD.replace("\"127.0.0.1:7001\"", "7001"), "2:21 7001", "expected host and port as text"),
        (
            GOOD.replace("[{ at = \"127.0.0.1:7001\" }]", "\"127.0.0.1:7001\""),
            "2:13 \"127.0.0.1:7001\"",
            "string \"127.0.0.1:7001\"",
        ),
        (
            format!(
                "service = \"shop\"\n{}",
                GOOD.replace("[service.shop]\n", "[server]\n").replace("endpoints", "# endpoints")
            ),
            "1:11 \"shop\"",
            "string \"shop\"",
        ),
    ] {
        refused(&text, &[place], &[words]);
    }
}

#[test]
fn quantities_that_can_not_be_meant() {
    let duration = "is no duration; write a number and a unit, such as \"250ms\", \"30s\" or \"5min\"";
    for (keys, place, words) in [
        ("deadline = \"-1s\"", "6:12 \"-1s\"", duration),
        ("deadline = \"soon\"", "6:12 \"soon\"", duration),
        (
            "deadline = \"0s\"",
            "6:12 \"0s\"",
            "0s leaves no time at all; leave the key out, or switch an inherited limit \"off\"",
        ),
        ("attempt_timeout = \"0ms\"", "6:19 \"0ms\"", "leaves no time at all"),
        ("deadline = \"366days\"", "6:12 \"366days\"", "`366days` is longer than a year"),
        ("retry = { base = \"100\" }", "6:18 \"100\"", duration),
        ("rate_limiter = { limit = \"0/s\" }", "6:26 \"0/s\"", "needs an amount and a period above zero"),
        ("rate_limiter = { limit = \"100\" }", "6:26 \"100\"", "write an amount per unit, such as \"100/s\""),
        ("rate_limiter = { limit = \"-1/s\" }", "6:26 \"-1/s\"", "`-1/s` is no rate"),
        ("rate_limiter = { limit = \"5/parsec\" }", "6:26 \"5/parsec\"", "`5/parsec` is no rate"),
        ("rate_limiter = { limit = \"2000000000/s\" }", "6:26 \"2000000000/s\"", "one per nanosecond"),
        ("retry = { budget = \"20\" }", "6:20 \"20\"", "`20` is no percentage; write it as \"20%\""),
        ("retry = { budget = \"101%\" }", "6:20 \"101%\"", "`101%` is outside 0% to 100%"),
        ("retry = { jitter = \"-1%\" }", "6:20 \"-1%\"", "`-1%` is outside 0% to 100%"),
        ("body_max = \"64kb\"", "6:12 \"64kb\"", "write a number and a unit, such as \"64KiB\""),
        (
            "circuit_breaker = { window = \"0 calls\" }",
            "6:30 \"0 calls\"",
            "a count above zero, such as \"100 calls\"",
        ),
    ] {
        refused(&route(keys), &[place], &[words]);
    }
    let never = service("connect_timeout = \"0s\"");
    refused(&never, &["3:19 \"0s\""], &["0s leaves no time at all"]);
    assert_eq!(check(&route("deadline = \"365days\""), 0, &[]).stderr, "", "a year is allowed");
}

#[test]
fn settings_that_can_not_work_together() {
    for (text, place, words) in [
        (route("retry = { attempts = 101 }"), "6:11 attempts", "101 is above 100"),
        (route("retry = { base = \"2s\", cap = \"1s\" }"), "6:24 cap", "1s is shorter than `base`, 2s"),
        (route("retry = { budget = \"0%\", budget_minimum = 0 }"), "6:11 budget", "forbids every repetition"),
        (route("circuit_breaker = { failure_rate = \"0%\" }"), "6:21 failure_rate", "use more than 0%"),
        (
            route("circuit_breaker = { window = \"10 calls\", minimum_calls = 11 }"),
            "6:42 minimum_calls",
            "11 can never be reached in a window of 10 calls",
        ),
        (route("circuit_breaker = { open = \"0s\" }"), "6:21 open", "0s would never reject"),
        (
            route("rate_limiter = { limit = \"1/s\", algorithm = \"sliding_window\", burst = 4 }"),
            "6:63 burst",
            "a sliding_window has no burst",
        ),
        (
            route("rate_limiter = { limit = \"1/s\", by = \"header:a b\" }"),
            "6:33 by",
            "`a b` is no header name",
        ),
        (
            route("rate_limiter = { limit = \"1/s\", queue = 4 }"),
            "6:33 queue",
            "4 may wait, but a route rejects at once",
        ),
        (
            route("rate_limiter = { limit = \"9/s\", by = \"client_address\", lease = 4 }"),
            "6:56 lease",
            "callers told apart by `client_address` do not meet",
        ),
        (
            route("bulkhead = { concurrent = 1, queue = 4 }"),
            "6:1 bulkhead",
            "a queue of 4 needs a wait above 0s",
        ),
        (
            route("bulkhead = { concurrent = 1, wait = \"4s\" }"),
            "6:1 bulkhead",
            "nobody can wait in a queue of 0",
        ),
        (
            service("health_check = { every = \"1s\", timeout = \"2s\" }"),
            "3:32 timeout",
            "2s is longer than `every`, 1s",
        ),
        (service("health_check = { path = \"ready\" }"), "3:18 path", "`ready` does not begin with `/`"),
        (service("outlier = { max_ejected = \"0%\" }"), "3:13 max_ejected", "0% never ejects an endpoint"),
    ] {
        refused(&text, &[place], &[words]);
    }
}

#[test]
fn names_that_are_not_declared() {
    let policy = "[policy.standard]\ndeadline = \"1s\"";
    let limit = "[limit.provider]\nlimit = \"1/s\"";
    for (text, place, words) in [
        (
            GOOD.replace("to = \"shop\"", "to = \"kitchen\""),
            "5:1 to",
            ["no service `kitchen`", "declare it as [service.kitchen]"],
        ),
        (
            format!("{}\nuse = \"standart\"\n", after(policy).trim_end()),
            "9:1 use",
            ["no policy `standart`", "did you mean `standard`?"],
        ),
        (service("use = \"other\""), "3:1 use", ["no policy `other`", "declare it as [policy.other]"]),
        (service("calls = [\"shopp\"]"), "3:1 calls", ["no service `shopp`", "did you mean `shop`?"]),
        (
            format!("{}\nlimits = [\"provder\"]\n", after(limit).trim_end()),
            "9:1 limits",
            ["no limit `provder`", "did you mean `provider`?"],
        ),
        (after("[defaults]\nlimits = [\"other\"]"), "2:1 limits", ["no limit `other`", "[limit.other]"]),
    ] {
        refused(&text, &[place], &words);
    }
}

#[test]
fn inner_limits_must_be_shorter_than_outer_ones() {
    for (text, places, words) in [
        (
            route("deadline = \"1s\"\nattempt_timeout = \"1500ms\""),
            &["7:1 attempt_timeout", "6:1 deadline"][..],
            "an attempt_timeout of 1s 500ms can never fire: the deadline of route `/**` ends the call after 1s",
        ),
        (
            format!("{}attempt_timeout = \"1s\"\n", service("deadline = \"1s\"")),
            &["7:1 attempt_timeout", "3:1 deadline"],
            "the deadline of route `/**` ends the call after 1s",
        ),
        (
            route("deadline = \"1s\"\nbulkhead = { concurrent = 1, queue = 1, wait = \"1s\" }"),
            &["7:1 bulkhead", "6:1 deadline"],
            "a bulkhead wait of 1s can never end: the deadline of route `/**` ends the call after 1s",
        ),
        (
            format!("{}attempt_timeout = \"500ms\"\n", service("connect_timeout = \"500ms\"")),
            &["3:1 connect_timeout", "7:1 attempt_timeout"],
            "a connect_timeout of 500ms can never fire: an attempt of route `/**` ends after 500ms",
        ),
        (
            service("connect_timeout = \"30s\""),
            &["3:1 connect_timeout"],
            "an attempt of route `/**` ends after 30s",
        ),
    ] {
        refused(&text, places, &[words]);
    }
}

#[test]
fn services_that_can_not_answer() {
    let two = "[{ at = \"127.0.0.1:7001\", weight = 9 }, { at = \"127.0.0.1:7002\" }]";
    let twice = "[{ at = \"127.0.0.1:7001\" }, { at = \"127.0.0.1:7001\", weight = 2 }]";
    let with = |endpoints: &str| GOOD.replace("[{ at = \"127.0.0.1:7001\" }]", endpoints);
    for (text, place, words) in [
        (with("[]"), "2:1 endpoints", "a service needs at least one endpoint"),
        (
            service("balance = \"least_requests\"").replace("endpoints", "# "),
            "1:1 [service.shop]",
            "the key `endpoints` is missing",
        ),
        (
            with(two),
            "1:10 shop",
            "the weights of the endpoints range from 1 to 9; choose `weighted_round_robin`",
        ),
        (
            with(&format!("{two}\nbalance = \"round_robin\"")),
            "3:1 balance",
            "`round_robin` gives every endpoint the same share",
        ),
        (
            with(&format!("{twice}\nbalance = \"least_requests\"")),
            "2:1 endpoints",
            "`127.0.0.1:7001` stands here twice; give it a weight instead",
        ),
        (GOOD.replace("7001", "0"), "2:21 \"127.0.0.1:0\"", "a port from 1 to 65535"),
        (GOOD.replace("\"127", "\"http://127"), "2:21 \"http://127.0.0.1:7001\"", "leave out the scheme"),
        (service("calls = [\"shop\"]"), "3:1 calls", "calls go in a circle: shop → shop"),
    ] {
        refused(&text, &[place], &[words]);
    }
    let mut circle = String::new();
    for (name, callee) in [("payments", "shop"), ("shop", "inventory"), ("inventory", "payments")] {
        circle.push_str(&format!(
            "[service.{name}]\nendpoints = [{{ at = \"127.0.0.1:7001\" }}]\ncalls = [\"{callee}\"]\n\n"
        ));
    }
    let circle = format!("{circle}[route.\"/**\"]\nto = \"shop\"\n");
    refused(&circle, &["11:1 calls"], &["calls go in a circle: inventory → payments → shop → inventory"]);
}

#[test]
fn text_that_is_no_toml() {
    for (text, place, words) in [
        (route("deadline ="), "6:11 ", "string values must be quoted"),
        (route("deadline = \"1s"), "6:15 ", "invalid basic string, expected `\"`"),
        (route("to = \"shop\""), "6:1 to", "duplicate key"),
        (format!("{GOOD}\n[service.shop]\n"), "7:10 shop", "duplicate key"),
        (route("deadline: \"1s\""), "6:11 ", "expected `=`"),
    ] {
        let error = the_error(&text, &check(&text, 2, &[words]).stderr);
        assert!(error.places.len() == 1 && error.places[0].starts_with(place), "{}", error.text);
    }
}

#[test]
fn listeners_that_can_not_be_opened_together() {
    for (keys, place, words) in [
        (
            "listen = [\"127.0.0.1:8080\", \"127.0.0.1:8080\"]",
            "2:1 listen",
            "`127.0.0.1:8080` is used twice; routes and admin never share a listener",
        ),
        ("listen = [\"127.0.0.1:9901\"]", "2:1 listen", "`127.0.0.1:9901` is used twice"),
        ("listen = []", "2:1 listen", "the server needs an address to take requests on"),
        (
            "admin = \"0.0.0.0:9901\"",
            "2:1 admin",
            "the admin listener must stay on loopback: `0.0.0.0:9901` can be reached from outside",
        ),
        ("admin = \"[::]:9901\"", "2:1 admin", "the admin listener must stay on loopback"),
        ("threads = 1025", "2:1 threads", "more than 1024 threads"),
        ("listen = [\"localhost:8080\"]", "2:11 \"localhost:8080\"", "socket address"),
    ] {
        refused(&after(&format!("[server]\n{keys}")), &[place], &[words]);
    }
    check(&after("[server]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\""), 0, &[]);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let text = "\
[service.shop]
endpoints = []
use = \"standard\"

[route.\"/**\"]
to = \"shpo\"
deadline = \"1s\"
attempt_timeout = \"2s\"
limits = [\"provider\"]
";
    let run = check(text, 2, &[]);
    let errors: Vec<_> =
        messages(text, &run.stderr).into_iter().filter(|message| message.severity == "error").collect();
    let places: Vec<_> = errors.iter().map(|error| error.places[0].as_str()).collect();
    assert_eq!(places, ["8:1 attempt_timeout", "9:1 limits", "6:1 to", "2:1 endpoints", "3:1 use"]);
}
