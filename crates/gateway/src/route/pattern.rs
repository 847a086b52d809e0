use std::fmt;
use std::str::FromStr;

use super::error::{ParsePatternError, PatternProblem};
use intertie_core::percent::{decoded, encoded};

/// The hosts that a route answers for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// Every name below this one: `*.example` matches `a.example` and `a.b.example`, not `example`.
    Below(String),
    /// This host alone.
    Exact(String),
}

impl FromStr for HostPattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, ParsePatternError> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        // A name may end in a dot, which is none by itself.
        let name = name.trim_end_matches('.');
        let literal_v6 = name.starts_with('[') && name.ends_with(']');
        let well_formed = !name.is_empty()
            && (literal_v6
                || name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)));
        if !well_formed {
            return Err(ParsePatternError { text: text.to_owned(), problem: PatternProblem::Host });
        }
        let name = name.to_ascii_lowercase();
        Ok(if below { Self::Below(name) } else { Self::Exact(name) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// The paths that a route answers for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// The segments after the first slash.
    pub segments: Vec<Segment>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text, decoded.
    Literal(String),
    /// Any one segment that is not empty: `{name}`, or `*` for one without a name.
    Parameter(Option<String>),
    /// All that follows, nothing included: `**`.
    Rest,
}

impl FromStr for PathPattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, ParsePatternError> {
        let refused = |problem| ParsePatternError { text: text.to_owned(), problem };
        let path = text.strip_prefix('/').ok_or_else(|| refused(PatternProblem::NoSlash))?;
        if path.contains(['?', '#']) {
            return Err(refused(PatternProblem::Query));
        }
        let parts: Vec<_> = path.split('/').collect();
        let mut segments = Vec::with_capacity(parts.len());
        for (position, part) in parts.iter().enumerate() {
            let last = position + 1 == parts.len();
            segments.push(match *part {
                "**" if last => Segment::Rest,
                "**" => return Err(refused(PatternProblem::RestNotLast)),
                "*" => Segment::Parameter(None),
                "." | ".." => return Err(refused(PatternProblem::DotSegment)),
                _ => match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                    Some(name) if !name.is_empty() && !name.contains(['{', '}', '*']) => {
                        Segment::Parameter(Some(name.to_owned()))
                    }
                    None if !part.contains(['{', '}', '*']) => {
                        let literal = decoded(part).ok_or_else(|| refused(PatternProblem::Encoding))?;
                        if is_unreachable(&literal, last) {
                            return Err(refused(PatternProblem::Unreachable));
                        }
                        Segment::Literal(literal.into_owned())
                    }
                    _ => return Err(refused(PatternProblem::Parameter)),
                },
            });
        }
        Ok(Self { segments })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => {
                    let is_plain =
                        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&byte);
                    write!(f, "/{}", encoded(text.as_bytes(), is_plain))?;
                }
                Segment::Parameter(Some(name)) => write!(f, "/{{{name}}}")?,
                Segment::Parameter(None) => f.write_str("/*")?,
                Segment::Rest => f.write_str("/**")?,
            }
        }
        Ok(())
    }
}

/// Whether the router answers every request with such a segment by 400.
pub(super) fn is_unreachable(segment: &str, last: bool) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    let empty = segment.is_empty() && !last;
    empty || name == "." || name == ".." || segment.contains(['/', '\\', '\0'])
}
