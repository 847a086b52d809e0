//! Power is lost at any moment of a queue's day: what was acknowledged is there, what was settled does not
//! come again, and nothing comes more often than it may.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::envelope::Envelope;
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_engine_embedded::store::Defect;
use intertie_engine_embedded::{Embedded, EmbeddedConfig};
use intertie_messaging::commit::{Commit, Operation};
use intertie_messaging::queue::{
    Browse, Browsed, Cause, Lease, LeaseRequest, QueueEngine, QueueSpec, RedeliveryConfig, Settlement,
};
use intertie_messaging::{Content, Engine, Name};
use intertie_simulated_disk::Disk;

use crate::workload::{directory, runtime, small};

const MAX_DELIVERIES: u32 = 3;

/// What callers were told of a message, each with how many operations the disk had done by then.
#[derive(Debug, Default)]
struct Told {
    /// When it was sent, as far as anybody knows.
    stored: Option<usize>,
    /// When somebody began to settle it for good.
    ending: Option<usize>,
    /// When that was done.
    ended: Option<usize>,
    /// Each delivery.
    delivered: Vec<(u32, usize)>,
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

fn request(queue: &Name, most: u32) -> LeaseRequest {
    LeaseRequest {
        queue: queue.clone(),
        consumer: name("worker"),
        most: most.try_into().expect("not zero"),
        bytes_max: ByteSize::from_bytes(1 << 20),
        visibility_timeout: None,
        wait: Duration::ZERO,
    }
}

fn id(content: &Content) -> u64 {
    match content {
        Content::Envelope(envelope) => envelope.id().parse().expect("a number"),
        Content::Undecodable { problem, .. } => panic!("{problem}"),
    }
}

fn send(queue: &Name, id: u64) -> Operation {
    let envelope = Envelope::new(&id.to_string(), "/test", "tested").expect("an event");
    let envelope = envelope.with_partition_key(&(id % 5).to_string()).expect("a key");
    Operation::Send { queue: queue.clone(), message: envelope.into() }
}

fn settle(queue: &Name, lease: &Lease, settlement: Settlement) -> Operation {
    Operation::Settle { queue: queue.clone(), lease: lease.id.clone(), settlement }
}

/// Sends, leases and settles in several ways, and notes what was heard when.
fn work(engine: &Embedded, disk: &Disk, seed: u64) -> BTreeMap<u64, Told> {
    let (runtime, queue) = (runtime(), name("orders"));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut told: BTreeMap<u64, Told> = BTreeMap::new();
    let redelivery = RedeliveryConfig {
        base: Duration::from_nanos(1),
        cap: Duration::from_nanos(1),
        ..RedeliveryConfig::default()
    };
    let spec = QueueSpec {
        max_deliveries: MAX_DELIVERIES.try_into().expect("not zero"),
        deduplication_window: Some(Duration::from_secs(60)),
        visibility_timeout: Duration::from_millis(5),
        groups: random.bool(),
        redelivery,
        ..QueueSpec::default()
    };
    runtime.block_on(engine.declare_queue(&queue, &spec)).expect("declares");
    let mut next = 0;
    let mut sends = |random: &mut fastrand::Rng| -> Vec<u64> {
        let first = next;
        next += random.u64(1..4);
        (first..next).collect()
    };
    for _ in 0..25 {
        let ids = sends(&mut random);
        let batch: Commit = ids.iter().map(|id| send(&queue, *id)).collect();
        runtime.block_on(engine.commit(batch)).expect("stores");
        for id in ids {
            told.entry(id).or_default().stored = Some(disk.operations());
        }
        for lease in runtime.block_on(engine.lease(&request(&queue, 3))).expect("leases") {
            let own = id(&lease.content);
            let of = told.entry(own).or_default();
            of.delivered.push((lease.deliveries.get(), disk.operations()));
            let mut commit = Vec::new();
            let (settlement, follows) = match random.u8(..10) {
                0..=3 => (Settlement::Ack, Vec::new()),
                4 => (Settlement::Ack, sends(&mut random)),
                5 | 6 => (Settlement::Retry { after: None }, Vec::new()),
                7 => (Settlement::Release, Vec::new()),
                8 => (Settlement::DeadLetter { cause: Cause::Rejected, reason: "no".to_owned() }, Vec::new()),
                // Its consumer is silent.
                _ => continue,
            };
            let is_end = settlement == Settlement::Ack;
            if is_end {
                of.ending = Some(disk.operations());
            }
            if settlement == Settlement::Release {
                of.delivered.pop();
            }
            commit.push(settle(&queue, &lease, settlement));
            commit.extend(follows.iter().map(|id| send(&queue, *id)));
            // One whose lease is over meanwhile comes again.
            let settled = runtime.block_on(engine.commit(commit.into_iter().collect()));
            let now = Some(disk.operations());
            if settled.is_ok() && is_end {
                told.entry(own).or_default().ended = now;
            }
            for id in follows {
                told.entry(id).or_default().stored = now.filter(|_| settled.is_ok());
            }
        }
    }
    told
}

fn browse(engine: &Embedded, queue: &str) -> Vec<Browsed> {
    let browse = Browse {
        queue: name(queue),
        from: 0,
        most: 10_000.try_into().expect("not zero"),
        bytes_max: ByteSize::from_bytes(1 << 30),
    };
    runtime().block_on(engine.browse(&browse)).expect("the queue is there").messages
}

/// Opens what a crash after `operations` left, an hour later, and holds it against what callers knew.
fn check(directory: &Path, operations: usize, told: &BTreeMap<u64, Told>, context: &str) {
    let hour = 3600 * 1_000_000_000;
    let later = Timestamp::from_unix_nanos(WallClock::system().now().as_unix_nanos() + hour);
    let engine = open(directory, WallClock::fixed(later));
    let queue = name("orders");
    if runtime().block_on(engine.depth(&queue)).is_err() {
        let known = told.values().filter_map(|told| told.stored).min();
        assert!(known.is_none_or(|known| known > operations), "{context}: the queue is gone");
        return;
    }
    let (lives, dead) = (browse(&engine, "orders"), browse(&engine, "orders.dead"));
    let mut found: Vec<u64> = lives.iter().chain(&dead).map(|message| id(&message.content)).collect();
    found.sort_unstable();
    let count = found.len();
    found.dedup();
    assert_eq!(found.len(), count, "{context}: a message is there twice");
    let depth = runtime().block_on(engine.depth(&queue)).expect("is there");
    assert_eq!(depth.ready + depth.delayed + depth.in_flight, lives.len() as u64, "{context}: {depth:?}");
    let by_then = |moment: Option<usize>| moment.is_some_and(|moment| moment <= operations);
    for (id, told) in told {
        let is_there = found.binary_search(id).is_ok();
        if by_then(told.stored) && !by_then(told.ending) {
            assert!(is_there, "{context}: message {id} was acknowledged and is lost");
        }
        assert!(!(is_there && by_then(told.ended)), "{context}: message {id} was settled and is there again");
    }
    // Whatever was delivered counts, and nothing more than that.
    loop {
        let leases = runtime().block_on(engine.lease(&request(&queue, 100))).expect("leases");
        if leases.is_empty() {
            break;
        }
        for lease in leases {
            let id = id(&lease.content);
            let had = told.get(&id).into_iter().flat_map(|told| &told.delivered);
            let had = had.filter(|(_, moment)| *moment <= operations).map(|(delivery, _)| *delivery).max();
            let delivery = lease.deliveries.get();
            assert!(delivery <= MAX_DELIVERIES, "{context}: message {id} comes for the {delivery}th time");
            assert!(
                delivery > had.unwrap_or(0),
                "{context}: message {id} comes for the {delivery}th time again"
            );
            let again = settle(&queue, &lease, Settlement::Retry { after: Some(Duration::ZERO) });
            runtime().block_on(engine.commit(again.into())).expect("settles");
        }
    }
    let dead = browse(&engine, "orders.dead").len();
    assert_eq!(dead, found.len(), "{context}: what can not be delivered any more is dead");
}

/// Runs a workload to its end and looks at what losses of power leave, one of so many.
fn check_crashes(seed: u64, every: usize) {
    let place = directory();
    let disk = Arc::new(Disk::beneath(place.path()).expect("a disk"));
    let engine = open(place.path(), WallClock::system());
    let told = work(&engine, &disk, seed);
    drop(engine);
    assert!(told.values().filter(|told| told.ended.is_some()).count() > 5, "{told:?}");
    let mut random = fastrand::Rng::with_seed(seed);
    for crash in disk.crashes(seed).filter(|_| random.usize(..every) == 0) {
        let after = directory();
        crash.lay_out(after.path()).expect("lays out");
        let _disk = Disk::beneath(after.path()).expect("a disk");
        check(
            after.path(),
            crash.operations,
            &told,
            &format!("seed {seed}, crash after {}", crash.operations),
        );
    }
}

#[test]
fn power_loss_takes_nothing_that_was_acknowledged_and_brings_nothing_back() {
    for seed in 1..4 {
        check_crashes(seed, 25);
    }
}

#[test]
#[should_panic(expected = "message ")]
fn an_engine_that_answers_before_it_has_synced_is_found() {
    for seed in 1..10 {
        Defect::AcknowledgesBeforeSync.seed();
        check_crashes(seed, 1);
    }
}
