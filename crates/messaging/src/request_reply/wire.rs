//! What requests and replies say of themselves, in the attributes of their envelopes. Whoever reads one knows nothing of
//! who wrote it.

use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_core::envelope::{AttributeValue, Data, Envelope, Time};
use intertie_core::id::Id;

use super::fault::Fault;
use crate::causation::{caused, in_flow};
use crate::{Name, Pattern};

/// The extension of a request that says until when its answer is of use, a time of RFC 3339.
pub const DEADLINE: &str = "deadline";
/// The extension of a reply that makes it a failure: its code.
pub const FAILURE_CODE: &str = "failurecode";
/// The extension of a failure that says whether the same request may be done another time.
pub const FAILURE_RETRYABLE: &str = "failureretryable";
/// The extension of a failure that says for how many milliseconds not to ask again.
pub const FAILURE_RETRY_AFTER: &str = "failureretryafter";
/// The type of the event that a failure is.
pub const FAILED: &str = "request.failed";

/// `request` as it is sent.
pub(super) fn addressed(request: Envelope, reply_to: &Name, deadline: Timestamp) -> Envelope {
    let request = in_flow(request).with_reply_to(reply_to.as_str()).expect("names are letters of ASCII");
    request.with_extension(DEADLINE, Time::from(deadline).as_str()).expect("a time is an attribute")
}

/// Why a request can not be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswerable {
    /// It does not say where.
    NoReplyTo,
    /// What it says is no name of a queue.
    InvalidReplyTo,
    /// Replies do not go there.
    NotAllowed,
    /// Its deadline is no time.
    InvalidDeadline,
}

impl Unanswerable {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoReplyTo => "the request has no `replyto`",
            Self::InvalidReplyTo => "the `replyto` of the request is no name of a queue",
            Self::NotAllowed => "the `replyto` of the request is none that `reply_to` of the responder means",
            Self::InvalidDeadline => "the `deadline` of the request is no time of RFC 3339",
        }
    }
}

/// Where and until when a request is to be answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) reply_to: Name,
    /// Unset, it does not say; zero, it is over.
    pub(super) remaining: Option<Duration>,
}

/// Where `request` is to be answered at `now`, if that is a queue that `allowed` means.
pub(super) fn address(
    request: &Envelope,
    allowed: &Pattern,
    now: Timestamp,
) -> Result<Address, Unanswerable> {
    let reply_to = request.reply_to().ok_or(Unanswerable::NoReplyTo)?;
    let reply_to: Name = reply_to.parse().map_err(|_| Unanswerable::InvalidReplyTo)?;
    if !allowed.matches(reply_to.as_str()) {
        return Err(Unanswerable::NotAllowed);
    }
    let deadline = request.extension(DEADLINE).map(|deadline| deadline.text().parse::<Time>()).transpose();
    let deadline = deadline.map_err(|_| Unanswerable::InvalidDeadline)?;
    let remaining = deadline.map(|deadline| {
        // Before 1970 is over, and after 2554 is far.
        let far = if deadline.unix().0 < 0 { 0 } else { u64::MAX };
        let deadline = deadline.timestamp().map_or(far, Timestamp::as_unix_nanos);
        Duration::from_nanos(deadline.saturating_sub(now.as_unix_nanos()))
    });
    Ok(Address { reply_to, remaining })
}

/// `answer` as it is sent back to whoever sent `request`.
pub(super) fn reply(request: &Envelope, answer: Envelope) -> Envelope {
    let answer = [FAILURE_CODE, FAILURE_RETRYABLE, FAILURE_RETRY_AFTER]
        .into_iter()
        .fold(answer, Envelope::without_extension);
    caused(request, answer)
}

/// `fault` as it is sent back to whoever sent `request`, by `responder`.
pub(super) fn failure(request: &Envelope, fault: &Fault, responder: &Name) -> Envelope {
    let source = format!("/{responder}");
    let reply = Envelope::new(&Id::random().to_string(), &source, FAILED).expect("names are paths");
    let message = Data::text(fault.message());
    let reply = reply.with_data(message, Some("text/plain; charset=utf-8")).expect("it is text");
    let extensions: [(&str, Option<AttributeValue>); 3] = [
        (FAILURE_CODE, Some(fault.code().into())),
        (FAILURE_RETRYABLE, Some(fault.is_retryable().into())),
        (FAILURE_RETRY_AFTER, fault.hint().map(|wait| wait.as_millis().to_string().into())),
    ];
    let reply = extensions.into_iter().fold(reply, |reply, (name, value)| match value {
        Some(value) => reply.with_extension(name, value).expect("a code is visible characters"),
        None => reply,
    });
    caused(request, reply)
}

/// The answer, or the failure, that a reply is.
pub(super) fn read(reply: Envelope) -> Result<Envelope, Fault> {
    let Some(code) = reply.extension(FAILURE_CODE) else { return Ok(reply) };
    let message = reply.data().map_or_else(String::new, |data| String::from_utf8_lossy(data.bytes()).into());
    let is_retryable =
        reply.extension(FAILURE_RETRYABLE).is_some_and(|retryable| &*retryable.text() == "true");
    if !is_retryable {
        return Err(Fault::permanent(&code.text(), message));
    }
    let fault = Fault::retryable(&code.text(), message);
    let wait = reply.extension(FAILURE_RETRY_AFTER).and_then(|wait| wait.text().parse().ok());
    Err(match wait {
        Some(wait) => fault.retry_after(Duration::from_millis(wait)),
        None => fault,
    })
}
