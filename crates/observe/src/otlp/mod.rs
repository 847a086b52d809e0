//! Spans as OTLP writes them (<https://opentelemetry.io/docs/specs/otlp/>): the body of an
//! `ExportTraceServiceRequest` in binary Protobuf, and what the collector answers to it.

mod wire;

use intertie_core::span::{AttributeValue, Span, SpanKind};

use wire::{Message, fields};

/// The media type of [`encode`]'s bytes.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// Who recorded the spans: attributes such as `service.name`.
pub type Resource = Vec<(&'static str, String)>;

/// Whether a span's parent is known to be elsewhere, in bits above the trace flags.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

/// The request that hands `spans` to a collector.
pub fn encode(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |message| {
            for (name, value) in resource {
                message.message(1, |pair| text_attribute(pair, name, value));
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.bytes(1, b"intertie");
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            for span in spans {
                scope_spans.message(2, |message| encode_span(message, span));
            }
        });
    });
    request.finish()
}

fn encode_span(message: &mut Message, span: &Span) {
    let context = span.context;
    message.bytes(1, &context.trace_id.to_be_bytes());
    message.bytes(2, &context.span_id.to_be_bytes());
    if let Some(state) = &span.trace_state {
        message.bytes(3, state.as_bytes());
    }
    if let Some(parent) = span.parent {
        message.bytes(4, &parent.to_be_bytes());
    }
    message.bytes(5, span.name.as_bytes());
    let (kind, remote) = match span.kind {
        SpanKind::Server => (2, IS_REMOTE),
        SpanKind::Client => (3, 0),
    };
    message.varint(6, kind);
    message.fixed64(7, span.started.as_unix_nanos());
    message.fixed64(8, span.ended.as_unix_nanos());
    for (name, value) in &span.attributes {
        message.message(9, |pair| match value {
            AttributeValue::Name(text) => text_attribute(pair, name, text),
            AttributeValue::Text(text) => text_attribute(pair, name, text),
            AttributeValue::Number(number) => {
                pair.bytes(1, name.as_bytes());
                pair.message(2, |value| value.varint(3, *number as u64));
            }
        });
    }
    if span.failed {
        message.message(15, |status| status.varint(3, ERROR));
    }
    let remote = if span.parent.is_some() { HAS_IS_REMOTE | remote } else { 0 };
    message.fixed32(16, u32::from(context.flags()) | remote);
}

/// `KeyValue { key, value: AnyValue { string_value } }`.
fn text_attribute(pair: &mut Message, name: &str, text: &str) {
    pair.bytes(1, name.as_bytes());
    pair.message(2, |value| value.bytes(1, text.as_bytes()));
}

/// The spans that a collector rejected of those it was given, by its answer's body; what can not be read
/// rejects none.
pub fn rejected(answer: &[u8]) -> u64 {
    let partial_success = fields(answer).find_map(|(number, value)| (number == 1).then_some(value.bytes?));
    let rejected =
        |message| fields(message).find_map(|(number, value)| (number == 1).then_some(value.varint?));
    partial_success.and_then(rejected).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use intertie_core::clock::Timestamp;
    use intertie_core::trace::TraceContext;
    use proptest::prelude::*;

    use super::*;

    fn span() -> Span {
        let context = TraceContext { trace_id: 0xabc, span_id: 0x12, sampled: true, random: true };
        Span {
            context,
            parent: Some(0x34),
            trace_state: None,
            kind: SpanKind::Server,
            name: "GET".to_owned(),
            started: Timestamp::from_unix_nanos(1),
            ended: Timestamp::from_unix_nanos(2),
            attributes: vec![("url.path", "/a".into()), ("http.response.status_code", 503_u16.into())],
            failed: true,
        }
    }

    /// The bytes of the field `number` in `message`, which is there.
    fn inner(message: &[u8], number: u32) -> &[u8] {
        fields(message).find(|(found, _)| *found == number).and_then(|(_, value)| value.bytes).expect("there")
    }

    #[test]
    fn a_span_has_the_bytes_that_the_definition_gives_it() {
        let resource = vec![("service.name", "shop".to_owned())];
        let request = encode(&resource, &[span()]);
        let resource_spans = inner(&request, 1);
        assert_eq!(inner(resource_spans, 1), b"\x0a\x16\x0a\x0cservice.name\x12\x06\x0a\x04shop");
        let mut expected: Vec<u8> = Vec::new();
        expected.extend(b"\x0a\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a\xbc");
        expected.extend(b"\x12\x08\0\0\0\0\0\0\0\x12");
        expected.extend(b"\x22\x08\0\0\0\0\0\0\0\x34");
        expected.extend(b"\x2a\x03GET\x30\x02");
        expected.extend(b"\x39\x01\0\0\0\0\0\0\0\x41\x02\0\0\0\0\0\0\0");
        expected.extend(b"\x4a\x10\x0a\x08url.path\x12\x04\x0a\x02/a");
        expected.extend(b"\x4a\x20\x0a\x19http.response.status_code\x12\x03\x18\xf7\x03");
        expected.extend(b"\x7a\x02\x18\x02\x85\x01\x03\x03\0\0");
        assert_eq!(inner(inner(resource_spans, 2), 2), expected);
    }

    #[test]
    fn a_partial_success_says_how_many_were_rejected() {
        assert_eq!(rejected(b""), 0);
        assert_eq!(rejected(b"\x0a\x00"), 0);
        assert_eq!(rejected(b"\x0a\x07\x08\xac\x02\x12\x02no"), 300);
        assert_eq!(rejected(b"\x0a\xff"), 0, "it ends before its length");
    }

    proptest! {
        #[test]
        fn any_answer_of_a_collector_is_read(bytes: Vec<u8>) {
            rejected(&bytes);
            prop_assert!(fields(&bytes).count() <= bytes.len());
        }
    }
}
