use std::future::{Future, pending};
use std::pin::pin;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_resilience::MonotonicClock;
use tokio::time::sleep_until;

use super::shared::Shared;
use crate::EngineError;
use crate::queue::LeaseId;

/// Keeps the messages of a unit the consumer's while they are worked on.
///
/// Times count from when the engine answered, or from before it was asked to extend: a lease never ends here later than
/// there, but for the way of one answer, and half of its time is left for that.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    shared: &'a Shared,
    leases: Vec<Kept>,
    /// Nothing is extended any more from then on.
    until: Instant,
}

#[derive(Debug)]
struct Kept {
    id: LeaseId,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Held {
        /// When it is to be extended, if it can be.
        extend_at: Option<Instant>,
        end: Instant,
    },
    /// It is somebody else's, or about to be.
    Lost,
    /// It was settled.
    Settled,
}

impl Standing {
    fn extend_before_half(&mut self, visibility_timeout: Duration) {
        if let Self::Held { extend_at: extend_at @ None, end } = self {
            let left = end.saturating_since(Instant::ORIGIN).saturating_sub(visibility_timeout / 2);
            *extend_at = Some(Instant::ORIGIN + left);
        }
    }
}

impl<'a> Keeper<'a> {
    /// Keeps these leases, each with the time at which it ends unless it is extended.
    pub(super) fn new(shared: &'a Shared, leases: impl Iterator<Item = (LeaseId, Instant)>) -> Self {
        let leases = leases.map(|(id, end)| Kept { id, standing: Standing::Held { extend_at: None, end } });
        Self { shared, leases: leases.collect(), until: Instant::ORIGIN }
    }

    pub(super) fn id(&self, message: usize) -> &LeaseId {
        &self.leases[message].id
    }

    /// When `message` ends if nothing is done; `None` when it is no longer held.
    pub(super) fn end(&self, message: usize) -> Option<Instant> {
        match self.leases[message].standing {
            Standing::Held { end, .. } => Some(end),
            Standing::Lost | Standing::Settled => None,
        }
    }

    pub(super) fn is_held(&self, message: usize) -> bool {
        self.end(message).is_some()
    }

    pub(super) fn lost(&mut self, message: usize) {
        self.leases[message].standing = Standing::Lost;
    }

    pub(super) fn settled(&mut self, message: usize) {
        self.leases[message].standing = Standing::Settled;
    }

    /// How long a handler may work on `messages` from `now` on, and extends for it that long: for `handling_max`, or
    /// where nothing is extended until a tenth of the leases is left to settle in.
    pub(super) fn begin(&mut self, messages: &[usize], now: Instant) -> Duration {
        let allowed = self.shared.config.handling_max;
        self.until = now + allowed;
        if self.shared.extends {
            for kept in &mut self.leases {
                kept.standing.extend_before_half(self.shared.visibility_timeout);
            }
            return allowed;
        }
        let end = messages.iter().filter_map(|message| self.end(*message)).min();
        let left = end.map_or(Duration::ZERO, |end| end.saturating_since(now));
        allowed.min(left.saturating_sub(self.shared.visibility_timeout / 10))
    }

    /// Extends while `future` is under way.
    pub(super) async fn during<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                output = &mut future => return output,
                () = self.next_change() => {}
            }
        }
    }

    /// The same, until none of `messages` is held any more: whatever the future does then is not for this consumer to
    /// do.
    pub(super) async fn while_held<F: Future>(&mut self, messages: &[usize], future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        loop {
            if !messages.iter().any(|message| self.is_held(*message)) {
                return None;
            }
            tokio::select! {
                biased;
                output = &mut future => return Some(output),
                () = self.next_change() => {}
            }
        }
    }

    /// Waits for the next lease that is to be extended or ends, and does that.
    async fn next_change(&mut self) {
        let next = self.leases.iter().enumerate().filter_map(|(at, kept)| match kept.standing {
            Standing::Held { extend_at: Some(extend_at), end } => Some((extend_at.min(end), at)),
            Standing::Held { extend_at: None, end } => Some((end, at)),
            Standing::Lost | Standing::Settled => None,
        });
        let Some((moment, at)) = next.min() else { return pending().await };
        sleep_until(MonotonicClock::to_tokio(moment)).await;
        let now = MonotonicClock::now();
        if self.end(at).is_none_or(|end| end <= now) {
            return self.lost(at);
        }
        if now >= self.until {
            return self.extend_again(at, None);
        }
        let Shared { engine, queue, visibility_timeout, .. } = self.shared;
        let extended = engine.extend(queue, &self.leases[at].id, *visibility_timeout);
        match self.shared.answer(Duration::ZERO, extended).await {
            Ok(_) => {
                self.shared.counters.extended();
                let (extend_at, end) = (Some(now + *visibility_timeout / 2), now + *visibility_timeout);
                self.leases[at].standing = Standing::Held { extend_at, end };
            }
            Err(EngineError::StaleLease | EngineError::NotFound { .. }) => self.lost(at),
            Err(EngineError::Unavailable { retry_after, .. }) => {
                let wait = retry_after.unwrap_or_default().max(self.shared.config.backoff.base);
                self.extend_again(at, Some(MonotonicClock::now() + wait));
            }
            Err(_) => self.extend_again(at, None),
        }
    }

    fn extend_again(&mut self, message: usize, moment: Option<Instant>) {
        if let Standing::Held { extend_at, .. } = &mut self.leases[message].standing {
            *extend_at = moment;
        }
    }
}
