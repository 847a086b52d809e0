//! Which certificate a client is shown. Pure.

use std::collections::HashMap;

/// Something for each of several names, exact ones such as `shop.example` and wildcards such as
/// `*.shop.example`, which stand for exactly one label (RFC 9525, section 6.3).
#[derive(Debug)]
pub(super) struct Names<T> {
    exact: HashMap<String, T>,
    /// Without `*.`.
    wildcards: HashMap<String, T>,
    otherwise: Option<T>,
}

impl<T> Names<T> {
    /// With what is found for any name that is not among them.
    pub(super) fn new(otherwise: Option<T>) -> Self {
        Self { exact: HashMap::new(), wildcards: HashMap::new(), otherwise }
    }

    /// Adds a name in lower case; what was there for it before.
    pub(super) fn insert(&mut self, name: &str, value: T) -> Option<T> {
        match name.strip_prefix("*.") {
            Some(parent) => self.wildcards.insert(parent.to_owned(), value),
            None => self.exact.insert(name.to_owned(), value),
        }
    }

    /// What is there for a name that a client asked for; an exact name wins over a wildcard.
    pub(super) fn find(&self, name: Option<&str>) -> Option<&T> {
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcards.get(parent));
            self.exact.get(&name).or_else(wildcard)
        });
        named.or(self.otherwise.as_ref())
    }
}

/// Whether `name` is a DNS name in lower case, at most with `*` for its first label.
pub(super) fn is_name(name: &str) -> bool {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        (1..=63).contains(&label.len()) && label.bytes().all(known)
    };
    labels.len() <= 253 && labels.split('.').all(label) && (labels == name || labels.contains('.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_exact_name_wins_and_a_wildcard_is_one_label() {
        let mut names = Names::new(Some("default"));
        names.insert("shop.example", "shop");
        names.insert("*.shop.example", "wild");
        names.insert("api.shop.example", "api");
        for (name, found) in [
            (Some("shop.example"), "shop"),
            (Some("SHOP.example"), "shop"),
            (Some("api.shop.example"), "api"),
            (Some("www.shop.example"), "wild"),
            (Some("a.b.shop.example"), "default"),
            (Some("example"), "default"),
            (Some("othershop.example"), "default"),
            (None, "default"),
        ] {
            assert_eq!(names.find(name), Some(&found), "{name:?}");
        }
        assert_eq!(Names::<u8>::new(None).find(Some("shop.example")), None);
        assert_eq!(names.insert("*.shop.example", "again"), Some("wild"));
    }

    #[test]
    fn names_are_dns_names() {
        for name in ["a", "shop.example", "*.shop.example", "_a-1.example"] {
            assert!(is_name(name), "{name}");
        }
        for name in
            ["", "*", "*.example", "a..b", ".a", "a.", "Shop.example", "a b", "f*.shop.example", "a.*.b"]
        {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name(&"a".repeat(63)) && !is_name(&"a".repeat(64)));
    }

    proptest! {
        #[test]
        fn the_map_finds_what_a_search_finds(
            known in proptest::collection::vec("(\\*\\.)?[ab](\\.[ab]){1,2}", 0..20), asked in "[ab](\\.[ab]){0,3}"
        ) {
            let mut names = Names::new(None);
            for name in &known {
                names.insert(name, name.clone());
            }
            let labels: Vec<_> = asked.split('.').collect();
            let matches = |name: &&String| {
                let own: Vec<_> = name.split('.').collect();
                own.len() == labels.len() && own[1..] == labels[1..] && (own[0] == labels[0] || own[0] == "*")
            };
            let expected = known.iter().find(|name| **name == asked).or_else(|| known.iter().find(matches));
            prop_assert_eq!(names.find(Some(&asked)), expected);
        }
    }
}
