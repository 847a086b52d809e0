use std::fmt;
use std::sync::Arc;

/// What a client calls one request, however often it sends it; cheap to clone.
///
/// The `Idempotency-Key` header field (draft-ietf-httpapi-idempotency-key-header) is a string of structured fields,
/// `"8e03978e-40d5"`; a key without the quotation marks, as many clients send it, is the same key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Arc<str>);

/// Why a header field holds no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidKey {
    /// Nothing is in it.
    Empty,
    /// More than [`Key::BYTES_MAX`] bytes.
    TooLong,
    /// A byte that is no visible character of ASCII and no space, or quotation marks that do not match.
    Malformed,
}

impl Key {
    /// The longest key, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Reads the value of the header field.
    ///
    /// # Errors
    /// When it is no key.
    pub fn parse(value: &[u8]) -> Result<Self, InvalidKey> {
        let text = std::str::from_utf8(value).map_err(|_| InvalidKey::Malformed)?.trim_matches([' ', '\t']);
        let key = match text.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or(InvalidKey::Malformed)?,
            None if text.contains(['"', '\\']) => return Err(InvalidKey::Malformed),
            None => text.to_owned(),
        };
        match key.len() {
            0 => Err(InvalidKey::Empty),
            length if length > Self::BYTES_MAX => Err(InvalidKey::TooLong),
            _ if key.bytes().all(|byte| matches!(byte, b' '..=b'~')) => Ok(Self(key.into())),
            _ => Err(InvalidKey::Malformed),
        }
    }

    /// The key itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What stands before the closing quotation mark, which is the last character (RFC 9651, section 4.2.5).
fn unquote(quoted: &str) -> Option<String> {
    let mut key = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return characters.as_str().is_empty().then_some(key),
            '\\' => key.push(characters.next().filter(|character| matches!(character, '"' | '\\'))?),
            character => key.push(character),
        }
    }
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the key is empty"),
            Self::TooLong => write!(f, "the key has more than {} bytes", Key::BYTES_MAX),
            Self::Malformed => {
                f.write_str("the key is not text of visible ASCII characters, in quotation marks or without")
            }
        }
    }
}

impl std::error::Error for InvalidKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_with_quotation_marks_and_without() {
        for (value, key) in [
            (&b"\"8e03978e-40d5-43e8\""[..], "8e03978e-40d5-43e8"),
            (b"8e03978e-40d5-43e8", "8e03978e-40d5-43e8"),
            (b"  order 7 ", "order 7"),
            (br#""a \"b\" \\ c""#, r#"a "b" \ c"#),
        ] {
            assert_eq!(Key::parse(value).map(|key| key.as_str().to_owned()), Ok(key.to_owned()));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = [b'a'; 256];
        for (value, why) in [
            (&b""[..], InvalidKey::Empty),
            (b"   ", InvalidKey::Empty),
            (b"\"\"", InvalidKey::Empty),
            (&long, InvalidKey::TooLong),
            (b"\"a", InvalidKey::Malformed),
            (b"a\"", InvalidKey::Malformed),
            (b"\"a\"b", InvalidKey::Malformed),
            (b"\"a\\b\"", InvalidKey::Malformed),
            (b"a\\", InvalidKey::Malformed),
            (b"a\x00b", InvalidKey::Malformed),
            ("schlüssel".as_bytes(), InvalidKey::Malformed),
            (b"\xff", InvalidKey::Malformed),
        ] {
            assert_eq!(Key::parse(value), Err(why), "{value:?}");
        }
        assert!(Key::parse(&long[1..]).is_ok());
    }
}
