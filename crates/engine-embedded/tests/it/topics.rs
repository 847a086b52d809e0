//! Topics where the suite of the ports does not look: readers that wait, bounds of the engine, room that is given back.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::envelope::{Data, Envelope};
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_engine_embedded::{Embedded, EmbeddedConfig};
use intertie_messaging::commit::{CommitError, Operation, Refused};
use intertie_messaging::log::{
    Cleanup, Heartbeat, Join, LogEngine, Member, Read, Record, Seek, StartAt, TopicSpec,
};
use intertie_messaging::{Content, DeclareError, Engine, EngineError, Name};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::workload::directory;

/// Longer than anything takes that is not stuck.
const BOUND: Duration = Duration::from_secs(60);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("not zero")
}

fn open(directory: &TempDir, config: &EmbeddedConfig) -> Arc<Embedded> {
    let events = Events::default();
    Arc::new(Embedded::open(directory.path(), config, WallClock::system(), events).expect("opens"))
}

fn event(id: u32, bytes: usize) -> Envelope {
    let event = Envelope::new(&id.to_string(), "/test", "tested").expect("an event");
    let data = Data::binary(vec![7; bytes]);
    event.with_data(data, Some("application/octet-stream")).expect("bytes")
}

fn append(topic: &Name, id: u32, bytes: usize) -> Operation {
    Operation::Append { topic: topic.clone(), record: event(id, bytes).into() }
}

fn read(topic: &Name, from: u64, wait: Duration) -> Read {
    let bytes_max = ByteSize::from_bytes(1 << 20);
    Read { topic: topic.clone(), partition: 0, from, most: count(1000), bytes_max, wait }
}

fn join(topic: &Name, group: &str, member: &str) -> Join {
    let member = Member { topic: topic.clone(), group: name(group), member: name(member) };
    Join { member, session_timeout: BOUND, start: StartAt::Beginning }
}

fn id(content: &Content) -> u32 {
    match content {
        Content::Envelope(envelope) => envelope.id().parse().expect("a number"),
        Content::Undecodable { problem, .. } => panic!("{problem}"),
    }
}

/// How many rows a table has, of which nobody has the engine open.
fn rows(directory: &Path, table: &str) -> i64 {
    let connection = rusqlite::Connection::open(directory.join("intertie.db")).expect("opens");
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect(table)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_wait_see_every_record_once_and_in_order() {
    let place = TempDir::new().expect("a directory");
    let engine = open(&place, &EmbeddedConfig::default());
    let topic = name("facts");
    engine.declare_topic(&topic, &TopicSpec::default()).await.expect("declares");
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let (engine, topic) = (engine.clone(), topic.clone());
        readers.spawn(async move {
            let (mut seen, mut from) = (Vec::new(), 0);
            while seen.len() < 200 {
                let page = engine.read(&read(&topic, from, BOUND)).await.expect("reads");
                from = page.next;
                seen.extend(page.records.iter().map(|record| id(&record.content)));
            }
            seen
        });
    }
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (engine, topic) = (engine.clone(), topic.clone());
        writers.spawn(async move {
            for at in 0..50 {
                engine.commit(append(&topic, writer * 50 + at, 10).into()).await.expect("stores");
            }
        });
    }
    let mut all: Vec<Vec<u32>> = Vec::new();
    while let Some(seen) = tokio::time::timeout(BOUND, readers.join_next()).await.expect("they end") {
        all.push(seen.expect("no panic"));
    }
    assert!(all.iter().all(|seen| *seen == all[0]), "all read the same");
    for writer in 0..4 {
        let own: Vec<_> = all[0].iter().filter(|id| **id / 50 == writer).copied().collect();
        assert_eq!(own, (writer * 50..writer * 50 + 50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_reader_that_waits_hears_that_its_topic_is_gone() {
    let place = TempDir::new().expect("a directory");
    let engine = open(&place, &EmbeddedConfig::default());
    let topic = name("facts");
    engine.declare_topic(&topic, &TopicSpec::default()).await.expect("declares");
    let waiting = read(&topic, 0, BOUND * 10);
    let deleted = async {
        tokio::task::yield_now().await;
        engine.delete_topic(&topic).await
    };
    let (found, deleted) = tokio::join!(tokio::time::timeout(BOUND, engine.read(&waiting)), deleted);
    deleted.expect("deletes");
    let found = found.expect("it is told");
    assert!(matches!(found, Err(EngineError::NotFound { .. })), "{found:?}");
}

#[tokio::test]
async fn readers_that_are_woken_together_are_all_served() {
    let place = directory();
    let mut config = EmbeddedConfig::default();
    config.store.reads_pending_max = count(2);
    let engine = open(&place, &config);
    let topic = name("facts");
    engine.declare_topic(&topic, &TopicSpec::default()).await.expect("declares");
    let mut readers = JoinSet::new();
    for _ in 0..100 {
        let (engine, topic) = (engine.clone(), topic.clone());
        readers.spawn(async move { engine.read(&read(&topic, 0, BOUND)).await });
    }
    tokio::task::yield_now().await;
    engine.commit(append(&topic, 1, 10).into()).await.expect("stores");
    while let Some(found) = tokio::time::timeout(BOUND, readers.join_next()).await.expect("they end") {
        assert_eq!(found.expect("no panic").expect("is served").records.len(), 1);
    }
}

#[tokio::test]
async fn each_bound_of_the_engine_refuses_by_its_name() {
    let place = TempDir::new().expect("a directory");
    let (one, two) = (NonZeroU32::MIN, count(2));
    let config = EmbeddedConfig {
        topics_max: two,
        partitions_max: count(4),
        groups_max: count(3),
        positions_max: count(5),
        members_max: two,
        readers_waiting_max: one,
        key_bytes_max: count(3),
        ..EmbeddedConfig::default()
    };
    let engine = open(&place, &config);
    let (facts, latest) = (name("facts"), name("latest"));
    let limit = |key, limit: &str| EngineError::Limit { key, limit: limit.to_owned() };
    let of = |partitions| TopicSpec { partitions: count(partitions), ..TopicSpec::default() };
    engine.declare_topic(&facts, &of(2)).await.expect("declares");
    let compact = TopicSpec { cleanup: Cleanup::Compact, ..of(1) };
    engine.declare_topic(&latest, &compact).await.expect("declares");
    let more = engine.declare_topic(&name("more"), &of(1)).await;
    assert_eq!(more, Err(DeclareError::Engine(limit("topics_max", "2"))));
    let grown = engine.declare_topic(&facts, &of(4)).await;
    assert_eq!(grown, Err(DeclareError::Engine(limit("partitions_max", "4"))));

    engine.join(&join(&facts, "a", "first")).await.expect("joins");
    engine.join(&join(&facts, "a", "second")).await.expect("joins");
    assert_eq!(engine.join(&join(&facts, "a", "third")).await, Err(limit("members_max", "2")));
    engine.join(&join(&facts, "a", "second")).await.expect("takes its own place");
    let grown = engine.declare_topic(&facts, &of(3)).await;
    grown.expect("three positions");
    engine.join(&join(&latest, "a", "first")).await.expect("joins");
    let seek = |group| Seek { topic: facts.clone(), group: name(group), partition: None, to: StartAt::End };
    assert_eq!(engine.seek(&seek("b")).await, Err(limit("positions_max", "5")));
    engine.join(&join(&latest, "b", "first")).await.expect("joins");
    assert_eq!(engine.join(&join(&latest, "c", "first")).await, Err(limit("groups_max", "3")));

    let keyed = event(1, 1).with_partition_key("four").expect("a key");
    let long = engine.commit(Operation::Append { topic: latest.clone(), record: keyed.into() }.into()).await;
    let cause = Refused::Engine(limit("key_bytes_max", "3"));
    assert_eq!(long, Err(CommitError::Refused { operation: 0, cause }));

    let waiting = read(&facts, 0, BOUND);
    let mut first = engine.read(&waiting);
    let second = std::future::poll_fn(|context| {
        assert!(first.as_mut().poll(context).is_pending());
        engine.read(&waiting).as_mut().poll(context)
    });
    let overloaded = EngineError::Overloaded { bound: "readers_waiting_max", limit: 1 };
    assert_eq!(second.await, Err(overloaded));
}

#[tokio::test]
async fn a_topic_that_is_as_asked_stays_when_a_bound_was_lowered() {
    let place = directory();
    let (facts, others) = (name("facts"), name("others"));
    let spec = TopicSpec { partitions: count(3), ..TopicSpec::default() };
    let engine = open(&place, &EmbeddedConfig::default());
    for topic in [&facts, &others] {
        engine.declare_topic(topic, &spec).await.expect("declares");
    }
    drop(engine);
    let one = NonZeroU32::MIN;
    let config = EmbeddedConfig { topics_max: one, partitions_max: one, ..EmbeddedConfig::default() };
    let engine = open(&place, &config);
    engine.declare_topic(&facts, &spec).await.expect("it is as asked");
    let more = TopicSpec { partitions: count(4), ..spec };
    engine.declare_topic(&facts, &more).await.expect_err("there is no room for more");
}

#[tokio::test]
async fn a_page_is_bounded_by_the_engine_whatever_is_asked_for() {
    let place = directory();
    let topic = name("facts");
    let (records, bytes) = (count(2), ByteSize::from_bytes(2500));
    for (config, expected) in [
        (EmbeddedConfig { page_records_max: records, ..EmbeddedConfig::default() }, [2, 2, 1]),
        (EmbeddedConfig { page_bytes_max: bytes, ..EmbeddedConfig::default() }, [2, 2, 1]),
        (EmbeddedConfig { page_bytes_max: ByteSize::from_bytes(1), ..EmbeddedConfig::default() }, [1, 1, 1]),
    ] {
        let engine = open(&place, &config);
        if engine.declare_topic(&topic, &TopicSpec::default()).await.is_ok()
            && engine.find(&topic, 0, StartAt::End).await == Ok(0)
        {
            engine.commit((0..5).map(|id| append(&topic, id, 1000)).collect()).await.expect("stores");
        }
        let (mut sizes, mut from) = (Vec::new(), 0);
        for _ in expected {
            let page = engine.read(&read(&topic, from, Duration::ZERO)).await.expect("reads");
            (from, sizes) = (page.next, [sizes, vec![page.records.len()]].concat());
        }
        assert_eq!(sizes, expected);
    }
}

#[tokio::test]
async fn a_group_begins_at_a_moment_in_each_partition() {
    let place = directory();
    let engine = open(&place, &EmbeddedConfig::default());
    let topic = name("facts");
    let spec = TopicSpec { partitions: count(3), ..TopicSpec::default() };
    engine.declare_topic(&topic, &spec).await.expect("declares");
    for round in 0..4 {
        for partition in 0..3 {
            for _ in 0..partition {
                let record = Record { partition: Some(partition), ..event(round, 1).into() };
                engine
                    .commit(Operation::Append { topic: topic.clone(), record }.into())
                    .await
                    .expect("stores");
            }
        }
    }
    let third = Read { partition: 2, ..read(&topic, 0, Duration::ZERO) };
    let third = engine.read(&third).await.expect("reads").records;
    let start = StartAt::Time(third[4].stored_at);
    let mut expected = Vec::new();
    for partition in 0..3 {
        expected.push((partition, engine.find(&topic, partition, start).await.expect("finds")));
    }
    assert_eq!(expected, [(0, 0), (1, 3), (2, 4)]);
    let joined = engine.join(&Join { start, ..join(&topic, "a", "first") }).await.expect("joins");
    assert_eq!(joined.partitions, expected);
    let seek = Seek { topic, group: name("b"), partition: None, to: start };
    assert_eq!(engine.seek(&seek).await.expect("seeks"), expected);
}

#[tokio::test]
async fn a_name_that_is_not_there_is_refused_with_the_one_that_is_like_it() {
    let place = TempDir::new().expect("a directory");
    let engine = open(&place, &EmbeddedConfig::default());
    engine.declare_topic(&name("prices"), &TopicSpec::default()).await.expect("declares");
    let price = name("price");
    let not_found = || EngineError::NotFound { name: price.clone(), nearest: Some(name("prices")) };
    assert_eq!(engine.join(&join(&price, "a", "first")).await, Err(not_found()));
    assert_eq!(engine.delete_topic(&price).await, Err(not_found()));
    assert_eq!(engine.lag(&price, &name("a")).await, Err(not_found()));
    assert_eq!(engine.find(&price, 0, StartAt::End).await, Err(not_found()));
    let commit = [append(&name("prices"), 1, 1), append(&price, 2, 1)].into_iter().collect();
    let refused = CommitError::Refused { operation: 1, cause: not_found().into() };
    assert_eq!(engine.commit(commit).await, Err(refused));
}

#[tokio::test]
async fn what_is_beyond_retention_bytes_is_removed_and_nothing_else() {
    let place = directory();
    let config = EmbeddedConfig { step: count(3), ..EmbeddedConfig::default() };
    let engine = open(&place, &config);
    let topic = name("facts");
    let spec = TopicSpec {
        retention_bytes: Some(ByteSize::from_bytes(10_000)),
        record_bytes_max: ByteSize::from_bytes(5000),
        ..TopicSpec::default()
    };
    engine.declare_topic(&topic, &spec).await.expect("declares");
    engine.commit((0..50).map(|id| append(&topic, id, 1000)).collect()).await.expect("stores");
    // A record of a thousand bytes has some dozens more of attributes: nine fit.
    let mut left = Vec::new();
    for _ in 0..6000 {
        let page = engine.read(&read(&topic, 0, Duration::ZERO)).await.expect("reads");
        left = page.records.iter().map(|record| id(&record.content)).collect();
        assert_eq!(left.last(), Some(&49));
        if left.len() <= 9 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(left, (41..50).collect::<Vec<_>>());
    let beginning = engine.find(&topic, 0, StartAt::Beginning).await.expect("finds");
    assert_eq!(beginning, 41);
    let lag = engine.lag(&topic, &name("nobody")).await.expect("a lag")[0];
    assert_eq!((lag.position, lag.records, lag.end), (41, 9, 50));
}

#[tokio::test]
async fn what_a_removed_topic_held_is_removed_step_by_step() {
    let place = directory();
    let config = EmbeddedConfig { step: count(7), ..EmbeddedConfig::default() };
    let engine = open(&place, &config);
    let topic = name("facts");
    let spec = TopicSpec { partitions: count(3), cleanup: Cleanup::Compact, ..TopicSpec::default() };
    engine.declare_topic(&topic, &spec).await.expect("declares");
    let keyed = |id: u32| {
        let record = event(id, 10).with_partition_key(&id.to_string()).expect("a key").into();
        Operation::Append { topic: topic.clone(), record }
    };
    engine.commit((0..100).map(keyed).collect()).await.expect("stores");
    let end = event(7, 0).without_data(None).expect("an event").with_partition_key("7").expect("a key");
    let record = Record { tombstone: true, ..end.into() };
    engine.commit(Operation::Append { topic: topic.clone(), record }.into()).await.expect("stores");
    engine.join(&join(&topic, "a", "first")).await.expect("joins");
    engine.delete_topic(&topic).await.expect("deletes");
    // The name is free at once, and nothing of the old one is in the new one.
    engine.declare_topic(&topic, &spec).await.expect("declares again");
    engine.commit(keyed(1).into()).await.expect("stores");
    let lag = engine.lag(&topic, &name("a")).await.expect("a lag");
    assert_eq!(lag.iter().map(|lag| lag.records).sum::<u64>(), 1);
    assert!(lag.iter().all(|lag| lag.position == 0));
    drop(engine);
    let tables =
        ["record", "record_key", "record_tombstone", "topic_partition", "topic_group", "topic_position"];
    let mut left = [0; 6];
    for _ in 0..1000 {
        let engine = open(&place, &config);
        // Whatever is asked of the writer is answered after a step of what is due.
        engine.delete_topic(&name("nothing")).await.expect_err("there is none");
        drop(engine);
        left = tables.map(|table| rows(place.path(), table));
        // Of the groups one row stays, which says where later ones begin.
        if left == [1, 1, 0, 3, 1, 0] {
            return;
        }
    }
    panic!("{left:?}");
}

#[tokio::test]
async fn a_directory_without_a_topic_has_no_table_for_one() {
    let place = directory();
    let tables = || {
        let connection = rusqlite::Connection::open(place.path().join("intertie.db")).expect("opens");
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name IN ('topic', 'record')";
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("counts")
    };
    drop(open(&place, &EmbeddedConfig::default()));
    assert_eq!(tables(), 0);
    let engine = open(&place, &EmbeddedConfig::default());
    engine.declare_topic(&name("facts"), &TopicSpec::default()).await.expect("declares");
    drop(engine);
    assert_eq!(tables(), 2);
    let engine = open(&place, &EmbeddedConfig::default());
    engine.commit(append(&name("facts"), 1, 1).into()).await.expect("stores");
}

#[tokio::test]
async fn cleanup_changes_while_a_topic_is_empty_and_not_later() {
    let place = directory();
    let engine = open(&place, &EmbeddedConfig::default());
    let topic = name("facts");
    let delete = TopicSpec::default();
    let compact = TopicSpec { cleanup: Cleanup::Compact, ..delete.clone() };
    for spec in [&delete, &compact, &delete] {
        engine.declare_topic(&topic, spec).await.expect("declares");
    }
    engine.commit(append(&topic, 1, 1).into()).await.expect("stores");
    let refused = engine.declare_topic(&topic, &compact).await;
    assert!(matches!(refused, Err(DeclareError::Fixed { key: "cleanup", .. })), "{refused:?}");
}

#[tokio::test]
async fn a_member_whose_caller_left_before_it_was_told_keeps_nobody_out() {
    let place = directory();
    let engine = open(&place, &EmbeddedConfig::default());
    let topic = name("facts");
    engine.declare_topic(&topic, &TopicSpec::default()).await.expect("declares");
    for polls in 1..4 {
        let request = join(&topic, "readers", "gone");
        let mut gone = engine.join(&request);
        for _ in 0..polls {
            let ready = std::future::poll_fn(|context| std::task::Poll::Ready(gone.as_mut().poll(context)));
            if ready.await.is_ready() {
                return;
            }
        }
        drop(gone);
        let other = engine.join(&join(&topic, "readers", "other")).await.expect("joins");
        let membership = other.membership.clone();
        let heartbeat = Heartbeat { membership, released: Vec::new() };
        tokio::time::timeout(BOUND / 2, async {
            while engine.heartbeat(&heartbeat).await.expect("a member").partitions.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it has the partition long before a session is over");
        engine.leave(&heartbeat.membership).await.expect("leaves");
    }
}
