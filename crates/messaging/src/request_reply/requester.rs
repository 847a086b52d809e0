use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock, nanos};
use intertie_core::config::Invalid;
use intertie_core::envelope::Envelope;
use intertie_core::id::Id;
use intertie_core::telemetry::Events;
use intertie_resilience::MonotonicClock;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::config::RequesterConfig;
use super::counters::{RequesterSource, RequesterStats, count};
use super::fault::Fault;
use super::pending::{NotBegun, Pending, Ticket};
use super::replies::{self, Replies};
use super::request::{Request, RequestError, RequesterError, Responders};
use super::responders::Seen;
use super::wire;
use crate::commit::{CommitError, Operation};
use crate::message::{Due, Message};
use crate::queue::QueueEngine;
use crate::{EngineError, Name};

/// Asks by a queue and waits for the answer on one of its own; clones share that queue.
///
/// When the last clone is dropped the queue is no longer read, and the engine removes it by its `auto_delete`;
/// [`Requester::shut_down`] is the graceful way.
#[derive(Debug, Clone)]
pub struct Requester {
    shared: Arc<Shared>,
    reading: Arc<Reading>,
}

/// The task that reads replies; it ends when this is dropped.
#[derive(Debug)]
struct Reading {
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

pub(super) type Asker = oneshot::Sender<Result<Envelope, Fault>>;

/// What all requests and the task that reads replies have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Arc<dyn QueueEngine>,
    pub(super) config: RequesterConfig,
    pub(super) events: Events,
    pub(super) source: RequesterSource,
    pub(super) reply_to: Name,
    clock: WallClock,
    seen: Seen,
    pending: Mutex<Pending<Asker>>,
    /// Told whenever a request ends.
    ended: Notify,
}

impl Shared {
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Pending<Asker>) -> T) -> T {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut pending);
        self.source.in_flight.store(pending.len() as u64, Relaxed);
        if pending.len() == 0 {
            self.ended.notify_waiters();
        }
        changed
    }

    async fn responders(&self, queue: &Name) -> Result<Responders, EngineError> {
        let depth = self.engine.depth(queue).await?;
        Ok(depth.consumers.map_or(Responders::Unknown, Responders::Known))
    }
}

/// How a requester ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutDown {
    /// Whether every request ended within `drain_timeout`.
    pub in_time: bool,
    /// Requests that did not, and were told so.
    pub cut: usize,
    /// Whether the reply queue was removed. If not, the engine does so by its `auto_delete`.
    pub queue_removed: bool,
}

impl Requester {
    /// A requester with a queue for its replies, `NAME.replies`, which it has to itself. `name` is of this process
    /// alone: one that comes back under the same name takes over the queue once the first was silent for `takeover`, and
    /// is waited for that long. `clock` says until when answers are of use, and should agree with those of responders.
    ///
    /// # Errors
    /// When settings can not work together, the engine keeps no such queue, another requester of this name is there, or
    /// the engine does not answer.
    pub async fn start(
        engine: Arc<dyn QueueEngine>,
        name: &Name,
        config: RequesterConfig,
        clock: WallClock,
        events: Events,
    ) -> Result<Self, RequesterError> {
        config.validate().map_err(RequesterError::Invalid)?;
        let id = Id::random();
        let consumer = format!("{name}.{id}").parse().map_err(|_| {
            let most = Name::BYTES_MAX - id.to_hex().len() - 1;
            let problem =
                format!("{} bytes leave no room for what is added; at most {most}", name.as_str().len());
            RequesterError::Invalid(Invalid::new("name", problem))
        })?;
        let reply_to = format!("{name}.replies").parse().expect("it is shorter than the consumer's name");
        let (in_flight, remembered) = (config.in_flight_max.get() as usize, config.remembered_max as usize);
        let source = RequesterSource {
            name: name.clone(),
            counters: Arc::default(),
            in_flight: Arc::new(AtomicU64::new(0)),
        };
        let seen = Seen::new(config.responder_seen, config.targets_max as usize);
        let pending = Mutex::new(Pending::new(in_flight, remembered));
        let ended = Notify::new();
        let shared =
            Arc::new(Shared { engine, config, events, source, reply_to, clock, seen, pending, ended });
        let replies = Replies::new(Arc::clone(&shared), consumer);
        let first = replies.open().await?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(replies::receive(replies, first, stopped));
        let reading = Arc::new(Reading { stop, task: Mutex::new(Some(task)) });
        Ok(Self { shared, reading })
    }

    /// Asks by `queue`, and waits for the answer. Dropping the future is no longer to wait: a reply that comes all the
    /// same is discarded, and the request is not taken back.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(&self, queue: &Name, request: impl Into<Request>) -> Result<Envelope, RequestError> {
        let request = request.into();
        let after = request.timeout.unwrap_or(self.shared.config.timeout);
        let mut asking = Asking::begin(&self.shared, request.envelope.id())?;
        let mut responders = Responders::Unknown;
        let answered = timeout(after, asking.ask(queue, request, after, &mut responders)).await;
        let answered = answered.unwrap_or(Err(RequestError::TimedOut { after, responders }));
        asking.end(&answered);
        answered
    }

    /// Who takes messages from `queue`, as the engine tells now.
    ///
    /// # Errors
    /// When there is no such queue, or the engine is not available.
    pub async fn responders(&self, queue: &Name) -> Result<Responders, EngineError> {
        self.shared.responders(queue).await
    }

    /// The queue on which it awaits replies.
    pub fn reply_to(&self) -> &Name {
        &self.shared.reply_to
    }

    /// What it did so far.
    pub fn stats(&self) -> RequesterStats {
        self.shared.source.counters.read()
    }

    /// The same, to be scraped.
    pub fn source(&self) -> RequesterSource {
        self.shared.source.clone()
    }

    /// Begins no request any more, lets those that wait end within `drain_timeout`, and removes the reply queue. The
    /// second time, by whichever clone, there is nothing left to do.
    pub async fn shut_down(&self) -> ShutDown {
        let shared = &self.shared;
        shared.change(Pending::close);
        let in_time = timeout(shared.config.drain_timeout, self.all_ended()).await.is_ok();
        let cut = shared.change(Pending::cut);
        shared.source.counters.cut.fetch_add(cut as u64, Relaxed);
        self.reading.stop.send_replace(true);
        let task = self.reading.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut queue_removed = false;
        if let Some(task) = task {
            // It was never cancelled, and what it does panics no more than the engine.
            let _ = task.await;
            let removing = shared.engine.delete_queue(&shared.reply_to);
            queue_removed = matches!(timeout(shared.config.answer_timeout, removing).await, Ok(Ok(())));
        }
        ShutDown { in_time, cut, queue_removed }
    }

    async fn all_ended(&self) {
        loop {
            let mut ended = std::pin::pin!(self.shared.ended.notified());
            ended.as_mut().enable();
            if self.shared.change(|pending| pending.len()) == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// A request that waits, until this is dropped.
struct Asking<'a> {
    shared: &'a Shared,
    id: String,
    ticket: Ticket,
    answer: oneshot::Receiver<Result<Envelope, Fault>>,
    has_ended: bool,
}

impl<'a> Asking<'a> {
    fn begin(shared: &'a Shared, id: &str) -> Result<Self, RequestError> {
        let (asker, answer) = oneshot::channel();
        let counters = &shared.source.counters;
        let ticket = shared.change(|pending| pending.begin(id, asker)).map_err(|not_begun| {
            count(&counters.refused);
            match not_begun {
                NotBegun::Full => RequestError::Overloaded {
                    bound: "in_flight_max",
                    limit: shared.config.in_flight_max.get(),
                },
                NotBegun::Twice => RequestError::Twice,
                NotBegun::Closed => RequestError::ShutDown,
            }
        })?;
        count(&counters.begun);
        Ok(Self { shared, id: id.to_owned(), ticket, answer, has_ended: false })
    }

    async fn ask(
        &mut self,
        queue: &Name,
        request: Request,
        after: Duration,
        responders: &mut Responders,
    ) -> Result<Envelope, RequestError> {
        let shared = self.shared;
        let now = shared.clock.now().as_unix_nanos();
        let deadline = Timestamp::from_unix_nanos(now.saturating_add(nanos(after)));
        *responders = self.look_for_responders(queue).await?;
        let envelope = wire::addressed(request.envelope, &shared.reply_to, deadline);
        let message = Message { envelope, priority: request.priority, due: Due::Now };
        let send = Operation::Send { queue: queue.clone(), message };
        match shared.engine.commit(send.into()).await {
            // Where it may have been sent, the reply tells.
            Ok(_) | Err(CommitError::Unknown { .. }) => {}
            Err(error) => return Err(RequestError::NotSent(error)),
        }
        match (&mut self.answer).await {
            Ok(answer) => answer.map_err(RequestError::Failed),
            Err(_) => Err(RequestError::ShutDown),
        }
    }

    /// Who takes messages from `queue`: nobody only when that stays so for a while.
    async fn look_for_responders(&self, queue: &Name) -> Result<Responders, RequestError> {
        let shared = self.shared;
        if !shared.config.fail_fast {
            return Ok(Responders::Unknown);
        }
        let responders = match shared.seen.lately(queue, MonotonicClock::now()) {
            Some(responders) => responders,
            None => {
                let mut responders = shared.responders(queue).await.map_err(RequestError::Engine)?;
                if responders == Responders::Known(0) {
                    sleep(shared.config.responder_grace).await;
                    responders = shared.responders(queue).await.map_err(RequestError::Engine)?;
                }
                if responders == Responders::Known(0) {
                    return Err(RequestError::NoResponder { queue: queue.clone() });
                }
                shared.seen.see(queue, responders, MonotonicClock::now());
                responders
            }
        };
        if responders == Responders::Unknown {
            count(&shared.source.counters.responders_unknown);
        }
        Ok(responders)
    }

    /// Counts how it ended, and no longer waits.
    fn end(&mut self, answered: &Result<Envelope, RequestError>) {
        self.has_ended = true;
        let counters = &self.shared.source.counters;
        let counter = match answered {
            Ok(_) => &counters.answered,
            Err(RequestError::Failed(_)) => &counters.failed,
            Err(RequestError::TimedOut { .. }) => &counters.timed_out,
            Err(RequestError::NoResponder { .. }) => &counters.without_responder,
            Err(RequestError::NotSent(_) | RequestError::Engine(_)) => &counters.not_sent,
            // It was counted with all that were cut, or refused.
            Err(RequestError::ShutDown | RequestError::Overloaded { .. } | RequestError::Twice) => return,
        };
        count(counter);
        if let Err(error @ (RequestError::TimedOut { .. } | RequestError::NoResponder { .. })) = answered {
            self.shared.events.tell("request_unanswered", || {
                let requester = self.shared.source.name.to_string();
                vec![("requester", requester), ("id", self.id.clone()), ("reason", error.to_string())]
            });
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let waited = self.shared.change(|pending| pending.give_up(&self.id, self.ticket));
        if waited && !self.has_ended {
            count(&self.shared.source.counters.dropped);
        }
    }
}
