use std::panic::resume_unwind;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use intertie_core::config::Invalid;
use intertie_core::envelope::Envelope;
use intertie_core::telemetry::Events;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::config::EventBusConfig;
use super::context::EventContext;
use super::counters::{Counters, EventBusSource, EventBusStats, count};
use super::publication;
use super::published::{PublishError, Published, PublishedBatch};
use super::subscriptions::{Middleware, SubscribeError, Subscribed, Subscription};
use crate::consumer::Failure;
use crate::log::LogEngine;
use crate::{Name, Pattern};

/// Stores events in a topic, and then tells the handlers of this process; clones are the same bus.
#[derive(Debug, Clone)]
pub struct EventBus {
    shared: Arc<Shared>,
}

/// What all publications have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Arc<dyn LogEngine>,
    pub(super) topic: Name,
    pub(super) config: EventBusConfig,
    pub(super) events: Events,
    pub(super) counters: Counters,
    /// Whether handlers are to end at once.
    pub(super) cut: watch::Sender<bool>,
    subscribed: Mutex<Subscribed>,
    under_way: Mutex<UnderWay>,
    /// Told when nothing is under way any more.
    idle: Notify,
}

#[derive(Debug, Default)]
struct UnderWay {
    publications: u32,
    is_closed: bool,
}

/// How a bus ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutDown {
    /// Whether every publication ended within `drain_timeout`.
    pub in_time: bool,
    /// Publications that did not: in the middlewares they were refused, and afterwards their events are stored and what
    /// is left of their handlers was dropped. Each was told so.
    pub cut: u32,
}

impl EventBus {
    /// A bus over `topic`, which is declared already. It tells `events` of each event that is published, and of what
    /// fails.
    ///
    /// # Errors
    /// When a setting can not work.
    pub fn new(
        engine: Arc<dyn LogEngine>,
        topic: &Name,
        config: EventBusConfig,
        events: Events,
    ) -> Result<Self, Invalid> {
        config.validate()?;
        let shared = Shared {
            engine,
            topic: topic.clone(),
            config,
            events,
            counters: Counters::default(),
            cut: watch::Sender::new(false),
            subscribed: Mutex::default(),
            under_way: Mutex::default(),
            idle: Notify::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Has every event pass through `process` before it is stored, behind the middlewares that are there already. It may
    /// change the event, or refuse it, and with it all of its batch.
    ///
    /// # Errors
    /// When there is one of this name, or no room for another one.
    pub fn add_middleware<F, Fut>(&self, name: &Name, process: F) -> Result<(), SubscribeError>
    where
        F: Fn(Envelope) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Envelope, Failure>> + Send + 'static,
    {
        let limit = self.shared.config.middlewares_max.get();
        let mut subscribed = self.shared.lock();
        let middlewares = &mut subscribed.middlewares;
        if middlewares.iter().any(|middleware| middleware.name == *name) {
            return Err(SubscribeError::Taken { name: name.clone() });
        }
        if middlewares.len() >= limit as usize {
            return Err(SubscribeError::TooMany { bound: "middlewares_max", limit });
        }
        middlewares.push(Arc::new(Middleware::new(name.clone(), process)));
        Ok(())
    }

    /// Has `handler` told of the events whose type `pattern` means, of those that are published from now on by this
    /// process. An event that several patterns of one handler should mean takes a subscription for each.
    ///
    /// # Errors
    /// When there is a subscription of this name, or no room for another one.
    pub fn subscribe<F, Fut>(&self, name: &Name, pattern: Pattern, handler: F) -> Result<(), SubscribeError>
    where
        F: Fn(Envelope, EventContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let limit = self.shared.config.subscriptions_max.get();
        let mut subscribed = self.shared.lock();
        let subscriptions = &mut subscribed.subscriptions;
        if subscriptions.iter().any(|subscription| subscription.name == *name) {
            return Err(SubscribeError::Taken { name: name.clone() });
        }
        if subscriptions.len() >= limit as usize {
            return Err(SubscribeError::TooMany { bound: "subscriptions_max", limit });
        }
        subscriptions.push(Arc::new(Subscription::new(name.clone(), pattern, handler)));
        Ok(())
    }

    /// The same with a handler of a type of its own, such as a [shape](intertie_core::envelope::shapes) of events. An
    /// event that is none of it has failed as undecodable.
    ///
    /// # Errors
    /// As [`EventBus::subscribe`].
    pub fn subscribe_as<T, F, Fut>(
        &self,
        name: &Name,
        pattern: Pattern,
        handler: F,
    ) -> Result<(), SubscribeError>
    where
        T: for<'a> TryFrom<&'a Envelope, Error: std::fmt::Display> + Send + 'static,
        F: Fn(T, EventContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.subscribe(name, pattern, move |event: Envelope, context| {
            let handler = Arc::clone(&handler);
            async move {
                let event = T::try_from(&event).map_err(|error| Failure::undecodable(error.to_string()))?;
                handler(event, context).await
            }
        })
    }

    /// Ends a subscription, for events that are published from now on; whether there was one of this name.
    pub fn unsubscribe(&self, name: &Name) -> bool {
        let mut subscribed = self.shared.lock();
        let before = subscribed.subscriptions.len();
        subscribed.subscriptions.retain(|subscription| subscription.name != *name);
        subscribed.subscriptions.len() < before
    }

    /// Stores an event, and then calls all handlers of this process that are told of it. It is a success when the event
    /// is stored, whatever handlers did: that is in the report.
    ///
    /// Dropping the future is to wait no longer for the report: what was begun goes on.
    ///
    /// # Errors
    /// When the event is not stored: see [`PublishError`].
    pub async fn publish(&self, event: Envelope) -> Result<Published, PublishError> {
        let mut batch = self.publish_batch([event]).await?;
        Ok(batch.events.pop().expect("a result for each event"))
    }

    /// Stores all of `events` as one, or none of them, and then calls all handlers that are told of any. They stay in
    /// their order, in the topic and for each handler; another handler, or another publication, may be faster.
    ///
    /// # Errors
    /// When they are not stored: see [`PublishError`].
    pub async fn publish_batch(
        &self,
        events: impl IntoIterator<Item = Envelope>,
    ) -> Result<PublishedBatch, PublishError> {
        let limit = self.shared.config.batch_max.get();
        let most = limit as usize;
        let events: Vec<_> = events.into_iter().take(most.saturating_add(1)).collect();
        if events.len() > most {
            count(&self.shared.counters.not_published, events.len());
            return Err(PublishError::TooMany { bound: "batch_max", is: events.len(), limit });
        }
        if events.is_empty() {
            return Ok(PublishedBatch::default());
        }
        let under_way = Publication::begin(&self.shared).inspect_err(|_| {
            count(&self.shared.counters.not_published, events.len());
        })?;
        let task = tokio::spawn(async move { publication::publish(&under_way.shared, events).await });
        match task.await {
            Ok(published) => published,
            // Handlers do not get here: their panics are caught.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(PublishError::ShutDown),
            },
        }
    }

    /// What it did so far.
    pub fn stats(&self) -> EventBusStats {
        self.shared.stats()
    }

    /// The same, to be scraped.
    pub fn source(&self) -> EventBusSource {
        EventBusSource { shared: Arc::clone(&self.shared) }
    }

    /// Publishes nothing any more, and lets what is under way end within `drain_timeout`; then middlewares and handlers are
    /// dropped, and handlers reported as failed.
    pub async fn shut_down(&self) -> ShutDown {
        let shared = &self.shared;
        shared.under_way().is_closed = true;
        let in_time = timeout(shared.config.drain_timeout, shared.idle()).await.is_ok();
        let cut = shared.under_way().publications;
        if cut > 0 {
            shared.cut.send_replace(true);
            // What does not end by this has the engine's time to end.
            let _ = timeout(shared.config.store_timeout, shared.idle()).await;
        }
        shared.events.tell("event_bus_shut_down", || {
            vec![
                ("topic", shared.topic.to_string()),
                ("in_time", in_time.to_string()),
                ("cut", cut.to_string()),
            ]
        });
        ShutDown { in_time, cut }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Subscribed> {
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is told, as it is now.
    pub(super) fn subscribed(&self) -> Subscribed {
        self.lock().clone()
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is under way.
    async fn idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.under_way().publications == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(super) fn stats(&self) -> EventBusStats {
        let counters = &self.counters;
        EventBusStats {
            published: counters.published.load(Relaxed),
            not_published: counters.not_published.load(Relaxed),
            without_handler: counters.without_handler.load(Relaxed),
            handled: counters.handled.load(Relaxed),
            failed: counters.failed.load(Relaxed),
            in_flight: self.under_way().publications.into(),
        }
    }
}

/// A publication that is under way, until this is dropped.
struct Publication {
    shared: Arc<Shared>,
}

impl Publication {
    fn begin(shared: &Arc<Shared>) -> Result<Self, PublishError> {
        let limit = shared.config.in_flight_max.get();
        let mut under_way = shared.under_way();
        if under_way.is_closed {
            return Err(PublishError::ShutDown);
        }
        if under_way.publications >= limit {
            return Err(PublishError::Overloaded { bound: "in_flight_max", limit });
        }
        under_way.publications += 1;
        drop(under_way);
        Ok(Self { shared: Arc::clone(shared) })
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        let mut under_way = self.shared.under_way();
        under_way.publications -= 1;
        if under_way.publications == 0 {
            self.shared.idle.notify_waiters();
        }
    }
}
