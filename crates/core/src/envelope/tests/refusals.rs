//! What is no valid event: refused with the attribute, the reason, and where it stands.

use super::{from_headers, from_json};
use crate::envelope::{Data, Envelope, EnvelopeError, Limits, Reason, batch, structured};
use crate::quantity::ByteSize;

/// An event of JSON with `members` after the required ones.
fn event_with(members: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/a","type":"t"{members}}}"#)
}

#[track_caller]
fn check(read: Result<Envelope, EnvelopeError>, pointer: &str, reason: &Reason) {
    let error = read.expect_err("refused");
    assert_eq!((error.pointer().as_str(), &error.reason), (pointer, reason), "{error}");
}

#[test]
fn required_attributes_must_be_there_and_say_something() {
    for (name, expected) in [
        ("specversion", Reason::UnknownVersion),
        ("id", Reason::Empty),
        ("source", Reason::Empty),
        ("type", Reason::Empty),
    ] {
        let whole = serde_json::json!({ "specversion": "1.0", "id": "1", "source": "/a", "type": "t" });
        let with = |value: Option<serde_json::Value>| {
            let mut event = whole.clone();
            let members = event.as_object_mut().expect("an object");
            members.remove(name);
            members.extend(value.map(|value| (name.to_owned(), value)));
            from_json(&event.to_string())
        };
        let pointer = format!("/{name}");
        check(with(None), &pointer, &Reason::Missing);
        check(with(Some(serde_json::Value::Null)), &pointer, &Reason::Missing);
        check(with(Some("".into())), &pointer, &expected);
        check(with(Some(1.0.into())), &pointer, &Reason::WrongType { expected: "text" });
        check(with(Some(serde_json::json!(["1.0"]))), &pointer, &Reason::WrongType { expected: "text" });

        let headers = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/a"), ("ce-type", "t")];
        let others: Vec<_> = headers.into_iter().filter(|(header, _)| header[3..] != *name).collect();
        check(from_headers(&others, b""), &pointer, &Reason::Missing);
    }
    for version in ["0.3", "1.0.2", "1", "1.1", "2.0"] {
        let json = event_with("").replace("\"1.0\"", &format!("\"{version}\""));
        check(from_json(&json), "/specversion", &Reason::UnknownVersion);
    }
}

#[test]
fn attributes_follow_their_grammars() {
    let malformed = |expected| Reason::Malformed { expected };
    for (members, pointer, reason) in [
        (r#","time":"yesterday""#, "/time", malformed("a time of RFC 3339")),
        (r#","time":1522949460"#, "/time", Reason::WrongType { expected: "text" }),
        (r#","time":"""#, "/time", malformed("a time of RFC 3339")),
        (r#","subject":"""#, "/subject", Reason::Empty),
        (r#","subject":"a\nb""#, "/subject", Reason::Character('\n')),
        (r#","subject":"\uffff""#, "/subject", Reason::Character('\u{ffff}')),
        (r#","subject":"\uDEAD""#, "/subject", malformed("text of Unicode")),
        (r#","dataschema":"/relative""#, "/dataschema", malformed("an absolute URI")),
        (r#","dataschema":"""#, "/dataschema", Reason::Empty),
        (r#","datacontenttype":"json""#, "/datacontenttype", malformed("a media type")),
        (r#","datacontenttype":"json","data":1"#, "/datacontenttype", malformed("a media type")),
        (r#","datacontenttype":"""#, "/datacontenttype", Reason::Empty),
        (r#","datacontenttype":"text/plain","data":1"#, "/data", Reason::WrongType { expected: "text" }),
        (r#","datacontenttype":"text/plain","data":null"#, "/data", Reason::WrongType { expected: "text" }),
        (r#","datacontenttype":"text/plain","data":"\ud800""#, "/data", malformed("text of Unicode")),
        (r#","data_base64":"Zg""#, "/data_base64", malformed("base64")),
        (r#","data_base64":1"#, "/data_base64", Reason::WrongType { expected: "text" }),
        (r#","data":1,"data_base64":"Zg==""#, "/data_base64", Reason::Conflict { with: "data" }),
        (r#","data":null,"data_base64":"Zg==""#, "/data_base64", Reason::Conflict { with: "data" }),
        (r#","a":{"b":1}"#, "/a", Reason::WrongType { expected: "a boolean, a whole number or text" }),
        (r#","a":[]"#, "/a", Reason::WrongType { expected: "a boolean, a whole number or text" }),
        (r#","a":1.0"#, "/a", malformed("a whole number of 32 bits")),
        (r#","a":1e3"#, "/a", malformed("a whole number of 32 bits")),
        (r#","a":2147483648"#, "/a", malformed("a whole number of 32 bits")),
        (r#","a":"\u0007""#, "/a", Reason::Character('\u{7}')),
        (r#","aB":1"#, "/aB", Reason::Name),
        (r#","a~/b":null"#, "/a~0~1b", Reason::Name),
        (r#","":1"#, "/", Reason::Name),
        (r#","data_base65":"Zg==""#, "/data_base65", Reason::Name),
    ] {
        check(from_json(&event_with(members)), pointer, &reason);
    }
    check(from_json(&event_with("").replace("/a", "a b")), "/source", &malformed("a URI-reference"));
}

#[test]
fn what_is_there_twice_is_refused() {
    for members in [r#","id":"2""#, r#","\u0069d":"1""#, r#","id":null"#] {
        check(from_json(&event_with(members)), "/id", &Reason::Duplicate);
    }
    check(from_json(&event_with(r#","a":1,"b":2,"a":1"#)), "/a", &Reason::Duplicate);
    check(from_json(&event_with(r#","data":1,"data":1"#)), "/data", &Reason::Duplicate);
    // Within the data it is the data's own matter.
    let event = from_json(&event_with(r#","data":{"a":1,"a":2}"#)).expect("valid");
    assert_eq!(event.data().and_then(Data::as_text), Some(r#"{"a":1,"a":2}"#));
}

#[test]
fn what_is_no_json_is_told_by_its_place() {
    let syntax = |line, column| Reason::Syntax { line, column };
    check(from_json("{\"id\": 1,\n x}"), "", &syntax(2, 2));
    check(from_json(&event_with("")[..20]), "", &syntax(1, 20));
    check(from_json(&format!("{}x", event_with(""))), "", &syntax(1, event_with("").len() + 1));
    check(from_json(""), "", &syntax(1, 0));
    check(from_json("\u{feff}{}"), "", &syntax(1, 1));
    check(from_json("[]"), "", &Reason::WrongType { expected: "an object of JSON" });
    check(
        structured::read(&b"{\"id\":\"\xff\"}".to_vec().into(), &Limits::default()),
        "",
        &Reason::Malformed { expected: "UTF-8" },
    );
    check(from_json(&event_with(r#","data":{"a":01}"#)), "", &syntax(1, 69));
}

#[test]
fn what_is_allowed_is_read() {
    for members in [
        r#","anamelongerthanthetwentythatproducersareaskedfor":true"#,
        r#","a":-2147483648,"b":2147483647,"c":false,"d":"""#,
        r#","time":null,"subject":null,"dataschema":null,"datacontenttype":null,"data_base64":null,"a":null"#,
        r#","data":null,"data_base64":null"#,
        r#","dataschema":"urn:example:order#/definitions/v1","datacontenttype":"application/json""#,
        r#","datacontenttype":"application/json","data_base64":"e30=""#,
        r#","data":"\ud800""#,
    ] {
        if let Err(error) = from_json(&event_with(members)) {
            panic!("{members}: {error}");
        }
    }
}

/// Nothing looks into the data, so nothing recurses.
#[test]
fn deep_data_needs_no_deep_stack() {
    let deep = format!("{}{}", "[".repeat(400_000), "]".repeat(400_000));
    let event = from_json(&event_with(&format!(r#","data":{deep}"#))).expect("valid");
    assert_eq!(event.data().map(|data| data.bytes().len()), Some(deep.len()));
    assert!(Data::json(deep.clone()).is_ok());
    check(
        from_json(&event_with(&format!(r#","a":{deep}"#))),
        "/a",
        &Reason::OverLimit { limit: "attribute_bytes_max", max: 16 << 10 },
    );
}

#[test]
fn headers_are_refused_for_the_same_reasons() {
    let check = |headers: &[(&str, &str)], body: &[u8], pointer: &str, reason: &Reason| {
        let required = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/a"), ("ce-type", "t")];
        let headers: Vec<_> = required.iter().chain(headers).copied().collect();
        check(from_headers(&headers, body), pointer, reason);
    };
    let malformed = |expected| Reason::Malformed { expected };
    check(&[("CE-ID", "1")], b"", "/id", &Reason::Duplicate);
    check(&[("ce-a", "1"), ("ce-A", "1")], b"", "/a", &Reason::Duplicate);
    check(&[("content-type", "a/b"), ("Content-Type", "a/b")], b"", "/datacontenttype", &Reason::Duplicate);
    check(
        &[("ce-datacontenttype", "a/b")],
        b"",
        "/datacontenttype",
        &Reason::Conflict { with: "content-type" },
    );
    check(&[("content-type", "json")], b"{}", "/datacontenttype", &malformed("a media type"));
    check(&[("content-type", "application/json")], b"I'm no string", "/data", &malformed("JSON"));
    check(&[("content-type", "application/json")], b"\"\xff\"", "/data", &malformed("JSON"));
    check(&[("ce-data", "1")], b"", "/data", &Reason::Name);
    check(&[("ce-data_base64", "1")], b"", "/data_base64", &Reason::Name);
    check(&[("ce-a-b", "1")], b"", "/a-b", &Reason::Name);
    check(&[("ce-", "1")], b"", "/", &Reason::Name);
    check(&[("ce-subject", "")], b"", "/subject", &Reason::Empty);
    check(&[("ce-subject", "a%0Ab")], b"", "/subject", &Reason::Character('\n'));
    check(&[("ce-subject", "%C0%A0")], b"", "/subject", &malformed("percent-encoded UTF-8"));
    check(&[("ce-subject", "100%")], b"", "/subject", &malformed("percent-encoded UTF-8"));
    check(&[("ce-subject", "\u{f6}")], b"", "/subject", &malformed("printable ASCII"));
    check(&[("ce-time", "now")], b"", "/time", &malformed("a time of RFC 3339"));
}

#[test]
fn limits_are_named() {
    let over = |limit, max| Reason::OverLimit { limit, max };
    let number = |value| std::num::NonZeroU32::new(value).expect("not zero");
    let limits = Limits {
        message_bytes_max: ByteSize::from_bytes(200),
        attributes_max: number(6),
        attribute_bytes_max: ByteSize::from_bytes(20),
        name_bytes_max: number(10),
        batch_events_max: number(2),
    };
    let read = |json: &str| structured::read(&json.to_owned().into(), &limits);
    let fits = event_with(r#","a":"","b":1,"data":"long data is no attribute""#);
    assert!(read(&fits).is_ok());
    check(read(&fits.replace("\"b\"", "\"b\":1,\"c\"")), "", &over("attributes_max", 6));
    check(
        read(&fits.replace("\"b\"", "\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\"")),
        "",
        &over("attributes_max", 6),
    );
    assert!(read(&event_with(r#","a":"123456789012345678""#)).is_ok());
    check(read(&event_with(r#","a":"1234567890123456789""#)), "/a", &over("attribute_bytes_max", 20));
    assert!(read(&event_with(r#","abcdefghij":1"#)).is_ok());
    check(read(&event_with(r#","abcdefghijk":1"#)), "/abcdefghijk", &over("name_bytes_max", 10));
    check(read(&format!("{fits:201}")), "", &over("message_bytes_max", 200));
    assert!(read(&format!("{fits:200}")).is_ok());

    let binary = |headers: &[(&str, &str)], body: &[u8]| {
        let required = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/a"), ("ce-type", "t")];
        let headers = required.iter().chain(headers).map(|(name, value)| (*name, value.as_bytes()));
        super::binary::read(headers, body.to_vec().into(), &limits)
    };
    assert!(binary(&[("ce-a", "1"), ("ce-b", "1"), ("content-type", "a/b")], &[0; 200]).is_ok());
    check(binary(&[], &[0; 201]), "", &over("message_bytes_max", 200));
    check(binary(&[("ce-a", "1"), ("ce-b", "1"), ("ce-c", "1")], b""), "", &over("attributes_max", 6));
    check(binary(&[("ce-a", "123456789012345678901")], b""), "/a", &over("attribute_bytes_max", 20));
    check(binary(&[("ce-abcdefghijk", "1")], b""), "/abcdefghijk", &over("name_bytes_max", 10));
    let content_type = [("content-type", "application/cloudevents")];
    check(binary(&content_type, b""), "/datacontenttype", &over("attribute_bytes_max", 20));

    let events = |count| format!("[{}]", vec![event_with(""); count].join(","));
    assert_eq!(batch::read(events(2).as_bytes(), &limits).map(|events| events.len()), Ok(2));
    let limits = Limits { message_bytes_max: ByteSize::from_bytes(1000), ..limits };
    for count in [3, 5] {
        let error = batch::read(events(count).as_bytes(), &limits).expect_err("too many");
        assert_eq!(error, EnvelopeError::whole(over("batch_events_max", 2)));
    }
}

#[test]
fn the_page_tells_the_limits_and_their_defaults() {
    let page = include_str!("../../../../../docs/patterns/envelope.md");
    let defaults = serde_json::to_value(Limits::default()).expect("JSON");
    for (key, value) in defaults.as_object().expect("an object") {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{key}` |"))).unwrap_or_default();
        assert!(row.contains(&format!("| `{value}` |")), "{key} is {value}: {row}");
    }
    serde_json::from_str::<Limits>(r#"{ "events_max": 3 }"#).expect_err("an unknown key");
}

#[test]
fn a_batch_is_refused_whole_and_the_event_named() {
    let check = |batch: &str, pointer: &str, shown: &str| {
        let error = batch::read(batch.as_bytes(), &Limits::default()).expect_err("refused");
        assert_eq!((error.pointer().as_str(), error.to_string().as_str()), (pointer, shown));
    };
    let good = event_with("");
    let bad = good.replace("\"source\":\"/a\",", "");
    check(&format!("[{good},{good},{good},{bad}]"), "/3/source", "event 3: `source` is missing");
    let late = event_with(r#","time":"now""#);
    check(&format!("[{late},{bad}]"), "/0/time", "event 0: `time` does not read as a time of RFC 3339");
    check(&format!("[{good},1]"), "/1", "event 1: what came is not an object of JSON");
    check(&format!("[{good},null]"), "/1", "event 1: what came is not an object of JSON");
    check(&good, "", "what came is not an array of JSON");
    check(&format!("[{good},]"), "", &format!("what came is no JSON at line 1, column {}", good.len() + 3));
}

#[test]
fn long_names_are_repeated_in_part() {
    for name in ["x".repeat(10_000), "\u{20ac}".repeat(10_000)] {
        let error = from_json(&event_with(&format!(r#","{name}":1"#))).expect_err("refused");
        assert_eq!(error.reason, Reason::OverLimit { limit: "name_bytes_max", max: 64 });
        assert!(error.to_string().len() < 200 && error.pointer().is_empty(), "{error}");
    }
}

#[test]
fn what_is_made_in_code_is_held_to_the_same() {
    let event = || Envelope::new("1", "/a", "t").expect("valid");
    let reason = |made: Result<Envelope, EnvelopeError>| made.expect_err("refused").reason;
    assert_eq!(reason(Envelope::new("", "/a", "t")), Reason::Empty);
    assert_eq!(reason(Envelope::new("1", "a b", "t")), Reason::Malformed { expected: "a URI-reference" });
    assert_eq!(reason(Envelope::new("1", "/a", "t\u{85}")), Reason::Character('\u{85}'));
    assert_eq!(reason(event().with_extension("time", "x")), Reason::Name);
    assert_eq!(reason(event().with_extension("a", "\0")), Reason::Character('\0'));
    assert_eq!(reason(event().with_correlation_id("")), Reason::Empty);
    for bad in [&b"{"[..], b"1 2", b"", b"\"\xff\""] {
        let error = Data::json(bad).expect_err("refused");
        assert_eq!(error.to_string(), "`data` does not read as JSON");
    }
    let json = Data::json("{}").expect("JSON");
    assert!(event().with_data(json.clone(), None).is_ok());
    assert!(event().with_data(json.clone(), Some("application/problem+json")).is_ok());
    for (data, content_type) in
        [(json, Some("text/plain")), (Data::text("{}"), Some("text/json")), (Data::text("x"), None)]
    {
        let error = event().with_data(data, content_type).expect_err("refused");
        assert_eq!(error.pointer(), "/datacontenttype");
    }
}

#[test]
fn known_extensions_are_judged_when_they_are_asked_for() {
    let event =
        from_json(&event_with(r#","expirytime":"soon","priority":7,"traceparent":"00-x","correlationid":5"#));
    let event = event.expect("an extension of that name may be another system's");
    assert_eq!(
        event.expiry_time().expect_err("no time").to_string(),
        "`expirytime` does not read as a time of RFC 3339"
    );
    assert_eq!((event.priority().as_deref(), event.correlation_id().as_deref()), (Some("7"), Some("5")));
    assert_eq!(event.trace(), None);
    let time: crate::envelope::Time = "2025-08-23T10:30:00+02:00".parse().expect("a time");
    assert_eq!(event.with_expiry_time(time.clone()).expiry_time(), Ok(Some(time)));
}

#[test]
fn clones_share_until_they_are_changed() {
    let event = from_json(&event_with(r#","a":1,"data":[1]"#)).expect("valid");
    let clone = event.clone();
    assert_eq!(event.id().as_ptr(), clone.id().as_ptr());
    assert_eq!(
        event.data().map(|data| data.bytes().as_ptr()),
        clone.data().map(|data| data.bytes().as_ptr())
    );
    let changed = clone.with_extension("a", 2).expect("valid");
    assert_ne!(changed, event);
    assert_eq!(event.extension("a"), Some(&1.into()));
    assert_eq!(changed.without_extension("a").extension("a"), None);
}
