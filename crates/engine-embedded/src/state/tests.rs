//! The same is asked of the parts and of the model, and both must say the same.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::envelope::Envelope;
use intertie_core::quantity::{ByteSize, Ratio};
use intertie_core::telemetry::Events;
use intertie_messaging::commit::{Commit, CommitError, Committed, Operation, Outcome, Receipt};
use intertie_messaging::model::Model;
use intertie_messaging::queue::{
    Browse, Browsed, Cause, Depth, LeaseId, LeaseRequest, QueueEngine, QueueSpec, RedeliveryConfig,
    Settlement, TtlCounts,
};
use intertie_messaging::{
    Content, DeclareError, Due, Durability, Engine, EngineError, InboxEngine, Message, Name,
};
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::queue::{browse, nearest};

mod backlog;
mod bounds;
mod damage;

/// What both are asked.
#[derive(Debug, Clone)]
enum Step {
    Send(Vec<Sent>),
    Lease {
        consumer: u8,
        most: u32,
        time: Option<u64>,
    },
    Settle {
        lease: prop::sample::Index,
        settlement: Settlement,
        acked: Option<prop::sample::Index>,
        sent: Option<Sent>,
        mark: Option<u8>,
    },
    Extend {
        lease: prop::sample::Index,
        time: u64,
    },
    Cancel {
        position: u64,
    },
    Redrive {
        which: prop::sample::Index,
    },
    Pass {
        millis: u64,
    },
    Declare {
        max_deliveries: u32,
        depth_max: Option<u64>,
    },
    Restart,
}

#[derive(Debug, Clone)]
struct Sent {
    id: u8,
    priority: u8,
    delay: Option<u64>,
    group: Option<u8>,
    expires: Option<u64>,
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn sent() -> impl Strategy<Value = Sent> {
    (
        0..12_u8,
        prop_oneof![4 => Just(0), 1 => 0..3_u8],
        prop::option::weighted(0.3, 0..150_u64),
        prop::option::of(0..3_u8),
        prop::option::weighted(0.15, 0..400_u64),
    )
        .prop_map(|(id, priority, delay, group, expires)| Sent { id, priority, delay, group, expires })
}

fn settlement() -> impl Strategy<Value = Settlement> {
    prop_oneof![
        4 => Just(Settlement::Ack),
        2 => Just(Settlement::Retry { after: None }),
        2 => (0..120_u64).prop_map(|after| Settlement::Retry { after: Some(millis(after)) }),
        2 => Just(Settlement::Release),
        1 => "[ab]{0,3}".prop_map(|reason| Settlement::DeadLetter { cause: Cause::Rejected, reason }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        6 => prop::collection::vec(sent(), 1..4).prop_map(Step::Send),
        6 => (0..3_u8, 1..4_u32, prop::option::weighted(0.3, 1..300_u64))
            .prop_map(|(consumer, most, time)| Step::Lease { consumer, most, time }),
        7 => (
            index(),
            settlement(),
            prop::option::weighted(0.2, index()),
            prop::option::weighted(0.2, sent()),
            prop::option::weighted(0.2, 0..3_u8),
        )
            .prop_map(|(lease, settlement, acked, sent, mark)| {
                Step::Settle { lease, settlement, acked, sent, mark }
            }),
        1 => (index(), 0..300_u64).prop_map(|(lease, time)| Step::Extend { lease, time }),
        1 => (0..12_u64).prop_map(|position| Step::Cancel { position }),
        1 => index().prop_map(|which| Step::Redrive { which }),
        3 => (0..200_u64).prop_map(|millis| Step::Pass { millis }),
        1 => (1..4_u32, prop::option::of(1..8_u64))
            .prop_map(|(max_deliveries, depth_max)| Step::Declare { max_deliveries, depth_max }),
        1 => Just(Step::Restart),
    ]
}

fn spec() -> impl Strategy<Value = QueueSpec> {
    let time = |weight, from: u64, to| prop::option::weighted(weight, (from..to).prop_map(millis));
    let flags = (any::<bool>(), prop::bool::weighted(0.1), any::<bool>());
    let bounds =
        (1..4_u32, 1..6_u32, prop::option::weighted(0.2, 1..3_u32), prop::option::weighted(0.3, 1..8_u64));
    let times = (time(0.4, 50, 400), time(0.1, 300, 500), time(0.4, 50, 300), 0..300_u64);
    (flags, bounds, times, 1..4_u8, 1..4_u32).prop_map(|(flags, bounds, times, priorities, settlements)| {
        let count = |count| NonZeroU32::new(count).expect("not zero");
        QueueSpec {
            groups: flags.0,
            exclusive: flags.1,
            ttl_counts: if flags.2 { TtlCounts::Wait } else { TtlCounts::Age },
            max_deliveries: count(bounds.0),
            leases_max: count(bounds.1),
            leases_per_consumer_max: bounds.2.map(count),
            depth_max: bounds.3,
            ttl: times.0,
            auto_delete: times.1,
            deduplication_window: times.2,
            settlement_window: millis(times.3),
            settlements_max: count(settlements),
            priorities: NonZeroU8::new(priorities).expect("not zero"),
            visibility_timeout: millis(100),
            visibility_timeout_max: millis(250),
            redelivery: RedeliveryConfig {
                base: millis(30),
                cap: millis(100),
                jitter: Ratio::from_percent(0),
                ..RedeliveryConfig::default()
            },
            durability: Durability::UNSYNCED,
            ..QueueSpec::default()
        }
    })
}

/// The parts on a database in memory, at a time that a test tells.
struct Kept {
    parts: Parts,
    connection: Connection,
    config: EmbeddedConfig,
    damages: Damages,
}

impl Kept {
    fn new(step: u32) -> Self {
        let connection = Connection::open_in_memory().expect("opens");
        let count = |count| NonZeroU32::new(count).expect("not zero");
        let config =
            EmbeddedConfig { step: count(step), ready_heads: count(step), ..EmbeddedConfig::default() };
        Self::with(connection, config)
    }

    fn with(connection: Connection, config: EmbeddedConfig) -> Self {
        let damages = Damages::new(10, Events::default());
        let parts = Parts::load(&connection, &config, Waiting::new(1), damages.clone()).expect("loads");
        Self { parts, connection, config, damages }
    }

    fn restart(&mut self) {
        let damages = self.damages.clone();
        self.parts = Parts::load(&self.connection, &self.config, Waiting::new(1), damages).expect("loads");
    }

    fn pass(&mut self, now: Timestamp) {
        for _ in 0..10_000 {
            if self.parts.next_due().is_none_or(|due| due > now) {
                return;
            }
            self.parts.run_due(&self.connection, now).expect("runs");
            self.parts.flush(&self.connection).expect("flushes");
        }
        panic!("something is always due: {:?}", self.parts);
    }

    fn ask(&mut self, command: Command, now: Timestamp) -> Result<Reply, Refusal> {
        self.pass(now);
        let reply = self.ask_in_group(command, now);
        self.end_group();
        reply
    }

    /// The same, with others after it in one commit.
    fn ask_in_group(&mut self, command: Command, now: Timestamp) -> Result<Reply, Refusal> {
        let mut checked = self.parts.check(&self.connection, &command, now).expect("checks");
        if let Err(refusal) = &mut checked
            && let Some((name, found)) = refusal.not_found()
        {
            assert_eq!(*found, None, "nobody looks for it on the writer");
            *found = nearest(&self.connection, name).expect("reads");
        }
        checked?;
        Ok(self.parts.apply(&self.connection, command, now).expect("applies"))
    }

    fn end_group(&mut self) {
        self.parts.flush(&self.connection).expect("flushes");
        self.parts.committed();
    }

    fn commit(&mut self, commit: Commit, now: Timestamp) -> Result<Committed, CommitError> {
        let changes = commit.operations.into_iter().map(Change::from).collect();
        match self.ask(Command::Commit(changes), now) {
            Ok(Reply::Committed(committed)) => Ok(committed),
            Err(Refusal::Commit(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    fn depth(&mut self, queue: &Name, now: Timestamp) -> Result<Depth, EngineError> {
        match self.ask(Command::Depth { queue: queue.clone() }, now) {
            Ok(Reply::Depth(Some(found))) => {
                Ok(Depth { bytes: None, consumers: Some(found.holders.len() as u64), ..found.depth })
            }
            Err(Refusal::Engine(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    fn browse(&mut self, queue: &Name, now: Timestamp) -> Vec<Browsed> {
        match self.ask(Command::Held { browse: all(queue) }, now) {
            Ok(Reply::Held(Some((number, held)))) => {
                browse(&self.connection, number, &held, &all(queue)).expect("reads").messages
            }
            Err(Refusal::Engine(EngineError::NotFound { .. })) => Vec::new(),
            other => panic!("{other:?}"),
        }
    }
}

fn all(queue: &Name) -> Browse {
    let bytes_max = ByteSize::from_bytes(1 << 30);
    Browse { queue: queue.clone(), from: 0, most: NonZeroU32::MAX, bytes_max }
}

/// What the model says, in the words of the parts.
fn synced(committed: Committed) -> Committed {
    let receipt = |receipt: Receipt| Receipt { durability: Durability::SYNCED, ..receipt };
    match committed {
        Committed::Done(outcomes) => Committed::Done(
            outcomes
                .into_iter()
                .map(|outcome| match outcome {
                    Outcome::Stored(stored) => Outcome::Stored(receipt(stored)),
                    Outcome::Duplicate(stored) => Outcome::Duplicate(receipt(stored)),
                    Outcome::Done => Outcome::Done,
                })
                .collect(),
        ),
        Committed::DoneBefore => Committed::DoneBefore,
    }
}

/// Both, and what they were told so far.
struct Pair {
    runtime: Runtime,
    model: Model,
    kept: Kept,
    queue: Name,
    spec: QueueSpec,
    /// What the model calls each lease, and what the parts do.
    leases: Vec<(LeaseId, LeaseId)>,
}

impl Pair {
    fn new(spec: QueueSpec, step: u32) -> Self {
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let clock = WallClock::fixed(Timestamp::from_unix_seconds(1_755_945_000));
        let model = runtime.block_on(async { Model::new(&clock) });
        let mut pair =
            Self { runtime, model, kept: Kept::new(step), queue: name("orders"), spec, leases: Vec::new() };
        pair.declare();
        pair
    }

    fn now(&self) -> Timestamp {
        self.runtime.block_on(async { self.model.now() })
    }

    fn pass(&self, time: Duration) {
        self.runtime.block_on(tokio::time::advance(time));
    }

    fn declare(&mut self) {
        let (queue, spec) = (self.queue.clone(), self.spec.clone());
        let expected = self.runtime.block_on(self.model.declare_queue(&queue, &spec)).map(|_| ());
        let now = self.now();
        let declared = match self.kept.ask(Command::Declare { name: queue, spec: Box::new(spec) }, now) {
            Ok(_) => Ok(()),
            Err(Refusal::Declare(error)) => Err(error),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(declared, expected.map_err(|error: DeclareError| error));
    }

    fn commit(&mut self, operations: Vec<Operation>, theirs: Vec<Operation>) {
        let commit = |operations: Vec<Operation>| operations.into_iter().collect::<Commit>();
        let expected = self.runtime.block_on(self.model.commit(commit(theirs))).map(synced);
        let now = self.now();
        assert_eq!(self.kept.commit(commit(operations), now), expected);
    }

    fn send(&self, sent: &Sent) -> Operation {
        let mut envelope = Envelope::new(&sent.id.to_string(), "/test", "tested").expect("an event");
        if let Some(group) = sent.group {
            envelope = envelope.with_partition_key(&group.to_string()).expect("a key");
        }
        if let Some(expires) = sent.expires {
            let at = self.now().as_unix_nanos() + expires * 1_000_000;
            envelope = envelope.with_expiry_time(Timestamp::from_unix_nanos(at));
        }
        let due = sent.delay.map_or(Due::Now, |delay| Due::After(millis(delay)));
        let message = Message { envelope, priority: sent.priority, due };
        Operation::Send { queue: self.queue.clone(), message }
    }

    fn take(&mut self, step: &Step) {
        self.pass(millis(1));
        let queue = self.queue.clone();
        match step {
            Step::Send(messages) => {
                let operations: Vec<_> = messages.iter().map(|sent| self.send(sent)).collect();
                self.commit(operations.clone(), operations);
            }
            Step::Lease { consumer, most, time } => self.lease(*consumer, *most, *time),
            Step::Settle { lease, settlement, acked, sent, mark } => {
                if self.leases.is_empty() {
                    return;
                }
                let settle = |lease: &LeaseId, settlement: &Settlement| {
                    let (queue, lease) = (queue.clone(), lease.clone());
                    Operation::Settle { queue, lease, settlement: settlement.clone() }
                };
                // The older delivery first: of two that are settled at one moment it is forgotten first after
                // a restart.
                let count = self.leases.len();
                let (first, second) = (lease.index(count), acked.map(|acked| acked.index(count)));
                let lease = &self.leases[second.map_or(first, |second| first.min(second))];
                let acked = second.map(|second| &self.leases[first.max(second)]);
                let mut ours = vec![settle(&lease.1, settlement)];
                let mut theirs = vec![settle(&lease.0, settlement)];
                ours.extend(acked.map(|acked| settle(&acked.1, &Settlement::Ack)));
                theirs.extend(acked.map(|acked| settle(&acked.0, &Settlement::Ack)));
                let mut others: Vec<_> = sent.iter().map(|sent| self.send(sent)).collect();
                others.extend(mark.map(|key| {
                    let (inbox, key) = (name("inbox"), key.to_string());
                    Operation::Mark { inbox, key, kept: millis(200) }
                }));
                ours.extend(others.iter().cloned());
                theirs.extend(others);
                self.commit(ours, theirs);
            }
            Step::Extend { lease, time } => {
                if self.leases.is_empty() {
                    return;
                }
                let (theirs, ours) = lease.get(&self.leases).clone();
                let time = millis(*time);
                let expected = self.runtime.block_on(self.model.extend(&queue, &theirs, time));
                let now = self.now();
                let extended = match self.kept.ask(Command::Extend { queue, lease: ours, time }, now) {
                    Ok(Reply::Until(until)) => Ok(until),
                    Err(Refusal::Engine(error)) => Err(error),
                    other => panic!("{other:?}"),
                };
                assert_eq!(extended, expected);
            }
            Step::Cancel { position } => {
                let cancel = vec![Operation::Cancel { queue, position: *position }];
                self.commit(cancel.clone(), cancel);
            }
            Step::Redrive { which } => self.redrive(which),
            Step::Pass { millis: time } => self.pass(millis(*time)),
            Step::Declare { max_deliveries, depth_max } => {
                let max_deliveries = NonZeroU32::new(*max_deliveries).expect("not zero");
                self.spec = QueueSpec { max_deliveries, depth_max: *depth_max, ..self.spec.clone() };
                self.declare();
            }
            // Who asked and got nothing is forgotten, and nobody counts the time in which there was no engine.
            Step::Restart if self.spec.exclusive || self.spec.auto_delete.is_some() => {}
            Step::Restart => self.kept.restart(),
        }
    }

    fn lease(&mut self, consumer: u8, most: u32, time: Option<u64>) {
        let request = LeaseRequest {
            queue: self.queue.clone(),
            consumer: name(&format!("consumer-{consumer}")),
            most: NonZeroU32::new(most).expect("not zero"),
            bytes_max: ByteSize::from_bytes(1 << 20),
            visibility_timeout: time.map(millis),
            wait: Duration::ZERO,
        };
        let expected = self.runtime.block_on(self.model.lease(&request));
        let now = self.now();
        let secret = fastrand::u64(..);
        match (self.kept.ask(Command::Lease { request, secret }, now), expected) {
            (Ok(Reply::Leased { leased, .. }), Ok(expected)) => {
                assert_eq!(leased.len(), expected.len(), "leases: {leased:?}, not {expected:?}");
                for (own, expected) in leased.into_iter().zip(expected) {
                    let id: LeaseId = own.token.into();
                    self.leases.push((expected.id.clone(), id.clone()));
                    let own = crate::embedded::lease_of(own);
                    assert_eq!(own, intertie_messaging::queue::Lease { id, ..expected });
                }
            }
            (Err(Refusal::Engine(error)), Err(expected)) => assert_eq!(error, expected),
            other => panic!("{other:?}"),
        }
    }

    fn redrive(&mut self, which: &prop::sample::Index) {
        let dead = name(&format!("{}.dead", self.queue));
        let now = self.now();
        let own = self.kept.browse(&dead, now);
        let Ok(theirs) = self.runtime.block_on(self.model.browse(&all(&dead))) else { return };
        if theirs.messages.is_empty() {
            return;
        }
        let expected = which.get(&theirs.messages);
        let found = own.iter().find(|own| own.dead_letter == expected.dead_letter);
        let found = found.expect("the same died").position;
        let redrive =
            |position| vec![Operation::Redrive { queue: dead.clone(), position, to: self.queue.clone() }];
        let (ours, theirs) = (redrive(found), redrive(expected.position));
        self.commit(ours, theirs);
    }

    fn compare(&mut self) {
        // The model lets die what is given back too late at the next moment, the parts do at once.
        self.pass(millis(1));
        let (queue, now) = (self.queue.clone(), self.now());
        let expected = self.runtime.block_on(self.model.depth(&queue));
        let expected = expected.map(|depth| Depth { bytes: None, ..depth });
        assert_eq!(self.kept.depth(&queue, now), expected);
        let theirs = self.runtime.block_on(self.model.browse(&all(&queue)));
        assert_eq!(self.kept.browse(&queue, now), theirs.map(|page| page.messages).unwrap_or_default());
        // Those that die at one look stand in another order.
        let dead = name(&format!("{queue}.dead"));
        let theirs = self.runtime.block_on(self.model.browse(&all(&dead)));
        let sorted = |messages: Vec<Browsed>| {
            let mut dead: Vec<_> =
                messages.iter().map(|message| (id(message), format!("{:?}", message.dead_letter))).collect();
            dead.sort();
            dead
        };
        let theirs = sorted(theirs.map(|page| page.messages).unwrap_or_default());
        assert_eq!(sorted(self.kept.browse(&dead, now)), theirs);
        for key in ["0", "1", "2"] {
            let expected = self.runtime.block_on(self.model.is_marked(&name("inbox"), key));
            let command = Command::IsMarked { inbox: name("inbox"), key: key.to_owned() };
            let is_marked = match self.kept.ask(command, now) {
                Ok(Reply::IsMarked(is_marked)) => Ok(is_marked),
                other => panic!("{other:?}"),
            };
            assert_eq!(is_marked, expected);
        }
    }
}

fn id(message: &Browsed) -> String {
    match &message.content {
        Content::Envelope(envelope) => envelope.id().to_owned(),
        Content::Undecodable { problem, .. } => problem.clone(),
    }
}

proptest! {
    #[test]
    fn the_parts_do_what_the_model_does(
        spec in spec(),
        step_max in prop_oneof![Just(1), Just(3), Just(1000)],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut pair = Pair::new(spec, step_max);
        for step in steps {
            pair.take(&step);
            pair.compare();
        }
    }
}
