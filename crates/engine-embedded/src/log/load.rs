//! What opening reads: topics, partitions and groups, and no record.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use intertie_messaging::Name;
use intertie_messaging::log::Held;
use rusqlite::{Connection, Row as SqlRow};

use super::group::{Group, start_of};
use super::partition::Partition;
use super::tables::{are_there, placed};
use super::{LogLimits, Topic, Topics};

impl Topics {
    /// Reads what is needed at once.
    pub(crate) fn load(connection: &Connection, limits: LogLimits) -> rusqlite::Result<Self> {
        let mut topics = Self {
            limits,
            has_tables: are_there(connection)?,
            topics: HashMap::new(),
            last_topic: 0,
            last_partition: 0,
            last_group: 0,
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
            let names = topics.load_topics(connection)?;
            topics.load_partitions(connection, &names)?;
            topics.load_groups(connection, &names)?;
        }
        topics.news = topics.topics.iter().map(|(name, topic)| topic.news(name)).collect();
        Ok(topics)
    }

    fn load_topics(&mut self, connection: &Connection) -> rusqlite::Result<HashMap<i64, Name>> {
        let mut names = HashMap::new();
        let mut statement = connection.prepare("SELECT number, name, spec FROM topic")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (number, name): (i64, Name) = (row.get(0)?, parsed(row, 1)?);
            let spec: String = row.get(2)?;
            let spec = serde_json::from_str(&spec).map_err(|error| unreadable(2, error))?;
            let (partitions, groups) = (Vec::new(), HashMap::new());
            let topic = Topic { number, spec, partitions, groups, turn: 0, highest: 0 };
            self.topics.insert(name.clone(), topic);
            names.insert(number, name);
            self.last_topic = self.last_topic.max(number);
        }
        Ok(names)
    }

    fn load_partitions(
        &mut self,
        connection: &Connection,
        names: &HashMap<i64, Name>,
    ) -> rusqlite::Result<()> {
        let sql = "SELECT number, topic, next, records, bytes FROM topic_partition ORDER BY topic, partition";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            self.numbers.insert(number);
            self.last_partition = self.last_partition.max(number);
            let Some(name) = row.get::<_, Option<i64>>(1)?.and_then(|topic| names.get(&topic)) else {
                self.removed_partitions.insert(number);
                continue;
            };
            let Some(topic) = self.topics.get_mut(name) else { continue };
            let count = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
            let own =
                Partition { next: count(2)?, records: count(3)?, bytes: count(4)?, ..Partition::new(number) };
            topic.highest = topic.highest.max(own.next);
            topic.partitions.push(own);
            // When its oldest record was stored nobody has read yet.
            let partition = topic.partitions.len() as u32 - 1;
            if own.records > 0 {
                self.set_alarm(name, partition, 0);
            }
        }
        Ok(())
    }

    fn load_groups(&mut self, connection: &Connection, names: &HashMap<i64, Name>) -> rusqlite::Result<()> {
        let mut groups: HashMap<i64, (Name, Name)> = HashMap::new();
        let sql = "SELECT number, topic, name, generation, start, start_at FROM topic_group";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            self.last_group = self.last_group.max(number);
            let found = row.get::<_, Option<i64>>(1)?.and_then(|topic| names.get(&topic));
            let Some(topic) = found.and_then(|name| self.topics.get_mut(name)) else {
                self.removed_groups.insert(number);
                continue;
            };
            let (name, generation): (Name, i64) = (parsed(row, 2)?, row.get(3)?);
            let start = start_of(row.get(4)?, row.get(5)?);
            let partitions = topic.spec.partitions.get();
            let group = Group::stored(number, generation.cast_unsigned(), start, partitions);
            topic.groups.insert(name.clone(), group);
            groups.extend(found.map(|topic| (number, (topic.clone(), name))));
        }
        let mut held = load_members(connection)?;
        let mut statement = connection.prepare("SELECT id, next, owner FROM topic_position ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (number, partition) = placed(row.get(0)?);
            let Some((topic, name)) = groups.get(&number) else { continue };
            let group = self.topics.get_mut(topic).and_then(|topic| topic.groups.get_mut(name));
            let Some(position) = group.and_then(|group| group.positions.get_mut(partition as usize)) else {
                continue;
            };
            *position = row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned);
            let owner: Option<String> = row.get(2)?;
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
fn load_members(connection: &Connection) -> rusqlite::Result<HashMap<i64, Vec<Held>>> {
    let mut held: HashMap<i64, Vec<Held>> = HashMap::new();
    let mut statement = connection.prepare("SELECT number, member, generation, session FROM topic_member")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (generation, session): (i64, i64) = (row.get(2)?, row.get(3)?);
        held.entry(row.get(0)?).or_default().push(Held {
            member: parsed(row, 1)?,
            generation: generation.cast_unsigned(),
            session: Duration::from_nanos(session.max(0).cast_unsigned()),
            partitions: Vec::new(),
        });
    }
    Ok(held)
}

fn parsed(row: &SqlRow<'_>, at: usize) -> rusqlite::Result<Name> {
    row.get::<_, String>(at)?.parse().map_err(|error: intertie_messaging::InvalidName| unreadable(at, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}
