use std::error::Error;
use std::fmt;

/// Why a text is no pattern of a host or a path. Displays the text and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsePatternError {
    pub(super) text: String,
    pub(super) problem: PatternProblem,
}

/// What a pattern's text violates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatternProblem {
    /// It has letters that no host has, or a port.
    Host,
    /// A path that does not begin with a slash.
    NoSlash,
    /// A path with a query or a fragment.
    Query,
    /// `**` before the end.
    RestNotLast,
    /// `.` or `..`.
    DotSegment,
    /// A percent sign that begins no escape, or escapes of something that is no text.
    Encoding,
    /// The router answers all requests for such a path by 400.
    Unreachable,
    /// Braces or a star in a part of a segment.
    Parameter,
}

impl fmt::Display for ParsePatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match self.problem {
            PatternProblem::Host => {
                write!(f, "`{text}` is no host; write \"shop.example\" or \"*.example\", without a port")
            }
            PatternProblem::NoSlash => write!(f, "a path begins with a slash: `/{text}`"),
            PatternProblem::Query => {
                write!(f, "`{text}`: a query is no part of the path; use match = {{ query = … }}")
            }
            PatternProblem::RestNotLast => {
                write!(f, "`{text}`: `**` matches all that follows, so nothing can follow it")
            }
            PatternProblem::DotSegment => {
                write!(f, "`{text}`: requests with dot segments never reach a route")
            }
            PatternProblem::Encoding => write!(f, "`{text}`: bad percent-encoding"),
            PatternProblem::Unreachable => {
                write!(f, "`{text}`: requests for such a path never reach a route")
            }
            PatternProblem::Parameter => {
                write!(f, "`{text}`: a parameter is a whole segment, `{{name}}`, `*` or, at the end, `**`")
            }
        }
    }
}

impl Error for ParsePatternError {}

/// Why conditions on headers can not be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidCondition {
    /// Headers can not be called so.
    NoHeaderName(String),
    /// One header, spelled in two ways.
    HeaderTwice(String),
}

impl fmt::Display for InvalidCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeaderName(name) => write!(f, "`{name}` is no header name"),
            Self::HeaderTwice(name) => {
                write!(f, "the header `{name}` stands here twice; header names know no upper case")
            }
        }
    }
}

impl Error for InvalidCondition {}
