//! What time does by itself, a step at a time, done by whichever node comes first.
//!
//! Rows and groups that another transaction has are passed over, not waited for: its node, or the next look, does them.

use std::collections::BTreeSet;

use intertie_messaging::Name;
use intertie_messaging::queue::Cause;

use crate::changes::Changes;
use crate::commit::{group_lock, now, positions, redelivery};
use crate::failure::Failure;
use crate::moment::{Moment, later, span};
use crate::queues::{Known, Queues, change_structure, read_name};
use crate::requests;
use crate::row::{Death, Row, columns};
use crate::session::Session;
use crate::transaction::{Ended, SyncPoint, Work};

/// Ends leases, has messages become due, and buries those that waited too long, up to a step of each.
#[derive(Debug)]
pub(crate) struct Passing {
    pub(crate) locks: i32,
    pub(crate) step: i64,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Queues in which a message may be leased that could not before.
    pub(crate) ready: BTreeSet<Name>,
    /// Whether there may be more to do at once.
    pub(crate) more: bool,
    /// Something is due that another transaction has.
    pub(crate) skipped: bool,
    /// When the next is due, and what time it was.
    pub(crate) next: Option<Moment>,
    pub(crate) now: Moment,
}

/// What time it is, and when the first is due.
async fn next(session: &Session) -> Result<(Moment, Option<Moment>), Failure> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 * 1000, least((SELECT min(until) FROM message WHERE state = 2),
                            (SELECT min(due) FROM message WHERE state = 1),
                            (SELECT min(ends) FROM message WHERE ends IS NOT NULL AND state <> 2))";
    let row = session.one(sql, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

impl Work for Passing {
    type Answer = Passed;

    /// What it decides follows from the time; who acts on it writes behind it, or it is decided again.
    const SYNC: SyncPoint = SyncPoint::Last;

    fn keeps_structure(&self) -> Option<i32> {
        Some(self.locks)
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<Passed>, Failure> {
        let (now, next) = next(session).await?;
        if next.is_none_or(|next| next > now) {
            return Ok(Ended::Rollback(Passed { next, now, ..Passed::default() }));
        }
        let over = self.due_rows(session, now).await?;
        let queues = over.iter().map(|row| row.queue).collect();
        let queues = Queues::numbered(session, &queues).await?;
        let mut passed = Passed { next, now, ..Passed::default() };
        let mut changes = Changes::default();
        self.bury_or_return(session, &queues, over, &mut changes, now).await?;
        changes.apply(session, now).await?;
        let mut touched: BTreeSet<i32> = changes.moved.iter().map(|((queue, _), _)| *queue).collect();
        touched.extend(changes.moved.iter().map(|(_, row)| row.queue));
        touched.extend(changes.returned.iter().map(|row| row.queue));
        touched.extend(changes.removed.iter().map(|(queue, _)| *queue));
        touched.extend(self.make_ready(session, now).await?);
        passed.ready =
            Queues::numbered(session, &touched).await?.iter().map(|queue| queue.name.clone()).collect();
        passed.next = self::next(session).await?.1;
        let is_due = passed.next.is_some_and(|next| next <= now);
        // Where nothing could be done, others have it, and asking again at once would not help.
        (passed.more, passed.skipped) = (is_due && !touched.is_empty(), is_due && touched.is_empty());
        Ok(Ended::Commit(passed))
    }
}

impl Passing {
    /// Messages whose lease is over, and those that have waited too long.
    async fn due_rows(&self, session: &Session, now: Moment) -> Result<Vec<Row>, Failure> {
        let over = concat!(
            "SELECT ",
            columns!(),
            " FROM message AS m WHERE m.state = 2 AND m.until <= $1 ORDER BY m.until LIMIT $2
              FOR UPDATE SKIP LOCKED"
        );
        let expired = concat!(
            "SELECT ",
            columns!(),
            " FROM message AS m WHERE m.ends IS NOT NULL AND m.state <> 2 AND m.ends <= $1 ORDER BY m.ends LIMIT $2
              FOR UPDATE SKIP LOCKED"
        );
        let mut rows = session.query(over, &[&now, &self.step]).await?;
        rows.extend(session.query(expired, &[&now, &self.step]).await?);
        rows.iter().map(Row::read).collect()
    }

    async fn bury_or_return(
        &self,
        session: &Session,
        queues: &Queues,
        over: Vec<Row>,
        changes: &mut Changes,
        now: Moment,
    ) -> Result<(), Failure> {
        let mut dying = Vec::new();
        for row in over {
            let Some(queue) = queues.numbered_as(row.queue) else {
                // Of a queue that is gone.
                changes.remove(&row);
                continue;
            };
            match row.held.clone() {
                Some(held) if row.is_last(queue) => {
                    dying.push((row, Death { cause: Cause::MaxDeliveries, reason: None, at: held.until }));
                }
                Some(held) => {
                    let due = later(held.until, redelivery(queue, &row, held.secret));
                    changes.give_back(row.given_back(&queue.spec, due, now));
                }
                None => {
                    let at = row.ends.unwrap_or(now);
                    dying.push((row, Death { cause: Cause::Expired, reason: None, at }));
                }
            }
        }
        let free = self.free_groups(session, queues, &dying).await?;
        let is_free = |queue: &Known, row: &Row| {
            let target = queues.target(queue);
            let groups = [
                (row.queue, &row.member),
                (target.number, if target.spec.groups { &row.key } else { &None }),
            ];
            groups.iter().all(|(number, member)| {
                member.as_ref().is_none_or(|member| free.contains(&group_lock(self.locks, *number, member)))
            })
        };
        dying.retain(|(row, _)| queues.numbered_as(row.queue).is_some_and(|queue| is_free(queue, row)));
        let places = positions(session, dying.len()).await?;
        for ((row, death), place) in dying.into_iter().zip(places) {
            let Some(queue) = queues.numbered_as(row.queue) else { continue };
            let dead = row.clone().dead(queue, queues.target(queue), death, place)?;
            changes.relocate(&row, dead);
        }
        Ok(())
    }

    /// The groups of `dying` that nobody else has to do with now.
    async fn free_groups(
        &self,
        session: &Session,
        queues: &Queues,
        dying: &[(Row, Death)],
    ) -> Result<BTreeSet<i64>, Failure> {
        let mut groups = BTreeSet::new();
        for (row, _) in dying {
            groups.extend(row.member.as_ref().map(|member| group_lock(self.locks, row.queue, member)));
            let target = queues.numbered_as(row.queue).map(|queue| queues.target(queue));
            if let (Some(target), Some(key)) = (target.filter(|target| target.spec.groups), &row.key) {
                groups.insert(group_lock(self.locks, target.number, key));
            }
        }
        if groups.is_empty() {
            return Ok(groups);
        }
        let groups: Vec<i64> = groups.into_iter().collect();
        let sql = "SELECT key FROM unnest($1::int8[]) AS key WHERE pg_try_advisory_xact_lock(key)";
        let free = session.query(sql, &[&groups]).await?;
        free.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Has delayed messages become ready.
    async fn make_ready(&self, session: &Session, now: Moment) -> Result<BTreeSet<i32>, Failure> {
        let sql = "WITH due AS MATERIALIZED (
                       SELECT queue, position FROM message WHERE state = 1 AND due <= $1 ORDER BY due LIMIT $2
                       FOR UPDATE SKIP LOCKED)
                   UPDATE message AS m SET state = 0 FROM due AS d
                   WHERE m.queue = d.queue AND m.position = d.position RETURNING m.queue";
        let ready = session.query(sql, &[&now, &self.step]).await?;
        ready.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

/// Forgets what need not be remembered any more, and removes what is gone, up to a step of each.
#[derive(Debug)]
pub(crate) struct Sweeping {
    pub(crate) locks: i32,
    pub(crate) step: i64,
}

impl Work for Sweeping {
    /// Whether there may be more to do at once.
    type Answer = bool;

    const SYNC: SyncPoint = SyncPoint::Lazily;

    fn keeps_structure(&self) -> Option<i32> {
        Some(self.locks)
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<bool>, Failure> {
        let (now, step) = (self::now(session).await?, &self.step);
        let mut most = requests::forget(session, now, *step).await?;
        let marks = "DELETE FROM mark WHERE (inbox, digest) IN (
                         SELECT inbox, digest FROM mark WHERE until <= $1 ORDER BY until LIMIT $2
                         FOR UPDATE SKIP LOCKED)";
        most = most.max(session.run(marks, &[&now, step]).await?);
        session.run("DELETE FROM interest WHERE until <= $1", &[&now]).await?;
        let remembering = "SELECT q.number FROM queue AS q WHERE EXISTS (SELECT 1 FROM settled AS s WHERE s.queue = q.number)
                           OR EXISTS (SELECT 1 FROM seen AS s WHERE s.queue = q.number)";
        let numbers = session.query(remembering, &[]).await?;
        let numbers: BTreeSet<i32> = numbers.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        for queue in Queues::numbered(session, &numbers).await?.iter() {
            most = most.max(self.forget(session, queue, now).await?);
        }
        for row in session.query("SELECT number FROM removed ORDER BY number LIMIT 1", &[]).await? {
            most = most.max(self.clear(session, row.try_get(0)?).await?);
        }
        Ok(Ended::Commit(most >= step.cast_unsigned()))
    }
}

impl Sweeping {
    /// Settlements and ids whose window is over.
    async fn forget(&self, session: &Session, queue: &Known, now: Moment) -> Result<u64, Failure> {
        let settled = "DELETE FROM settled WHERE queue = $1 AND delivery = ANY (ARRAY(
                           SELECT delivery FROM settled WHERE queue = $1 AND at <= $2 ORDER BY queue, at LIMIT $3
                           FOR UPDATE SKIP LOCKED))";
        let over = now.saturating_sub(span(queue.spec.settlement_window));
        let mut most = session.run(settled, &[&queue.number, &over, &self.step]).await?;
        let seen = "DELETE FROM seen WHERE queue = $1 AND digest = ANY (ARRAY(
                        SELECT digest FROM seen WHERE queue = $1 AND at <= $2 ORDER BY queue, at LIMIT $3
                        FOR UPDATE SKIP LOCKED))";
        let over = now.saturating_sub(queue.spec.deduplication_window.map_or(0, span));
        most = most.max(session.run(seen, &[&queue.number, &over, &self.step]).await?);
        // Those beyond `settlements_max` are no longer known; here their rows go.
        let beyond = "DELETE FROM settled WHERE queue = $1 AND delivery = ANY (ARRAY(
                          SELECT delivery FROM settled WHERE queue = $1 ORDER BY queue DESC, at DESC, delivery DESC
                          OFFSET $2 LIMIT $3))";
        let known = i64::from(queue.spec.settlements_max.get());
        Ok(most.max(session.run(beyond, &[&queue.number, &known, &self.step]).await?))
    }

    /// Rows of a queue that is gone.
    async fn clear(&self, session: &Session, number: i32) -> Result<u64, Failure> {
        let mut most = 0;
        for sql in [
            "DELETE FROM content WHERE queue = $1 AND position = ANY (ARRAY(
                 SELECT position FROM content WHERE queue = $1 ORDER BY queue, position LIMIT $2))",
            "DELETE FROM message WHERE queue = $1 AND position = ANY (ARRAY(
                 SELECT position FROM message WHERE queue = $1 ORDER BY queue, position LIMIT $2
                 FOR UPDATE SKIP LOCKED))",
            "DELETE FROM settled WHERE queue = $1 AND delivery = ANY (ARRAY(
                 SELECT delivery FROM settled WHERE queue = $1 ORDER BY queue, delivery LIMIT $2))",
            "DELETE FROM seen WHERE queue = $1 AND digest = ANY (ARRAY(
                 SELECT digest FROM seen WHERE queue = $1 ORDER BY queue, digest LIMIT $2))",
        ] {
            most = most.max(session.run(sql, &[&number, &self.step]).await?);
        }
        if most == 0 {
            session.run("DELETE FROM removed WHERE number = $1", &[&number]).await?;
        }
        Ok(most)
    }
}

/// Removes queues that nobody has used for long, and empty dead letters whose queue is gone.
#[derive(Debug)]
pub(crate) struct Abandoning {
    pub(crate) locks: i32,
    /// Only this one, if it is to go.
    pub(crate) only: Option<Name>,
}

impl Work for Abandoning {
    /// Those that are gone.
    type Answer = BTreeSet<Name>;

    const SYNC: SyncPoint = SyncPoint::First;

    fn keeps_structure(&self) -> Option<i32> {
        None
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<Self::Answer>, Failure> {
        let only = self.only.as_ref();
        if abandoned(session, only).await?.is_empty() {
            return Ok(Ended::Rollback(BTreeSet::new()));
        }
        // Again, now that nobody sends.
        change_structure(session, self.locks).await?;
        let mut all = BTreeSet::new();
        // Dead letters go after the queue that they came with.
        loop {
            let gone = abandoned(session, only).await?;
            if gone.is_empty() {
                return Ok(Ended::Commit(all));
            }
            let (numbers, names): (Vec<i32>, Vec<Name>) = gone.into_iter().unzip();
            crate::declare::remove(session, &numbers).await?;
            all.extend(names);
        }
    }
}

/// Queues that have to go.
pub(crate) async fn abandoned(session: &Session, only: Option<&Name>) -> Result<Vec<(i32, Name)>, Failure> {
    let now = self::now(session).await?;
    let sql = "SELECT q.number, q.name FROM queue AS q
               WHERE ($2::text IS NULL OR q.name = $2)
               AND (q.used + q.auto_delete <= $1
                    OR (q.dead_letters IS NULL AND NOT EXISTS (SELECT 1 FROM queue AS s WHERE s.dead_letters = q.name)))
               AND NOT EXISTS (SELECT 1 FROM message AS m WHERE m.queue = q.number)";
    let gone = session.query(sql, &[&now, &only.map(Name::as_str)]).await?;
    gone.iter().map(|row| Ok((row.try_get(0)?, read_name(row.try_get(1)?)?))).collect()
}

/// Other nodes are to tell this one of what is sent to a queue.
#[derive(Debug)]
pub(crate) struct Interesting {
    pub(crate) queue: Name,
    pub(crate) node: i64,
    pub(crate) time: std::time::Duration,
}

impl Work for Interesting {
    type Answer = ();

    const SYNC: SyncPoint = SyncPoint::Lazily;

    fn keeps_structure(&self) -> Option<i32> {
        None
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<()>, Failure> {
        let until = later(self::now(session).await?, self.time);
        let sql = "INSERT INTO interest (queue, node, until) VALUES ($1, $2, $3)
                   ON CONFLICT (queue, node) DO UPDATE SET until = excluded.until";
        session.run(sql, &[&self.queue.as_str(), &self.node, &until]).await?;
        Ok(Ended::Commit(()))
    }
}
