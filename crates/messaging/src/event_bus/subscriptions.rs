//! Who is told of which events, and what they pass through before.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use intertie_core::envelope::Envelope;

use super::context::EventContext;
use crate::consumer::Failure;
use crate::{Name, Pattern};

type Outcome<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;
type Handle = Box<dyn Fn(Envelope, EventContext) -> Outcome<()> + Send + Sync>;
type Process = Box<dyn Fn(Envelope) -> Outcome<Envelope> + Send + Sync>;

/// A handler that is told of the events that its pattern means.
pub(super) struct Subscription {
    pub(super) name: Name,
    pub(super) pattern: Pattern,
    handle: Handle,
    pub(super) succeeded: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Subscription {
    pub(super) fn new<F, Fut>(name: Name, pattern: Pattern, handler: F) -> Self
    where
        F: Fn(Envelope, EventContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let handle: Handle = Box::new(move |event, context| Box::pin(handler(event, context)));
        Self { name, pattern, handle, succeeded: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    pub(super) async fn handle(&self, event: Envelope, context: EventContext) -> Result<(), Failure> {
        (self.handle)(event, context).await
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.name, self.pattern)
    }
}

/// What every event passes through before it is stored.
pub(super) struct Middleware {
    pub(super) name: Name,
    process: Process,
}

impl Middleware {
    pub(super) fn new<F, Fut>(name: Name, process: F) -> Self
    where
        F: Fn(Envelope) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Envelope, Failure>> + Send + 'static,
    {
        Self { name, process: Box::new(move |event| Box::pin(process(event))) }
    }

    pub(super) async fn process(&self, event: Envelope) -> Result<Envelope, Failure> {
        (self.process)(event).await
    }
}

impl fmt::Debug for Middleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

/// All of both, as they are at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscribed {
    pub(super) subscriptions: Vec<Arc<Subscription>>,
    pub(super) middlewares: Vec<Arc<Middleware>>,
}

/// Why a handler or a middleware is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscribeError {
    /// There is one of this name.
    Taken {
        /// Which one.
        name: Name,
    },
    /// There are as many as may be.
    TooMany {
        /// The key of the bound.
        bound: &'static str,
        /// Its value.
        limit: u32,
    },
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { name } => write!(f, "there is a `{name}` already"),
            Self::TooMany { bound, limit } => write!(f, "there are too many already: `{bound}` is {limit}"),
        }
    }
}

impl std::error::Error for SubscribeError {}

/// For each subscription that is told of any of `events`, which ones, in their order. Each pattern is held against each
/// type once, however many events are of it.
pub(super) fn told(
    subscriptions: &[Arc<Subscription>],
    events: &[Envelope],
) -> Vec<(Arc<Subscription>, Vec<usize>)> {
    let mut types: Vec<&str> = Vec::new();
    let mut by_type = std::collections::HashMap::new();
    let mut type_of = Vec::with_capacity(events.len());
    for event in events {
        let of = *by_type.entry(event.r#type()).or_insert_with(|| {
            types.push(event.r#type());
            types.len() - 1
        });
        type_of.push(of);
    }
    let told = subscriptions.iter().map(|subscription| {
        let means: Vec<_> = types.iter().map(|name| subscription.pattern.matches(name)).collect();
        let of = type_of.iter().enumerate().filter(|(_, of)| means[**of]).map(|(at, _)| at);
        (Arc::clone(subscription), of.collect::<Vec<_>>())
    });
    told.filter(|(_, events)| !events.is_empty()).collect()
}
