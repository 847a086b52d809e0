//! What a commit has to know, read under locks so that it stays true until its end.

use std::collections::{BTreeMap, BTreeSet};

use intertie_idempotency::Bounds;

use super::change::Change;
use super::facts::{Facts, Remembered};
use crate::failure::Failure;
use crate::moment::{Moment, later, span};
use crate::queues::Queues;
use crate::requests;
use crate::row::{Row, columns};
use crate::schema::lock_key;
use crate::session::Session;

/// Locks and reads all that `changes` are about.
pub(crate) async fn look(
    session: &Session,
    changes: &[Change],
    locks: i32,
    bounds: Bounds,
) -> Result<Facts, Failure> {
    let queues = Queues::named(session, &changes.iter().flat_map(Change::queues).collect()).await?;
    let places: BTreeSet<(i32, i64)> = changes
        .iter()
        .filter_map(Change::place)
        .filter_map(|(queue, position)| queues.get(queue).map(|queue| (queue.number, position)))
        .collect();
    let bounded = lock_room(session, changes, &queues, locks).await?;
    lock_groups(session, changes, &queues, &places, locks).await?;
    let rows = lock_rows(session, &places).await?;
    let digests: BTreeSet<&[u8]> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Complete { digest, .. } => Some(&digest[..]),
            _ => None,
        })
        .collect();
    let requests = requests::lock(session, &digests).await?;
    let room = if requests.is_empty() { None } else { Some((bounds, requests::usage(session).await?)) };
    let now = now(session).await?;
    let mut facts = Facts { queues, rows, requests, room, now, ..Facts::default() };
    facts.remembered = remembered(session, changes, &facts).await?;
    facts.depths = depths(session, &bounded).await?;
    Ok(facts)
}

/// The time by the clock of the database.
pub(crate) async fn now(session: &Session) -> Result<Moment, Failure> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 * 1000";
    Ok(session.one(sql, &[]).await?.try_get(0)?)
}

/// Has others that would fill the same queues wait; those queues, and what bounds them.
async fn lock_room(
    session: &Session,
    changes: &[Change],
    queues: &Queues,
    locks: i32,
) -> Result<BTreeMap<i32, u64>, Failure> {
    let filled = changes.iter().filter_map(|change| match change {
        Change::Send { queue, .. } | Change::Redrive { to: queue, .. } => queues.get(queue),
        _ => None,
    });
    let bounded: BTreeMap<i32, u64> =
        filled.filter_map(|queue| queue.spec.depth_max.map(|most| (queue.number, most))).collect();
    if !bounded.is_empty() {
        let numbers: Vec<i32> = bounded.keys().copied().collect();
        let sql = "SELECT pg_advisory_xact_lock($1, number) FROM unnest($2::int4[]) AS number";
        session.run(sql, &[&locks, &numbers]).await?;
    }
    Ok(bounded)
}

/// The lock of one group.
pub(crate) fn group_lock(locks: i32, queue: i32, member: &[u8]) -> i64 {
    lock_key(&[b"group", &locks.to_be_bytes(), &queue.to_be_bytes(), member])
}

/// Has others wait that let messages enter or leave the same groups: who is first in a group is decided by one at a
/// time.
async fn lock_groups(
    session: &Session,
    changes: &[Change],
    queues: &Queues,
    places: &BTreeSet<(i32, i64)>,
    locks: i32,
) -> Result<(), Failure> {
    let mut groups: BTreeSet<i64> = BTreeSet::new();
    for change in changes {
        let (queue, key) = match change {
            Change::Send { queue, draft } => (queue, &draft.key),
            Change::Bury { queue, key, .. } => (queue, key),
            _ => continue,
        };
        if let (Some(queue), Some(key)) = (queues.get(queue).filter(|queue| queue.spec.groups), key) {
            groups.insert(group_lock(locks, queue.number, key));
        }
    }
    if !places.is_empty() && queues.iter().any(|queue| queue.spec.groups) {
        // A message is of one group as long as it is in its queue, so that it can be asked before it is locked.
        let (numbers, positions): (Vec<_>, Vec<_>) = places.iter().copied().unzip();
        let sql = "SELECT m.queue, m.key, m.member FROM unnest($1::int4[], $2::int8[]) AS p (queue, position)
                   JOIN message AS m ON m.queue = p.queue AND m.position = p.position WHERE m.key IS NOT NULL";
        for found in session.query(sql, &[&numbers, &positions]).await? {
            let (number, key): (i32, &[u8]) = (found.try_get(0)?, found.try_get(1)?);
            if let Some(member) = found.try_get::<_, Option<&[u8]>>(2)? {
                groups.insert(group_lock(locks, number, member));
            }
            let Some(queue) = queues.numbered_as(number) else { continue };
            let targets = changes.iter().filter_map(|change| match change {
                Change::Redrive { to, .. } => queues.get(to),
                _ => None,
            });
            for target in targets.chain([queues.target(queue)]).filter(|target| target.spec.groups) {
                groups.insert(group_lock(locks, target.number, key));
            }
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    let groups: Vec<i64> = groups.into_iter().collect();
    session
        .run("SELECT pg_advisory_xact_lock(key) FROM unnest($1::int8[]) AS key", &[&groups])
        .await
        .map(|_| ())
}

/// Locks the messages at `places`: those that there still are when nobody else has them locked.
pub(crate) async fn lock_rows(
    session: &Session,
    places: &BTreeSet<(i32, i64)>,
) -> Result<BTreeMap<(i32, i64), Row>, Failure> {
    if places.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (numbers, positions): (Vec<_>, Vec<_>) = places.iter().copied().unzip();
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM unnest($1::int4[], $2::int8[]) AS p (queue, position)
          JOIN message AS m ON m.queue = p.queue AND m.position = p.position
          ORDER BY m.queue, m.position FOR UPDATE OF m"
    );
    let rows = session.query(sql, &[&numbers, &positions]).await?;
    rows.iter().map(|columns| Row::read(columns).map(|row| ((row.queue, row.position), row))).collect()
}

/// Settlements of leases that do not stand, which may have been done before.
async fn remembered(
    session: &Session,
    changes: &[Change],
    facts: &Facts,
) -> Result<BTreeMap<(i32, i64), Remembered>, Failure> {
    let ended: BTreeSet<(i32, i64)> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Settle { queue, lease: Some(lease), .. } => {
                let queue = facts.queues.get(queue)?;
                facts.live(queue, *lease).is_none().then_some((queue.number, lease.delivery))
            }
            _ => None,
        })
        .collect();
    let mut remembered = BTreeMap::new();
    for (number, delivery) in ended {
        let Some(queue) = facts.queues.numbered_as(number) else { continue };
        let most = i64::from(queue.spec.settlements_max.get());
        // Those that came later are counted no further than to the one that pushes it out.
        let sql = "SELECT s.secret, s.settlement, s.at,
                          (SELECT count(*) FROM (SELECT 1 FROM settled AS l WHERE l.queue = s.queue
                               AND (l.at, l.delivery) > (s.at, s.delivery) LIMIT $3) AS later)
                   FROM settled AS s WHERE s.queue = $1 AND s.delivery = $2";
        if let Some(row) = session.query(sql, &[&number, &delivery, &most]).await?.first() {
            let is_pushed_out = row.try_get::<_, i64>(3)? >= most;
            let (secret, settlement, at) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if !is_pushed_out {
                remembered.insert((number, delivery), Remembered { secret, settlement, at });
            }
        }
    }
    Ok(remembered)
}

/// How much those queues hold, counted no further than to their bound.
async fn depths(session: &Session, bounded: &BTreeMap<i32, u64>) -> Result<BTreeMap<i32, u64>, Failure> {
    let mut depths = BTreeMap::new();
    for (number, most) in bounded {
        let most = i64::try_from(*most).unwrap_or(i64::MAX);
        let sql = "SELECT count(*) FROM (SELECT 1 FROM message WHERE queue = $1 LIMIT $2) AS held";
        let count: i64 = session.one(sql, &[number, &most]).await?.try_get(0)?;
        depths.insert(*number, count.cast_unsigned());
    }
    Ok(depths)
}

/// Writes down marks and ids. Of two that write the same, the second waits for what becomes of the first, and finds
/// here that it was not the first.
pub(crate) async fn remember(
    session: &Session,
    changes: &[Change],
    facts: &mut Facts,
) -> Result<(), Failure> {
    mark(session, changes, facts).await?;
    let cancelled: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Cancel { queue, position } => Some((facts.queues.get(queue)?.number, *position)),
            _ => None,
        })
        .filter(|place| facts.rows.contains_key(place))
        .collect();
    if !cancelled.is_empty() {
        let (numbers, positions): (Vec<_>, Vec<_>) = cancelled.into_iter().unzip();
        let sql = "DELETE FROM seen AS s USING unnest($1::int4[], $2::int8[]) AS p (queue, position)
                   WHERE s.queue = p.queue AND s.position = p.position";
        session.run(sql, &[&numbers, &positions]).await?;
    }
    let count = changes.iter().filter(|change| facts.needs_place(change)).count();
    let mut positions = positions(session, count).await?.into_iter();
    for (at, change) in changes.iter().enumerate() {
        if facts.needs_place(change)
            && let Some(position) = positions.next()
        {
            facts.places.insert(at, position);
        }
    }
    see(session, changes, facts).await
}

/// So many positions that nothing has, in their order.
pub(crate) async fn positions(session: &Session, count: usize) -> Result<Vec<i64>, Failure> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    let rows = session.query("SELECT nextval('position') FROM generate_series(1, $1)", &[&count]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn mark(session: &Session, changes: &[Change], facts: &mut Facts) -> Result<(), Failure> {
    let mut marks: BTreeMap<(&str, &[u8]), Moment> = BTreeMap::new();
    for change in changes {
        if let Change::Mark { inbox, digest, kept } = change {
            let until = later(facts.now, *kept);
            marks.entry((inbox.as_str(), &digest[..])).or_insert(until);
        }
    }
    if marks.is_empty() {
        return Ok(());
    }
    let (keys, untils): (Vec<_>, Vec<_>) = marks.into_iter().unzip();
    let (inboxes, digests): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
    let sql = "INSERT INTO mark AS m (inbox, digest, until)
               SELECT * FROM unnest($1::text[], $2::bytea[], $3::int8[])
               ON CONFLICT (inbox, digest) DO UPDATE SET until = excluded.until WHERE m.until <= $4
               RETURNING m.inbox, m.digest";
    for row in session.query(sql, &[&inboxes, &digests, &untils, &facts.now]).await? {
        facts.marked.insert((row.try_get(0)?, row.try_get(1)?));
    }
    Ok(())
}

async fn see(session: &Session, changes: &[Change], facts: &mut Facts) -> Result<(), Failure> {
    // The first of each id in this commit; the others are duplicates of it whatever becomes of it.
    let mut ids: BTreeMap<i32, (Moment, BTreeMap<&[u8], i64>)> = BTreeMap::new();
    for (at, change) in changes.iter().enumerate() {
        let Change::Send { queue, draft } = change else { continue };
        let Some(queue) = facts.queues.get(queue) else { continue };
        let Some(window) = queue.spec.deduplication_window else { continue };
        let over = facts.now.saturating_sub(span(window));
        let (_, ids) = ids.entry(queue.number).or_insert((over, BTreeMap::new()));
        ids.entry(&draft.id[..]).or_insert(facts.places[&at]);
    }
    for (number, (over, ids)) in ids {
        let (digests, positions): (Vec<_>, Vec<_>) = ids.into_iter().unzip();
        // What is there already is locked, also where it stays: nobody forgets it meanwhile.
        let sql = "INSERT INTO seen AS s (queue, digest, position, at)
                   SELECT $1, n.digest, n.position, $4 FROM unnest($2::bytea[], $3::int8[]) AS n (digest, position)
                   ON CONFLICT (queue, digest) DO UPDATE SET position = excluded.position, at = excluded.at
                   WHERE s.at <= $5";
        session.run(sql, &[&number, &digests, &positions, &facts.now, &over]).await?;
        let sql = "SELECT digest, position FROM seen WHERE queue = $1 AND digest = ANY ($2)";
        for row in session.query(sql, &[&number, &digests]).await? {
            facts.seen.insert((number, row.try_get(0)?), row.try_get(1)?);
        }
    }
    Ok(())
}
