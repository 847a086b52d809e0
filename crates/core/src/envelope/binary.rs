//! One event as headers and a body: binary mode of the HTTP Protocol Binding, version 1.0.2.
//!
//! Names and values of headers are text here; a server maps them to its own types.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::event::VERSION;
use super::media_type::MediaType;
use super::{AttributeValue, Data, Envelope, EnvelopeError, Form, Limits, Reason, header_value};

const PREFIX: &str = "ce-";
const CONTENT_TYPE: &str = "content-type";

/// An event as HTTP carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Names in lower case and values, each name once; printable ASCII.
    pub headers: Vec<(String, String)>,
    /// The data, empty when there is none.
    pub body: Bytes,
}

/// Reads one event from the headers and the body of a request or an answer. Headers that are none of an event are
/// passed over.
///
/// Each extension is text, since headers do not tell types. A body whose type is JSON must be JSON. An empty body is
/// no data.
///
/// # Errors
/// When it is no valid event, or above one of the limits: what and why, by the names that the JSON format has.
pub fn read<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    body: Bytes,
    limits: &Limits,
) -> Result<Envelope, EnvelopeError> {
    limits.check_message(body.len())?;
    let (mut attributes, content_type) = collect(headers, limits)?;
    let mut event = Envelope::from_text(|name| Ok(attributes.remove(name).map(Cow::Owned)))?;
    for (name, value) in attributes {
        event = event.with_extension(&name, value)?;
    }
    match data(body, content_type.as_deref())? {
        Some(data) => event.with_data(data, content_type.as_deref()),
        None => event.without_data(content_type.as_deref()),
    }
}

/// The attributes by name, decoded, and the content type as it is.
fn collect<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    limits: &Limits,
) -> Result<(BTreeMap<String, String>, Option<String>), EnvelopeError> {
    let mut attributes = BTreeMap::new();
    let mut content_type = None;
    for (header, value) in headers {
        if header.eq_ignore_ascii_case(CONTENT_TYPE) {
            let refused = |reason| EnvelopeError::new("datacontenttype", reason);
            limits.check_attribute("datacontenttype", value.len())?;
            let text = std::str::from_utf8(value.trim_ascii())
                .map_err(|_| refused(Reason::Malformed { expected: "a media type" }))?;
            if content_type.replace(text.to_owned()).is_some() {
                return Err(refused(Reason::Duplicate));
            }
        }
        let Some((_, name)) =
            header.split_at_checked(PREFIX.len()).filter(|(prefix, _)| prefix.eq_ignore_ascii_case(PREFIX))
        else {
            continue;
        };
        limits.check_attribute(name, value.len())?;
        let name = name.to_ascii_lowercase();
        // It is carried as the content type, and would say the same twice.
        if name == "datacontenttype" {
            return Err(EnvelopeError::new(&name, Reason::Conflict { with: CONTENT_TYPE }));
        }
        let text = header_value::decode(value).map_err(|reason| EnvelopeError::new(&name, reason))?;
        if attributes.len() == limits.attributes_max.get() as usize {
            return Err(limits.attributes());
        }
        if attributes.contains_key(&name) {
            return Err(EnvelopeError::new(&name, Reason::Duplicate));
        }
        attributes.insert(name, text);
    }
    Ok((attributes, content_type))
}

fn data(body: Bytes, content_type: Option<&str>) -> Result<Option<Data>, EnvelopeError> {
    if body.is_empty() {
        return Ok(None);
    }
    // A malformed type is refused where it is set.
    let data = match content_type.and_then(MediaType::parse) {
        Some(media_type) if media_type.is_json() => Data::json(body)?,
        Some(media_type) if media_type.is_text() => Data::text_or_binary(body),
        _ => Data::binary(body),
    };
    Ok(Some(data))
}

/// Writes one event. JSON data of no declared type is declared as `application/json`, which the JSON format implies
/// and HTTP does not.
pub fn write(event: &Envelope) -> Message {
    let mut headers = vec![(format!("{PREFIX}specversion"), VERSION.to_owned())];
    let mut add =
        |name: &str, text: &str| headers.push((format!("{PREFIX}{name}"), header_value::encode(text)));
    add("id", event.id());
    add("source", event.source());
    add("type", event.r#type());
    if let Some(subject) = event.subject() {
        add("subject", subject);
    }
    if let Some(time) = event.time() {
        add("time", time.as_str());
    }
    if let Some(schema) = event.data_schema() {
        add("dataschema", schema);
    }
    for (name, value) in event.extensions() {
        add(name, &AttributeValue::text(value));
    }
    let implied = event.data().is_some_and(|data| data.form() == Form::Json).then_some("application/json");
    if let Some(content_type) = event.data_content_type().or(implied) {
        headers.push((CONTENT_TYPE.to_owned(), content_type.to_owned()));
    }
    Message { headers, body: event.data().map_or_else(Bytes::new, |data| data.bytes().clone()) }
}
