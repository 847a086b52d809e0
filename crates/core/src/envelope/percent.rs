//! The values of headers: section 3.1.3.2 of the HTTP Protocol Binding.

use super::Reason;

/// `text` with everything percent-encoded that a header can not hold, and spaces, quotes and percent signs.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' => push_encoded(byte, &mut out),
            0x21..=0x7e => out.push(char::from(byte)),
            _ => push_encoded(byte, &mut out),
        }
    }
    out
}

fn push_encoded(byte: u8, out: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.extend(['%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
}

/// The text that a header's value stands for. Quotes around it, which senders of old wrote, are taken off first;
/// others are a part of it.
pub(super) fn decode(value: &[u8]) -> Result<String, Reason> {
    let value = value.trim_ascii();
    if !value.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(Reason::Malformed { expected: "printable ASCII" });
    }
    let mut bytes = match value {
        [b'"', ..] => unquoted(value).ok_or(Reason::Malformed { expected: "a quoted string" })?,
        _ => value.to_vec(),
    };
    let (mut from, mut to) = (0, 0);
    while from < bytes.len() {
        if bytes[from] == b'%' {
            let digits = bytes.get(from + 1..from + 3);
            let decoded =
                digits.and_then(hexadecimal).ok_or(Reason::Malformed { expected: "percent-encoded text" })?;
            bytes[to] = decoded;
            from += 3;
        } else {
            bytes[to] = bytes[from];
            from += 1;
        }
        to += 1;
    }
    bytes.truncate(to);
    String::from_utf8(bytes).map_err(|_| Reason::Malformed { expected: "UTF-8" })
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    digits
        .iter()
        .try_fold(0, |value, digit| Some(value << 4 | u8::try_from(char::from(*digit).to_digit(16)?).ok()?))
}

/// What a quoted string (RFC 9110, section 5.6.4) says.
fn unquoted(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = quoted.strip_prefix(b"\"")?.iter();
    let mut out = Vec::with_capacity(quoted.len());
    loop {
        match bytes.next()? {
            b'"' => return bytes.as_slice().is_empty().then_some(out),
            b'\\' => out.push(*bytes.next()?),
            byte => out.push(*byte),
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
