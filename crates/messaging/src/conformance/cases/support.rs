use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use fastrand::Rng;
use intertie_core::config::Invalid;
use intertie_core::quantity::ByteSize;

use super::cases;
use crate::conformance::case::{Stop, ensure, ensure_eq};
use crate::conformance::trial::{Trial, check_refusals, many, name};
use crate::log::{Cleanup, TopicSpec};
use crate::queue::{QueueFeature, QueueSpec, QueueVerb, TtlCounts};
use crate::support::{Declared, Emulation, EngineId, Feature, Refusal, Support};
use crate::{DeclareError, Durability};

cases!(Support, "support":
    each_key_of_a_queue_is_kept_or_refused,
    each_key_of_a_topic_is_kept_or_refused,
    any_queue_is_kept_or_refused_in_every_part,
    any_topic_is_kept_or_refused_in_every_part,
    the_engine_tells_its_name_and_version,
);

/// What may become of a declaration that can work.
fn check_declared<F: Feature>(
    declared: Result<Declared, Vec<Refusal>>,
    asked: &[F],
    emulation: Emulation,
    engine: &EngineId,
    support: impl Fn(F) -> Support,
) -> Result<(), Stop> {
    let declared = match declared {
        Ok(declared) => declared,
        Err(refusals) => {
            ensure!(!refusals.is_empty(), "it refuses, and says nothing");
            return check_refusals(&refusals, asked, emulation, engine, support);
        }
    };
    ensure_eq!(declared.engine, *engine, "the engine that keeps it");
    let expected: Vec<_> = asked.iter().map(|feature| (feature.key(), support(*feature))).collect();
    ensure_eq!(declared.kept, expected, "what is kept, and what `support` says of it");
    for (key, support) in &declared.kept {
        ensure!(!matches!(support, Support::Refused { .. }), "`{key}` is declared and refused");
        if let Support::Emulated { by, cost } = support {
            ensure!(emulation == Emulation::Allowed, "`{key}` is emulated, which was refused");
            ensure!(!by.is_empty() && !cost.is_empty(), "`{key}` is emulated without a word how");
        }
    }
    Ok(())
}

/// What became of a declaration: kept or refused, or nothing where `check` says that `spec` can work nowhere.
fn resolved(
    declared: Result<Declared, DeclareError>,
    check: &Result<(), Invalid>,
    spec: &impl std::fmt::Debug,
) -> Result<Option<Result<Declared, Vec<Refusal>>>, Stop> {
    let declared = match declared {
        Ok(declared) => Ok(declared),
        Err(DeclareError::Refused(refusals)) => Err(refusals),
        Err(DeclareError::Invalid(invalid)) => {
            ensure_eq!(&Err(invalid), check, "what can not work in {spec:?}");
            return Ok(None);
        }
        Err(other) => return Err(Stop::Failed(format!("{spec:?}: {other}"))),
    };
    ensure_eq!(check, &Ok(()), "what was declared can not work: {spec:?}");
    Ok(Some(declared))
}

async fn try_queue(trial: &Trial, number: usize, spec: &QueueSpec) -> Result<(), Stop> {
    let (engine, queue) = (trial.queues()?, name(&format!("queue-{number}")));
    let declared = engine.declare_queue(&queue, spec).await;
    let Some(declared) = resolved(declared, &spec.check(), spec)? else { return Ok(()) };
    let is_declared = declared.is_ok();
    let support = |feature| engine.support(feature);
    if let Ok(Declared { verbs, .. }) = &declared {
        let said =
            QueueVerb::ALL.map(|verb| (verb.name(), support(QueueFeature::Verb(verb)).under(spec.emulation)));
        ensure_eq!(verbs[..], said, "what is said of verbs when a queue is declared");
    }
    check_declared(declared, &spec.features(), spec.emulation, engine.id(), support)?;
    let found = engine.depth(&queue).await.is_ok();
    ensure_eq!(found, is_declared, "whether the queue is there after {spec:?}");
    if found {
        engine.delete_queue(&queue).await?;
    }
    Ok(())
}

async fn try_topic(trial: &Trial, number: usize, spec: &TopicSpec) -> Result<(), Stop> {
    let (engine, topic) = (trial.logs()?, name(&format!("topic-{number}")));
    let declared = engine.declare_topic(&topic, spec).await;
    let Some(declared) = resolved(declared, &spec.check(), spec)? else { return Ok(()) };
    let is_declared = declared.is_ok();
    let support = |feature| engine.support(feature);
    check_declared(declared, &spec.features(), spec.emulation, engine.id(), support)?;
    let found = engine.lag(&topic, &name("nobody")).await.is_ok();
    ensure_eq!(found, is_declared, "whether the topic is there after {spec:?}");
    if found {
        engine.delete_topic(&topic).await?;
    }
    Ok(())
}

/// A specification that asks for one thing more than others, for each key.
fn queues_by_key(trial: &Trial) -> Vec<QueueSpec> {
    let (plain, time) = (trial.queue_spec(), trial.ticks(100));
    let three = NonZeroU8::new(3).expect("3 is not zero");
    let not_durable = QueueSpec { durable: false, ..plain.clone() };
    let mut waits = plain.clone();
    waits.redelivery.base = time;
    waits.redelivery.cap = time * 2;
    let verbs = QueueVerb::ALL.map(|verb| trial.spec_with([verb]));
    let mut keys = vec![
        QueueSpec { ttl: Some(time), ttl_counts: TtlCounts::Age, ..plain.clone() },
        QueueSpec { settlement_window: Duration::ZERO, ..plain.clone() },
        QueueSpec { leases_per_consumer_max: Some(many(3)), ..plain.clone() },
        not_durable,
        QueueSpec { exclusive: true, ..plain.clone() },
        QueueSpec { auto_delete: Some(time), ..plain.clone() },
        QueueSpec { ttl: Some(time), ..plain.clone() },
        QueueSpec { visibility_timeout: time, ..plain.clone() },
        QueueSpec { max_deliveries: NonZeroU32::MIN, ..plain.clone() },
        waits,
        QueueSpec { deduplication_window: Some(time), ..plain.clone() },
        QueueSpec { priorities: three, ..plain.clone() },
        QueueSpec { priorities: NonZeroU8::MAX, ..plain.clone() },
        QueueSpec { groups: true, ..plain.clone() },
        QueueSpec { delays: true, ..plain.clone() },
        QueueSpec { leases_max: NonZeroU32::MIN, ..plain.clone() },
        QueueSpec { message_bytes_max: ByteSize::from_bytes(1 << 30), ..plain.clone() },
        QueueSpec { depth_max: Some(1), ..plain.clone() },
        QueueSpec { durability: Durability::SYNCED, ..plain.clone() },
        QueueSpec { durability: Durability { copies: 3, synced: 2 }, ..plain.clone() },
        plain,
    ];
    keys.extend(verbs);
    keys
}

fn topics_by_key(trial: &Trial) -> Vec<TopicSpec> {
    let plain = trial.topic_spec();
    let three = NonZeroU8::new(3).expect("3 is not zero");
    let small = ByteSize::from_bytes(1 << 10);
    vec![
        TopicSpec { partitions: many(8), ..plain.clone() },
        TopicSpec { replicas: three, ..plain.clone() },
        TopicSpec { cleanup: Cleanup::Compact, ..plain.clone() },
        TopicSpec { retention: trial.ticks(100), ..plain.clone() },
        TopicSpec { retention_bytes: Some(small), record_bytes_max: small, ..plain.clone() },
        TopicSpec { record_bytes_max: small, ..plain.clone() },
        TopicSpec { durability: Durability::SYNCED, ..plain.clone() },
        TopicSpec { replicas: three, durability: Durability { copies: 3, synced: 3 }, ..plain.clone() },
        plain,
    ]
}

const BOTH: [Emulation; 2] = [Emulation::Allowed, Emulation::Refused];

async fn each_key_of_a_queue_is_kept_or_refused(trial: &mut Trial) -> Result<(), Stop> {
    for emulation in BOTH {
        for (number, spec) in queues_by_key(trial).into_iter().enumerate() {
            try_queue(trial, number, &QueueSpec { emulation, ..spec }).await?;
        }
    }
    Ok(())
}

async fn each_key_of_a_topic_is_kept_or_refused(trial: &mut Trial) -> Result<(), Stop> {
    for emulation in BOTH {
        for (number, spec) in topics_by_key(trial).into_iter().enumerate() {
            try_topic(trial, number, &TopicSpec { emulation, ..spec }).await?;
        }
    }
    Ok(())
}

/// A time of any length, now and then none.
fn time(random: &mut Rng) -> Duration {
    if random.u8(..8) == 0 { Duration::ZERO } else { Duration::from_millis(random.u64(1..1_000_000)) }
}

fn durability(random: &mut Rng) -> Durability {
    Durability { copies: random.u8(..4), synced: random.u8(..3) }
}

fn any_queue(random: &mut Rng, plain: QueueSpec) -> QueueSpec {
    let optional = |random: &mut Rng| random.bool().then(|| time(random));
    let (ttl, auto_delete) = (optional(random), optional(random));
    let deduplication_window = optional(random);
    let needs = QueueVerb::ALL.into_iter().filter(|_| random.u8(..4) == 0).collect();
    QueueSpec {
        needs,
        ttl_counts: if random.bool() { TtlCounts::Age } else { TtlCounts::Wait },
        settlement_window: time(random),
        leases_per_consumer_max: random.bool().then(|| many(random.u32(1..))),
        durable: random.bool(),
        exclusive: random.bool(),
        auto_delete,
        ttl,
        deduplication_window,
        visibility_timeout: time(random),
        priorities: NonZeroU8::new(random.u8(1..)).expect("above zero"),
        groups: random.bool(),
        delays: random.bool(),
        leases_max: many(random.u32(1..)),
        message_bytes_max: ByteSize::from_bytes(random.u64(..10_000_000)),
        depth_max: random.bool().then(|| random.u64(..1000)),
        durability: if random.bool() { durability(random) } else { Durability::UNSYNCED },
        emulation: BOTH[usize::from(random.bool())],
        ..plain
    }
}

fn any_topic(random: &mut Rng) -> TopicSpec {
    TopicSpec {
        partitions: many(random.u32(1..20)),
        replicas: NonZeroU8::new(random.u8(1..5)).expect("above zero"),
        cleanup: if random.bool() { Cleanup::Compact } else { Cleanup::Delete },
        retention: time(random),
        session_timeout_max: time(random),
        retention_bytes: random.bool().then(|| ByteSize::from_bytes(random.u64(..10_000_000))),
        record_bytes_max: ByteSize::from_bytes(random.u64(..1_000_000)),
        durability: if random.bool() { durability(random) } else { Durability::UNSYNCED },
        emulation: BOTH[usize::from(random.bool())],
    }
}

/// Enough that most pairs of keys meet.
const SPECIFICATIONS: usize = 100;

async fn any_queue_is_kept_or_refused_in_every_part(trial: &mut Trial) -> Result<(), Stop> {
    let mut random = Rng::with_seed(7);
    for number in 0..SPECIFICATIONS {
        let spec = any_queue(&mut random, trial.queue_spec());
        try_queue(trial, number, &spec).await?;
    }
    Ok(())
}

async fn any_topic_is_kept_or_refused_in_every_part(trial: &mut Trial) -> Result<(), Stop> {
    let mut random = Rng::with_seed(7);
    for number in 0..SPECIFICATIONS {
        try_topic(trial, number, &any_topic(&mut random)).await?;
    }
    Ok(())
}

async fn the_engine_tells_its_name_and_version(trial: &mut Trial) -> Result<(), Stop> {
    let ids = [
        trial.queues().ok().map(|engine| engine.id().clone()),
        trial.logs().ok().map(|engine| engine.id().clone()),
        trial.inboxes().ok().map(|engine| engine.id().clone()),
    ];
    let mut ids = ids.into_iter().flatten();
    let Some(first) = ids.next() else { return Err(Stop::Absent("port")) };
    ensure!(!first.name.is_empty() && !first.version.is_empty(), "an engine without a name: {first:?}");
    for other in ids {
        ensure_eq!(other, first, "the engine behind another port");
    }
    Ok(())
}
