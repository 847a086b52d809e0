//! The extensions that Intertie knows, by their meaning.
//!
//! An extension of the same name may come from a system that means something else by it. So none is judged when an
//! event is read: text is given as it is, and what must have a form is judged when it is asked for.

use std::borrow::Cow;

use super::{AttributeValue, Envelope, EnvelopeError, Reason, Time};
use crate::trace::TraceContext;

/// When the event is no longer of use; CloudEvents' own.
pub const EXPIRY_TIME: &str = "expirytime";
/// When the event was recorded, which may be later than when it happened; CloudEvents' own.
pub const RECORDED_TIME: &str = "recordedtime";
/// The trace that the event began in, as W3C Trace Context writes it; CloudEvents' own.
pub const TRACE_PARENT: &str = "traceparent";

macro_rules! text_extensions {
    ($($constant:ident = $name:literal, $get:ident, $set:ident: $meaning:literal;)*) => {
        $(
            #[doc = concat!($meaning, ".")]
            pub const $constant: &str = $name;
        )*

        impl Envelope {
            $(
                #[doc = concat!($meaning, ": the extension `", $name, "`.")]
                pub fn $get(&self) -> Option<Cow<'_, str>> {
                    self.extension($name).map(AttributeValue::text)
                }

                #[doc = concat!("The same with the extension `", $name, "`.")]
                ///
                /// # Errors
                /// When the text is empty or has a character that no attribute may have.
                pub fn $set(self, text: &str) -> Result<Self, EnvelopeError> {
                    if text.is_empty() {
                        return Err(EnvelopeError::new($name, Reason::Empty));
                    }
                    self.with_extension($name, text)
                }
            )*
        }
    };
}

text_extensions! {
    CORRELATION_ID = "correlationid", correlation_id, with_correlation_id:
        "What all events of one flow share; CloudEvents' own";
    CAUSATION_ID = "causationid", causation_id, with_causation_id:
        "The id of the event or command that caused this one; CloudEvents' own";
    PARTITION_KEY = "partitionkey", partition_key, with_partition_key:
        "What is the same for events whose order matters; CloudEvents' own";
    TRACE_STATE = "tracestate", trace_state, with_trace_state:
        "What tracing systems add to the trace; CloudEvents' own";
    AGGREGATE_TYPE = "aggregatetype", aggregate_type, with_aggregate_type:
        "The kind of entity that the subject is";
    EVENT_VERSION = "eventversion", event_version, with_event_version:
        "The version of the type's data";
    SCHEMA_VERSION = "schemaversion", schema_version, with_schema_version:
        "The version of the schema that events of all types follow";
    REPLY_TO = "replyto", reply_to, with_reply_to:
        "The queue on which an answer is awaited";
    PRIORITY = "priority", priority, with_priority:
        "How urgent the message is, in the words of its queue";
    USER_ID = "userid", user_id, with_user_id:
        "Who did what the event tells of";
    SESSION_ID = "sessionid", session_id, with_session_id:
        "In which session they did";
}

impl Envelope {
    /// When the event is no longer of use: the extension `expirytime`.
    ///
    /// # Errors
    /// When it is there and no time.
    pub fn expiry_time(&self) -> Result<Option<Time>, EnvelopeError> {
        self.time_extension(EXPIRY_TIME)
    }

    /// The same with the extension `expirytime`.
    #[must_use]
    pub fn with_expiry_time(self, time: impl Into<Time>) -> Self {
        self.with_time_extension(EXPIRY_TIME, &time.into())
    }

    /// When the event was recorded: the extension `recordedtime`.
    ///
    /// # Errors
    /// When it is there and no time.
    pub fn recorded_time(&self) -> Result<Option<Time>, EnvelopeError> {
        self.time_extension(RECORDED_TIME)
    }

    /// The same with the extension `recordedtime`.
    #[must_use]
    pub fn with_recorded_time(self, time: impl Into<Time>) -> Self {
        self.with_time_extension(RECORDED_TIME, &time.into())
    }

    /// The trace that the event began in: the extension `traceparent`. A malformed one is `None`, as the
    /// specification of Trace Context asks.
    pub fn trace(&self) -> Option<TraceContext> {
        TraceContext::parse(self.extension(TRACE_PARENT)?.text().as_bytes())
    }

    /// The same with the extension `traceparent`.
    #[must_use]
    pub fn with_trace(self, trace: TraceContext) -> Self {
        let text = trace.to_traceparent().map(char::from).iter().collect::<String>();
        self.with_extension(TRACE_PARENT, text).expect("hexadecimal digits and dashes")
    }

    fn time_extension(&self, name: &'static str) -> Result<Option<Time>, EnvelopeError> {
        let malformed = |_| EnvelopeError::new(name, Reason::Malformed { expected: "a time of RFC 3339" });
        self.extension(name).map(|value| value.text().parse().map_err(malformed)).transpose()
    }

    fn with_time_extension(self, name: &'static str, time: &Time) -> Self {
        self.with_extension(name, time.as_str()).expect("a time has no control characters")
    }
}
