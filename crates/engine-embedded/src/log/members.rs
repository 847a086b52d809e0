//! Members of groups: they join, stay, leave, and are told where to go on.

use intertie_core::quantity::format_duration;
use intertie_messaging::log::{Assignment, Heartbeat, Join, Member, Membership, Seek, StartAt, Turn};
use intertie_messaging::{EngineError, Name};
use rusqlite::{Connection, params};

use super::declare::within;
use super::find;
use super::group::{Group, instant, start_code};
use super::{Topic, Topics};
use crate::moment::Moment;
use crate::statement::run;

impl Topics {
    /// Makes a member, if there is room for one more.
    pub(super) fn join(
        &mut self,
        connection: &Connection,
        join: &Join,
        starts: &[u64],
        now: Moment,
    ) -> rusqlite::Result<Result<Assignment, EngineError>> {
        let Join { member, session_timeout, start } = join;
        if let Err(error) = self.check_join(join) {
            return Ok(Err(error));
        }
        if let Err(error) = self.add_group(connection, &member.topic, &member.group)? {
            return Ok(Err(error));
        }
        let most = self.limits.members;
        let (topic, at) = (self.there(&member.topic), instant(now));
        let group = topic.groups.get_mut(&member.group).expect("it was just found or made");
        if !group.coordinator.has_room(at, &member.member, most) {
            return Ok(Err(EngineError::Limit { key: "members_max", limit: most.to_string() }));
        }
        group.start = *start;
        let turn = group.coordinator.join(at, &member.member, *session_timeout);
        self.assign(connection, member, turn, starts).map(Ok)
    }

    fn check_join(&self, join: &Join) -> Result<(), EngineError> {
        let longest = self.topic(&join.member.topic)?.spec.session_timeout_max;
        if join.session_timeout <= longest {
            return Ok(());
        }
        Err(EngineError::Limit { key: "session_timeout_max", limit: format_duration(longest) })
    }

    /// A topic that is known to be there.
    fn there(&mut self, name: &Name) -> &mut Topic {
        self.topics.get_mut(name).expect("it was just found")
    }

    /// Makes a group that is not there yet.
    fn add_group(
        &mut self,
        connection: &Connection,
        name: &Name,
        group: &Name,
    ) -> rusqlite::Result<Result<(), EngineError>> {
        let topic = match self.topic(name) {
            Ok(topic) => topic,
            Err(error) => return Ok(Err(error)),
        };
        if topic.groups.contains_key(group) {
            return Ok(Ok(()));
        }
        let count: usize = self.topics.values().map(|topic| topic.groups.len()).sum();
        let groups = within("groups_max", count + self.removed_groups.len() + 1, self.limits.groups);
        let positions = self.positions() + topic.partitions.len();
        if let Err(error) = groups.and_then(|()| within("positions_max", positions, self.limits.positions)) {
            return Ok(Err(error));
        }
        self.last_group += 1;
        let number = self.last_group;
        let generation = self.generation;
        let topic = self.there(name);
        let (kind, at) = start_code(StartAt::Beginning);
        let sql = "INSERT INTO topic_group VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let values = params![number, topic.number, group.as_str(), generation.cast_signed(), kind, at];
        run(connection, sql, values)?;
        let own = Group::new(number, topic.spec.partitions.get(), generation);
        topic.groups.insert(group.clone(), own);
        Ok(Ok(()))
    }

    pub(super) fn heartbeat(
        &mut self,
        connection: &Connection,
        heartbeat: &Heartbeat,
        now: Moment,
    ) -> rusqlite::Result<Result<Assignment, EngineError>> {
        let Heartbeat { membership: Membership { member, generation }, released } = heartbeat;
        if let Err(error) = self.topic(&member.topic) {
            return Ok(Err(error));
        }
        let topic = self.there(&member.topic);
        let Some(group) = topic.groups.get_mut(&member.group) else {
            return Ok(Err(EngineError::StaleMembership { generation: 0 }));
        };
        match group.coordinator.heartbeat(instant(now), &member.member, *generation, released) {
            Ok(turn) => self.assign(connection, member, turn, &[]).map(Ok),
            Err(generation) => {
                // Others may have expired beside it.
                group.write(connection, &[])?;
                Ok(Err(EngineError::StaleMembership { generation }))
            }
        }
    }

    pub(super) fn leave(
        &mut self,
        connection: &Connection,
        membership: &Membership,
        now: Moment,
    ) -> rusqlite::Result<()> {
        let Membership { member, generation } = membership;
        let group = self.topics.get_mut(&member.topic).and_then(|topic| topic.groups.get_mut(&member.group));
        let Some(group) = group else { return Ok(()) };
        group.coordinator.leave(instant(now), &member.member, *generation);
        group.write(connection, &[])
    }

    /// Sets where a group goes on. Its members are out.
    pub(super) fn seek(
        &mut self,
        connection: &Connection,
        seek: &Seek,
        starts: &[u64],
    ) -> rusqlite::Result<Result<Vec<(u32, u64)>, EngineError>> {
        let Seek { topic: name, group, partition, to } = seek;
        if let Err(error) = self.partition(name, partition.unwrap_or(0)) {
            return Ok(Err(error));
        }
        if let Err(error) = self.add_group(connection, name, group)? {
            return Ok(Err(error));
        }
        self.write_rows(connection)?;
        let topic = self.there(name);
        let chosen = (0..topic.spec.partitions.get()).filter(|at| partition.is_none_or(|one| one == *at));
        let places: Vec<_> = chosen
            .map(|at| topic.start(connection, at, *to, starts).map(|position| (at, position)))
            .collect::<rusqlite::Result<_>>()?;
        let group = topic.groups.get_mut(group).expect("it was just found or made");
        group.coordinator.dismiss();
        for (partition, position) in &places {
            group.positions[*partition as usize] = Some(*position);
        }
        let moved: Vec<_> = places.iter().map(|(partition, _)| *partition).collect();
        group.write(connection, &moved)?;
        Ok(Ok(places))
    }

    /// What a member is told, and where the group is from then on where it was nowhere.
    fn assign(
        &mut self,
        connection: &Connection,
        member: &Member,
        turn: Turn,
        starts: &[u64],
    ) -> rusqlite::Result<Assignment> {
        self.write_rows(connection)?;
        let topic = self.there(&member.topic);
        let own = &topic.groups[&member.group];
        let (start, mut moved, mut partitions) = (own.start, Vec::new(), Vec::new());
        for partition in &turn.partitions {
            let position = match own.positions[*partition as usize] {
                Some(position) => position,
                None => {
                    moved.push(*partition);
                    topic.start(connection, *partition, start, starts)?
                }
            };
            partitions.push((*partition, position));
        }
        let group = topic.groups.get_mut(&member.group).expect("it was just found");
        for (partition, position) in &partitions {
            group.positions[*partition as usize] = Some(*position);
        }
        group.write(connection, &moved)?;
        let membership = Membership { member: member.clone(), generation: turn.generation };
        Ok(Assignment { membership, partitions, to_release: turn.to_release })
    }
}

impl Topic {
    /// Where a group begins in a partition. A moment may have been looked up before, by a reader: then it only has to
    /// be seen what was removed since.
    fn start(
        &self,
        connection: &Connection,
        partition: u32,
        at: StartAt,
        starts: &[u64],
    ) -> rusqlite::Result<u64> {
        let at = match (at, starts.get(partition as usize)) {
            (StartAt::Time(_), Some(position)) => StartAt::Position(*position),
            (at, _) => at,
        };
        find::start(connection, &self.partitions[partition as usize], self.spec.cleanup, at)
    }
}
