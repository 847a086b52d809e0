use std::future::{Future, pending};
use std::num::NonZeroU32;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_resilience::MonotonicClock;
use intertie_resilience::circuit_breaker::Phase;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep_until, timeout};

use super::consumer::Drained;
use super::delivery::{Delivery, Stage};
use super::handler::Handler;
use super::intake::{Bounds, Entry, Intake};
use super::shared::Shared;
use super::unit::{self, Ended, EndedMessage, HeldUp, Taken};
use super::verdict::away;
use crate::EngineError;
use crate::message::Content;
use crate::queue::{Lease, LeaseRequest};

type Polling = Pin<Box<dyn Future<Output = Result<Vec<Lease>, EngineError>> + Send>>;

/// A consumer at work: what it holds, and what is under way.
pub(super) struct Running<H> {
    shared: Arc<Shared>,
    stage: watch::Sender<Stage>,
    lease_time: Option<Duration>,
    handler: H,
    intake: Intake<Taken>,
    /// Messages that were taken in.
    turns: u64,
    tasks: JoinSet<Task>,
    /// Messages that are being given back.
    releasing: usize,
    polling: Option<Polling>,
    pause: Option<Pause>,
    /// How often in a row the engine did not answer.
    unanswered: u32,
    /// How often in a row nothing was tried.
    not_tried: u32,
}

/// What a task did.
enum Task {
    Handled(Ended),
    Released(usize),
}

/// Why and until when nothing is begun.
#[derive(Debug, Clone, Copy)]
struct Pause {
    end: Instant,
    /// Whether the next unit that ends may end it too: the circuit breaker waits for what its probes show.
    until_unit_ends: bool,
}

impl<H: Handler<Vec<Delivery>>> Running<H> {
    pub(super) fn new(
        shared: Shared,
        stage: watch::Sender<Stage>,
        lease_time: Option<Duration>,
        handler: H,
        unit: usize,
    ) -> Self {
        let config = &shared.config;
        let bounds =
            Bounds { held: config.prefetch.get() as usize, units: config.concurrent.get() as usize, unit };
        Self {
            shared: Arc::new(shared),
            stage,
            lease_time,
            handler,
            intake: Intake::new(bounds),
            turns: 0,
            tasks: JoinSet::new(),
            releasing: 0,
            polling: None,
            pause: None,
            unanswered: 0,
            not_tried: 0,
        }
    }

    /// Until `stop` is ready, or the engine says that it never will answer.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<Drained, EngineError> {
        let mut stop = pin!(stop);
        let error = loop {
            self.begin();
            let pause = self.pause.map(|pause| pause.end);
            let timer = self.intake.next_overdue().into_iter().chain(pause).min();
            tokio::select! {
                biased;
                () = &mut stop => break None,
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                () = at(timer) => self.look_at_time(),
                leased = polled(&mut self.polling) => {
                    self.polling = None;
                    if let Err(error) = self.leased(leased) {
                        break Some(error);
                    }
                }
            }
        };
        let drained = self.drain().await;
        error.map_or(Ok(drained), Err)
    }

    /// Begins what can be: units, and the question for more.
    fn begin(&mut self) {
        self.ask_breaker();
        if self.pause.is_none() {
            while let Some(unit) = self.intake.next_unit() {
                let (shared, handler) = (Arc::clone(&self.shared), self.handler.clone());
                self.tasks.spawn(async move { Task::Handled(unit::run(&shared, handler, unit).await) });
            }
            let credit = self.credit();
            if self.polling.is_none() && credit > 0 {
                self.polling = Some(self.poll(credit));
            }
        }
        self.shared.counters.holds(self.intake.held(), self.intake.units());
    }

    /// Stops intake while the circuit breaker admits nothing.
    fn ask_breaker(&mut self) {
        let Some(breaker) = self.shared.pipeline.circuit_breaker() else { return };
        let now = MonotonicClock::now();
        if let (None, Some(rejection)) = (self.pause, breaker.rejection(now)) {
            self.hold_up(&HeldUp::Rejected(rejection));
        }
    }

    /// How many messages may be asked for. While the circuit breaker probes these are as many as are probes at once.
    fn credit(&self) -> usize {
        let credit = self.intake.credit().saturating_sub(self.releasing);
        let Some(breaker) = self.shared.pipeline.circuit_breaker() else { return credit };
        if breaker.stats(MonotonicClock::now()).phase == Phase::Closed {
            return credit;
        }
        let probes = breaker.config().successes_to_close.min(self.shared.config.concurrent);
        credit.min((probes.get() as usize).saturating_sub(self.intake.held()))
    }

    fn poll(&self, credit: usize) -> Polling {
        let Shared { queue, consumer, config, .. } = &*self.shared;
        let most = u32::try_from(credit).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let request = LeaseRequest {
            queue: queue.clone(),
            consumer: consumer.clone(),
            most,
            bytes_max: config.prefetch_bytes,
            visibility_timeout: self.lease_time,
            wait: config.poll,
        };
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.answer(request.wait, shared.engine.lease(&request)).await })
    }

    fn leased(&mut self, leased: Result<Vec<Lease>, EngineError>) -> Result<(), EngineError> {
        match leased {
            Ok(leases) => {
                self.unanswered = 0;
                self.take_in(leases);
                Ok(())
            }
            Err(error) => {
                let (by, hint) = match &error {
                    EngineError::Exclusive { .. } => ("exclusive", None),
                    error => match away(error) {
                        Some(hint) => ("engine", hint),
                        None => return Err(error.clone()),
                    },
                };
                self.unanswered = self.unanswered.saturating_add(1);
                let wait = hint.unwrap_or_else(|| self.wait(self.unanswered));
                self.pause_for(wait, by, &error.to_string());
                Ok(())
            }
        }
    }

    fn take_in(&mut self, leases: Vec<Lease>) {
        self.shared.counters.received(leases.len());
        let end = MonotonicClock::now() + self.shared.visibility_timeout;
        for lease in leases {
            let group = match &lease.content {
                Content::Envelope(envelope) if self.shared.config.ordered => {
                    envelope.partition_key().map(|key| Arc::from(&*key))
                }
                _ => None,
            };
            let overdue_at = self.shared.overdue_at(end);
            self.turns += 1;
            self.intake.take_in(Entry { turn: self.turns, group, overdue_at, value: Taken { lease, end } });
        }
    }

    fn ended(&mut self, ended: Result<Task, JoinError>) {
        let ended = match ended {
            Ok(Task::Handled(ended)) => ended,
            Ok(Task::Released(messages)) => {
                self.releasing -= messages;
                return;
            }
            // Handlers do not get here: their panics are caught.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => return,
            },
        };
        self.intake.unit_ended();
        if self.pause.is_some_and(|pause| pause.until_unit_ends) {
            self.resume();
        }
        let (mut behind, mut not_begun) = (Vec::new(), Vec::new());
        for message in ended.messages {
            match message {
                EndedMessage::Settled { group, done } => behind.extend(self.intake.ended(&group, done)),
                EndedMessage::NotBegun(entry) => not_begun.push(entry),
            }
        }
        not_begun.into_iter().for_each(|entry| self.intake.put_back(entry));
        self.release(behind);
        match ended.held_up {
            Some(held_up) => self.hold_up(&held_up),
            None => self.not_tried = 0,
        }
    }

    /// Takes in nothing for as long as is asked for, or for longer with each time that nothing was tried.
    fn hold_up(&mut self, held_up: &HeldUp) {
        if self.pause.is_none() {
            self.not_tried = self.not_tried.saturating_add(1);
        }
        let wait = self.wait(self.not_tried);
        match held_up {
            HeldUp::Rejected(rejection) => {
                let known = rejection.retry_after;
                self.pause_for(known.unwrap_or(wait), rejection.by.name(), &rejection.to_string());
                if let Some(pause) = &mut self.pause {
                    pause.until_unit_ends = known.is_none() && self.intake.units() > 0;
                }
            }
            HeldUp::NotTried(failure) => {
                let asked = failure.hint().map(|hint| hint.min(self.shared.config.retry_after_max));
                self.pause_for(asked.unwrap_or(wait), "handler", failure.reason());
            }
        }
    }

    fn wait(&self, times: u32) -> Duration {
        self.shared.wait(NonZeroU32::new(times).unwrap_or(NonZeroU32::MIN))
    }

    /// Takes in nothing for `wait`. What would wait too long until then is given back.
    fn pause_for(&mut self, wait: Duration, by: &'static str, reason: &str) {
        // Nothing is asked for again at the same moment.
        let wait = wait.max(Duration::from_millis(1));
        let end = MonotonicClock::now() + wait;
        if self.pause.is_none() {
            self.shared.counters.paused();
            self.shared.events.tell("consumer_paused", || {
                let seconds = format!("{:.3}", wait.as_secs_f64());
                let mut fields = self.shared.names();
                fields.extend([("by", by.to_owned()), ("reason", reason.to_owned()), ("seconds", seconds)]);
                fields
            });
        }
        let end = self.pause.map_or(end, |pause| pause.end.max(end));
        self.pause = Some(Pause { end, until_unit_ends: false });
        self.polling = None;
        let overdue = self.intake.overdue(end);
        self.release(overdue);
    }

    fn resume(&mut self) {
        self.pause = None;
        self.shared.counters.resumed();
        self.shared.events.tell("consumer_resumed", || self.shared.names());
    }

    fn look_at_time(&mut self) {
        let now = MonotonicClock::now();
        if self.pause.is_some_and(|pause| pause.end <= now) {
            self.resume();
        }
        let overdue = self.intake.overdue(now);
        self.release(overdue);
    }

    fn release(&mut self, entries: Vec<Entry<Taken>>) {
        if entries.is_empty() {
            return;
        }
        self.releasing += entries.len();
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let leases: Vec<_> = entries.into_iter().map(|entry| entry.value.lease).collect();
            shared.release(&leases).await;
            Task::Released(leases.len())
        });
    }

    async fn drain(mut self) -> Drained {
        self.polling = None;
        let unsettled = self.shared.counters.unsettled();
        self.stage.send_replace(Stage::Draining);
        let waiting = self.intake.give_back();
        self.release(waiting);
        let (drain_timeout, release_timeout) =
            (self.shared.config.drain_timeout, self.shared.config.release_timeout);
        let in_time = timeout(drain_timeout, self.all_ended()).await.is_ok();
        if !in_time {
            self.stage.send_replace(Stage::Cut);
            // What is left then is dropped with the tasks.
            let _ = timeout(release_timeout, self.all_ended()).await;
        }
        let unsettled = self.shared.counters.unsettled() - unsettled;
        let left = self.intake.held() + self.releasing + usize::try_from(unsettled).unwrap_or(usize::MAX);
        self.shared.counters.holds(0, 0);
        self.shared.events.tell("consumer_drained", || {
            let mut fields = self.shared.names();
            fields.extend([("in_time", in_time.to_string()), ("left", left.to_string())]);
            fields
        });
        Drained { in_time, left }
    }

    /// Waits for all that is under way. What it gives back meanwhile is released.
    async fn all_ended(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended);
            let waiting = self.intake.give_back();
            self.release(waiting);
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(MonotonicClock::to_tokio(moment)).await,
        None => pending().await,
    }
}

async fn polled(polling: &mut Option<Polling>) -> Result<Vec<Lease>, EngineError> {
    match polling {
        Some(polling) => polling.await,
        None => pending().await,
    }
}
