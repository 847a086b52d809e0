//! Finished spans of recorded traces, on their way to whoever collects them.

use crate::clock::Timestamp;
use crate::trace::TraceContext;

/// One piece of work within a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its place in the trace.
    pub context: TraceContext,
    /// The span that it is part of; `None` for the root of a trace.
    pub parent: Option<u64>,
    /// The `tracestate` that it has from its caller, or has told those that it called.
    pub trace_state: Option<String>,
    /// Its part in a call.
    pub kind: SpanKind,
    /// What is done, in few different words: `GET /orders/{id}`.
    pub name: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Details, named by OpenTelemetry's semantic conventions; each name at most once.
    pub attributes: Vec<(&'static str, AttributeValue)>,
    /// Whether it failed.
    pub failed: bool,
}

/// A span's part in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Answers a call that came from elsewhere.
    Server,
    /// Makes a call, and waits for its answer.
    Client,
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// A text of few different ones, known when this was compiled.
    Name(&'static str),
    /// Any text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&'static str> for AttributeValue {
    fn from(name: &'static str) -> Self {
        Self::Name(name)
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u16> for AttributeValue {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for AttributeValue {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}
