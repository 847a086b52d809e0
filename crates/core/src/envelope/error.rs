use std::fmt;

/// An event, or what came as one, is no valid CloudEvent: which attribute, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeError {
    /// The event's place in its batch, from 0; `None` when it came alone or the batch itself is meant.
    pub event: Option<usize>,
    /// The attribute, `data` and `data_base64` included, cut after [`NAME_SHOWN_MAX`] bytes; `None` when the
    /// whole event or batch is meant.
    pub attribute: Option<Box<str>>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// The most bytes of an attribute's name that an error repeats: whoever sent it chose it.
pub const NAME_SHOWN_MAX: usize = 64;

/// What is wrong with an attribute, an event or a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The specification or the shape requires it, and it is not there or null.
    Missing,
    /// It is there and says nothing.
    Empty,
    /// It is there more than once.
    Duplicate,
    /// Its name is none for an extension: not of `a` to `z` and `0` to `9`, or taken by the specification.
    Name,
    /// It has another type.
    WrongType {
        /// The type that it must have.
        expected: &'static str,
    },
    /// Its text does not follow the grammar of its type.
    Malformed {
        /// What it must be.
        expected: &'static str,
    },
    /// Its text has a character that no attribute may have.
    Character(char),
    /// It is of another version of the specification.
    UnknownVersion,
    /// It is there together with another one that says the same.
    Conflict {
        /// The other one.
        with: &'static str,
    },
    /// It has more than a limit allows.
    OverLimit {
        /// The limit, as its key in [`Limits`](super::Limits).
        limit: &'static str,
        /// What it allows.
        max: u64,
    },
    /// It is no JSON.
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// The media type names an event format that is not read here.
    UnknownFormat,
    /// The shape that the event should become has no place for it.
    NoField {
        /// The shape.
        shape: &'static str,
    },
}

impl EnvelopeError {
    /// `attribute` is wrong because of `reason`.
    pub(crate) fn new(attribute: &str, reason: Reason) -> Self {
        let shown = attribute.floor_char_boundary(NAME_SHOWN_MAX);
        Self { event: None, attribute: Some(attribute[..shown].into()), reason }
    }

    /// The event or batch as a whole is wrong because of `reason`.
    pub(crate) fn whole(reason: Reason) -> Self {
        Self { event: None, attribute: None, reason }
    }

    /// The same of the event at `position` in a batch.
    pub(crate) fn in_batch(self, position: usize) -> Self {
        Self { event: Some(position), ..self }
    }

    /// The JSON pointer (RFC 6901) to what is wrong, in the event as the JSON format writes it: `/time`,
    /// `/3/source`, and `""` for the whole. A name too long to be repeated is pointed to by what holds it.
    pub fn pointer(&self) -> String {
        let event = self.event.map_or(String::new(), |position| format!("/{position}"));
        match &self.attribute {
            Some(name) if name.len() + char::MAX_LEN_UTF8 <= NAME_SHOWN_MAX => {
                format!("{event}/{}", name.replace('~', "~0").replace('/', "~1"))
            }
            _ => event,
        }
    }
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.event {
            write!(f, "event {position}: ")?;
        }
        match &self.attribute {
            Some(name) => write!(f, "`{}` {}", name.escape_debug(), self.reason),
            None => write!(f, "what came {}", self.reason),
        }
    }
}

impl std::error::Error for EnvelopeError {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Empty => f.write_str("is empty"),
            Self::Duplicate => f.write_str("is there more than once"),
            Self::Name => f.write_str("is no name of an extension, which has only `a` to `z` and `0` to `9`"),
            Self::WrongType { expected } => write!(f, "is not {expected}"),
            Self::Malformed { expected } => write!(f, "does not read as {expected}"),
            Self::Character(character) => {
                write!(f, "has the character U+{:04X}, which no attribute may have", u32::from(*character))
            }
            Self::UnknownVersion => f.write_str("is not `1.0`, the version that is read here"),
            Self::Conflict { with } => write!(f, "is there together with `{with}`"),
            Self::OverLimit { limit, max } => write!(f, "is above the limit `{limit}`, {max}"),
            Self::Syntax { line, column } => write!(f, "is no JSON at line {line}, column {column}"),
            Self::UnknownFormat => f.write_str("is in an event format that is not read here"),
            Self::NoField { shape } => write!(f, "has no field in the shape {shape}"),
        }
    }
}
