//! Hands messages out, extends leases, and takes back what nobody heard of.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use intertie_core::clock::Timestamp;
use intertie_core::quantity::format_duration;
use intertie_messaging::queue::{Lease as Leased, LeaseRequest, QueueSpec};
use intertie_messaging::{EngineError, Name, stored};
use ring::rand::{SecureRandom, SystemRandom};

use crate::changes::Changes;
use crate::commit::{self, Lease};
use crate::failure::Failure;
use crate::moment::{Moment, later, timestamp};
use crate::pass::abandoned;
use crate::queues::{Known, Queues, not_found};
use crate::row::{Row, columns, read_dead};
use crate::session::Session;
use crate::transaction::{Ended, SyncPoint, Work};

/// A consumer's request.
#[derive(Debug)]
pub(crate) struct Leasing {
    pub(crate) request: LeaseRequest,
    pub(crate) locks: i32,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) leases: Vec<Leased>,
    /// When the leases end, and what time it was.
    pub(crate) due: Option<(Moment, Moment)>,
    /// Nobody has used the queue for so long that it has to go.
    pub(crate) is_abandoned: bool,
}

fn check_time(spec: &QueueSpec, time: Duration) -> Result<(), EngineError> {
    let limit = spec.visibility_timeout_max;
    if time <= limit {
        return Ok(());
    }
    Err(EngineError::Limit { key: "visibility_timeout_max", limit: format_duration(limit) })
}

impl Work for Leasing {
    type Answer = Result<Answer, EngineError>;

    /// Those who lease from one queue wait for each other, and not for each other's sync.
    const SYNC: SyncPoint = SyncPoint::Last;

    fn keeps_structure(&self) -> Option<i32> {
        Some(self.locks)
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<Self::Answer>, Failure> {
        let request = &self.request;
        let queues = Queues::named(session, &BTreeSet::from([&request.queue])).await?;
        let Some(queue) = queues.get(&request.queue) else {
            return Ok(Ended::Rollback(Err(not_found(session, &request.queue).await?)));
        };
        let time = request.visibility_timeout.unwrap_or(queue.spec.visibility_timeout);
        if let Err(limit) = check_time(&queue.spec, time) {
            return Ok(Ended::Rollback(Err(limit)));
        }
        // Bounds on leases are kept by one at a time. Numbers of queues are above zero, so that these locks are not
        // those of the room in them.
        let sql = "WITH mine AS MATERIALIZED (SELECT pg_advisory_xact_lock($1, -$2::int4))
                   SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 * 1000 FROM mine";
        let now: Moment = session.one(sql, &[&self.locks, &queue.number]).await?.try_get(0)?;
        if queue.spec.exclusive
            && let Some(holder) = self.holder(session, queue, now).await?
        {
            return Ok(Ended::Rollback(Err(EngineError::Exclusive { holder })));
        }
        let is_mortal = queue.spec.auto_delete.is_some();
        if is_mortal && !abandoned(session, Some(&queue.name)).await?.is_empty() {
            return Ok(Ended::Rollback(Ok(Answer { leases: Vec::new(), due: None, is_abandoned: true })));
        }
        let is_noted = self.note(session, queue, now).await?;
        let room = self.room(session, queue, now).await?;
        let chosen = self.choose(session, queue, now, room).await?;
        if chosen.is_empty() {
            let answer = Ok(Answer { leases: Vec::new(), due: None, is_abandoned: false });
            return Ok(if is_noted { Ended::Commit(answer) } else { Ended::Rollback(answer) });
        }
        let until = later(now, time);
        let leases = self.hand_out(session, queue, &chosen, until).await?;
        Ok(Ended::Commit(Ok(Answer { leases, due: Some((now, until)), is_abandoned: false })))
    }
}

impl Leasing {
    /// Who else has the queue to itself.
    async fn holder(&self, session: &Session, queue: &Known, now: Moment) -> Result<Option<Name>, Failure> {
        let asked_after = now.saturating_sub(crate::moment::span(queue.spec.visibility_timeout));
        let sql = "SELECT asked_by FROM queue WHERE number = $1 AND asked_by <> $2 AND asked_at > $3
                   UNION ALL SELECT consumer FROM message
                   WHERE queue = $1 AND state = 2 AND consumer <> $2 AND until > $4 LIMIT 1";
        let values: crate::session::Values<'_> =
            &[&queue.number, &self.request.consumer.as_str(), &asked_after, &now];
        let holder = session.query(sql, values).await?;
        holder.first().map(|row| crate::queues::read_name(row.try_get(0)?)).transpose()
    }

    /// Notes that somebody asks, where that keeps others or the queue's end away.
    async fn note(&self, session: &Session, queue: &Known, now: Moment) -> Result<bool, Failure> {
        if !queue.spec.exclusive && queue.spec.auto_delete.is_none() {
            return Ok(false);
        }
        let sql =
            "UPDATE queue SET used = greatest(used, $2), asked_by = $3, asked_at = $2 WHERE number = $1";
        session.run(sql, &[&queue.number, &now, &self.request.consumer.as_str()]).await?;
        Ok(true)
    }

    /// How many leases more there may be.
    async fn room(&self, session: &Session, queue: &Known, now: Moment) -> Result<i64, Failure> {
        let sql = "SELECT count(*), count(*) FILTER (WHERE consumer = $2) FROM message
                   WHERE queue = $1 AND state = 2 AND until > $3";
        let row = session.one(sql, &[&queue.number, &self.request.consumer.as_str(), &now]).await?;
        let (all, own): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let room = i64::from(queue.spec.leases_max.get()) - all;
        let own = queue.spec.leases_per_consumer_max.map_or(i64::MAX, |most| i64::from(most.get()) - own);
        Ok(room.min(own).min(i64::from(self.request.most.get())).max(0))
    }

    /// Locks the next messages that nobody else has locked, as many as there is room and as fit together.
    async fn choose(
        &self,
        session: &Session,
        queue: &Known,
        now: Moment,
        room: i64,
    ) -> Result<Vec<i64>, Failure> {
        if room == 0 {
            return Ok(Vec::new());
        }
        let sql = "SELECT position, bytes FROM message
                   WHERE queue = $1 AND state = 0 AND (ends IS NULL OR ends > $2)
                   ORDER BY queue, priority DESC, position LIMIT $3 FOR UPDATE SKIP LOCKED";
        let (mut chosen, mut bytes) = (Vec::new(), 0_u64);
        for row in session.query(sql, &[&queue.number, &now, &room]).await? {
            bytes = bytes.saturating_add(row.try_get::<_, i64>(1)?.cast_unsigned());
            if bytes > self.request.bytes_max.bytes() && !chosen.is_empty() {
                break;
            }
            chosen.push(row.try_get(0)?);
        }
        Ok(chosen)
    }

    async fn hand_out(
        &self,
        session: &Session,
        queue: &Known,
        chosen: &[i64],
        until: Moment,
    ) -> Result<Vec<Leased>, Failure> {
        let secrets = secrets(chosen.len())?;
        let sql = concat!(
            "WITH m AS (
                 UPDATE message AS m SET state = 2, deliveries = deliveries + 1, delivery = nextval('delivery'),
                     secret = n.secret, consumer = $4, until = $5
                 FROM unnest($2::int8[], $3::int8[]) AS n (position, secret)
                 WHERE m.queue = $1 AND m.position = n.position RETURNING m.*)
             SELECT ",
            columns!(),
            ", c.content FROM m JOIN content AS c ON c.queue = m.queue AND c.position = m.position
             ORDER BY m.priority DESC, m.position"
        );
        let consumer = self.request.consumer.as_str();
        let rows = session.query(sql, &[&queue.number, &chosen, &secrets, &consumer, &until]).await?;
        if rows.len() != chosen.len() {
            let problem =
                format!("{} of {} messages that were leased say something", rows.len(), chosen.len());
            return Err(Failure::Damaged { what: "queue", problem });
        }
        rows.iter().map(|columns| leased(&Row::read(columns)?, columns.try_get(18)?)).collect()
    }
}

/// Numbers that nobody can guess.
fn secrets(count: usize) -> Result<Vec<i64>, Failure> {
    let mut bytes = vec![0; count * 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::Changed { problem: "the system gives no random numbers".to_owned() })?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number: i64, byte| number << 8 | i64::from(*byte));
    Ok(bytes.chunks_exact(8).map(number).collect())
}

/// A lease as its consumer has it.
fn leased(row: &Row, content: &[u8]) -> Result<Leased, Failure> {
    let missing = || Failure::Damaged { what: "lease", problem: "nobody holds it".to_owned() };
    let held = row.held.as_ref().ok_or_else(missing)?;
    let lease = Lease { position: row.position, delivery: held.delivery, secret: held.secret };
    let deliveries = u32::try_from(row.deliveries).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    Ok(Leased {
        id: lease.into(),
        content: stored::read(Bytes::copy_from_slice(content)),
        position: Some(row.position.cast_unsigned()),
        priority: u8::try_from(row.priority).unwrap_or(u8::MAX),
        deliveries,
        stored_at: timestamp(row.stored_at),
        until: timestamp(held.until),
        dead_letter: row.dead.as_deref().map(read_dead).transpose()?.map(Box::new),
    })
}

/// Another end for a lease.
#[derive(Debug)]
pub(crate) struct Extending {
    pub(crate) queue: Name,
    pub(crate) lease: Option<Lease>,
    pub(crate) time: Duration,
    pub(crate) locks: i32,
}

impl Work for Extending {
    type Answer = Result<(Timestamp, Duration), EngineError>;

    const SYNC: SyncPoint = SyncPoint::First;

    fn keeps_structure(&self) -> Option<i32> {
        Some(self.locks)
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<Self::Answer>, Failure> {
        let queues = Queues::named(session, &BTreeSet::from([&self.queue])).await?;
        let Some(queue) = queues.get(&self.queue) else {
            return Ok(Ended::Rollback(Err(not_found(session, &self.queue).await?)));
        };
        let Some(lease) = self.lease else { return Ok(Ended::Rollback(Err(EngineError::StaleLease))) };
        let rows = commit::lock_rows(session, &BTreeSet::from([(queue.number, lease.position)])).await?;
        let facts = commit::Facts { rows, now: commit::now(session).await?, ..commit::Facts::default() };
        if facts.live(queue, lease).is_none() {
            return Ok(Ended::Rollback(Err(EngineError::StaleLease)));
        }
        if let Err(limit) = check_time(&queue.spec, self.time) {
            return Ok(Ended::Rollback(Err(limit)));
        }
        let until = later(facts.now, self.time);
        let sql = "UPDATE message SET until = $3 WHERE queue = $1 AND position = $2";
        session.run(sql, &[&queue.number, &lease.position, &until]).await?;
        Ok(Ended::Commit(Ok((timestamp(until), self.time))))
    }
}

/// Leases that nobody has heard of are taken back; their deliveries do not count, and are not remembered.
#[derive(Debug)]
pub(crate) struct Releasing {
    pub(crate) queue: Name,
    pub(crate) leases: Vec<Lease>,
    pub(crate) locks: i32,
}

impl Work for Releasing {
    type Answer = ();

    const SYNC: SyncPoint = SyncPoint::First;

    fn keeps_structure(&self) -> Option<i32> {
        Some(self.locks)
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<()>, Failure> {
        let queues = Queues::named(session, &BTreeSet::from([&self.queue])).await?;
        let Some(queue) = queues.get(&self.queue) else { return Ok(Ended::Rollback(())) };
        let places = self.leases.iter().map(|lease| (queue.number, lease.position)).collect();
        let rows = commit::lock_rows(session, &places).await?;
        let facts = commit::Facts { rows, now: commit::now(session).await?, ..commit::Facts::default() };
        let mut changes = Changes::default();
        for row in self.leases.iter().filter_map(|lease| facts.live(queue, *lease)) {
            let deliveries = row.deliveries - 1;
            changes.give_back(Row { deliveries, ..row.clone() }.given_back(
                &queue.spec,
                facts.now,
                facts.now,
            ));
        }
        changes.apply(session, facts.now).await?;
        Ok(Ended::Commit(()))
    }
}
