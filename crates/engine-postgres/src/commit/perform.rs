//! Does a commit that was looked at.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use intertie_messaging::Durability;
use intertie_messaging::commit::{Outcome, Receipt};
use intertie_messaging::queue::{Cause, DeadLetter, Settlement};

use super::change::{Change, Draft};
use super::facts::{Facts, written};
use crate::changes::{Changes, Settled};
use crate::failure::Failure;
use crate::moment::{Moment, later, moment};
use crate::queues::Known;
use crate::requests;
use crate::row::{BEHIND, Death, READY, Row, dead_text, ends, waiting};
use crate::session::Session;

/// Does all `changes`; their outcomes, and when the first of what they brought is due.
pub(crate) async fn perform(
    session: &Session,
    changes: &[Change],
    facts: &Facts,
    durability: Durability,
) -> Result<(Vec<Outcome>, Option<Moment>), Failure> {
    let receipt = |position: i64| {
        let position = Some(position.cast_unsigned());
        Receipt { partition: 0, position, durability }
    };
    let (mut outcomes, mut done) = (Vec::with_capacity(changes.len()), Changes::default());
    let (mut used, mut settled, mut completed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (at, change) in changes.iter().enumerate() {
        let outcome = match change {
            Change::Send { queue, draft } => {
                let queue = found(facts.queues.get(queue))?;
                used.insert(queue.number);
                match facts.duplicate_of(at, queue, draft) {
                    Some(first) => Outcome::Duplicate(receipt(first)),
                    None => {
                        let position = place(facts, at)?;
                        done.store(sent(queue, draft, position, facts.now), draft.content.clone());
                        Outcome::Stored(receipt(position))
                    }
                }
            }
            Change::Cancel { queue, position } => {
                let queue = found(facts.queues.get(queue))?;
                done.remove(found(facts.waiting(queue, *position))?);
                Outcome::Done
            }
            Change::Settle { queue, lease, settlement } => {
                let queue = found(facts.queues.get(queue))?;
                used.insert(queue.number);
                let row = found(lease.and_then(|lease| facts.live(queue, lease)))?;
                // The same settlement twice in one commit is done once.
                if settled.insert((queue.number, row.position)) {
                    settle(facts, &mut done, at, queue, row, settlement)?;
                }
                Outcome::Done
            }
            Change::Redrive { queue, position, to } => {
                let (queue, to) = (found(facts.queues.get(queue))?, found(facts.queues.get(to))?);
                used.insert(to.number);
                let row = found(facts.waiting(queue, *position))?;
                let letter = found(row.dead_letter()?)?;
                let letter = DeadLetter { redrives: letter.redrives.saturating_add(1), ..letter };
                let position = place(facts, at)?;
                let mut moved = row.clone().moved(to, position, &letter, facts.now);
                moved.priority = moved.priority.min(i16::from(to.spec.priorities.get()) - 1);
                done.relocate(row, moved);
                Outcome::Stored(receipt(position))
            }
            Change::Bury { queue, content, key, letter } => {
                let queue = found(facts.queues.get(queue))?;
                used.insert(queue.number);
                let position = place(facts, at)?;
                done.store(buried(queue, content, key.clone(), letter, position, facts.now), content.clone());
                Outcome::Stored(receipt(position))
            }
            Change::Mark { .. } => Outcome::Done,
            Change::Complete { digest, fence, answer, kept } => {
                if completed.insert(digest) {
                    let answer = answer.clone();
                    requests::complete(session, facts, digest, *fence, answer, *kept).await?;
                }
                Outcome::Done
            }
            Change::Unsupported => return Err(missing()),
        };
        outcomes.push(outcome);
    }
    done.apply(session, facts.now).await?;
    touch(session, facts, &used).await?;
    Ok((outcomes, done.next))
}

/// What was checked is there, under locks.
fn found<T>(checked: Option<T>) -> Result<T, Failure> {
    checked.ok_or_else(missing)
}

fn missing() -> Failure {
    Failure::Damaged { what: "commit", problem: "what was checked is not there".to_owned() }
}

fn place(facts: &Facts, at: usize) -> Result<i64, Failure> {
    found(facts.places.get(&at).copied())
}

fn sent(queue: &Known, draft: &Draft, position: i64, now: Moment) -> Row {
    let due = moment(draft.due.moment(crate::moment::timestamp(now)));
    let row = new(queue, draft.content.len(), draft.key.clone(), position, now);
    let state = if row.member.is_some() { BEHIND } else { waiting(due, now) };
    let row =
        Row { state, priority: draft.priority.into(), due, first_due: due, expires: draft.expires, ..row };
    Row { ends: ends(&queue.spec, &row), ..row }
}

fn buried(
    queue: &Known,
    content: &[u8],
    key: Option<Vec<u8>>,
    letter: &DeadLetter,
    position: i64,
    now: Moment,
) -> Row {
    let row = Row { dead: Some(dead_text(letter)), ..new(queue, content.len(), key, position, now) };
    Row { ends: ends(&queue.spec, &row), ..row }
}

/// A message that is due at once.
fn new(queue: &Known, bytes: usize, key: Option<Vec<u8>>, position: i64, now: Moment) -> Row {
    let member = key.clone().filter(|_| queue.spec.groups);
    Row {
        queue: queue.number,
        position,
        state: if member.is_some() { BEHIND } else { READY },
        priority: 0,
        deliveries: 0,
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        stored_at: now,
        due: now,
        first_due: now,
        expires: None,
        ends: None,
        key,
        member,
        dead: None,
        held: None,
    }
}

fn settle(
    facts: &Facts,
    done: &mut Changes,
    at: usize,
    queue: &Known,
    row: &Row,
    settlement: &Settlement,
) -> Result<(), Failure> {
    let now = facts.now;
    let held = found(row.held.as_ref())?;
    if !queue.spec.settlement_window.is_zero() {
        let (delivery, secret) = (held.delivery, held.secret);
        done.settled.push(Settled { queue: queue.number, delivery, secret, settlement: written(settlement) });
    }
    let mut die = |cause, reason| {
        let target = facts.queues.target(queue);
        let dead = row.clone().dead(queue, target, Death { cause, reason, at: now }, place(facts, at)?)?;
        done.relocate(row, dead);
        Ok(())
    };
    match settlement {
        Settlement::Ack => done.remove(row),
        Settlement::Release => {
            let deliveries = row.deliveries - 1;
            done.give_back(Row { deliveries, ..row.clone() }.given_back(&queue.spec, now, now));
        }
        Settlement::Retry { .. } if row.is_last(queue) => return die(Cause::MaxDeliveries, None),
        Settlement::Retry { after } => {
            let wait = after.unwrap_or_else(|| redelivery(queue, row, held.secret));
            done.give_back(row.clone().given_back(&queue.spec, later(now, wait), now));
        }
        Settlement::DeadLetter { cause, reason } => {
            return die(*cause, Some(DeadLetter::kept_reason(reason.clone())));
        }
    }
    Ok(())
}

/// The wait before the next delivery. Its random part is that of the lease, of which nobody has any use from now on.
pub(crate) fn redelivery(queue: &Known, row: &Row, secret: i64) -> Duration {
    let deliveries = u32::try_from(row.deliveries).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    queue.spec.redelivery.wait(deliveries, (secret.cast_unsigned() >> 32) as u32)
}

/// Notes that queues are used which would be removed otherwise.
async fn touch(session: &Session, facts: &Facts, used: &BTreeSet<i32>) -> Result<(), Failure> {
    let mortal: Vec<i32> = used
        .iter()
        .copied()
        .filter(|number| {
            facts.queues.numbered_as(*number).is_some_and(|queue| queue.spec.auto_delete.is_some())
        })
        .collect();
    if mortal.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE queue SET used = greatest(used, $2) WHERE number = ANY ($1)";
    session.run(sql, &[&mortal, &facts.now]).await.map(|_| ())
}
