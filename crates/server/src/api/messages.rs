//! Messages: sent, looked at, taken back.

use std::num::NonZeroU32;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, StatusCode};
use intertie_core::envelope::{Envelope, Limits, Mode, Time, batch, binary, structured};
use intertie_core::quantity::parse_duration;
use intertie_messaging::commit::{Commit, Committed, Operation, Outcome, Receipt};
use intertie_messaging::queue::{Browse, QueueEngine};
use intertie_messaging::{Due, Engine, Message, Name};
use serde::Serialize;

use super::exchange::Asked;
use super::failure::{ApiCode, Failure};
use super::queues::QUEUES;
use super::resource::{self, Done, Resource};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const DELAY: HeaderName = HeaderName::from_static("intertie-delay");
const DUE: HeaderName = HeaderName::from_static("intertie-due");
const PRIORITY: HeaderName = HeaderName::from_static("intertie-priority");

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptAttributes {
    position: Option<u64>,
    duplicate: bool,
    durability: intertie_messaging::Durability,
}

/// Stores the event or the batch of them that came, as one commit.
pub(super) async fn send(asked: Asked<'_>, queue: &Name) -> Result<Done, Failure> {
    asked.query.finish()?;
    let limits = &asked.shared.limits;
    let limits = Limits {
        message_bytes_max: limits.body_bytes_max,
        batch_events_max: limits.batch_max,
        ..Limits::default()
    };
    let manner = Manner::of(&asked.parts.headers)?;
    let key = text(&asked.parts.headers, &IDEMPOTENCY_KEY)?;
    let content_type = text(&asked.parts.headers, &CONTENT_TYPE)?;
    let mode = Mode::of(content_type).map_err(|error| Failure::event(&error))?;
    let events = match mode {
        Mode::Batch if key.is_some() => {
            let detail = "a batch has an id for each event, and no Idempotency-Key";
            return Err(Failure::new(ApiCode::BadRequest, detail));
        }
        Mode::Batch => batch::read(&asked.body, &limits),
        Mode::Structured => structured::read(&asked.body, &limits).map(|event| vec![event]),
        Mode::Binary => {
            let headers = asked.parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            // A key is the id of a message that has none of its own.
            let has_id = asked.parts.headers.contains_key("ce-id");
            let id = key.filter(|_| !has_id).map(|key| ("ce-id", key.as_bytes()));
            binary::read(headers.chain(id), asked.body.clone(), &limits).map(|event| vec![event])
        }
    };
    let events = events.map_err(|error| Failure::event(&error))?;
    if let (Some(key), [event]) = (key, &events[..])
        && event.id() != key
    {
        let detail = "the id of the event and the Idempotency-Key differ, and either is that of the message";
        return Err(Failure::new(ApiCode::InvalidEvent, detail).at("/id"));
    }
    let is_batch = mode == Mode::Batch;
    let ids: Vec<String> = events.iter().map(|event| event.id().to_owned()).collect();
    let operation = |envelope: Envelope| Operation::Send {
        queue: queue.clone(),
        message: Message { envelope, priority: manner.priority, due: manner.due },
    };
    let commit: Commit = events.into_iter().map(operation).collect();
    let committed = asked.engine.commit(commit).await;
    let outcomes = match committed.map_err(|error| Failure::commit(error, is_batch))? {
        Committed::Done(outcomes) => outcomes,
        Committed::DoneBefore => Vec::new(),
    };
    let messages: Vec<_> = ids.into_iter().zip(outcomes).map(|(id, outcome)| receipt(id, outcome)).collect();
    let own = format!("{QUEUES}/{queue}/messages");
    match &messages[..] {
        [one] if !is_batch => {
            let status = if one.attributes.duplicate { StatusCode::OK } else { StatusCode::CREATED };
            let at = one.attributes.position.map_or(own.clone(), |position| format!("{own}/{position}"));
            let location = (status == StatusCode::CREATED).then(|| at.clone());
            Ok(Done { location, ..Done::with(status, one, at) })
        }
        _ => Ok(Done::with(StatusCode::CREATED, &messages, own)),
    }
}

fn receipt(id: String, outcome: Outcome) -> Resource<ReceiptAttributes> {
    let (duplicate, receipt) = match outcome {
        Outcome::Stored(receipt) => (false, Some(receipt)),
        Outcome::Duplicate(receipt) => (true, Some(receipt)),
        Outcome::Done => (false, None),
    };
    let (position, durability) =
        receipt.map_or((None, intertie_messaging::Durability::UNSYNCED), |receipt| {
            let Receipt { position, durability, .. } = receipt;
            (position, durability)
        });
    Resource { id, kind: "message", attributes: ReceiptAttributes { position, duplicate, durability } }
}

/// What headers ask for of all messages of a request.
#[derive(Debug)]
struct Manner {
    priority: u8,
    due: Due,
}

impl Manner {
    fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let wrong = |name: &HeaderName, detail: &str| {
            Failure::new(ApiCode::BadRequest, format!("`{name}` is {detail}"))
        };
        let delay = text(headers, &DELAY)?;
        let at = text(headers, &DUE)?;
        let due = match (delay, at) {
            (Some(_), Some(_)) => return Err(wrong(&DUE, "there together with `intertie-delay`")),
            (Some(delay), None) => {
                let delay = parse_duration(delay).map_err(|_| wrong(&DELAY, "no time, such as 30s"))?;
                if delay == Duration::ZERO { Due::Now } else { Due::After(delay) }
            }
            (None, Some(at)) => {
                let at = at.parse::<Time>().ok().and_then(|at| at.timestamp());
                Due::At(at.ok_or_else(|| wrong(&DUE, "no time of RFC 3339"))?)
            }
            (None, None) => Due::Now,
        };
        let priority = text(headers, &PRIORITY)?.map(|priority| {
            priority
                .parse()
                .ok()
                .filter(|priority| *priority < u8::MAX)
                .ok_or_else(|| wrong(&PRIORITY, "no whole number from 0 to 254"))
        });
        Ok(Self { priority: priority.transpose()?.unwrap_or(0), due })
    }
}

/// The one value of a header, if it is there.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    let wrong = |detail: &str| Failure::new(ApiCode::BadRequest, format!("`{name}` {detail}"));
    if values.next().is_some() {
        return Err(wrong("is there twice"));
    }
    let value = value.map(|value| value.to_str().map_err(|_| wrong("is no printable ASCII")));
    value.transpose()
}

/// A page of messages, by position.
pub(super) async fn browse(mut asked: Asked<'_>, queue: &Name) -> Result<Done, Failure> {
    let most = asked.query.size(asked.shared.limits.batch_max)?;
    let from = asked.query.parsed("from", str::parse::<u64>)?.unwrap_or(0);
    asked.query.finish()?;
    let bytes_max = asked.shared.limits.body_bytes_max;
    let page = asked.engine.browse(&Browse { queue: queue.clone(), from, most, bytes_max }).await?;
    let data: Vec<_> = page.messages.iter().map(resource::message).collect();
    let own = format!("{QUEUES}/{queue}/messages");
    let next = page.next.map(|next| format!("{own}?size={most}&from={next}"));
    Ok(Done::with(StatusCode::OK, &data, own).link("next", next))
}

/// One message.
pub(super) async fn show(asked: Asked<'_>, queue: &Name, position: u64) -> Result<Done, Failure> {
    asked.query.finish()?;
    let bytes_max = asked.shared.limits.body_bytes_max;
    let browse = Browse { queue: queue.clone(), from: position, most: NonZeroU32::MIN, bytes_max };
    let page = asked.engine.browse(&browse).await?;
    match page.messages.first().filter(|message| message.position == position) {
        Some(message) => {
            let own = format!("{QUEUES}/{queue}/messages/{position}");
            Ok(Done::with(StatusCode::OK, &resource::message(message), own))
        }
        None => Err(Failure::new(ApiCode::MessageNotFound, "no message stands at that position")),
    }
}

/// Takes a message back that nobody holds.
pub(super) async fn cancel(asked: Asked<'_>, queue: &Name, position: u64) -> Result<Done, Failure> {
    asked.query.finish()?;
    let commit = Commit::from(Operation::Cancel { queue: queue.clone(), position });
    let committed = asked.engine.commit(commit).await;
    committed.map(|_| Done::nothing()).map_err(|error| Failure::commit(error, false))
}
