use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which names it means: those of types of events, or of queues, cut into parts at each `.`; cheap to clone.
///
/// | pattern | means | but not |
/// |---|---|---|
/// | `orders.placed` | `orders.placed` | `orders.placed.late`, `Orders.placed` |
/// | `orders.*` | `orders.placed`, `orders.cancelled` | `orders`, `orders.placed.late` |
/// | `*.placed` | `orders.placed` | `shop.orders.placed` |
/// | `orders.**` | `orders`, `orders.placed`, `orders.placed.late` | `order` |
/// | `**.failed` | `failed`, `payments.failed`, `shop.payments.failed` | `payments.failed.late` |
/// | `**` | everything | |
///
/// `*` stands for one part, whatever it is, and `**` for any number of them, none included. Whether a name is meant
/// takes at most its parts times those of the pattern, whoever chose the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// The longest pattern, in bytes.
    pub const BYTES_MAX: usize = 256;

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it means `name`.
    pub fn matches(&self, name: &str) -> bool {
        let (mut wanted, mut parts) = (self.0.split('.'), name.split('.'));
        // Behind the last `**` that was met, and the parts that it may still take one more of: what a shorter one before
        // it could take, this one can.
        let mut again = None;
        loop {
            let rest = parts.clone();
            match (wanted.next(), parts.next()) {
                (Some("**"), _) => {
                    parts = rest;
                    again = Some((wanted.clone(), parts.clone()));
                }
                (None, None) => return true,
                (Some(part), Some(is)) if part == "*" || part == is => {}
                _ => {
                    let Some((behind, mut left)) = again.take() else { return false };
                    if left.next().is_none() {
                        return false;
                    }
                    (wanted, parts) = (behind.clone(), left.clone());
                    again = Some((behind, left));
                }
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why some text is no [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidPattern {
    /// It has more than [`Pattern::BYTES_MAX`] bytes.
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// One of its parts has no character: it is empty itself, or has a `.` too many.
    EmptyPart {
        /// The byte at which it would stand.
        at: usize,
    },
    /// One of its parts has a `*` beside other characters.
    PartWithStar {
        /// The byte at which the part begins.
        at: usize,
    },
}

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(f, "a pattern has at most {} bytes, not {bytes}", Pattern::BYTES_MAX)
            }
            Self::EmptyPart { at } => {
                write!(f, "each part of a pattern has a character, not so at byte {at}")
            }
            Self::PartWithStar { at } => {
                write!(f, "a part of a pattern is `*`, `**` or a word without `*`, not so at byte {at}")
            }
        }
    }
}

impl std::error::Error for InvalidPattern {}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > Self::BYTES_MAX {
            return Err(InvalidPattern::TooLong { bytes: text.len() });
        }
        let mut at = 0;
        for part in text.split('.') {
            match part {
                "" => return Err(InvalidPattern::EmptyPart { at }),
                "*" | "**" => {}
                word if word.contains('*') => return Err(InvalidPattern::PartWithStar { at }),
                _ => {}
            }
            at += part.len() + 1;
        }
        Ok(Self(text.into()))
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^(\*\*?|[^.*]+)(\.(\*\*?|[^.*]+))*$",
            "maxLength": Self::BYTES_MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a pattern means, said as plainly as can be.
    fn means(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([], _) => false,
            (["**", rest @ ..], name) => (0..=name.len()).any(|taken| means(rest, &name[taken..])),
            ([_, ..], []) => false,
            ([part, rest @ ..], [is, others @ ..]) => (*part == "*" || part == is) && means(rest, others),
        }
    }

    fn joined(parts: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(parts), 1..=most).prop_map(|parts| parts.join("."))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_pattern_means_what_a_naive_reading_of_it_means(
            pattern in joined(&["a", "b", "*", "**"], 6),
            name in joined(&["a", "b", "c", ""], 8),
        ) {
            let parts: Vec<_> = pattern.split('.').collect();
            let expected = means(&parts, &name.split('.').collect::<Vec<_>>());
            prop_assert_eq!(pattern.parse::<Pattern>().expect("valid").matches(&name), expected);
        }

        #[test]
        fn text_is_a_pattern_or_is_refused_where_it_is_wrong(text in "[ab*.]{0,12}") {
            let is_part = |part: &str| matches!(part, "*" | "**") || !part.is_empty() && !part.contains('*');
            match text.parse::<Pattern>() {
                Ok(pattern) => {
                    prop_assert!(text.split('.').all(is_part));
                    prop_assert_eq!(pattern.as_str(), text);
                }
                Err(InvalidPattern::EmptyPart { at } | InvalidPattern::PartWithStar { at }) => {
                    let wrong = text[at..].split('.').next().expect("a part");
                    prop_assert!(!is_part(wrong), "{:?} of {:?}", wrong, text);
                    prop_assert!(at == 0 || text.as_bytes()[at - 1] == b'.');
                }
                Err(InvalidPattern::TooLong { .. }) => prop_assert!(false, "{:?} is short", text),
            }
        }
    }

    #[test]
    fn the_examples_of_the_page_hold() {
        for (pattern, meant, other) in [
            ("orders.placed", &["orders.placed"][..], &["orders.placed.late", "Orders.placed"][..]),
            ("orders.*", &["orders.placed", "orders.cancelled"], &["orders", "orders.placed.late"]),
            ("*.placed", &["orders.placed"], &["shop.orders.placed"]),
            ("orders.**", &["orders", "orders.placed", "orders.placed.late"], &["order"]),
            ("**.failed", &["failed", "payments.failed", "shop.payments.failed"], &["payments.failed.late"]),
            ("**", &["", "a", "a.b.c"], &[]),
        ] {
            let pattern: Pattern = pattern.parse().expect(pattern);
            meant.iter().for_each(|name| assert!(pattern.matches(name), "{pattern} {name}"));
            other.iter().for_each(|name| assert!(!pattern.matches(name), "{pattern} {name}"));
        }
        let long = "a".repeat(Pattern::BYTES_MAX + 1);
        assert_eq!(long.parse::<Pattern>(), Err(InvalidPattern::TooLong { bytes: long.len() }));
    }

    #[test]
    fn a_name_that_was_made_to_take_long_does_not() {
        // Tried one by one, the ways to share out 10,000 parts among 40 `**` outlast the machine.
        let pattern: Pattern = ["**.a"; 40].join(".").parse().expect("valid");
        let name = ["a"; 10_000].join(".") + ".b";
        assert!(!pattern.matches(&name));
    }
}
