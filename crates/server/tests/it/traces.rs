//! Traces: what a collector gets, decoded by OpenTelemetry's own definitions, and what a bad one does to requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;

use crate::harness::{Client, Origin, PATIENCE, Reply, Server, answer, full, until};

/// What stands in the file beside `[server.traces]`: one route to `origin`.
fn file(collector: &Origin, traces: &str, origin: &Origin, policy: &str) -> String {
    format!(
        "[server.traces]\nendpoint = \"http://{}\"\n{traces}\n\n[service.shop]\nendpoints = [{{ at = \"{}\" }}]\n\n\
         [route.shop]\nmatch = {{ path = \"/orders/{{id}}\" }}\nto = \"shop\"\n{policy}\n",
        collector.address, origin.address
    )
}

/// A collector that takes everything.
async fn collector() -> Origin {
    Origin::start(async |_| answer(200, &[], "")).await
}

fn messages(collector: &Origin) -> Vec<ExportTraceServiceRequest> {
    let received = collector.received();
    received
        .iter()
        .map(|message| {
            assert_eq!(message.path, "/v1/traces");
            assert_eq!(message.headers["content-type"], "application/x-protobuf");
            ExportTraceServiceRequest::decode(message.body.clone()).expect("OTLP")
        })
        .collect()
}

fn spans(collector: &Origin) -> Vec<Span> {
    let resources = messages(collector).into_iter().flat_map(|message| message.resource_spans);
    resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

/// The spans, once there are `count`.
async fn wait_for_spans(collector: &Origin, count: usize) -> Vec<Span> {
    until(async || spans(collector).len() >= count, "the collector gets the spans").await;
    let spans = spans(collector);
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans
}

fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|pair| pair.key == name)?.value.clone()?.value?;
    Some(match value {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("an attribute of another kind: {other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_request_and_each_of_its_attempts_become_spans_below_the_callers() {
    let (collector, origin) = (collector().await, Origin::statuses(&[503, 200]).await);
    let policy = "retry = { attempts = 2, base = \"10ms\" }";
    let server = Server::start(&file(&collector, "service_name = \"edge\"", &origin, policy));
    let parent =
        [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("tracestate", "a=b")];
    let answer = Client::new(server.address).get_with("/orders/7?token=secret", &parent).await;
    assert_eq!(answer.status, 200);
    let spans = wait_for_spans(&collector, 3).await;
    let [request, first, second] = &spans[..] else { unreachable!("three") };
    for span in &spans {
        assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span.trace_state, "a=b");
        assert!(span.end_time_unix_nano > span.start_time_unix_nano);
        assert!(span.start_time_unix_nano >= request.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= request.end_time_unix_nano);
        assert!(!format!("{span:?}").contains("secret"), "the query may hold secrets: {span:?}");
    }
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    assert_eq!((request.name.as_str(), request.kind()), ("GET /orders/{id}", SpanKind::Server));
    assert_eq!(request.flags, 0x301, "sampled, and its parent is elsewhere");
    assert!(request.status.is_none());
    let of_request = |name| attribute(&request.attributes, name);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/orders/{id}"),
        ("intertie.attempts", "2"),
        ("intertie.request_id", answer.header("x-request-id").expect("an id")),
        ("intertie.route", "shop"),
        ("intertie.service", "shop"),
        ("network.protocol.version", "1.1"),
        ("server.address", "127.0.0.1"),
        ("server.port", &server.address.port().to_string()),
        ("client.address", "127.0.0.1"),
        ("url.path", "/orders/7"),
        ("url.scheme", "http"),
    ] {
        assert_eq!(of_request(name).as_deref(), Some(value), "{name}");
    }
    for (attempt, status, resends, failed) in [(first, "503", None, true), (second, "200", Some("1"), false)]
    {
        assert_eq!(attempt.parent_span_id, request.span_id);
        assert_eq!((attempt.name.as_str(), attempt.kind()), ("GET", SpanKind::Client));
        let of_attempt = |name| attribute(&attempt.attributes, name);
        assert_eq!(of_attempt("http.response.status_code").as_deref(), Some(status));
        assert_eq!(of_attempt("http.request.resend_count").as_deref(), resends);
        assert_eq!(of_attempt("server.port"), Some(origin.address.port().to_string()));
        assert_eq!(of_attempt("error.type").as_deref(), failed.then_some(status));
        let code = attempt.status.as_ref().map(opentelemetry_proto::tonic::trace::v1::Status::code);
        assert_eq!(code, failed.then_some(StatusCode::Error));
    }
    let told: Vec<_> =
        origin.received().iter().map(|received| received.headers["traceparent"].clone()).collect();
    let of = |span: &Span| format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
    assert_eq!(told, [of(first).as_str(), of(second).as_str()], "a service's parent is its attempt");
    let resource = messages(&collector)[0].resource_spans[0].resource.clone().expect("a resource");
    assert_eq!(attribute(&resource.attributes, "service.name").as_deref(), Some("edge"));
    for name in ["service.version", "host.name", "process.pid"] {
        assert!(attribute(&resource.attributes, name).is_some_and(|value| !value.is_empty()), "{name}");
    }
    assert_eq!(server.metric("intertie_trace_spans_exported_total").await, 3.0);
}

#[tokio::test]
async fn the_callers_decision_holds_and_otherwise_the_share_of_the_file() {
    let (nothing, everything) = (collector().await, collector().await);
    let origin = Origin::statuses(&[200]).await;
    let none = Server::start(&file(&nothing, "sample = \"0%\"", &origin, ""));
    let all = Server::start(&file(&everything, "sample = \"100%\"", &origin, ""));
    let recorded = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1";
    let unrecorded =
        [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"), ("b3", recorded)];
    let multiple = [
        ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"),
        ("x-b3-spanid", "e457b5a2e4d86bd1"),
        ("x-b3-sampled", "1"),
    ];
    for server in [&none, &all] {
        let client = Client::new(server.address);
        client.get("/orders/1").await;
        client.get_with("/orders/2", &unrecorded).await;
        client.get_with("/orders/3", &[("b3", recorded)]).await;
        client.get_with("/orders/4", &multiple).await;
        client.get_with("/orders/5", &[("b3", "0")]).await;
    }
    let paths = |spans: &[Span]| -> Vec<_> {
        let requests = spans.iter().filter(|span| span.kind() == SpanKind::Server);
        requests.filter_map(|span| attribute(&span.attributes, "url.path")).collect()
    };
    let few = wait_for_spans(&nothing, 4).await;
    assert_eq!(paths(&few), ["/orders/3", "/orders/4"]);
    assert!(few.iter().all(|span| hex(&span.trace_id) == "80f198ee56343ba864fe8b2a57d3eff7"));
    let many = wait_for_spans(&everything, 6).await;
    assert_eq!(paths(&many), ["/orders/1", "/orders/3", "/orders/4"]);
    assert_eq!(many[0].trace_state, "ot=th:0", "what is sampled here says how");
    for received in origin.received() {
        assert!(received.headers.keys().all(|name| !name.as_str().contains("b3")), "{received:?}");
        assert_eq!(received.headers.get_all("traceparent").iter().count(), 1);
    }
}

/// Whoever may have its requests recorded can fill the collector: with this key only proxies may.
#[tokio::test]
async fn only_trusted_proxies_have_their_traces_continued_where_the_file_says_so() {
    let (collector, origin) = (collector().await, Origin::statuses(&[200]).await);
    let keys = "sample = \"0%\"\nparents = \"trusted_proxies\"";
    let server =
        Server::start_with("trusted_proxies = [\"127.0.0.2\"]\n", &file(&collector, keys, &origin, ""));
    let sampled = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "a=b"),
        ("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"),
    ];
    let stranger = Client::new(server.address).from([127, 0, 0, 1].into());
    stranger.get_with("/orders/1", &sampled).await;
    let proxy = Client::new(server.address).from([127, 0, 0, 2].into());
    proxy.get_with("/orders/2", &sampled).await;
    let spans = wait_for_spans(&collector, 2).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) == "4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(attribute(&spans[0].attributes, "url.path").as_deref(), Some("/orders/2"));
    let received = origin.received();
    let begun = received[0].headers["traceparent"].to_str().expect("ASCII");
    assert!(!begun.contains("4bf92f3577b34da6a3ce929d0e0e4736") && begun.ends_with("-02"), "{begun}");
    assert!(["tracestate", "b3"].iter().all(|name| !received[0].headers.contains_key(*name)));
    assert_eq!(received[1].headers["tracestate"], "a=b");
}

#[tokio::test]
async fn rejections_failures_and_unknown_routes_are_told_with_their_cause() {
    let (collector, origin) = (collector().await, Origin::start(async |_| Reply::Hang).await);
    let policy = "attempt_timeout = \"50ms\"\nrate_limiter = { limit = \"1/h\" }";
    let server = Server::start(&file(&collector, "sample = \"100%\"", &origin, policy));
    let client = Client::new(server.address);
    assert_eq!(client.get("/orders/1").await.status, 504);
    assert_eq!(client.get("/orders/2").await.status, 429);
    assert_eq!(client.get("/nowhere").await.status, 404);
    let spans = wait_for_spans(&collector, 4).await;
    let said: Vec<_> = spans
        .iter()
        .map(|span| {
            let names = ["error.type", "intertie.error_code", "intertie.rejected_by", "http.route"];
            let [error, code, by, route] =
                names.map(|name| attribute(&span.attributes, name).unwrap_or_default());
            (span.name.clone(), error, code, by, route)
        })
        .collect();
    let row = |words: [&str; 5]| {
        let [name, error, code, by, route] = words.map(str::to_owned);
        (name, error, code, by, route)
    };
    assert_eq!(
        said,
        [
            row(["GET /orders/{id}", "ATTEMPT_TIMEOUT", "ATTEMPT_TIMEOUT", "", "/orders/{id}"]),
            row(["GET", "ATTEMPT_TIMEOUT", "", "", ""]),
            row(["GET /orders/{id}", "", "RATE_LIMITED", "rate_limiter", "/orders/{id}"]),
            row(["GET", "", "ROUTE_NOT_FOUND", "", ""]),
        ]
    );
}

#[tokio::test]
async fn a_message_is_sent_again_as_the_collector_asks_and_its_refusals_are_counted() {
    let asked = AtomicUsize::new(0);
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: "no".to_owned(),
        }),
    };
    let partial = partial.encode_to_vec();
    let collector = Origin::start(move |_| {
        let reply = match asked.fetch_add(1, Ordering::Relaxed) {
            0 => answer(503, &[("retry-after", "1")], ""),
            1 => Reply::Close,
            2 => Reply::Answer(http::Response::new(full(partial.clone()))),
            _ => answer(400, &[], "no"),
        };
        async move { reply }
    })
    .await;
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&file(&collector, "sample = \"100%\"", &origin, ""));
    let client = Client::new(server.address);
    let started = Instant::now();
    client.get("/orders/1").await;
    until(async || server.metric("intertie_trace_spans_exported_total").await == 1.0, "one is taken").await;
    assert!(started.elapsed().as_millis() >= 1_500, "Retry-After, and a wait of our own");
    assert_eq!(server.metric("intertie_trace_spans_dropped_total{cause=\"collector\"}").await, 1.0);
    let bodies: Vec<_> = collector.received().into_iter().map(|message| message.body).collect();
    assert!(
        bodies.len() == 3 && bodies[0] == bodies[1] && bodies[1] == bodies[2],
        "one message, three times"
    );
    client.get("/orders/2").await;
    let failed = server.wait_for("trace_export_failed");
    assert!(failed.contains("the collector answered 400"), "{failed}");
    assert_eq!(collector.received().len(), 4, "what it refuses for good is not sent again");
    assert_eq!(server.metric("intertie_trace_messages_failed_total").await, 1.0);
    assert_eq!(server.metric("intertie_trace_spans_dropped_total{cause=\"collector\"}").await, 3.0);
}

#[tokio::test]
async fn a_collector_that_hangs_slows_no_request_and_what_overflows_is_counted() {
    let collector = Origin::start(async |_| Reply::Hang).await;
    let origin = Origin::statuses(&[200]).await;
    let traces = "sample = \"100%\"\nqueue = 3\nflush = \"100ms\"";
    let mut server = Server::start(&file(&collector, traces, &origin, "deadline = \"10s\""));
    let client = Client::new(server.address);
    client.get("/orders/1").await;
    until(async || !collector.received().is_empty(), "the exporter waits for the collector").await;
    for number in 0..10 {
        assert_eq!(client.get(&format!("/orders/{number}")).await.status, 200);
    }
    // Each of ten requests has two spans, and three of them found a place.
    assert_eq!(server.metric("intertie_trace_spans_dropped_total{cause=\"queue\"}").await, 14.0);
    assert_eq!(server.metric("intertie_trace_spans_waiting").await, 8.0);
    let started = Instant::now();
    server.signal("TERM");
    let cut = server.wait_for("trace_flush_cut");
    assert!(cut.contains("after=100ms spans_lost=8"), "{cut}");
    assert_eq!(server.wait(), Some(0));
    assert!(started.elapsed() < PATIENCE / 4, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_dead_collector_and_one_that_answers_garbage_are_told_once_and_survived() {
    let garbage = Origin::start(async |_| answer(200, &[], "\u{a}\u{7f}garbage")).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&file(&garbage, "sample = \"100%\"", &origin, ""));
    Client::new(server.address).get("/orders/1").await;
    until(async || server.metric("intertie_trace_spans_exported_total").await == 2.0, "they are taken").await;

    let text = file(&garbage, "sample = \"100%\"\ntimeout = \"100ms\"\ndeadline = \"700ms\"", &origin, "");
    let server = Server::start(&text.replace(&garbage.address.to_string(), &dead.to_string()));
    let client = Client::new(server.address);
    for round in 1..=2 {
        client.get("/orders/1").await;
        let failed = f64::from(round);
        until(async || server.metric("intertie_trace_messages_failed_total").await == failed, "given up")
            .await;
    }
    assert_eq!(server.count("trace_export_failed"), 1, "an outage is told once");
    assert!(server.wait_for("trace_export_failed").contains("no connection to the collector"));
}

#[tokio::test]
async fn what_waits_is_flushed_when_the_server_ends_in_messages_as_long_as_the_file_says() {
    let (collector, origin) = (collector().await, Origin::statuses(&[200]).await);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "Bearer 7\n").expect("written");
    let traces = format!(
        "sample = \"100%\"\nbatch = 2\nheaders = {{ authorization = \"file:{}\", x-path = \"env:PATH\" }}",
        token.display()
    );
    let mut server = Server::start(&file(&collector, &traces, &origin, ""));
    let client = Client::new(server.address);
    for number in 0..5 {
        client.get(&format!("/orders/{number}")).await;
    }
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let counts: Vec<_> = messages(&collector)
        .iter()
        .map(|message| message.resource_spans[0].scope_spans[0].spans.len())
        .collect();
    assert_eq!(counts, [2; 5]);
    let received = collector.received();
    assert_eq!(received[0].headers["authorization"], "Bearer 7");
    assert_eq!(received[0].headers["x-path"], std::env::var("PATH").expect("a path"));
}

#[test]
fn explain_tells_where_traces_go() {
    let text = format!(
        "[server.traces]\nendpoint = \"http://collector:4318\"\nsample = \"5%\"\n\
         headers = {{ x-key = \"env:KEY\" }}\n\n{}",
        crate::cli::GOOD
    );
    let folder = crate::cli::folder(&text);
    let run = crate::cli::intertie(folder.path(), &["explain", "intertie.toml", "GET", "/"]);
    for line in [
        "endpoint         http://collector:4318/v1/traces  (intertie.toml:2)",
        "sample           5%  (intertie.toml:3)",
        "parents          all  (built-in default)",
        "headers          x-key  (intertie.toml:4)",
        "batch            512  (built-in default)",
    ] {
        assert!(run.stdout.contains(line), "no `{line}` in\n{}", run.stdout);
    }
}
