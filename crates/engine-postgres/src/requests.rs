//! Records of requests that are done once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use intertie_idempotency::{Bounds, Decision, Fingerprint, Full, Lost, Record, State, Usage, record};
use tokio_postgres::Row as Columns;

use crate::commit::Facts;
use crate::failure::Failure;
use crate::moment::{Moment, moment, timestamp};
use crate::session::Session;
use crate::transaction::{Ended, SyncPoint, Work};

/// A record that is over is kept so long, so that who is late hears that it is another's and not that it never was.
pub(crate) const KEPT_OVER: Duration = Duration::from_secs(3600);

/// Rows of `request_usage`.
const STRIPES: i32 = 16;

/// Locks the records that there are.
pub(crate) async fn lock(
    session: &Session,
    digests: &BTreeSet<&[u8]>,
) -> Result<BTreeMap<Vec<u8>, Record>, Failure> {
    if digests.is_empty() {
        return Ok(BTreeMap::new());
    }
    let digests: Vec<&[u8]> = digests.iter().copied().collect();
    let sql = "SELECT digest, fingerprint, done, answer, until, fence FROM request WHERE digest = ANY ($1)
               ORDER BY digest FOR UPDATE";
    let rows = session.query(sql, &[&digests]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, read(row)?))).collect()
}

fn read(row: &Columns) -> Result<Record, Failure> {
    let damaged =
        |problem: &str| Failure::Damaged { what: "record of a request", problem: problem.to_owned() };
    let fingerprint: &[u8] = row.try_get(1)?;
    let fingerprint = fingerprint.try_into().map_err(|_| damaged("its fingerprint has another length"))?;
    let state = if row.try_get(2)? {
        State::Done(row.try_get::<_, Option<&[u8]>>(3)?.map(Bytes::copy_from_slice))
    } else {
        State::InFlight
    };
    Ok(Record {
        fingerprint: Fingerprint::from_bytes(fingerprint),
        state,
        until: timestamp(row.try_get(4)?),
        fence: row.try_get::<_, i64>(5)?.cast_unsigned(),
    })
}

/// How much is kept.
pub(crate) async fn usage(session: &Session) -> Result<Usage, Failure> {
    let sql = "SELECT sum(records)::int8, sum(answer_bytes)::int8 FROM request_usage";
    let row = session.one(sql, &[]).await?;
    let count = |at| Ok::<_, Failure>(row.try_get::<_, Option<i64>>(at)?.unwrap_or(0).max(0).cast_unsigned());
    Ok(Usage { records: count(0)?, answer_bytes: count(1)? })
}

fn answer_bytes(record: Option<&Record>) -> i64 {
    match record.map(|record| &record.state) {
        Some(State::Done(Some(answer))) => i64::try_from(answer.len()).unwrap_or(i64::MAX),
        _ => 0,
    }
}

/// Writes `record` in the place of the one that was `before`, which is locked.
async fn write(
    session: &Session,
    digest: &[u8],
    record: &Record,
    before: Option<&Record>,
) -> Result<(), Failure> {
    let (done, answer) = match &record.state {
        State::InFlight => (false, None),
        State::Done(answer) => (true, answer.as_deref()),
    };
    let (fingerprint, fence) = (record.fingerprint.to_bytes(), record.fence.cast_signed());
    let sql = "INSERT INTO request (digest, fingerprint, done, answer, until, fence) VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (digest) DO UPDATE SET fingerprint = excluded.fingerprint, done = excluded.done,
                   answer = excluded.answer, until = excluded.until, fence = excluded.fence";
    let until = moment(record.until);
    session.run(sql, &[&digest, &&fingerprint[..], &done, &answer, &until, &fence]).await?;
    let bytes = answer_bytes(Some(record)) - answer_bytes(before);
    count(session, digest, 0, bytes).await
}

/// Adds to what is counted.
async fn count(session: &Session, digest: &[u8], records: i64, bytes: i64) -> Result<(), Failure> {
    if records == 0 && bytes == 0 {
        return Ok(());
    }
    let stripe = i32::from(digest.first().copied().unwrap_or_default()) % STRIPES;
    let sql =
        "UPDATE request_usage SET records = records + $2, answer_bytes = answer_bytes + $3 WHERE stripe = $1";
    session.run(sql, &[&stripe, &records, &bytes]).await.map(|_| ())
}

/// Keeps the answer of a request that was checked.
pub(crate) async fn complete(
    session: &Session,
    facts: &Facts,
    digest: &[u8],
    fence: u64,
    answer: Option<Bytes>,
    kept: Duration,
) -> Result<(), Failure> {
    let has_room =
        |bytes: usize| facts.room.is_some_and(|(bounds, usage)| bounds.has_room(usage, bytes as u64));
    let answer = answer.filter(|answer| has_room(answer.len()));
    let before = facts.requests.get(digest);
    match record::complete(before, fence, answer, timestamp(facts.now), kept) {
        Ok(Some(record)) => write(session, digest, &record, before).await,
        Ok(None) | Err(Lost) => Ok(()),
    }
}

/// What is asked of a record by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask {
    Begin { fingerprint: Fingerprint, time: Duration },
    Extend { fence: u64, time: Duration },
    Abandon { fence: u64 },
}

/// One of them, as a transaction.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) digest: Vec<u8>,
    pub(crate) ask: Ask,
    pub(crate) bounds: Bounds,
}

/// Why a record was not what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAsked {
    Lost,
    Full(Full),
}

impl Work for Asking {
    /// A decision, of a request that was to begin.
    type Answer = Result<Option<Decision>, NotAsked>;

    const SYNC: SyncPoint = SyncPoint::First;

    fn keeps_structure(&self) -> Option<i32> {
        None
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<Self::Answer>, Failure> {
        let digests = [&self.digest[..]].into();
        let before = lock(session, &digests).await?.remove(&self.digest);
        match self.ask {
            Ask::Begin { fingerprint, time } => self.begin(session, before, fingerprint, time).await,
            Ask::Extend { fence, time } => {
                let now = crate::commit::now(session).await?;
                let record = record::extend(before.as_ref(), fence, timestamp(now), time);
                self.keep(session, before.as_ref(), record).await
            }
            Ask::Abandon { fence } => {
                let now = crate::commit::now(session).await?;
                let record = record::abandon(before.as_ref(), fence, timestamp(now));
                self.keep(session, before.as_ref(), record).await
            }
        }
    }
}

impl Asking {
    async fn keep(
        &self,
        session: &Session,
        before: Option<&Record>,
        record: Result<Record, Lost>,
    ) -> Result<Ended<<Self as Work>::Answer>, Failure> {
        match record {
            Ok(record) => {
                write(session, &self.digest, &record, before).await?;
                Ok(Ended::Commit(Ok(None)))
            }
            Err(Lost) => Ok(Ended::Rollback(Err(NotAsked::Lost))),
        }
    }

    async fn begin(
        &self,
        session: &Session,
        mut before: Option<Record>,
        fingerprint: Fingerprint,
        time: Duration,
    ) -> Result<Ended<<Self as Work>::Answer>, Failure> {
        if before.is_none() {
            if let Err(full) = self.bounds.admit(usage(session).await?) {
                return Ok(Ended::Rollback(Err(NotAsked::Full(full))));
            }
            // A place of its own, over from the beginning. Who finds one there has waited for it, and asks it.
            let sql = "INSERT INTO request (digest, fingerprint, done, answer, until, fence)
                       VALUES ($1, $2, false, NULL, 0, 0) ON CONFLICT (digest) DO NOTHING";
            let nothing = fingerprint.to_bytes();
            if session.run(sql, &[&self.digest, &&nothing[..]]).await? == 1 {
                count(session, &self.digest, 1, 0).await?;
            }
            let digests = [&self.digest[..]].into();
            before = lock(session, &digests).await?.remove(&self.digest);
        }
        let fence: i64 = session.one("SELECT nextval('fence')", &[]).await?.try_get(0)?;
        let now: Moment = crate::commit::now(session).await?;
        let (decision, record) =
            record::begin(before.as_ref(), fingerprint, timestamp(now), time, fence.cast_unsigned());
        match record {
            Some(record) => {
                write(session, &self.digest, &record, before.as_ref()).await?;
                Ok(Ended::Commit(Ok(Some(decision))))
            }
            None => Ok(Ended::Rollback(Ok(Some(decision)))),
        }
    }
}

/// Forgets records that are over for long, up to a step of them; how many.
pub(crate) async fn forget(session: &Session, now: Moment, step: i64) -> Result<u64, Failure> {
    let over = now.saturating_sub(crate::moment::span(KEPT_OVER));
    let sql = "DELETE FROM request WHERE digest = ANY (ARRAY(
                   SELECT digest FROM request WHERE until <= $1 ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED))
               RETURNING digest, coalesce(length(answer), 0)::int8";
    let gone = session.query(sql, &[&over, &step]).await?;
    let mut stripes: BTreeMap<i32, (Vec<u8>, i64, i64)> = BTreeMap::new();
    for row in &gone {
        let digest: Vec<u8> = row.try_get(0)?;
        let stripe = i32::from(digest.first().copied().unwrap_or_default()) % STRIPES;
        let (_, records, bytes) = stripes.entry(stripe).or_insert((digest, 0, 0));
        (*records, *bytes) = (*records - 1, *bytes - row.try_get::<_, i64>(1)?);
    }
    for (digest, records, bytes) in stripes.values() {
        count(session, digest, *records, *bytes).await?;
    }
    Ok(gone.len() as u64)
}
