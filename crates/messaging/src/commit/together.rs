use std::fmt;

use super::{Commit, Operation};
use crate::Name;

/// What a commit asks to be done together: which kinds of operations, and in how many places.
///
/// Whether an engine can do that is a matter of this alone, not of the messages: it says so
/// ([`Engine::commit_support`](crate::Engine::commit_support)) before the first of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Together {
    /// A bit for each kind.
    kinds: u16,
    places: Places,
}

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Operation::Send`].
    Send,
    /// [`Operation::Cancel`].
    Cancel,
    /// [`Operation::Settle`].
    Settle,
    /// [`Operation::Redrive`].
    Redrive,
    /// [`Operation::Bury`].
    Bury,
    /// [`Operation::Append`].
    Append,
    /// [`Operation::Advance`].
    Advance,
    /// [`Operation::Mark`].
    Mark,
    /// [`Operation::Complete`].
    Complete,
}

/// Where a commit does what it does. A place is a queue, a topic, an inbox, or the records of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Places {
    /// All in one of them.
    One,
    /// In more than one.
    Several,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Send,
        Self::Cancel,
        Self::Settle,
        Self::Redrive,
        Self::Bury,
        Self::Append,
        Self::Advance,
        Self::Mark,
        Self::Complete,
    ];

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl Together {
    /// What is asked for most often, with the names that reports use.
    pub const COMMON: [(&'static str, Self); 8] = [
        ("batch of sends", Self::of(&[Kind::Send], Places::One)),
        ("sends to several queues", Self::of(&[Kind::Send], Places::Several)),
        ("batch of appends", Self::of(&[Kind::Append], Places::One)),
        ("settlement and sends", Self::of(&[Kind::Settle, Kind::Send], Places::Several)),
        ("settlement and mark", Self::of(&[Kind::Settle, Kind::Mark], Places::Several)),
        ("advance and appends", Self::of(&[Kind::Advance, Kind::Append], Places::Several)),
        ("advance and dead letter", Self::of(&[Kind::Advance, Kind::Bury], Places::Several)),
        ("completed request and sends", Self::of(&[Kind::Complete, Kind::Send], Places::Several)),
    ];

    /// Operations of these kinds, in so many places.
    pub const fn of(kinds: &[Kind], places: Places) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < kinds.len() {
            bits |= kinds[at].bit();
            at += 1;
        }
        Self { kinds: bits, places }
    }

    /// Whether `kind` is among them.
    pub const fn has(self, kind: Kind) -> bool {
        self.kinds & kind.bit() != 0
    }

    /// The kinds.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }

    /// Where.
    pub const fn places(self) -> Places {
        self.places
    }
}

impl fmt::Debug for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds()).finish()?;
        write!(f, " in {:?}", self.places)
    }
}

#[derive(PartialEq)]
enum Place<'a> {
    Queue(&'a Name),
    Topic(&'a Name),
    Inbox(&'a Name),
    Requests,
}

impl Operation {
    /// Which kind it is of.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Send { .. } => Kind::Send,
            Self::Cancel { .. } => Kind::Cancel,
            Self::Settle { .. } => Kind::Settle,
            Self::Redrive { .. } => Kind::Redrive,
            Self::Bury { .. } => Kind::Bury,
            Self::Append { .. } => Kind::Append,
            Self::Advance { .. } => Kind::Advance,
            Self::Mark { .. } => Kind::Mark,
            Self::Complete { .. } => Kind::Complete,
        }
    }

    fn place(&self) -> Place<'_> {
        match self {
            Self::Send { queue, .. }
            | Self::Cancel { queue, .. }
            | Self::Settle { queue, .. }
            | Self::Redrive { queue, .. }
            | Self::Bury { queue, .. } => Place::Queue(queue),
            Self::Append { topic, .. } => Place::Topic(topic),
            Self::Advance { membership, .. } => Place::Topic(&membership.member.topic),
            Self::Mark { inbox, .. } => Place::Inbox(inbox),
            Self::Complete { .. } => Place::Requests,
        }
    }
}

impl Commit {
    /// What it asks to be done together; nothing when it is a single operation, which every engine that knows it does
    /// as a whole.
    pub fn together(&self) -> Option<Together> {
        let (first, others) = self.operations.split_first()?;
        let moves = |operation: &Operation| matches!(operation, Operation::Redrive { .. });
        let mut kinds = first.kind().bit();
        let mut places = if moves(first) { Places::Several } else { Places::One };
        for other in others {
            kinds |= other.kind().bit();
            if moves(other) || other.place() != first.place() {
                places = Places::Several;
            }
        }
        (!others.is_empty()).then_some(Together { kinds, places })
    }
}

#[cfg(test)]
mod tests {
    use intertie_core::envelope::Envelope;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn send(queue: &str) -> Operation {
        let message = Envelope::new("1", "/shop", "ordered").expect("an event").into();
        Operation::Send { queue: name(queue), message }
    }

    fn append(topic: &str) -> Operation {
        let record = Envelope::new("1", "/shop", "ordered").expect("an event").into();
        Operation::Append { topic: name(topic), record }
    }

    #[test]
    fn what_is_asked_together_is_kinds_and_places() {
        let redrive = || Operation::Redrive { queue: name("a.dead"), position: 1, to: name("a") };
        let cancel = || Operation::Cancel { queue: name("a.dead"), position: 2 };
        for (operations, expected) in [
            (vec![], None),
            (vec![send("a")], None),
            (vec![redrive()], None),
            (vec![send("a"), send("a")], Some(Together::of(&[Kind::Send], Places::One))),
            (vec![send("a"), send("b")], Some(Together::of(&[Kind::Send], Places::Several))),
            (vec![redrive(), redrive()], Some(Together::of(&[Kind::Redrive], Places::Several))),
            (vec![cancel(), redrive()], Some(Together::of(&[Kind::Cancel, Kind::Redrive], Places::Several))),
            // A topic may have the name of a queue.
            (vec![send("a"), append("a")], Some(Together::of(&[Kind::Send, Kind::Append], Places::Several))),
        ] {
            let commit: Commit = operations.into_iter().collect();
            assert_eq!(commit.together(), expected, "{commit:?}");
        }
        let all = Together::of(&Kind::ALL, Places::One);
        assert_eq!(all.kinds().collect::<Vec<_>>(), Kind::ALL);
    }
}
