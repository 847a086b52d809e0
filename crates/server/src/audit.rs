//! The audit log of a server: who listens for it, and the thread that writes it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use intertie_core::clock::WallClock;
use intertie_core::telemetry::{Events, Source};
use intertie_gateway::proxy::AuditConfig;
use intertie_observe::audit_log::{self, AuditStats};

use crate::file::AuditLogConfig;

/// How long the end of the process waits for the audit log to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running audit log.
#[derive(Debug)]
pub(crate) struct Audit {
    config: AuditConfig,
    stats: AuditStats,
    writer: JoinHandle<()>,
}

impl Audit {
    /// Writes what `events` tell, and what the data plane tells auditors alone, until `last`.
    ///
    /// # Errors
    /// The file can not be opened, or there is no thread to be had.
    pub(crate) fn start(
        config: &AuditLogConfig,
        events: &Events,
        clock: &WallClock,
        last: &'static str,
    ) -> anyhow::Result<Self> {
        let target: Box<dyn Write + Send> = match config.to.as_str() {
            "stdout" => Box::new(std::io::stdout()),
            path => {
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
                Box::new(file.with_context(|| format!("failed to open the audit log {path}"))?)
            }
        };
        let (stats, alone) = (AuditStats::default(), Events::new(clock.clone()));
        let (sender, received) = sync_channel(config.queue.get() as usize);
        for events in [events, &alone] {
            events.listen(sender.clone(), Arc::clone(&stats.lost));
        }
        let counted = stats.clone();
        let thread = std::thread::Builder::new().name("audit-log".to_owned());
        let writer = thread.spawn(move || audit_log::run(&received, target, &counted, last))?;
        let config = AuditConfig { events: alone, rejections_every: config.rejections_every };
        Ok(Self { config, stats, writer })
    }

    /// What the data plane tells by.
    pub(crate) fn config(&self) -> AuditConfig {
        self.config.clone()
    }

    /// What it shows of itself.
    pub(crate) fn source(&self) -> Arc<dyn Source + Send + Sync> {
        Arc::new(self.stats.clone())
    }

    /// Waits until all is written, within a limit; false when it is not.
    pub(crate) async fn finish(self) -> bool {
        let started = tokio::time::Instant::now();
        while !self.writer.is_finished() && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.writer.is_finished()
    }
}
