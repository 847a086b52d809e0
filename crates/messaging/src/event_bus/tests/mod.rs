mod batches;
mod handlers;
mod properties;
mod publish;
mod shut_down;

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::envelope::Envelope;
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::{Event, Events};
use tokio::time::sleep;

use super::*;
use crate::consumer::Failure;
use crate::log::{LogEngine, Read, TopicSpec};
use crate::message::Content;
use crate::model::Model;
use crate::{Durability, Name};

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> Name {
    text.parse().expect(text)
}

fn event(id: &str, of: &str) -> Envelope {
    Envelope::new(id, "/shop", of).expect("an envelope")
}

/// A bus over a topic of the model.
struct Trial {
    engine: Arc<Model>,
    topic: Name,
    bus: EventBus,
    told: Receiver<Event>,
    diary: Diary,
}

impl Trial {
    async fn new() -> Self {
        Self::with(EventBusConfig::default()).await
    }

    async fn with(config: EventBusConfig) -> Self {
        Self::on(TopicSpec::default(), config).await
    }

    async fn on(spec: TopicSpec, config: EventBusConfig) -> Self {
        let engine = Arc::new(Model::new(&WallClock::system()));
        let topic = name("events");
        let spec = TopicSpec { durability: Durability::UNSYNCED, ..spec };
        engine.declare_topic(&topic, &spec).await.expect("declared");
        let events = Events::default();
        let told = events.subscribe(10_000);
        let bus = EventBus::new(Arc::clone(&engine) as _, &topic, config, events).expect("a bus");
        Self { engine, topic, bus, told, diary: Diary::default() }
    }

    /// A handler that notes its name and the id of each event, and answers by that.
    fn subscribe<A>(&self, own: &str, pattern: &str, answer: A)
    where
        A: Fn(&str) -> Result<(), Failure> + Clone + Send + Sync + 'static,
    {
        let diary = self.diary.clone();
        let handler = move |event: Envelope, context: EventContext| {
            diary.note(format!("{} {}", context.handler, event.id()));
            let answered = answer(event.id());
            async move { answered }
        };
        self.bus.subscribe(&name(own), pattern.parse().expect(pattern), handler).expect("subscribed");
    }

    /// The events of one partition, as they are stored.
    async fn stored(&self, partition: u32) -> Vec<Envelope> {
        let read = Read {
            topic: self.topic.clone(),
            partition,
            from: 0,
            most: 10_000.try_into().expect("positive"),
            bytes_max: ByteSize::from_bytes(1 << 30),
            wait: Duration::ZERO,
        };
        let records = self.engine.read(&read).await.expect("read").records.into_iter();
        let records = records.map(|record| match record.content {
            Content::Envelope(envelope) => envelope,
            Content::Undecodable { .. } => unreachable!("an envelope was stored"),
        });
        records.collect()
    }

    /// What was told so far.
    fn told(&self, event: &str) -> Vec<BTreeMap<&'static str, String>> {
        let told = self.told.try_iter().filter(|told| told.name == event);
        told.map(|told| told.fields.into_iter().collect()).collect()
    }
}

/// What handlers did, in order.
#[derive(Debug, Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().expect("not poisoned").push(what.into());
    }

    fn read(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").clone()
    }
}
