use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use intertie_discovery::endpoint::Address;
use intertie_gateway::config::{Problem, Severity, nearest};
use serde::de::DeserializeOwned;
use toml::de::DeTable;

use super::diagnostic::{Diagnostic, may_hold_a_secret, position};
use super::places::{Places, misplaced_list};

/// A file's name, its text, and where each of its keys stands.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    text: String,
    /// Read when first asked for: a file that is good is seldom asked where its keys stand.
    places: OnceCell<Places>,
}

/// What a kind of file looks like.
pub(super) struct Kind {
    /// The keys whose values are lists; every other list stands where a table or a text belongs.
    pub(super) lists: &'static [&'static str],
    /// What to begin with, for whoever has an empty one.
    pub(super) first: &'static str,
}

/// The text of the file at `path`.
///
/// # Errors
/// Why there is none, ready to be printed.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let name = path.display().to_string();
    let refuse = |message: String| {
        Diagnostic { severity: "error", message, file: &name, text: "", span: None, and: None, help: None }
            .render()
    };
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => refuse("there is no such file".to_owned()),
        _ => refuse(format!("the file can not be read: {error}")),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let (line, _) = position(&String::from_utf8_lossy(&error.as_bytes()[..valid]), valid);
        refuse(format!("the file is not UTF-8: a byte in line {line} is no part of a character"))
    })
}

impl Source {
    /// Understands `text`, which came from `path`.
    ///
    /// # Errors
    /// What is wrong, ready to be printed.
    pub(super) fn parse<T: DeserializeOwned>(
        path: &Path,
        text: String,
        kind: &Kind,
    ) -> Result<(T, Self), String> {
        let name = path.display().to_string();
        let diagnose = |message, span: Option<Range<usize>>, help| {
            Diagnostic { severity: "error", message, file: &name, text: &text, span, and: None, help }
                .render()
        };
        if text.trim().is_empty() {
            return Err(diagnose("the file is empty".to_owned(), None, Some(kind.first.to_owned())));
        }
        let wrong = |error: toml::de::Error| {
            let span = error.span();
            let line = span.as_ref().map(|span| position(&text, span.start).0);
            let told = match line.filter(|line| may_hold_a_secret(&text, *line)) {
                Some(_) => without_value(error.message()),
                None => Cow::Borrowed(error.message()),
            };
            let (message, mut help) = humane(&told);
            let value = span.clone().and_then(|span| text.get(span)).unwrap_or_default();
            if message.contains("expected a table") && value.trim_matches('"').parse::<Address>().is_ok() {
                help = Some(format!("write {{ at = {value} }}"));
            }
            diagnose(message, span, help)
        };
        let table = DeTable::parse(&text).map_err(wrong)?;
        let misplaced = misplaced_list(table.get_ref(), kind.lists);
        let file = T::deserialize(toml::Deserializer::from(table)).map_err(wrong)?;
        if let Some((span, message)) = misplaced {
            return Err(diagnose(message, Some(span), None));
        }
        Ok((file, Self { name, text, places: OnceCell::new() }))
    }

    /// What it was made of.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn places(&self) -> &Places {
        self.places.get_or_init(|| Places::read(&self.text))
    }

    /// The tables that are not the same in `other`, two levels deep, in the order of their names.
    pub(super) fn changes(&self, other: &Self) -> Vec<String> {
        let read = |source: &Self| source.text.parse::<toml::Table>().unwrap_or_default();
        let (ours, theirs) = (read(self), read(other));
        let mut changes = Vec::new();
        for section in BTreeSet::from_iter(ours.keys().chain(theirs.keys())) {
            match (ours.get(section), theirs.get(section)) {
                (Some(one), Some(two)) if one == two => {}
                (Some(toml::Value::Table(one)), Some(toml::Value::Table(two))) => {
                    let names = BTreeSet::from_iter(one.keys().chain(two.keys()));
                    let changed = names.into_iter().filter(|name| one.get(*name) != two.get(*name));
                    changes.extend(changed.map(|name| format!("{section}.{name}")));
                }
                _ => changes.push(section.clone()),
            }
        }
        changes
    }

    /// `problems` with their positions, ready to be printed.
    pub(crate) fn render(&self, problems: &[Problem]) -> String {
        problems.iter().map(|problem| self.diagnose(problem).render()).collect()
    }

    fn diagnose(&self, problem: &Problem) -> Diagnostic<'_> {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        Diagnostic {
            severity,
            message: problem.message.clone(),
            file: &self.name,
            text: &self.text,
            span: self.places().find(&problem.at),
            and: problem.and.as_deref().and_then(|and| self.places().find(and)),
            help: problem.help.clone(),
        }
    }

    /// Whether a key is there.
    pub(super) fn has(&self, keys: &[&str]) -> bool {
        self.places().has(keys)
    }

    /// `file:line` of a key.
    pub(super) fn place(&self, keys: &[String]) -> String {
        match self.places().find(keys) {
            Some(span) => format!("{}:{}", self.name, position(&self.text, span.start).0),
            None => self.name.clone(),
        }
    }
}

/// The parser's message without the value that it found, which may be a secret.
fn without_value(message: &str) -> Cow<'_, str> {
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some((_, expected)) =
            message.strip_prefix(kind).and_then(|rest| rest.rsplit_once(", expected "))
        {
            return Cow::Owned(format!("{kind}expected {expected}"));
        }
    }
    Cow::Borrowed(message)
}

/// Keys that are looked for on services, where they do not stand.
const POLICY_KEYS: [&str; 6] =
    ["retry", "circuit_breaker", "rate_limiter", "bulkhead", "attempt_timeout", "limits"];

/// The parser's message as we say it, with the nearest valid name.
fn humane(message: &str) -> (String, Option<String>) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let kind = ["unknown field", "unknown variant"].into_iter().find(|kind| message.starts_with(kind));
    if let (Some(kind), Some((wrong, known))) = (kind, quoted.split_first()) {
        if POLICY_KEYS.contains(wrong) && known.contains(&"endpoints") {
            let help = "policy keys stand in a [policy.NAME] that the service names by `use`, or on a route";
            return (format!("a service has no key `{wrong}`"), Some(help.to_owned()));
        }
        let what = if kind == "unknown field" { "key" } else { "value" };
        let help = match nearest(wrong, known.iter().copied()) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if known.is_empty() => None,
            None => Some(format!("known here: {}", known.join(", "))),
        };
        return (format!("unknown {what} `{wrong}`"), help);
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        return (format!("the key {field} is missing"), None);
    }
    let mut plain = message.trim_end().replace('\n', "; ");
    if let Some((before, name)) = plain.split_once("expected struct ") {
        let after = name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        plain = format!("{before}expected a table{after}");
    }
    for (said, meant) in [
        ("expected a map", "expected a table"),
        ("expected a sequence", "expected a list"),
        ("expected a nonzero u32", "expected a whole number above 0"),
        ("expected a nonzero u64", "expected a whole number above 0"),
        ("expected a nonzero usize", "expected a whole number above 0"),
        ("expected u32", "expected a whole number"),
    ] {
        plain = plain.replace(said, meant);
    }
    let help =
        plain.contains("socket address").then(|| "write an address such as \"127.0.0.1:8080\"".to_owned());
    (plain, help)
}
