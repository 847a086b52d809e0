//! What the writer and those who submit to it have in common.

use std::error::Error;

use intertie_core::telemetry::Events;
use tokio::sync::{oneshot, watch};

use super::failure::Failure;
use super::health::{Counters, Health};
use super::mailbox::Mailbox;
use super::state::State;
use super::submit_error::SubmitError;

/// What became of a command.
pub(super) type Outcome<S> = Result<<S as State>::Reply, SubmitError<<S as State>::Refusal>>;

/// A command on its way, with where its answer goes, if anybody waits for it.
pub(super) struct Envelope<S: State> {
    pub(super) command: S::Command,
    pub(super) answer: Option<oneshot::Sender<Outcome<S>>>,
}

/// What the writer shares with the store's handle.
pub(super) struct Shared<S: State> {
    pub(super) mailbox: Mailbox<Envelope<S>>,
    pub(super) health: watch::Sender<Option<Failure>>,
    pub(super) counters: Counters,
    pub(super) events: Events,
}

impl<S: State> Shared<S> {
    /// Takes no more writes. The first cause stays.
    pub(super) fn fail(&self, cause: &Failure) {
        let is_first = self.health.send_if_modified(|health| {
            let is_first = health.is_none();
            health.get_or_insert_with(|| cause.clone());
            is_first
        });
        if is_first {
            self.mailbox.close();
            self.events.tell("store_failed", || {
                let source = cause.source().map(ToString::to_string);
                vec![("cause", cause.to_string()), ("source", source.unwrap_or_default())]
            });
        }
    }

    /// Takes back a reply that nobody heard, if its state knows how.
    pub(super) fn undelivered(&self, reply: S::Reply) {
        if let Some(command) = S::undelivered(reply) {
            let bytes = S::bytes(&command);
            self.mailbox.push_first(Envelope { command, answer: None }, bytes);
        }
    }

    pub(super) fn health(&self) -> Health {
        match self.health.borrow().clone() {
            Some(cause) => Health::Failed { cause },
            None => Health::Serving { wal_pinned: self.counters.pin().clone() },
        }
    }
}
