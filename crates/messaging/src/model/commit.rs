//! What a commit does: every condition is looked at, and then every operation is done.

use intertie_core::clock::Timestamp;
use intertie_core::envelope::Envelope;

use super::Bug;
use super::queue::{Standing, after};
use super::state::{Mark, State, bytes};
use crate::commit::{Commit, CommitError, Operation, Outcome, Receipt, Refused};
use crate::message::{Due, Message};
use crate::{Durability, EngineError, Name};

impl State {
    /// Does all of `commit` or nothing.
    pub(super) fn commit(&mut self, commit: Commit, now: Timestamp) -> Result<Vec<Outcome>, CommitError> {
        let operations = commit.operations;
        if let Err(refused) = self.check_all(&operations, now) {
            if let (Some(Bug::HalfBatch), CommitError::Refused { operation: at, .. }) = (self.bug, &refused) {
                self.apply_all(operations.into_iter().take(*at).collect(), now);
            }
            return Err(refused);
        }
        Ok(self.apply_all(operations, now))
    }

    /// Whether all of `operations` can be done.
    pub(super) fn check_all(&mut self, operations: &[Operation], now: Timestamp) -> Result<(), CommitError> {
        for (at, operation) in operations.iter().enumerate() {
            let checked = self.check(&operations[..at], operation, now);
            checked.map_err(|cause| CommitError::Refused { operation: at, cause })?;
        }
        Ok(())
    }

    pub(super) fn apply_all(&mut self, mut operations: Vec<Operation>, now: Timestamp) -> Vec<Outcome> {
        if self.bug == Some(Bug::ReverseBatch) {
            operations.reverse();
            let mut outcomes: Vec<_> =
                operations.into_iter().map(|operation| self.apply(operation, now)).collect();
            outcomes.reverse();
            return outcomes;
        }
        operations.into_iter().map(|operation| self.apply(operation, now)).collect()
    }

    /// Whether `operation` can be done, beside those `before` it.
    fn check(&mut self, before: &[Operation], operation: &Operation, now: Timestamp) -> Result<(), Refused> {
        let bug = self.bug;
        match operation {
            Operation::Send { queue, message } => self.check_send(before, queue, message, now),
            Operation::Cancel { queue, position } => {
                let cancellable = self.queue(queue)?.is_cancellable(*position, bug);
                let taken = before.contains(operation);
                if cancellable && !taken { Ok(()) } else { Err(Refused::NotWaiting) }
            }
            Operation::Settle { lease, settlement } => {
                self.held(lease, Some(settlement), now)?;
                let other = before.iter().any(|earlier| {
                    matches!(earlier, Operation::Settle { lease: same, .. } if same == lease)
                        && earlier != operation
                });
                if other { Err(EngineError::StaleLease.into()) } else { Ok(()) }
            }
            Operation::Append { topic, record } => {
                let topic = self.partition(topic, record.partition.unwrap_or(0))?;
                fits(&record.envelope, topic.spec.record_bytes_max.bytes(), bug)
            }
            Operation::Advance { membership, partition, .. } => {
                let topic = self.partition(&membership.member.topic, *partition)?;
                match topic.is_own(membership, *partition, now) {
                    Err(generation) if bug != Some(Bug::AdvanceUnfenced) => {
                        Err(Refused::StaleMembership { generation })
                    }
                    _ => Ok(()),
                }
            }
            Operation::Mark { inbox, key, .. } => {
                let in_commit = before.iter().any(|earlier| {
                    matches!(earlier, Operation::Mark { inbox: same, key: own, .. } if (same, own) == (inbox, key))
                });
                let marked = self.is_marked(inbox, key) && bug != Some(Bug::MarkAgain);
                if marked || in_commit { Err(Refused::HandledBefore) } else { Ok(()) }
            }
        }
    }

    fn check_send(
        &mut self,
        before: &[Operation],
        name: &Name,
        message: &Message,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let bug = self.bug;
        let queue = self.queue(name)?;
        let spec = &queue.spec;
        fits(&message.envelope, spec.message_bytes_max.bytes(), bug)?;
        let allowed = bug == Some(Bug::AllowUndeclared);
        if message.priority >= spec.priorities.get() && !allowed {
            let problem = format!("the priority is {}, and there are {}", message.priority, spec.priorities);
            return Err(Refused::NotDeclared { key: "priorities", problem });
        }
        if message.due != Due::Now && !spec.delays && !allowed {
            let problem = "the message is for later".to_owned();
            return Err(Refused::NotDeclared { key: "delays", problem });
        }
        let Some(limit) = spec.depth_max.filter(|_| bug != Some(Bug::DropOldest)) else { return Ok(()) };
        if queue.duplicate_of(message, now, bug).is_some() && bug != Some(Bug::FullOfDuplicates) {
            return Ok(());
        }
        let sent = before.iter().filter(|earlier| match earlier {
            Operation::Send { queue: same, message } => {
                same == name && queue.duplicate_of(message, now, bug).is_none()
            }
            _ => false,
        });
        let depth = (queue.len() + sent.count()) as u64;
        if depth < limit { Ok(()) } else { Err(Refused::Full { limit }) }
    }

    /// Does what was checked.
    fn apply(&mut self, operation: Operation, now: Timestamp) -> Outcome {
        const CHECKED: &str = "it was checked before";
        let bug = self.bug;
        let receipt = |partition, position| Receipt { partition, position, durability: Durability::UNSYNCED };
        match operation {
            Operation::Send { queue, mut message } => {
                let queue = self.queue(&queue).expect(CHECKED);
                let duplicate = queue.duplicate_of(&message, now, bug);
                if let Some(position) = duplicate.filter(|_| bug != Some(Bug::CheckThenAct)) {
                    return Outcome::Duplicate(receipt(0, position));
                }
                if bug == Some(Bug::DropOldest) && queue.spec.depth_max == Some(queue.len() as u64) {
                    queue.drop_oldest();
                }
                match bug {
                    Some(Bug::IgnoreDelay) => message.due = Due::Now,
                    Some(Bug::LoseExtensions) => message.envelope = bare(message.envelope),
                    _ => {}
                }
                Outcome::Stored(receipt(0, queue.put(&message, now)))
            }
            Operation::Cancel { queue, position } => {
                self.queue(&queue).expect(CHECKED).cancel(position);
                Outcome::Done
            }
            Operation::Settle { lease, settlement } => {
                let (lease, standing, name, queue) =
                    self.held(&lease, Some(&settlement), now).expect(CHECKED);
                if standing == Standing::SettledSo {
                    return Outcome::DoneBefore;
                }
                let name = name.clone();
                if let Some(dead) = queue.settle(lease, settlement, now, bug) {
                    self.bury(&name, dead);
                }
                Outcome::Done
            }
            Operation::Append { topic, mut record } => {
                let topic = self.topic(&topic).expect(CHECKED);
                match bug {
                    Some(Bug::IgnorePartition) => record.partition = None,
                    Some(Bug::LoseExtensions) => record.envelope = bare(record.envelope),
                    _ => {}
                }
                let (partition, position) = topic.append(record, now, bug);
                Outcome::Stored(receipt(partition, position))
            }
            Operation::Advance { membership, partition, next } => {
                self.topic(&membership.member.topic).expect(CHECKED).advance(&membership, partition, next);
                Outcome::Done
            }
            Operation::Mark { inbox, key, kept } => {
                self.marks.push(Mark { inbox, key, until: after(now, kept) });
                Outcome::Done
            }
        }
    }
}

fn fits(envelope: &Envelope, limit: u64, bug: Option<Bug>) -> Result<(), Refused> {
    let bytes = bytes(envelope);
    if bytes <= limit || bug == Some(Bug::IgnoreSize) {
        Ok(())
    } else {
        Err(Refused::TooLarge { bytes, limit })
    }
}

impl From<EngineError> for Refused {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// The envelope as [`Bug::LoseExtensions`] leaves it.
fn bare(envelope: Envelope) -> Envelope {
    let names: Vec<_> = envelope.extensions().map(|(name, _)| name.to_owned()).collect();
    names.iter().fold(envelope, |envelope, name| envelope.without_extension(name))
}
