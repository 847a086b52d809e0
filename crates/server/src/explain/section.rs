//! The one way in which `explain` writes a value: behind its keys, and before where the file says it.

use std::fmt::{Display, Write as _};

use crate::file::Loaded;

/// A heading, and what stands indented below it.
#[derive(Debug)]
pub(super) struct Section<'a> {
    loaded: &'a Loaded,
    /// The table of the file whose keys are told.
    table: &'a [&'a str],
    /// The columns that names take, so that values stand one below the other.
    width: usize,
    text: String,
}

impl<'a> Section<'a> {
    /// A section below `heading` on the keys of `table`.
    pub(super) fn new(loaded: &'a Loaded, heading: impl Display, table: &'a [&'a str], width: usize) -> Self {
        Self { loaded, table, width, text: format!("{heading}:\n") }
    }

    /// The value of the key that `keys` lead to from the table of the section.
    pub(super) fn row(&mut self, keys: &[&str], value: impl Display) {
        let origin = self.loaded.origin(&[self.table, keys].concat());
        self.row_from(&keys.join("."), value, &origin);
    }

    /// A value that comes from somewhere else.
    pub(super) fn row_from(&mut self, name: &str, value: impl Display, origin: &str) {
        let _ = writeln!(self.text, "  {name:<width$} {value}  ({origin})", width = self.width);
    }

    /// A sentence.
    pub(super) fn sentence(&mut self, sentence: impl Display) {
        let _ = writeln!(self.text, "  {sentence}");
    }

    /// As it is printed.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// `a, b`, or `none`.
pub(super) fn listed(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
