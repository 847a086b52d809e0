//! Quotes by queue: an answer, a failure that says when to come back, an answer that comes too late, and nobody there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_core::clock::WallClock;
use intertie_core::envelope::{Data, Envelope};
use intertie_core::telemetry::Events;
use intertie_messaging::consumer::{Consumer, ConsumerConfig, Context};
use intertie_messaging::model::Model;
use intertie_messaging::queue::{QueueEngine, QueueSpec};
use intertie_messaging::request_reply::{
    Answer, Fault, Request, RequestError, Requester, RequesterConfig, Responder, ResponderConfig,
};
use intertie_messaging::{Durability, Name};
use intertie_resilience::{CallError, Pipeline, PipelineConfig, RetryConfig};

/// The price of what is asked for.
async fn quote(request: Envelope, context: Context) -> Result<Answer, Fault> {
    match request.subject() {
        Some("apples") => {
            let quote = Envelope::new(request.id(), "/sales", "quote.given")?;
            Ok(quote.with_data(Data::json(r#"{"cents":250}"#)?, Some("application/json"))?.into())
        }
        Some("pears") => {
            println!("no pears, in delivery {}", context.deliveries);
            Err(Fault::retryable("sold_out", "there are no pears").retry_after(Duration::from_millis(200)))
        }
        Some("plums") => {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok(Envelope::new(request.id(), "/sales", "quote.given")?.into())
        }
        _ => Err(Fault::permanent("unknown_fruit", "we sell fruit")),
    }
}

fn question(id: &str, fruit: &str) -> Result<Envelope> {
    Ok(Envelope::new(id, "/shop", "quote.asked")?.with_subject(fruit)?)
}

pub(crate) async fn example() -> Result<()> {
    let (clock, events) = (WallClock::system(), Events::default());
    let engine = Arc::new(Model::new(&clock));
    let (quotes, shop, sales): (Name, Name, Name) = ("quotes".parse()?, "shop".parse()?, "sales".parse()?);
    let spec = QueueSpec { durability: Durability::UNSYNCED, ..QueueSpec::default() };
    engine.declare_queue(&quotes, &spec).await?;
    let config = RequesterConfig::default();
    let requester = Requester::start(engine.clone(), &shop, config, clock.clone(), events.clone()).await?;

    let nobody = requester.request(&quotes, question("1", "apples")?).await;
    ensure!(matches!(nobody, Err(RequestError::NoResponder { .. })), "nobody answers: {nobody:?}");

    let config = ResponderConfig::default();
    let responder = Responder::new(engine.clone(), &sales, config, clock, events.clone())?;
    let config = ConsumerConfig::default();
    let consumer = Consumer::new(engine, &quotes, &spec, &sales, config, events)?;
    let serving = tokio::spawn(consumer.run(responder.respond(quote), std::future::pending()));

    let given = requester.request(&quotes, question("2", "apples")?).await?;
    println!("apples: {}", given.data().and_then(Data::as_text).unwrap_or_default());
    ensure!(given.causation_id().as_deref() == Some("2"), "the answer to this question");

    let failed = requester.request(&quotes, question("3", "iron")?).await;
    ensure!(
        matches!(&failed, Err(RequestError::Failed(fault)) if fault.code() == "unknown_fruit"),
        "{failed:?}"
    );

    // A policy around requests retries what says that it may be, and not before it says so.
    let retry = RetryConfig { base: Duration::from_millis(10), ..RetryConfig::standard() };
    let config = PipelineConfig { retry: Some(retry), ..PipelineConfig::default() };
    let (pipeline, pears) = (Pipeline::new("quotes", config)?, question("4", "pears")?);
    let call = pipeline.call(|_| requester.request(&quotes, pears.clone()));
    let exhausted = call.idempotent().classify(RequestError::verdict).await;
    ensure!(matches!(exhausted, Err(CallError::Exhausted(_))), "there are no pears: {exhausted:?}");

    let late = Request { timeout: Some(Duration::from_secs(1)), ..question("5", "plums")?.into() };
    let late = requester.request(&quotes, late).await;
    ensure!(matches!(late, Err(RequestError::TimedOut { .. })), "nobody waits for so long: {late:?}");
    tokio::time::sleep(Duration::from_secs(10)).await;

    let (asked, answered) = (requester.stats(), responder.source().read());
    println!("{asked:?}\n{answered:?}");
    ensure!(asked.failed == 4, "one for iron, and three attempts for pears: {asked:?}");
    ensure!(asked.answered == 1 && asked.timed_out == 1 && asked.without_responder == 1, "{asked:?}");
    ensure!(answered.expired == 1, "what nobody waits for is not worked on to its end: {answered:?}");
    ensure!(requester.shut_down().await.queue_removed, "its queue goes with it");
    serving.abort();
    Ok(())
}
