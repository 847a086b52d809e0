//! What the parts of a process say about themselves.
//!
//! - A [`Source`] is read when somebody asks: numbers and states, at no cost in between.
//! - An [`Event`] is told when it happens: transitions, ejections, reloads. It is built only while someone
//!   listens, and travels through a bounded channel that counts what it drops.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::{Timestamp, WallClock};
use crate::quantity::Ratio;

/// Something with numbers to show.
pub trait Source: Send + Sync {
    /// Adds the present numbers to `snapshot`.
    fn read(&self, snapshot: &mut Snapshot);
}

/// The numbers of one scrape, grouped into families in the order of their first appearance.
#[derive(Debug, Default)]
pub struct Snapshot {
    families: Vec<Family>,
    /// The series that each first label makes, where samples are only counted.
    counted: Option<BTreeMap<&'static str, usize>>,
}

/// All samples of one name.
#[derive(Debug)]
pub struct Family {
    /// The name, without the `_total` that counters are shown with.
    pub name: &'static str,
    /// One sentence about what is counted.
    pub help: &'static str,
    /// The labelled values.
    pub samples: Vec<Sample>,
}

/// One labelled value.
#[derive(Debug)]
pub struct Sample {
    /// Names and values, in the order in which they are shown.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: Value,
}

/// A number and how it behaves.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Only grows.
    Counter(u64),
    /// Only grows, by fractions too.
    FloatCounter(f64),
    /// Goes up and down.
    Gauge(f64),
    /// A distribution: `(upper bound, count in this bucket)`, with the sum of all observations.
    Histogram {
        /// Sum of the observed values.
        sum: f64,
        /// Count of observations.
        count: u64,
        /// Upper bounds in ascending order, each with its own (not cumulative) count; the last bound is infinite.
        buckets: Vec<(f64, u64)>,
    },
}

impl Value {
    /// The series that a sample of it is shown as.
    fn series(&self) -> usize {
        match self {
            Self::Counter(_) | Self::FloatCounter(_) | Self::Gauge(_) => 1,
            // And sum and count.
            Self::Histogram { buckets, .. } => buckets.len() + 2,
        }
    }
}

impl Snapshot {
    /// One that keeps no sample, and only counts the series that they would be shown as.
    pub fn counting() -> Self {
        Self { families: Vec::new(), counted: Some(BTreeMap::new()) }
    }

    /// The series that samples with each first label make, in one that is [`Self::counting`].
    pub fn series(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.counted.iter().flatten().map(|(label, count)| (*label, *count))
    }

    /// The families collected so far.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Adds one sample.
    pub fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: Value,
    ) {
        if let Some(counted) = &mut self.counted {
            *counted.entry(labels.first().map_or("", |(name, _)| *name)).or_default() += value.series();
            return;
        }
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let sample = Sample { labels, value };
        match self.families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.samples.push(sample),
            None => self.families.push(Family { name, help, samples: vec![sample] }),
        }
    }

    /// Adds a counter.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        self.add(name, help, labels, Value::Counter(value));
    }

    /// Adds a gauge.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.add(name, help, labels, Value::Gauge(value));
    }
}

/// Something that happened, for logs, audit and people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, in wall time.
    pub at: Timestamp,
    /// What, in the past tense: `circuit_breaker_opened`.
    pub name: &'static str,
    /// To whom and why.
    pub fields: Vec<(&'static str, String)>,
}

/// Where events are told. Clones speak to the same listeners.
#[derive(Debug, Clone, Default)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    clock: WallClock,
    listening: AtomicUsize,
    listeners: Mutex<Vec<Listener>>,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Listener {
    queue: SyncSender<Event>,
    /// How many events found its queue full.
    lost: Arc<AtomicU64>,
}

impl Events {
    /// No listeners yet; events are stamped by `clock`.
    pub fn new(clock: WallClock) -> Self {
        Self { shared: Arc::new(Shared { clock, ..Shared::default() }) }
    }

    /// Listens from now on. At most `capacity` events wait for the receiver; further ones are dropped
    /// and counted.
    pub fn subscribe(&self, capacity: usize) -> Receiver<Event> {
        let (sender, receiver) = sync_channel(capacity);
        self.listen(sender, Arc::default());
        receiver
    }

    /// Tells `queue` too from now on, which others may share, and counts in `lost` what finds it full.
    pub fn listen(&self, queue: SyncSender<Event>, lost: Arc<AtomicU64>) {
        let mut listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Listener { queue, lost });
        self.shared.listening.store(listeners.len(), Ordering::Release);
    }

    /// Tells an event. `fields` is called only when someone listens. Never blocks.
    pub fn tell(&self, name: &'static str, fields: impl FnOnce() -> Vec<(&'static str, String)>) {
        if self.shared.listening.load(Ordering::Acquire) == 0 {
            return;
        }
        let event = Event { at: self.shared.clock.now(), name, fields: fields() };
        let mut listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| match listener.queue.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                listener.lost.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
        self.shared.listening.store(listeners.len(), Ordering::Release);
    }

    /// How many events found a listener's channel full.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

/// One finished request, for the access log.
#[derive(Debug, Clone)]
pub struct Access {
    /// The request's identifier, as sent to the service and back to the client.
    pub request_id: String,
    /// The client's address.
    pub client: std::net::IpAddr,
    /// The method.
    pub method: Cow<'static, str>,
    /// The host that was asked for.
    pub host: String,
    /// The path, with the query only where that is asked for: it may hold secrets.
    pub path: String,
    /// The status that the client got; 0 when it left before.
    pub status: u16,
    /// From the request's head to the answer's last byte.
    pub duration: std::time::Duration,
    /// The route that was taken.
    pub route: Option<Arc<str>>,
    /// The endpoint that gave the final answer.
    pub endpoint: Option<Arc<str>>,
    /// Attempts that were made.
    pub attempts: u32,
    /// The version of TLS that the client spoke, such as `1.3`.
    pub tls: Option<&'static str>,
    /// The gateway's own error code, when it answered itself.
    pub error: Option<&'static str>,
    /// The error code by which the service ended the last attempt or its answer, where it spoke HTTP/2, such as
    /// `REFUSED_STREAM`.
    pub http2_error: Option<&'static str>,
    /// How it ended, when not with a complete answer: `client_left`, `service_broke_off`, `deadline`,
    /// `send_timeout`; or how a tunnel ended, unless both sides had said all.
    pub cut: Option<&'static str>,
    /// The trace that it belongs to.
    pub trace_id: Option<u128>,
    /// The request headers that are told, by their names in lower case.
    pub headers: Vec<(Arc<str>, String)>,
    /// The share of such requests that are told, when not all are.
    pub sample: Option<Ratio>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_built_only_for_listeners_and_drops_are_counted() {
        let events = Events::new(WallClock::fixed(Timestamp::from_unix_seconds(1)));
        events.tell("ignored", || unreachable!("nobody listens"));

        let receiver = events.subscribe(1);
        events.tell("first", Vec::new);
        events.tell("second", Vec::new);
        assert_eq!(receiver.try_recv().expect("one fits").name, "first");
        assert_eq!(events.dropped(), 1);

        drop(receiver);
        events.tell("notices that the listener left", Vec::new);
        events.tell("ignored", || unreachable!("nobody listens"));
    }

    #[test]
    fn samples_of_one_name_form_one_family() {
        let mut snapshot = Snapshot::default();
        snapshot.counter("requests", "Requests.", &[("route", "a")], 1);
        snapshot.gauge("open", "Connections.", &[], 2.0);
        snapshot.counter("requests", "Requests.", &[("route", "b")], 3);
        assert_eq!(snapshot.families().len(), 2);
        assert_eq!(snapshot.families()[0].samples.len(), 2);
    }
}
