//! What was seen lately of who answers where.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use intertie_core::clock::Instant;

use super::request::Responders;
use crate::Name;

/// The queues that somebody took messages from a while ago, and those of which that can not be known.
#[derive(Debug)]
pub(super) struct Seen {
    kept: Duration,
    most: usize,
    queues: Mutex<HashMap<Name, (Instant, Responders)>>,
}

impl Seen {
    pub(super) fn new(kept: Duration, most: usize) -> Self {
        Self { kept, most, queues: Mutex::default() }
    }

    /// What was seen of `queue`, if that is not too long ago.
    pub(super) fn lately(&self, queue: &Name, now: Instant) -> Option<Responders> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, responders) = queues.get(queue)?;
        (now < *at + self.kept).then_some(*responders)
    }

    /// Remembers what was seen of `queue`, if there is room.
    pub(super) fn see(&self, queue: &Name, responders: Responders, now: Instant) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.len() >= self.most && !queues.contains_key(queue) {
            queues.retain(|_, (at, _)| now < *at + self.kept);
        }
        if queues.len() < self.most || queues.contains_key(queue) {
            queues.insert(queue.clone(), (now, responders));
        }
    }
}
