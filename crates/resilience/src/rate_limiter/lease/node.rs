use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::config::Invalid;
use intertie_core::quantity::Rate;

use super::super::limit::{Decision, Limit};
use super::super::token_bucket::TokenBucket;
use super::{Grant, LeaseConfig, Question, Unreachable};

/// Spends leases, and asks for the next when one is spent.
#[derive(Debug)]
pub struct Node {
    config: LeaseConfig,
    identity: u64,
    /// The highest epoch seen.
    epoch: u64,
    /// The number of the last question.
    number: u64,
    phase: Phase,
    local: TokenBucket,
    local_full_at: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Nobody called since the last lease ended.
    Idle,
    /// A lease, until a moment on this node's clock.
    Holding { permits: u64, until: Instant },
    /// The window's limit is used up, until a moment on this node's clock.
    Denied { until: Instant },
    /// Waits for an answer.
    Asking { since: Instant, asked_at: Option<Instant> },
}

/// What a node says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Let it through.
    Admitted,
    /// Reject it.
    Rejected {
        /// The time after which it may be admitted; `None` when it costs more than ever can be.
        retry_after: Option<Duration>,
    },
    /// The coordinator is being asked: send what [`Node::question`] says, and decide again when the answer
    /// is here, or when `patience` is over.
    Asking,
}

impl Node {
    /// A node that holds nothing. `identity` must never have been used for this limit before, not by this
    /// node before a restart either.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new(config: LeaseConfig, identity: u64) -> Result<Self, Invalid> {
        config.validate()?;
        let share = Rate::new(config.share().max(1), config.limit.period());
        let share = share.map_err(|error| Invalid::new("limit", error.to_string()))?;
        Ok(Self {
            config,
            identity,
            epoch: 0,
            number: 0,
            phase: Phase::Idle,
            local: TokenBucket::new(share, config.lease.get()),
            local_full_at: Instant::default(),
        })
    }

    /// Decides about a call of `cost` permits. What is left of a lease and too little for the call is
    /// given up, so that the next lease can be asked for.
    pub fn decide(&mut self, now: Instant, cost: u64) -> Verdict {
        if cost > self.config.lease.get() {
            return Verdict::Rejected { retry_after: None };
        }
        match self.phase {
            Phase::Holding { permits, until } if now < until && cost <= permits => {
                self.phase = Phase::Holding { permits: permits - cost, until };
                Verdict::Admitted
            }
            Phase::Denied { until } if now < until => {
                Verdict::Rejected { retry_after: Some(until.saturating_since(now)) }
            }
            Phase::Asking { since, .. } if now.saturating_since(since) >= self.config.patience => {
                self.decide_alone(now, cost)
            }
            Phase::Asking { .. } => Verdict::Asking,
            Phase::Idle | Phase::Holding { .. } | Phase::Denied { .. } => {
                self.number += 1;
                self.phase = Phase::Asking { since: now, asked_at: None };
                Verdict::Asking
            }
        }
    }

    /// What to send to the coordinator now: a question, or the same again when its answer is overdue.
    pub fn question(&mut self, now: Instant) -> Option<Question> {
        let Phase::Asking { asked_at, .. } = &mut self.phase else { return None };
        if asked_at.is_some_and(|asked_at| now < asked_at + self.config.ask_again) {
            return None;
        }
        *asked_at = Some(now);
        Some(Question { node: self.identity, number: self.number, asked_at: now })
    }

    /// Takes an answer. False when it changes nothing: it is for another question, has come before or too
    /// late, or is from a coordinator that has a successor.
    pub fn receive(&mut self, grant: Grant, now: Instant) -> bool {
        if grant.node != self.identity || grant.epoch < self.epoch {
            return false;
        }
        self.epoch = grant.epoch;
        let until = grant.asked_at + grant.expires_in;
        let is_awaited = matches!(self.phase, Phase::Asking { .. }) && grant.number == self.number;
        if !is_awaited || now >= until {
            return false;
        }
        self.phase = match grant.permits {
            0 => Phase::Denied { until },
            permits => Phase::Holding { permits, until },
        };
        true
    }

    /// Permits that the node holds.
    pub fn permits(&self) -> u64 {
        match self.phase {
            Phase::Holding { permits, .. } => permits,
            _ => 0,
        }
    }

    /// Decides while the coordinator is unreachable.
    fn decide_alone(&mut self, now: Instant, cost: u64) -> Verdict {
        match self.config.unreachable {
            Unreachable::Open => Verdict::Admitted,
            Unreachable::Closed => Verdict::Rejected { retry_after: Some(self.config.ask_again) },
            Unreachable::LocalShare => match self.local.decide(&mut self.local_full_at, now, cost) {
                Decision::Admitted { .. } => Verdict::Admitted,
                Decision::Rejected { retry_after } => Verdict::Rejected { retry_after },
            },
        }
    }
}
