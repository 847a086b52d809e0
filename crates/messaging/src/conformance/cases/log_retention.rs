use std::num::NonZeroU8;

use intertie_core::envelope::{Data, Envelope};
use intertie_core::quantity::ByteSize;

use super::cases;
use crate::commit::Outcome;
use crate::commit::Refused;
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::topic_trial::TopicTrial;
use crate::conformance::trial::{Trial, event, event_of, id, many, name};
use crate::log::{Cleanup, Record, StartAt, TopicSpec};
use crate::{DeclareError, Durability};

cases!(Log, "retention":
    records_are_kept_for_their_time_and_then_removed,
    the_oldest_records_make_room,
    reading_below_the_first_record_goes_on_with_it,
    lag_counts_what_is_kept,
    compaction_keeps_the_last_record_of_each_key,
    tombstones_are_kept_for_their_time_and_end_their_key,
    an_empty_record_ends_no_key_by_mistake,
    a_topic_grows_and_never_shrinks,
    a_topic_that_is_declared_again_is_left_alone,
    what_can_not_be_replicated_is_refused,
    receipts_of_records_are_as_durable_as_asked,
);

/// Waits until `is_done`, which an engine may do in its own time.
async fn eventually(
    trial: &Trial,
    topic: &TopicTrial,
    what: &str,
    is_done: impl Fn(&[String]) -> bool,
) -> Result<Vec<String>, Stop> {
    let mut ids = Vec::new();
    for _ in 0..200 {
        ids = topic.ids(0).await?;
        if is_done(&ids) {
            return Ok(ids);
        }
        trial.pass_ticks(1).await;
    }
    Err(Stop::Failed(format!("{what}: there still are {ids:?}")))
}

async fn records_are_kept_for_their_time_and_then_removed(trial: &mut Trial) -> Result<(), Stop> {
    let topic =
        trial.topic("prices", &TopicSpec { retention: trial.ticks(20), ..trial.topic_spec() }).await?;
    topic.append(event("old")).await?;
    trial.pass_ticks(10).await;
    topic.append(event("new")).await?;
    trial.pass_ticks(9).await;
    ensure_eq!(topic.ids(0).await?, ["old", "new"], "records within `retention`");
    trial.pass_ticks(2).await;
    let left =
        eventually(trial, &topic, "a record beyond `retention`", |ids| !ids.contains(&"old".to_owned()));
    let left = left.await?;
    ensure!(left == ["new"] || left.is_empty(), "records after the first was removed: {left:?}");
    Ok(())
}

async fn small_topic(trial: &Trial) -> Result<TopicTrial, Stop> {
    let spec = TopicSpec {
        retention_bytes: Some(ByteSize::from_bytes(16 << 10)),
        record_bytes_max: ByteSize::from_bytes(2 << 10),
        ..trial.topic_spec()
    };
    trial.topic("prices", &spec).await
}

fn kilobyte(id: &str) -> Envelope {
    let data = Data::binary(vec![7; 1000]);
    event(id).with_data(data, Some("application/octet-stream")).expect("bytes")
}

async fn the_oldest_records_make_room(trial: &mut Trial) -> Result<(), Stop> {
    let topic = small_topic(trial).await?;
    let all: Vec<_> = (0..60).map(|at| at.to_string()).collect();
    for id in &all {
        topic.append(kilobyte(id)).await?;
    }
    // More than twice of what fits goes; a quarter of it stays.
    let is_done = |ids: &[String]| ids.len() <= 32;
    let left = eventually(trial, &topic, "more than `retention_bytes`", is_done).await?;
    ensure!(all.ends_with(&left) && left.len() >= 4, "the newest records are not {left:?}");
    Ok(())
}

async fn reading_below_the_first_record_goes_on_with_it(trial: &mut Trial) -> Result<(), Stop> {
    let topic = small_topic(trial).await?;
    let mut first = None;
    for at in 0..60 {
        let position = topic.append_at(kilobyte(&at.to_string())).await?;
        first.get_or_insert(position);
    }
    eventually(trial, &topic, "more than `retention_bytes`", |ids| ids.len() <= 32).await?;
    let beginning = topic.find(StartAt::Beginning).await?;
    ensure!(Some(beginning) > first, "the beginning is where the first record was");
    let page = topic.read(0, first.unwrap_or_default(), 1).await?;
    let found: Vec<_> = page.records.iter().map(|record| record.position).collect();
    ensure_eq!(found, [beginning], "what is read from where there is nothing any more");
    Ok(())
}

async fn lag_counts_what_is_kept(trial: &mut Trial) -> Result<(), Stop> {
    let topic = small_topic(trial).await?;
    topic.join("first", trial.ticks(900)).await?;
    for at in 0..60 {
        topic.append(kilobyte(&at.to_string())).await?;
    }
    eventually(trial, &topic, "more than `retention_bytes`", |ids| ids.len() <= 32).await?;
    let (kept, lag) = (topic.all(0).await?, topic.lag().await?[0]);
    ensure_eq!(lag.records, kept.len() as u64, "records that are left to read");
    ensure_eq!(lag.oldest, kept.first().map(|record| record.stored_at), "when the oldest was stored");
    Ok(())
}

async fn compacted(trial: &Trial) -> Result<TopicTrial, Stop> {
    let spec = TopicSpec { cleanup: Cleanup::Compact, retention: trial.ticks(20), ..trial.topic_spec() };
    trial.topic("prices", &spec).await
}

async fn compaction_keeps_the_last_record_of_each_key(trial: &mut Trial) -> Result<(), Stop> {
    let topic = compacted(trial).await?;
    for round in 0..4 {
        for key in ["a", "b", "c"] {
            topic.append(event_of(key, &format!("{key}{round}"))).await?;
        }
        trial.pass_ticks(1).await;
    }
    topic.append(event_of("b", "b-last")).await?;
    let before = topic.all(0).await?;
    let last = ["a3", "c3", "b-last"];
    // Whatever was removed so far, what is left is in order and has the last of each key.
    for _ in 0..5 {
        let ids = topic.ids(0).await?;
        let kept: Vec<_> = ids.iter().map(String::as_str).filter(|id| last.contains(id)).collect();
        ensure_eq!(kept, last, "the last records of each key");
        trial.pass_ticks(10).await;
    }
    eventually(trial, &topic, "records that were replaced", |ids| ids == last).await?;
    let after = topic.all(0).await?;
    let is_moved = |record| !before.contains(record);
    ensure!(!after.iter().any(is_moved), "compaction changes records: {after:?}");
    Ok(())
}

fn tombstone(key: &str, id: &str) -> Record {
    Record { tombstone: true, ..event_of(key, id).without_data(None).expect("an event").into() }
}

async fn tombstones_are_kept_for_their_time_and_end_their_key(trial: &mut Trial) -> Result<(), Stop> {
    let topic = compacted(trial).await?;
    topic.append(event_of("a", "a0")).await?;
    topic.append(event_of("b", "b0")).await?;
    topic.append(tombstone("a", "a-end")).await?;
    for _ in 0..6 {
        trial.pass_ticks(3).await;
        let ids = topic.ids(0).await?;
        let has = |id: &str| ids.iter().any(|other| other == id);
        ensure!(has("a-end"), "a tombstone is gone within `retention`: {ids:?}");
        ensure!(has("b0"), "the last record of a key is gone: {ids:?}");
    }
    trial.pass_ticks(3).await;
    eventually(trial, &topic, "a key that ended", |ids| ids == ["b0"]).await?;
    // A key may begin again.
    topic.append(event_of("a", "a1")).await?;
    trial.pass_ticks(30).await;
    ensure_eq!(topic.ids(0).await?, ["b0", "a1"], "records, long after `retention`");
    Ok(())
}

async fn a_topic_grows_and_never_shrinks(trial: &mut Trial) -> Result<(), Stop> {
    let spec = TopicSpec { partitions: many(2), ..trial.topic_spec() };
    let topic = trial.topic("prices", &spec).await?;
    topic.append(Record { partition: Some(1), ..event("a").into() }).await?;
    let more = TopicSpec { partitions: many(3), ..spec.clone() };
    topic.engine.declare_topic(&topic.name, &more).await?;
    topic.append(Record { partition: Some(2), ..event("b").into() }).await?;
    match topic.engine.declare_topic(&topic.name, &spec).await {
        Err(DeclareError::Fixed { key, .. }) => ensure_eq!(key, "partitions", "the key that can not change"),
        other => return Err(Stop::Failed(format!("a topic shrank: {other:?}"))),
    }
    ensure_eq!(topic.ids(1).await?, ["a"], "records of an old partition");
    ensure_eq!(topic.ids(2).await?, ["b"], "records of a new partition");
    Ok(())
}

async fn a_topic_that_is_declared_again_is_left_alone(trial: &mut Trial) -> Result<(), Stop> {
    let topic = trial.topic("prices", &trial.topic_spec()).await?;
    topic.append(event("a")).await?;
    let first = topic.engine.declare_topic(&topic.name, &trial.topic_spec()).await?;
    let second = topic.engine.declare_topic(&topic.name, &trial.topic_spec()).await?;
    ensure_eq!(first, second, "what is said of a topic that is declared again");
    let records = topic.all(0).await?;
    let ids: Vec<_> = records.iter().map(|record| id(&record.content)).collect();
    ensure_eq!(ids, ["a"], "records of a topic that was declared again");
    let zero = TopicSpec { retention: std::time::Duration::ZERO, ..trial.topic_spec() };
    match topic.engine.declare_topic(&name("others"), &zero).await {
        Err(DeclareError::Invalid(invalid)) => ensure_eq!(invalid.field, "retention", "the field"),
        other => return Err(Stop::Failed(format!("a topic that keeps nothing: {other:?}"))),
    }
    Ok(())
}

async fn what_can_not_be_replicated_is_refused(trial: &mut Trial) -> Result<(), Stop> {
    // Any engine may refuse this; whether it does so rightly is looked at by `Trial::topic`.
    let replicas = NonZeroU8::new(99).expect("99 is not zero");
    let durability = Durability { copies: 99, synced: 99 };
    match trial.topic("prices", &TopicSpec { replicas, durability, ..trial.topic_spec() }).await {
        Err(Stop::Refused(_)) => Ok(()),
        Err(other) => Err(other),
        Ok(_) => Err(Stop::Failed("it says that it keeps 99 synced copies".to_owned())),
    }
}

async fn receipts_of_records_are_as_durable_as_asked(trial: &mut Trial) -> Result<(), Stop> {
    for (copies, synced) in [(1, 0), (1, 1), (2, 1), (3, 3)] {
        let durability = Durability { copies, synced };
        let replicas = NonZeroU8::new(copies).expect("above zero");
        let spec = TopicSpec { durability, replicas, ..trial.topic_spec() };
        match receipt_is_as_durable_as_asked(trial, &format!("prices-{copies}-{synced}"), &spec).await {
            Err(Stop::Refused(_)) if copies + synced > 1 => {}
            other => other?,
        }
    }
    Ok(())
}

async fn receipt_is_as_durable_as_asked(trial: &Trial, name: &str, spec: &TopicSpec) -> Result<(), Stop> {
    let topic = trial.topic(name, spec).await?;
    let outcomes = topic.commit([topic.append_to(event("a"))]).await?;
    let [Outcome::Stored(receipt)] = outcomes[..] else {
        return Err(Stop::Failed(format!("a record was appended, and the outcome is {outcomes:?}")));
    };
    let is = receipt.durability;
    ensure!(is.satisfies(spec.durability), "a receipt says {is}, and {} was asked", spec.durability);
    ensure!(is.synced <= is.copies, "a receipt says {is}");
    Ok(())
}

async fn an_empty_record_ends_no_key_by_mistake(trial: &mut Trial) -> Result<(), Stop> {
    let spec = TopicSpec { cleanup: Cleanup::Compact, ..trial.topic_spec() };
    let topic = trial.topic("prices", &spec).await?;
    topic.append(event_of("a", "a-1")).await?;
    let empty = || event_of("a", "a-2").without_data(None).expect("an event");
    let full = Record { tombstone: true, ..event_of("a", "a-3").into() };
    let keyless = Record { tombstone: true, ..event("4").without_data(None).expect("an event").into() };
    for record in [Record::from(empty()), full, keyless] {
        let refused = topic.refused(record.clone()).await?;
        ensure!(matches!(refused, Refused::Tombstone { .. }), "{record:?} is refused, as {refused}");
    }
    ensure_eq!(topic.ids(0).await?, ["a-1"], "records");
    let plain = trial.topic("facts", &trial.topic_spec()).await?;
    plain.append(empty()).await?;
    let refused = plain.refused(Record { tombstone: true, ..empty().into() }).await?;
    ensure!(
        matches!(refused, Refused::Tombstone { .. }),
        "a tombstone where nothing is compacted: {refused}"
    );
    Ok(())
}
