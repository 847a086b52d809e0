//! What time does by itself, a step at a time.

use intertie_messaging::Name;
use intertie_messaging::log::{Cleanup, Coordinator};
use rusqlite::Connection;

use super::group::instant;
use super::tables::{integer, key, place, position};
use super::{Amount, Topics};
use crate::moment::{Moment, later};
use crate::statement::run;

impl Topics {
    /// When there is something to do.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        let has_more = !self.removed_partitions.is_empty() || !self.removed_groups.is_empty();
        if has_more || !self.resuming.is_empty() {
            return Some(0);
        }
        self.alarms.first().map(|(at, ..)| *at)
    }

    /// Does what is due, up to a step of it and as much again as was appended by the group of commands before: whatever
    /// groups append, in the end it is all removed.
    pub(crate) fn run_due(&mut self, connection: &Connection, now: Moment) -> rusqlite::Result<()> {
        self.resume(now);
        let (limits, appended) = (self.limits, self.appended);
        let mut left = limits.step + appended.records;
        let bytes = limits.step_bytes.saturating_add(appended.bytes);
        while let Some((at, name, partition)) = self.alarms.first().cloned().filter(|(at, ..)| *at <= now) {
            if left == 0 {
                break;
            }
            self.alarms.remove(&(at, name.clone(), partition));
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            topic.partitions[partition as usize].alarm = None;
            let (done, next) = match topic.spec.cleanup {
                Cleanup::Delete => {
                    self.trim(connection, &name, partition, Amount { records: left, bytes }, now)?
                }
                Cleanup::Compact => self.end_keys(connection, &name, partition, left, now)?,
            };
            if let Some(next) = next {
                self.set_alarm(&name, partition, next);
            }
            if done > 0 {
                self.touch(&name, partition);
            }
            left = left.saturating_sub(done.max(1));
            // The rest of what is due at once is done after the commands that wait.
            if next.is_some_and(|next| next <= now) {
                break;
            }
        }
        self.clear(connection)
    }

    /// Removes a step of what deleted topics held, however much else there is to do.
    fn clear(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut left = self.limits.step;
        while left > 0 {
            let rows = if let Some(number) = self.removed_partitions.first().copied() {
                self.clear_partition(connection, number, left)?
            } else if let Some(number) = self.removed_groups.first().copied() {
                self.clear_group(connection, number, left)?
            } else {
                return Ok(());
            };
            left = left.saturating_sub(rows.max(1));
        }
        Ok(())
    }

    /// Lets sessions go on that began before this process, each for its time once more.
    fn resume(&mut self, now: Moment) {
        for (name, group, held) in std::mem::take(&mut self.resuming) {
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            let partitions = topic.spec.partitions.get();
            let Some(group) = topic.groups.get_mut(&group) else { continue };
            let generation = group.coordinator.generation();
            group.coordinator = Coordinator::resume(partitions, generation, held, instant(now));
        }
    }

    /// Removes the oldest records that are there for longer than `retention`, or beyond `retention_bytes`: up to so many,
    /// and no more bytes, but for the first. How many, and when to look again.
    fn trim(
        &mut self,
        connection: &Connection,
        name: &Name,
        partition: u32,
        most: Amount,
        now: Moment,
    ) -> rusqlite::Result<(usize, Option<Moment>)> {
        let Some(topic) = self.topics.get_mut(name) else { return Ok((0, None)) };
        let (retention, limit) = (topic.spec.retention, topic.spec.retention_bytes);
        let pause = (retention / 100).min(self.limits.late);
        let own = &mut topic.partitions[partition as usize];
        let (from, to) = (key(own.number, 0), key(own.number, own.next));
        let sql =
            "SELECT id, stored, length(content) FROM record WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
        let rows = i64::try_from(most.records).unwrap_or(i64::MAX - 1) + 1;
        let mut statement = connection.prepare_cached(sql)?;
        let mut found = statement.query([from, to, rows])?;
        let (mut last, mut count, mut bytes, mut next) = (None, 0, 0, None);
        while let Some(row) = found.next()? {
            // A moment that can not be read is past: the record goes with the one before it.
            let (id, stored, size) = (row.get(0)?, integer(row, 1), integer(row, 2));
            let size = size.cast_unsigned();
            let is_over = later(stored, retention) <= now;
            let is_beyond = limit.is_some_and(|limit| own.bytes.saturating_sub(bytes) > limit.bytes());
            let is_full = count == most.records || (count > 0 && bytes + size > most.bytes);
            if !(is_over || is_beyond) || is_full {
                let end = later(stored, retention).max(later(now, pause));
                next = Some(if is_over || is_beyond { now } else { end });
                break;
            }
            (last, count, bytes) = (Some(id), count + 1, bytes + size);
        }
        drop(found);
        if let Some(last) = last {
            run(connection, "DELETE FROM record WHERE id BETWEEN ?1 AND ?2", [from, last])?;
            // What a damaged file has lost before counts as removed, too.
            let kept = own.next.saturating_sub(position(last) + 1);
            let lost = own.records.saturating_sub(kept).max(count as u64);
            own.remove(lost, bytes);
        }
        Ok((count, next))
    }

    /// Removes rows of a partition that is gone: how many, or as many as were asked for when they have all bytes that a
    /// step has.
    fn clear_partition(
        &mut self,
        connection: &Connection,
        number: i64,
        most: usize,
    ) -> rusqlite::Result<usize> {
        let (from, to, rows) =
            (key(number, 0), key(number, u64::MAX), i64::try_from(most).unwrap_or(i64::MAX));
        let sql = "SELECT id, length(content) FROM record WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
        let mut statement = connection.prepare_cached(sql)?;
        let mut found = statement.query([from, to, rows])?;
        let (mut last, mut bytes, mut count) = (None, 0, 0);
        while let Some(row) = found.next()? {
            bytes += integer(row, 1).cast_unsigned();
            if last.is_some() && bytes > self.limits.step_bytes {
                count = most;
                break;
            }
            (last, count) = (Some(row.get(0)?), count + 1);
        }
        drop(found);
        if let Some(last) = last {
            run(connection, "DELETE FROM record WHERE id BETWEEN ?1 AND ?2", [from, last])?;
            return Ok(count);
        }
        let sql = "DELETE FROM record_tombstone WHERE id IN
                   (SELECT id FROM record_tombstone WHERE id BETWEEN ?1 AND ?2 LIMIT ?3)";
        let mut left = run(connection, sql, [from, to, rows])?;
        let sql = "DELETE FROM record_key WHERE (partition, key) IN
                   (SELECT partition, key FROM record_key WHERE partition = ?1 LIMIT ?2)";
        left += run(connection, sql, [number, rows])?;
        if left == 0 {
            run(connection, "DELETE FROM topic_partition WHERE number = ?1", [number])?;
            self.removed_partitions.remove(&number);
            self.numbers.remove(&number);
        }
        Ok(left)
    }

    /// Removes rows of a group that is gone.
    fn clear_group(&mut self, connection: &Connection, number: i64, most: usize) -> rusqlite::Result<usize> {
        let (from, to, rows) =
            (place(number, 0), place(number + 1, 0) - 1, i64::try_from(most).unwrap_or(i64::MAX));
        let sql = "DELETE FROM topic_position WHERE id IN
                   (SELECT id FROM topic_position WHERE id BETWEEN ?1 AND ?2 LIMIT ?3)";
        let mut left = run(connection, sql, [from, to, rows])?;
        let sql = "DELETE FROM topic_member WHERE (number, member) IN
                   (SELECT number, member FROM topic_member WHERE number = ?1 LIMIT ?2)";
        left += run(connection, sql, [number, rows])?;
        if left == 0 {
            run(connection, "DELETE FROM topic_group WHERE number = ?1", [number])?;
            self.removed_groups.remove(&number);
        }
        Ok(left)
    }
}
