//! What a store says of itself while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use intertie_core::clock::nanos;
use intertie_core::telemetry::Snapshot;

use super::checkpoint::Wal;
use super::config::PAGE_BYTES;
use super::failure::Failure;
use super::pin::WalPin;

/// Whether a store takes writes.
#[derive(Debug, Clone)]
pub enum Health {
    /// It does.
    Serving {
        /// Whose reads keep the write-ahead log past `wal_max`, if it is past it.
        wal_pinned: Option<WalPin>,
    },
    /// It does not until it is opened again. Reads go on.
    Failed {
        /// What ended it.
        cause: Failure,
    },
}

/// What the writer did since it was started.
#[derive(Debug, Default)]
pub(super) struct Counters {
    groups: AtomicU64,
    applied: AtomicU64,
    refused: AtomicU64,
    overloaded: AtomicU64,
    checkpoints: AtomicU64,
    wal_pages: AtomicU64,
    reserve_bytes: AtomicU64,
    ahead_nanos: AtomicU64,
    wal_pinned: Mutex<Option<WalPin>>,
}

impl Counters {
    pub(super) fn committed(&self, applied: u64, refused: u64) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.applied.fetch_add(applied, Ordering::Relaxed);
        self.refused.fetch_add(refused, Ordering::Relaxed);
    }

    pub(super) fn overloaded(&self) {
        self.overloaded.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn checkpointed(&self) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn wal(&self, wal: Wal) {
        self.wal_pages.store(wal.pages, Ordering::Relaxed);
    }

    pub(super) fn reserve(&self, bytes: u64) {
        self.reserve_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Notes how far the store's time is ahead of the wall clock.
    pub(super) fn ahead(&self, time: Duration) {
        self.ahead_nanos.store(nanos(time), Ordering::Relaxed);
    }

    /// Notes who pins the log, and says whether it is news that someone or nobody does.
    pub(super) fn pinned(&self, pin: Option<WalPin>) -> bool {
        let mut pinned = self.pin();
        let is_news = pinned.is_some() != pin.is_some();
        *pinned = pin;
        is_news
    }

    /// Who pins the log.
    pub(super) fn pin(&self) -> MutexGuard<'_, Option<WalPin>> {
        self.wal_pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self, snapshot: &mut Snapshot) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        snapshot.counter("store_groups", "Groups that were committed.", &[], count(&self.groups));
        let (name, help) = ("store_commands", "Commands by what became of them.");
        for (outcome, counter) in
            [("applied", &self.applied), ("refused", &self.refused), ("overloaded", &self.overloaded)]
        {
            snapshot.counter(name, help, &[("outcome", outcome)], count(counter));
        }
        snapshot.counter(
            "store_checkpoints",
            "Times that pages were moved from the write-ahead log to the database.",
            &[],
            count(&self.checkpoints),
        );
        let wal_bytes = count(&self.wal_pages).saturating_mul(PAGE_BYTES);
        snapshot.gauge("store_wal_bytes", "Bytes of pages in the write-ahead log.", &[], wal_bytes as f64);
        let help = "Bytes that are kept free for the next opening.";
        snapshot.gauge("store_reserve_bytes", help, &[], count(&self.reserve_bytes) as f64);
        let help = "Seconds that the store's time is ahead of a wall clock that was set back.";
        snapshot.gauge("store_time_ahead_seconds", help, &[], count(&self.ahead_nanos) as f64 / 1e9);
        snapshot.gauge(
            "store_wal_pinned",
            "1 while a reader keeps the write-ahead log past its bound.",
            &[],
            f64::from(u8::from(self.pin().is_some())),
        );
    }
}
