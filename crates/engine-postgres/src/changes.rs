//! What a transaction does to messages, gathered first and then done with one statement for each kind.

use std::collections::BTreeSet;

use crate::failure::Failure;
use crate::moment::Moment;
use crate::row::Row;
use crate::session::Session;

/// Changes of rows that the transaction has locked, and rows that are new.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Messages that are new, and what they say.
    pub(crate) stored: Vec<(Row, Vec<u8>)>,
    /// Messages that go to another place: from where, and as what.
    pub(crate) moved: Vec<((i32, i64), Row)>,
    /// Messages that are given back, each at its place.
    pub(crate) returned: Vec<Row>,
    /// Messages that are gone.
    pub(crate) removed: Vec<(i32, i64)>,
    pub(crate) settled: Vec<Settled>,
    /// Groups of which one came or went.
    pub(crate) groups: BTreeSet<(i32, Vec<u8>)>,
    /// When something of this becomes due.
    pub(crate) next: Option<Moment>,
}

/// A settlement to be remembered.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) queue: i32,
    pub(crate) delivery: i64,
    pub(crate) secret: i64,
    pub(crate) settlement: Vec<u8>,
}

impl Changes {
    pub(crate) fn store(&mut self, row: Row, content: Vec<u8>) {
        self.enters(&row);
        self.stored.push((row, content));
    }

    /// Has the message `from` become `to`, which stands elsewhere.
    pub(crate) fn relocate(&mut self, from: &Row, to: Row) {
        self.leaves(from);
        self.enters(&to);
        self.moved.push(((from.queue, from.position), to));
    }

    pub(crate) fn give_back(&mut self, row: Row) {
        self.wait(&row);
        self.returned.push(row);
    }

    pub(crate) fn remove(&mut self, row: &Row) {
        self.leaves(row);
        self.removed.push((row.queue, row.position));
    }

    fn leaves(&mut self, row: &Row) {
        self.groups.extend(row.member.clone().map(|member| (row.queue, member)));
    }

    fn enters(&mut self, row: &Row) {
        self.groups.extend(row.member.clone().map(|member| (row.queue, member)));
        self.wait(row);
    }

    fn wait(&mut self, row: &Row) {
        let moments = [Some(row.due), row.ends, self.next];
        self.next = moments.into_iter().flatten().min();
    }

    /// Does all of it. The statements go to the server without waiting for each other's answers: none of them touches
    /// a row of another, but for the last.
    pub(crate) async fn apply(&self, session: &Session, now: Moment) -> Result<(), Failure> {
        tokio::try_join!(
            biased;
            self.remove_all(session),
            self.give_back_all(session),
            self.move_all(session),
            self.store_all(session),
            self.remember(session, now),
        )?;
        self.promote(session, now).await
    }

    async fn remove_all(&self, session: &Session) -> Result<(), Failure> {
        if self.removed.is_empty() {
            return Ok(());
        }
        let (queues, positions): (Vec<_>, Vec<_>) = self.removed.iter().copied().unzip();
        let sql = "WITH gone AS (DELETE FROM content AS c USING unnest($1::int4[], $2::int8[]) AS p (queue, position)
                       WHERE c.queue = p.queue AND c.position = p.position)
                   DELETE FROM message AS m USING unnest($1::int4[], $2::int8[]) AS p (queue, position)
                   WHERE m.queue = p.queue AND m.position = p.position";
        expect(session.run(sql, &[&queues, &positions]).await?, self.removed.len())
    }

    async fn remember(&self, session: &Session, now: Moment) -> Result<(), Failure> {
        let settled = &self.settled;
        if settled.is_empty() {
            return Ok(());
        }
        let queues: Vec<_> = settled.iter().map(|settled| settled.queue).collect();
        let deliveries: Vec<_> = settled.iter().map(|settled| settled.delivery).collect();
        let secrets: Vec<_> = settled.iter().map(|settled| settled.secret).collect();
        let texts: Vec<_> = settled.iter().map(|settled| &settled.settlement[..]).collect();
        let sql = "INSERT INTO settled (queue, delivery, secret, settlement, at)
                   SELECT s.*, $5 FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::bytea[]) AS s";
        session.run(sql, &[&queues, &deliveries, &secrets, &texts, &now]).await.map(|_| ())
    }

    async fn give_back_all(&self, session: &Session) -> Result<(), Failure> {
        if self.returned.is_empty() {
            return Ok(());
        }
        let rows = &self.returned;
        let sql =
            "UPDATE message AS m SET state = n.state, due = n.due, ends = n.ends, deliveries = n.deliveries,
                       delivery = NULL, secret = NULL, consumer = NULL, until = NULL
                   FROM unnest($1::int4[], $2::int8[], $3::int2[], $4::int8[], $5::int8[], $6::int4[])
                       AS n (queue, position, state, due, ends, deliveries)
                   WHERE m.queue = n.queue AND m.position = n.position";
        let queues: Vec<_> = rows.iter().map(|row| row.queue).collect();
        let positions: Vec<_> = rows.iter().map(|row| row.position).collect();
        let states: Vec<_> = rows.iter().map(|row| row.state).collect();
        let dues: Vec<_> = rows.iter().map(|row| row.due).collect();
        let ends: Vec<_> = rows.iter().map(|row| row.ends).collect();
        let deliveries: Vec<_> = rows.iter().map(|row| row.deliveries).collect();
        let done = session.run(sql, &[&queues, &positions, &states, &dues, &ends, &deliveries]).await?;
        expect(done, rows.len())
    }

    async fn move_all(&self, session: &Session) -> Result<(), Failure> {
        if self.moved.is_empty() {
            return Ok(());
        }
        let (places, rows): (Vec<_>, Vec<_>) = self.moved.iter().map(|(from, to)| (*from, to)).unzip();
        let (queues, positions): (Vec<_>, Vec<_>) = places.into_iter().unzip();
        let to_queues: Vec<_> = rows.iter().map(|row| row.queue).collect();
        let to_positions: Vec<_> = rows.iter().map(|row| row.position).collect();
        let states: Vec<_> = rows.iter().map(|row| row.state).collect();
        let priorities: Vec<_> = rows.iter().map(|row| row.priority).collect();
        let moments: Vec<_> = rows.iter().map(|row| row.due).collect();
        let ends: Vec<_> = rows.iter().map(|row| row.ends).collect();
        let members: Vec<_> = rows.iter().map(|row| row.member.as_deref()).collect();
        let dead: Vec<_> = rows.iter().map(|row| row.dead.as_deref()).collect();
        let sql = "WITH said AS (
                       UPDATE content AS c SET queue = n.to_queue, position = n.to_position
                       FROM unnest($1::int4[], $2::int8[], $3::int4[], $4::int8[])
                           AS n (queue, position, to_queue, to_position)
                       WHERE c.queue = n.queue AND c.position = n.position)
                   UPDATE message AS m SET queue = n.to_queue, position = n.to_position, state = n.state,
                       priority = n.priority, deliveries = 0, stored_at = n.at, due = n.at, first_due = n.at,
                       ends = n.ends, member = n.member, dead = n.dead,
                       delivery = NULL, secret = NULL, consumer = NULL, until = NULL
                   FROM unnest($1::int4[], $2::int8[], $3::int4[], $4::int8[], $5::int2[], $6::int2[], $7::int8[],
                               $8::int8[], $9::bytea[], $10::text[])
                       AS n (queue, position, to_queue, to_position, state, priority, at, ends, member, dead)
                   WHERE m.queue = n.queue AND m.position = n.position";
        let values: crate::session::Values<'_> = &[
            &queues,
            &positions,
            &to_queues,
            &to_positions,
            &states,
            &priorities,
            &moments,
            &ends,
            &members,
            &dead,
        ];
        expect(session.run(sql, values).await?, rows.len())
    }

    async fn store_all(&self, session: &Session) -> Result<(), Failure> {
        if self.stored.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = self.stored.iter().map(|(row, _)| row).collect();
        let contents: Vec<_> = self.stored.iter().map(|(_, content)| &content[..]).collect();
        let queues: Vec<_> = rows.iter().map(|row| row.queue).collect();
        let positions: Vec<_> = rows.iter().map(|row| row.position).collect();
        let states: Vec<_> = rows.iter().map(|row| row.state).collect();
        let priorities: Vec<_> = rows.iter().map(|row| row.priority).collect();
        let bytes: Vec<_> = rows.iter().map(|row| row.bytes).collect();
        let stored: Vec<_> = rows.iter().map(|row| row.stored_at).collect();
        let dues: Vec<_> = rows.iter().map(|row| row.due).collect();
        let expires: Vec<_> = rows.iter().map(|row| row.expires).collect();
        let ends: Vec<_> = rows.iter().map(|row| row.ends).collect();
        let keys: Vec<_> = rows.iter().map(|row| row.key.as_deref()).collect();
        let members: Vec<_> = rows.iter().map(|row| row.member.as_deref()).collect();
        let dead: Vec<_> = rows.iter().map(|row| row.dead.as_deref()).collect();
        let sql = "WITH said AS (
                       INSERT INTO content (queue, position, content)
                       SELECT * FROM unnest($1::int4[], $2::int8[], $13::bytea[]))
                   INSERT INTO message (queue, position, state, priority, deliveries, bytes, stored_at, due, first_due,
                                        expires, ends, key, member, dead)
                   SELECT n.queue, n.position, n.state, n.priority, 0, n.bytes, n.stored_at, n.due, n.due, n.expires,
                          n.ends, n.key, n.member, n.dead
                   FROM unnest($1::int4[], $2::int8[], $3::int2[], $4::int2[], $5::int8[], $6::int8[], $7::int8[],
                               $8::int8[], $9::int8[], $10::bytea[], $11::bytea[], $12::text[])
                       AS n (queue, position, state, priority, bytes, stored_at, due, expires, ends, key, member, dead)";
        let values: crate::session::Values<'_> = &[
            &queues,
            &positions,
            &states,
            &priorities,
            &bytes,
            &stored,
            &dues,
            &expires,
            &ends,
            &keys,
            &members,
            &dead,
            &contents,
        ];
        expect(session.run(sql, values).await?, rows.len())
    }

    /// Has the first of each group that changed wait for its time alone.
    async fn promote(&self, session: &Session, now: Moment) -> Result<(), Failure> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let (queues, members): (Vec<_>, Vec<_>) =
            self.groups.iter().map(|(queue, member)| (*queue, &member[..])).unzip();
        let sql = "UPDATE message AS m SET state = CASE WHEN m.due <= $3 THEN 0 ELSE 1 END
                   FROM unnest($1::int4[], $2::bytea[]) AS g (queue, member),
                        LATERAL (SELECT h.position FROM message AS h WHERE h.queue = g.queue AND h.member = g.member
                                 ORDER BY h.queue, h.member, h.position LIMIT 1) AS first
                   WHERE m.queue = g.queue AND m.position = first.position AND m.state = 3";
        session.run(sql, &[&queues, &members, &now]).await.map(|_| ())
    }
}

/// Every row that is changed was locked before; another number of them means that it was not.
fn expect(done: u64, rows: usize) -> Result<(), Failure> {
    if done == rows as u64 {
        return Ok(());
    }
    let problem = format!("{done} rows of {rows} were there to be changed");
    Err(Failure::Damaged { what: "queue", problem })
}
