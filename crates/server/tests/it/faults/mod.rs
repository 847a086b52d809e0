//! What a service can do wrong, and what the gateway makes of it: status, error code, line of the access log,
//! events, counters, evidence against the endpoint.

mod alone;
mod names;
mod proxy_status;
mod resources;
mod service;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::harness::{Client, Server, full, until};
use service::Service;
use table::{CASES, Case, Counted};

/// Cases that run at the same time: most of them wait.
const TOGETHER: usize = 8;

/// One of the ways in which a case is asked for, each through a service with a breaker of its own.
#[derive(Debug, Clone, Copy)]
struct Way {
    name: &'static str,
    idempotent: bool,
    http2: bool,
}

const WAYS: [Way; 4] = [
    Way { name: "may_repeat_1", idempotent: true, http2: false },
    Way { name: "may_not_1", idempotent: false, http2: false },
    Way { name: "may_repeat_2", idempotent: true, http2: true },
    Way { name: "may_not_2", idempotent: false, http2: true },
];

fn traffic(service: &Service, case: &Case) -> String {
    let (attempt_timeout, deadline) = case.limits();
    let policy = format!(
        "threads = 1\n\n[policy.all]\nretry = {{ attempts = 2, base = \"1ms\", budget_minimum = 100 }}\n\
         attempt_timeout = \"{attempt_timeout}\"\ndeadline = \"{deadline}\"\n\
         circuit_breaker = {{ preset = \"tolerant\", failures = 2 }}\n"
    );
    let services = WAYS.map(|Way { name, .. }| {
        format!(
            "\n[service.{name}]\nendpoints = [{{ at = \"{}\" }}]\nconnect_timeout = \"300ms\"\n\
             idle_timeout = \"5s\"\n{}\n\n\
             [route.\"/{name}/**\"]\nto = \"{name}\"\nuse = \"all\"\n",
            service.address, case.keys
        )
    });
    policy + &services.concat()
}

/// All that is needed to ask for one case.
struct Scene<'a> {
    server: &'a Server,
    log: &'a Path,
    case: &'a Case,
}

/// What asking in one way came to.
#[derive(Debug, Default)]
struct Sum {
    requests: u32,
    /// Those that were answered by the gateway itself.
    refused: u32,
    /// Those whose answer came whole.
    whole: u32,
    /// Those that the deadline ended.
    over: u32,
    attempts: u32,
    /// Good requests before the fault.
    warmed: u32,
}

impl Sum {
    fn add(&mut self, found: &str) {
        let (outcome, attempts) = found.rsplit_once(" ×").expect("attempts");
        self.requests += 1;
        self.attempts += attempts.parse::<u32>().expect("a number");
        self.refused += u32::from(outcome.starts_with('5'));
        self.whole += u32::from(outcome == "200 -");
        self.over += u32::from(outcome.contains("deadline"));
    }

    /// Attempts without a whole answer.
    fn failed(&self) -> u32 {
        self.attempts - self.whole
    }
}

/// Whether a call that got no connection was made twice, whatever its method, and one that the service may have seen
/// only as its method allows. The breaker opens with the second failure and then lets none through.
fn repeats_as_it_must(found: &str, way: Way, before: &Sum) -> bool {
    let (outcome, attempts) = found.rsplit_once(" ×").expect("attempts");
    let unsent = ["SERVICE_UNREACHABLE", "CONNECT_TIMEOUT"].iter().any(|code| outcome.contains(code));
    let failed = unsent || outcome.contains("SERVICE_FAILED");
    let is_closed = before.failed() == 0;
    match (failed, way.idempotent || unsent) {
        (false, _) => true,
        (true, true) => attempts == if is_closed { "2" } else { "1" },
        // The first may have got no connection.
        (true, false) => attempts == "1" || is_closed,
    }
}

impl Scene<'_> {
    /// Asks until two attempts were made.
    async fn ask_in(&self, way: Way) -> Sum {
        let expected = if way.idempotent { self.case.idempotent } else { self.case.other };
        let mut sum = Sum::default();
        while sum.attempts < 2 {
            if self.case.kept && sum.whole == 0 {
                let warm = self.ask(way, &format!("warm-{}", sum.warmed)).await;
                assert_eq!(warm, "200 - ×1", "{}: before the fault", self.case.fault);
                sum.warmed += 1;
            }
            let found = self.ask(way, &sum.requests.to_string()).await;
            let is_expected = expected.split(" or ").any(|expected| expected == found);
            assert!(is_expected, "{}, {way:?}: {found} instead of {expected}", self.case.fault);
            assert!(
                repeats_as_it_must(&found, way, &sum),
                "{}, {way:?}: {found} after {sum:?}",
                self.case.fault
            );
            sum.add(&found);
        }
        sum
    }

    /// Status, error code or how the body was cut, and attempts, as the client and the access log have it.
    async fn ask(&self, way: Way, name: &str) -> String {
        let mut client = Client::new(self.server.address);
        if way.http2 {
            client = client.http2();
        }
        let method = match (way.idempotent, self.case.body) {
            (true, 0) => Method::GET,
            (true, _) => Method::PUT,
            (false, _) => Method::POST,
        };
        let path = format!("/{}/{name}", way.name);
        let body = full(vec![b'x'; self.case.body]);
        let request = Request::builder().method(method).uri(&path).body(body).expect("a request");
        // An answer that breaks off before its head was written is no answer for its client.
        let (status, (whole, code)) = match client.begin(request).await {
            Ok(response) => (Some(response.status().as_u16()), read(response.into_body()).await),
            Err(_) => (None, (false, None)),
        };
        let line = self.logged(&path).await;
        let logged = line["status"].as_u64().unwrap_or_default();
        assert!(status.is_none_or(|status| u64::from(status) == logged), "{status:?}, {line}");
        assert_eq!(line["cut"].is_null(), whole, "{}, {way:?}: {line}", self.case.fault);
        let (code, detail) = code.map_or((None, String::new()), |(code, detail)| (Some(code), detail));
        assert_eq!(line["error"].as_str(), code.as_deref(), "{line}");
        assert!(detail.starts_with(words_of(code.as_deref())), "{}, {way:?}: {detail}", self.case.fault);
        assert!(line["endpoint"].is_string(), "{line}");
        let told = line["cut"].as_str().or(code.as_deref()).unwrap_or("-");
        format!("{logged} {told} ×{}", line["attempts"])
    }

    /// The line of the access log for `path`, which is asked for once.
    async fn logged(&self, path: &str) -> Value {
        let mut found = Value::Null;
        let is_there = async || {
            let text = std::fs::read_to_string(self.log).unwrap_or_default();
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            found = lines.find(|line| line["path"] == path).unwrap_or_default();
            !found.is_null()
        };
        until(is_there, path).await;
        found
    }

    /// Every counter that the case can raise is as it must be, and nothing is left of it.
    async fn check_counters(&self, way: Way, sum: &Sum) {
        let metrics = metrics(self.server).await;
        let value = |name: &str, labels: &[(&str, &str)]| {
            let found = metrics.iter().find(|(series, _)| {
                let is_label = |(key, value): &(&str, &str)| series.contains(&format!("{key}=\"{value}\""));
                series.starts_with(&format!("intertie_{name}{{")) && labels.iter().all(is_label)
            });
            *found.unwrap_or_else(|| panic!("no {name} {labels:?} in {metrics:#?}")).1
        };
        let only = |holds: bool, count: u32| if holds { count } else { 0 };
        let is = |name: &str, labels: &[(&str, &str)], expected: u32| {
            let found = value(name, labels);
            assert_eq!(found, f64::from(expected), "{}, {way:?}: {name} {labels:?}", self.case.fault);
        };
        let path = format!("/{}/**", way.name);
        let (route, service) = (("route", path.as_str()), ("service", way.name));
        let of = |outcome: Counted| only(self.case.counted == outcome, sum.failed());
        is("requests_total", &[route, ("status", "2xx")], sum.warmed + sum.requests - sum.refused);
        is("requests_total", &[route, ("status", "5xx")], sum.refused);
        is("requests_cancelled_total", &[route], 0);
        is("rejections_total", &[route, ("policy", "deadline")], sum.over);
        is("attempts_total", &[service, ("outcome", "success")], sum.warmed + sum.whole);
        is("attempts_total", &[service, ("outcome", "transient")], of(Counted::Transient));
        is("attempts_total", &[service, ("outcome", "unjudged")], of(Counted::Unjudged));
        is("retry_attempts_total", &[service], sum.attempts - sum.requests);
        let late = self.case.other.contains("ATTEMPT_TIMEOUT");
        is("attempt_timeout_exceeded_total", &[service], only(late, sum.failed()));
        let resent = self.case.kept && self.case.counted == Counted::Unjudged && way.idempotent;
        is("endpoint_resends_total", &[service], only(resent, sum.requests));
        is("circuit_breaker_opened_total", &[service], u32::from(of(Counted::Transient) >= 2));
        is("endpoint_in_flight", &[service], 0);
    }
}

/// What the detail of an answer begins with, by its code.
fn words_of(code: Option<&str>) -> &'static str {
    match code {
        Some("SERVICE_UNREACHABLE" | "CONNECT_TIMEOUT") => "no connection to the service: ",
        Some("SERVICE_FAILED") => "the service gave no valid answer: ",
        Some("ATTEMPT_TIMEOUT") => "an attempt took longer than its attempt_timeout",
        _ => "",
    }
}

/// Whether a body came to its end, and the error's code and detail in it.
async fn read(mut body: hyper::body::Incoming) -> (bool, Option<(String, String)>) {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (false, None) };
        if let Some(data) = frame.data_ref().filter(|_| kept.len() < 64 * 1024) {
            kept.extend_from_slice(data);
        }
    }
    let document: Value = serde_json::from_slice(&kept).unwrap_or_default();
    let error = &document["errors"][0];
    let text = |key: &str| error[key].as_str().map(str::to_owned);
    (true, text("code").zip(text("detail")))
}

/// All metrics by their series.
async fn metrics(server: &Server) -> BTreeMap<String, f64> {
    let (_, text) = server.admin("/metrics").await;
    let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    series.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

async fn check(case: &Case) {
    let service = Service::start(case.service);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let server = Server::start_logging(log.to_str().expect("UTF-8"), &traffic(&service, case));
    let scene = Scene { server: &server, log: &log, case };
    let [a, b, c, d] = WAYS;
    let sums = tokio::join!(scene.ask_in(a), scene.ask_in(b), scene.ask_in(c), scene.ask_in(d));
    let sums = [sums.0, sums.1, sums.2, sums.3];
    for (way, sum) in WAYS.into_iter().zip(&sums) {
        scene.check_counters(way, sum).await;
    }
    if !case.refused.is_empty() {
        let count = |sum: &Sum| if case.counted == Counted::Success { sum.requests } else { sum.failed() };
        let refused: u32 = sums.iter().map(count).sum();
        let series =
            format!("intertie_messages_refused_total{{from=\"service\",reason=\"{}\"}}", case.refused);
        let counted = async || server.metric(&series).await == f64::from(refused);
        until(counted, &format!("{}: {series} {refused}", case.fault)).await;
        let event = format!("reason={}", case.refused);
        server.wait_for_nth(&event, refused as usize);
        assert_eq!(server.count("answer_refused"), refused as usize, "{}", case.fault);
    } else {
        assert_eq!(server.count("answer_refused"), 0, "{}", case.fault);
    }
    until(async || server.metric("intertie_gateway_connections").await == 0.0, "no client is left").await;
}

#[test]
fn each_fault_of_a_service_has_exactly_its_outcome() {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        while let Some(case) = CASES.get(next.fetch_add(1, Ordering::Relaxed)) {
            let checked =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(check(case))));
            if checked.is_err() {
                wrong.lock().expect("unpoisoned").push(case.fault);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().expect("unpoisoned");
    assert!(wrong.is_empty(), "{} of {} cases are wrong: {wrong:#?}", wrong.len(), CASES.len());
}

/// The page of faults has the table that is tested.
#[test]
fn the_page_of_faults_says_what_is_tested() {
    let cell = |text: &str| text.replace(" or ", ", or ");
    let row = |case: &Case| {
        let counted = match case.counted {
            Counted::Transient => "transient: a failure",
            Counted::Unjudged => "unjudged: no evidence",
            Counted::Success => "–",
        };
        let refused = if case.refused.is_empty() { "–".to_owned() } else { format!("`{}`", case.refused) };
        let (idempotent, other) = (cell(case.idempotent), cell(case.other));
        format!("| {} | {idempotent} | {other} | {counted} | {refused} |\n", case.fault)
    };
    let table: String = CASES.iter().map(row).collect();
    let page = std::fs::read_to_string(crate::cli::root().join("docs/faults.md")).expect("the page");
    assert!(page.contains(&table), "docs/faults.md does not have these rows:\n{table}");
}
