//! Power is lost at any moment of a topic's day: what was acknowledged is there, in its place and without a gap, groups
//! do not go back behind what they were told that they have done, and no commit is there in part.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::envelope::{Data, Envelope};
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_engine_embedded::store::Defect;
use intertie_engine_embedded::{Embedded, EmbeddedConfig};
use intertie_messaging::commit::{Committed, Operation, Outcome};
use intertie_messaging::log::{
    Assignment, Cleanup, Join, LogEngine, Member, Read, Record, StartAt, Stored, TopicSpec,
};
use intertie_messaging::queue::{Browse, QueueEngine, QueueSpec};
use intertie_messaging::{Content, Engine, Name};
use intertie_simulated_disk::{Disk, Fault};

use crate::workload::{directory, runtime, small};

const PARTITIONS: u32 = 3;

/// What callers were told, each with how many operations the disk had done by then.
#[derive(Debug, Default)]
struct Told {
    declared: usize,
    /// By partition and position: the id, and when that was.
    records: Vec<BTreeMap<u64, (u64, usize)>>,
    /// The last record of each key: its id, and when that was.
    keys: BTreeMap<String, Vec<(u64, usize)>>,
    /// By partition: where the group was to go on, when that was asked for, and when it was done.
    advanced: Vec<Vec<(u64, usize, usize)>>,
    /// Commits of a record and a message with one id.
    both: Vec<(u64, usize)>,
    /// The last id.
    ids: u64,
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn open(directory: &Path, clock: WallClock) -> Embedded {
    let config = EmbeddedConfig { store: small(), ..EmbeddedConfig::default() };
    match Embedded::open(directory, &config, clock, Events::default()) {
        Ok(engine) => engine,
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}

fn event(id: u64, bytes: usize) -> Envelope {
    let event = Envelope::new(&id.to_string(), "/test", "tested").expect("an event");
    let data = Data::binary(vec![id as u8; bytes]);
    event.with_data(data, Some("application/octet-stream")).expect("bytes")
}

fn append(topic: &str, envelope: Envelope, partition: Option<u32>) -> Operation {
    Operation::Append { topic: name(topic), record: Record { partition, ..envelope.into() } }
}

fn id(content: &Content) -> u64 {
    match content {
        Content::Envelope(envelope) => envelope.id().parse().expect("a number"),
        Content::Undecodable { problem, .. } => panic!("{problem}"),
    }
}

fn join(engine: &Embedded) -> Assignment {
    let member = Member { topic: name("facts"), group: name("readers"), member: name("one") };
    let session_timeout = Duration::from_secs(600);
    let join = Join { member, session_timeout, start: StartAt::Beginning };
    runtime().block_on(engine.join(&join)).expect("joins")
}

fn declare(engine: &Embedded) {
    let partitions = PARTITIONS.try_into().expect("not zero");
    let facts = TopicSpec { partitions, ..TopicSpec::default() };
    let latest = TopicSpec { cleanup: Cleanup::Compact, ..TopicSpec::default() };
    let small = TopicSpec {
        retention_bytes: Some(ByteSize::from_bytes(2000)),
        record_bytes_max: ByteSize::from_bytes(1000),
        ..TopicSpec::default()
    };
    for (topic, spec) in [("facts", facts), ("latest", latest), ("small", small)] {
        runtime().block_on(engine.declare_topic(&name(topic), &spec)).expect("declares");
    }
    runtime().block_on(engine.declare_queue(&name("orders"), &QueueSpec::default())).expect("declares");
}

/// Appends, joins and advances, and notes what was heard when.
fn work(engine: &Embedded, disk: &Disk, seed: u64) -> Told {
    let runtime = runtime();
    let mut random = fastrand::Rng::with_seed(seed);
    declare(engine);
    let count = PARTITIONS as usize;
    let mut told = Told {
        declared: disk.operations(),
        records: vec![BTreeMap::new(); count],
        advanced: vec![Vec::new(); count],
        ..Told::default()
    };
    let mut member = join(engine);
    for round in 0..25 {
        let mut operations = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..random.u64(1..5) {
            told.ids += 1;
            ids.push(told.ids);
            let partition = random.bool().then(|| random.u32(..PARTITIONS));
            operations.push(append("facts", event(told.ids, random.usize(..400)), partition));
        }
        let key = random.u8(..3).to_string();
        let latest = event(ids[0], random.usize(1..400)).with_partition_key(&key).expect("a key");
        operations.push(append("latest", latest, None));
        operations.push(append("small", event(ids[0], random.usize(..400)), None));
        let message = event(ids[0], 10).into();
        operations.push(Operation::Send { queue: name("orders"), message });
        let committed = runtime.block_on(engine.commit(operations.into_iter().collect())).expect("stores");
        let now = disk.operations();
        let Committed::Done(outcomes) = committed else { panic!("it was not done before") };
        for (id, outcome) in ids.iter().zip(&outcomes) {
            let Outcome::Stored(receipt) = outcome else { panic!("{outcome:?}") };
            let position = receipt.position.expect("records have one");
            told.records[receipt.partition as usize].insert(position, (*id, now));
        }
        told.keys.entry(key).or_default().push((ids[0], now));
        told.both.push((ids[0], now));
        if round % 5 == 4 {
            member = join(engine);
        }
        let partition = random.u32(..PARTITIONS);
        let end = told.records[partition as usize].len() as u64;
        let last = told.advanced[partition as usize].last().map_or(0, |(next, ..)| *next);
        if last < end {
            let next = random.u64(last + 1..=end);
            let before = disk.operations();
            let membership = member.membership.clone();
            let advance = Operation::Advance { membership, partition, next };
            runtime.block_on(engine.commit(advance.into())).expect("advances");
            told.advanced[partition as usize].push((next, before, disk.operations()));
        }
    }
    told
}

fn records(engine: &Embedded, topic: &str, partition: u32) -> Vec<Stored> {
    let read = Read {
        topic: name(topic),
        partition,
        from: 0,
        most: 10_000.try_into().expect("not zero"),
        bytes_max: ByteSize::from_bytes(1 << 30),
        wait: Duration::ZERO,
    };
    runtime().block_on(engine.read(&read)).map(|page| page.records).unwrap_or_default()
}

/// Opens what a crash after `operations` left, and holds it against what callers knew.
fn check(directory: &Path, operations: usize, told: &Told, context: &str) {
    let later = Timestamp::from_unix_nanos(WallClock::system().now().as_unix_nanos() + 60_000_000_000);
    let engine = open(directory, WallClock::fixed(later));
    let lag = runtime().block_on(engine.lag(&name("facts"), &name("readers")));
    if operations < told.declared {
        // Some of it may be there.
        declare(&engine);
        return;
    }
    let lag = lag.unwrap_or_else(|error| panic!("{context}: the topic was declared: {error}"));
    let by_then = |moment: usize| moment <= operations;
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let (own, found) = (&told.records[partition as usize], records(&engine, "facts", partition));
        for (expected, record) in (0..).zip(&found) {
            let known = own.get(&record.position).map(|(id, _)| *id);
            assert_eq!(record.position, expected, "{context}: a record is missing in partition {partition}");
            assert!(known.is_none_or(|known| known == id(&record.content)), "{context}: another record");
        }
        let acknowledged = own.values().filter(|(_, moment)| by_then(*moment)).count();
        assert!(found.len() >= acknowledged, "{context}: an acknowledged record of {partition} is lost");
        let end = found.len() as u64;
        let advanced = &told.advanced[partition as usize];
        let least = advanced.iter().filter(|(_, _, done)| by_then(*done)).map(|(next, ..)| *next).max();
        let most = advanced.iter().filter(|(_, asked, _)| by_then(*asked)).map(|(next, ..)| *next).max();
        let lag = lag[partition as usize];
        let range = least.unwrap_or(0)..=most.unwrap_or(0);
        assert!(
            range.contains(&lag.position),
            "{context}: the group is at {}, not in {range:?}",
            lag.position
        );
        assert_eq!((lag.end, lag.records), (end, end - lag.position), "{context}: the lag");
        all.extend(found.iter().map(|record| id(&record.content)));
    }
    check_others(&engine, operations, told, &all, context);
    // It goes on where it was.
    let assignment = join(&engine);
    assert_eq!(assignment.partitions.len(), PARTITIONS as usize, "{context}");
    for (partition, position) in assignment.partitions {
        assert_eq!(position, lag[partition as usize].position, "{context}: where the member goes on");
    }
}

fn check_others(engine: &Embedded, operations: usize, told: &Told, all: &[u64], context: &str) {
    let latest = records(engine, "latest", 0);
    for (key, ids) in &told.keys {
        let found: Vec<_> = latest
            .iter()
            .filter(|record| match &record.content {
                Content::Envelope(envelope) => envelope.partition_key().as_deref() == Some(key),
                Content::Undecodable { .. } => false,
            })
            .map(|record| id(&record.content))
            .collect();
        let known = ids.iter().rfind(|(_, moment)| *moment <= operations).map(|(id, _)| *id);
        assert!(found.len() <= 1, "{context}: key {key} has {found:?}");
        assert!(
            found.first().copied() >= known,
            "{context}: the last record of key {key} is lost: {found:?}"
        );
    }
    let small = records(engine, "small", 0);
    let known = told.both.iter().rfind(|(_, moment)| *moment <= operations).map(|(id, _)| *id);
    let newest = small.last().map(|record| id(&record.content));
    assert!(newest >= known, "{context}: the newest record made room: {newest:?} and not {known:?}");
    assert!(small.windows(2).all(|pair| pair[0].position + 1 == pair[1].position), "{context}: a gap");
    // What was committed together is there together.
    let browse = Browse {
        queue: name("orders"),
        from: 0,
        most: 10_000.try_into().expect("not zero"),
        bytes_max: ByteSize::from_bytes(1 << 30),
    };
    let page = runtime().block_on(engine.browse(&browse));
    let page = page.unwrap_or_else(|error| panic!("{context}: the queue was declared: {error}"));
    let messages: Vec<_> = page.messages.iter().map(|message| id(&message.content)).collect();
    for (id, moment) in &told.both {
        let (sent, appended) = (messages.contains(id), all.contains(id));
        assert_eq!(sent, appended, "{context}: commit {id} is there in part");
        assert!(sent || *moment > operations, "{context}: commit {id} was acknowledged and is lost");
    }
    assert!(messages.last().is_none_or(|last| newest >= Some(*last)), "{context}: a commit is there in part");
}

/// Runs a workload to its end and looks at what losses of power leave, one of so many.
fn check_crashes(seed: u64, every: usize) {
    let place = directory();
    let disk = Arc::new(Disk::beneath(place.path()).expect("a disk"));
    let engine = open(place.path(), WallClock::system());
    let told = work(&engine, &disk, seed);
    drop(engine);
    assert!(told.advanced.iter().flatten().count() > 5, "{told:?}");
    let mut random = fastrand::Rng::with_seed(seed);
    for crash in disk.crashes(seed).filter(|_| random.usize(..every) == 0) {
        let after = directory();
        crash.lay_out(after.path()).expect("lays out");
        let _disk = Disk::beneath(after.path()).expect("a disk");
        let context = format!("seed {seed}, crash after {}", crash.operations);
        check(after.path(), crash.operations, &told, &context);
    }
}

#[test]
fn power_loss_takes_no_record_and_sets_no_group_back() {
    for seed in 1..4 {
        check_crashes(seed, 20);
    }
}

#[test]
#[should_panic(expected = "crash after")]
fn records_that_are_acknowledged_before_they_are_synced_are_found() {
    for seed in 1..10 {
        Defect::AcknowledgesBeforeSync.seed();
        check_crashes(seed, 1);
    }
}

/// Appends and advances into `fault`, from before the engine is opened, until something says no: what was acknowledged,
/// by id, and how far the group was told to be. Then opens it again, and looks at what is there.
fn check_fault(fault: Fault) -> bool {
    let context = format!("{fault:?}");
    let (place, topic) = (directory(), name("facts"));
    let disk = Arc::new(Disk::beneath(place.path()).expect("a disk"));
    let (mut asked, mut acknowledged, mut advanced) = (0, 0, 0);
    disk.fail(Some(fault));
    let config = EmbeddedConfig { store: small(), ..EmbeddedConfig::default() };
    let opened = Embedded::open(place.path(), &config, WallClock::system(), Events::default());
    if let Ok(engine) = opened {
        let runtime = runtime();
        let member = Member { topic: topic.clone(), group: name("readers"), member: name("one") };
        let session_timeout = Duration::from_secs(600);
        let request = Join { member, session_timeout, start: StartAt::Beginning };
        let declared = runtime.block_on(engine.declare_topic(&topic, &TopicSpec::default()));
        let joined = runtime.block_on(engine.join(&request));
        while let (Ok(_), Ok(member), true) = (&declared, &joined, asked < 12) {
            let operations =
                [append("facts", event(asked, 300), None), append("facts", event(asked + 1, 300), None)];
            asked += 2;
            if runtime.block_on(engine.commit(operations.into_iter().collect())).is_err() {
                break;
            }
            acknowledged = asked;
            let membership = member.membership.clone();
            let advance = Operation::Advance { membership, partition: 0, next: asked };
            if runtime.block_on(engine.commit(advance.into())).is_err() {
                break;
            }
            advanced = asked;
        }
    }
    let has_failed = disk.has_failed();
    disk.fail(None);
    let engine = open(place.path(), WallClock::system());
    let found = records(&engine, "facts", 0);
    let ids: Vec<_> = found.iter().map(|record| (record.position, id(&record.content))).collect();
    let whole = (0..found.len() as u64).map(|at| (at, at)).collect::<Vec<_>>();
    assert_eq!(ids, whole, "{context}");
    let count = found.len() as u64;
    assert!((acknowledged..=asked).contains(&count), "{context}: {count} of {acknowledged} to {asked}");
    assert!(count.is_multiple_of(2), "{context}: a commit is there in part");
    declare(&engine);
    let position = join(&engine).partitions.iter().find(|(partition, _)| *partition == 0).map(|(_, at)| *at);
    assert!(
        position.is_some_and(|at| (advanced..=count).contains(&at)),
        "{context}: the group is at {position:?}"
    );
    has_failed
}

#[test]
fn no_failure_of_the_disk_takes_a_record_or_sets_a_group_back() {
    let check_each = |fault: fn(usize) -> Fault, step| {
        let failed = (0..).step_by(step).map(fault).take_while(|fault| check_fault(*fault)).count();
        assert!(failed > 5, "{failed}");
    };
    check_each(Fault::Sync, 1);
    check_each(Fault::Write, 7);
    check_each(Fault::NoRoom, 11);
}
