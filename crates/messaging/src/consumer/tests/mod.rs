mod away;
mod batches;
mod breaker;
mod config;
mod drain;
mod inbox;
mod intake;
mod leases;
mod middleware;
mod outcomes;
mod properties;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::envelope::Envelope;
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::{Event, Events};
use intertie_resilience::MonotonicClock;

use super::*;
use crate::commit::{Commit, Operation};
use crate::message::{Content, Message};
use crate::model::Model;
use crate::queue::{Browse, Browsed, Depth, QueueEngine, QueueSpec};
use crate::{Durability, Engine, Name};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn name(text: &str) -> Name {
    text.parse().expect(text)
}

pub(super) fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("positive")
}

/// A queue on the model, and who listens to its consumers.
pub(super) struct Trial {
    pub(super) engine: Arc<Model>,
    pub(super) queue: Name,
    pub(super) spec: QueueSpec,
    pub(super) events: Events,
    pub(super) told: Receiver<Event>,
}

impl Trial {
    pub(super) async fn new(spec: QueueSpec) -> Self {
        Self::on(Model::new(&WallClock::system()), spec).await
    }

    pub(super) async fn on(model: Model, spec: QueueSpec) -> Self {
        // The origin of its clock is before all that a test does.
        MonotonicClock::now();
        let spec = QueueSpec { durability: Durability::UNSYNCED, ..spec };
        let queue = name("orders");
        let events = Events::default();
        let told = events.subscribe(10_000);
        model.declare_queue(&queue, &spec).await.expect("declared");
        Self { engine: Arc::new(model), queue, spec, events, told }
    }

    pub(super) async fn send(&self, ids: impl IntoIterator<Item = &str>) {
        for id in ids {
            self.send_message(envelope(id).into()).await;
        }
    }

    /// `group` and number of each message are its id.
    pub(super) async fn send_groups(&self, messages: impl IntoIterator<Item = (u32, u32)>) {
        for (group, number) in messages {
            let envelope = envelope(&format!("{group}-{number}"));
            let envelope = envelope.with_partition_key(&group.to_string()).expect("a key");
            self.send_message(envelope.into()).await;
        }
    }

    pub(super) async fn send_message(&self, message: Message) {
        let send = Operation::Send { queue: self.queue.clone(), message };
        self.engine.commit(send.into()).await.expect("sent");
    }

    pub(super) fn consumer(&self, config: ConsumerConfig) -> Consumer {
        self.consumer_named("packer", config)
    }

    pub(super) fn consumer_named(&self, own: &str, config: ConsumerConfig) -> Consumer {
        let (engine, events) = (Arc::clone(&self.engine), self.events.clone());
        let consumer = Consumer::with_inbox(engine, &self.queue, &self.spec, &name(own), config, events);
        consumer.expect("a consumer")
    }

    pub(super) async fn depth(&self) -> Depth {
        self.engine.depth(&self.queue).await.expect("there")
    }

    /// The messages that a queue holds.
    pub(super) async fn browse(&self, queue: &str) -> Vec<Browsed> {
        let browse = Browse {
            queue: name(queue),
            from: 0,
            most: number(10_000),
            bytes_max: ByteSize::from_bytes(1 << 30),
        };
        self.engine.browse(&browse).await.expect("browsed").messages
    }

    /// The ids of the dead, each with cause and reason.
    pub(super) async fn dead(&self) -> Vec<(String, &'static str, String)> {
        let dead = self.browse("orders.dead").await.into_iter();
        dead.map(|dead| {
            let letter = dead.dead_letter.expect("it died");
            (id(&dead.content).to_owned(), letter.cause.name(), letter.reason.unwrap_or_default())
        })
        .collect()
    }

    /// What was told so far.
    pub(super) fn told(&self, event: &str) -> Vec<BTreeMap<&'static str, String>> {
        let told = self.told.try_iter().filter(|told| told.name == event);
        told.map(|told| told.fields.into_iter().collect()).collect()
    }
}

pub(super) fn envelope(id: &str) -> Envelope {
    Envelope::new(id, "/shop", "order.placed").expect("an envelope")
}

pub(super) fn id(content: &Content) -> &str {
    match content {
        Content::Envelope(envelope) => envelope.id(),
        Content::Undecodable { .. } => "",
    }
}

/// What handlers did, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    pub(super) fn note(&self, what: impl Into<String>) {
        self.0.lock().expect("not poisoned").push(what.into());
    }

    pub(super) fn read(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").clone()
    }
}

/// A handler that notes the id and answers by it.
pub(super) fn answering<A>(diary: &Diary, answer: A) -> impl Handler<Delivery> + use<A>
where
    A: Fn(&str, &Context) -> Result<Commit, Failure> + Clone + Send + 'static,
{
    let diary = diary.clone();
    handle(move |envelope: Envelope, context: Context| {
        diary.note(envelope.id());
        std::future::ready(answer(envelope.id(), &context))
    })
}
