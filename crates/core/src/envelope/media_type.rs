//! What a `datacontenttype` says of the data.

use crate::token::is_token;

/// A media type of RFC 2045 that was read: type, subtype and, if it is given, the character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MediaType<'a> {
    pub(super) essence: &'a str,
    charset: Option<&'a str>,
}

impl<'a> MediaType<'a> {
    /// Reads `type/subtype; name=value; name="quoted value"`; `None` for anything else, and for what no header can
    /// hold: other text than ASCII, and blanks at its ends.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if !text.is_ascii() || text.starts_with(BLANKS) || text.ends_with(BLANKS) {
            return None;
        }
        let (essence, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
        let essence = essence.trim_matches(BLANKS);
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind.as_bytes()) || !is_token(subtype.as_bytes()) {
            return None;
        }
        let mut charset = None;
        while let Some(parameter) = rest.strip_prefix(';') {
            let parameter = parameter.trim_start_matches(BLANKS);
            let (name, value, after) = split_parameter(parameter)?;
            if name.eq_ignore_ascii_case("charset") {
                charset = Some(value);
            }
            rest = after.trim_start_matches(BLANKS);
        }
        rest.is_empty().then_some(Self { essence, charset })
    }

    /// Whether it declares JSON: the subtype is `json`, or ends in `+json`.
    pub(super) fn is_json(self) -> bool {
        self.has_format("json")
    }

    /// Whether it declares text in UTF-8, which a JSON string can hold as well as bytes can.
    pub(super) fn is_text(self) -> bool {
        let utf8 = self.charset.is_none_or(|charset| {
            ["utf-8", "utf8", "us-ascii"].iter().any(|name| charset.eq_ignore_ascii_case(name))
        });
        let text = self.essence.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"));
        utf8 && (text || self.has_format("xml"))
    }

    fn has_format(self, format: &str) -> bool {
        let subtype = self.essence.split_once('/').map_or("", |(_, subtype)| subtype);
        subtype.rsplit('+').next().is_some_and(|suffix| suffix.eq_ignore_ascii_case(format))
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// `name=value` or `name="value"` at the beginning of `text`, and what follows.
fn split_parameter(text: &str) -> Option<(&str, &str, &str)> {
    let (name, value) = text.split_once('=')?;
    let end = match value.strip_prefix('"') {
        None => value.find([';', ' ', '\t']).unwrap_or(value.len()),
        Some(quoted) => {
            let mut escaped = false;
            let end = quoted.bytes().position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            })?;
            return is_token(name.as_bytes()).then_some((name, &quoted[..end], &quoted[end + 1..]));
        }
    };
    let (value, after) = value.split_at(end);
    (is_token(name.as_bytes()) && is_token(value.as_bytes())).then_some((name, value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_text_and_the_rest_are_told_apart() {
        let check = |text, json, plain| {
            let media_type = MediaType::parse(text).unwrap_or_else(|| panic!("{text} is one"));
            assert_eq!((media_type.is_json(), media_type.is_text()), (json, plain), "{text}");
        };
        check("application/json", true, false);
        check("Application/JSON; CharSet=utf-8", true, false);
        check("text/json", true, true);
        check("application/vnd.api+json;version=1", true, false);
        check("application/problem+JSON ; a=\"b;\\\"c\" ; d=e", true, false);
        check("application/jsonp", false, false);
        check("application/json+x", false, false);
        check("TEXT/Plain", false, true);
        check("text/plain; charset=\"UTF-8\"", false, true);
        check("text/plain; charset=iso-8859-1", false, false);
        check("application/xml", false, true);
        check("image/svg+xml", false, true);
        check("application/vnd.apache.thrift.binary", false, false);
        for bad in [
            "",
            "json",
            "/json",
            "text/",
            "a b/c",
            "a/b/c",
            "a/b;",
            "a/b;c",
            "a/b;c=",
            "a/b; c=\"d",
            "a/b c",
            " a/b",
            "a/b; c=\"d\" ",
            "a/b;c=d e",
            "a/b;c=\"\u{f6}\"",
        ] {
            assert_eq!(MediaType::parse(bad), None, "{bad}");
        }
    }
}
