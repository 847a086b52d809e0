//! What callers were told, held against what is in the queues at last.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use intertie_core::envelope::Envelope;
use intertie_core::quantity::ByteSize;
use intertie_engine_postgres::Postgres;
use intertie_messaging::commit::{Commit, CommitError, Operation};
use intertie_messaging::queue::{
    Browse, Cause, Lease, LeaseRequest, QueueEngine, QueueSpec, RedeliveryConfig, Settlement,
};
use intertie_messaging::{Content, Durability, Engine, Name};

/// What is known of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Done,
    NotDone,
    Unknown,
}

impl<T> From<&Result<T, CommitError>> for Fate {
    fn from(committed: &Result<T, CommitError>) -> Self {
        match committed {
            Ok(_) => Self::Done,
            Err(CommitError::Unknown { .. }) => Self::Unknown,
            Err(_) => Self::NotDone,
        }
    }
}

/// Of each message: whether it was sent, and whether it was acknowledged with what followed from it.
#[derive(Debug, Default)]
struct Told {
    sent: BTreeMap<u64, Fate>,
    acknowledged: BTreeMap<u64, Fate>,
    /// Deliveries after an acknowledgement that was confirmed.
    risen: Vec<u64>,
    failures: u64,
}

/// What many callers were told together.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    next: AtomicU64,
    told: Mutex<Told>,
}

const MAX_DELIVERIES: u32 = 1000;

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub(crate) fn request(queue: &Name, consumer: &str, most: u32, wait: Duration) -> LeaseRequest {
    LeaseRequest {
        queue: queue.clone(),
        consumer: name(consumer),
        most: NonZeroU32::new(most).expect("not zero"),
        bytes_max: ByteSize::from_bytes(1 << 20),
        visibility_timeout: None,
        wait,
    }
}

pub(crate) fn id(content: &Content) -> u64 {
    match content {
        Content::Envelope(envelope) => envelope.id().parse().expect("a number"),
        Content::Undecodable { problem, .. } => panic!("{problem}"),
    }
}

pub(crate) fn send(queue: &Name, id: u64) -> Operation {
    let envelope = Envelope::new(&id.to_string(), "/test", "tested").expect("an event");
    let envelope = envelope.with_partition_key(&(id % 5).to_string()).expect("a key");
    Operation::Send { queue: queue.clone(), message: envelope.into() }
}

pub(crate) fn settle(queue: &Name, lease: &Lease, settlement: Settlement) -> Operation {
    Operation::Settle { queue: queue.clone(), lease: lease.id.clone(), settlement }
}

/// Leases that end soon, so that what a lost caller held comes again.
pub(crate) fn spec(durability: Durability) -> QueueSpec {
    let wait = Duration::from_millis(1);
    QueueSpec {
        max_deliveries: NonZeroU32::new(MAX_DELIVERIES).expect("not zero"),
        visibility_timeout: Duration::from_secs(1),
        redelivery: RedeliveryConfig { base: wait, cap: wait, ..RedeliveryConfig::default() },
        durability,
        ..QueueSpec::default()
    }
}

/// Ids of rejected messages.
fn is_bad(id: u64) -> bool {
    id % 7 == 3
}

impl Ledger {
    fn told<T>(&self, note: impl FnOnce(&mut Told) -> T) -> T {
        note(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends, leases, and ends what it was handed: most is acknowledged together with a message that follows from it,
    /// some is rejected.
    pub(crate) async fn work(self: Arc<Self>, engine: Arc<Postgres>, consumer: String, rounds: u32) {
        let (orders, shipments) = (name("orders"), name("shipments"));
        for _ in 0..rounds {
            let ids: Vec<u64> = (0..3).map(|_| self.next.fetch_add(1, Ordering::Relaxed)).collect();
            let batch: Commit = ids.iter().map(|id| send(&orders, *id)).collect();
            let sent = engine.commit(batch).await;
            self.told(|told| {
                told.failures += u64::from(sent.is_err());
                told.sent.extend(ids.iter().map(|id| (*id, Fate::from(&sent))));
            });
            let Ok(leases) = engine.lease(&request(&orders, &consumer, 3, Duration::from_millis(5))).await
            else {
                self.told(|told| told.failures += 1);
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            for lease in leases {
                self.finish(&engine, &orders, &shipments, &lease).await;
            }
        }
    }

    async fn finish(&self, engine: &Postgres, orders: &Name, shipments: &Name, lease: &Lease) {
        let id = id(&lease.content);
        let is_known_done = |told: &mut Told| told.acknowledged.get(&id) == Some(&Fate::Done);
        if self.told(is_known_done) {
            self.told(|told| told.risen.push(id));
        }
        let commit: Commit = if is_bad(id) {
            let settlement = Settlement::DeadLetter { cause: Cause::Rejected, reason: "bad".to_owned() };
            settle(orders, lease, settlement).into()
        } else {
            [settle(orders, lease, Settlement::Ack), send(shipments, id)].into_iter().collect()
        };
        let ended = engine.commit(commit).await;
        self.told(|told| {
            told.failures += u64::from(ended.is_err());
            let before = told.acknowledged.get(&id).copied();
            // An end that may have been done stays so, whatever a later one was told.
            let fate = match (before, Fate::from(&ended)) {
                (Some(Fate::Unknown), Fate::NotDone) => Fate::Unknown,
                (_, fate) => fate,
            };
            told.acknowledged.insert(id, fate);
        });
    }

    /// How often something failed.
    pub(crate) fn failures(&self) -> u64 {
        self.told(|told| told.failures)
    }

    /// Empties the queues by `engine`, whose connection holds, and compares.
    pub(crate) async fn check(&self, engine: &Postgres) {
        let answers = async {
            while engine.depth(&name("orders")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), answers).await.expect("the server comes back");
        let left = drained(engine, &name("orders")).await;
        let shipped = drained(engine, &name("shipments")).await;
        let dead = dead(engine, &name("orders.dead")).await;
        self.told(|told| {
            assert!(told.risen.is_empty(), "{:?} came after a confirmed end", told.risen);
            for (id, sent) in &told.sent {
                let places =
                    [&left, &shipped, &dead].map(|ids| ids.iter().filter(|other| *other == id).count());
                let copies: usize = places.iter().sum();
                let ended = told.acknowledged.get(id).copied();
                let expected = match sent {
                    Fate::Done => 1..=1,
                    Fate::NotDone => 0..=0,
                    Fate::Unknown => 0..=1,
                };
                assert!(
                    expected.contains(&copies),
                    "{id} was {sent:?}, ended {ended:?}, and is at {places:?}"
                );
                let is_ended = places[0] == 0;
                match ended {
                    Some(Fate::Done) => assert!(is_ended, "{id} comes again after a confirmed end"),
                    Some(Fate::NotDone) | None => {
                        assert!(!is_ended || copies == 0, "{id} ended, and nobody was told: {places:?}");
                    }
                    Some(Fate::Unknown) => {}
                }
                assert!(places[1] == 0 || !is_bad(*id), "{id} is bad, and was shipped");
            }
            let known: BTreeSet<_> = told.sent.keys().collect();
            assert!(left.iter().chain(&shipped).chain(&dead).all(|id| known.contains(id)), "from nowhere");
        });
    }
}

/// Everything in a queue, acknowledged, when all leases are over.
async fn drained(engine: &Postgres, queue: &Name) -> Vec<u64> {
    let mut ids = Vec::new();
    loop {
        let leases = engine.lease(&request(queue, "last", 100, Duration::ZERO)).await.expect("leases");
        ids.extend(leases.iter().map(|lease| id(&lease.content)));
        let settled = leases.iter().map(|lease| settle(queue, lease, Settlement::Ack)).collect();
        engine.commit(settled).await.expect("settles");
        let depth = engine.depth(queue).await.expect("counts");
        if depth.ready + depth.delayed + depth.in_flight == 0 {
            return ids;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What died.
async fn dead(engine: &Postgres, queue: &Name) -> Vec<u64> {
    let (mut ids, mut from) = (Vec::new(), Some(0));
    while let Some(next) = from {
        let (most, bytes_max) = (NonZeroU32::new(100).expect("not zero"), ByteSize::from_bytes(1 << 20));
        let browse = Browse { queue: queue.clone(), from: next, most, bytes_max };
        let page = engine.browse(&browse).await.expect("browses");
        ids.extend(page.messages.iter().map(|message| id(&message.content)));
        from = page.next;
    }
    ids
}
