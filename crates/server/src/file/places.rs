use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where each key of a file stands.
#[derive(Debug)]
pub(super) struct Places {
    root: Level,
}

/// A table's keys, in no particular order: files are small and look-ups rare.
#[derive(Debug, Default)]
struct Level {
    keys: Vec<(String, Range<usize>, Level)>,
}

impl Places {
    /// Reads the positions of `text`, which is known to be TOML.
    pub(super) fn read(text: &str) -> Self {
        let root = DeTable::parse(text).map(|table| Level::of(table.get_ref())).unwrap_or_default();
        Self { root }
    }

    /// Whether the key that `keys` lead to is there.
    pub(super) fn has(&self, keys: &[&str]) -> bool {
        let below = keys.iter().try_fold(&self.root, |level, key| {
            level.keys.iter().find(|(name, ..)| name == key).map(|(.., below)| below)
        });
        below.is_some()
    }

    /// The bytes of the key that `keys` lead to, or of the last of them that exists.
    pub(super) fn find(&self, keys: &[String]) -> Option<Range<usize>> {
        let mut level = &self.root;
        let mut found = None;
        for key in keys {
            let Some((_, span, below)) = level.keys.iter().find(|(name, ..)| name == key) else { break };
            found = Some(span.clone());
            level = below;
        }
        found
    }
}

impl Level {
    fn of(table: &DeTable<'_>) -> Self {
        let key = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
            (key.get_ref().to_string(), key.span(), Self::below(value.get_ref()))
        };
        Self { keys: table.iter().map(key).collect() }
    }

    /// The keys of a table; those of a list are the positions of its items, counted from 0.
    fn below(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::Table(table) => Self::of(table),
            DeValue::Array(items) => {
                let item = |(position, item): (usize, &Spanned<DeValue<'_>>)| {
                    (position.to_string(), item.span(), Self::below(item.get_ref()))
                };
                Self { keys: items.iter().enumerate().map(item).collect() }
            }
            _ => Self::default(),
        }
    }
}

/// The first list that stands under another key than one of `lists`. Serde would read it as a table without
/// names.
pub(super) fn misplaced_list(table: &DeTable<'_>, lists: &[&str]) -> Option<(Range<usize>, String)> {
    table.iter().find_map(|(key, value)| match value.get_ref() {
        DeValue::Table(below) => misplaced_list(below, lists),
        DeValue::Array(items) if lists.contains(&key.get_ref().as_ref()) => {
            items.iter().find_map(|item| match item.get_ref() {
                DeValue::Array(_) => Some((item.span(), "a list stands where a table belongs".to_owned())),
                DeValue::Table(below) => misplaced_list(below, lists),
                _ => None,
            })
        }
        DeValue::Array(_) => Some((value.span(), format!("`{}` is no list", key.get_ref()))),
        _ => None,
    })
}
