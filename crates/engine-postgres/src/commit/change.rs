//! What commits ask for, made ready before there is a transaction.

use std::time::Duration;

use bytes::Bytes;
use intertie_idempotency::Key;
use intertie_messaging::commit::Operation;
use intertie_messaging::queue::{DeadLetter, LeaseId, LeaseToken, Settlement};
use intertie_messaging::{Content, Due, Message, Name, stored};

use crate::moment::{Moment, moment};
use crate::schema::digest_of;

/// One operation.
#[derive(Debug)]
pub(crate) enum Change {
    Send {
        queue: Name,
        draft: Draft,
    },
    Cancel {
        queue: Name,
        position: i64,
    },
    /// Of nothing, when the lease is no text that was ever one.
    Settle {
        queue: Name,
        lease: Option<Lease>,
        settlement: Settlement,
    },
    Redrive {
        queue: Name,
        position: i64,
        to: Name,
    },
    Bury {
        queue: Name,
        content: Vec<u8>,
        key: Option<Vec<u8>>,
        letter: Box<DeadLetter>,
    },
    Mark {
        inbox: Name,
        digest: Vec<u8>,
        kept: Duration,
    },
    Complete {
        digest: Vec<u8>,
        fence: u64,
        answer: Option<Bytes>,
        kept: Duration,
    },
    /// What only topics know.
    Unsupported,
}

/// A message to be sent.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) content: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) priority: u8,
    pub(crate) due: Due,
    pub(crate) expires: Option<Moment>,
}

/// A delivery, as columns hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) position: i64,
    pub(crate) delivery: i64,
    pub(crate) secret: i64,
}

impl Lease {
    /// The delivery that `id` names; none, when it names nothing that was ever handed out.
    pub(crate) fn read(id: &LeaseId) -> Option<Self> {
        let token: LeaseToken = id.as_str().parse().ok()?;
        let (position, delivery) = (i64::try_from(token.position).ok()?, i64::try_from(token.delivery).ok()?);
        Some(Self { position, delivery, secret: token.secret.cast_signed() })
    }
}

impl From<Lease> for LeaseId {
    fn from(lease: Lease) -> Self {
        let Lease { position, delivery, secret } = lease;
        let [position, delivery, secret] = [position, delivery, secret].map(i64::cast_unsigned);
        LeaseToken { position, delivery, secret }.into()
    }
}

/// The group that an envelope is of.
fn key_of(envelope: &intertie_core::envelope::Envelope) -> Option<Vec<u8>> {
    envelope.partition_key().map(|key| digest_of(&[key.as_bytes()]))
}

impl From<Message> for Draft {
    fn from(message: Message) -> Self {
        let envelope = &message.envelope;
        let expires = envelope.expiry_time().ok().flatten().and_then(|time| time.timestamp());
        Self {
            content: stored::write_envelope(envelope),
            id: digest_of(&[envelope.source().as_bytes(), envelope.id().as_bytes()]),
            key: key_of(envelope),
            priority: message.priority,
            due: message.due,
            expires: expires.map(moment),
        }
    }
}

/// What a record of a request is found by.
pub(crate) fn request_digest(scope: &str, key: &Key) -> Vec<u8> {
    digest_of(&[scope.as_bytes(), key.as_str().as_bytes()])
}

/// A position that no message has where the number is none of ours.
fn place(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(-1)
}

impl From<Operation> for Change {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Send { queue, message } => Self::Send { queue, draft: message.into() },
            Operation::Cancel { queue, position } => Self::Cancel { queue, position: place(position) },
            Operation::Settle { queue, lease, settlement } => {
                Self::Settle { queue, lease: Lease::read(&lease), settlement }
            }
            Operation::Redrive { queue, position, to } => {
                Self::Redrive { queue, position: place(position), to }
            }
            Operation::Bury { queue, content, dead_letter } => {
                let key = match &content {
                    Content::Envelope(envelope) => key_of(envelope),
                    Content::Undecodable { .. } => None,
                };
                let content = stored::write(&content);
                let reason = dead_letter.reason.clone().map(DeadLetter::kept_reason);
                Self::Bury { queue, content, key, letter: Box::new(DeadLetter { reason, ..*dead_letter }) }
            }
            Operation::Mark { inbox, key, kept } => {
                Self::Mark { inbox, digest: digest_of(&[key.as_bytes()]), kept }
            }
            Operation::Complete { scope, key, fence, answer, kept } => {
                Self::Complete { digest: request_digest(&scope, &key), fence, answer, kept }
            }
            Operation::Append { .. } | Operation::Advance { .. } => Self::Unsupported,
        }
    }
}

impl Change {
    /// What its sender chose the size of.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Send { draft, .. } => draft.content.len(),
            Self::Bury { content, .. } => content.len(),
            Self::Settle { settlement: Settlement::DeadLetter { reason, .. }, .. } => reason.len(),
            Self::Complete { answer, .. } => answer.as_ref().map_or(0, Bytes::len),
            Self::Cancel { .. }
            | Self::Settle { .. }
            | Self::Redrive { .. }
            | Self::Mark { .. }
            | Self::Unsupported => 0,
        }
    }

    /// The queues that it names.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &Name> {
        let (first, second) = match self {
            Self::Send { queue, .. }
            | Self::Cancel { queue, .. }
            | Self::Settle { queue, .. }
            | Self::Bury { queue, .. } => (Some(queue), None),
            Self::Redrive { queue, to, .. } => (Some(queue), Some(to)),
            Self::Mark { .. } | Self::Complete { .. } | Self::Unsupported => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The message that it is about, and its queue.
    pub(crate) fn place(&self) -> Option<(&Name, i64)> {
        match self {
            Self::Cancel { queue, position } | Self::Redrive { queue, position, .. } => {
                Some((queue, *position))
            }
            Self::Settle { queue, lease, .. } => lease.map(|lease| (queue, lease.position)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_known_by_its_words_and_by_no_others() {
        let lease = Lease { position: 7, delivery: 9, secret: -3 };
        assert_eq!(Lease::read(&lease.into()), Some(lease));
        for text in ["", "7", "7-9", "7-9-x", "18446744073709551615-9-0000000000000001"] {
            assert_eq!(Lease::read(&LeaseId::new(text)), None, "{text}");
        }
    }
}
