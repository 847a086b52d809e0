use std::sync::Mutex;

use http::Request;
use intertie_core::quantity::Ratio;

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0";
const B3: &str = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-";

fn parts(headers: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::get("http://user:secret@shop.example:81/orders/7?secret=1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn recording(ratio: Ratio) -> (Tracing, Arc<Mutex<Vec<Span>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let tell = move |spans| sink.lock().expect("unpoisoned").extend(spans);
    (Tracing::new(Sampler::new(ratio), TraceParents::All, Arc::new(tell)), told)
}

#[test]
fn w3c_comes_before_b3_and_one_context_is_passed_on() {
    let (tracing, _) = recording(Ratio::ONE);
    let w3c = format!("{PARENT}0");
    let b3 = format!("{B3}1");
    let both = [("traceparent", w3c.as_str()), ("tracestate", "a=b"), ("b3", &b3), ("x-b3-sampled", "1")];
    let mut parts = parts(&both);
    let (context, recording) = begin(&mut parts, true, true, Some(&tracing));
    assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert!(recording.is_none(), "the caller does not record it");
    assert_eq!(parts.headers["tracestate"], "a=b");
    assert_eq!(parts.headers["traceparent"].as_bytes(), context.to_traceparent());
    assert_ne!(context.span_id, 0x00f0_67aa_0ba9_02b7);
    assert_eq!(parts.headers.len(), 2, "{:?}", parts.headers);
}

#[test]
fn b3_is_read_in_both_forms_and_ends_here() {
    let (tracing, _) = recording(Ratio::ZERO);
    let single = format!("{B3}1");
    let multiple = [
        ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"),
        ("x-b3-spanid", "e457b5a2e4d86bd1"),
        ("x-b3-sampled", "1"),
        ("x-b3-parentspanid", "05e3ac9a4f6e3b90"),
        ("tracestate", "stale=1"),
    ];
    for headers in [&[("b3", single.as_str())][..], &multiple] {
        let mut parts = parts(headers);
        let (context, recording) = begin(&mut parts, true, true, Some(&tracing));
        assert_eq!(context.trace_id, 0x80f1_98ee_5634_3ba8_64fe_8b2a_57d3_eff7);
        assert_eq!(recording.expect("the caller records it").parent, Some(0xe457_b5a2_e4d8_6bd1));
        assert_eq!(parts.headers.len(), 1, "{:?}", parts.headers);
    }
    let mut denied = parts(&[("b3", "0")]);
    let (all, _) = self::recording(Ratio::ONE);
    let (context, recording) = begin(&mut denied, true, true, Some(&all));
    assert!(!context.sampled && recording.is_none(), "the caller decided");
}

#[test]
fn what_is_not_heeded_leaves_nothing_behind() {
    let (w3c, b3) = (format!("{PARENT}1"), format!("{B3}1"));
    let all = [
        ("traceparent", w3c.as_str()),
        ("tracestate", "a=b"),
        ("b3", &b3),
        ("x-b3-sampled", "1"),
        ("x", "y"),
    ];
    let (none, _) = recording(Ratio::ZERO);
    let mut parts = parts(&all);
    let (context, recording) = begin(&mut parts, true, false, Some(&none));
    assert!(!context.sampled && recording.is_none(), "the caller can not have it recorded");
    assert_ne!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert_eq!(parts.headers["traceparent"].as_bytes(), context.to_traceparent());
    assert_eq!(parts.headers.len(), 2, "{:?}", parts.headers);
}

#[test]
fn what_is_malformed_or_doubled_begins_a_trace() {
    let valid = format!("{PARENT}1");
    for headers in [
        &[("traceparent", "garbage"), ("tracestate", "a=b")][..],
        &[("traceparent", valid.as_str()), ("traceparent", valid.as_str())],
        &[("b3", "garbage")],
        &[("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7")],
    ] {
        let mut parts = parts(headers);
        let (context, _) = begin(&mut parts, true, true, None);
        assert!(!context.sampled && context.random, "{headers:?}");
        assert_ne!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(parts.headers.len(), 1, "{:?}", parts.headers);
    }
}

#[test]
fn a_trace_that_is_sampled_here_tells_the_threshold() {
    let (half, _) = recording(Ratio::from_percent(50));
    for _ in 0..100 {
        let mut parts = parts(&[]);
        let (context, recording) = begin(&mut parts, false, true, Some(&half));
        assert_eq!(recording.is_some(), context.sampled);
        let state = parts.headers.get("tracestate").map(HeaderValue::as_bytes);
        assert_eq!(state, context.sampled.then_some(&b"ot=th:8"[..]));
    }
}

#[test]
fn spans_are_named_and_timed_as_the_conventions_ask() {
    let (tracing, told) = recording(Ratio::ONE);
    let mut parts = parts(&[]);
    let (context, recording) = begin(&mut parts, false, true, Some(&tracing));
    let mut recording = *recording.expect("all are recorded");
    let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
    let endpoint: Address = "orders.internal:7001".parse().expect("an address");
    recording.attempt_begins(context, &endpoint, at(10));
    let first = recording.attempt().expect("under way");
    recording.attempt_ended(at(20), Err(ErrorCode::AttemptTimeout));
    recording.attempt_begins(context, &endpoint, at(30));
    recording.attempt_ended(at(50), Ok(StatusCode::OK));
    let outcome = Outcome {
        started: at(0),
        ended: at(60),
        status: 200,
        error: None,
        cut: None,
        scheme: "http",
        client: "127.0.0.1".to_owned(),
        request_id: &HeaderValue::from_static("7"),
        route: Some(("orders", "/orders/{id}")),
        service: Some("orders"),
        service_scheme: "http",
    };
    recording.finish(&tracing, context, &outcome, (at(100), Timestamp::from_unix_seconds(1)));
    let spans = told.lock().expect("unpoisoned");
    let named: Vec<_> = spans.iter().map(|span| (span.name.as_str(), span.kind, span.parent)).collect();
    let below = Some(context.span_id);
    assert_eq!(
        named,
        [
            ("GET /orders/{id}", SpanKind::Server, None),
            ("GET", SpanKind::Client, below),
            ("GET", SpanKind::Client, below)
        ]
    );
    let millis = |time: Timestamp| time.as_unix_nanos() / 1_000_000;
    let times: Vec<_> = spans.iter().map(|span| (millis(span.started), millis(span.ended))).collect();
    assert_eq!(times, [(900, 960), (910, 920), (930, 950)]);
    assert_eq!(spans[1].context.span_id, first.span_id);
    let value = |span: &Span, name| {
        span.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    };
    assert_eq!(value(&spans[0], "server.address"), Some("shop.example".to_owned().into()), "and no name");
    assert_eq!(value(&spans[0], "server.port"), Some(81_u16.into()));
    assert_eq!(value(&spans[0], "url.path"), Some("/orders/7".to_owned().into()), "without the query");
    assert_eq!(value(&spans[1], "error.type"), Some("ATTEMPT_TIMEOUT".into()));
    assert_eq!(value(&spans[1], "http.request.resend_count"), None);
    assert_eq!(value(&spans[2], "http.request.resend_count"), Some(AttributeValue::Number(1)));
    assert_eq!(spans.iter().map(|span| span.failed).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn no_name_comes_from_a_client() {
    assert_eq!(known(&Method::from_bytes(b"BREW").expect("a token")), None);
    assert_eq!(host_and_port("shop.example:81"), ("shop.example", Some(81)));
    assert_eq!(host_and_port("[::1]"), ("[::1]", None));
    assert_eq!(host_and_port("[::1]:81"), ("[::1]", Some(81)));
    assert_eq!(beginning(&"é".repeat(1_000)).len(), 1_024);
}
