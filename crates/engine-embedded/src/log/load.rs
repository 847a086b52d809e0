//! What opening reads: topics, partitions and groups, and no record.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use intertie_messaging::Name;
use intertie_messaging::log::{Held, TopicSpec};
use rusqlite::{Connection, Row as SqlRow};

use super::group::{Group, start_of};
use super::partition::Partition;
use super::published::News;
use super::tables::{GENERATION, are_there, integer, placed};
use super::{Amount, LogLimits, Topic, Topics};
use crate::damage::{Damage, Damaged, Damages};
use crate::store::NewerSpec;

impl Topics {
    /// Reads what is needed at once.
    ///
    /// A topic that can not be read is told of, and refused when it is named; the others are there. One of which a
    /// later version wrote what it promises is an error, since to leave something out of that would be to break it.
    pub(crate) fn load(
        connection: &Connection,
        limits: LogLimits,
        damages: &Damages,
    ) -> rusqlite::Result<Self> {
        let mut topics = Self {
            limits,
            appends: Amount::default(),
            appended: Amount::default(),
            has_tables: are_there(connection)?,
            topics: HashMap::new(),
            shut: HashMap::new(),
            last_topic: 0,
            last_partition: 0,
            last_group: 0,
            generation: 1,
            numbers: BTreeSet::new(),
            removed_partitions: BTreeSet::new(),
            removed_groups: BTreeSet::new(),
            alarms: BTreeSet::new(),
            dirty: Vec::new(),
            rows: Vec::new(),
            resuming: Vec::new(),
            news: Vec::new(),
        };
        if topics.has_tables {
            let names = topics.load_topics(connection, damages)?;
            topics.load_partitions(connection, &names, damages)?;
            topics.load_groups(connection, &names, damages)?;
        }
        topics.news = topics.topics.iter().map(|(name, topic)| topic.news(name)).collect();
        let shut = topics.shut.iter().map(|(name, (_, problem))| (name.clone(), problem.clone()));
        topics.news.extend(shut.map(|(name, problem)| News::Shut { name, problem }));
        Ok(topics)
    }

    /// The name of each topic by its number, if it can be read.
    fn load_topics(
        &mut self,
        connection: &Connection,
        damages: &Damages,
    ) -> rusqlite::Result<HashMap<i64, Option<Name>>> {
        let mut names = HashMap::new();
        let mut statement = connection.prepare("SELECT number, name, spec FROM topic")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            self.last_topic = self.last_topic.max(number);
            let name = parsed(row, 1);
            let spec = name.as_ref().ok().map(|name| stored_spec(row, name));
            match (name, spec) {
                (Ok(name), Some(Ok(spec))) => {
                    let (partitions, groups) = (Vec::new(), HashMap::new());
                    let topic = Topic { number, spec, partitions, groups, turn: 0, highest: 0 };
                    self.topics.insert(name.clone(), topic);
                    names.insert(number, Some(name));
                }
                (_, Some(Err(error))) if NewerSpec::cause_of(&error).is_some() => return Err(error),
                (Ok(name), Some(Err(error))) => {
                    names.insert(number, None);
                    self.shut(&name, number, error.to_string(), damages);
                }
                (name, _) => {
                    names.insert(number, None);
                    let problem = name.err().map(|error| error.to_string()).unwrap_or_default();
                    damages.tell(Damage { of: Damaged::Topic(number.to_string()), position: None, problem });
                }
            }
        }
        Ok(names)
    }

    /// Keeps a topic that can not be read from being used, and from getting lost.
    fn shut(&mut self, name: &Name, number: i64, problem: String, damages: &Damages) {
        self.topics.remove(name);
        let of = Damaged::Topic(name.to_string());
        damages.tell(Damage { of, position: None, problem: problem.clone() });
        self.shut.insert(name.clone(), (number, problem));
    }

    fn load_partitions(
        &mut self,
        connection: &Connection,
        names: &HashMap<i64, Option<Name>>,
        damages: &Damages,
    ) -> rusqlite::Result<()> {
        let sql = "SELECT number, topic, next, records, bytes FROM topic_partition ORDER BY topic, partition";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            self.numbers.insert(number);
            self.last_partition = self.last_partition.max(number);
            // The topic of one whose topic can not be read is told of, which misses it.
            let Ok(topic) = row.get::<_, Option<i64>>(1) else { continue };
            let Some(name) = topic.and_then(|topic| names.get(&topic)) else {
                self.removed_partitions.insert(number);
                continue;
            };
            let Some(name) = name else { continue };
            let Some(topic) = self.topics.get_mut(name) else { continue };
            let count = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
            let counters = || Ok::<_, rusqlite::Error>((count(2)?, count(3)?, count(4)?));
            match counters() {
                Ok((next, records, bytes)) => {
                    topic.partitions.push(Partition { next, records, bytes, ..Partition::new(number) });
                    topic.highest = topic.highest.max(next);
                }
                Err(error) => {
                    let topic = topic.number;
                    self.shut(name, topic, format!("partition {number}: {error}"), damages);
                }
            }
        }
        let is_whole = |topic: &Topic| topic.partitions.len() == topic.spec.partitions.get() as usize;
        let torn: Vec<_> = self.topics.iter().filter(|(_, topic)| !is_whole(topic)).collect();
        let torn: Vec<_> = torn.into_iter().map(|(name, topic)| (name.clone(), topic.number)).collect();
        for (name, number) in torn {
            self.shut(&name, number, "not all of its partitions are there".to_owned(), damages);
        }
        // When their oldest records were stored nobody has read yet.
        let used = self.topics.iter().flat_map(|(name, topic)| {
            let partitions = (0..).zip(&topic.partitions).filter(|(_, partition)| partition.records > 0);
            partitions.map(move |(partition, _)| (name.clone(), partition))
        });
        let used: Vec<(Name, u32)> = used.collect();
        used.into_iter().for_each(|(name, partition)| self.set_alarm(&name, partition, 0));
        Ok(())
    }

    fn load_groups(
        &mut self,
        connection: &Connection,
        names: &HashMap<i64, Option<Name>>,
        damages: &Damages,
    ) -> rusqlite::Result<()> {
        let mut held = load_members(connection, damages)?;
        let mut groups: HashMap<i64, (Name, Name)> = HashMap::new();
        let sql = "SELECT number, topic, name, generation, start, start_at FROM topic_group";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            if number == GENERATION {
                self.generation = integer(row, 3).max(1).cast_unsigned();
                continue;
            }
            self.last_group = self.last_group.max(number);
            let topic = match row.get::<_, Option<i64>>(1) {
                Ok(topic) => topic,
                Err(error) => {
                    tell(damages, number.to_string(), format!("of group {number}, its topic: {error}"));
                    continue;
                }
            };
            let Some(found) = topic.and_then(|topic| names.get(&topic)) else {
                self.removed_groups.insert(number);
                continue;
            };
            let Some(topic) = found.as_ref().and_then(|name| self.topics.get_mut(name)) else { continue };
            let of = found.as_ref().map(Name::to_string).unwrap_or_default();
            let name = match parsed(row, 2) {
                Ok(name) => name,
                Err(error) => {
                    tell(damages, of, format!("the name of group {number}: {error}"));
                    continue;
                }
            };
            let generation = match row.get::<_, i64>(3) {
                Ok(generation) => generation,
                Err(error) => {
                    tell(damages, of, format!("the generation of group `{name}`: {error}"));
                    // Later than all that are known.
                    let members = held.get(&number).into_iter().flatten().map(|member| member.generation + 1);
                    members.max().unwrap_or(1).max(self.generation).cast_signed()
                }
            };
            let start = start_of(integer(row, 4), integer(row, 5));
            let partitions = topic.spec.partitions.get();
            let group = Group::stored(number, generation.cast_unsigned(), start, partitions);
            topic.groups.insert(name.clone(), group);
            groups.extend(found.clone().map(|topic| (number, (topic, name))));
        }
        let mut statement = connection.prepare("SELECT id, next, owner FROM topic_position ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (number, partition) = placed(row.get(0)?);
            let Some((topic, name)) = groups.get(&number) else { continue };
            let group = self.topics.get_mut(topic).and_then(|topic| topic.groups.get_mut(name));
            let Some(position) = group.and_then(|group| group.positions.get_mut(partition as usize)) else {
                continue;
            };
            // What can not be read is nowhere and nobody's: the group begins there as it once began.
            let next = row.get::<_, Option<i64>>(1);
            if let Err(error) = &next {
                let problem = format!("where group `{name}` is in partition {partition}: {error}");
                tell(damages, topic.to_string(), problem);
            }
            *position = next.ok().flatten().map(i64::cast_unsigned);
            let owner: Option<String> = row.get(2).ok().flatten();
            let members = held.get_mut(&number);
            let owns = |member: &&mut Held| Some(member.member.as_str()) == owner.as_deref();
            if let Some(member) = members.and_then(|members| members.iter_mut().find(owns)) {
                member.partitions.push(partition);
            }
        }
        for (number, (topic, name)) in groups {
            let held = held.remove(&number).unwrap_or_default();
            let group = self.topics.get_mut(&topic).and_then(|topic| topic.groups.get_mut(&name));
            let Some(group) = group.filter(|_| !held.is_empty()) else { continue };
            held.iter().for_each(|member| group.note(member));
            self.resuming.push((topic, name, held));
        }
        Ok(())
    }
}

/// The members of each group, without their partitions.
fn load_members(connection: &Connection, damages: &Damages) -> rusqlite::Result<HashMap<i64, Vec<Held>>> {
    let mut held: HashMap<i64, Vec<Held>> = HashMap::new();
    let mut statement = connection.prepare("SELECT number, member, generation, session FROM topic_member")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match member(row) {
            Ok((group, member)) => held.entry(group).or_default().push(member),
            // It joins again, as somebody who was not heard of does.
            Err(error) => tell(damages, integer(row, 0).to_string(), format!("a member of a group: {error}")),
        }
    }
    Ok(held)
}

/// A member, and the number of its group.
fn member(row: &SqlRow<'_>) -> rusqlite::Result<(i64, Held)> {
    let (generation, session): (i64, i64) = (row.get(2)?, row.get(3)?);
    let (generation, session) = (generation.cast_unsigned(), session.max(0).cast_unsigned());
    let (member, session) = (parsed(row, 1)?, Duration::from_nanos(session));
    Ok((row.get(0)?, Held { member, generation, session, partitions: Vec::new() }))
}

fn tell(damages: &Damages, topic: String, problem: String) {
    damages.tell(Damage { of: Damaged::Topic(topic), position: None, problem });
}

fn parsed(row: &SqlRow<'_>, at: usize) -> rusqlite::Result<Name> {
    row.get::<_, String>(at)?.parse().map_err(|error: intertie_messaging::InvalidName| unreadable(at, error))
}

fn stored_spec(row: &SqlRow<'_>, name: &Name) -> rusqlite::Result<TopicSpec> {
    let spec: String = row.get(2)?;
    serde_json::from_str(&spec).map_err(|error| {
        let problem = error.to_string();
        if error.is_data() && problem.starts_with("unknown ") {
            unreadable(2, NewerSpec { name: name.to_string(), problem })
        } else {
            unreadable(2, error)
        }
    })
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}
