//! The body of a request that is an object of JSON: each member is taken by its name, and what is left is unknown.

use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::quantity::{ByteSize, parse_duration};
use intertie_gateway::config::nearest;
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;
use serde_json::{Deserializer, Map, Value};

use super::failure::{ApiCode, Failure};
use super::members::{Elements, First, Members};

/// The members of an object that were not taken yet.
#[derive(Debug)]
pub(super) struct Fields {
    members: Map<String, Value>,
    /// Where the object stands in the body.
    at: String,
    asked: Vec<&'static str>,
}

impl Fields {
    /// The object that `body` is; an empty body is an empty object.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn read(body: &[u8]) -> Result<Self, Failure> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::of(Map::new(), String::new()));
        }
        Self::object(whole(body)?, String::new())
    }

    /// Those of each object of an array, or of one object that stands for an array of one.
    ///
    /// # Errors
    /// It is neither, or has more than `most`.
    pub(super) fn read_each(body: &[u8], most: NonZeroU32) -> Result<Vec<Self>, Failure> {
        let whole = whole(body)?;
        if !whole.get().starts_with('[') {
            return Ok(vec![Self::object(whole, String::new())?]);
        }
        let elements = First(most.get() as usize).deserialize(&mut Deserializer::from_str(whole.get()));
        let Elements { first, count } = elements.map_err(|error| no_json("", &error))?;
        if count > first.len() {
            let detail = format!("{count} are more than `batch_max`, which is {most}");
            return Err(Failure::new(ApiCode::BatchTooLarge, detail));
        }
        let read = |(position, element)| Self::object(element, format!("/{position}"));
        first.into_iter().enumerate().map(read).collect()
    }

    fn object(raw: &RawValue, at: String) -> Result<Self, Failure> {
        if !raw.get().starts_with('{') {
            return Err(Failure::wrong(at, "an object of JSON is expected here"));
        }
        match serde_json::from_str(raw.get()) {
            Ok(Members(members)) => Ok(Self::of(members, at)),
            Err(error) => Err(no_json(&at, &error)),
        }
    }

    fn of(members: Map<String, Value>, at: String) -> Self {
        Self { members, at, asked: Vec::new() }
    }

    /// Where the member stands.
    pub(super) fn pointer(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }

    /// That the member is not as it must be.
    pub(super) fn wrong(&self, name: &str, detail: impl Into<String>) -> Failure {
        Failure::wrong(self.pointer(name), detail)
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.asked.push(name);
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// A member that is text.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "text is expected here")),
        }
    }

    /// A member that is text of a certain form.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse(&text).map(Some).map_err(|error| self.wrong(name, error.to_string()))
    }

    /// A time such as `"30s"`.
    pub(super) fn duration(&mut self, name: &'static str) -> Result<Option<Duration>, Failure> {
        self.parsed(name, parse_duration)
    }

    /// A size such as `"1MiB"`.
    pub(super) fn size(&mut self, name: &'static str) -> Result<Option<ByteSize>, Failure> {
        self.parsed(name, str::parse::<ByteSize>)
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &'static str) -> Result<Option<u64>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(name, "a whole number is expected here")),
            },
        }
    }

    /// A whole number from 1 to `most`, which is that where none is given.
    pub(super) fn count(
        &mut self,
        name: &'static str,
        default: NonZeroU32,
        most: NonZeroU32,
    ) -> Result<NonZeroU32, Failure> {
        let Some(number) = self.number(name)? else { return Ok(default.min(most)) };
        within(number, most).ok_or_else(|| {
            let detail = format!("it must be from 1 to {most}, `batch_max`");
            Failure::new(ApiCode::LimitExceeded, detail).at(self.pointer(name))
        })
    }

    /// `true` or `false`, which it is where it is not there.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, Failure> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.wrong(name, "true or false is expected here")),
        }
    }

    /// Whether all members were known.
    ///
    /// # Errors
    /// The first that was not, with the name that was most likely meant.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let Some(unknown) = self.members.keys().next() else { return Ok(()) };
        Err(Failure::wrong(self.pointer(&escaped(unknown)), unknown_name("member", unknown, &self.asked)))
    }
}

/// A member's name in a pointer; as much of it as an answer repeats.
fn escaped(name: &str) -> String {
    const SHOWN_MAX: usize = 64;
    name[..name.floor_char_boundary(SHOWN_MAX)].replace('~', "~0").replace('/', "~1")
}

/// That there is no such name, and which one may be meant.
pub(super) fn unknown_name(what: &str, unknown: &str, known: &[&'static str]) -> String {
    let shown = escaped(unknown);
    match nearest(&shown, known.iter().copied()) {
        Some(near) => format!("there is no {what} `{shown}`; did you mean `{near}`?"),
        None => format!("there is no {what} `{shown}`; known here: {}", known.join(", ")),
    }
}

/// A number as a count from 1 to `most`.
pub(super) fn within(number: u64, most: NonZeroU32) -> Option<NonZeroU32> {
    let count = u32::try_from(number).ok().and_then(NonZeroU32::new)?;
    (count <= most).then_some(count)
}

/// The body as it is, once it is JSON.
fn whole(body: &[u8]) -> Result<&RawValue, Failure> {
    serde_json::from_slice(body).map_err(|error| no_json("", &error))
}

fn no_json(at: &str, error: &serde_json::Error) -> Failure {
    let words = plain(&error.to_string(), error.line(), error.column());
    Failure::wrong(at, format!("the body is no JSON that can be read: {words}"))
}

/// The parser's words, which end with the place.
fn plain(message: &str, line: usize, column: usize) -> String {
    let place = format!(" at line {line} column {column}");
    format!("{} in line {line}, column {column}", message.trim_end_matches(place.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::read(body.as_bytes()).expect("an object")
    }

    fn said(failure: &Failure) -> (&str, &str) {
        (failure.pointer.as_deref().unwrap_or("none"), failure.detail.as_str())
    }

    #[test]
    fn an_unknown_member_is_named_with_the_nearest_that_was_asked_for() {
        let mut fields = fields(r#"{"wait":"1s","consumr":"a"}"#);
        assert_eq!(fields.duration("wait").expect("a time"), Some(Duration::from_secs(1)));
        assert_eq!(fields.text("consumer").expect("text"), None);
        let unknown = fields.finish().expect_err("unknown");
        assert_eq!(said(&unknown), ("/consumr", "there is no member `consumr`; did you mean `consumer`?"));
    }

    #[test]
    fn what_is_wrong_is_pointed_to_where_it_stands() {
        let body = br#"[{"after":"5s"},{"after":5,"a/b":1}]"#;
        let mut each = Fields::read_each(body, NonZeroU32::MAX).expect("objects");
        let wrong = each[1].duration("after").expect_err("a number");
        assert_eq!(said(&wrong), ("/1/after", "text is expected here"));
        let last = each.pop().expect("two");
        assert_eq!(last.finish().expect_err("unknown").pointer.as_deref(), Some("/1/a~1b"));
        let many = Fields::read_each(body, NonZeroU32::MIN).expect_err("too many");
        assert_eq!(many.code, ApiCode::BatchTooLarge);
        assert_eq!(Fields::read(b"[").expect_err("no JSON").pointer.as_deref(), Some(""));
        assert_eq!(Fields::read(b"7").expect_err("no object").code, ApiCode::BadRequest);
    }

    #[test]
    fn what_no_request_has_is_not_kept() {
        let many: String = (0..100).map(|n| format!("\"{n}\":0,")).collect();
        let wrong = Fields::read(format!("{{{many}\"a\":1}}").as_bytes()).expect_err("too many members");
        assert!(wrong.detail.contains("more than 64 members"), "{wrong:?}");
        let mut nested = fields(r#"{"a":[[1,2],{"b":3}],"c":{"d":[]},"e":"x"}"#);
        for name in ["a", "c"] {
            let wrong = nested.text(name).expect_err(name);
            assert_eq!(wrong.detail, "text is expected here");
        }
        assert_eq!(nested.text("e").expect("text").as_deref(), Some("x"));
        let wrong = Fields::read_each(b"[{},[1]]", NonZeroU32::MAX).expect_err("no object");
        assert_eq!(said(&wrong), ("/1", "an object of JSON is expected here"));
    }

    #[test]
    fn counts_are_bounded_and_null_is_as_if_it_were_not_there() {
        let most = NonZeroU32::new(10).expect("10 is not zero");
        let mut fields = fields(r#"{"a":0,"b":11,"c":10,"d":null,"e":-1}"#);
        for (name, expected) in [("a", None), ("b", None), ("c", Some(10)), ("d", Some(1)), ("e", None)] {
            let count = fields.count(name, NonZeroU32::MIN, most).ok().map(NonZeroU32::get);
            assert_eq!(count, expected, "{name}");
        }
    }
}
