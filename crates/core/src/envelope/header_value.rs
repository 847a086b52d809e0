//! The values of headers: section 3.1.3.2 of the HTTP Protocol Binding.

use std::borrow::Cow;

use super::Reason;
use crate::percent;

/// `text` with everything escaped that a header can not hold, and spaces, quotes and percent signs.
pub(super) fn encode(text: &str) -> String {
    percent::encoded(text.as_bytes(), |byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%'))
}

/// The text that a header's value stands for. Quotes around it, which senders of old wrote, are taken off first;
/// others are a part of it.
pub(super) fn decode(value: &[u8]) -> Result<String, Reason> {
    let printable = |text: &&str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let value = std::str::from_utf8(value.trim_ascii()).ok().filter(printable);
    let value = value.ok_or(Reason::Malformed { expected: "printable ASCII" })?;
    let value = match value.strip_prefix('"') {
        Some(quoted) => {
            Cow::Owned(unquoted(quoted).ok_or(Reason::Malformed { expected: "a quoted string" })?)
        }
        None => Cow::Borrowed(value),
    };
    let decoded = percent::decoded(&value).ok_or(Reason::Malformed { expected: "percent-encoded UTF-8" })?;
    Ok(decoded.into_owned())
}

/// What a quoted string (RFC 9110, section 5.6.4) says, of which the first quote is gone.
fn unquoted(quoted: &str) -> Option<String> {
    let mut characters = quoted.chars();
    let mut text = String::with_capacity(quoted.len());
    loop {
        match characters.next()? {
            '"' => return characters.as_str().is_empty().then_some(text),
            '\\' => text.push(characters.next()?),
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_binding() {
        let (text, value) = ("Euro \u{20ac} \u{1f600}", "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(encode(text), value);
        assert_eq!(decode(value.as_bytes()).as_deref(), Ok(text));
        assert_eq!(encode("\"%\u{7f}~!"), "%22%25%7F~!");
    }

    #[test]
    fn other_writings_are_read() {
        for (value, text) in [
            ("%e2%82%ac", "\u{20ac}"),
            ("%41b", "Ab"),
            ("%2541", "%41"),
            (" \tspaces around and within\t", "spaces around and within"),
            (r#""quoted \"\\ and %20""#, r#"quoted "\ and  "#),
            (r#"{"othervalue": 5}"#, r#"{"othervalue": 5}"#),
            ("\"\"", ""),
            ("", ""),
        ] {
            assert_eq!(decode(value.as_bytes()).as_deref(), Ok(text), "{value}");
        }
        for bad in [
            "%C0%A0",
            "%",
            "%2",
            "%zz",
            "%+1",
            "\"open",
            "\"a\" b",
            "\"a\\",
            "\u{20ac}",
            "a\u{7f}",
            "%ED%A0%80",
        ] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn all_text_passes_through_a_header(text: String, bytes: Vec<u8>) {
            let value = encode(&text);
            prop_assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{}", value);
            prop_assert_eq!(decode(value.as_bytes()), Ok(text));
            let _ = decode(&bytes);
        }
    }
}
