//! What there is, without changing it.

use std::collections::BTreeSet;

use bytes::Bytes;
use intertie_messaging::queue::{Browse, Browsed, Depth, Page};
use intertie_messaging::{EngineError, Listing, Name, stored};

use crate::commit::now;
use crate::failure::Failure;
use crate::moment::{Moment, timestamp};
use crate::queues::{Queues, not_found, read_name};
use crate::row::{Row, columns, read_dead};
use crate::session::Session;
use crate::transaction::{Ended, SyncPoint, Work};

/// How much a queue holds.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) queue: Name,
}

impl Work for Counting {
    type Answer = Result<Depth, EngineError>;

    const SYNC: SyncPoint = SyncPoint::Lazily;

    fn keeps_structure(&self) -> Option<i32> {
        None
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<Self::Answer>, Failure> {
        let queues = Queues::named(session, &BTreeSet::from([&self.queue])).await?;
        let Some(queue) = queues.get(&self.queue) else {
            return Ok(Ended::Rollback(Err(not_found(session, &self.queue).await?)));
        };
        let now = now(session).await?;
        let sql = "SELECT count(*) FILTER (WHERE state <> 2 AND due <= $2), count(*) FILTER (WHERE state <> 2 AND due > $2),
                          count(*) FILTER (WHERE state = 2), min(due) FILTER (WHERE state <> 2 AND due <= $2),
                          coalesce(sum(bytes), 0)::int8
                   FROM message WHERE queue = $1";
        let row = session.one(sql, &[&queue.number, &now]).await?;
        let count = |at| Ok::<_, Failure>(row.try_get::<_, i64>(at)?.cast_unsigned());
        Ok(Ended::Rollback(Ok(Depth {
            ready: count(0)?,
            delayed: count(1)?,
            in_flight: count(2)?,
            oldest: row.try_get::<_, Option<Moment>>(3)?.map(timestamp),
            bytes: Some(count(4)?),
            // Those that wait at other nodes are not told.
            consumers: None,
        })))
    }
}

/// A page of a queue.
#[derive(Debug)]
pub(crate) struct Browsing {
    pub(crate) browse: Browse,
}

impl Work for Browsing {
    type Answer = Result<Page, EngineError>;

    const SYNC: SyncPoint = SyncPoint::Lazily;

    fn keeps_structure(&self) -> Option<i32> {
        None
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<Self::Answer>, Failure> {
        let browse = &self.browse;
        let queues = Queues::named(session, &BTreeSet::from([&browse.queue])).await?;
        let Some(queue) = queues.get(&browse.queue) else {
            return Ok(Ended::Rollback(Err(not_found(session, &browse.queue).await?)));
        };
        let from = i64::try_from(browse.from).unwrap_or(i64::MAX);
        // Bytes are added up before any content is read; one more tells where the next page begins.
        let sql = concat!(
            "WITH m AS (
                 SELECT p.*, sum(p.bytes) OVER w AS total, row_number() OVER w AS number
                 FROM (SELECT * FROM message WHERE queue = $1 AND position >= $2 ORDER BY queue, position LIMIT $3) AS p
                 WINDOW w AS (ORDER BY p.position))
             SELECT ",
            columns!(),
            ", CASE WHEN m.number = 1 OR (m.total <= $4::int8 AND m.number < $3) THEN c.content END
             FROM m JOIN content AS c ON c.queue = m.queue AND c.position = m.position ORDER BY m.position"
        );
        let most = i64::from(browse.most.get()) + 1;
        let bytes_max = i64::try_from(browse.bytes_max.bytes()).unwrap_or(i64::MAX);
        let mut messages = Vec::new();
        for columns in session.query(sql, &[&queue.number, &from, &most, &bytes_max]).await? {
            let row = Row::read(&columns)?;
            let Some(content) = columns.try_get::<_, Option<&[u8]>>(18)? else {
                let next = Some(row.position.cast_unsigned());
                return Ok(Ended::Rollback(Ok(Page { messages, next })));
            };
            messages.push(browsed(&row, content)?);
        }
        Ok(Ended::Rollback(Ok(Page { messages, next: None })))
    }
}

fn browsed(row: &Row, content: &[u8]) -> Result<Browsed, Failure> {
    Ok(Browsed {
        position: row.position.cast_unsigned(),
        content: stored::read(Bytes::copy_from_slice(content)),
        priority: u8::try_from(row.priority).unwrap_or(u8::MAX),
        deliveries: row.deliveries.cast_unsigned(),
        stored_at: timestamp(row.stored_at),
        due: timestamp(row.due),
        leased_until: row.held.as_ref().map(|held| timestamp(held.until)),
        dead_letter: row.dead.as_deref().map(read_dead).transpose()?.map(Box::new),
    })
}

/// Names of queues.
#[derive(Debug)]
pub(crate) struct ListingNames {
    pub(crate) listing: Listing,
}

impl Work for ListingNames {
    type Answer = Vec<Name>;

    const SYNC: SyncPoint = SyncPoint::Lazily;

    fn keeps_structure(&self) -> Option<i32> {
        None
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<Vec<Name>>, Failure> {
        let after = self.listing.after.as_ref().map_or("", Name::as_str);
        let most = i64::from(self.listing.most.get());
        let sql = "SELECT name FROM queue WHERE name > $1 ORDER BY name LIMIT $2";
        let names = session.query(sql, &[&after, &most]).await?;
        names.iter().map(|row| read_name(row.try_get(0)?)).collect::<Result<_, _>>().map(Ended::Rollback)
    }
}

/// Whether a message was handled.
#[derive(Debug)]
pub(crate) struct Recalling {
    pub(crate) inbox: Name,
    pub(crate) digest: Vec<u8>,
}

impl Work for Recalling {
    type Answer = bool;

    const SYNC: SyncPoint = SyncPoint::Lazily;

    fn keeps_structure(&self) -> Option<i32> {
        None
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<bool>, Failure> {
        let now = now(session).await?;
        let sql = "SELECT 1 FROM mark WHERE inbox = $1 AND digest = $2 AND until > $3";
        let found = session.query(sql, &[&self.inbox.as_str(), &self.digest, &now]).await?;
        Ok(Ended::Rollback(!found.is_empty()))
    }
}
