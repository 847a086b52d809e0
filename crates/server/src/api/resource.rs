//! What the API shows: resources in S4's form.

use bytes::Bytes;
use http::StatusCode;
use intertie_core::clock::Timestamp;
use intertie_core::envelope::{base64, structured};
use intertie_messaging::queue::{Browsed, DeadLetter, Depth, Lease, Origin};
use intertie_messaging::{Content, Name};
use serde::Serialize;
use serde_json::value::RawValue;

/// What was done, ready to be answered.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) status: StatusCode,
    /// JSON; nothing for an answer without a body.
    pub(super) data: Option<Vec<u8>>,
    /// The links of the answer, `self` first; their paths need no escapes.
    pub(super) links: Vec<(&'static str, String)>,
    /// Where what was made is.
    pub(super) location: Option<String>,
}

impl Done {
    /// `data` at the path `own`.
    pub(super) fn with(status: StatusCode, data: &impl Serialize, own: String) -> Self {
        let data = serde_json::to_vec(data).expect("it has text for keys");
        Self { status, data: Some(data), links: vec![("self", own)], location: None }
    }

    /// Nothing to say.
    pub(super) fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, data: None, links: Vec::new(), location: None }
    }

    /// With another link.
    pub(super) fn link(mut self, name: &'static str, to: Option<String>) -> Self {
        self.links.extend(to.map(|to| (name, to)));
        self
    }
}

/// One thing.
#[derive(Debug, Serialize)]
pub(super) struct Resource<A> {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) attributes: A,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueAttributes {
    ready: u64,
    delayed: u64,
    in_flight: u64,
    oldest: Option<String>,
    bytes: Option<u64>,
    consumers: Option<u64>,
    dead_letters: String,
    /// Whether the file has it, or only the data directory.
    declared: bool,
}

pub(super) fn queue(
    name: &Name,
    depth: Depth,
    dead_letters: &str,
    declared: bool,
) -> Resource<QueueAttributes> {
    let Depth { ready, delayed, in_flight, oldest, bytes, consumers } = depth;
    let dead_letters = dead_letters.to_owned();
    let oldest = oldest.map(text);
    let attributes =
        QueueAttributes { ready, delayed, in_flight, oldest, bytes, consumers, dead_letters, declared };
    Resource { id: name.to_string(), kind: "queue", attributes }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeaseAttributes {
    position: Option<u64>,
    priority: u8,
    deliveries: u32,
    stored_at: String,
    until: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<DeadLetterView>,
    #[serde(flatten)]
    content: ContentView,
}

pub(super) fn lease(lease: &Lease) -> Resource<LeaseAttributes> {
    let attributes = LeaseAttributes {
        position: lease.position,
        priority: lease.priority,
        deliveries: lease.deliveries.get(),
        stored_at: text(lease.stored_at),
        until: text(lease.until),
        dead_letter: lease.dead_letter.as_deref().map(dead_letter),
        content: content(&lease.content),
    };
    Resource { id: lease.id.to_string(), kind: "lease", attributes }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageAttributes {
    position: u64,
    priority: u8,
    deliveries: u32,
    stored_at: String,
    due: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    leased_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<DeadLetterView>,
    #[serde(flatten)]
    content: ContentView,
}

pub(super) fn message(browsed: &Browsed) -> Resource<MessageAttributes> {
    let attributes = MessageAttributes {
        position: browsed.position,
        priority: browsed.priority,
        deliveries: browsed.deliveries,
        stored_at: text(browsed.stored_at),
        due: text(browsed.due),
        leased_until: browsed.leased_until.map(text),
        dead_letter: browsed.dead_letter.as_deref().map(dead_letter),
        content: content(&browsed.content),
    };
    Resource { id: browsed.position.to_string(), kind: "message", attributes }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetterView {
    cause: &'static str,
    reason: Option<String>,
    origin: OriginView,
    deliveries: u32,
    at: String,
    redrives: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OriginView {
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    position: Option<u64>,
}

fn dead_letter(dead: &DeadLetter) -> DeadLetterView {
    let origin = match &dead.origin {
        Origin::Queue { queue, position } => OriginView {
            queue: Some(queue.to_string()),
            topic: None,
            group: None,
            partition: None,
            position: *position,
        },
        Origin::Topic { topic, group, partition, position } => OriginView {
            queue: None,
            topic: Some(topic.to_string()),
            group: Some(group.to_string()),
            partition: Some(*partition),
            position: Some(*position),
        },
    };
    DeadLetterView {
        cause: dead.cause.name(),
        reason: dead.reason.clone(),
        origin,
        deliveries: dead.deliveries,
        at: text(dead.at),
        redrives: dead.redrives,
    }
}

/// An event in the JSON format of CloudEvents, its data byte for byte; or bytes that are none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum ContentView {
    Event(Box<RawValue>),
    Undecodable { problem: String, bytes_base64: String },
}

fn content(content: &Content) -> ContentView {
    match content {
        Content::Envelope(event) => {
            let text = String::from_utf8(structured::write(event)).expect("JSON is UTF-8");
            ContentView::Event(RawValue::from_string(text).expect("an event is written as JSON"))
        }
        Content::Undecodable { bytes, problem, .. } => {
            ContentView::Undecodable { problem: problem.clone(), bytes_base64: base64_of(bytes) }
        }
    }
}

fn base64_of(bytes: &Bytes) -> String {
    let mut out = Vec::new();
    base64::encode(bytes, &mut out);
    String::from_utf8(out).expect("base64 is ASCII")
}

/// A moment in the text of RFC 3339.
pub(super) fn text(at: Timestamp) -> String {
    at.to_string()
}
