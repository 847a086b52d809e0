//! What of a topic can not be read keeps nothing else from going on, and is told by its name.

use std::path::Path;
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::envelope::{Data, Envelope};
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_engine_embedded::store::OpenError;
use intertie_engine_embedded::{Damaged, Embedded, EmbeddedConfig};
use intertie_messaging::commit::Operation;
use intertie_messaging::log::{Cleanup, Join, LogEngine, Member, Read, Record, StartAt, TopicSpec};
use intertie_messaging::{Content, Engine, EngineError, Name};
use tempfile::TempDir;

use crate::workload::directory;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn open(directory: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(directory, &EmbeddedConfig::default(), WallClock::system(), Events::default())
}

fn append(topic: &str, id: u32) -> Operation {
    let event = Envelope::new(&id.to_string(), "/test", "tested").expect("an event");
    let event = event.with_data(Data::text("data"), Some("text/plain")).expect("data");
    let event = event.with_partition_key("key").expect("a key");
    Operation::Append { topic: name(topic), record: Record { partition: Some(0), ..event.into() } }
}

async fn ids(engine: &Embedded, topic: &str) -> Result<Vec<String>, EngineError> {
    let read = Read {
        topic: name(topic),
        partition: 0,
        from: 0,
        most: 100.try_into().expect("not zero"),
        bytes_max: ByteSize::from_bytes(1 << 20),
        wait: Duration::ZERO,
    };
    let records = engine.read(&read).await?.records;
    let id = |content: &Content| match content {
        Content::Envelope(envelope) => envelope.id().to_owned(),
        Content::Undecodable { .. } => "damaged".to_owned(),
    };
    Ok(records.iter().map(|record| id(&record.content)).collect())
}

fn join(topic: &str) -> Join {
    let member = Member { topic: name(topic), group: name("readers"), member: name("one") };
    Join { member, session_timeout: Duration::from_secs(60), start: StartAt::Beginning }
}

/// Two topics of three records each, of which a group has read two, with what `damage` does to them.
async fn damaged(damage: &str) -> TempDir {
    let place = directory();
    let engine = open(place.path()).expect("opens");
    for topic in ["facts", "others"] {
        engine.declare_topic(&name(topic), &TopicSpec::default()).await.expect("declares");
        engine.commit((0..3).map(|id| append(topic, id)).collect()).await.expect("stores");
        let membership = engine.join(&join(topic)).await.expect("joins").membership;
        let advance = Operation::Advance { membership, partition: 0, next: 2 };
        engine.commit(advance.into()).await.expect("advances");
    }
    let latest = TopicSpec { cleanup: Cleanup::Compact, ..TopicSpec::default() };
    engine.declare_topic(&name("latest"), &latest).await.expect("declares");
    engine.commit(append("latest", 0).into()).await.expect("stores");
    drop(engine);
    let connection = rusqlite::Connection::open(place.path().join("intertie.db")).expect("opens");
    assert!(connection.execute(damage, []).expect(damage) > 0, "{damage}");
    place
}

#[tokio::test]
async fn a_topic_that_can_not_be_read_is_refused_by_its_name_and_the_others_go_on() {
    for damage in [
        "UPDATE topic SET spec = '{' WHERE name = 'facts'",
        "UPDATE topic SET spec = x'ff' WHERE name = 'facts'",
        "UPDATE topic_partition SET next = 'many' WHERE topic = 1",
        "DELETE FROM topic_partition WHERE topic = 1",
    ] {
        let place = damaged(damage).await;
        let engine = open(place.path()).expect(damage);
        let told: Vec<_> = engine.damages().into_iter().map(|damage| damage.of).collect();
        assert_eq!(told, [Damaged::Topic("facts".to_owned())], "{damage}");
        let facts = name("facts");
        let is_told = |error: Option<EngineError>| {
            let told =
                matches!(&error, Some(EngineError::Unavailable { cause, .. }) if cause.contains("`facts`"));
            assert!(told, "{damage}: {error:?}");
        };
        is_told(ids(&engine, "facts").await.err());
        is_told(engine.join(&join("facts")).await.err());
        is_told(engine.lag(&facts, &name("readers")).await.err());
        engine.commit(append("facts", 3).into()).await.expect_err("it can not be read");
        engine.declare_topic(&facts, &TopicSpec::default()).await.expect_err("it can not be read");
        engine.commit(append("others", 3).into()).await.expect("stores");
        assert_eq!(ids(&engine, "others").await.expect("reads"), ["0", "1", "2", "3"]);
        // It keeps its name until it is deleted.
        drop(engine);
        let engine = open(place.path()).expect(damage);
        engine.delete_topic(&facts).await.expect("deletes");
        engine.declare_topic(&facts, &TopicSpec::default()).await.expect("declares");
        assert_eq!(ids(&engine, "facts").await.expect("reads"), Vec::<String>::new());
        engine.commit(append("facts", 7).into()).await.expect("stores");
        drop(engine);
        let engine = open(place.path()).expect(damage);
        assert_eq!(ids(&engine, "facts").await.expect("reads"), ["7"]);
        assert_eq!(engine.damages(), []);
    }
}

#[tokio::test]
async fn a_damaged_record_is_told_as_such_and_the_next_ones_come() {
    let first = "(SELECT min(id) FROM record)";
    for (damage, expected) in [
        (format!("UPDATE record SET content = 7 WHERE id = {first}"), &["damaged", "1", "2"][..]),
        (format!("UPDATE record SET content = x'0102' WHERE id = {first}"), &["damaged", "1", "2"]),
        (format!("UPDATE record SET stored = 'noon' WHERE id = {first} + 1"), &["0", "1", "2"]),
        (format!("DELETE FROM record WHERE id = {first}"), &["1", "2"]),
    ] {
        let place = damaged(&damage).await;
        let engine = open(place.path()).expect(&damage);
        assert_eq!(ids(&engine, "facts").await.expect("reads"), expected, "{damage}");
        let at = StartAt::Time(WallClock::system().now());
        assert_eq!(engine.find(&name("facts"), 0, at).await, Ok(3), "{damage}");
        engine.commit(append("facts", 3).into()).await.expect("stores");
        assert_eq!(ids(&engine, "facts").await.expect("reads").last(), Some(&"3".to_owned()), "{damage}");
    }
}

#[tokio::test]
async fn what_is_damaged_of_groups_and_keys_is_as_if_it_were_not_there() {
    for (damage, position) in [
        ("UPDATE topic_position SET next = 'two'", 0),
        ("UPDATE topic_position SET owner = x'ff'", 2),
        ("UPDATE topic_group SET start_at = 'then', start = 'when'", 2),
        ("UPDATE record_key SET position = 'there', ends = 'soon'", 2),
        ("UPDATE topic_group SET generation = 'none' WHERE number = 1", 2),
        ("UPDATE topic_group SET name = x'ff' WHERE number = 1", 0),
        ("UPDATE topic_group SET topic = 'facts' WHERE number = 1", 0),
        ("UPDATE topic_member SET member = x'ff' WHERE number = 1", 2),
        ("UPDATE topic_member SET generation = 'none', session = 'long' WHERE number = 1", 2),
    ] {
        let place = damaged(damage).await;
        let engine = open(place.path()).expect(damage);
        let is_told = damage.contains("next =") || damage.contains("number = 1");
        assert_eq!(!engine.damages().is_empty(), is_told, "{damage}: {:?}", engine.damages());
        assert_eq!(engine.join(&join("facts")).await.expect("joins").partitions, [(0, position)], "{damage}");
        engine.commit(append("latest", 1).into()).await.expect("stores");
        assert_eq!(ids(&engine, "latest").await.expect("reads").last(), Some(&"1".to_owned()));
    }
}

#[tokio::test]
async fn a_key_of_which_nobody_knows_the_record_takes_none_away() {
    let place = damaged("UPDATE record_key SET position = 'there'").await;
    let engine = open(place.path()).expect("opens");
    let other = append("latest", 1);
    engine.commit(other.into()).await.expect("stores");
    assert_eq!(ids(&engine, "latest").await.expect("reads"), ["0", "1"]);
}

#[tokio::test]
async fn a_partition_that_is_lost_leaves_its_number_to_its_records() {
    let place = damaged("DELETE FROM topic_partition WHERE topic = 3").await;
    let engine = open(place.path()).expect("opens");
    let more = name("more");
    engine.declare_topic(&more, &TopicSpec::default()).await.expect("declares");
    engine.commit(append("more", 7).into()).await.expect("stores");
    assert_eq!(ids(&engine, "more").await.expect("reads"), ["7"]);
}

#[tokio::test]
async fn what_a_later_version_declared_is_left_to_it() {
    let later = "UPDATE topic SET spec = json_set(spec, '$.compressed', 'zstd') WHERE name = 'facts'";
    let place = damaged(later).await;
    let refused = open(place.path()).expect_err("a later version");
    assert!(matches!(&refused, OpenError::NewerSpec { name, .. } if name == "facts"), "{refused:?}");
}
