//! Which queues there are, as a transaction finds them.

use std::collections::{BTreeMap, BTreeSet};

use intertie_messaging::queue::QueueSpec;
use intertie_messaging::{EngineError, Name};
use tokio_postgres::Row as Columns;

use crate::failure::Failure;
use crate::session::Session;

/// A queue as it was declared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub(crate) number: i32,
    pub(crate) name: Name,
    pub(crate) spec: QueueSpec,
    /// Where its dead go; unset for a queue of dead letters that came with another, whose dead stay.
    pub(crate) dead_letters: Option<Name>,
}

/// Queues by name and by number.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    by_name: BTreeMap<Name, Known>,
    names: BTreeMap<i32, Name>,
}

impl Known {
    fn read(columns: &Columns) -> Result<Self, Failure> {
        let spec = serde_json::from_str(columns.try_get(2)?).map_err(|error| Failure::Damaged {
            what: "specification of a queue",
            problem: format!("{error}; a later version may have written it"),
        })?;
        let dead_letters = columns.try_get::<_, Option<&str>>(3)?.map(read_name).transpose()?;
        Ok(Self { number: columns.try_get(0)?, name: read_name(columns.try_get(1)?)?, spec, dead_letters })
    }
}

pub(crate) fn read_name(text: &str) -> Result<Name, Failure> {
    text.parse().map_err(|error: intertie_messaging::InvalidName| Failure::Damaged {
        what: "name",
        problem: error.to_string(),
    })
}

impl Queues {
    fn of(rows: &[Columns]) -> Result<Self, Failure> {
        let mut queues = Self::default();
        for columns in rows {
            let known = Known::read(columns)?;
            queues.names.insert(known.number, known.name.clone());
            queues.by_name.insert(known.name.clone(), known);
        }
        Ok(queues)
    }

    /// Those of `names` that there are, and where their dead letters go.
    pub(crate) async fn named(session: &Session, names: &BTreeSet<&Name>) -> Result<Self, Failure> {
        if names.is_empty() {
            return Ok(Self::default());
        }
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let sql = "SELECT number, name, spec, dead_letters FROM queue WHERE name = ANY ($1)
                   UNION SELECT t.number, t.name, t.spec, t.dead_letters
                   FROM queue AS q JOIN queue AS t ON t.name = q.dead_letters WHERE q.name = ANY ($1)";
        Self::of(&session.query(sql, &[&names]).await?)
    }

    /// The same by their numbers.
    pub(crate) async fn numbered(session: &Session, numbers: &BTreeSet<i32>) -> Result<Self, Failure> {
        if numbers.is_empty() {
            return Ok(Self::default());
        }
        let numbers: Vec<i32> = numbers.iter().copied().collect();
        let sql = "SELECT number, name, spec, dead_letters FROM queue WHERE number = ANY ($1)
                   UNION SELECT t.number, t.name, t.spec, t.dead_letters
                   FROM queue AS q JOIN queue AS t ON t.name = q.dead_letters WHERE q.number = ANY ($1)";
        Self::of(&session.query(sql, &[&numbers]).await?)
    }

    /// All of them.
    pub(crate) async fn all(session: &Session) -> Result<Self, Failure> {
        Self::of(&session.query("SELECT number, name, spec, dead_letters FROM queue", &[]).await?)
    }

    pub(crate) fn get(&self, name: &Name) -> Option<&Known> {
        self.by_name.get(name)
    }

    pub(crate) fn numbered_as(&self, number: i32) -> Option<&Known> {
        self.names.get(&number).and_then(|name| self.by_name.get(name))
    }

    /// Where what dies in `queue` goes: to itself, if nowhere else.
    pub(crate) fn target<'a>(&'a self, queue: &'a Known) -> &'a Known {
        queue.dead_letters.as_ref().and_then(|name| self.get(name)).unwrap_or(queue)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.by_name.values()
    }
}

/// Waits until no other transaction has to do with queues, and has others wait.
pub(crate) async fn change_structure(session: &Session, locks: i32) -> Result<(), Failure> {
    session.run("SELECT pg_advisory_xact_lock($1, 0)", &[&locks]).await.map(|_| ())
}

/// There is no `name`.
pub(crate) async fn not_found(session: &Session, name: &Name) -> Result<EngineError, Failure> {
    let names = session.query("SELECT name FROM queue ORDER BY name", &[]).await?;
    let names: Vec<&str> = names.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Ok(EngineError::NotFound { name: name.clone(), nearest: nearest(name, names) })
}

/// The name that is most like `name`.
pub(crate) fn nearest<'a>(name: &Name, known: impl IntoIterator<Item = &'a str>) -> Option<Name> {
    let distances = known.into_iter().map(|known| (strsim::damerau_levenshtein(name.as_str(), known), known));
    let near = distances.filter(|(distance, known)| *distance <= known.len().div_ceil(4));
    near.min().and_then(|(_, known)| known.parse().ok())
}
