//! Topics and queues together: the same is asked of the parts and of the model, and both must say the same.

use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::envelope::{Data, Envelope};
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_messaging::commit::{Commit, Committed, Operation, Outcome, Receipt};
use intertie_messaging::log::{
    Assignment, Cleanup, Heartbeat, Join, Lag, LogEngine, Member, Read, Record, Seek, StartAt, Stored,
    TopicSpec,
};
use intertie_messaging::model::Model;
use intertie_messaging::queue::{LeaseId, LeaseRequest, QueueEngine, QueueSpec, Settlement};
use intertie_messaging::{DeclareError, Durability, Engine, EngineError, Listing, Name};
use proptest::prelude::*;
use rusqlite::Connection;
use tokio::runtime::{Builder, Runtime};

use crate::content;
use crate::damage::Damages;
use crate::embedded::EmbeddedConfig;
use crate::log::{self, Ask, Published, Said};
use crate::moment::timestamp;
use crate::state::{Change, Command, Parts, Refusal, Reply};
use crate::store::State;
use crate::wakes::Waiting;

#[derive(Debug, Clone)]
enum Step {
    /// Records, and a message beside them.
    Append(Vec<Appended>, bool),
    Join {
        group: u8,
        member: u8,
        session: u64,
        start: Start,
    },
    Stay {
        who: prop::sample::Index,
        obeys: bool,
    },
    Leave(prop::sample::Index),
    /// As a member that joined once, and with it the acknowledgement of a message and a record.
    Advance {
        who: prop::sample::Index,
        partition: u32,
        next: u64,
        again: Option<u64>,
        lease: Option<prop::sample::Index>,
        record: Option<Appended>,
    },
    Lease,
    Seek {
        group: u8,
        partition: Option<u32>,
        to: Start,
    },
    Declare {
        more: u32,
        retention: u64,
        other: bool,
    },
    Delete,
    Pass(u64),
    Restart,
}

#[derive(Debug, Clone)]
struct Appended {
    partition: Option<u32>,
    key: Option<u8>,
    has_data: bool,
    is_tombstone: bool,
}

#[derive(Debug, Clone, Copy)]
enum Start {
    Beginning,
    End,
    Position(u64),
    /// So many milliseconds ago.
    Ago(u64),
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn damages() -> Damages {
    Damages::new(1, Events::default())
}

fn appended() -> impl Strategy<Value = Appended> {
    let flags = (prop::bool::weighted(0.8), prop::bool::weighted(0.15));
    (prop::option::weighted(0.3, 0..4_u32), prop::option::weighted(0.7, 0..4_u8), flags).prop_map(
        |(partition, key, (has_data, tombstone))| {
            let is_tombstone = tombstone || (key.is_some() && !has_data);
            Appended { partition, key, has_data: has_data && !tombstone, is_tombstone }
        },
    )
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Beginning),
        Just(Start::End),
        (0..30_u64).prop_map(Start::Position),
        (0..90_u64).prop_map(Start::Ago),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        8 => (prop::collection::vec(appended(), 1..6), prop::bool::weighted(0.2))
            .prop_map(|(records, message)| Step::Append(records, message)),
        3 => (0..2_u8, 0..3_u8, 10..150_u64, start())
            .prop_map(|(group, member, session, start)| Step::Join { group, member, session, start }),
        4 => (index(), any::<bool>()).prop_map(|(who, obeys)| Step::Stay { who, obeys }),
        1 => index().prop_map(Step::Leave),
        5 => (
            index(),
            0..4_u32,
            0..30_u64,
            prop::option::weighted(0.2, 0..30_u64),
            prop::option::weighted(0.3, index()),
            prop::option::weighted(0.3, appended()),
        )
            .prop_map(|(who, partition, next, again, lease, record)| {
                Step::Advance { who, partition, next, again, lease, record }
            }),
        2 => Just(Step::Lease),
        1 => (0..2_u8, prop::option::of(0..4_u32), start())
            .prop_map(|(group, partition, to)| Step::Seek { group, partition, to }),
        1 => (0..2_u32, 30..100_u64, any::<bool>())
            .prop_map(|(more, retention, other)| Step::Declare { more, retention, other }),
        1 => prop::bool::weighted(0.3).prop_map(|gone| if gone { Step::Delete } else { Step::Pass(100) }),
        4 => (0..60_u64).prop_map(Step::Pass),
        2 => Just(Step::Restart),
    ]
}

/// The parts on a database in memory, and the model.
struct Pair {
    runtime: Runtime,
    model: Model,
    connection: Connection,
    config: EmbeddedConfig,
    published: Published,
    parts: Parts,
    topic: Name,
    queue: Name,
    spec: TopicSpec,
    sent: u32,
    members: Vec<Assignment>,
    /// What the model calls each lease, and what the parts do.
    leases: Vec<(LeaseId, LeaseId)>,
}

impl Pair {
    fn new(spec: TopicSpec, step: u32) -> Self {
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let clock = WallClock::fixed(Timestamp::from_unix_seconds(1_755_945_000));
        let model = runtime.block_on(async { Model::new(&clock) });
        let connection = Connection::open_in_memory().expect("opens");
        let step = NonZeroU32::new(step).expect("not zero");
        let config = EmbeddedConfig { step, ..EmbeddedConfig::default() };
        let published = Published::new(1);
        let parts =
            Parts::load(&connection, &config, Waiting::new(1), published.clone(), damages()).expect("loads");
        let (topic, queue) = (name("facts"), name("orders"));
        let (sent, members, leases) = (0, Vec::new(), Vec::new());
        let mut pair = Self {
            runtime,
            model,
            connection,
            config,
            published,
            parts,
            topic,
            queue,
            spec,
            sent,
            members,
            leases,
        };
        assert!(!log::tables::are_there(&pair.connection).expect("reads"), "there is no topic yet");
        pair.declare(pair.spec.clone());
        let queue = QueueSpec {
            durability: Durability::UNSYNCED,
            visibility_timeout: Duration::from_secs(60),
            ..QueueSpec::default()
        };
        pair.runtime.block_on(pair.model.declare_queue(&pair.queue, &queue)).expect("declares");
        let declare = Command::Declare { name: pair.queue.clone(), spec: Box::new(queue) };
        pair.ask(declare).expect("declares");
        pair
    }

    fn now(&self) -> Timestamp {
        self.runtime.block_on(async { self.model.now() })
    }

    /// Does what is due now.
    fn settle(&mut self) {
        let now = self.now();
        for _ in 0..10_000 {
            if self.parts.next_due().is_none_or(|due| due > now) {
                return;
            }
            self.parts.run_due(&self.connection, now).expect("runs");
            self.parts.flush(&self.connection).expect("flushes");
        }
        panic!("something is always due: {:?}", self.parts);
    }

    fn ask(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.settle();
        let now = self.now();
        self.parts.check(&self.connection, &command, now).expect("checks")?;
        let reply = self.parts.apply(&self.connection, command, now).expect("applies");
        self.parts.flush(&self.connection).expect("flushes");
        self.parts.committed();
        Ok(reply)
    }

    fn ask_topic(&mut self, ask: Ask) -> Result<Said, EngineError> {
        match self.ask(Command::Topic(ask)) {
            Ok(Reply::Topic(said)) => Ok(said),
            Err(Refusal::Declare(DeclareError::Engine(error))) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    fn declare(&mut self, spec: TopicSpec) {
        let ask = Ask::Declare { name: self.topic.clone(), spec: Box::new(spec.clone()) };
        match self.ask(Command::Topic(ask)) {
            Ok(_) => {
                let declared = self.runtime.block_on(self.model.declare_topic(&self.topic, &spec));
                declared.expect("the model does all that the parts do");
                self.spec = spec;
            }
            Err(Refusal::Declare(DeclareError::Fixed { key: "cleanup", .. })) => {
                let kept =
                    (0..self.spec.partitions.get()).any(|partition| !self.records(partition).is_empty());
                assert!(kept && spec.cleanup != self.spec.cleanup);
            }
            other => panic!("{other:?}"),
        }
    }

    fn record(&mut self, appended: &Appended) -> Record {
        self.sent += 1;
        let mut envelope = Envelope::new(&self.sent.to_string(), "/test", "tested").expect("an event");
        if let Some(key) = appended.key {
            envelope = envelope.with_partition_key(&key.to_string()).expect("a key");
        }
        if appended.has_data {
            envelope = envelope.with_data(Data::text("data"), Some("text/plain")).expect("data");
        }
        let tombstone = appended.is_tombstone && self.spec.cleanup == Cleanup::Compact;
        Record { envelope, partition: appended.partition, tombstone }
    }

    fn append(&mut self, appended: &Appended) -> Operation {
        Operation::Append { topic: self.topic.clone(), record: self.record(appended) }
    }

    /// Commits both, the records of the model to the partitions that the parts chose where no key does.
    fn commit(&mut self, ours: Vec<Operation>, mut theirs: Vec<Operation>) {
        let changes = ours.into_iter().map(Change::from).collect();
        let committed = match self.ask(Command::Commit(changes)) {
            Ok(Reply::Committed(committed)) => Ok(committed),
            Err(Refusal::Commit(error) | Refusal::Topic(error)) => Err(error),
            other => panic!("{other:?}"),
        };
        if let Ok(Committed::Done(outcomes)) = &committed {
            for (operation, outcome) in theirs.iter_mut().zip(outcomes) {
                if let (Operation::Append { record, .. }, Outcome::Stored(receipt)) = (operation, outcome) {
                    assert!(record.partition.is_none_or(|partition| partition == receipt.partition));
                    if record.envelope.partition_key().is_none() {
                        record.partition = Some(receipt.partition);
                    }
                }
            }
        }
        let expected = self.runtime.block_on(self.model.commit(theirs.into_iter().collect::<Commit>()));
        assert_eq!(committed, expected.map(synced));
    }

    fn start(&self, start: Start) -> StartAt {
        match start {
            Start::Beginning => StartAt::Beginning,
            Start::End => StartAt::End,
            Start::Position(position) => StartAt::Position(position),
            Start::Ago(time) => {
                StartAt::Time(Timestamp::from_unix_nanos(self.now().as_unix_nanos() - time * 1_000_000))
            }
        }
    }

    fn take(&mut self, step: &Step) {
        self.runtime.block_on(tokio::time::advance(millis(1)));
        match step {
            Step::Append(records, message) => {
                let mut operations: Vec<_> = records.iter().map(|record| self.append(record)).collect();
                if *message {
                    let message = self.record(&Appended::plain()).envelope.into();
                    operations
                        .insert(operations.len() / 2, Operation::Send { queue: self.queue.clone(), message });
                }
                self.commit(operations.clone(), operations);
            }
            Step::Join { group, member, session, start } => {
                let (group, member) = (name(&format!("group-{group}")), name(&format!("member-{member}")));
                let member = Member { topic: self.topic.clone(), group, member };
                let join = Join { member, session_timeout: millis(*session), start: self.start(*start) };
                let expected = self.runtime.block_on(self.model.join(&join));
                let said =
                    self.ask_topic(Ask::Join { join, starts: Vec::new() }).expect("the topic is there");
                let Said::Joined(joined) = said else { panic!("{said:?}") };
                assert_eq!(joined, expected);
                self.members.extend(joined);
            }
            Step::Stay { who, obeys } => {
                if self.members.is_empty() {
                    return;
                }
                let at = who.index(self.members.len());
                let Assignment { membership, to_release, .. } = self.members[at].clone();
                let released = if *obeys { to_release } else { Vec::new() };
                let heartbeat = Heartbeat { membership, released };
                let expected = self.runtime.block_on(self.model.heartbeat(&heartbeat));
                let said = self.ask_topic(Ask::Heartbeat(heartbeat)).expect("the topic is there");
                let Said::Stayed(stayed) = said else { panic!("{said:?}") };
                assert_eq!(stayed, expected);
                if let Ok(stayed) = stayed {
                    self.members[at] = stayed;
                }
            }
            Step::Leave(who) => {
                if self.members.is_empty() {
                    return;
                }
                let membership = who.get(&self.members).membership.clone();
                self.runtime.block_on(self.model.leave(&membership)).expect("leaves");
                self.ask_topic(Ask::Leave(membership)).expect("leaves");
            }
            Step::Advance { who, partition, next, again, lease, record } => {
                if self.members.is_empty() {
                    return;
                }
                let membership = who.get(&self.members).membership.clone();
                let advance = |next: u64| {
                    let membership = membership.clone();
                    Operation::Advance { membership, partition: *partition, next }
                };
                let mut ours: Vec<_> = [Some(*next), *again].into_iter().flatten().map(advance).collect();
                let mut theirs = ours.clone();
                if let Some(record) = record {
                    let append = self.append(record);
                    ours.push(append.clone());
                    theirs.push(append);
                }
                if let Some(lease) = lease.filter(|_| !self.leases.is_empty()) {
                    let (their, our) = lease.get(&self.leases).clone();
                    let settle = |lease| {
                        let queue = self.queue.clone();
                        Operation::Settle { queue, lease, settlement: Settlement::Ack }
                    };
                    ours.push(settle(our));
                    theirs.push(settle(their));
                }
                self.commit(ours, theirs);
            }
            Step::Lease => self.lease(),
            Step::Seek { group, partition, to } => {
                let group = name(&format!("group-{group}"));
                let seek =
                    Seek { topic: self.topic.clone(), group, partition: *partition, to: self.start(*to) };
                let expected = self.runtime.block_on(self.model.seek(&seek));
                let said =
                    self.ask_topic(Ask::Seek { seek, starts: Vec::new() }).expect("the topic is there");
                let Said::Sought(places) = said else { panic!("{said:?}") };
                assert_eq!(places, expected);
            }
            Step::Declare { more, retention, other } => {
                let partitions = (self.spec.partitions.get() + more).min(4);
                let cleanup = match self.spec.cleanup {
                    Cleanup::Delete if *other => Cleanup::Compact,
                    Cleanup::Compact if *other => Cleanup::Delete,
                    cleanup => cleanup,
                };
                let partitions = NonZeroU32::new(partitions).expect("not zero");
                let retention = millis(*retention);
                self.declare(TopicSpec { partitions, cleanup, retention, ..self.spec.clone() });
            }
            Step::Delete => {
                self.runtime.block_on(self.model.delete_topic(&self.topic)).expect("deletes");
                self.ask_topic(Ask::Delete { name: self.topic.clone() }).expect("deletes");
                self.members.clear();
                self.declare(self.spec.clone());
            }
            Step::Pass(time) => self.runtime.block_on(tokio::time::advance(millis(*time))),
            Step::Restart => {
                self.settle();
                // Where time is paused.
                self.runtime.block_on(async { self.model.restart() });
                self.published = Published::new(1);
                let published = self.published.clone();
                self.parts =
                    Parts::load(&self.connection, &self.config, Waiting::new(1), published, damages())
                        .expect("loads");
                self.settle();
            }
        }
    }

    fn lease(&mut self) {
        let request = LeaseRequest {
            queue: self.queue.clone(),
            consumer: name("worker"),
            most: NonZeroU32::MIN,
            bytes_max: ByteSize::from_bytes(1 << 20),
            visibility_timeout: None,
            wait: Duration::ZERO,
        };
        let theirs = self.runtime.block_on(self.model.lease(&request)).expect("leases");
        match self.ask(Command::Lease { request, secret: u64::from(self.sent) }) {
            Ok(Reply::Leased { leased, .. }) => {
                assert_eq!(leased.len(), theirs.len());
                let pairs = theirs.into_iter().zip(leased);
                self.leases.extend(pairs.map(|(theirs, ours)| (theirs.id, ours.token.into())));
            }
            other => panic!("{other:?}"),
        }
    }

    /// All that readers find in a partition, a few at a time.
    fn records(&self, partition: u32) -> Vec<Stored> {
        let (number, end) = self.published.partition(&self.topic, partition).expect("is there");
        let (mut records, mut from) = (Vec::new(), 0);
        loop {
            let page = log::page(&self.connection, number, from, end, 3, 1 << 20).expect("reads");
            assert!(page.len() <= 3);
            let Some(last) = page.last() else { return records };
            from = last.position + 1;
            records.extend(page.into_iter().map(|kept| Stored {
                position: kept.position,
                content: content::read(kept.content.into()),
                stored_at: timestamp(kept.stored),
            }));
        }
    }

    fn lag(&self, group: &Name) -> Vec<Lag> {
        let found = self.published.topic(&self.topic).expect("is there");
        let partitions: Vec<_> = (0..).zip(found.partitions.iter().map(|(number, _)| *number)).collect();
        let of = (found.number, found.cleanup);
        let mut lags = log::lag(&self.connection, of, group, &partitions).expect("reads");
        if found.cleanup == Cleanup::Compact {
            for (lag, (_, number)) in lags.iter_mut().zip(partitions) {
                lag.records = log::count(&self.connection, number, lag.position, lag.end).expect("reads").0;
            }
        }
        lags
    }

    fn compare(&mut self) {
        // The model compacts when time goes by, the parts at once.
        self.runtime.block_on(tokio::time::advance(millis(1)));
        self.settle();
        let listing = Listing { after: None, most: NonZeroU32::MAX };
        for partition in 0..self.spec.partitions.get() {
            let read = Read {
                topic: self.topic.clone(),
                partition,
                from: 0,
                most: NonZeroU32::MAX,
                bytes_max: ByteSize::from_bytes(1 << 30),
                wait: Duration::ZERO,
            };
            let expected = self.runtime.block_on(self.model.read(&read)).expect("reads");
            assert_eq!(self.records(partition), expected.records, "partition {partition}");
            let (number, end) = self.published.partition(&self.topic, partition).expect("is there");
            assert_eq!(end, expected.end);
            let starts = [Start::Beginning, Start::End, Start::Position(3), Start::Ago(0), Start::Ago(40)];
            for at in starts.map(|start| self.start(start)) {
                let expected = self.runtime.block_on(self.model.find(&self.topic, partition, at));
                assert_eq!(log::find(&self.connection, number, at, end).ok(), expected.ok(), "{at:?}");
            }
        }
        for group in [0, 1, 2].map(|group| name(&format!("group-{group}"))) {
            let expected = self.runtime.block_on(self.model.lag(&self.topic, &group)).expect("is there");
            assert_eq!(self.lag(&group), expected);
        }
        let expected = self.runtime.block_on(self.model.groups(&self.topic, &listing)).expect("is there");
        let number = self.published.topic(&self.topic).expect("is there").number;
        let names = log::groups(&self.connection, number, &listing).expect("reads");
        assert_eq!(names, expected.iter().map(Name::as_str).collect::<Vec<_>>());
        let depth = self.runtime.block_on(self.model.depth(&self.queue)).expect("is there");
        match self.ask(Command::Depth { queue: self.queue.clone() }) {
            Ok(Reply::Depth(Some(found))) => {
                let own = (found.depth.ready, found.depth.in_flight);
                assert_eq!(own, (depth.ready, depth.in_flight));
            }
            other => panic!("{other:?}"),
        }
    }

    /// What is left in the tables when all is gone that nobody keeps.
    fn end(&mut self) {
        self.ask_topic(Ask::Delete { name: self.topic.clone() }).expect("deletes");
        self.settle();
        for table in [
            "topic",
            "topic_partition",
            "record",
            "record_key",
            "record_tombstone",
            "topic_group",
            "topic_member",
            "topic_position",
        ] {
            // One row that is no group is where groups begin.
            let sql = match table {
                "topic_group" => "SELECT count(*) FROM topic_group WHERE number > 0".to_owned(),
                _ => format!("SELECT count(*) FROM {table}"),
            };
            let rows: i64 = self.connection.query_row(&sql, [], |row| row.get(0)).expect(table);
            assert_eq!(rows, 0, "{table}");
        }
    }
}

impl Appended {
    fn plain() -> Self {
        Self { partition: None, key: None, has_data: true, is_tombstone: false }
    }
}

/// What the model says, in the words of the parts.
fn synced(committed: Committed) -> Committed {
    let outcome = |outcome| match outcome {
        Outcome::Stored(receipt) => Outcome::Stored(Receipt { durability: Durability::SYNCED, ..receipt }),
        other => other,
    };
    match committed {
        Committed::Done(outcomes) => Committed::Done(outcomes.into_iter().map(outcome).collect()),
        Committed::DoneBefore => Committed::DoneBefore,
    }
}

proptest! {
    #[test]
    fn topics_and_queues_do_what_the_model_does(
        partitions in 1..4_u32,
        is_compact: bool,
        retention in 30..100_u64,
        step_max in prop_oneof![Just(1), Just(3), Just(1000)],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let spec = TopicSpec {
            partitions: NonZeroU32::new(partitions).expect("not zero"),
            cleanup: if is_compact { Cleanup::Compact } else { Cleanup::Delete },
            retention: millis(retention),
            durability: Durability::UNSYNCED,
            ..TopicSpec::default()
        };
        let mut pair = Pair::new(spec, step_max);
        for step in steps {
            pair.take(&step);
            pair.compare();
        }
        pair.end();
    }
}
