//! Whatever event there is comes back as it went, in each mode.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::envelope::{AttributeValue, Data, Envelope, Form, Limits, Time, batch, binary, structured};

/// Text that an attribute may have.
pub(super) fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 1..12).prop_map(|characters| {
        let allowed = |character: &char| {
            !character.is_control()
                && !(0xfdd0..=0xfdef).contains(&u32::from(*character))
                && u32::from(*character) % 0x1_0000 < 0xfffe
        };
        let text: String = characters.into_iter().filter(allowed).collect();
        if text.is_empty() { "x".to_owned() } else { text }
    })
}

pub(super) fn source() -> impl Strategy<Value = String> {
    "(https?://[a-z0-9.]{1,8}(:[0-9]{1,4})?)?(/[a-z0-9;=%:@_]{1,4}){1,3}(\\?[a-z=]{0,5})?"
        .prop_map(|source| source.replace('%', "%2F"))
}

pub(super) fn time() -> impl Strategy<Value = Time> {
    "(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,12})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
        .prop_map(|text| text.parse().expect("a time"))
}

/// A document of JSON, with spaces within.
pub(super) fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).expect("text is JSON")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,\n"))),
            vec(("[a-c\"\\\\\u{20ac}]{0,2}", inner), 0..4).prop_map(|members| {
                let member = |(name, value): (String, String)| {
                    format!("{} :\t{value}", serde_json::to_string(&name).expect("text is JSON"))
                };
                format!("{{ {}}}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

/// Data and its type.
fn data() -> impl Strategy<Value = (Option<Data>, Option<&'static str>)> {
    let json_types =
        prop_oneof![Just(None), Just(Some("application/json")), Just(Some("Text/X+JSON; a=\"b\""))];
    prop_oneof![
        (json(), json_types).prop_map(|(json, kind)| (Some(Data::json(json).expect("JSON")), kind)),
        any::<String>().prop_map(|text| (Some(Data::text(text)), Some("application/xml"))),
        (
            vec(any::<u8>(), 0..20),
            prop_oneof![Just(None), Just(Some("application/octet-stream")), Just(Some("application/json"))]
        )
            .prop_map(|(bytes, kind)| (Some(Data::binary(bytes)), kind)),
        prop_oneof![Just(None), Just(Some("text/plain")), Just(Some("application/json"))]
            .prop_map(|kind| (None, kind)),
    ]
}

fn value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        text().prop_map(Into::into),
        Just("".into()),
    ]
}

fn event() -> impl Strategy<Value = Envelope> {
    let required = (text(), source(), text());
    let optional = (option::of(text()), option::of(time()), option::of(Just("urn:example:schema#v1")));
    (required, optional, data(), btree_map("x[a-z0-9]{0,24}", value(), 0..4)).prop_map(
        |((id, source, kind), (subject, time, schema), (data, content_type), extensions)| {
            let mut event = Envelope::new(&id, &source, &kind).expect("valid");
            if let Some(subject) = subject {
                event = event.with_subject(&subject).expect("valid");
            }
            if let Some(time) = time {
                event = event.with_time(time);
            }
            if let Some(schema) = schema {
                event = event.with_data_schema(schema).expect("valid");
            }
            for (name, value) in extensions {
                event = event.with_extension(&name, value).expect("valid");
            }
            match data {
                Some(data) => event.with_data(data, content_type),
                None => event.without_data(content_type),
            }
            .expect("valid")
        },
    )
}

/// What binary mode can tell of an event: values as text, and the bytes.
fn as_headers_tell(event: &Envelope) -> (Vec<String>, Vec<(String, String)>, Vec<u8>) {
    let attributes = [
        Some(event.id()),
        Some(event.source()),
        Some(event.r#type()),
        event.subject(),
        event.time().map(Time::as_str),
        event.data_schema(),
    ];
    let attributes = attributes.into_iter().map(|text| text.unwrap_or("none").to_owned()).collect();
    let extensions = event.extensions().map(|(name, value)| (name.to_owned(), value.to_string())).collect();
    (attributes, extensions, event.data().map_or_else(Vec::new, |data| data.bytes().to_vec()))
}

proptest! {
    #[test]
    fn events_pass_through_json_unchanged(events in vec(event(), 0..4)) {
        for event in &events {
            let written = structured::write(event);
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&written).is_ok() || event.data().is_some_and(|data| data.form() == Form::Json));
            prop_assert_eq!(&structured::read(&written.into(), &Limits::default()).expect("valid"), event);
        }
        prop_assert_eq!(batch::read(&batch::write(&events), &Limits::default()).expect("valid"), events);
    }

    #[test]
    fn events_pass_through_headers_with_all_that_headers_can_tell(event in event()) {
        let message = binary::write(&event);
        let headers = message.headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
        let back = binary::read(headers, message.body.clone(), &Limits::default());
        let declared_json = event.data_content_type().is_some_and(|kind| kind == "application/json");
        let undeclared = event.data().is_some_and(|data| data.form() == Form::Binary && Data::json(data.bytes().clone()).is_err());
        match back {
            Ok(back) => {
                prop_assert_eq!(as_headers_tell(&back), as_headers_tell(&event));
                prop_assert_eq!(binary::write(&back), message);
            }
            // Bytes that are declared to be JSON and are none are an invalid event in this mode.
            Err(error) => prop_assert!(declared_json && undeclared && !message.body.is_empty(), "{}", error),
        }
    }

    /// The reader agrees with a parser of JSON that knows nothing of events.
    #[test]
    fn json_data_stays_byte_for_byte(json in json(), before in "[ \t\r\n]{0,2}", after in "[ \t\r\n]{0,2}") {
        let text = format!("{{\"specversion\":\"1.0\",\"id\":\"1\",\"data\":{before}{json}{after},\"source\":\"a\",\"type\":\"t\"}}");
        let event = super::from_json(&text).expect("valid");
        prop_assert_eq!(event.data().and_then(Data::as_text), Some(&*json));
    }
}
