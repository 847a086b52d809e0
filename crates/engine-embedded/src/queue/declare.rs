//! Which queues there are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use intertie_core::config::Invalid;
use intertie_messaging::queue::QueueSpec;
use intertie_messaging::{DeclareError, EngineError, Name, Unfit};
use rusqlite::{Connection, params};

use super::Queues;
use super::lanes::Lanes;
use super::one::{Counters, Queue};
use super::row::run;
use super::tables::{NUMBER_MAX, POSITIONS, key};
use crate::moment::Moment;

impl Queues {
    /// The queue of dead letters that a specification asks for.
    fn target(name: &Name, spec: &QueueSpec) -> Result<Name, DeclareError> {
        let invalid = |problem| DeclareError::Invalid(Invalid::new("dead_letter", problem));
        let target = match &spec.dead_letter {
            Some(given) => given.clone(),
            None => format!("{name}.dead").parse().map_err(|error| {
                invalid(format!("`{name}.dead` is no name, so another one must be given: {error}"))
            })?,
        };
        if target == *name {
            return Err(invalid("a queue can not be its own queue of dead letters".to_owned()));
        }
        Ok(target)
    }

    /// Whether a queue can become what `spec` says.
    pub(crate) fn check_declare(&self, name: &Name, spec: &QueueSpec) -> Result<(), DeclareError> {
        let target = Self::target(name, spec)?;
        for queue in [name, &target] {
            if let Err(error @ EngineError::Unavailable { .. }) = self.number(queue) {
                return Err(error.into());
            }
        }
        self.check_dead_letters(name, spec, &target)?;
        if let Ok(number) = self.number(name) {
            return check_change(self.at(number), spec);
        }
        let more = 1 + usize::from(!self.names.contains_key(&target));
        if self.names.len() + self.removed.len() + more > self.limits.queues {
            let limit = self.limits.queues.to_string();
            return Err(EngineError::Limit { key: "queues_max", limit }.into());
        }
        Ok(())
    }

    /// Whether nothing that dies gets lost when `name` is as `spec` says, neither its own dead nor those of
    /// others that go there.
    fn check_dead_letters(&self, name: &Name, spec: &QueueSpec, target: &Name) -> Result<(), DeclareError> {
        let refuse = |queue: &Name, target: &Name, unfit| {
            let (queue, target) = (queue.clone(), target.clone());
            Err(DeclareError::DeadLetter { queue, target, unfit })
        };
        let find = |name: &Name| self.number(name).ok().map(|number| self.at(number));
        match find(target) {
            // It comes with the queue, and is as durable.
            Some(own) if own.dead_letters.is_none() && spec.dead_letter.is_none() => {}
            Some(found) => {
                if let Err(unfit) = found.spec.takes_dead_of(spec) {
                    return refuse(name, target, unfit);
                }
            }
            None if spec.dead_letter.is_some() => {
                return refuse(name, target, Unfit::Missing { nearest: None });
            }
            None => {}
        }
        let mut through = vec![target.clone()];
        while let Some(next) = through.last().and_then(find).and_then(|queue| queue.dead_letters.clone()) {
            through.push(next.clone());
            if next == *name {
                return refuse(name, target, Unfit::Circle { through });
            }
        }
        for source in self.sources.get(name).into_iter().flatten() {
            if let Some(source) = find(source)
                && let Err(unfit) = spec.takes_dead_of(&source.spec)
            {
                return refuse(&source.name, name, unfit);
            }
        }
        Ok(())
    }

    /// Notes that the dead letters of `source` go to another queue now, or nowhere.
    pub(super) fn set_target(&mut self, source: &Name, before: Option<&Name>, target: Option<&Name>) {
        if let Some(before) = before
            && let Some(sources) = self.sources.get_mut(before)
        {
            sources.remove(source);
            if sources.is_empty() {
                self.sources.remove(before);
            }
        }
        if let Some(target) = target {
            self.sources.entry(target.clone()).or_default().insert(source.clone());
        }
    }

    /// Makes the queue what was checked.
    pub(crate) fn declare(
        &mut self,
        connection: &Connection,
        name: &Name,
        spec: &QueueSpec,
        now: Moment,
    ) -> rusqlite::Result<()> {
        let Ok(target) = Self::target(name, spec) else { return Ok(()) };
        let number = match self.number(name) {
            Ok(number) => {
                let queue = self.at_mut(number);
                let before = queue.dead_letters.replace(target.clone());
                queue.spec = spec.clone();
                let text = spec_text(spec);
                let sql = "UPDATE queue SET spec = ?2, dead_letters = ?3 WHERE number = ?1";
                run(connection, sql, params![number, text, target.as_str()])?;
                self.set_target(name, before.as_ref(), Some(&target));
                if let Some(before) = before.filter(|before| *before != target) {
                    self.look_at(&before, now);
                }
                number
            }
            Err(_) => self.add(connection, name, spec, Some(&target), now)?,
        };
        match self.number(&target) {
            Ok(own) if self.at(own).dead_letters.is_none() => {
                let queue = self.at_mut(own);
                queue.spec.durability = spec.durability;
                let text = spec_text(&queue.spec);
                run(connection, "UPDATE queue SET spec = ?2 WHERE number = ?1", params![own, text])?;
            }
            Ok(_) => {}
            Err(_) => {
                let (durable, durability) = (spec.durable, spec.durability);
                let spec = QueueSpec { durable, durability, ..QueueSpec::default() };
                self.add(connection, &target, &spec, None, now)?;
            }
        }
        let at = self.at(number).abandoned_at();
        at.into_iter().for_each(|at| self.watch(number, at));
        // There may be more room than before, or another end of waiting.
        self.wakes.all(name);
        Ok(())
    }

    fn add(
        &mut self,
        connection: &Connection,
        name: &Name,
        spec: &QueueSpec,
        dead_letters: Option<&Name>,
        now: Moment,
    ) -> rusqlite::Result<i64> {
        let is_free = |number: &i64| {
            !self.queues.contains_key(number)
                && !self.removed.contains(number)
                && !self.shut.contains_key(number)
        };
        let numbers = (self.last_number + 1..=NUMBER_MAX).chain(0..=self.last_number);
        let number = numbers.into_iter().find(is_free).expect("there are fewer queues than numbers");
        self.last_number = number;
        let counters = Counters { used: now, ..Counters::default() };
        let queue = Queue {
            name: name.clone(),
            spec: spec.clone(),
            dead_letters: dead_letters.cloned(),
            counters,
            lanes: Lanes::new([], self.limits.heads),
            held: BTreeMap::new(),
            holders: BTreeMap::new(),
            settled: VecDeque::new(),
            asked: None,
            has_ids: false,
            watched: None,
            is_dirty: false,
        };
        let (text, target) = (spec_text(spec), dead_letters.map(Name::as_str));
        let sql = "INSERT INTO queue VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0, 0, ?5, 0)";
        run(connection, sql, params![number, name.as_str(), text, target, now])?;
        self.names.insert(name.clone(), number);
        self.queues.insert(number, queue);
        self.set_target(name, None, dead_letters);
        Ok(number)
    }

    /// Whether the queue can be removed.
    pub(crate) fn check_delete(&self, name: &Name) -> Result<(), EngineError> {
        if !self.names.contains_key(name) {
            self.number(name)?;
        }
        match self.sources.get(name).and_then(BTreeSet::first) {
            Some(source) => Err(EngineError::InUse { by: source.clone() }),
            None => Ok(()),
        }
    }

    /// Removes the queue. What it held is removed step by step.
    pub(crate) fn delete(
        &mut self,
        connection: &Connection,
        name: &Name,
        now: Moment,
    ) -> rusqlite::Result<()> {
        let Some(number) = self.names.remove(name) else { return Ok(()) };
        run(connection, "DELETE FROM queue WHERE number = ?1", [number])?;
        run(connection, "INSERT INTO queue_removed VALUES (?1)", [number])?;
        self.removed.insert(number);
        self.wakes.all(name);
        if self.shut.remove(&number).is_some() {
            return self.find_next_timer(connection);
        }
        let Some(queue) = self.queues.remove(&number) else { return Ok(()) };
        for (position, held) in &queue.held {
            self.lease_ends.remove(&(held.until, number, *position));
        }
        self.set_target(name, queue.dead_letters.as_ref(), None);
        if let Some(target) = &queue.dead_letters {
            self.look_at(target, now);
        }
        Ok(())
    }

    /// Has a queue looked at that may have to go.
    fn look_at(&mut self, name: &Name, now: Moment) {
        if let Ok(number) = self.number(name) {
            self.watch(number, now);
        }
    }

    /// Removes the queue if nobody needs it any more, or says when to look again.
    pub(super) fn remove_if_abandoned(
        &mut self,
        connection: &Connection,
        number: i64,
        now: Moment,
    ) -> rusqlite::Result<()> {
        let Some(queue) = self.queues.get_mut(&number) else { return Ok(()) };
        queue.watched = None;
        let name = queue.name.clone();
        let queue = self.at(number);
        if queue.len() > 0 || self.sources.contains_key(&name) {
            return Ok(());
        }
        match queue.abandoned_at() {
            _ if queue.dead_letters.is_none() => self.delete(connection, &name, now),
            Some(at) if at <= now => self.delete(connection, &name, now),
            Some(at) => {
                self.watch(number, at);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Begins to count the time in which nobody used a queue: while there was no engine nobody could.
    pub(super) fn tell_time(&mut self, now: Moment) {
        for number in std::mem::take(&mut self.unused) {
            if let Some(queue) = self.queues.get_mut(&number) {
                queue.counters.used = queue.counters.used.max(now);
            }
        }
    }
}

/// What of a queue stays as it is while messages lie there that were stored by it.
fn check_change(queue: &Queue, spec: &QueueSpec) -> Result<(), DeclareError> {
    let was = &queue.spec;
    if was.durable != spec.durable {
        let problem = format!("the queue has {}, and {} was asked for", was.durable, spec.durable);
        return Err(DeclareError::Fixed { key: "durable", problem });
    }
    let fixed = [
        ("ttl", was.ttl != spec.ttl),
        ("ttl_counts", was.ttl_counts != spec.ttl_counts),
        ("groups", was.groups != spec.groups),
    ];
    match fixed.into_iter().find(|(_, differs)| *differs && queue.len() > 0) {
        Some((key, _)) => {
            let problem = format!("the queue holds {} messages; it can while it is empty", queue.len());
            Err(DeclareError::Fixed { key, problem })
        }
        None => Ok(()),
    }
}

fn spec_text(spec: &QueueSpec) -> String {
    serde_json::to_string(spec).expect("it has text for keys")
}

pub(super) fn write_counters(
    connection: &Connection,
    number: i64,
    counters: &Counters,
) -> rusqlite::Result<()> {
    let Counters { next, deliveries, ready, delayed, bytes, used, latest } = *counters;
    let sql = "UPDATE queue SET next = ?2, deliveries = ?3, ready = ?4, delayed = ?5, bytes = ?6, used = ?7, latest = ?8
               WHERE number = ?1";
    let [next, deliveries, ready, delayed, bytes] =
        [next, deliveries, ready, delayed, bytes].map(u64::cast_signed);
    run(connection, sql, [number, next, deliveries, ready, delayed, bytes, used, latest]).map(|_| ())
}

/// The keys of a queue: from the first to the last.
pub(super) fn range(number: i64) -> (i64, i64) {
    (key(number, 0), key(number, (1 << POSITIONS) - 1))
}
