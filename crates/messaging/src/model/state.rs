//! All queues, topics and inboxes.

use intertie_core::clock::Timestamp;
use intertie_core::config::Invalid;
use intertie_core::envelope::{Envelope, binary};

use super::Bug;
use super::queue::{Dead, Queue, Standing};
use super::topic::Topic;
use crate::log::TopicSpec;
use crate::queue::{DeadLetter, Lease, LeaseId, LeaseRequest, QueueSpec, Settlement};
use crate::{DeclareError, EngineError, Name};

/// What a message or record is measured by: its headers and body in binary mode.
pub(super) fn bytes(envelope: &Envelope) -> u64 {
    let message = binary::write(envelope);
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    (headers + message.body.len()) as u64
}

#[derive(Debug, Default)]
pub(super) struct State {
    queues: Vec<(Name, Queue)>,
    topics: Vec<(Name, Topic)>,
    pub(super) marks: Vec<Mark>,
    leases: u64,
    /// Until when time has done what it does.
    passed: Option<Timestamp>,
    pub(super) bug: Option<Bug>,
}

#[derive(Debug)]
pub(super) struct Mark {
    pub(super) inbox: Name,
    pub(super) key: String,
    pub(super) until: Timestamp,
}

fn not_found<'a>(name: &Name, known: impl Iterator<Item = &'a Name>, bug: Option<Bug>) -> EngineError {
    let nearest = known
        .filter(|_| bug != Some(Bug::NoNearest))
        .map(|known| (strsim::damerau_levenshtein(name.as_str(), known.as_str()), known))
        .filter(|(distance, known)| *distance <= known.as_str().len().div_ceil(4))
        .min()
        .map(|(_, known)| known.clone());
    EngineError::NotFound { name: name.clone(), nearest }
}

impl State {
    /// Does what the time does by itself until `now`. Every verb begins with it.
    pub(super) fn pass(&mut self, now: Timestamp) {
        // In tests whose time stands still this is most of what there is to do.
        if self.passed.replace(now) == Some(now) {
            return;
        }
        let bug = self.bug;
        self.marks.retain(|mark| now < mark.until || bug == Some(Bug::MarkForEver));
        for (_, topic) in &mut self.topics {
            topic.pass(now, self.bug);
        }
        // What dies goes to another queue, where it may have waited too long already.
        loop {
            let mut dead = Vec::new();
            for (name, queue) in &mut self.queues {
                dead.extend(queue.pass(now, self.bug).into_iter().map(|dead| (name.clone(), dead)));
            }
            if dead.is_empty() {
                break;
            }
            for (name, dead) in dead {
                self.bury(&name, dead);
            }
        }
        let abandoned: Vec<_> = self
            .queues
            .iter()
            .filter(|(_, queue)| queue.is_abandoned(now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in abandoned {
            self.remove_queue(&name);
        }
    }

    pub(super) fn bury(&mut self, name: &Name, dead: Dead) {
        let Some(own) = self.queues.iter().find(|(other, _)| other == name).map(|(_, queue)| queue) else {
            return;
        };
        let target = own.dead_letters.clone().unwrap_or_else(|| name.clone());
        let Dead { entry, cause, reason, at } = dead;
        let dead_letter = DeadLetter {
            cause,
            reason,
            queue: name.clone(),
            position: entry.position,
            deliveries: entry.deliveries,
            at,
            redrives: 0,
        };
        let copies = if self.bug == Some(Bug::BuryTwice) { 2 } else { 1 };
        if let Some((_, queue)) = self.queues.iter_mut().find(|(other, _)| *other == target) {
            for _ in 0..copies {
                let dead_letter = Some(Box::new(dead_letter.clone()));
                queue.push(entry.content.clone(), entry.priority, at, at, dead_letter);
            }
        }
    }

    pub(super) fn queue(&mut self, name: &Name) -> Result<&mut Queue, EngineError> {
        match self.queues.iter().position(|(other, _)| other == name) {
            Some(at) => Ok(&mut self.queues[at].1),
            None => Err(not_found(name, self.queues.iter().map(|(name, _)| name), self.bug)),
        }
    }

    pub(super) fn topic(&mut self, name: &Name) -> Result<&mut Topic, EngineError> {
        match self.topics.iter().position(|(other, _)| other == name) {
            Some(at) => Ok(&mut self.topics[at].1),
            None => Err(not_found(name, self.topics.iter().map(|(name, _)| name), self.bug)),
        }
    }

    pub(super) fn partition(&mut self, name: &Name, partition: u32) -> Result<&mut Topic, EngineError> {
        let topic = self.topic(name)?;
        match topic.partitions() {
            partitions if partition < partitions => Ok(topic),
            partitions => Err(EngineError::NoPartition { partition, partitions }),
        }
    }

    pub(super) fn declare_queue(
        &mut self,
        name: &Name,
        spec: &QueueSpec,
        now: Timestamp,
    ) -> Result<(), DeclareError> {
        let dead_letters = match &spec.dead_letter {
            Some(given) if given == name => {
                let problem = "a queue can not be its own queue of dead letters";
                return Err(DeclareError::Invalid(Invalid::new("dead_letter", problem)));
            }
            Some(given) => {
                if self.bug != Some(Bug::DeadLettersNowhere) {
                    self.queue(given)?;
                }
                given.clone()
            }
            None => format!("{name}.dead").parse().map_err(|error| {
                let problem = format!("`{name}.dead` is no name, so another one must be given: {error}");
                DeclareError::Invalid(Invalid::new("dead_letter", problem))
            })?,
        };
        let empties = self.bug == Some(Bug::DeclareEmpties);
        if let Ok(queue) = self.queue(name) {
            if queue.spec.durable != spec.durable {
                let (is, asked) = (queue.spec.durable, spec.durable);
                let problem = format!("the queue has {is}, and {asked} was asked for");
                return Err(DeclareError::Fixed { key: "durable", problem });
            }
            if empties {
                *queue = Queue::new(spec.clone(), None, now);
            }
            queue.spec = spec.clone();
            queue.dead_letters = Some(dead_letters.clone());
        } else {
            let queue = Queue::new(spec.clone(), Some(dead_letters.clone()), now);
            self.queues.push((name.clone(), queue));
        }
        if self.queue(&dead_letters).is_err() {
            let spec =
                QueueSpec { durable: spec.durable, durability: spec.durability, ..QueueSpec::default() };
            self.queues.push((dead_letters, Queue::new(spec, None, now)));
        }
        Ok(())
    }

    pub(super) fn delete_queue(&mut self, name: &Name) -> Result<(), EngineError> {
        self.queue(name)?;
        if self.bug != Some(Bug::DeleteNothing) {
            self.remove_queue(name);
        }
        Ok(())
    }

    /// Removes a queue, and its own dead letters when there are none.
    fn remove_queue(&mut self, name: &Name) {
        self.queues.retain(|(other, _)| other != name);
        let dead = format!("{name}.dead");
        self.queues.retain(|(other, queue)| {
            other.as_str() != dead || queue.dead_letters.is_some() || queue.len() > 0
        });
    }

    pub(super) fn declare_topic(&mut self, name: &Name, spec: &TopicSpec) -> Result<(), DeclareError> {
        let bug = self.bug;
        let Ok(topic) = self.topic(name) else {
            self.topics.push((name.clone(), Topic::new(spec.clone())));
            return Ok(());
        };
        let (is, asked) = (topic.partitions(), spec.partitions.get());
        if asked < is {
            let problem = format!("the topic has {is}, and {asked} were asked for");
            return Err(DeclareError::Fixed { key: "partitions", problem });
        }
        topic.change(spec.clone(), bug);
        Ok(())
    }

    pub(super) fn delete_topic(&mut self, name: &Name) -> Result<(), EngineError> {
        self.topic(name)?;
        let stays = self.bug == Some(Bug::DeleteNothing);
        self.topics.retain(|(other, _)| other != name || stays);
        Ok(())
    }

    /// Hands out numbers of leases to a queue.
    pub(super) fn lease(
        &mut self,
        request: &LeaseRequest,
        now: Timestamp,
    ) -> Result<Vec<Lease>, EngineError> {
        let (mut leases, bug) = (self.leases, self.bug);
        let leased = self.queue(&request.queue)?.lease(request, now, &mut leases, bug);
        self.leases = leases;
        leased
    }

    /// The queue of a lease that is live, or was settled so.
    pub(super) fn held(
        &mut self,
        lease: &LeaseId,
        settlement: Option<&Settlement>,
        now: Timestamp,
    ) -> Result<(u64, Standing, &Name, &mut Queue), EngineError> {
        let bug = self.bug;
        let mut lease: u64 = lease.as_str().parse().map_err(|_| EngineError::StaleLease)?;
        if bug == Some(Bug::NoFence) {
            let is_stale =
                |(_, queue): &(Name, Queue)| queue.standing(lease, settlement, now, bug) == Standing::Stale;
            if self.queues.iter().all(is_stale) {
                lease = self.queues.iter().find_map(|(_, queue)| queue.any_lease()).unwrap_or(lease);
            }
        }
        let queues = self.queues.iter_mut();
        let standings =
            queues.map(|(name, queue)| (queue.standing(lease, settlement, now, bug), &*name, queue));
        let is_fine = |standing| match standing {
            Standing::Live => true,
            Standing::SettledSo => bug != Some(Bug::SettleOnce),
            Standing::Stale => false,
        };
        let found = standings.into_iter().find(|(standing, ..)| is_fine(*standing));
        found.map(|(standing, name, queue)| (lease, standing, name, queue)).ok_or(EngineError::StaleLease)
    }

    pub(super) fn extend(
        &mut self,
        lease: &LeaseId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let bug = self.bug;
        let (lease, .., queue) = self.held(lease, None, now)?;
        queue.extend(lease, until, bug);
        Ok(())
    }

    pub(super) fn is_marked(&self, inbox: &Name, key: &str) -> bool {
        self.marks.iter().any(|mark| mark.inbox == *inbox && mark.key == key)
    }

    /// What a restart of the process leaves.
    pub(super) fn restart(&mut self, now: Timestamp) {
        let bug = self.bug;
        self.queues.retain(|(_, queue)| queue.spec.durable || bug == Some(Bug::OutlastRestart));
        if bug == Some(Bug::ForgetOnRestart) {
            self.marks.clear();
        }
        for (_, queue) in &mut self.queues {
            match bug {
                Some(Bug::LoseRetryOnRestart) => queue.forget_retries(now),
                Some(Bug::ForgetOnRestart) => queue.forget_ids(),
                _ => {}
            }
        }
        for (_, topic) in &mut self.topics {
            topic.restart(self.bug);
        }
    }
}
