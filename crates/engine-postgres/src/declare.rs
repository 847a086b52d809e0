//! Which queues there are: declared, changed and removed while nobody else has to do with any.

use std::collections::BTreeSet;

use intertie_core::config::Invalid;
use intertie_messaging::queue::QueueSpec;
use intertie_messaging::{DeclareError, EngineError, Name, Unfit};

use crate::commit::now;
use crate::failure::Failure;
use crate::moment::{Moment, span};
use crate::queues::{Known, Queues, change_structure, nearest, not_found};
use crate::session::Session;
use crate::transaction::{Ended, SyncPoint, Work};

/// A queue that is to be as `spec` says.
#[derive(Debug)]
pub(crate) struct Declaring {
    pub(crate) name: Name,
    pub(crate) spec: QueueSpec,
    pub(crate) locks: i32,
    pub(crate) queues_max: u32,
}

impl Work for Declaring {
    type Answer = Result<(), DeclareError>;

    const SYNC: SyncPoint = SyncPoint::First;

    fn keeps_structure(&self) -> Option<i32> {
        None
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<Self::Answer>, Failure> {
        let target = match self.target() {
            Ok(target) => target,
            Err(invalid) => return Ok(Ended::Rollback(Err(invalid))),
        };
        // A queue that is as asked is left alone, and nobody waits for that.
        let named = Queues::named(session, &BTreeSet::from([&self.name])).await?;
        let is_so = |queue: &Known| queue.spec == self.spec && queue.dead_letters.as_ref() == Some(&target);
        if named.get(&self.name).is_some_and(is_so) {
            return Ok(Ended::Rollback(Ok(())));
        }
        change_structure(session, self.locks).await?;
        let queues = Queues::all(session).await?;
        if let Err(refused) = self.check(&queues, &target) {
            return Ok(Ended::Rollback(Err(refused)));
        }
        self.write(session, &queues, &target).await?;
        Ok(Ended::Commit(Ok(())))
    }
}

impl Declaring {
    /// The queue of dead letters that the specification asks for.
    fn target(&self) -> Result<Name, DeclareError> {
        let invalid = |problem| DeclareError::Invalid(Invalid::new("dead_letter", problem));
        let name = &self.name;
        let target = match &self.spec.dead_letter {
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

    fn check(&self, queues: &Queues, target: &Name) -> Result<(), DeclareError> {
        self.check_dead_letters(queues, target)?;
        match queues.get(&self.name) {
            Some(queue) if queue.spec.groups != self.spec.groups => {
                let (is, asked) = (queue.spec.groups, self.spec.groups);
                let problem = format!(
                    "the queue has {is}, and {asked} was asked for; who waits behind whom is decided as messages come"
                );
                Err(DeclareError::Fixed { key: "groups", problem })
            }
            Some(_) => Ok(()),
            None => {
                let more = 1 + usize::from(queues.get(target).is_none());
                let limit = self.queues_max;
                if queues.iter().count() + more <= limit as usize {
                    return Ok(());
                }
                Err(EngineError::Limit { key: "queues_max", limit: limit.to_string() }.into())
            }
        }
    }

    /// Whether nothing that dies gets lost, neither the queue's own dead nor those of others that go there.
    fn check_dead_letters(&self, queues: &Queues, target: &Name) -> Result<(), DeclareError> {
        let refuse = |queue: &Name, target: &Name, unfit| {
            let (queue, target) = (queue.clone(), target.clone());
            Err(DeclareError::DeadLetter { queue, target, unfit })
        };
        let (name, spec) = (&self.name, &self.spec);
        match queues.get(target) {
            // It comes with the queue, and is as durable.
            Some(own) if own.dead_letters.is_none() && spec.dead_letter.is_none() => {}
            Some(found) => {
                if let Err(unfit) = found.spec.takes_dead_of(spec) {
                    return refuse(name, target, unfit);
                }
            }
            None if spec.dead_letter.is_some() => {
                let nearest = nearest(target, queues.iter().map(|queue| queue.name.as_str()));
                return refuse(name, target, Unfit::Missing { nearest });
            }
            None => {}
        }
        let mut through = vec![target.clone()];
        let next = |name: &Name| queues.get(name).and_then(|queue| queue.dead_letters.clone());
        while let Some(next) = through.last().and_then(next) {
            through.push(next.clone());
            if next == *name {
                return refuse(name, target, Unfit::Circle { through });
            }
        }
        for source in queues.iter().filter(|queue| queue.dead_letters.as_ref() == Some(name)) {
            if let Err(unfit) = spec.takes_dead_of(&source.spec) {
                return refuse(&source.name, name, unfit);
            }
        }
        Ok(())
    }

    async fn write(&self, session: &Session, queues: &Queues, target: &Name) -> Result<(), Failure> {
        let now = now(session).await?;
        match queues.get(&self.name) {
            Some(queue) => {
                let sql = "UPDATE queue SET spec = $2, dead_letters = $3, auto_delete = $4, used = greatest(used, $5)
                           WHERE number = $1";
                let (spec, auto_delete) = (text(&self.spec), auto_delete(&self.spec));
                session.run(sql, &[&queue.number, &spec, &target.as_str(), &auto_delete, &now]).await?;
                if (queue.spec.ttl, queue.spec.ttl_counts) != (self.spec.ttl, self.spec.ttl_counts) {
                    self.change_ends(session, queue.number).await?;
                }
            }
            None => insert(session, &self.name, &self.spec, Some(target), now).await?,
        }
        let durability = self.spec.durability;
        match queues.get(target) {
            Some(own) if own.dead_letters.is_none() => {
                let spec = QueueSpec { durability, ..own.spec.clone() };
                session
                    .run("UPDATE queue SET spec = $2 WHERE number = $1", &[&own.number, &text(&spec)])
                    .await?;
            }
            Some(_) => {}
            None => {
                insert(session, target, &QueueSpec { durability, ..QueueSpec::default() }, None, now).await?;
            }
        }
        Ok(())
    }

    /// Has what is in the queue wait as long as the changed specification says.
    async fn change_ends(&self, session: &Session, number: i32) -> Result<(), Failure> {
        let ttl = self.spec.ttl.map(span);
        let counts_age = self.spec.ttl_counts == intertie_messaging::queue::TtlCounts::Age;
        // A sum that no column can hold is an end that never comes.
        let sql = "UPDATE message SET ends = nullif(least(
                       CASE WHEN dead IS NULL THEN expires END,
                       least((CASE WHEN $3 THEN first_due ELSE due END)::numeric + $2::int8, 9223372036854775807)::int8),
                       9223372036854775807)
                   WHERE queue = $1";
        session.run(sql, &[&number, &ttl, &counts_age]).await.map(|_| ())
    }
}

fn text(spec: &QueueSpec) -> String {
    serde_json::to_string(spec).expect("names, numbers and durations")
}

async fn insert(
    session: &Session,
    name: &Name,
    spec: &QueueSpec,
    dead_letters: Option<&Name>,
    now: Moment,
) -> Result<(), Failure> {
    let dead_letters = dead_letters.map(Name::as_str);
    let sql = "INSERT INTO queue (name, spec, dead_letters, auto_delete, used) VALUES ($1, $2, $3, $4, $5)";
    let values: crate::session::Values<'_> =
        &[&name.as_str(), &text(spec), &dead_letters, &auto_delete(spec), &now];
    session.run(sql, values).await.map(|_| ())
}

/// In a column, with room for the moment that it is added to.
fn auto_delete(spec: &QueueSpec) -> Option<i64> {
    spec.auto_delete.map(|time| span(time).min(i64::MAX / 4))
}

/// Removes queues; what was in them goes step by step.
pub(crate) async fn remove(session: &Session, numbers: &[i32]) -> Result<(), Failure> {
    let sql = "WITH gone AS (DELETE FROM queue WHERE number = ANY ($1) RETURNING number)
               INSERT INTO removed (number) SELECT number FROM gone";
    session.run(sql, &[&numbers]).await.map(|_| ())
}

/// A queue that is to go.
#[derive(Debug)]
pub(crate) struct Deleting {
    pub(crate) name: Name,
    pub(crate) locks: i32,
}

impl Work for Deleting {
    type Answer = Result<(), EngineError>;

    const SYNC: SyncPoint = SyncPoint::First;

    fn keeps_structure(&self) -> Option<i32> {
        None
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<Self::Answer>, Failure> {
        change_structure(session, self.locks).await?;
        let queues = Queues::named(session, &BTreeSet::from([&self.name])).await?;
        let Some(queue) = queues.get(&self.name) else {
            return Ok(Ended::Rollback(Err(not_found(session, &self.name).await?)));
        };
        let sql = "SELECT name FROM queue WHERE dead_letters = $1 ORDER BY name LIMIT 1";
        if let Some(source) = session.query(sql, &[&self.name.as_str()]).await?.first() {
            let by = crate::queues::read_name(source.try_get(0)?)?;
            return Ok(Ended::Rollback(Err(EngineError::InUse { by })));
        }
        remove(session, &[queue.number]).await?;
        Ok(Ended::Commit(Ok(())))
    }
}
