//! Commits across all parts: every condition is looked at, and then every operation is done.

use std::collections::HashSet;
use std::time::Duration;

use intertie_idempotency::Key;
use intertie_messaging::commit::{CommitError, Committed, Operation, Outcome, Refused};
use intertie_messaging::{EngineError, Name};
use rusqlite::Connection;

use super::Parts;
use crate::moment::{Moment, later};
use crate::queue::{self, Together};
use crate::requests::Completion;

/// One operation, made ready by its caller.
#[derive(Debug)]
pub(crate) enum Change {
    /// On a queue.
    Queue(queue::Change),
    /// On a topic, of which there is none.
    Topic { name: Name },
    /// In an inbox.
    Mark { inbox: Name, key: String, kept: Duration },
    /// On the record of a request.
    Complete { scope: String, key: Key, completion: Completion },
}

impl From<Operation> for Change {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Mark { inbox, key, kept } => Self::Mark { inbox, key, kept },
            Operation::Complete { scope, key, fence, answer, kept } => {
                Self::Complete { scope, key, completion: Completion { fence, answer, kept } }
            }
            Operation::Append { topic, .. } => Self::Topic { name: topic },
            Operation::Advance { membership, .. } => Self::Topic { name: membership.member.topic },
            Operation::Send { queue, message } => Self::Queue(queue::Change::send(queue, message)),
            Operation::Cancel { queue, position } => Self::Queue(queue::Change::Cancel { queue, position }),
            Operation::Settle { queue, lease, settlement } => {
                Self::Queue(queue::Change::settle(queue, &lease, settlement))
            }
            Operation::Redrive { queue, position, to } => {
                Self::Queue(queue::Change::Redrive { queue, position, to })
            }
            Operation::Bury { queue, content, dead_letter } => {
                Self::Queue(queue::Change::bury(queue, &content, dead_letter))
            }
        }
    }
}

impl Change {
    /// What its sender chose the size of.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Queue(change) => change.bytes(),
            Self::Topic { .. } => 0,
            Self::Mark { key, .. } => key.len(),
            Self::Complete { scope, completion, .. } => {
                scope.len() + completion.answer.as_ref().map_or(0, bytes::Bytes::len)
            }
        }
    }
}

impl Parts {
    /// Whether a commit can be done. One that was done before can: nothing is done.
    pub(super) fn check_commit(
        &self,
        connection: &Connection,
        changes: &[Change],
        now: Moment,
    ) -> rusqlite::Result<Result<(), CommitError>> {
        match self.is_done_before(connection, changes, now)? {
            Ok(true) => return Ok(Ok(())),
            Ok(false) => {}
            Err(operation) => {
                return Ok(Err(CommitError::Refused { operation, cause: Refused::DoneBefore }));
            }
        }
        let (mut together, mut marks) = (Together::default(), HashSet::new());
        for (operation, change) in changes.iter().enumerate() {
            let checked = match change {
                Change::Queue(change) => self.queues.check(connection, change, &mut together, now)?,
                Change::Topic { name } => {
                    Err(EngineError::NotFound { name: name.clone(), nearest: None }.into())
                }
                Change::Mark { inbox, key, .. } => {
                    let is_first = marks.insert((inbox, key));
                    if key.len() > self.key_bytes {
                        let limit = self.key_bytes.to_string();
                        Err(EngineError::Limit { key: "key_bytes_max", limit }.into())
                    } else if !is_first || self.inbox.has(connection, inbox, key, now)? {
                        Err(Refused::HandledBefore)
                    } else {
                        self.inbox.admit(marks.len()).map_err(Into::into)
                    }
                }
                Change::Complete { scope, key, completion } => {
                    let checked =
                        self.requests.check_complete(connection, scope, key, completion.fence, now)?;
                    checked.map(|_| ()).map_err(|_| Refused::Lost)
                }
            };
            if let Err(cause) = checked {
                return Ok(Err(CommitError::Refused { operation, cause }));
            }
        }
        Ok(self.queues.check_moves(&together))
    }

    /// Whether what can be done once was done: all of it, or nothing. Else the first that was.
    fn is_done_before(
        &self,
        connection: &Connection,
        changes: &[Change],
        now: Moment,
    ) -> rusqlite::Result<Result<bool, usize>> {
        let (mut first, mut is_all) = (None, true);
        for (at, change) in changes.iter().enumerate() {
            let done = match change {
                Change::Queue(change) => self.queues.was_done(connection, change, now)?,
                Change::Complete { scope, key, completion } => {
                    let checked =
                        self.requests.check_complete(connection, scope, key, completion.fence, now)?;
                    Some(checked.is_ok_and(|is_new| !is_new))
                }
                Change::Topic { .. } | Change::Mark { .. } => None,
            };
            match done {
                Some(true) => first = first.or(Some(at)),
                Some(false) => is_all = false,
                None => {}
            }
        }
        Ok(match first {
            None => Ok(false),
            Some(_) if is_all => Ok(true),
            Some(at) => Err(at),
        })
    }

    /// Does what was checked.
    pub(super) fn apply_commit(
        &mut self,
        connection: &Connection,
        changes: Vec<Change>,
        now: Moment,
    ) -> rusqlite::Result<Committed> {
        if self.is_done_before(connection, &changes, now)? == Ok(true) {
            return Ok(Committed::DoneBefore);
        }
        let mut outcomes = Vec::with_capacity(changes.len());
        for change in changes {
            outcomes.push(match change {
                Change::Queue(change) => self.queues.apply(connection, change, now)?,
                Change::Topic { .. } => Outcome::Done,
                Change::Mark { inbox, key, kept } => {
                    self.inbox.mark(connection, &inbox, &key, later(now, kept))?;
                    Outcome::Done
                }
                Change::Complete { scope, key, completion } => {
                    self.requests.complete(connection, &scope, &key, completion, now)?;
                    Outcome::Done
                }
            });
        }
        Ok(Committed::Done(outcomes))
    }
}
