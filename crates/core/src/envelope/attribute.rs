use std::borrow::Cow;
use std::fmt;

use super::Reason;

/// The value of an extension.
///
/// The specification's other types are text in JSON and in headers, and stay [`AttributeValue::Text`] here: times,
/// URIs and base64. So does everything that came in a header, where only the reader knows the type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i32),
    /// Text without control characters and noncharacters of Unicode.
    Text(Box<str>),
}

impl AttributeValue {
    /// The canonical text of the value, as headers have it.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl From<bool> for AttributeValue {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for AttributeValue {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// The attributes that the specification defines, and `data`.
const CORE: [&str; 9] =
    ["data", "datacontenttype", "dataschema", "id", "source", "specversion", "subject", "time", "type"];

/// Whether the specification itself gives the name a meaning.
pub(super) fn is_core(name: &str) -> bool {
    CORE.contains(&name)
}

/// Whether an extension may have this name.
pub(super) fn check_name(name: &str) -> Result<(), Reason> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() || !name.bytes().all(allowed) || is_core(name) {
        return Err(Reason::Name);
    }
    Ok(())
}

/// Whether an attribute may have this text.
pub(super) fn check_text(text: &str) -> Result<(), Reason> {
    match text.chars().find(|character| character.is_control() || is_noncharacter(*character)) {
        Some(character) => Err(Reason::Character(character)),
        None => Ok(()),
    }
}

/// The same of text that must say something.
pub(super) fn check_said(text: &str) -> Result<(), Reason> {
    if text.is_empty() { Err(Reason::Empty) } else { check_text(text) }
}

/// The 66 code points that Unicode keeps from being characters.
pub(super) fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_letters_and_digits_and_not_taken() {
        for good in ["a", "0", "comexampleextension1", "anamelongerthanthetwentythatproducersareaskedfor"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "A", "a-b", "a_b", "data_base64", "\u{f6}", "a b"].into_iter().chain(CORE) {
            assert_eq!(check_name(bad), Err(Reason::Name), "{bad}");
        }
    }

    #[test]
    fn control_characters_and_noncharacters_are_refused() {
        for bad in [
            '\0',
            '\n',
            '\u{1f}',
            '\u{7f}',
            '\u{9f}',
            '\u{fdd0}',
            '\u{fdef}',
            '\u{fffe}',
            '\u{ffff}',
            '\u{10ffff}',
        ] {
            assert_eq!(check_text(&format!("a{bad}")), Err(Reason::Character(bad)), "{bad:?}");
        }
        for good in
            [' ', '~', '\u{a0}', '\u{fdcf}', '\u{fdf0}', '\u{fffd}', '\u{1fffd}', '\u{20ac}', '\u{1f600}']
        {
            assert_eq!(check_text(&format!("a{good}")), Ok(()), "{good:?}");
        }
    }
}
