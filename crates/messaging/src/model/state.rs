//! All queues, topics and inboxes.

use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_core::config::Invalid;
use intertie_core::envelope::{Envelope, binary};

use intertie_idempotency::{Key, Record, record};

use super::Bug;
use super::queue::{Dead, Queue, Standing, after};
use super::topic::Topic;
use crate::log::TopicSpec;
use crate::message::Content;
use crate::queue::{
    DeadLetter, Depth, Lease, LeaseId, LeaseRequest, LeaseToken, Origin, QueueSpec, Settlement,
};
use crate::{DeclareError, EngineError, Listing, Name, Unfit};

/// What a message or record is measured by: its headers and body in binary mode.
pub(super) fn bytes(envelope: &Envelope) -> u64 {
    let message = binary::write(envelope);
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    (headers + message.body.len()) as u64
}

/// The same of what may be no envelope.
pub(super) fn content_bytes(content: &Content) -> u64 {
    match content {
        Content::Envelope(envelope) => bytes(envelope),
        Content::Undecodable { bytes, headers, .. } => {
            let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
            (headers + bytes.len()) as u64
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    queues: Vec<(Name, Queue)>,
    topics: Vec<(Name, Topic)>,
    /// A generation that no group of a topic that is gone gave out.
    generation: u64,
    pub(super) marks: Vec<Mark>,
    requests: Vec<Request>,
    fences: u64,
    leases: u64,
    /// Consumers that wait, each with its queue.
    pub(super) waiting: Vec<(Name, Name)>,
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

#[derive(Debug)]
struct Request {
    scope: String,
    key: Key,
    record: Record,
}

fn listed<'a>(names: impl Iterator<Item = &'a Name>, listing: &Listing, bug: Option<Bug>) -> Vec<Name> {
    let most = if bug == Some(Bug::ListAll) { usize::MAX } else { listing.most.get() as usize };
    let mut names: Vec<_> =
        names.filter(|name| listing.after.as_ref().is_none_or(|after| *name > after)).cloned().collect();
    names.sort();
    names.truncate(most);
    names
}

fn nearest<'a>(name: &Name, known: impl Iterator<Item = &'a Name>, bug: Option<Bug>) -> Option<Name> {
    known
        .filter(|_| bug != Some(Bug::NoNearest))
        .map(|known| (strsim::damerau_levenshtein(name.as_str(), known.as_str()), known))
        .filter(|(distance, known)| *distance <= known.as_str().len().div_ceil(4))
        .min()
        .map(|(_, known)| known.clone())
}

fn not_found<'a>(name: &Name, known: impl Iterator<Item = &'a Name>, bug: Option<Bug>) -> EngineError {
    EngineError::NotFound { name: name.clone(), nearest: nearest(name, known, bug) }
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
        // Dead letters that came with a queue go with it, once there are none.
        let orphans: Vec<_> = self
            .queues
            .iter()
            .filter(|(name, queue)| {
                queue.dead_letters.is_none() && queue.len() == 0 && self.source(name).is_none()
            })
            .map(|(name, _)| name.clone())
            .collect();
        self.queues.retain(|(name, _)| !orphans.contains(name) || bug == Some(Bug::KeepDeadLetters));
    }

    /// The first queue whose dead letters go to `name`.
    fn source(&self, name: &Name) -> Option<&Name> {
        let mut sources = self.queues.iter().filter(|(_, queue)| queue.dead_letters.as_ref() == Some(name));
        sources.next().map(|(source, _)| source)
    }

    pub(super) fn bury(&mut self, name: &Name, dead: Dead) {
        let Some(own) = self.queues.iter().find(|(other, _)| other == name).map(|(_, queue)| queue) else {
            return;
        };
        let target = own.dead_letters.clone().unwrap_or_else(|| name.clone());
        let Dead { mut entry, cause, reason, at } = dead;
        let dead_letter = match entry.dead_letter.take() {
            // What stays among its dead letters died elsewhere.
            Some(before) if target == *name => DeadLetter { cause, reason, at, ..*before },
            before => DeadLetter {
                cause,
                reason,
                origin: Origin::Queue { queue: name.clone(), position: Some(entry.position) },
                deliveries: entry.deliveries,
                at,
                redrives: before.map_or(0, |before| before.redrives),
            },
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
            Some(given) => given.clone(),
            None => format!("{name}.dead").parse().map_err(|error| {
                let problem = format!("`{name}.dead` is no name, so another one must be given: {error}");
                DeclareError::Invalid(Invalid::new("dead_letter", problem))
            })?,
        };
        if dead_letters == *name {
            let problem = "a queue can not be its own queue of dead letters";
            return Err(DeclareError::Invalid(Invalid::new("dead_letter", problem)));
        }
        self.check_dead_letters(name, spec, &dead_letters)?;
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
        let (durable, durability) = (spec.durable, spec.durability);
        match self.queue(&dead_letters) {
            Ok(own) if own.dead_letters.is_none() => own.spec.durability = durability,
            Ok(_) => {}
            Err(_) => {
                let spec = QueueSpec { durable, durability, ..QueueSpec::default() };
                self.queues.push((dead_letters, Queue::new(spec, None, now)));
            }
        }
        Ok(())
    }

    /// Whether nothing that dies gets lost when `name` is as `spec` says, neither its own dead nor those of others that
    /// go there.
    fn check_dead_letters(&self, name: &Name, spec: &QueueSpec, target: &Name) -> Result<(), DeclareError> {
        let unfit = |queue: &Name, target: &Name, unfit| {
            let (queue, target) = (queue.clone(), target.clone());
            Err(DeclareError::DeadLetter { queue, target, unfit })
        };
        let find = |name: &Name| self.queues.iter().find(|(other, _)| other == name).map(|(_, queue)| queue);
        match find(target) {
            _ if self.bug == Some(Bug::LoseDeadLetters) => return Ok(()),
            // It comes with the queue, and is as durable.
            Some(own) if own.dead_letters.is_none() && spec.dead_letter.is_none() => {}
            Some(found) => {
                if let Err(problem) = found.spec.takes_dead_of(spec) {
                    return unfit(name, target, problem);
                }
            }
            None if spec.dead_letter.is_some() && self.bug != Some(Bug::DeadLettersNowhere) => {
                let nearest = nearest(target, self.queues.iter().map(|(name, _)| name), self.bug);
                return unfit(name, target, Unfit::Missing { nearest });
            }
            None => {}
        }
        let mut through = vec![target.clone()];
        while let Some(next) = through.last().and_then(find).and_then(|queue| queue.dead_letters.clone()) {
            through.push(next.clone());
            if next == *name {
                return unfit(name, target, Unfit::Circle { through });
            }
        }
        for (source, queue) in &self.queues {
            if queue.dead_letters.as_ref() == Some(name)
                && let Err(problem) = spec.takes_dead_of(&queue.spec)
            {
                return unfit(source, name, problem);
            }
        }
        Ok(())
    }

    pub(super) fn delete_queue(&mut self, name: &Name) -> Result<(), EngineError> {
        self.queue(name)?;
        if let Some(by) = self.source(name).filter(|_| self.bug != Some(Bug::LoseDeadLetters)) {
            return Err(EngineError::InUse { by: by.clone() });
        }
        if self.bug != Some(Bug::DeleteNothing) {
            self.remove_queue(name);
        }
        Ok(())
    }

    fn remove_queue(&mut self, name: &Name) {
        self.queues.retain(|(other, _)| other != name);
        // What came with it may have to go, too, without any time going by.
        self.passed = None;
    }

    pub(super) fn queue_names(&self, listing: &Listing) -> Vec<Name> {
        listed(self.queues.iter().map(|(name, _)| name), listing, self.bug)
    }

    pub(super) fn topic_names(&self, listing: &Listing) -> Vec<Name> {
        listed(self.topics.iter().map(|(name, _)| name), listing, self.bug)
    }

    pub(super) fn group_names(&mut self, topic: &Name, listing: &Listing) -> Result<Vec<Name>, EngineError> {
        let bug = self.bug;
        Ok(listed(self.topic(topic)?.group_names(), listing, bug))
    }

    pub(super) fn depth(&mut self, name: &Name, now: Timestamp) -> Result<Depth, EngineError> {
        let depth = self.queue(name)?.depth(now);
        let waiting: Vec<_> = self.waiting.iter().filter(|(queue, _)| queue == name).cloned().collect();
        let queue = self.queue(name)?;
        let mut consumers: Vec<_> =
            queue.holders().chain(waiting.iter().map(|(_, consumer)| consumer)).collect();
        consumers.sort();
        consumers.dedup();
        Ok(Depth { consumers: Some(consumers.len() as u64), ..depth })
    }

    pub(super) fn declare_topic(&mut self, name: &Name, spec: &TopicSpec) -> Result<(), DeclareError> {
        let bug = self.bug;
        let Ok(topic) = self.topic(name) else {
            let generation = if bug == Some(Bug::GenerationsAgain) { 1 } else { self.generation.max(1) };
            self.topics.push((name.clone(), Topic::new(spec.clone(), generation)));
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
        let generation = self.topic(name)?.generation();
        self.generation = self.generation.max(generation);
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

    /// The queue of a lease, and what the lease is good for.
    pub(super) fn held(
        &mut self,
        name: &Name,
        lease: &LeaseId,
        settlement: Option<&Settlement>,
        now: Timestamp,
    ) -> Result<(LeaseToken, Standing, &Name, &mut Queue), EngineError> {
        let bug = self.bug;
        self.queue(name)?;
        let mut lease: LeaseToken = lease.as_str().parse()?;
        if bug == Some(Bug::GuessableLeases) {
            lease.secret = 0;
        }
        let is_stale = |queue: &Queue| queue.standing(lease, settlement, now, bug) == Standing::Stale;
        let anywhere = |queue: &(Name, Queue)| bug == Some(Bug::AnyQueue) && !is_stale(&queue.1);
        let other = self.queues.iter().position(anywhere);
        let own = self.queues.iter().position(|(other, _)| other == name);
        let at = other.or(own).ok_or(EngineError::StaleLease)?;
        if bug == Some(Bug::NoFence) && is_stale(&self.queues[at].1) {
            lease = self.queues[at].1.any_lease().unwrap_or(lease);
        }
        let (name, queue) = &mut self.queues[at];
        let standing = queue.standing(lease, settlement, now, bug);
        Ok((lease, standing, name, queue))
    }

    pub(super) fn extend(
        &mut self,
        name: &Name,
        lease: &LeaseId,
        time: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, EngineError> {
        let bug = self.bug;
        let (lease, standing, _, queue) = self.held(name, lease, None, now)?;
        if standing != Standing::Live {
            return Err(EngineError::StaleLease);
        }
        queue.check_time(time, bug)?;
        let until = after(now, time);
        queue.extend(lease, until, bug);
        Ok(until)
    }

    /// Reads the record of a request, decides by one of the functions of [`record`], and writes what that returned.
    pub(super) fn request<T>(
        &mut self,
        scope: &str,
        key: &Key,
        decide: impl FnOnce(Option<&Record>, u64) -> (T, Option<Record>),
    ) -> T {
        self.fences += 1;
        let at = self.requests.iter().position(|request| request.scope == scope && request.key == *key);
        let (said, record) = decide(at.map(|at| &self.requests[at].record), self.fences);
        if let Some(record) = record {
            match at {
                Some(at) => self.requests[at].record = record,
                None => self.requests.push(Request { scope: scope.to_owned(), key: key.clone(), record }),
            }
        }
        said
    }

    /// Whether a request was completed with this fence before.
    pub(super) fn is_completed(&self, scope: &str, key: &Key, fence: u64, now: Timestamp) -> bool {
        let request = self.requests.iter().find(|request| request.scope == scope && request.key == *key);
        let again =
            record::complete(request.map(|request| &request.record), fence, None, now, Duration::ZERO);
        again == Ok(None)
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
            self.requests.clear();
        }
        for (_, queue) in &mut self.queues {
            match bug {
                Some(Bug::LoseRetryOnRestart) => queue.forget_retries(now),
                Some(Bug::ForgetOnRestart) => queue.forget_ids(),
                _ => {}
            }
        }
        for (_, topic) in &mut self.topics {
            topic.restart(now, self.bug);
        }
    }
}
