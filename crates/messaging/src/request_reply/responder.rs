use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::envelope::Envelope;
use intertie_core::telemetry::Events;
use tokio::time::timeout;
use tower_service::Service;

use super::config::ResponderConfig;
use super::counters::{ResponderSource, count};
use super::fault::Fault;
use super::wire::{self, Address, Unanswerable};
use crate::commit::{Commit, Kind, Operation, Places, Together};
use crate::consumer::{Context, Delivery, Failure};
use crate::queue::QueueEngine;
use crate::support::Refusal;
use crate::unwind::caught;
use crate::{EngineError, Name};

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The reply: its id, source, type and data are the responder's own; what it answers is added.
    pub envelope: Envelope,
    /// What is done together with the reply and the acknowledgement of the request, or neither is.
    pub effects: Commit,
}

impl From<Envelope> for Answer {
    /// An answer that is all there is to do.
    fn from(envelope: Envelope) -> Self {
        Self { envelope, effects: Commit::default() }
    }
}

/// Answers requests: makes [handlers](crate::consumer::Handler) for a [`Consumer`](crate::consumer::Consumer) of their
/// queue.
///
/// The reply and the acknowledgement of the request are one commit, so that each request is answered once for each
/// delivery that is acknowledged.
#[derive(Debug, Clone)]
pub struct Responder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Arc<dyn QueueEngine>,
    config: ResponderConfig,
    clock: WallClock,
    events: Events,
    source: ResponderSource,
}

impl Responder {
    /// A responder that signs failures as `/NAME`. By `clock` it knows which requests are over.
    ///
    /// # Errors
    /// When the engine can not acknowledge in one queue and send to another as one.
    pub fn new(
        engine: Arc<dyn QueueEngine>,
        name: &Name,
        config: ResponderConfig,
        clock: WallClock,
        events: Events,
    ) -> Result<Self, Box<Refusal>> {
        let together = Together::of(&[Kind::Settle, Kind::Send], Places::Several);
        if let Some(refusal) = engine.commit_support(together).refusal("request_reply", engine.id()) {
            return Err(Box::new(refusal));
        }
        let source = ResponderSource { name: name.clone(), counters: Arc::default() };
        Ok(Self { shared: Arc::new(Shared { engine, config, clock, events, source }) })
    }

    /// A handler that answers each request by an async function of it and of what is known of its delivery.
    ///
    /// The function ends with an answer or with a [`Fault`]; both are replies, as is its panic, and none comes again: who
    /// asked knows best whether to ask once more. What it can not do for now, and another responder may, it says to the
    /// queue through layers around this handler.
    pub fn respond<F, Fut>(&self, function: F) -> Respond<F>
    where
        F: FnMut(Envelope, Context) -> Fut + Clone,
        Fut: Future<Output = Result<Answer, Fault>>,
    {
        Respond { shared: Arc::clone(&self.shared), function }
    }

    /// What it does, to be read at any time.
    pub fn source(&self) -> ResponderSource {
        self.shared.source.clone()
    }
}

/// A [`Handler`](crate::consumer::Handler) of requests: [`Responder::respond`].
#[derive(Debug, Clone)]
pub struct Respond<F> {
    shared: Arc<Shared>,
    function: F,
}

impl<F, Fut> Service<Delivery> for Respond<F>
where
    F: FnMut(Envelope, Context) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Answer, Fault>> + Send + 'static,
{
    type Response = Commit;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Commit, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Delivery) -> Self::Future {
        let (shared, function) = (Arc::clone(&self.shared), self.function.clone());
        Box::pin(async move { shared.answer(request, function).await })
    }
}

impl Shared {
    async fn answer<Fut>(
        &self,
        delivery: Delivery,
        function: impl FnOnce(Envelope, Context) -> Fut + Send,
    ) -> Result<Commit, Failure>
    where
        Fut: Future<Output = Result<Answer, Fault>> + Send,
    {
        let Delivery { envelope: request, context } = delivery;
        let counters = &self.source.counters;
        let address = wire::address(&request, &self.config.reply_to, self.clock.now());
        let Address { reply_to, remaining } =
            address.map_err(|unanswerable| self.unanswerable(unanswerable))?;
        if remaining == Some(Duration::ZERO) {
            return Ok(self.given_up(&request, "expired"));
        }
        // The first reply of a requester that is gone is refused with its request's acknowledgement.
        if context.deliveries.get() > 1 && self.is_gone(&reply_to).await {
            return Ok(self.given_up(&request, "abandoned"));
        }
        let is_last = context.is_last_delivery;
        let answering = caught(async { function(request.clone(), context).await });
        let answered = match remaining {
            Some(remaining) => match timeout(remaining, answering).await {
                Ok(answered) => answered,
                Err(_) => return Ok(self.given_up(&request, "expired")),
            },
            None => answering.await,
        };
        if is_last && self.is_gone(&reply_to).await {
            return Ok(self.given_up(&request, "abandoned"));
        }
        let answered = answered.unwrap_or_else(|words| Err(self.panicked(&request, &words)));
        let (reply, effects) = match answered {
            Ok(Answer { envelope, effects }) => {
                count(&counters.answered);
                (wire::reply(&request, envelope), effects)
            }
            Err(fault) => {
                count(&counters.failed);
                (wire::failure(&request, &fault, &self.source.name), Commit::default())
            }
        };
        let send = Operation::Send { queue: reply_to, message: reply.into() };
        Ok(std::iter::once(send).chain(effects.operations).collect())
    }

    fn unanswerable(&self, unanswerable: Unanswerable) -> Failure {
        count(&self.source.counters.unanswerable);
        Failure::permanent(unanswerable.reason())
    }

    /// Whether a reply queue is known not to be there.
    async fn is_gone(&self, reply_to: &Name) -> bool {
        matches!(self.engine.depth(reply_to).await, Err(EngineError::NotFound { .. }))
    }

    /// Nothing: nobody waits for more than the end of the request.
    fn given_up(&self, request: &Envelope, why: &'static str) -> Commit {
        let counters = &self.source.counters;
        count(if why == "expired" { &counters.expired } else { &counters.abandoned });
        self.tell("request_given_up", request, why);
        Commit::default()
    }

    fn panicked(&self, request: &Envelope, words: &str) -> Fault {
        self.tell("responder_panicked", request, words);
        Fault::retryable("panicked", "the responder panicked")
    }

    fn tell(&self, event: &'static str, request: &Envelope, reason: &str) {
        self.events.tell(event, || {
            vec![
                ("responder", self.source.name.to_string()),
                ("id", request.id().to_owned()),
                ("source", request.source().to_owned()),
                ("reason", reason.to_owned()),
            ]
        });
    }
}
