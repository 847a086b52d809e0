//! Settings and names that do not go together.

use super::*;

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
            route("bulkhead = { concurrent = 9, adaptive = { algorithm = \"gradient\", max = 3 } }"),
            "6:14 concurrent",
            "9 is outside of the adaptive limit's 1 to 3",
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
fn client_limits_that_can_not_hold() {
    let limits = |keys: &str| after(&format!("[server.client_limits]\n{keys}"));
    for (keys, place, words) in [
        (
            "header_bytes_max = \"512B\"",
            "2:1 header_bytes_max",
            "header_bytes_max is 512B; it must be from 1KiB to 256KiB",
        ),
        ("header_bytes_max = \"1MiB\"", "2:1 header_bytes_max", "it must be from 1KiB to 256KiB"),
        (
            "connections_per_address_max = 9\nconnections_max = 8",
            "2:1 connections_per_address_max",
            "9 connections from one address can never be reached: connections_max is 8",
        ),
        ("headers_max = 1001", "2:1 headers_max", "headers_max is 1001; it must be from 1 to 1000"),
        ("headers_max = 0", "2:15 0", "expected a whole number above 0"),
        (
            "uri_bytes_max = \"32KiB\"",
            "2:1 uri_bytes_max",
            "uri_bytes_max is 32KiB; it must be less than header_bytes_max, 32KiB",
        ),
        ("uri_bytes_max = \"0B\"", "2:1 uri_bytes_max", "uri_bytes_max is 0B"),
        (
            "uri_bytes_max = \"64KiB\"\nheader_bytes_max = \"128KiB\"",
            "2:1 uri_bytes_max",
            "it must be less than 64KiB",
        ),
        ("header_timeout = \"0s\"", "2:1 header_timeout", "header_timeout is 0s; no request could be read"),
        ("idle_timeout = \"0s\"", "2:1 idle_timeout", "idle_timeout is 0s; no request could be read"),
        ("body_timeout = \"0s\"", "2:1 body_timeout", "body_timeout is 0s; no body could be read"),
        ("body_rate_min = \"0B\"", "2:1 body_rate_min", "body_rate_min is 0B; it must be from 1B to 1MiB"),
        (
            "body_rate_min = \"2MiB\"",
            "2:1 body_rate_min",
            "body_rate_min is 2MiB; it must be from 1B to 1MiB",
        ),
        ("send_timeout = \"0s\"", "2:1 send_timeout", "send_timeout is 0s; no answer could be written"),
        (
            "upgrade_buffer = \"1023B\"",
            "2:1 upgrade_buffer",
            "upgrade_buffer is 1023B; it must be from 1KiB to 64KiB",
        ),
        (
            "upgrade_buffer = \"65KiB\"",
            "2:1 upgrade_buffer",
            "upgrade_buffer is 65KiB; it must be from 1KiB to 64KiB",
        ),
        (
            "http2 = { flood_window = \"0s\" }",
            "2:11 flood_window",
            "flood_window is 0s; no frame could be counted",
        ),
        (
            "[server.client_limits.http2]\nempty_data_max = 101",
            "3:1 empty_data_max",
            "empty_data_max is 101; it must be from 1 to 100",
        ),
        (
            "http2.continuations_max = 6",
            "2:7 continuations_max",
            "continuations_max is 6; header_bytes_max, 32KiB, has room for 5",
        ),
        ("http2.send_buffer_max = \"15KiB\"", "2:7 send_buffer_max", "it must be from 16KiB to 16MiB"),
        ("http2.send_buffer_max = \"17MiB\"", "2:7 send_buffer_max", "send_buffer_max is 17MiB"),
        ("http2.stream_window = \"63KiB\"", "2:7 stream_window", "63KiB; it must be from 64KiB to 64MiB"),
        (
            "http2.connection_window = \"128KiB\"",
            "2:7 connection_window",
            "connection_window is 128KiB; it must be from stream_window, 256KiB, to 1GiB",
        ),
        ("http2.pings_max = 0", "2:19 0", "expected a whole number above 0"),
        ("http2.ping_max = 1", "2:7 ping_max", "pings_max"),
        (
            "header_timeout = \"31s\"",
            "2:1 header_timeout",
            "header_timeout is 31s; idle_timeout, 30s, ends the connection before",
        ),
    ] {
        refused(&limits(keys), &[place], &[words]);
    }
}

#[test]
fn answers_that_can_not_be_given() {
    let long = format!("name = \"{}\"", "n".repeat(65));
    for (keys, place, words) in [
        (
            "name = \"two words\"",
            "2:1 name",
            "`two words` is no name: a letter, then letters, digits and `-_.`",
        ),
        ("name = \"\"", "2:1 name", "`` is no name"),
        ("name = \"1st\"", "2:1 name", "`1st` is no name"),
        (&long, "2:1 name", "the name has 65 characters; it may have 64"),
        ("via = \"always\"", "2:7 \"always\"", "unknown value `always`"),
        ("hops_max = 0", "2:12 0", "expected a whole number above 0"),
        ("hops_max = 1001", "2:1 hops_max", "hops_max is 1001; it must be from 1 to 1000"),
        (
            "error_pages = \"/errors/\"",
            "2:1 error_pages",
            "`/errors/` is no URL such as \"https://docs.example/errors/\"",
        ),
        ("error_pages = \"ftp://a/\"", "2:1 error_pages", "`ftp://a/` is no URL"),
    ] {
        refused(&after(&format!("[server.answers]\n{keys}")), &[place], &[words]);
    }
}

#[test]
fn access_logs_that_can_not_be_written() {
    let names = |count: usize| (0..count).map(|name| format!("\"a{name}\"")).collect::<Vec<_>>().join(", ");
    let (redact, headers) = (format!("redact = [{}]", names(65)), format!("headers = [{}]", names(17)));
    for (keys, place, words) in [
        ("to = \"\"", "2:1 to", "the access log has an empty path"),
        ("sample = 10", "2:10 10", "a percentage as text"),
        ("slow = \"0s\"", "2:1 slow", "slow is 0s; every request would be slow"),
        (redact.as_str(), "2:1 redact", "redact has 65 names; it may have 64"),
        (&headers, "2:1 headers", "headers has 17 names; it may have 16"),
        ("queue = 1000001", "2:1 queue", "queue is 1000001; it must be from 1 to 1000000"),
        ("headers = [\"a b\"]", "2:1 headers", "`a b` is no header name"),
        ("headers = [\"Cookie\"]", "2:1 headers", "`Cookie` holds secrets and is never told"),
        ("headers = [\"authorization\"]", "2:1 headers", "`authorization` holds secrets and is never told"),
    ] {
        refused(&after(&format!("[server.access_log]\n{keys}")), &[place], &[words]);
    }
    refused(
        &after("[server]\naccess_log = 7"),
        &["2:14 7"],
        &["expected \"stdout\", \"off\", a path, or a table"],
    );
}

#[test]
fn audit_logs_that_can_not_be_written() {
    for (keys, place, words) in [
        ("to = \"\"", "2:1 to", "the audit log can not be written to ``"),
        ("to = \"off\"", "2:1 to", "the audit log can not be written to `off`"),
        ("queue = 9", "1:1 [server.audit_log]", "the key `to` is missing"),
        ("to = \"a\"\nqueue = 1000001", "3:1 queue", "queue is 1000001; it must be from 1 to 1000000"),
        ("to = \"a\"\nrejections_every = 1", "3:20 1", "a duration as text"),
    ] {
        refused(&after(&format!("[server.audit_log]\n{keys}")), &[place], &[words]);
    }
}

#[test]
fn proxies_that_can_not_be_trusted() {
    for (keys, place, words) in [
        (
            "trusted_proxies = [\"::1\", \"10.0.0.1/8\"]",
            "2:19 [\"::1\", \"10.0.0.1/8\"]",
            "`10.0.0.1/8` has bits behind its prefix; did you mean `10.0.0.0/8`?",
        ),
        ("trusted_proxies = [\"10.0.0.0/33\"]", "2:19 [\"10.0.0.0/33\"]", "no number from 0 to 32"),
        ("trusted_proxies = [\"proxy\"]", "2:19 [\"proxy\"]", "`proxy` is no address such as \"10.0.0.1\""),
        ("trusted_proxies = \"::1\"", "2:19 \"::1\"", "expected a list"),
        ("forwarded_header = \"via\"", "2:20 \"via\"", "unknown value `via`"),
        (
            "proxy_protocol = \"required\"",
            "2:1 proxy_protocol",
            "nobody is trusted to say whom a connection is from: trusted_proxies is empty",
        ),
    ] {
        refused(&after(&format!("[server]\n{keys}")), &[place], &[words]);
    }
}

#[test]
fn readiness_that_needs_what_is_not_there() {
    let text = after("[server.ready]\nservices = [\"shop\", \"shpo\"]");
    refused(&text, &["2:1 services"], &["there is no service `shpo`"]);
    refused(&after("[server]\nmetric_series_max = 0"), &["2:21 0"], &["expected a whole number above 0"]);
}

#[test]
fn traces_that_can_not_be_exported() {
    let traces = |keys: &str| after(&format!("[server.traces]\n{keys}"));
    for (keys, place, words) in [
        ("endpoint = \"ftp://c.example/\"", "2:1 endpoint", "`ftp://c.example/` is no URL of a collector"),
        (
            "endpoint = \"http://c.example\"\ntls = { roots = \"c.crt\" }",
            "3:1 tls",
            "`http://c.example` is spoken to without TLS",
        ),
        (
            "endpoint = \"https://c.example\"\ntls = { certificate = \"c.crt\" }",
            "3:9 certificate",
            "the key of the certificate is missing",
        ),
        (
            "endpoint = \"https://c.example\"\ntls = { roots = \"missing.crt\" }",
            "3:9 roots",
            "there is no file `",
        ),
        (
            "endpoint = \"https://c.example\"\ntls = { server_name = \"a b\" }",
            "3:9 server_name",
            "`a b` is neither a DNS name nor an address",
        ),
        ("endpoint = \"127.0.0.1:4318\"", "2:1 endpoint", "`127.0.0.1:4318` is no URL of a collector"),
        ("endpoint = \"http://a@b/\"", "2:1 endpoint", "is no URL of a collector"),
        ("sample = \"101%\"", "2:10 \"101%\"", "`101%` is outside 0% to 100%"),
        (
            "headers = { authorization = \"Bearer 7\" }",
            "2:1 headers",
            "the value of `authorization` stands in the file; it must be a reference",
        ),
        ("headers = { \"a b\" = \"env:A\" }", "2:1 headers", "`a b` is no header name"),
        ("headers = { Host = \"env:A\" }", "2:1 headers", "`Host` is written by the exporter itself"),
        ("service_name = \" \"", "2:1 service_name", "an empty service_name tells nobody apart"),
        ("queue = 1000001", "2:1 queue", "queue is 1000001; it must be from 1 to 1000000"),
        ("batch = 10001", "2:1 batch", "batch is 10001; it must be from 1 to 10000"),
        ("batch = 0", "2:9 0", "expected a whole number above 0"),
        ("timeout = \"0s\"", "2:1 timeout", "timeout is 0s; no collector could answer"),
        (
            "timeout = \"9s\"\ndeadline = \"8s\"",
            "3:1 deadline",
            "deadline is 8s; it must be at least timeout, 9s",
        ),
    ] {
        refused(&traces(keys), &[place], &[words]);
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
fn listeners_that_can_not_be_opened_together() {
    for (keys, place, words) in [
        (
            "listen = [\"127.0.0.1:8080\", \"127.0.0.1:8080\"]",
            "2:1 listen",
            "`127.0.0.1:8080` is used twice; no two listeners share an address, and admin and api share with none",
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
