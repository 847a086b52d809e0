//! What was handled before, and what is to be remembered.

use std::time::Duration;

use super::counters::Fate;
use super::failure::Failure;
use super::shared::all;
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

    /// Which of `part` the inbox has.
    pub(super) async fn are_handled(&mut self, part: &[usize]) -> Result<Vec<bool>, Failure> {
        let shared = self.shared;
        let (Some(engine), Some(inbox)) = (&shared.inbox, &shared.config.inbox) else {
            return Ok(vec![false; part.len()]);
        };
        let keys: Vec<_> = part.iter().map(|message| self.inbox_key(*message)).collect();
        let marked = keys.iter().map(|key| shared.answer(Duration::ZERO, engine.is_marked(&inbox.name, key)));
        let marked: Result<_, _> = self.keeper.during(all(marked)).await.into_iter().collect();
        marked.map_err(|error| Failure::not_tried(format!("the inbox can not be read: {error}")))
    }

    /// Ends messages that somebody handled.
    pub(super) async fn acknowledge_handled(&mut self, part: &[usize]) {
        let fates = self.settle(part, vec![Settlement::Ack; part.len()]).await;
        for (message, fate) in part.iter().zip(fates) {
            let fate = if fate == Fate::Acknowledged { Fate::HandledBefore } else { fate };
            self.ended(*message, fate, "");
        }
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
