//! Six orders, a carrier that is away for a while, and an order that nobody can deliver.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_core::clock::WallClock;
use intertie_core::envelope::Envelope;
use intertie_core::telemetry::Events;
use intertie_messaging::commit::{Commit, Operation};
use intertie_messaging::consumer::{
    Consumer, ConsumerConfig, Context, Delivery, Failure, InboxConfig, handle,
};
use intertie_messaging::model::Model;
use intertie_messaging::queue::{QueueEngine, QueueSpec, RedeliveryConfig};
use intertie_messaging::{Durability, Engine, Name};
use intertie_resilience::{CircuitBreakerConfig, PipelineConfig};
use tower_layer::{Layer, layer_fn};
use tower_service::Service;

/// A layer of tower like any other: it says what it sees and hands it on.
#[derive(Clone)]
struct Announced<S>(S);

impl<S: Service<Delivery>> Service<Delivery> for Announced<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, delivery: Delivery) -> S::Future {
        println!("order {} in its delivery {}", delivery.envelope.id(), delivery.context.deliveries);
        self.0.call(delivery)
    }
}

/// Hands an order to the carrier, who is away for the first calls, and sends an invoice with the acknowledgement.
async fn ship(order: Envelope, carrier: Arc<AtomicU32>) -> Result<Commit, Failure> {
    if order.subject().is_none() {
        return Err(Failure::permanent("an order without an address"));
    }
    if carrier.fetch_add(1, Ordering::Relaxed) < 6 {
        return Err(Failure::transient("the carrier does not answer"));
    }
    let invoice = Envelope::new(order.id(), "/shipping", "invoice.due")?;
    Ok(Operation::Send { queue: "invoices".parse()?, message: invoice.into() }.into())
}

pub(crate) async fn example() -> Result<()> {
    let engine = Arc::new(Model::new(&WallClock::system()));
    let (orders, invoices): (Name, Name) = ("orders".parse()?, "invoices".parse()?);
    let redelivery = RedeliveryConfig { base: Duration::from_millis(10), ..RedeliveryConfig::default() };
    let spec = QueueSpec { redelivery, durability: Durability::UNSYNCED, ..QueueSpec::default() };
    for queue in [&orders, &invoices] {
        engine.declare_queue(queue, &spec).await?;
    }
    for id in ["1", "2", "3", "4", "5", "6"] {
        let order = Envelope::new(id, "/shop", "order.placed")?;
        let order = if id == "4" { order } else { order.with_subject("Main Street 1")? };
        engine.commit(Operation::Send { queue: orders.clone(), message: order.into() }.into()).await?;
    }

    let breaker = CircuitBreakerConfig {
        consecutive_failures: NonZeroU32::new(3),
        open: Duration::from_millis(50),
        ..CircuitBreakerConfig::standard()
    };
    let pipeline = PipelineConfig { circuit_breaker: Some(breaker), ..PipelineConfig::default() };
    let inbox = Some(InboxConfig::named("shipping".parse()?));
    let config = ConsumerConfig { pipeline, inbox, ..ConsumerConfig::default() };
    let name = "shipping".parse()?;
    let consumer = Consumer::with_inbox(engine.clone(), &orders, &spec, &name, config, Events::default())?;

    let stats = consumer.stats();
    let carrier = Arc::new(AtomicU32::new(0));
    let handler = handle(move |order: Envelope, _: Context| ship(order, Arc::clone(&carrier)));
    let handler = layer_fn(Announced).layer(handler);
    let all_done = async {
        while stats.read().acknowledged < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let drained = consumer.run(handler, all_done).await?;

    let seen = stats.read();
    println!("{} done, {} came again, intake stopped {} times", seen.acknowledged, seen.retried, seen.paused);
    ensure!(drained.in_time && drained.left == 0, "every lease was settled or given back");
    ensure!(seen.retried == 6 && seen.paused > 0, "the outage was seen: {seen:?}");
    ensure!(engine.depth(&invoices).await?.ready == 5, "an invoice for each order that was shipped");
    ensure!(engine.depth(&"orders.dead".parse()?).await?.ready == 1, "and one order that nobody can deliver");
    Ok(())
}
