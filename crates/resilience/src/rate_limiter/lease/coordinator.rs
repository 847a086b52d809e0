use std::collections::BTreeMap;

use intertie_core::clock::{Instant, nanos};
use intertie_core::config::Invalid;

use super::{Grant, LeaseConfig, Question};

/// Grants leases out of each window's limit.
///
/// Invariant: what was granted since the window began is at most the limit.
#[derive(Debug)]
pub struct Coordinator {
    config: LeaseConfig,
    epoch: u64,
    /// When the present window began.
    began: Instant,
    granted: u64,
    /// The last grant of each node in this window or the one before.
    nodes: BTreeMap<u64, Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    number: u64,
    permits: u64,
    is_present: bool,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The node has asked a later question since: this one was late or came twice.
    Stale,
    /// As many nodes as `nodes_max` hold leases.
    Nodes,
}

impl Coordinator {
    /// The first coordinator of this limit, with epoch 1. Its first window begins at `now`, and so do its
    /// grants.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn first(config: LeaseConfig, now: Instant) -> Result<Self, Invalid> {
        config.validate()?;
        Ok(Self { config, epoch: 1, began: now, granted: 0, nodes: BTreeMap::new() })
    }

    /// The coordinator after another that granted nobody knows what. It grants from the end of its first
    /// window on, which begins at `now`; `epoch` must be above those of all before it.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn successor(config: LeaseConfig, epoch: u64, now: Instant) -> Result<Self, Invalid> {
        let granted = config.limit.amount();
        Ok(Self { epoch, granted, ..Self::first(config, now)? })
    }

    /// Answers a question. One that comes again in the same window gets the same permits, not more.
    ///
    /// # Errors
    /// When there is no answer; the node may ask again.
    pub fn answer(&mut self, question: Question, now: Instant) -> Result<Grant, Refused> {
        self.turn_to(now);
        let last = self.nodes.get(&question.node).copied();
        let permits = match last {
            Some(last) if question.number < last.number => return Err(Refused::Stale),
            Some(last) if question.number == last.number && last.is_present && last.permits > 0 => {
                last.permits
            }
            None if self.nodes.len() >= self.config.nodes_max.get() as usize => return Err(Refused::Nodes),
            _ => {
                let permits = self.config.lease.get().min(self.config.limit.amount() - self.granted);
                self.granted += permits;
                self.nodes.insert(question.node, Last { number: question.number, permits, is_present: true });
                permits
            }
        };
        Ok(Grant {
            node: question.node,
            number: question.number,
            asked_at: question.asked_at,
            epoch: self.epoch,
            permits,
            expires_in: (self.began + self.config.limit.period()).saturating_since(now),
        })
    }

    /// The number by which grants of this coordinator are told from those of others.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Permits granted in the present window.
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// When the present window began.
    pub fn window(&self) -> Instant {
        self.began
    }

    /// Begins the window that contains `now`. A clock that reads less than before changes nothing.
    fn turn_to(&mut self, now: Instant) {
        let period = nanos(self.config.limit.period());
        let passed = now.as_nanos().saturating_sub(self.began.as_nanos()) / period;
        if passed == 0 {
            return;
        }
        self.began = Instant::from_nanos(self.began.as_nanos() + passed * period);
        self.granted = 0;
        // Who was granted nothing in the window before can hold no lease.
        self.nodes.retain(|_, last| passed == 1 && std::mem::replace(&mut last.is_present, false));
    }
}
