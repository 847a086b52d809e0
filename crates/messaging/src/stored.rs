//! What a message says, as the bytes of one column.
//!
//! Envelopes are written by whoever sends and read by whoever receives, so that the writer only copies bytes. The
//! identity of an envelope, its source and id, stands first and in one piece: it is what a window of deduplication
//! remembers.

use crate::Content;
use bytes::{BufMut, Bytes};
use intertie_core::envelope::{AttributeValue, Data, Envelope, EnvelopeError, Form, Time};

const ENVELOPE: u8 = 1;
const UNDECODABLE: u8 = 2;

/// No attribute has a control character, so this ends the source and begins the id.
const BETWEEN: char = '\n';

const SUBJECT: u8 = 1;
const TIME: u8 = 2;
const SCHEMA: u8 = 4;
const TYPE: u8 = 8;
const JSON: u8 = 16;
const TEXT: u8 = 32;
const BINARY: u8 = 64;

/// The bytes of `content`.
pub fn write(content: &Content) -> Vec<u8> {
    match content {
        Content::Envelope(envelope) => write_envelope(envelope),
        Content::Undecodable { bytes, headers, problem } => {
            let mut out = vec![UNDECODABLE];
            put_text(&mut out, problem);
            put_length(&mut out, headers.len());
            for (name, value) in headers {
                put_text(&mut out, name);
                put_text(&mut out, value);
            }
            out.extend_from_slice(bytes);
            out
        }
    }
}

/// The same of an envelope.
pub fn write_envelope(envelope: &Envelope) -> Vec<u8> {
    let data = envelope.data();
    let mut out = Vec::with_capacity(128 + data.map_or(0, |data| data.bytes().len()));
    out.put_u8(ENVELOPE);
    put_length(&mut out, envelope.source().len() + 1 + envelope.id().len());
    out.extend_from_slice(envelope.source().as_bytes());
    out.put_u8(BETWEEN as u8);
    out.extend_from_slice(envelope.id().as_bytes());
    put_text(&mut out, envelope.r#type());
    let optional = [
        (SUBJECT, envelope.subject()),
        (TIME, envelope.time().map(Time::as_str)),
        (SCHEMA, envelope.data_schema()),
        (TYPE, envelope.data_content_type()),
    ];
    let form = data.map_or(0, |data| match data.form() {
        Form::Json => JSON,
        Form::Text => TEXT,
        Form::Binary => BINARY,
    });
    let has = optional.iter().filter(|(_, text)| text.is_some()).fold(form, |has, (bit, _)| has | bit);
    out.put_u8(has);
    for text in optional.iter().filter_map(|(_, text)| *text) {
        put_text(&mut out, text);
    }
    put_length(&mut out, envelope.extensions().count());
    for (name, value) in envelope.extensions() {
        put_text(&mut out, name);
        match value {
            AttributeValue::Boolean(value) => out.extend_from_slice(&[b'b', u8::from(*value)]),
            AttributeValue::Integer(value) => {
                out.put_u8(b'i');
                out.put_i32(*value);
            }
            AttributeValue::Text(text) => {
                out.put_u8(b't');
                put_text(&mut out, text);
            }
        }
    }
    if let Some(data) = data {
        out.extend_from_slice(data.bytes());
    }
    out
}

/// Source and id of an envelope; nothing for what is none.
pub fn identity(written: &[u8]) -> Option<&str> {
    let mut rest = Rest(written);
    if rest.byte()? != ENVELOPE {
        return None;
    }
    rest.text()
}

/// The content that was written so. Bytes that nobody here has written come back as undecodable.
pub fn read(written: Bytes) -> Content {
    let content = match written.first() {
        Some(&ENVELOPE) => read_envelope(&written).map(Content::Envelope),
        Some(&UNDECODABLE) => read_undecodable(&written),
        _ => None,
    };
    content.unwrap_or_else(|| Content::Undecodable {
        bytes: written,
        headers: Vec::new(),
        problem: "the stored message is damaged".to_owned(),
    })
}

fn read_undecodable(written: &Bytes) -> Option<Content> {
    let mut rest = Rest(&written[1..]);
    let problem = rest.text()?.to_owned();
    let mut headers = Vec::new();
    for _ in 0..rest.length()? {
        headers.push((rest.text()?.to_owned(), rest.text()?.to_owned()));
    }
    Some(Content::Undecodable { bytes: written.slice_ref(rest.0), headers, problem })
}

fn read_envelope(written: &Bytes) -> Option<Envelope> {
    let mut rest = Rest(&written[1..]);
    let (source, id) = rest.text()?.split_once(BETWEEN)?;
    let mut envelope = Envelope::new(id, source, rest.text()?).ok()?;
    let has = rest.byte()?;
    let mut optional = |bit: u8| match has & bit {
        0 => Some(None),
        _ => rest.text().map(Some),
    };
    let (subject, time, schema, r#type) =
        (optional(SUBJECT)?, optional(TIME)?, optional(SCHEMA)?, optional(TYPE)?);
    if let Some(subject) = subject {
        envelope = envelope.with_subject(subject).ok()?;
    }
    if let Some(time) = time {
        envelope = envelope.with_time(time.parse::<Time>().ok()?);
    }
    if let Some(schema) = schema {
        envelope = envelope.with_data_schema(schema).ok()?;
    }
    for _ in 0..rest.length()? {
        let name = rest.text()?;
        let value = match rest.byte()? {
            b'b' => AttributeValue::Boolean(rest.byte()? != 0),
            b'i' => AttributeValue::Integer(i32::from_be_bytes(rest.take(4)?.try_into().ok()?)),
            b't' => AttributeValue::Text(rest.text()?.into()),
            _ => return None,
        };
        envelope = envelope.with_extension(name, value).ok()?;
    }
    with_data(envelope, has, written.slice_ref(rest.0), r#type).ok()
}

fn with_data(
    envelope: Envelope,
    has: u8,
    bytes: Bytes,
    r#type: Option<&str>,
) -> Result<Envelope, EnvelopeError> {
    let data = match has & (JSON | TEXT | BINARY) {
        0 => return envelope.without_data(r#type),
        JSON => Data::json(bytes)?,
        TEXT => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Data::text(text),
            Err(_) => Data::binary(bytes),
        },
        _ => Data::binary(bytes),
    };
    envelope.with_data(data, r#type)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Seven bits to a byte, the lowest first; the high bit says that there are more.
fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn length(&mut self) -> Option<usize> {
        let mut length = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(length);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelopes() -> impl Strategy<Value = Envelope> {
        let data = prop_oneof![
            Just(None),
            "[ -~]{0,200}".prop_map(|text| Some((Data::text(text), Some("text/plain")))),
            any::<Vec<u8>>().prop_map(|bytes| Some((Data::binary(bytes), None))),
            any::<Vec<i32>>().prop_map(|numbers| {
                let json = Data::json(format!("{numbers:?}")).expect("JSON");
                Some((json, Some("application/json")))
            }),
        ];
        let extensions = proptest::collection::vec(
            prop_oneof![
                any::<bool>().prop_map(AttributeValue::from),
                any::<i32>().prop_map(AttributeValue::from),
                "[ -~äöü💡]{0,20}".prop_map(AttributeValue::from),
            ],
            0..4,
        );
        ("[ -~]{1,300}", "[ -~ä]{1,20}", data, extensions, any::<[bool; 3]>()).prop_map(
            |(id, subject, data, extensions, has)| {
                let mut envelope = Envelope::new(&id, "/a?b=c", "tested").expect("an event");
                if has[0] {
                    envelope = envelope.with_subject(&subject).expect("a subject");
                }
                if has[1] {
                    let time = "2018-04-05T17:31:00.123+02:00".parse::<Time>();
                    envelope = envelope.with_time(time.expect("a time"));
                }
                if has[2] {
                    envelope = envelope.with_data_schema("https://example.com/schema").expect("a schema");
                }
                for (at, value) in extensions.into_iter().enumerate() {
                    envelope = envelope.with_extension(&format!("extension{at}"), value).expect("one");
                }
                match data {
                    Some((data, r#type)) => envelope.with_data(data, r#type).expect("data"),
                    None => envelope,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn an_envelope_comes_back_as_it_was_written(envelope in envelopes()) {
            let written = write_envelope(&envelope);
            let identity = identity(&written).map(str::to_owned);
            prop_assert_eq!(identity, Some(format!("{}\n{}", envelope.source(), envelope.id())));
            prop_assert_eq!(read(written.into()), Content::Envelope(envelope));
        }

        #[test]
        fn damaged_bytes_are_some_content_and_no_panic(
            envelope in envelopes(),
            at: prop::sample::Index,
            byte: u8,
            cut: prop::sample::Index,
        ) {
            let mut written = write_envelope(&envelope);
            let place = at.index(written.len());
            written[place] = byte;
            written.truncate(cut.index(written.len()) + 1);
            let _ = identity(&written);
            let _ = read(written.into());
        }

        #[test]
        fn what_is_no_envelope_comes_back_too(
            bytes: Vec<u8>,
            headers in proptest::collection::vec(("[a-z]{1,9}", "[ -~]{0,9}"), 0..3),
            problem in "[ -~]{0,30}",
        ) {
            let content = Content::Undecodable { bytes: bytes.into(), headers, problem };
            let written = write(&content);
            prop_assert_eq!(identity(&written), None);
            prop_assert_eq!(read(written.into()), content);
        }
    }
}
