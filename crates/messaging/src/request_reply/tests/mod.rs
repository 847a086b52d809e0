mod away;
mod config;
mod pending;
mod properties;
mod requester;
mod responder;
mod shut_down;
mod wire;

use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::envelope::Envelope;
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::{Event, Events};
use intertie_resilience::MonotonicClock;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::commit::{Commit, Operation};
use crate::consumer::{Consumer, ConsumerConfig, ConsumerStats, Context, Handler, handle};
use crate::consumer::{Delivery, Failure};
use crate::message::Content;
use crate::model::Model;
use crate::queue::{Browse, Browsed, QueueEngine, QueueSpec};
use crate::{Durability, Engine, Name};

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> Name {
    text.parse().expect(text)
}

fn question(id: &str) -> Envelope {
    Envelope::new(id, "/shop", "quote.asked").expect("an envelope")
}

fn answer(id: &str) -> Result<Answer, Fault> {
    Ok(Envelope::new(id, "/sales", "quote.given")?.into())
}

/// A queue of requests on the model.
struct Trial {
    engine: Arc<Model>,
    queue: Name,
    spec: QueueSpec,
    clock: WallClock,
    events: Events,
    told: Receiver<Event>,
}

impl Trial {
    async fn new() -> Self {
        Self::on(|model| model).await
    }

    async fn on(model: impl FnOnce(Model) -> Model) -> Self {
        // The origin of its clock is before all that a test does.
        MonotonicClock::now();
        let clock = WallClock::fixed(Timestamp::from_unix_seconds(1_755_945_000));
        let engine = Arc::new(model(Model::new(&clock)));
        let spec = QueueSpec {
            durability: Durability::UNSYNCED,
            priorities: NonZeroU8::new(3).expect("3 is not zero"),
            ..QueueSpec::default()
        };
        let queue = name("quotes");
        engine.declare_queue(&queue, &spec).await.expect("declared");
        let events = Events::default();
        let told = events.subscribe(10_000);
        Self { engine, queue, spec, clock, events, told }
    }

    async fn requester(&self, config: RequesterConfig) -> Requester {
        self.requester_named("shop", config).await.expect("started")
    }

    async fn requester_named(&self, own: &str, config: RequesterConfig) -> Result<Requester, RequesterError> {
        let (engine, clock) = (Arc::clone(&self.engine), self.clock.clone());
        Requester::start(engine, &name(own), config, clock, self.events.clone()).await
    }

    fn responder(&self) -> Responder {
        let (engine, clock) = (Arc::clone(&self.engine), self.clock.clone());
        let config = ResponderConfig::default();
        Responder::new(engine, &name("sales"), config, clock, self.events.clone()).expect("a responder")
    }

    /// Has requests handled until the test ends.
    fn serve(&self, handler: impl Handler<Delivery>) -> (ConsumerStats, JoinHandle<()>) {
        let config = ConsumerConfig::default();
        let (engine, events) = (Arc::clone(&self.engine), self.events.clone());
        let consumer = Consumer::new(engine, &self.queue, &self.spec, &name("sales"), config, events);
        let consumer = consumer.expect("a consumer");
        let stats = consumer.stats();
        let running = tokio::spawn(async move {
            consumer.run(handler, std::future::pending()).await.expect("it runs on");
        });
        (stats, running)
    }

    /// Answers each request by its own id, after so long.
    fn answer_after(&self, wait: Duration) -> ResponderSource {
        let responder = self.responder();
        self.serve(responder.respond(move |request: Envelope, _: Context| async move {
            sleep(wait).await;
            answer(request.id())
        }));
        responder.source()
    }

    async fn send(&self, queue: &Name, envelope: Envelope) {
        let send = Operation::Send { queue: queue.clone(), message: envelope.into() };
        self.engine.commit(send.into()).await.expect("sent");
    }

    async fn browse(&self, queue: &str) -> Vec<Browsed> {
        let browse = Browse {
            queue: name(queue),
            from: 0,
            most: 1000.try_into().expect("positive"),
            bytes_max: ByteSize::from_bytes(1 << 30),
        };
        self.engine.browse(&browse).await.expect("browsed").messages
    }

    fn told(&self, event: &str) -> usize {
        self.told.try_iter().filter(|told| told.name == event).count()
    }
}
