use std::fmt;

/// Something wrong or doubtful in a configuration, at a place that the server turns into line and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The keys that lead to the place, outermost first: `["route", "/orders", "to"]`.
    pub at: Vec<String>,
    /// A second place that the message speaks of.
    pub and: Option<Vec<String>>,
    /// What is wrong.
    pub message: String,
    /// What would mend it.
    pub help: Option<String>,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; `intertie check` still succeeds.
    Note,
    /// Runs, but not as anyone would want: `intertie check` fails with code 1.
    Warning,
    /// Can not run: refused when loaded.
    Error,
}

impl Problem {
    /// An error at `at`.
    pub fn error<const N: usize>(at: [&str; N], message: impl Into<String>) -> Self {
        Self::new(Severity::Error, at, message)
    }

    /// A warning at `at`.
    pub fn warning<const N: usize>(at: [&str; N], message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, at, message)
    }

    /// A note at `at`.
    pub fn note<const N: usize>(at: [&str; N], message: impl Into<String>) -> Self {
        Self::new(Severity::Note, at, message)
    }

    fn new<const N: usize>(severity: Severity, at: [&str; N], message: impl Into<String>) -> Self {
        let at = at.iter().map(|key| (*key).to_owned()).collect();
        Self { severity, at, and: None, message: message.into(), help: None }
    }

    /// With a second place.
    #[must_use]
    pub fn and(mut self, place: Vec<String>) -> Self {
        self.and = Some(place);
        self
    }

    /// With a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at.join("."), self.message)
    }
}

/// The name among `known` that `name` was most likely meant to be, if any is close.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= candidate.chars().count().div_ceil(4) && *distance < candidate.chars().count()
        })
        .min()
        .map(|(_, candidate)| candidate)
}
