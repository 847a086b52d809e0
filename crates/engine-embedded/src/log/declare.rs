//! Which topics there are.

use std::collections::HashMap;

use intertie_messaging::log::{Cleanup, TopicSpec};
use intertie_messaging::{DeclareError, EngineError, Name};
use rusqlite::{Connection, params};

use super::partition::Partition;
use super::published::News;
use super::tables::{self, END, GENERATION, NUMBER_MAX, key};
use super::{Topic, Topics};
use crate::moment::Moment;
use crate::statement::run;

impl Topics {
    /// Whether a topic can become what `spec` says.
    pub(super) fn check_declare(&self, name: &Name, spec: &TopicSpec) -> Result<(), DeclareError> {
        if self.shut.contains_key(name) {
            self.topic(name)?;
        }
        let (had, groups) = match self.topics.get(name) {
            // What is there stays, whatever bounds were lowered since.
            Some(topic) if topic.spec == *spec => return Ok(()),
            Some(topic) => {
                check_change(topic, spec)?;
                (topic.partitions.len(), topic.groups.len())
            }
            None => (0, 0),
        };
        let more = spec.partitions.get() as usize - had;
        within(
            "topics_max",
            self.topics.len() + self.shut.len() + usize::from(had == 0),
            self.limits.topics,
        )?;
        within("partitions_max", self.numbers.len() + more, self.limits.partitions)?;
        within("positions_max", self.positions() + groups * more, self.limits.positions)?;
        Ok(())
    }

    /// How many positions all groups may have.
    pub(super) fn positions(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len() * topic.groups.len()).sum()
    }

    /// Makes the topic what was checked.
    pub(super) fn declare(
        &mut self,
        connection: &Connection,
        name: &Name,
        spec: TopicSpec,
        now: Moment,
    ) -> rusqlite::Result<()> {
        if self.topics.get(name).is_some_and(|topic| topic.spec == spec) {
            return Ok(());
        }
        if !self.has_tables {
            tables::create(connection)?;
            self.has_tables = true;
        }
        let text = serde_json::to_string(&spec).expect("it has text for keys");
        let (asked, had) =
            (spec.partitions.get(), self.topics.get(name).map_or(0, |topic| topic.partitions.len()));
        let number = match self.topics.get_mut(name) {
            Some(topic) => {
                run(connection, "UPDATE topic SET spec = ?2 WHERE number = ?1", params![topic.number, text])?;
                topic.spec = spec;
                topic.number
            }
            None => {
                self.last_topic += 1;
                let number = self.last_topic;
                run(
                    connection,
                    "INSERT INTO topic VALUES (?1, ?2, ?3)",
                    params![number, name.as_str(), text],
                )?;
                let (partitions, groups) = (Vec::new(), HashMap::new());
                let topic = Topic { number, spec, partitions, groups, turn: 0, highest: 0 };
                self.topics.insert(name.clone(), topic);
                number
            }
        };
        for partition in had as u32..asked {
            let own = self.free_number(connection)?;
            let sql = "INSERT INTO topic_partition VALUES (?1, ?2, ?3, 0, 0, 0)";
            run(connection, sql, [own, number, partition.into()])?;
            let topic = self.topics.get_mut(name).expect("it was just found or made");
            topic.partitions.push(Partition::new(own));
        }
        let topic = self.topics.get_mut(name).expect("it was just found or made");
        for group in topic.groups.values_mut() {
            group.grow(connection, asked)?;
        }
        self.news.push(topic.news(name));
        // There may be less to keep than before.
        (0..had as u32).for_each(|partition| self.set_alarm(name, partition, now));
        Ok(())
    }

    /// A number that no partition has, nor any of which rows are left, though a damaged file may have lost the partition.
    fn free_number(&mut self, connection: &Connection) -> rusqlite::Result<i64> {
        let sql = "SELECT EXISTS (SELECT 1 FROM record WHERE id BETWEEN ?1 AND ?2)
                   OR EXISTS (SELECT 1 FROM record_key WHERE partition = ?3)";
        let mut has_rows = connection.prepare_cached(sql)?;
        loop {
            let number = self.next_number();
            let range = [key(number, 0), key(number, END), number];
            if !has_rows.query_row(range, |row| row.get(0))? {
                self.numbers.insert(number);
                return Ok(number);
            }
        }
    }

    fn next_number(&mut self) -> i64 {
        let mut numbers = (self.last_partition + 1..=NUMBER_MAX).chain(0..=self.last_partition);
        let free = numbers.find(|number| !self.numbers.contains(number));
        let free = free.expect("there are fewer partitions than numbers");
        self.last_partition = free;
        free
    }

    /// Removes the topic. What it holds is removed step by step.
    pub(super) fn delete(&mut self, connection: &Connection, name: &Name) -> rusqlite::Result<()> {
        if let Some((number, _)) = self.shut.remove(name) {
            return self.delete_unread(connection, name, number);
        }
        let Some(topic) = self.topics.remove(name) else { return Ok(()) };
        for (partition, own) in (0..).zip(&topic.partitions) {
            if let Some(alarm) = own.alarm {
                self.alarms.remove(&(alarm, name.clone(), partition));
            }
            self.removed_partitions.insert(own.number);
        }
        self.removed_groups.extend(topic.groups.values().map(|group| group.number));
        self.cut_off(connection, name, topic.number)
    }

    /// The same with a topic that can not be read.
    fn delete_unread(&mut self, connection: &Connection, name: &Name, number: i64) -> rusqlite::Result<()> {
        for (table, removed) in
            [("topic_partition", &mut self.removed_partitions), ("topic_group", &mut self.removed_groups)]
        {
            let sql = format!("SELECT number FROM {table} WHERE topic = ?1");
            let mut statement = connection.prepare(&sql)?;
            let numbers = statement.query_map([number], |row| row.get(0))?;
            removed.extend(numbers.collect::<rusqlite::Result<Vec<i64>>>()?);
        }
        self.cut_off(connection, name, number)
    }

    /// Leaves what a topic holds to be removed.
    fn cut_off(&mut self, connection: &Connection, name: &Name, number: i64) -> rusqlite::Result<()> {
        // Those in memory are stored, too: whoever changes them writes them.
        let sql =
            "SELECT max(generation) FROM topic_group WHERE topic = ?1 AND typeof(generation) = 'integer'";
        let read = |row: &rusqlite::Row<'_>| Ok(tables::integer(row, 0).max(0).cast_unsigned());
        let generation = connection.prepare_cached(sql)?.query_row([number], read)?;
        if generation > self.generation {
            self.generation = generation;
            let sql = "INSERT OR REPLACE INTO topic_group VALUES (?1, NULL, '', ?2, 0, 0)";
            run(connection, sql, [GENERATION, generation.cast_signed()])?;
        }
        run(connection, "DELETE FROM topic WHERE number = ?1", [number])?;
        run(connection, "UPDATE topic_partition SET topic = NULL WHERE topic = ?1", [number])?;
        run(connection, "UPDATE topic_group SET topic = NULL WHERE topic = ?1", [number])?;
        self.news.push(News::Gone(name.clone()));
        Ok(())
    }
}

impl Topic {
    /// What readers have to know of it.
    pub(super) fn news(&self, name: &Name) -> News {
        let partitions = self.partitions.iter().map(|partition| (partition.number, partition.next)).collect();
        News::Topic { name: name.clone(), number: self.number, cleanup: self.spec.cleanup, partitions }
    }
}

/// Whether there are no more than a bound of the engine allows.
pub(super) fn within(key: &'static str, is: usize, limit: usize) -> Result<(), EngineError> {
    if is <= limit { Ok(()) } else { Err(EngineError::Limit { key, limit: limit.to_string() }) }
}

/// What of a topic stays as it is.
fn check_change(topic: &Topic, spec: &TopicSpec) -> Result<(), DeclareError> {
    let (is, asked) = (topic.spec.partitions, spec.partitions);
    if asked < is {
        let problem = format!("the topic has {is}, and {asked} were asked for");
        return Err(DeclareError::Fixed { key: "partitions", problem });
    }
    let records: u64 = topic.partitions.iter().map(|partition| partition.records).sum();
    if topic.spec.cleanup != spec.cleanup && records > 0 {
        let is = match topic.spec.cleanup {
            Cleanup::Delete => "delete",
            Cleanup::Compact => "compact",
        };
        let problem =
            format!("it is \"{is}\", and the topic holds {records} records; it can while it is empty");
        return Err(DeclareError::Fixed { key: "cleanup", problem });
    }
    Ok(())
}
