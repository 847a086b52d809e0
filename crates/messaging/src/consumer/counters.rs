use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use intertie_core::telemetry::{Snapshot, Source, Value};

use crate::Name;
use crate::queue::{Cause, Settlement};

/// What became of a message that a consumer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was done, now.
    Acknowledged,
    /// The inbox had it already.
    HandledBefore,
    /// It failed and comes again.
    Retried,
    /// It was not tried and comes again, not counted.
    Released,
    /// It is dead.
    DeadLettered(Cause),
    /// It is somebody else's: the consumer took too long.
    Lost,
    /// The engine did not take what was to become of it: it comes again when its time is over.
    Unsettled,
}

impl Fate {
    pub(super) fn of(settlement: &Settlement) -> Self {
        match settlement {
            Settlement::Ack => Self::Acknowledged,
            Settlement::Retry { .. } => Self::Retried,
            Settlement::Release => Self::Released,
            Settlement::DeadLetter { cause, .. } => Self::DeadLettered(*cause),
        }
    }

    /// Whether the next of its group may follow it.
    pub(super) fn is_done(self) -> bool {
        matches!(self, Self::Acknowledged | Self::HandledBefore | Self::DeadLettered(_))
    }

    /// The event that tells of it.
    pub(super) fn event(self) -> Option<&'static str> {
        match self {
            Self::Acknowledged | Self::HandledBefore => None,
            Self::Retried => Some("message_retried"),
            Self::Released => Some("message_released"),
            Self::DeadLettered(_) => Some("message_dead_lettered"),
            Self::Lost => Some("message_lost"),
            Self::Unsettled => Some("message_unsettled"),
        }
    }
}

/// What a consumer did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Messages that it took in.
    pub received: u64,
    /// Messages that were done.
    pub acknowledged: u64,
    /// Messages that the inbox had already, and that were acknowledged without being handled.
    pub handled_before: u64,
    /// Messages that failed and come again.
    pub retried: u64,
    /// Messages that were not tried and come again, not counted.
    pub released: u64,
    /// Messages that are dead, by what ended them: `max_deliveries`, `rejected`, `undecodable`.
    pub dead_lettered: [u64; 3],
    /// Messages that were somebody else's before the consumer was done with them.
    pub lost: u64,
    /// Messages of which the engine did not take what was to become of them.
    pub unsettled: u64,
    /// Calls of the handler, with a message or a batch, attempts of its pipeline aside.
    pub calls: u64,
    /// Failed batches that were cut in two.
    pub bisections: u64,
    /// Times that a message's time was extended.
    pub extended: u64,
    /// Times that intake stopped.
    pub paused: u64,
    /// Messages that it holds.
    pub held: u64,
    /// Messages or batches that are handled now.
    pub running: u64,
    /// Whether intake is stopped now.
    pub is_paused: bool,
}

const DEAD: [Cause; 3] = [Cause::MaxDeliveries, Cause::Rejected, Cause::Undecodable];

/// Upper bounds of the distribution of the time that handlers take, in seconds.
const SECONDS: [f64; 13] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, f64::INFINITY];

/// What a consumer does, to be read at any time; clones read the same.
#[derive(Debug, Clone)]
pub struct ConsumerStats {
    queue: Name,
    consumer: Name,
    pub(super) counters: Arc<Counters>,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    stats: Mutex<Stats>,
    durations: [AtomicU64; SECONDS.len()],
    nanoseconds: AtomicU64,
    held: AtomicU64,
    running: AtomicU64,
    is_paused: AtomicBool,
}

impl Counters {
    fn change(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn received(&self, messages: usize) {
        self.change(|stats| stats.received += messages as u64);
    }

    pub(super) fn ended(&self, fate: Fate) {
        self.change(|stats| {
            let count = match fate {
                Fate::Acknowledged => &mut stats.acknowledged,
                Fate::HandledBefore => &mut stats.handled_before,
                Fate::Retried => &mut stats.retried,
                Fate::Released => &mut stats.released,
                Fate::DeadLettered(cause) => {
                    let at = DEAD.iter().position(|dead| *dead == cause);
                    &mut stats.dead_lettered[at.expect("consumers bury for no other cause")]
                }
                Fate::Lost => &mut stats.lost,
                Fate::Unsettled => &mut stats.unsettled,
            };
            *count += 1;
        });
    }

    pub(super) fn unsettled(&self) -> u64 {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).unsettled
    }

    pub(super) fn called(&self, took: Duration) {
        self.change(|stats| stats.calls += 1);
        let seconds = took.as_secs_f64();
        let bucket = SECONDS.partition_point(|bound| *bound < seconds);
        self.durations[bucket].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn bisected(&self) {
        self.change(|stats| stats.bisections += 1);
    }

    pub(super) fn extended(&self) {
        self.change(|stats| stats.extended += 1);
    }

    pub(super) fn holds(&self, messages: usize, running: usize) {
        self.held.store(messages as u64, Relaxed);
        self.running.store(running as u64, Relaxed);
    }

    pub(super) fn paused(&self) {
        self.change(|stats| stats.paused += 1);
        self.is_paused.store(true, Relaxed);
    }

    pub(super) fn resumed(&self) {
        self.is_paused.store(false, Relaxed);
    }
}

impl ConsumerStats {
    pub(super) fn new(queue: Name, consumer: Name) -> Self {
        Self { queue, consumer, counters: Arc::default() }
    }

    /// What it did so far.
    pub fn read(&self) -> Stats {
        let counters = &*self.counters;
        Stats {
            held: counters.held.load(Relaxed),
            running: counters.running.load(Relaxed),
            is_paused: counters.is_paused.load(Relaxed),
            ..*counters.stats.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

impl Source for ConsumerStats {
    fn read(&self, snapshot: &mut Snapshot) {
        let stats = ConsumerStats::read(self);
        let labels = [("queue", self.queue.as_str()), ("consumer", self.consumer.as_str())];
        let with = |label, value| [labels[0], labels[1], (label, value)];
        for (outcome, count) in [
            ("acknowledged", stats.acknowledged),
            ("handled_before", stats.handled_before),
            ("retried", stats.retried),
            ("released", stats.released),
            ("dead_lettered", stats.dead_lettered.iter().sum()),
            ("lost", stats.lost),
            ("unsettled", stats.unsettled),
        ] {
            let help = "Messages by what became of them.";
            snapshot.counter("consumer_messages", help, &with("outcome", outcome), count);
        }
        for (cause, count) in DEAD.into_iter().zip(stats.dead_lettered) {
            let help = "Messages that the consumer gave up, by what ended them.";
            snapshot.counter("consumer_dead_letters", help, &with("cause", cause.name()), count);
        }
        for (name, help, count) in [
            ("consumer_received", "Messages taken in.", stats.received),
            ("consumer_bisections", "Failed batches that were cut in two.", stats.bisections),
            ("consumer_extensions", "Times that a message's time was extended.", stats.extended),
            ("consumer_pauses", "Times that intake stopped.", stats.paused),
        ] {
            snapshot.counter(name, help, &labels, count);
        }
        for (name, help, value) in [
            ("consumer_held", "Messages held.", stats.held as f64),
            ("consumer_running", "Messages or batches that are handled.", stats.running as f64),
            ("consumer_paused", "Whether intake is stopped.", f64::from(u8::from(stats.is_paused))),
        ] {
            snapshot.gauge(name, help, &labels, value);
        }
        let counts = self.counters.durations.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<_> = SECONDS.into_iter().zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.counters.nanoseconds.load(Relaxed)).as_secs_f64();
        let help = "How long handlers took, with all attempts.";
        snapshot.add("consumer_handling_seconds", help, &labels, Value::Histogram { sum, count, buckets });
    }
}
