//! What a commit does: every condition is looked at, and then every operation is done.

use intertie_core::clock::Timestamp;
use intertie_core::envelope::Envelope;
use intertie_idempotency::record;

use super::Bug;
use super::queue::{Standing, after};
use super::state::{Mark, State, bytes, content_bytes};
use crate::commit::{Commit, CommitError, Committed, Operation, Outcome, Receipt, Refused};
use crate::message::{Content, Due, Message};
use crate::{Durability, EngineError, Name};

impl State {
    /// Does all of `commit` or nothing.
    pub(super) fn commit(&mut self, commit: Commit, now: Timestamp) -> Result<Committed, CommitError> {
        let mut operations = commit.operations;
        if self.is_done_before(&operations, now)? {
            if self.bug == Some(Bug::CommitAgain) {
                operations.retain(|operation| self.was_done(operation, now).is_none());
                self.apply_all(operations, now);
            }
            return Ok(Committed::DoneBefore);
        }
        if let Err(refused) = self.check_all(&operations, now) {
            if let (Some(Bug::HalfBatch), CommitError::Refused { operation: at, .. }) = (self.bug, &refused) {
                self.apply_all(operations.into_iter().take(*at).collect(), now);
            }
            return Err(refused);
        }
        Ok(Committed::Done(self.apply_all(operations, now)))
    }

    /// Whether what can be done once in `operations` was done: all of it or nothing.
    pub(super) fn is_done_before(
        &mut self,
        operations: &[Operation],
        now: Timestamp,
    ) -> Result<bool, CommitError> {
        let once: Vec<_> = (0..)
            .zip(operations)
            .filter_map(|(at, operation)| Some((at, self.was_done(operation, now)?)))
            .collect();
        match once.iter().find(|(_, done)| *done) {
            None => Ok(false),
            Some(_) if once.iter().all(|(_, done)| *done) || self.bug == Some(Bug::SkipOthers) => Ok(true),
            Some((operation, _)) => {
                Err(CommitError::Refused { operation: *operation, cause: Refused::DoneBefore })
            }
        }
    }

    /// Whether `operation`, which can be done once, was done; nothing for others.
    fn was_done(&mut self, operation: &Operation, now: Timestamp) -> Option<bool> {
        let bug = self.bug;
        match operation {
            Operation::Settle { queue, lease, settlement } if bug != Some(Bug::SettleOnce) => {
                let held = self.held(queue, lease, Some(settlement), now);
                Some(held.is_ok_and(|(_, standing, ..)| standing == Standing::SettledSo))
            }
            Operation::Advance { membership, partition, next } if bug != Some(Bug::AdvanceBack) => {
                let topic = self.partition(&membership.member.topic, *partition).ok();
                Some(topic.is_some_and(|topic| {
                    topic.is_own(membership, *partition, now).is_ok()
                        && topic.is_at(membership, *partition, *next)
                }))
            }
            Operation::Complete { scope, key, fence, .. } => {
                Some(self.is_completed(scope, key, *fence, now) && bug != Some(Bug::CompleteAgain))
            }
            _ => None,
        }
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
                let waits = self.queue(queue)?.waiting(*position, bug).is_some();
                let taken = before.iter().any(|earlier| takes(earlier, queue, *position));
                if waits && !taken { Ok(()) } else { Err(Refused::NotWaiting) }
            }
            Operation::Settle { queue, lease, settlement } => {
                let (_, standing, ..) = self.held(queue, lease, Some(settlement), now)?;
                let other = before.iter().any(|earlier| {
                    matches!(earlier, Operation::Settle { queue: own, lease: same, .. } if (own, same) == (queue, lease))
                        && earlier != operation
                });
                if standing == Standing::Live && !other {
                    Ok(())
                } else {
                    Err(EngineError::StaleLease.into())
                }
            }
            Operation::Redrive { queue, position, to } => {
                let dead = self.queue(queue)?.waiting(*position, bug);
                let dead =
                    dead.filter(|entry| entry.dead_letter.is_some() || bug == Some(Bug::RedriveLiving));
                let content = dead.map(|entry| entry.content.clone());
                let taken = before.iter().any(|earlier| takes(earlier, queue, *position));
                let content = content.filter(|_| !taken).ok_or(Refused::NotWaiting)?;
                let limit = self.queue(to)?.spec.message_bytes_max.bytes();
                fits(content_bytes(&content), limit, bug)?;
                self.has_room(before, to, now)
            }
            Operation::Bury { queue, .. } => Ok(self.queue(queue).map(|_| ())?),
            Operation::Append { topic, record } => {
                let topic = self.partition(topic, record.partition.unwrap_or(0))?;
                if bug != Some(Bug::TombstoneByMistake) {
                    record.check(topic.spec.cleanup)?;
                }
                fits(bytes(&record.envelope), topic.spec.record_bytes_max.bytes(), bug)
            }
            Operation::Advance { membership, partition, next } => {
                let topic = self.partition(&membership.member.topic, *partition)?;
                let end = topic.end(*partition);
                match topic.is_own(membership, *partition, now) {
                    Err(generation) if bug != Some(Bug::AdvanceUnfenced) => {
                        Err(EngineError::StaleMembership { generation }.into())
                    }
                    Ok(()) if *next > end && bug != Some(Bug::AdvanceBeyond) => {
                        Err(EngineError::Limit { key: "end", limit: end.to_string() }.into())
                    }
                    _ => Ok(()),
                }
            }
            Operation::Complete { scope, key, fence, answer, kept } => {
                let (answer, unfenced) = (answer.clone(), bug == Some(Bug::CompleteUnfenced));
                self.request(scope, key, |record, _| {
                    let fence = record.filter(|_| unfenced).map_or(*fence, |record| record.fence);
                    (record::complete(record, fence, answer, now, *kept).map(|_| ()), None)
                })
                .map_err(|_| Refused::Lost)
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
        fits(bytes(&message.envelope), spec.message_bytes_max.bytes(), bug)?;
        let allowed = bug == Some(Bug::AllowUndeclared);
        if message.priority >= spec.priorities.get() && !allowed {
            let problem = format!("the priority is {}, and there are {}", message.priority, spec.priorities);
            return Err(Refused::NotDeclared { key: "priorities", problem });
        }
        if message.due != Due::Now && !spec.delays && !allowed {
            let problem = "the message is for later".to_owned();
            return Err(Refused::NotDeclared { key: "delays", problem });
        }
        let is_duplicate = self.is_duplicate(before, name, message, now);
        if is_duplicate && bug != Some(Bug::FullOfDuplicates) {
            return Ok(());
        }
        self.has_room(before, name, now)
    }

    /// Whether `message` was sent before, in the window or in the same commit.
    fn is_duplicate(&mut self, before: &[Operation], name: &Name, message: &Message, now: Timestamp) -> bool {
        let bug = self.bug;
        let Ok(queue) = self.queue(name) else { return false };
        let is_same = |earlier: &Operation| match earlier {
            Operation::Send { queue: same, message: earlier } => {
                let id = |message: &Message| {
                    (message.envelope.source().to_owned(), message.envelope.id().to_owned())
                };
                same == name && id(earlier) == id(message)
            }
            _ => false,
        };
        let twice = queue.spec.deduplication_window.is_some() && before.iter().any(is_same);
        twice || queue.duplicate_of(message, now, bug).is_some()
    }

    /// Whether the queue takes one more, beside what comes `before`.
    fn has_room(&mut self, before: &[Operation], name: &Name, now: Timestamp) -> Result<(), Refused> {
        let bug = self.bug;
        let queue = self.queue(name)?;
        let (limit, is) = (queue.spec.depth_max, queue.len());
        let Some(limit) = limit.filter(|_| bug != Some(Bug::DropOldest)) else { return Ok(()) };
        let mut more = 0;
        for (at, earlier) in before.iter().enumerate() {
            more += u64::from(match earlier {
                Operation::Send { queue, message } if queue == name => {
                    bug == Some(Bug::FullOfDuplicates)
                        || !self.is_duplicate(&before[..at], name, message, now)
                }
                Operation::Redrive { to, .. } => to == name,
                _ => false,
            });
        }
        if is as u64 + more < limit { Ok(()) } else { Err(Refused::Full { limit }) }
    }

    /// Does what was checked.
    fn apply(&mut self, operation: Operation, now: Timestamp) -> Outcome {
        const CHECKED: &str = "it was checked before";
        let bug = self.bug;
        let receipt = |partition, position| {
            let position = Some(position);
            Receipt { partition, position, durability: Durability::UNSYNCED }
        };
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
                self.queue(&queue).expect(CHECKED).cancel(position, bug);
                Outcome::Done
            }
            Operation::Settle { queue, lease, settlement } => {
                let (lease, standing, name, queue) =
                    self.held(&queue, &lease, Some(&settlement), now).expect(CHECKED);
                // The same settlement twice in one commit is done once.
                if standing == Standing::Live {
                    let name = name.clone();
                    if let Some(dead) = queue.settle(lease, settlement, now, bug) {
                        self.bury(&name, dead);
                    }
                }
                Outcome::Done
            }
            Operation::Redrive { queue, position, to } => {
                let mut entry = self.queue(&queue).expect(CHECKED).take(position).expect(CHECKED);
                if let Some(dead) = entry.dead_letter.as_mut().filter(|_| bug != Some(Bug::ForgetRedrives)) {
                    dead.redrives += 1;
                }
                let to = self.queue(&to).expect(CHECKED);
                if let (Some(Bug::RedriveDeduplicates), Content::Envelope(envelope)) = (bug, &entry.content)
                    && let Some(position) = to.duplicate_of(&envelope.clone().into(), now, bug)
                {
                    return Outcome::Duplicate(receipt(0, position));
                }
                let priority = entry.priority.min(to.spec.priorities.get() - 1);
                let position = to.push(entry.content, priority, now, now, entry.dead_letter);
                Outcome::Stored(receipt(0, position))
            }
            Operation::Bury { queue, content, dead_letter } => {
                let dead_letter = Some(dead_letter).filter(|_| bug != Some(Bug::BuryWithoutCause));
                let queue = self.queue(&queue).expect(CHECKED);
                Outcome::Stored(receipt(0, queue.push(content, 0, now, now, dead_letter)))
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
                let topic = self.topic(&membership.member.topic).expect(CHECKED);
                topic.advance(&membership, partition, next, bug);
                Outcome::Done
            }
            Operation::Complete { scope, key, fence, answer, kept } => {
                let unfenced = bug == Some(Bug::CompleteUnfenced);
                self.request(&scope, &key, |record, _| {
                    let fence = record.filter(|_| unfenced).map_or(fence, |record| record.fence);
                    let completed = record::complete(record, fence, answer, now, kept).expect(CHECKED);
                    ((), completed.filter(|_| bug != Some(Bug::CompleteNothing)))
                });
                Outcome::Done
            }
            Operation::Mark { inbox, key, kept } => {
                self.marks.push(Mark { inbox, key, until: after(now, kept) });
                Outcome::Done
            }
        }
    }
}

/// Whether `operation` takes away what waits at `position`.
fn takes(operation: &Operation, name: &Name, at: u64) -> bool {
    match operation {
        Operation::Cancel { queue, position } | Operation::Redrive { queue, position, .. } => {
            (queue, *position) == (name, at)
        }
        _ => false,
    }
}

fn fits(bytes: u64, limit: u64, bug: Option<Bug>) -> Result<(), Refused> {
    if bytes <= limit || bug == Some(Bug::IgnoreSize) {
        Ok(())
    } else {
        Err(Refused::TooLarge { bytes, limit })
    }
}

/// The envelope as [`Bug::LoseExtensions`] leaves it.
fn bare(envelope: Envelope) -> Envelope {
    let names: Vec<_> = envelope.extensions().map(|(name, _)| name.to_owned()).collect();
    names.iter().fold(envelope, |envelope, name| envelope.without_extension(name))
}
