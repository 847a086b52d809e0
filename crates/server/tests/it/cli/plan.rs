//! What `intertie plan` says of two files and a log, and how it refuses what it can not replay.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{FILE, GOOD, Run, folder, intertie, root};

const CHANGED: &str = "changed.toml";
const LOG: &str = "access.log";

/// A line of our log: `seconds` after ten o'clock its request began, which took `millis`.
fn line(seconds: f64, millis: f64, more: &Value) -> String {
    let ended = seconds + millis / 1e3;
    let at = format!("2026-03-01T10:{:02}:{:06.3}Z", ended as u64 / 60, ended % 60.0);
    let mut line = json!({
        "at": at, "client": "192.0.2.7", "method": "GET", "host": "shop.example", "path": "/orders/7",
        "status": 200, "duration_ms": millis, "endpoint": "127.0.0.1:7001", "attempts": 1,
        "error": null, "cut": null,
    });
    for (key, value) in more.as_object().expect("an object") {
        line[key] = value.clone();
    }
    format!("{line}\n")
}

/// As many requests, a tenth of a second apart.
fn lines(count: u32, millis: f64, more: &Value) -> String {
    (0..count).map(|number| line(f64::from(number) / 10.0, millis, more)).collect()
}

fn with_log(old: &str, new: &str, log: impl AsRef<[u8]>) -> TempDir {
    let folder = folder(old);
    std::fs::write(folder.path().join(CHANGED), new).expect("written");
    std::fs::write(folder.path().join(LOG), log).expect("written");
    folder
}

fn plan(old: &str, new: &str, log: impl AsRef<[u8]>, options: &[&str]) -> Run {
    let arguments = ["plan", FILE, CHANGED, "--log", LOG];
    let arguments: Vec<_> = arguments.into_iter().chain(options.iter().copied()).collect();
    intertie(with_log(old, new, log).path(), &arguments)
}

/// The report on `GOOD` and on `GOOD` with more keys of its route.
fn with_keys(keys: &str, log: &str, options: &[&str]) -> Value {
    as_json(GOOD, &format!("{GOOD}{keys}\n"), log, options)
}

fn as_json(old: &str, new: &str, log: &str, options: &[&str]) -> Value {
    let options: Vec<_> = ["--json"].into_iter().chain(options.iter().copied()).collect();
    let run = plan(old, new, log, &options);
    assert!(run.code < 2, "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(report["changed"], run.code == 1, "the exit code says whether anything changed");
    report
}

/// What became of the requests under the new file.
fn outcomes(report: &Value) -> &Value {
    &report["total"]["new"]["outcomes"]
}

fn refused(old: &str, log: impl AsRef<[u8]>, words: &str) {
    let run = plan(old, GOOD, log, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
    assert!(run.stderr.contains(words), "no `{words}` in {}", run.stderr);
}

#[test]
fn the_page_shows_what_the_shop_s_change_does() {
    let shop = root().join("examples/shop");
    let run = intertie(&shop, &["plan", FILE, CHANGED, "--log", LOG]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""));
    let page = std::fs::read_to_string(root().join("docs/patterns/plan.md")).expect("the page");
    assert!(page.contains(&format!("```text\n{}```", run.stdout)), "now it is\n{}", run.stdout);
    let same = intertie(&shop, &["plan", FILE, FILE, "--log", LOG]);
    assert_eq!((same.code, same.stderr.as_str()), (0, ""));
    assert!(same.stdout.starts_with("47 requests in 9s: nothing changes\n"), "{}", same.stdout);
    let check = intertie(&shop, &["check", CHANGED]);
    assert_eq!(check.code, 0, "what the page proposes is sound: {}", check.stderr);
}

#[test]
fn files_that_say_the_same_change_nothing_whatever_chance_decides() {
    let keys = "retry = { preset = \"quick\", budget = \"100%\" }\ncircuit_breaker = { preset = \"sensitive\", open = \"1s\" }\nattempt_timeout = \"1s\"\n\
        rate_limiter = { limit = \"50/s\", by = \"client_address\" }\nbulkhead = { concurrent = 3, queue = 3, wait = \"20ms\" }\n";
    let mut log = String::new();
    for number in 0..2_000_u32 {
        let status = if number % 7 < 3 { 503 } else { 200 };
        let client = format!("192.0.2.{}", number % 5);
        log += &line(f64::from(number) / 50.0, 30.0, &json!({ "status": status, "client": client }));
    }
    let file = format!("{GOOD}{keys}");
    let reordered = file.lines().rev().take(4).fold(GOOD.to_owned(), |file, line| format!("{file}{line}\n"))
        + "retry = { preset = \"quick\", budget = \"100%\" }\n";
    let report = as_json(&file, &reordered, &log, &[]);
    assert_eq!(report["changed"], false, "{report}");
    let outcomes = outcomes(&report);
    assert!(outcomes["circuit_breaker"].as_u64() > Some(100), "the breaker took part: {outcomes}");
    assert!(report["total"]["new"]["attempts"].as_u64() > Some(200), "{report}");
}

#[test]
fn routes_that_move_are_told_with_an_example() {
    let service = "[service.next]\nendpoints = [{ at = \"127.0.0.1:7002\" }]\n";
    let more = format!(
        "{service}[route.\"POST /orders/{{id}}\"]\nto = \"next\"\n[route.\"/only\"]\nto = \"next\"\n"
    );
    let new = format!("{GOOD}{more}").replace("/**", "/orders/**");
    let log = line(0.0, 1.0, &json!({ "method": "POST" }))
        + &line(1.0, 1.0, &json!({ "path": "/else" }))
        + &line(2.0, 1.0, &json!({ "method": "POST", "path": "/orders/8" }))
        + &line(3.0, 1.0, &json!({ "path": "/a/../b" }))
        + &line(4.0, 1.0, &json!({ "path": "/only", "method": "HEAD" }))
        + &line(5.0, 1.0, &json!({}));
    let report = as_json(GOOD, &new, &log, &[]);
    let moves = report["moves"].as_array().expect("moves");
    let told: Vec<_> = moves
        .iter()
        .map(|moved| ["requests", "old", "new", "example"].map(|key| moved[key].to_string()).join(" "))
        .collect();
    assert_eq!(
        told,
        [
            r#"2 "`/**` to shop" "`POST /orders/{id}` to next" "POST /orders/7""#,
            r#"1 "`/**` to shop" "`/only` to next" "HEAD /only""#,
            r#"1 "`/**` to shop" "`/orders/**` to shop" "GET /orders/7""#,
            r#"1 "`/**` to shop" "answered 404: no route" "GET /else""#,
        ]
    );
    assert_eq!(outcomes(&report)["bad_request"], 1, "under both files");
    let elsewhere = as_json(GOOD, &GOOD.replace("shop", "store"), &log, &[]);
    assert_eq!(elsewhere["changed"], true, "although each outcome is the same");
    assert_eq!(elsewhere["moves"][0]["new"], "`/**` to store", "the same name, another service");
}

#[test]
fn each_policy_decides() {
    let fast = lines(50, 30.0, &json!({}));
    let slow = lines(50, 250.0, &json!({}));
    for (keys, log, outcome, count) in [
        ("rate_limiter = { limit = \"1/s\", burst = 10 }", &fast, "rate_limiter", 36),
        ("rate_limiter = { limit = \"1/s\", burst = 10, count = \"attempts\" }", &fast, "rate_limiter", 36),
        ("bulkhead = { concurrent = 1, queue = 0 }", &slow, "bulkhead", 33),
        ("bulkhead = { concurrent = 1, queue = 9, wait = \"40ms\" }", &slow, "bulkhead", 33),
        ("attempt_timeout = \"249ms\"", &slow, "attempt_timeout", 50),
        ("deadline = \"249ms\"", &slow, "deadline", 50),
    ] {
        let report = with_keys(keys, log, &[]);
        assert_eq!(outcomes(&report)[outcome], count, "{keys}: {}", outcomes(&report));
        assert_eq!(outcomes(&report)["answered"].as_u64().unwrap_or_default(), 50 - count, "{keys}");
    }
    for keys in ["attempt_timeout = \"250ms\"", "deadline = \"250ms\""] {
        assert_eq!(with_keys(keys, &slow, &[])["changed"], false, "{keys} is just enough");
    }
    let down = lines(50, 5.0, &json!({ "status": 503 }));
    let report =
        with_keys("circuit_breaker = { failures = 10, window = \"10s\", open = \"2s\" }", &down, &[]);
    let broken = outcomes(&report);
    assert_eq!(
        broken["failed"].as_u64().expect("failed") + broken["circuit_breaker"].as_u64().expect("open"),
        50
    );
    assert!((10..15).contains(&broken["failed"].as_u64().expect("failed")), "{broken}");
}

#[test]
fn state_is_shared_as_it_is_in_the_data_plane() {
    let two = format!(
        "{GOOD}limits = [\"both\"]\n[route.\"/other\"]\nto = \"shop\"\nlimits = [\"both\"]\n[limit.both]\nlimit = \"1/m\"\nburst = 6\n"
    );
    let log = lines(5, 1.0, &json!({})) + &lines(5, 1.0, &json!({ "path": "/other" }));
    assert_eq!(outcomes(&as_json(GOOD, &two, &log, &[]))["rate_limiter"], 4, "routes share the limit");
    let bulkhead = "bulkhead = { concurrent = 1, queue = 0 }\n";
    let two = format!("{GOOD}[route.\"/other\"]\nto = \"shop\"\n[defaults]\n{bulkhead}");
    let log = line(0.0, 100.0, &json!({})) + &line(0.05, 100.0, &json!({ "path": "/other" }));
    assert_eq!(
        outcomes(&as_json(GOOD, &two, &log, &[]))["bulkhead"],
        1,
        "routes share their service's places"
    );
    let clients = lines(3, 1.0, &json!({})) + &lines(3, 1.0, &json!({ "client": "192.0.2.8" }));
    let by = "rate_limiter = { limit = \"1/m\", burst = 2, by = \"client_address\" }";
    assert_eq!(outcomes(&with_keys(by, &clients, &[]))["rate_limiter"], 2, "each client has its own quota");
}

#[test]
fn retries_repeat_what_the_log_tells() {
    let retry =
        "retry = { attempts = 3, base = \"10ms\", cap = \"10ms\", budget = \"100%\", budget_minimum = 100 }";
    let attempts = |more: &Value| {
        let report = with_keys(retry, &lines(10, 30.0, more), &[]);
        let total = &report["total"]["new"];
        (total["attempts"].as_u64().expect("attempts"), total["outcomes"].clone())
    };
    assert_eq!(attempts(&json!({ "status": 503 })), (30, json!({ "failed": 10 })));
    assert_eq!(attempts(&json!({ "status": 404 })), (10, json!({ "answered": 10 })));
    assert_eq!(attempts(&json!({ "attempts": 2 })), (20, json!({ "answered": 10 })), "the second went well");
    assert_eq!(attempts(&json!({ "attempts": 5 })), (30, json!({ "failed": 10 })), "too few for the fifth");
    let post = json!({ "status": 503, "method": "POST" });
    assert_eq!(attempts(&post), (10, json!({ "failed": 10 })), "it may not be repeated");
    let unsent = json!({ "status": 502, "method": "POST", "error": "SERVICE_UNREACHABLE" });
    assert_eq!(attempts(&unsent).0, 30, "the service saw nothing");
    let poor = retry.replace("100%", "0%").replace("budget_minimum = 100", "budget_minimum = 4");
    let report = with_keys(&poor, &lines(10, 30.0, &json!({ "status": 503 })), &[]);
    assert_eq!(report["total"]["new"]["attempts"], 14, "the budget pays for four");
}

#[test]
fn what_the_gateway_answered_itself_is_assumed_to_go_well() {
    let limited = json!({ "status": 429, "error": "RATE_LIMITED", "attempts": 0, "endpoint": null });
    let log = line(0.0, 80.0, &json!({})) + &line(1.0, 0.1, &limited);
    let report = as_json(GOOD, GOOD, &log, &[]);
    assert_eq!(outcomes(&report), &json!({ "answered": 2 }));
    assert!(report["assumed"][1].as_str().expect("text").starts_with("1 were answered by the gateway"));
    let report = with_keys("attempt_timeout = \"79ms\"", &log, &[]);
    assert_eq!(outcomes(&report), &json!({ "attempt_timeout": 2 }), "as slow as the last that went well");
    let hung = line(0.0, 100.0, &json!({ "status": 504, "error": "ATTEMPT_TIMEOUT" }));
    let report = with_keys("attempt_timeout = \"5s\"", &hung, &[]);
    assert_eq!(outcomes(&report), &json!({ "attempt_timeout": 1 }), "it hung, for how long nobody knows");
    let left = line(0.0, 100.0, &json!({ "status": 0, "cut": "client_left" }));
    assert_eq!(outcomes(&as_json(GOOD, GOOD, &left, &[])), &json!({ "client_left": 1 }));
    let report = with_keys("attempt_timeout = \"50ms\"", &left, &[]);
    assert_eq!(
        outcomes(&report),
        &json!({ "attempt_timeout": 1 }),
        "the limit comes before the client leaves"
    );
}

#[test]
fn what_took_longer_than_an_attempt_of_the_old_file_may_was_a_body() {
    let old = format!("{GOOD}attempt_timeout = \"100ms\"\n");
    let log = lines(1, 800.0, &json!({}));
    let under = |new: &str| outcomes(&as_json(&old, new, &log, &[])).clone();
    assert_eq!(under(&old), json!({ "answered": 1 }));
    assert_eq!(under(&old.replace("100ms", "99ms")), json!({ "attempt_timeout": 1 }));
    assert_eq!(under(&format!("{old}deadline = \"799ms\"\n")), json!({ "deadline": 1 }), "body included");
    assert_eq!(under(&format!("{old}deadline = \"800ms\"\n")), json!({ "answered": 1 }));
    let report = as_json(&old, &old, &log, &[]);
    assert!(
        report["assumed"][1].as_str().expect("text").contains("1 took longer than the old attempt_timeout")
    );
    let cut_off = lines(1, 800.0, &json!({ "cut": "deadline" }));
    assert_eq!(outcomes(&as_json(&old, &old, &cut_off, &[])), &json!({ "deadline": 1 }));
    let endless = format!("{old}deadline = \"off\"\n");
    assert_eq!(outcomes(&as_json(&old, &endless, &cut_off, &[])), &json!({ "answered": 1 }));
}

#[test]
fn clients_without_an_address_are_not_taken_for_one() {
    let log = lines(3, 1.0, &json!({ "client": "crawler.example" }));
    let report =
        with_keys("rate_limiter = { limit = \"1/m\", burst = 1, by = \"client_address\" }", &log, &[]);
    assert_eq!(outcomes(&report), &json!({ "answered": 3 }));
    assert!(report["assumed"][1].as_str().expect("text").starts_with("3 tell no address"), "{report}");
}

#[test]
fn a_common_log_is_replayed_with_a_duration_and_a_host_from_outside() {
    let line = |second: u32, path: &str| {
        format!(
            "192.0.2.7 - - [01/Mar/2026:10:00:{second:02} +0100] \"GET {path} HTTP/1.1\" 200 5 \"-\" \"curl\"\n"
        )
    };
    let log: String = [0, 0, 0, 0, 1].map(|second| line(second, "/orders?b=1")).concat();
    let old = GOOD.replace("/**\"]", "one\"]\nmatch = { host = \"shop.example\", query = { b = \"1\" } }");
    let hostless = as_json(&old, &old, &log, &[]);
    assert_eq!(outcomes(&hostless), &json!({ "route_not_found": 5 }));
    let hosted = ["--host", "shop.example:8080", "--duration", "400ms"];
    let keys = "bulkhead = { concurrent = 2, queue = 0 }\n";
    let report = as_json(&old, &format!("{old}{keys}"), &log, &hosted);
    assert_eq!(report["total"]["old"]["outcomes"], json!({ "answered": 5 }));
    assert_eq!(outcomes(&report), &json!({ "answered": 5 }), "four in a second are spread over it");
    let report =
        as_json(&old, &format!("{old}{keys}"), &log, &["--host", "shop.example", "--duration", "600ms"]);
    assert_eq!(outcomes(&report), &json!({ "answered": 4, "bulkhead": 1 }));
}

#[test]
fn what_the_log_can_not_show_is_said() {
    let conditions =
        GOOD.replace("/**\"]", "v2\"]\nmatch = { path = \"/**\", headers = { x-version = \"2\" } }");
    let both = format!("{conditions}[route.\"/**\"]\nto = \"shop\"\n");
    let keys =
        "rate_limiter = { limit = \"1/s\", burst = 1, by = \"header:X-Api-Key\" }\nbody_max = \"1KiB\"\n";
    let report = as_json(GOOD, &format!("{both}{keys}"), &lines(3, 1.0, &json!({})), &[]);
    let left_out: Vec<_> =
        report["left_out"].as_array().expect("a list").iter().map(|it| it.as_str().expect("text")).collect();
    for words in ["body_max", "limiters by the header x-api-key", "3 requests might take another route"] {
        assert!(left_out.iter().any(|left_out| left_out.contains(words)), "no `{words}` in {left_out:?}");
    }
    assert_eq!(report["changed"], false);
}

#[test]
fn a_route_that_hangs_on_a_query_is_uncertain_in_our_own_log_only() {
    let new = format!(
        "{}[route.\"/**\"]\nto = \"shop\"\n",
        GOOD.replace("/**\"]", "b\"]\nmatch = { path = \"/**\", query = { b = \"1\" } }")
    );
    let left_out = |log: &str| as_json(&new, &new, log, &[])["left_out"].to_string();
    assert!(left_out(&lines(3, 1.0, &json!({}))).contains("3 requests might take another route"));
    let common = "::1 - - [01/Mar/2026:10:00:00 +0100] \"GET /orders?c=1 HTTP/1.1\" 200 5\n";
    assert_eq!(left_out(common), "[]", "its query is known");
}

#[test]
fn an_attempt_goes_to_the_endpoint_that_its_line_names() {
    let mut log = String::new();
    for number in 0..30_u32 {
        let more = match number / 3 % 2 {
            0 => json!({ "status": 503, "endpoint": "127.0.0.1:7001" }),
            _ => json!({ "endpoint": "127.0.0.1:7002" }),
        };
        log += &line(f64::from(number), 1.0, &more);
    }
    let two = GOOD.replace("7001\" }", "7001\" }, { at = \"127.0.0.1:7002\" }");
    let new = format!("{two}circuit_breaker = {{ consecutive_failures = 3, open = \"10min\" }}\n");
    // Three failures open the first, three more the second; taken in turns, neither would see three in a row.
    let expected = json!({ "failed": 6, "answered": 3, "circuit_breaker": 21 });
    assert_eq!(outcomes(&as_json(&two, &new, &log, &[])), &expected);
    let elsewhere = log.replace("127.0.0.1:700", "10.0.0.1:700");
    assert!(outcomes(&as_json(&two, &new, &elsewhere, &[]))["circuit_breaker"].is_null());
}

#[test]
fn a_bulkhead_learns_from_what_the_service_does() {
    let log: String = (0..400).map(|n| line(f64::from(n) / 20.0, 190.0, &json!({ "status": 503 }))).collect();
    let fixed = format!("{GOOD}bulkhead = {{ concurrent = 8, queue = 0 }}\n");
    let learning = fixed.replace(
        "queue = 0",
        "queue = 0, adaptive = { algorithm = \"aimd\", min = 1, max = 8, latency_max = \"1s\" }",
    );
    let report = as_json(&fixed, &learning, &log, &[]);
    assert_eq!(report["total"]["old"]["outcomes"], json!({ "failed": 400 }));
    assert!(outcomes(&report)["bulkhead"].as_u64() > Some(50), "{report}");
}

#[test]
fn bad_lines_are_counted_and_the_first_is_shown() {
    let log =
        format!("{}nonsense\n\n{{\"at\":1}}\n{}", line(0.0, 1.0, &json!({})), line(1.0, 1.0, &json!({})));
    let run = plan(GOOD, GOOD, log, &[]);
    assert_eq!(run.code, 0);
    assert_eq!(
        run.stderr,
        "warning: 2 of 4 lines of the log are no requests; the first is\n  --> access.log:2: it is neither ours nor in the Common or Combined Log Format\n\n"
    );
    refused(GOOD, "nonsense\n", "no line of the log is a request\n  --> access.log:1: it is neither");
    refused(GOOD, "", "no line of the log is a request\n  --> it is empty");
}

#[test]
fn what_can_not_be_replayed_is_refused() {
    refused(
        GOOD,
        b"\x1f\x8b\x08\x00",
        "packed by gzip\n  --> access.log\n  = help: zcat access.log | intertie plan",
    );
    refused(&GOOD.replace("to =", "too ="), "", "did you mean `to`?");
    let far = line(0.0, 1.0, &json!({})) + &line(0.0, 1.0, &json!({ "at": "2036-03-01T10:00:00Z" }));
    refused(GOOD, far, "the log spans more than");
    let run = intertie(folder(GOOD).path(), &["plan", FILE, FILE, "--log", "nowhere.log"]);
    assert_eq!((run.code, run.stderr.as_str()), (2, "error: there is no such file\n  --> nowhere.log\n\n"));
}

#[test]
fn a_log_comes_from_the_standard_input_too() {
    let folder = with_log(GOOD, GOOD, "");
    let mut child = Command::new(env!("CARGO_BIN_EXE_intertie"))
        .args(["plan", FILE, CHANGED, "--log", "-"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("intertie runs");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(format!("?\n{}", lines(3, 1.0, &json!({}))).as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let warning = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(warning.contains("\n  --> standard input:1: it is neither"), "{warning}");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(said.starts_with("3 requests in 0s: nothing changes\n"), "{said}");
}

#[test]
fn tunnels_take_the_routes_of_their_hosts_and_websockets_those_of_their_paths() {
    let tunnel = "\n[route.tunnel]\nto = \"shop\"\nmatch = { host = \"db.example\", method = \"CONNECT\" }\n";
    let (chat, with_tunnel) = (GOOD.replace("/**", "/chat"), format!("{GOOD}{tunnel}"));
    let log = |path, status| {
        let asked = json!({ "method": "CONNECT", "host": "db.example", "path": path, "status": status });
        line(0.0, 600_000.0, &asked)
    };
    let moved = |report: &Value| ["old", "new"].map(|side| report["moves"][0][side].to_string()).join(" ");
    let report = as_json(GOOD, &with_tunnel, &log("db.example:5432", 200), &[]);
    assert_eq!(moved(&report), r#""answered 405: other methods" "`tunnel` to shop""#);
    assert_eq!(outcomes(&report)["answered"], 1, "{report}");
    let report = as_json(&chat, &with_tunnel, &log("/chat", 200), &[]);
    assert_eq!(moved(&report), r#""`/chat` to shop" "`/**` to shop""#);
}

#[test]
fn what_a_client_wrote_does_not_reach_the_terminal_raw() {
    let log = line(0.0, 1.0, &json!({ "path": "/\u{1b}[2J" }));
    let run = plan(GOOD, &GOOD.replace("/**", "/a"), log, &[]);
    assert!(run.stdout.contains("such as GET /\\u{1b}[2J"), "{}", run.stdout);
}
