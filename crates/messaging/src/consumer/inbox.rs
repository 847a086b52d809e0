//! What was handled before, and what is to be remembered.

use std::time::Duration;

use super::counters::Fate;
use super::failure::Failure;
use super::unit::Unit;
use crate::Content;
use crate::commit::Operation;
use crate::queue::Settlement;

impl Unit<'_> {
    /// What the inbox knows a message by: a source has no space in it.
    pub(super) fn inbox_key(&self, message: usize) -> String {
        match &self.lease(message).content {
            Content::Envelope(envelope) => format!("{} {}", envelope.source(), envelope.id()),
            Content::Undecodable { .. } => String::new(),
        }
    }

    /// Whether the inbox has it.
    pub(super) async fn is_handled(&mut self, message: usize) -> Result<bool, Failure> {
        let (Some(engine), Some(inbox)) = (&self.shared.inbox, &self.shared.config.inbox) else {
            return Ok(false);
        };
        let key = self.inbox_key(message);
        let marked = self.shared.answer(Duration::ZERO, engine.is_marked(&inbox.name, &key));
        let marked = self.keeper.during(marked).await;
        marked.map_err(|error| Failure::not_tried(format!("the inbox can not be read: {error}")))
    }

    /// Ends a message that somebody handled.
    pub(super) async fn acknowledge_handled(&mut self, message: usize) {
        let id = self.keeper.id(message).clone();
        let fate = self.keeper.during(self.shared.settle(&id, Settlement::Ack)).await;
        let fate = if fate == Fate::Acknowledged { Fate::HandledBefore } else { fate };
        self.ended(message, fate, "");
    }

    /// What marks all of `part` as handled.
    pub(super) fn marks(&self, part: &[usize]) -> Vec<Operation> {
        let Some(inbox) = &self.shared.config.inbox else { return Vec::new() };
        let mark = |message: &usize| Operation::Mark {
            inbox: inbox.name.clone(),
            key: self.inbox_key(*message),
            kept: inbox.kept,
        };
        part.iter().map(mark).collect()
    }
}
