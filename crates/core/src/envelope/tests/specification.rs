//! The examples of the JSON Event Format, the HTTP Protocol Binding and CloudEvents' conformance suite.

use super::{from_headers, from_json};
use crate::envelope::{AttributeValue, Data, Envelope, Form, Limits, Mode, batch, binary, structured};

/// What the examples of section 3.2 have in common.
const COMMON: &[(&str, &str)] = &[
    ("ce-specversion", "1.0"),
    ("ce-type", "com.example.someevent"),
    ("ce-source", "/mycontext"),
    ("ce-time", "2018-04-05T17:31:00Z"),
    ("ce-comexampleextension1", "value"),
    ("ce-comexampleothervalue", "5"),
];

/// Checks that the event `json` carries `form` and `body`, is written in JSON as the event that it is, and is the
/// headers `others`, beside the common ones, in binary mode.
#[track_caller]
fn check(json: &str, common: &[(&str, &str)], others: &[(&str, &str)], form: Form, body: &[u8]) {
    let event = from_json(json).expect("the example is valid");
    let data = event.data().expect("it has data");
    assert_eq!((data.form(), &data.bytes()[..]), (form, body));
    assert_eq!(structured::read(&structured::write(&event).into(), &Limits::default()).as_ref(), Ok(&event));

    let mut expected: Vec<(&str, &str)> = common.iter().chain(others).copied().collect();
    expected.sort_unstable();
    let message = binary::write(&event);
    let mut headers: Vec<(&str, &str)> =
        message.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    headers.sort_unstable();
    assert_eq!(headers, expected);
    assert_eq!(&message.body[..], body);

    let back = from_headers(&expected, body).expect("what is written is read");
    assert_eq!(binary::write(&back), message);
}

#[test]
fn binary_data() {
    check(
        r#"{
            "specversion" : "1.0",
            "type" : "com.example.someevent",
            "source" : "/mycontext",
            "id" : "A234-1234-1234",
            "time" : "2018-04-05T17:31:00Z",
            "comexampleextension1" : "value",
            "comexampleothervalue" : 5,
            "datacontenttype" : "application/vnd.apache.thrift.binary",
            "data_base64" : "gAEAAQAAAAA="
        }"#,
        COMMON,
        &[("ce-id", "A234-1234-1234"), ("content-type", "application/vnd.apache.thrift.binary")],
        Form::Binary,
        b"\x80\x01\x00\x01\x00\x00\x00\x00",
    );
}

#[test]
fn xml_as_a_string_and_an_extension_that_is_null() {
    let json = r#"{
        "specversion" : "1.0",
        "type" : "com.example.someevent",
        "source" : "/mycontext",
        "id" : "B234-1234-1234",
        "time" : "2018-04-05T17:31:00Z",
        "comexampleextension1" : "value",
        "comexampleothervalue" : 5,
        "unsetextension": null,
        "datacontenttype" : "application/xml",
        "data" : "<much wow=\"xml\"/>"
    }"#;
    let headers = [("ce-id", "B234-1234-1234"), ("content-type", "application/xml")];
    check(json, COMMON, &headers, Form::Text, br#"<much wow="xml"/>"#);
    let event = from_json(json).expect("valid");
    assert_eq!(event.extension("unsetextension"), None);
    assert_eq!(event.extension("comexampleothervalue"), Some(&AttributeValue::Integer(5)));
    assert_eq!(event.extension("comexampleextension1"), Some(&AttributeValue::from("value")));
}

#[test]
fn json_data_of_any_kind() {
    for data in [
        "{\n        \"appinfoA\" : \"abc\",\n        \"appinfoB\" : 123,\n        \"appinfoC\" : true\n    }",
        "1.5",
        "null",
    ] {
        let json = format!(
            r#"{{
                "specversion" : "1.0",
                "type" : "com.example.someevent",
                "source" : "/mycontext",
                "subject": null,
                "id" : "C234-1234-1234",
                "time" : "2018-04-05T17:31:00Z",
                "comexampleextension1" : "value",
                "comexampleothervalue" : 5,
                "datacontenttype" : "application/json",
                "data" : {data}
            }}"#
        );
        let headers = [("ce-id", "C234-1234-1234"), ("content-type", "application/json")];
        check(&json, COMMON, &headers, Form::Json, data.as_bytes());
        assert_eq!(from_json(&json).expect("valid").subject(), None);
    }
}

#[test]
fn a_string_of_json_without_a_type_is_declared_in_headers() {
    let json = r#"{
        "specversion" : "1.0",
        "type" : "com.example.someevent",
        "source" : "/mycontext",
        "subject": null,
        "id" : "D234-1234-1234",
        "time" : "2018-04-05T17:31:00Z",
        "comexampleextension1" : "value",
        "comexampleothervalue" : 5,
        "data" : "I'm just a string"
    }"#;
    let headers = [("ce-id", "D234-1234-1234"), ("content-type", "application/json")];
    check(json, COMMON, &headers, Form::Json, b"\"I'm just a string\"");
    assert_eq!(from_json(json).expect("valid").data_content_type(), None);
}

#[test]
fn json_in_base64_without_a_type_stays_untyped() {
    check(
        r#"{
            "specversion" : "1.0",
            "type" : "com.example.someevent",
            "source" : "/mycontext",
            "id" : "D234-1234-1234",
            "data_base64" : "eyAieHl6IjogMTIzIH0="
        }"#,
        &COMMON[..3],
        &[("ce-id", "D234-1234-1234")],
        Form::Binary,
        br#"{ "xyz": 123 }"#,
    );
}

#[test]
fn batches() {
    let json = r#"[
        {
            "specversion" : "1.0",
            "type" : "com.example.someevent",
            "source" : "/mycontext/4",
            "id" : "B234-1234-1234",
            "time" : "2018-04-05T17:31:00Z",
            "comexampleextension1" : "value",
            "comexampleothervalue" : 5,
            "datacontenttype" : "application/vnd.apache.thrift.binary",
            "data_base64" : "gAEAAQAAAAA="
        },
        {
            "specversion" : "1.0",
            "type" : "com.example.someotherevent",
            "source" : "/mycontext/9",
            "id" : "C234-1234-1234",
            "time" : "2018-04-05T17:31:05Z",
            "comexampleextension1" : "value",
            "comexampleothervalue" : 5,
            "datacontenttype" : "application/json",
            "data" : { "appinfoA" : "abc", "appinfoB" : 123, "appinfoC" : true }
        }
    ]"#;
    let events = batch::read(json.as_bytes(), &Limits::default()).expect("the example is valid");
    let told: Vec<_> = events.iter().map(|event| (event.source(), event.data().map(Data::form))).collect();
    assert_eq!(told, [("/mycontext/4", Some(Form::Binary)), ("/mycontext/9", Some(Form::Json))]);
    assert_eq!(batch::read(&batch::write(&events), &Limits::default()), Ok(events));

    assert_eq!(batch::read(b" [ ] ", &Limits::default()), Ok(Vec::new()));
    assert_eq!(batch::write(&[]), b"[]");
}

/// The request of the binding's section 3.1.4 and of the suite's `http-protocol-binding.feature`.
#[test]
fn a_request_in_binary_mode() {
    let body = b"{\n    \"message\": \"Hello World!\"\n}\n";
    for content_type in ["application/json", "application/json; charset=utf-8"] {
        let headers = [
            ("Host", "example.com"),
            ("CE-SpecVersion", "1.0"),
            ("ce-type", "com.example.someevent"),
            ("ce-time", "2018-04-05T03:56:24Z"),
            ("ce-id", "1234-1234-1234"),
            ("ce-source", "/mycontext/subcontext"),
            ("Content-Type", content_type),
            ("Content-Length", "35"),
        ];
        assert_eq!(Mode::of(Some(content_type)), Ok(Mode::Binary));
        let event = from_headers(&headers, body).expect("the example is valid");
        assert_eq!(told(&event), ["1234-1234-1234", "/mycontext/subcontext", "com.example.someevent"]);
        assert_eq!(event.time().map(ToString::to_string).as_deref(), Some("2018-04-05T03:56:24Z"));
        assert_eq!(event.data_content_type(), Some(content_type));
        assert_eq!(event.data().map(|data| (data.form(), &data.bytes()[..])), Some((Form::Json, &body[..])));
        assert_eq!(event.extensions().count(), 0);
    }
}

fn told(event: &Envelope) -> [&str; 3] {
    [event.id(), event.source(), event.r#type()]
}

#[test]
fn a_request_in_structured_mode() {
    for content_type in ["application/cloudevents+json", "Application/CloudEvents+JSON; charset=utf-8"] {
        assert_eq!(Mode::of(Some(content_type)), Ok(Mode::Structured));
    }
    let event = from_json(
        r#"{
            "specversion": "1.0",
            "type": "com.example.someevent",
            "time": "2018-04-05T03:56:24Z",
            "id": "1234-1234-1234",
            "source": "/mycontext/subcontext",
            "datacontenttype": "application/json",
            "data": {
                "message": "Hello World!"
            }
        }"#,
    );
    let event = event.expect("the example is valid");
    assert_eq!(told(&event), ["1234-1234-1234", "/mycontext/subcontext", "com.example.someevent"]);
    let message: serde_json::Value =
        serde_json::from_slice(event.data().expect("data").bytes()).expect("JSON");
    assert_eq!(message, serde_json::json!({ "message": "Hello World!" }));
}

/// `yaml/v1.yaml` and `yaml/v1.0/v1_minimum.yaml` of the conformance suite.
#[test]
fn the_events_of_the_conformance_suite_pass_through_both_modes() {
    let source = "//github.com/cloudevents/cloudeventsconformance/yaml/v1.yaml";
    for (position, (content_type, body, form)) in [
        ("text/plain; charset=us-ascii", "Hello, World!\n", Form::Text),
        ("text/plain; charset=utf-8", "Hello, \u{1f30e}!\n", Form::Text),
        ("application/json; charset=utf-8", "\"Hello, \u{1f30e}!\"", Form::Json),
        ("application/json; charset=utf-8", "{\"msg\":\"Hello, \u{1f30e}!\"}", Form::Json),
        ("application/json; charset=utf-8", "[\"Hello\",\"\u{1f30e}!\"]", Form::Json),
        ("application/xml; charset=utf-8", "<msg>Hello, \u{1f30e}!</msg>\n", Form::Text),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("conformance-{:04}", position + 1);
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-type", "io.cloudevents.minimum"),
            ("ce-id", &id),
            ("ce-source", source),
            ("content-type", content_type),
        ];
        let event = from_headers(&headers, body.as_bytes()).expect("the suite's event is valid");
        assert_eq!(event.data().map(|data| (data.form(), data.as_text())), Some((form, Some(body))));
        assert_eq!(
            structured::read(&structured::write(&event).into(), &Limits::default()).as_ref(),
            Ok(&event)
        );
    }

    // Senders of before version 1.0.2 encode neither spaces nor quotes.
    let mut headers = COMMON.to_vec();
    headers.extend([("ce-id", "4321-4321-4321"), ("ce-comexampleextension2", r#"{"othervalue": 5}"#)]);
    headers.extend([("content-type", "application/json"), ("user-agent", "foo")]);
    let event = from_headers(&headers, br#"{"world":"hello"}"#).expect("the suite's event is valid");
    assert_eq!(event.extension("comexampleextension2"), Some(&AttributeValue::from(r#"{"othervalue": 5}"#)));
    assert_eq!(structured::read(&structured::write(&event).into(), &Limits::default()).as_ref(), Ok(&event));
}

#[test]
fn modes_are_told_by_the_content_type() {
    assert_eq!(Mode::of(Some("application/cloudevents-batch+json; charset=UTF-8")), Ok(Mode::Batch));
    assert_eq!(Mode::of(Some("application/json")), Ok(Mode::Binary));
    assert_eq!(Mode::of(None), Ok(Mode::Binary));
    for other in
        ["application/cloudevents+avro", "application/cloudevents", "APPLICATION/cloudevents-batch+xml; a=b"]
    {
        let error = Mode::of(Some(other)).expect_err(other);
        assert_eq!(error.to_string(), "what came is in an event format that is not read here");
    }
}

#[test]
fn the_example_of_the_tracing_extension() {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b9c7c989f97918e1-01";
    let headers = [
        ("ce-id", "1"),
        ("ce-specversion", "1.0"),
        ("ce-type", "example"),
        ("ce-source", "http://localhost"),
        ("ce-traceparent", traceparent),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    let event = from_headers(&headers, b"").expect("valid");
    let trace = event.trace().expect("a trace");
    assert_eq!(trace.to_traceparent(), traceparent.as_bytes());
    assert_eq!(event.data(), None);
    assert_eq!(event.clone().without_extension("traceparent").with_trace(trace), event);
}
