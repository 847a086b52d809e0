//! All that a data directory keeps, as one state of the store: a part for each pattern.
//!
//! A part has its tables, and in memory what it needs to be fast. It looks at its operations of a commit, does them,
//! and does what is due. So one commit reaches all of them, in one transaction, and no part knows another.

mod commit;
#[cfg(test)]
mod tests;

use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_idempotency::{Bounds, Decision, Full, Key, Lost};
use intertie_messaging::commit::{CommitError, Committed, Refused};
use intertie_messaging::queue::{Browse, LeaseId, LeaseRequest, LeaseToken, QueueSpec};
use intertie_messaging::{DeclareError, EngineError, Listing, Name, Unfit};
use rusqlite::Connection;

pub(crate) use commit::Change;

use crate::damage::Damages;
use crate::embedded::EmbeddedConfig;
use crate::inbox::Inbox;
use crate::moment::moment;
use crate::queue::{Found, HeldPositions, Leased, QueueLimits, Queues, Then};
use crate::requests::{Ask, Requests};
use crate::store::State;
use crate::wakes::Waiting;

/// The parts.
#[derive(Debug)]
pub(crate) struct Parts {
    queues: Queues,
    inbox: Inbox,
    requests: Requests,
    waiting: Waiting,
    key_bytes: usize,
}

/// What can be asked of them.
#[derive(Debug)]
pub(crate) enum Command {
    Commit(Vec<Change>),
    Declare {
        name: Name,
        spec: Box<QueueSpec>,
    },
    Delete {
        name: Name,
    },
    List {
        listing: Listing,
    },
    Lease {
        request: LeaseRequest,
        secret: u64,
    },
    Extend {
        queue: Name,
        lease: LeaseId,
        time: Duration,
    },
    /// Takes back deliveries that nobody has heard of.
    Release {
        queue: Name,
        tokens: Vec<LeaseToken>,
    },
    Depth {
        queue: Name,
    },
    Held {
        browse: Browse,
    },
    IsMarked {
        inbox: Name,
        key: String,
    },
    Request {
        scope: String,
        key: Key,
        ask: Ask,
    },
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    Committed(Committed),
    Leased { queue: Name, leased: Vec<Leased>, then: Then },
    Until(Timestamp),
    Names(Vec<Name>),
    Depth(Option<Found>),
    Held(Option<(i64, HeldPositions)>),
    IsMarked(bool),
    Request(Result<Option<Decision>, Lost>),
    Done,
}

/// Why something is not done.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    Commit(CommitError),
    Declare(DeclareError),
    Engine(EngineError),
    Requests(Full),
}

/// What a command weighs beside what its sender chose.
const COMMAND_BYTES: usize = 128;

impl Parts {
    /// Makes the tables at their first use, and reads what memory holds of them.
    pub(crate) fn load(
        connection: &Connection,
        config: &EmbeddedConfig,
        waiting: Waiting,
        damages: Damages,
    ) -> rusqlite::Result<Self> {
        let step = config.step.get() as usize;
        let limits = QueueLimits {
            queues: config.queues_max.get() as usize,
            heads: config.ready_heads.get() as usize,
            step,
            bytes: config.store.group_bytes_max.bytes(),
            ids: config.ids_max.get(),
            key_bytes: config.key_bytes_max.get() as usize,
        };
        let bounds =
            Bounds { records: config.records_max.get(), answer_bytes: config.answers_bytes_max.bytes() };
        Ok(Self {
            queues: Queues::load(connection, limits, damages)?,
            inbox: Inbox::load(connection, config.marks_max.get(), step)?,
            requests: Requests::load(connection, bounds, step)?,
            waiting,
            key_bytes: limits.key_bytes,
        })
    }
}

impl State for Parts {
    type Command = Command;
    type Reply = Reply;
    type Refusal = Refusal;

    fn bytes(command: &Command) -> usize {
        match command {
            Command::Commit(changes) => {
                changes.iter().map(|change| COMMAND_BYTES + change.bytes()).sum::<usize>()
            }
            Command::IsMarked { key, .. } => COMMAND_BYTES + key.len(),
            Command::Request { scope, .. } => COMMAND_BYTES + scope.len(),
            _ => COMMAND_BYTES,
        }
    }

    fn check(
        &self,
        connection: &Connection,
        command: &Command,
        now: Timestamp,
    ) -> rusqlite::Result<Result<(), Refusal>> {
        let now = moment(now);
        Ok(match command {
            Command::Commit(changes) => self.check_commit(connection, changes, now)?.map_err(Refusal::Commit),
            Command::Declare { name, spec } => {
                self.queues.check_declare(name, spec).map_err(Refusal::Declare)
            }
            Command::Delete { name } => self.queues.check_delete(name).map_err(Refusal::Engine),
            Command::Lease { request, .. } => self.queues.check_lease(request, now).map_err(Refusal::Engine),
            Command::Extend { queue, lease, time } => {
                self.queues.check_extend(queue, lease, *time, now).map_err(Refusal::Engine)
            }
            Command::Depth { queue } | Command::Held { browse: Browse { queue, .. } } => {
                self.queues.check_there(queue).map_err(Refusal::Engine)
            }
            Command::Request { scope, key, ask } => {
                self.requests.check(connection, scope, key, ask)?.map_err(Refusal::Requests)
            }
            Command::List { .. } | Command::Release { .. } | Command::IsMarked { .. } => Ok(()),
        })
    }

    fn apply(
        &mut self,
        connection: &Connection,
        command: Command,
        now: Timestamp,
    ) -> rusqlite::Result<Reply> {
        let now = moment(now);
        let queues = &mut self.queues;
        Ok(match command {
            Command::Commit(changes) => Reply::Committed(self.apply_commit(connection, changes, now)?),
            Command::Declare { name, spec } => {
                queues.declare(connection, &name, &spec, now)?;
                Reply::Done
            }
            Command::Delete { name } => {
                queues.delete(connection, &name, now)?;
                Reply::Done
            }
            Command::List { listing } => Reply::Names(queues.list(&listing)),
            Command::Lease { request, secret } => {
                let (leased, then) = queues.lease(connection, &request, secret, now)?;
                Reply::Leased { queue: request.queue, leased, then }
            }
            Command::Extend { queue, lease, time } => {
                Reply::Until(queues.extend(connection, &queue, &lease, time, now)?)
            }
            Command::Release { queue, tokens } => {
                queues.release(connection, &queue, &tokens, now)?;
                Reply::Done
            }
            Command::Depth { queue } => Reply::Depth(queues.depth(connection, &queue)?),
            Command::Held { browse } => Reply::Held(queues.held(&browse)),
            Command::IsMarked { inbox, key } => {
                Reply::IsMarked(self.inbox.has(connection, &inbox, &key, now)?)
            }
            Command::Request { scope, key, ask } => {
                Reply::Request(self.requests.ask(connection, &scope, &key, ask, now)?)
            }
        })
    }

    fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.queues.flush(connection)?;
        self.inbox.flush(connection)
    }

    fn committed(&mut self) {
        let wakes = self.queues.take_wakes();
        self.waiting.wake(&wakes, |queue, consumer| self.queues.share_left(queue, consumer));
    }

    fn undelivered(reply: Reply) -> Option<Command> {
        match reply {
            Reply::Leased { queue, leased, .. } if !leased.is_empty() => {
                let tokens = leased.iter().map(|lease| lease.token).collect();
                Some(Command::Release { queue, tokens })
            }
            _ => None,
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        let queues = self.queues.next_due();
        let dues = queues.into_iter().chain(self.inbox.next_due()).chain(self.requests.next_due());
        dues.min().map(crate::moment::timestamp)
    }

    fn run_due(&mut self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let now = moment(now);
        self.queues.run_due(connection, now)?;
        self.inbox.run_due(connection, now)?;
        self.requests.run_due(connection, now)
    }
}

impl Refusal {
    /// The name that is not there, and where the nearest one is to be told: whoever is answered looks for it, and not
    /// the writer.
    pub(crate) fn not_found(&mut self) -> Option<(&Name, &mut Option<Name>)> {
        let error = match self {
            Self::Engine(error) | Self::Declare(DeclareError::Engine(error)) => error,
            Self::Commit(CommitError::Refused { cause: Refused::Engine(error), .. }) => error,
            Self::Declare(DeclareError::DeadLetter { target, unfit: Unfit::Missing { nearest }, .. }) => {
                return Some((target, nearest));
            }
            _ => return None,
        };
        match error {
            EngineError::NotFound { name, nearest } => Some((name, nearest)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Commit(error) => error.fmt(f),
            Self::Declare(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
            Self::Requests(full) => full.fmt(f),
        }
    }
}
