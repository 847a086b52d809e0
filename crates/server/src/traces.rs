//! Spans on their way to a collector: a bounded queue that never makes a request wait, and a task of the
//! control thread that empties it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use intertie_core::span::Span;
use intertie_core::telemetry::{Events, Snapshot, Source};
use intertie_core::trace::Sampler;
use intertie_gateway::proxy::Tracing;
use intertie_gateway::tls::ServiceTls;
use intertie_observe::otlp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::collector::Collector;
use crate::file::TracesConfig;

mod collector;

/// How often the queue is looked at. A request that woke the exporter would pay for a system call.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct TraceStats {
    recorded: AtomicU64,
    exported: AtomicU64,
    /// The queue was full.
    overflowed: AtomicU64,
    /// The collector refused them, or did not take them in time.
    refused: AtomicU64,
    messages: AtomicU64,
    messages_failed: AtomicU64,
}

/// A running export of spans.
#[derive(Debug)]
pub(crate) struct TraceExport {
    tracing: Tracing,
    stats: Arc<TraceStats>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    exporter: Option<Exporter>,
    flush: Duration,
}

/// What the task owns.
#[derive(Debug)]
struct Exporter {
    queue: Receiver<Vec<Span>>,
    batch: usize,
    resource: otlp::Resource,
    collector: Collector,
    stats: Arc<TraceStats>,
    events: Events,
    /// Whether the last message was taken, so that an outage is told once and not for each message.
    failing: bool,
}

impl TraceExport {
    /// Prepares the export to a collector, spoken to under `tls` or without it; [`TraceExport::run`] begins it.
    ///
    /// # Errors
    /// A header's value is not where the file says, or is none that HTTP knows.
    pub(crate) fn new(
        config: &TracesConfig,
        tls: Option<ServiceTls>,
        folder: &Path,
        events: &Events,
    ) -> anyhow::Result<Self> {
        let collector = Collector::new(config, tls, folder).context("[server.traces]")?;
        let (sender, queue) = sync_channel(config.queue.get() as usize);
        let stats = Arc::new(TraceStats::default());
        let counted = Arc::clone(&stats);
        let sink = move |spans: Vec<Span>| {
            counted.recorded.fetch_add(spans.len() as u64, Ordering::Relaxed);
            if let Err(TrySendError::Full(spans) | TrySendError::Disconnected(spans)) = sender.try_send(spans)
            {
                counted.overflowed.fetch_add(spans.len() as u64, Ordering::Relaxed);
            }
        };
        let exporter = Exporter {
            queue,
            batch: config.batch.get() as usize,
            resource: resource(&config.service_name),
            collector,
            stats: Arc::clone(&stats),
            events: events.clone(),
            failing: false,
        };
        Ok(Self {
            tracing: Tracing::new(Sampler::new(config.sample), config.parents, Arc::new(sink)),
            stats,
            stop: watch::channel(false).0,
            task: None,
            exporter: Some(exporter),
            flush: config.flush,
        })
    }

    /// What the data plane records by.
    pub(crate) fn tracing(&self) -> Tracing {
        self.tracing.clone()
    }

    /// What it shows of itself.
    pub(crate) fn source(&self) -> Arc<dyn Source + Send + Sync> {
        Arc::clone(&self.stats) as Arc<_>
    }

    /// Exports from now on, on this runtime.
    pub(crate) fn run(&mut self) {
        if let Some(exporter) = self.exporter.take() {
            self.task = Some(tokio::spawn(exporter.run(self.stop.subscribe())));
        }
    }

    /// Exports what waits, within the limit of the file.
    pub(crate) async fn flush(mut self, events: &Events) {
        self.stop.send_replace(true);
        let Some(task) = &mut self.task else { return };
        if tokio::time::timeout(self.flush, &mut *task).await.is_err() {
            task.abort();
            events.tell("trace_flush_cut", || {
                let after = intertie_core::quantity::format_duration(self.flush);
                vec![("after", after), ("spans_lost", self.stats.waiting().to_string())]
            });
        }
    }
}

impl Exporter {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let last = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => true,
                _ = looks.tick() => false,
            };
            while let Some(spans) = self.take() {
                self.export(&spans).await;
            }
            if last {
                return;
            }
        }
    }

    /// What waits, up to a message full. A request's spans stay together.
    fn take(&self) -> Option<Vec<Span>> {
        let mut spans = self.queue.try_recv().ok()?;
        while spans.len() < self.batch {
            let Ok(more) = self.queue.try_recv() else { break };
            spans.extend(more);
        }
        Some(spans)
    }

    async fn export(&mut self, spans: &[Span]) {
        let count = spans.len() as u64;
        let body = Bytes::from(otlp::encode(&self.resource, spans));
        self.stats.messages.fetch_add(1, Ordering::Relaxed);
        let failure = match self.collector.send(body).await {
            Ok(answer) => {
                let rejected = otlp::rejected(&answer).min(count);
                self.stats.exported.fetch_add(count - rejected, Ordering::Relaxed);
                self.stats.refused.fetch_add(rejected, Ordering::Relaxed);
                None
            }
            Err(error) => {
                self.stats.refused.fetch_add(count, Ordering::Relaxed);
                self.stats.messages_failed.fetch_add(1, Ordering::Relaxed);
                Some(error)
            }
        };
        if failure.is_some() == self.failing {
            return;
        }
        self.failing = failure.is_some();
        match failure {
            Some(error) => self
                .events
                .tell("trace_export_failed", || vec![("cause", format!("{:#}", anyhow::Error::new(error)))]),
            None => self.events.tell("trace_export_recovered", Vec::new),
        }
    }
}

impl TraceStats {
    /// Spans that are neither with the collector nor given up.
    fn waiting(&self) -> u64 {
        let done = [&self.exported, &self.overflowed, &self.refused];
        let done = done.into_iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
        self.recorded.load(Ordering::Relaxed).saturating_sub(done)
    }
}

impl Source for TraceStats {
    fn read(&self, snapshot: &mut Snapshot) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        snapshot.counter(
            "trace_spans_recorded",
            "Spans of requests that are recorded.",
            &[],
            get(&self.recorded),
        );
        let help = "Spans that wait for the collector.";
        snapshot.gauge("trace_spans_waiting", help, &[], self.waiting() as f64);
        snapshot.counter("trace_spans_exported", "Spans that the collector took.", &[], get(&self.exported));
        let help = "Spans that never reached a collector's store, by what was in the way.";
        for (cause, count) in [("queue", &self.overflowed), ("collector", &self.refused)] {
            snapshot.counter("trace_spans_dropped", help, &[("cause", cause)], get(count));
        }
        let help = "Messages to the collector, repetitions not counted.";
        snapshot.counter("trace_messages", help, &[], get(&self.messages));
        let help = "Messages that the collector did not take after all repetitions.";
        snapshot.counter("trace_messages_failed", help, &[], get(&self.messages_failed));
    }
}

/// Who recorded the spans.
fn resource(service_name: &str) -> otlp::Resource {
    let mut resource = vec![
        ("service.name", service_name.to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("process.pid", std::process::id().to_string()),
    ];
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    resource.extend(host.map(|host| ("host.name", host.trim().to_owned())));
    resource
}
