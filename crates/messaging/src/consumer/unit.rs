//! What is done with a message or a batch, from when its turn comes until all of it is settled.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::rejection::Rejection;
use intertie_resilience::pipeline::Verdict;
use intertie_resilience::{CallError, MonotonicClock};
use tokio::time::sleep_until;

use super::counters::Fate;
use super::delivery::{Context, Delivery, Stage, reached};
use super::failure::Failure;
use super::handler::{Handler, attempt};
use super::intake::{Entry, Group};
use super::keeper::Keeper;
use super::shared::{Shared, is_stale};
use super::verdict::{again, failure_of_call, failure_of_commit};
use crate::Content;
use crate::commit::{Commit, CommitError, Refused};
use crate::queue::{Lease, Settlement};

/// A message that the consumer holds.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) lease: Lease,
    /// When it is somebody else's unless it is extended.
    pub(super) end: Instant,
}

/// What became of a unit.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) messages: Vec<EndedMessage>,
    /// Why it was not tried, if it was not.
    pub(super) held_up: Option<HeldUp>,
}

#[derive(Debug)]
pub(super) enum EndedMessage {
    Settled { group: Group, done: bool },
    NotBegun(Entry<Taken>),
}

/// Why nothing was tried.
#[derive(Debug, Clone)]
pub(super) enum HeldUp {
    /// A policy does not admit it.
    Rejected(Rejection),
    /// The handler does not want it, or the engine does not answer.
    NotTried(Failure),
}

/// Why messages were not done.
enum Stop {
    Failed(Failure),
    Rejected(Rejection),
    /// They are somebody else's.
    Lost,
    /// Somebody else handled them meanwhile.
    HandledBefore,
    /// One of them is in the way of the others.
    Apart(usize),
    /// What became of them could not be stored.
    Away,
    /// The consumer has no more time.
    Cut,
}

/// A unit on its way.
pub(super) struct Unit<'a> {
    pub(super) shared: &'a Shared,
    pub(super) keeper: Keeper<'a>,
    messages: Vec<Entry<Taken>>,
    fates: Vec<Option<Fate>>,
    held_up: Option<HeldUp>,
    /// Whether one of its messages is searched for by halves.
    is_cut: bool,
    /// How often in a row a policy rejected it since.
    rejected: u32,
}

/// Handles `messages`, in halves where one of them is in the way of the others, and settles each.
pub(super) async fn run<H: Handler<Vec<Delivery>>>(
    shared: &Shared,
    handler: H,
    messages: Vec<Entry<Taken>>,
) -> Ended {
    let leases = messages.iter().map(|entry| (entry.value.lease.id.clone(), entry.value.end));
    let keeper = Keeper::new(shared, leases);
    let fates = vec![None; messages.len()];
    let mut unit = Unit { shared, keeper, messages, fates, held_up: None, is_cut: false, rejected: 0 };
    let mut parts = vec![(0..unit.messages.len()).collect::<Vec<_>>()];
    while let Some(part) = parts.pop() {
        let (part, twice) = unit.without_handled(part).await;
        // They have their turn when the first of them is in the inbox, or is not.
        parts.extend(twice.into_iter().map(|message| vec![message]));
        if part.is_empty() {
            continue;
        }
        let done = match unit.call(handler.clone(), &part).await {
            Ok(effects) => unit.commit(&part, effects).await,
            Err(stop) => Err(stop),
        };
        if !matches!(done, Err(Stop::Rejected(_))) {
            unit.rejected = 0;
        }
        match done {
            Ok(()) => part.iter().for_each(|message| unit.ended(*message, Fate::Acknowledged, "")),
            Err(Stop::Failed(failure)) if unit.bisects(&part, &failure) => {
                shared.counters.bisected();
                unit.is_cut = true;
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second.to_vec(), first.to_vec()]);
            }
            Err(Stop::Failed(failure)) => unit.fail(&part, &failure).await,
            Err(Stop::Apart(one)) => {
                parts.push(vec![one]);
                parts.push(part.into_iter().filter(|message| *message != one).collect());
            }
            Err(Stop::HandledBefore) => unit.acknowledge_handled(&part).await,
            Err(Stop::Lost) => part.iter().for_each(|message| unit.ended(*message, Fate::Lost, "")),
            Err(Stop::Away) => part.iter().for_each(|message| unit.ended(*message, Fate::Unsettled, "")),
            // Put back, it would be part of a whole batch again, which would be cut from the beginning for ever.
            Err(Stop::Rejected(rejection)) if unit.is_cut && unit.waits(&rejection).await => parts.push(part),
            Err(Stop::Rejected(rejection)) => {
                unit.held_up = Some(HeldUp::Rejected(rejection));
                return unit.end();
            }
            // What is not settled is given back with all that nothing was begun with.
            Err(Stop::Cut) => return unit.end(),
        }
    }
    unit.end()
}

impl Unit<'_> {
    pub(super) fn lease(&self, message: usize) -> &Lease {
        &self.messages[message].value.lease
    }

    pub(super) fn ended(&mut self, message: usize, fate: Fate, reason: &str) {
        self.shared.tell(self.lease(message), fate, reason);
        self.keeper.settled(message);
        self.fates[message] = Some(fate);
    }

    /// Settles what needs no handler: what is no message, was handled before, or is somebody else's by now. The rest, and
    /// what the inbox would take for one of the rest.
    async fn without_handled(&mut self, part: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
        let (mut rest, mut twice) = (Vec::with_capacity(part.len()), Vec::new());
        let mut keys = HashSet::new();
        for message in part {
            if !self.keeper.is_held(message) {
                self.ended(message, Fate::Lost, "");
                continue;
            }
            if let Content::Undecodable { problem, .. } = &self.lease(message).content {
                let failure = Failure::undecodable(problem.clone());
                self.fail(&[message], &failure).await;
                continue;
            }
            if self.shared.inbox.is_some() && !keys.insert(self.inbox_key(message)) {
                twice.push(message);
                continue;
            }
            rest.push(message);
        }
        let mut handled = Vec::new();
        match self.are_handled(&rest).await {
            Ok(marks) => {
                let mut marks = marks.into_iter();
                handled.extend(rest.extract_if(.., |_| marks.next() == Some(true)));
            }
            Err(failure) => self.fail(&std::mem::take(&mut rest), &failure).await,
        }
        self.acknowledge_handled(&handled).await;
        (rest, twice)
    }

    /// Waits until a policy may admit again, while all that is left stays the consumer's. Not, when that can not be, or
    /// the consumer is to stop.
    async fn waits(&mut self, rejection: &Rejection) -> bool {
        let shared = self.shared;
        self.rejected = self.rejected.saturating_add(1);
        let times = NonZeroU32::new(self.rejected).unwrap_or(NonZeroU32::MIN);
        let wait = rejection.retry_after.unwrap_or_else(|| shared.wait(times)).max(Duration::from_millis(1));
        let end = MonotonicClock::now() + wait;
        if !self.keeper.hold_until(end) {
            return false;
        }
        let mut stage = shared.stage.clone();
        tokio::select! {
            biased;
            () = reached(&mut stage, Stage::Draining) => false,
            () = self.keeper.during(sleep_until(MonotonicClock::to_tokio(end))) => true,
        }
    }

    /// Calls the handler under the pipeline.
    async fn call<H: Handler<Vec<Delivery>>>(&mut self, handler: H, part: &[usize]) -> Result<Commit, Stop> {
        let shared = self.shared;
        let began = MonotonicClock::now();
        let allowed = self.keeper.begin(part, began);
        let deliveries: Vec<_> = part.iter().map(|message| self.delivery(*message)).collect();
        let call = shared.pipeline.call(move |cx| {
            let mut deliveries = deliveries.clone();
            for delivery in &mut deliveries {
                delivery.context.attempt = cx.attempt();
                delivery.context.until = cx.until();
            }
            attempt(handler.clone(), deliveries, shared.config.panics)
        });
        let call = call.idempotent().remaining(allowed).classify(|outcome: &Result<Commit, Failure>| {
            let failure = outcome.as_ref().err();
            let class = failure.map_or(Class::Success, Failure::class);
            Verdict { class, retry_after: failure.and_then(Failure::hint), exhausted: false }
        });
        let mut stage = shared.stage.clone();
        let called = tokio::select! {
            biased;
            called = self.keeper.while_held(part, call) => called.ok_or(Stop::Lost)?,
            () = reached(&mut stage, Stage::Cut) => return Err(Stop::Cut),
        };
        if let Err(CallError::Rejected(rejection)) = called {
            return Err(Stop::Rejected(rejection));
        }
        shared.counters.called(MonotonicClock::now().saturating_since(began));
        called.map_err(|error| Stop::Failed(failure_of_call(error)))
    }

    fn delivery(&self, message: usize) -> Delivery {
        let lease = self.lease(message);
        let Content::Envelope(envelope) = &lease.content else {
            unreachable!("what is no message has no turn");
        };
        Delivery {
            envelope: envelope.clone(),
            context: Context {
                queue: self.shared.queue.clone(),
                consumer: self.shared.consumer.clone(),
                position: lease.position,
                deliveries: lease.deliveries,
                is_last_delivery: self.shared.deliveries.is_last(lease.deliveries),
                attempt: 1,
                stored_at: lease.stored_at,
                dead_letter: lease.dead_letter.clone(),
                until: None,
                stage: self.shared.stage.clone(),
            },
        }
    }

    /// Acknowledges all of `part`, marks it in the inbox and does what the handler asks for, as one.
    async fn commit(&mut self, part: &[usize], effects: Commit) -> Result<(), Stop> {
        let shared = self.shared;
        let acks =
            part.iter().map(|message| shared.settle_operation(self.keeper.id(*message), Settlement::Ack));
        let mut operations: Vec<_> = acks.collect();
        operations.extend(self.marks(part));
        let own = operations.len();
        operations.extend(effects.operations);
        let error = match self.keeper.during(shared.commit(Commit { operations })).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match &error {
            CommitError::Refused { operation, .. } if *operation < part.len() && is_stale(&error) => {
                let message = part[*operation];
                self.keeper.lost(message);
                Err(if part.len() == 1 { Stop::Lost } else { Stop::Apart(message) })
            }
            CommitError::Refused { operation, cause: Refused::HandledBefore } if *operation < own => {
                let message = part[*operation - part.len()];
                Err(if part.len() == 1 { Stop::HandledBefore } else { Stop::Apart(message) })
            }
            _ if again(&error).is_some() => Err(Stop::Away),
            _ => Err(Stop::Failed(failure_of_commit(&error))),
        }
    }

    fn bisects(&self, part: &[usize], failure: &Failure) -> bool {
        let deliveries = part.iter().map(|message| self.lease(*message).deliveries);
        self.shared.deliveries.bisects(failure, deliveries)
    }

    /// Settles each of `part` as `failure` asks for.
    async fn fail(&mut self, part: &[usize], failure: &Failure) {
        if failure.class() == Class::Unjudged {
            self.held_up = Some(HeldUp::NotTried(failure.clone()));
        }
        let settlement = |message: &usize| {
            let deliveries = self.lease(*message).deliveries;
            let wait = failure.hint().max(self.behind_probes(failure, deliveries));
            self.shared.deliveries.settlement(failure, wait, deliveries, fastrand::u32(..))
        };
        let settlements = part.iter().map(settlement).collect();
        for (message, fate) in part.iter().zip(self.settle(part, settlements).await) {
            self.ended(*message, fate, failure.reason());
        }
    }

    /// How long a message waits that failed while the circuit breaker opened: until after its next probes, and longer
    /// each time. These should be other messages, so that few die of a long outage, and that one which is itself to
    /// blame does not keep the breaker open.
    fn behind_probes(&self, failure: &Failure, deliveries: NonZeroU32) -> Option<Duration> {
        let breaker = self.shared.pipeline.circuit_breaker().filter(|_| failure.class().is_retriable())?;
        let open = breaker.rejection(MonotonicClock::now())?.retry_after?;
        Some(open.saturating_mul(2_u32.saturating_pow(deliveries.get())))
    }

    /// Settles each of `part` in its way: what became of each.
    pub(super) async fn settle(&mut self, part: &[usize], settlements: Vec<Settlement>) -> Vec<Fate> {
        let ids = part.iter().map(|message| self.keeper.id(*message).clone());
        let settlements = ids.zip(settlements).collect();
        self.keeper.during(self.shared.settle(settlements)).await
    }

    fn end(self) -> Ended {
        let Self { shared, keeper, messages, fates, held_up, .. } = self;
        let messages =
            messages.into_iter().enumerate().zip(fates).map(|((at, mut entry), fate)| match fate {
                Some(fate) => EndedMessage::Settled { group: entry.group, done: fate.is_done() },
                None => {
                    entry.value.end = keeper.end(at).unwrap_or(Instant::ORIGIN);
                    entry.overdue_at = shared.overdue_at(entry.value.end);
                    EndedMessage::NotBegun(entry)
                }
            });
        Ended { messages: messages.collect(), held_up }
    }
}
