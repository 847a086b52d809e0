use std::future::{Future, pending};
use std::pin::pin;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_resilience::MonotonicClock;
use tokio::time::sleep_until;

use super::shared::{Shared, all};
use super::verdict::away;
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
    /// When it is to be extended, or ends.
    fn next_change(self) -> Option<Instant> {
        match self {
            Self::Held { extend_at, end } => Some(extend_at.map_or(end, |extend_at| extend_at.min(end))),
            Self::Lost | Self::Settled => None,
        }
    }

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

    /// Keeps all that is held until `moment`, while nothing is done with it; not, where that can not be.
    pub(super) fn hold_until(&mut self, moment: Instant) -> bool {
        let time = self.shared.visibility_timeout;
        if self.shared.extends {
            self.until = self.until.max(moment);
            self.leases.iter_mut().for_each(|kept| kept.standing.extend_before_half(time));
            return true;
        }
        let ends = (0..self.leases.len()).filter_map(|message| self.end(message));
        ends.min().is_none_or(|end| moment < self.shared.overdue_at(end))
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

    /// Waits for the next leases that are to be extended or end, and does that: for all of one moment at once, which
    /// are no more than a unit has messages.
    async fn next_change(&mut self) {
        let next = self.leases.iter().filter_map(|kept| kept.standing.next_change());
        let Some(moment) = next.min() else { return pending().await };
        sleep_until(MonotonicClock::to_tokio(moment)).await;
        let now = MonotonicClock::now();
        let is_due = |kept: &Kept| kept.standing.next_change().is_some_and(|moment| moment <= now);
        let mut due: Vec<_> = (0..self.leases.len()).filter(|at| is_due(&self.leases[*at])).collect();
        due.retain(|at| {
            let is_over = self.end(*at).is_none_or(|end| end <= now);
            if is_over {
                self.lost(*at);
            } else if now >= self.until {
                self.extend_again(*at, None);
            }
            !is_over && now < self.until
        });
        let Shared { engine, queue, visibility_timeout, .. } = self.shared;
        let extensions = due.iter().map(|at| {
            let extended = engine.extend(queue, &self.leases[*at].id, *visibility_timeout);
            self.shared.answer(Duration::ZERO, extended)
        });
        for (at, extended) in due.iter().zip(all(extensions).await) {
            self.extended(*at, now, extended.err());
        }
    }

    /// Notes what came of asking, at `asked`, to extend a lease.
    fn extended(&mut self, message: usize, asked: Instant, error: Option<EngineError>) {
        let time = self.shared.visibility_timeout;
        match error {
            None => {
                self.shared.counters.extended();
                let (extend_at, end) = (Some(asked + time / 2), asked + time);
                self.leases[message].standing = Standing::Held { extend_at, end };
            }
            Some(EngineError::StaleLease | EngineError::NotFound { .. }) => self.lost(message),
            Some(error) => {
                let moment = away(&error).map(|hint| {
                    let wait = hint.unwrap_or_default().max(self.shared.config.backoff.base);
                    MonotonicClock::now() + wait
                });
                self.extend_again(message, moment);
            }
        }
    }

    fn extend_again(&mut self, message: usize, moment: Option<Instant>) {
        if let Standing::Held { extend_at, .. } = &mut self.leases[message].standing {
            *extend_at = moment;
        }
    }
}
