use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A value of JSON as the text that it came in: order, digits and repeated keys are kept.
///
/// Two of them are equal when their texts are.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The value that `text` is; `None` when it is no JSON.
    pub fn new(text: &str) -> Option<Self> {
        RawValue::from_string(text.to_owned()).ok().map(Self)
    }

    /// `value` as JSON.
    ///
    /// # Errors
    /// When it can not be JSON, such as a map whose keys are not text.
    pub fn of(value: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// The value as a `T`.
    ///
    /// # Errors
    /// When it is none.
    pub fn to<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.text())
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The same value in printable ASCII without spaces between its parts: the text that an attribute can hold.
    #[must_use]
    pub fn in_ascii(&self) -> Self {
        let mut out = String::with_capacity(self.text().len());
        let (mut in_string, mut escaped) = (false, false);
        for character in self.text().chars() {
            match character {
                ' '..='~' if in_string => {
                    out.push(character);
                    in_string = escaped || character != '"';
                    escaped = character == '\\' && !escaped;
                }
                // JSON allows no control character in a string but this and those above U+007F.
                character if in_string => {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                ' ' | '\t' | '\r' | '\n' => {}
                character => {
                    out.push(character);
                    in_string = character == '"';
                }
            }
        }
        Self(RawValue::from_string(out).expect("the same value in another writing"))
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Json {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_order_and_repeated_keys_stay() {
        let json =
            Json::new("{ \"b\" : 1.50e+400,\n\t\"a\":\"\\\\\\\"\u{20ac} \u{1f600}\u{7f}\", \"a\": \" x \" }")
                .expect("JSON");
        let ascii = r#"{"b":1.50e+400,"a":"\\\"\u20ac \ud83d\ude00\u007f","a":" x "}"#;
        assert_eq!(json.in_ascii().text(), ascii);
        assert_eq!(json.in_ascii().in_ascii(), json.in_ascii());
    }

    proptest! {
        #[test]
        fn ascii_means_the_same(key: String, text: String, number: i64, spaces in "[ \t\r\n]{0,3}") {
            let value = serde_json::json!({ &key: [&text, number, null], "": { &text: true } });
            let spaced = serde_json::to_string_pretty(&value).expect("JSON").replace('\n', &format!("\n{spaces}"));
            let ascii = Json::new(&spaced).expect("JSON").in_ascii();
            prop_assert!(ascii.text().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{:?}", ascii);
            prop_assert_eq!(ascii.to::<serde_json::Value>().expect("JSON"), value);
        }
    }
}
