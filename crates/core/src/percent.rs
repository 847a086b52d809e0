//! Percent-encoding (RFC 3986, section 2.1).

use std::borrow::Cow;

/// `bytes` as text, all of them escaped but the ASCII that `is_plain` lets stand.
pub fn encoded(bytes: &[u8], is_plain: impl Fn(u8) -> bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes.iter().copied() {
        if byte.is_ascii() && is_plain(byte) {
            text.push(char::from(byte));
        } else {
            let digits = [byte >> 4, byte & 15].map(|nibble| char::from(DIGITS[usize::from(nibble)]));
            text.extend(['%', digits[0], digits[1]]);
        }
    }
    text
}

/// What `text` stands for; `None` where a percent sign begins no escape, or escapes of something that is no UTF-8.
pub fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let (bytes, well_formed) = read(text);
    String::from_utf8(bytes).ok().filter(|_| well_formed).map(Cow::Owned)
}

/// What a reader makes of `text` that goes on where another one refuses: a percent sign that begins no escape is
/// one, and what is no UTF-8 is replaced.
pub fn decoded_lossy(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(&read(text).0).into_owned())
}

/// The bytes of `text`, and whether each percent sign in it begins an escape.
fn read(text: &str) -> (Vec<u8>, bool) {
    let (mut bytes, mut well_formed) = (Vec::with_capacity(text.len()), true);
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let escaped = if *byte == b'%' { escaped(after) } else { None };
        well_formed &= *byte != b'%' || escaped.is_some();
        bytes.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    (bytes, well_formed)
}

/// The byte that the two digits stand for which `bytes` begin with.
fn escaped(bytes: &[u8]) -> Option<u8> {
    let digit = |place: usize| char::from(*bytes.get(place)?).to_digit(16);
    Some((digit(0)? << 4 | digit(1)?) as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_plain_is_escaped_in_upper_case() {
        let check = |text: &str, expected: &str| {
            assert_eq!(encoded(text.as_bytes(), |byte| byte.is_ascii_alphanumeric()), expected);
        };
        check("", "");
        check("aZ9", "aZ9");
        check("a b/%", "a%20b%2F%25");
        check("\0\x7f\u{fc}", "%00%7F%C3%BC");
        assert_eq!(encoded(&[b'a', 0x80, 0xff], |_| true), "a%80%FF", "what is no ASCII is never plain");
    }

    #[test]
    fn readers_agree_but_on_what_is_malformed() {
        let check = |text: &str, strict: Option<&str>, lossy: &str| {
            assert_eq!(decoded(text).as_deref(), strict, "{text}");
            assert_eq!(decoded_lossy(text), lossy, "{text}");
        };
        check("", Some(""), "");
        check("a+b\u{fc}", Some("a+b\u{fc}"), "a+b\u{fc}");
        check("%41%6a%6A", Some("Ajj"), "Ajj");
        check("%2541", Some("%41"), "%41");
        check("%C3%BC", Some("\u{fc}"), "\u{fc}");
        check("%00", Some("\0"), "\0");
        for malformed in ["%", "a%", "%4", "%zz", "%4g", "%%", "%+4", "% 4", "%\u{fc}"] {
            check(malformed, None, malformed);
        }
        check("%4%41", None, "%4A");
        check("%ff%41", None, "\u{fffd}A");
        check("%C3a", None, "\u{fffd}a");
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in ".*", plain in prop::collection::vec(any::<u8>(), 0..40)) {
            let is_plain = |byte| byte != b'%' && plain.contains(&byte);
            let encoded = encoded(text.as_bytes(), is_plain);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decoded(&encoded), Some(Cow::Borrowed(&*text)));
        }

        /// Against a reader that looks for one escape after the other.
        #[test]
        fn foreign_text_is_read_as_far_as_it_is_well_formed(text in "([%0-9a-fA-Fg+\u{fc}]|%[0-9a-f]{2}){0,12}") {
            let (mut bytes, mut good) = (Vec::new(), true);
            let mut pieces = text.split('%');
            bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
            for piece in pieces {
                let digits = piece.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
                good &= digits.is_some();
                bytes.push(digits.map_or(b'%', |digits| u8::from_str_radix(digits, 16).expect("two digits")));
                bytes.extend_from_slice(&piece.as_bytes()[digits.map_or(0, str::len)..]);
            }
            prop_assert_eq!(decoded_lossy(&text), String::from_utf8_lossy(&bytes));
            prop_assert_eq!(decoded(&text).map(Cow::into_owned), String::from_utf8(bytes).ok().filter(|_| good));
        }
    }
}
