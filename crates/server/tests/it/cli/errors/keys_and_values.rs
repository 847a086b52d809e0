//! Keys and values that the reader does not know.

use super::*;

#[test]
fn unknown_keys_wherever_they_stand() {
    for (text, place, help) in [
        (after("[serivce.other]"), "1:2 serivce", "did you mean `service`?"),
        (
            after("[sagas.other]"),
            "1:2 sagas",
            "known here: server, tls, certificate, defaults, policy, limit, service, route, queue, token",
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
        (after("[server.access_log]\nformat = \"jsn\""), "2:10 \"jsn\"", "did you mean `json`?"),
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
        ("upgrade_idle_timeout = \"0s\"", "6:24 \"0s\"", "0s leaves no time at all"),
        ("upgrade = [\"websocket\", \"h2c\"]", "6:11 [\"websocket\", \"h2c\"]", "`h2c` is never let through"),
        ("upgrade = [\"web socket\"]", "6:11 [\"web socket\"]", "`web socket` is no protocol"),
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
