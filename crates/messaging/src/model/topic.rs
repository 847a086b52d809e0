//! One topic: a list of records for each partition, and what its groups know.

use std::borrow::Cow;

use intertie_core::clock::{Instant, Timestamp};
use intertie_core::envelope::Envelope;
use intertie_core::quantity::format_duration;

use super::Bug;
use super::queue::after;
use super::state::bytes;
use crate::log::{
    Assignment, Cleanup, Coordinator, Heartbeat, Join, KeyHash, Lag, Member, Membership, Read, Record,
    Records, Seek, StartAt, Stored, TopicSpec, Turn,
};
use crate::message::Content;
use crate::{EngineError, Name};

#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) spec: TopicSpec,
    partitions: Vec<Partition>,
    groups: Vec<Group>,
    appended: u32,
    /// The generation that a group begins with: one that no group of a topic of this name was in before.
    begins: u64,
}

#[derive(Debug, Clone, Default)]
struct Partition {
    next: u64,
    records: Vec<Stored>,
}

#[derive(Debug, Clone)]
struct Group {
    name: Name,
    /// Where its last member that joined would begin.
    start: StartAt,
    positions: Vec<Option<u64>>,
    coordinator: Coordinator,
}

/// Sessions are counted on the same line of time as records.
fn instant(now: Timestamp) -> Instant {
    Instant::from_nanos(now.as_unix_nanos())
}

fn envelope(record: &Stored) -> Option<&Envelope> {
    match &record.content {
        Content::Envelope(envelope) => Some(envelope),
        Content::Undecodable { .. } => None,
    }
}

fn key(record: &Stored) -> Option<String> {
    envelope(record)?.partition_key().map(Cow::into_owned)
}

fn is_tombstone(record: &Stored) -> bool {
    key(record).is_some() && envelope(record).is_some_and(|envelope| envelope.data().is_none())
}

impl Topic {
    pub(super) fn new(spec: TopicSpec, begins: u64) -> Self {
        let partitions = vec![Partition::default(); spec.partitions.get() as usize];
        Self { spec, partitions, groups: Vec::new(), appended: 0, begins }
    }

    pub(super) fn partitions(&self) -> u32 {
        self.spec.partitions.get()
    }

    /// Becomes as `spec` asks, which has no fewer partitions.
    pub(super) fn change(&mut self, spec: TopicSpec, bug: Option<Bug>) {
        if bug == Some(Bug::DeclareEmpties) {
            self.partitions.clear();
        }
        self.partitions.resize_with(spec.partitions.get() as usize, Partition::default);
        for group in &mut self.groups {
            // All that is appended there came after the group.
            let begins = (bug != Some(Bug::MissNewPartitions)).then_some(0);
            group.positions.resize(spec.partitions.get() as usize, begins);
            if bug != Some(Bug::LoseNewPartitions) {
                group.coordinator.grow(spec.partitions.get());
            }
        }
        self.spec = spec;
    }

    pub(super) fn append(&mut self, record: Record, now: Timestamp, bug: Option<Bug>) -> (u32, u64) {
        self.appended = self.appended.wrapping_add(1);
        let partitions = self.spec.partitions;
        let key = record.envelope.partition_key().filter(|_| bug != Some(Bug::KeyWanders));
        let of_key = key.map(|key| KeyHash::of(&key).partition(partitions));
        let any = || of_key.unwrap_or(self.appended % partitions.get());
        let partition = record.partition.unwrap_or_else(any);
        let kept = &mut self.partitions[partition as usize];
        let position = kept.next;
        kept.next += 1;
        kept.records.push(Stored { position, content: Content::Envelope(record.envelope), stored_at: now });
        (partition, position)
    }

    /// Removes what need not be kept at `now`.
    pub(super) fn pass(&mut self, now: Timestamp, bug: Option<Bug>) {
        if bug == Some(Bug::KeepForEver) {
            return;
        }
        for partition in &mut self.partitions {
            let is_over = |record: &Stored| after(record.stored_at, self.spec.retention) <= now;
            match self.spec.cleanup {
                Cleanup::Delete => partition.records.retain(|record| !is_over(record)),
                Cleanup::Compact => {
                    let all = partition.records.clone();
                    let mut at = 0;
                    partition.records.retain(|record| {
                        at += 1;
                        let replaced = key(record).is_some_and(|own| {
                            let others =
                                if bug == Some(Bug::CompactLast) { &all[..at - 1] } else { &all[at..] };
                            others.iter().any(|other| key(other).as_ref() == Some(&own))
                        });
                        let ended = is_tombstone(record) && is_over(record);
                        !replaced && !ended
                    });
                }
            }
            if let Some(most) = self.spec.retention_bytes {
                let size = |record: &Stored| envelope(record).map_or(0, bytes);
                while partition.records.iter().map(size).sum::<u64>() > most.bytes() {
                    partition.records.remove(0);
                }
            }
        }
    }

    pub(super) fn read(&self, read: &Read, bug: Option<Bug>) -> Records {
        let partition = &self.partitions[read.partition as usize];
        let from = read.from + u64::from(bug == Some(Bug::SkipRecord));
        let bytes_max = if bug == Some(Bug::IgnoreBytesMax) { u64::MAX } else { read.bytes_max.bytes() };
        let (mut records, mut size) = (Vec::new(), 0);
        for record in partition.records.iter().filter(|record| record.position >= from) {
            size += envelope(record).map_or(0, bytes);
            let full = records.len() == read.most.get() as usize || size > bytes_max;
            if full && (!records.is_empty() || bug == Some(Bug::EmptyPage)) {
                break;
            }
            records.push(record.clone());
        }
        let behind = records.last().map(|record: &Stored| record.position + 1);
        Records { next: behind.unwrap_or(read.from.max(partition.next)), end: partition.next, records }
    }

    pub(super) fn find(&self, partition: u32, at: StartAt, bug: Option<Bug>) -> u64 {
        let partition = &self.partitions[partition as usize];
        let skip = bug == Some(Bug::SkipTies);
        let found = partition.records.iter().find(|record| match at {
            StartAt::Beginning => true,
            StartAt::End => false,
            StartAt::Position(position) => record.position >= position,
            StartAt::Time(time) => record.stored_at > time || (record.stored_at == time && !skip),
        });
        found.map_or(partition.next, |record| record.position)
    }

    fn group(&mut self, name: &Name, bug: Option<Bug>) -> &mut Group {
        let same = |group: &Group| group.name == *name || bug == Some(Bug::ShareGroups);
        let at = self.groups.iter().position(same).unwrap_or_else(|| {
            let partitions = self.spec.partitions.get();
            let positions = vec![None; partitions as usize];
            self.groups.push(Group {
                name: name.clone(),
                start: StartAt::Beginning,
                positions,
                coordinator: Coordinator::new(partitions, self.begins),
            });
            self.groups.len() - 1
        });
        &mut self.groups[at]
    }

    pub(super) fn join(
        &mut self,
        join: &Join,
        now: Timestamp,
        bug: Option<Bug>,
    ) -> Result<Assignment, EngineError> {
        let Join { member, session_timeout, start } = join;
        let longest = self.spec.session_timeout_max;
        if *session_timeout > longest && bug != Some(Bug::SessionForEver) {
            return Err(EngineError::Limit { key: "session_timeout_max", limit: format_duration(longest) });
        }
        let starts: Vec<_> = (0..self.partitions()).map(|at| self.find(at, *start, None)).collect();
        let partitions = self.partitions();
        let group = self.group(&member.group, bug);
        group.start = *start;
        if bug == Some(Bug::RebalanceSteals) && group.coordinator.generation() == 2 {
            group.coordinator = Coordinator::new(partitions, 2);
        }
        let before = group.coordinator.held().find(|held| held.member == member.member);
        let before = before.filter(|_| bug == Some(Bug::ShareMembership));
        let again = before.and_then(|held| {
            group.coordinator.heartbeat(instant(now), &member.member, held.generation, &[]).ok()
        });
        let turn =
            again.unwrap_or_else(|| group.coordinator.join(instant(now), &member.member, *session_timeout));
        Ok(group.assign(member, turn, &starts, bug))
    }

    pub(super) fn heartbeat(
        &mut self,
        heartbeat: &Heartbeat,
        now: Timestamp,
        bug: Option<Bug>,
    ) -> Result<Assignment, EngineError> {
        let Heartbeat { membership: Membership { member, generation }, released } = heartbeat;
        let start = self.group(&member.group, bug).start;
        let starts: Vec<_> = (0..self.partitions()).map(|at| self.find(at, start, None)).collect();
        let group = self.group(&member.group, bug);
        let current = group.coordinator.held().find(|held| held.member == member.member);
        let generation = match current {
            Some(held) if bug == Some(Bug::HeartbeatUnfenced) => held.generation,
            _ => *generation,
        };
        let turn = group.coordinator.heartbeat(instant(now), &member.member, generation, released);
        let turn = turn.map_err(|generation| EngineError::StaleMembership { generation })?;
        Ok(group.assign(member, turn, &starts, bug))
    }

    pub(super) fn group_names(&self) -> impl Iterator<Item = &Name> {
        self.groups.iter().map(|group| &group.name)
    }

    pub(super) fn seek(&mut self, seek: &Seek, bug: Option<Bug>) -> Vec<(u32, u64)> {
        let chosen =
            (0..self.partitions()).filter(|at| seek.partition.is_none_or(|partition| partition == *at));
        let to: Vec<_> = chosen.map(|at| (at, self.find(at, seek.to, None))).collect();
        let group = self.group(&seek.group, bug);
        if bug != Some(Bug::SeekUnfenced) {
            group.coordinator.dismiss();
        }
        for (partition, position) in &to {
            group.positions[*partition as usize] = Some(*position);
        }
        to
    }

    pub(super) fn leave(&mut self, membership: &Membership, now: Timestamp) {
        let member = &membership.member;
        self.group(&member.group, None).coordinator.leave(
            instant(now),
            &member.member,
            membership.generation,
        );
    }

    /// Whether `membership` has `partition`; the group's generation when not.
    pub(super) fn is_own(
        &mut self,
        membership: &Membership,
        partition: u32,
        now: Timestamp,
    ) -> Result<(), u64> {
        let Membership { member, generation } = membership;
        let group = self.group(&member.group, None);
        let owns = group.coordinator.owns(instant(now), &member.member, *generation, partition);
        if owns { Ok(()) } else { Err(group.coordinator.current()) }
    }

    /// Behind all that was appended to a partition.
    pub(super) fn end(&self, partition: u32) -> u64 {
        self.partitions[partition as usize].next
    }

    /// A generation that none of its groups gave out.
    pub(super) fn generation(&self) -> u64 {
        let generations = self.groups.iter().map(|group| group.coordinator.generation());
        generations.max().unwrap_or(0).max(self.begins)
    }

    /// Whether the group is at `next`, or further.
    pub(super) fn is_at(&mut self, membership: &Membership, partition: u32, next: u64) -> bool {
        let position = self.group(&membership.member.group, None).positions[partition as usize];
        position.is_some_and(|position| position >= next)
    }

    pub(super) fn advance(&mut self, membership: &Membership, partition: u32, next: u64, bug: Option<Bug>) {
        let position = &mut self.group(&membership.member.group, None).positions[partition as usize];
        // Of two in one commit the further one holds; the bug is about one that comes later.
        *position =
            Some(position.filter(|_| bug != Some(Bug::AdvanceBack)).map_or(next, |was| was.max(next)));
    }

    pub(super) fn lag(&self, group: &Name, bug: Option<Bug>) -> Vec<Lag> {
        let group = self.groups.iter().find(|other| other.name == *group);
        let lag = |(at, partition): (u32, &Partition)| {
            let beginning = self.find(at, StartAt::Beginning, None);
            let position = group.and_then(|group| group.positions[at as usize]).unwrap_or(beginning);
            let mut behind = partition.records.iter().filter(|record| record.position >= position);
            let kept = behind.clone().count() as u64;
            let records = if bug == Some(Bug::LagByPositions) { partition.next - position } else { kept };
            let oldest = behind.next().map(|record| record.stored_at);
            Lag { partition: at, position, end: partition.next, records, oldest }
        };
        (0..).zip(&self.partitions).map(lag).collect()
    }

    /// What a restart leaves: all positions, and one more session time for each member.
    pub(super) fn restart(&mut self, now: Timestamp, bug: Option<Bug>) {
        if bug == Some(Bug::ForgetOnRestart) {
            self.partitions.fill(Partition::default());
        }
        for group in &mut self.groups {
            let (partitions, generation) = (self.spec.partitions.get(), group.coordinator.generation());
            let held = group.coordinator.held().filter(|_| bug != Some(Bug::ForgetMembers));
            group.coordinator = Coordinator::resume(partitions, generation, held, instant(now));
            if bug == Some(Bug::ForgetPositions) {
                group.positions.fill(None);
            }
        }
    }
}

impl Group {
    /// What a member is told, whose group begins at `starts` where it has no position.
    fn assign(&mut self, member: &Member, turn: Turn, starts: &[u64], bug: Option<Bug>) -> Assignment {
        let positions = &mut self.positions;
        let place = |partition: &u32| {
            let start = starts[*partition as usize];
            if bug == Some(Bug::StartAgain) {
                return (*partition, positions[*partition as usize].unwrap_or(start));
            }
            (*partition, *positions[*partition as usize].get_or_insert(start))
        };
        Assignment {
            membership: Membership { member: member.clone(), generation: turn.generation },
            partitions: turn.partitions.iter().map(place).collect(),
            to_release: turn.to_release,
        }
    }
}
