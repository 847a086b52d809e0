use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::{Instant, Timestamp};
use intertie_core::envelope::Envelope;
use intertie_resilience::MonotonicClock;
use tokio::sync::watch;

use crate::Name;
use crate::queue::DeadLetter;

/// One message as its handler gets it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What the message says.
    pub envelope: Envelope,
    /// What is known of this delivery of it.
    pub context: Context,
}

/// What a handler is told beside the message.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where the message comes from.
    pub queue: Name,
    /// Who handles it.
    pub consumer: Name,
    /// Where it stands in its queue, if the engine tells.
    pub position: Option<u64>,
    /// How often it was delivered, this time included.
    pub deliveries: NonZeroU32,
    /// Whether it is dead when this delivery fails.
    pub is_last_delivery: bool,
    /// Which attempt of this delivery it is, from 1: above that the `pipeline` repeats it.
    pub attempt: u32,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// Of what it died before, if it did.
    pub dead_letter: Option<Box<DeadLetter>>,
    pub(super) until: Option<Instant>,
    pub(super) stage: watch::Receiver<Stage>,
}

/// How far a consumer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Running,
    /// Nothing is taken in any more.
    Draining,
    /// Handlers are dropped.
    Cut,
}

impl Context {
    /// What is left of the handler's time; after it the handler is dropped. To be handed on to whom it calls.
    pub fn remaining(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_since(MonotonicClock::now()))
    }

    /// Whether the consumer is to stop: what can be ended early should be.
    pub fn is_draining(&self) -> bool {
        *self.stage.borrow() >= Stage::Draining
    }

    /// Waits until the consumer is to stop.
    pub async fn draining(&mut self) {
        reached(&mut self.stage, Stage::Draining).await;
    }
}

/// Waits until the consumer is so far. One that is gone has told all it will: its handlers go with it.
pub(super) async fn reached(stage: &mut watch::Receiver<Stage>, far: Stage) {
    if stage.wait_for(|stage| *stage >= far).await.is_err() {
        std::future::pending::<()>().await;
    }
}
