//! One event as a JSON document: the JSON Event Format, version 1.0.2.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::attribute::{check_name, is_core};
use super::json::{self, Member};
use super::media_type::MediaType;
use super::{AttributeValue, Data, Envelope, EnvelopeError, Form, Limits, Reason, base64};

/// The media type of an event in this format.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Members that are no attributes.
const DATA: &str = "data";
const DATA_BASE64: &str = "data_base64";

/// Reads one event. JSON data stays byte for byte what it was, and shares the memory of `input`.
///
/// Decided where the specification leaves a choice: a member that is there twice is refused, an extension of
/// another type than boolean, 32-bit whole number or text too, and one that is null is as if it were not there. A
/// name longer than the 20 characters that producers should keep to is read.
///
/// # Errors
/// When it is no valid event, or above one of the limits: what and why.
pub fn read(input: &Bytes, limits: &Limits) -> Result<Envelope, EnvelopeError> {
    limits.check_message(input.len())?;
    read_object(utf8(input)?, limits, |data| input.slice_ref(data.as_bytes()))
}

pub(super) fn utf8(input: &[u8]) -> Result<&str, EnvelopeError> {
    std::str::from_utf8(input).map_err(|_| EnvelopeError::whole(Reason::Malformed { expected: "UTF-8" }))
}

/// Reads the object `text`; `keep` makes JSON data outlive it.
pub(super) fn read_object(
    text: &str,
    limits: &Limits,
    keep: impl FnOnce(&str) -> Bytes,
) -> Result<Envelope, EnvelopeError> {
    let members_max = (limits.attributes_max.get() as usize).saturating_add([DATA, DATA_BASE64].len());
    let members = json::members(text, members_max)?.ok_or_else(|| limits.attributes())?;
    let members = Members::sorted(members, limits)?;

    let mut event = Envelope::from_text(|name| members.text(name))?;
    for (name, value) in members.extensions() {
        let refused = |reason| EnvelopeError::new(name, reason);
        check_name(name).map_err(refused)?;
        if let Some(value) = extension(value).map_err(refused)? {
            event = event.with_extension(name, value)?;
        }
    }
    let content_type = members.text("datacontenttype")?;
    match members.data(content_type.as_deref(), keep)? {
        Some(data) => event.with_data(data, content_type.as_deref()),
        None => event.without_data(content_type.as_deref()),
    }
}

/// The members of an event, sorted, each name once.
struct Members<'a>(Vec<Member<'a>>);

impl<'a> Members<'a> {
    fn sorted(mut members: Vec<Member<'a>>, limits: &Limits) -> Result<Self, EnvelopeError> {
        members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut attributes = 0_u32;
        for (name, value) in &members {
            if ![DATA, DATA_BASE64].contains(&&**name) {
                attributes += 1;
                limits.check_attribute(name, value.get().len())?;
            }
        }
        if attributes > limits.attributes_max.get() {
            return Err(limits.attributes());
        }
        match members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(EnvelopeError::new(&pair[0].0, Reason::Duplicate)),
            None => Ok(Self(members)),
        }
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        Some(self.0[found].1)
    }

    /// An attribute that is text; null is as if it were not there.
    fn text(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, EnvelopeError> {
        let value = self.get(name).map(RawValue::get).filter(|value| *value != "null");
        value.map(text).transpose().map_err(|reason| EnvelopeError::new(name, reason))
    }

    fn extensions(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0
            .iter()
            .filter(|(name, _)| !is_core(name) && name != DATA_BASE64)
            .map(|(name, value)| (&**name, value.get()))
    }

    /// The data: null is none in base64, and a value of its own in JSON.
    fn data(
        &self,
        content_type: Option<&str>,
        keep: impl FnOnce(&str) -> Bytes,
    ) -> Result<Option<Data>, EnvelopeError> {
        let refused = |name, reason| EnvelopeError::new(name, reason);
        let encoded = self.text(DATA_BASE64)?;
        match (self.get(DATA).map(RawValue::get), encoded) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(refused(DATA_BASE64, Reason::Conflict { with: DATA })),
            (None, Some(encoded)) => {
                let bytes = base64::decode(encoded.as_bytes())
                    .ok_or_else(|| refused(DATA_BASE64, Reason::Malformed { expected: "base64" }))?;
                Ok(Some(Data::binary(bytes)))
            }
            (Some(data), None) => {
                // A malformed type is refused where it is set.
                let json = content_type.and_then(MediaType::parse).is_none_or(MediaType::is_json);
                Ok(Some(if json {
                    Data::checked_json(keep(data))
                } else {
                    Data::text(text(data).map_err(|reason| refused(DATA, reason))?)
                }))
            }
        }
    }
}

fn text(value: &str) -> Result<Cow<'_, str>, Reason> {
    if !value.starts_with('"') {
        return Err(Reason::WrongType { expected: "text" });
    }
    // Half of a surrogate pair is the one thing that JSON allows and Unicode does not.
    json::string(value).ok_or(Reason::Malformed { expected: "text of Unicode" })
}

fn extension(value: &str) -> Result<Option<AttributeValue>, Reason> {
    Ok(Some(match value.as_bytes() {
        b"null" => return Ok(None),
        b"true" => AttributeValue::Boolean(true),
        b"false" => AttributeValue::Boolean(false),
        [b'"', ..] => AttributeValue::Text(text(value)?.into()),
        [b'{' | b'[', ..] => return Err(Reason::WrongType { expected: "a boolean, a whole number or text" }),
        _ => {
            let number =
                value.parse().map_err(|_| Reason::Malformed { expected: "a whole number of 32 bits" })?;
            AttributeValue::Integer(number)
        }
    }))
}

/// Writes one event: required attributes, optional ones, extensions by name, data.
pub fn write(event: &Envelope) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + event.data().map_or(0, |data| data.bytes().len()));
    write_into(event, &mut out);
    out
}

pub(super) fn write_into(event: &Envelope, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"specversion\":\"1.0\"");
    let attributes = [
        ("id", Some(event.id())),
        ("source", Some(event.source())),
        ("type", Some(event.r#type())),
        ("subject", event.subject()),
        ("time", event.time().map(super::Time::as_str)),
        ("datacontenttype", event.data_content_type()),
        ("dataschema", event.data_schema()),
    ];
    for (name, text) in attributes {
        if let Some(text) = text {
            write_name(name, out);
            json::write_string(text, out);
        }
    }
    for (name, value) in event.extensions() {
        write_name(name, out);
        match value {
            AttributeValue::Text(text) => json::write_string(text, out),
            value => out.extend_from_slice(value.text().as_bytes()),
        }
    }
    if let Some(data) = event.data() {
        write_data(data, out);
    }
    out.push(b'}');
}

/// Names of attributes have nothing to escape.
fn write_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_data(data: &Data, out: &mut Vec<u8>) {
    match (data.form(), data.as_text()) {
        (Form::Json, _) => {
            write_name(DATA, out);
            out.extend_from_slice(data.bytes());
        }
        (Form::Text, Some(text)) => {
            write_name(DATA, out);
            json::write_string(text, out);
        }
        (Form::Binary | Form::Text, _) => {
            write_name(DATA_BASE64, out);
            out.push(b'"');
            base64::encode(data.bytes(), out);
            out.push(b'"');
        }
    }
}
