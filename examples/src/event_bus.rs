//! What an integration with outer systems tells of: S0's events, stored, told to handlers of this process, and read again
//! from the topic by one that was not there.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::envelope::shapes::{DomainEvent, DomainEventMetadata, IntegrationEventType, Json};
use intertie_core::envelope::{Data, Envelope};
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_messaging::consumer::Failure;
use intertie_messaging::event_bus::{EventBus, EventBusConfig, EventContext};
use intertie_messaging::log::{LogEngine, Read, TopicSpec};
use intertie_messaging::model::Model;
use intertie_messaging::{Durability, Name};

/// An event as S0 writes it.
fn told(id: &str, of: IntegrationEventType, payload: &str) -> Result<Envelope> {
    let event = DomainEvent {
        id: id.to_owned(),
        r#type: of.name().to_owned(),
        timestamp: 1_755_945_000_000,
        source: "/wallets".to_owned(),
        correlation_id: "session-9".to_owned(),
        payload: Json::new(payload).context("JSON")?,
        metadata: DomainEventMetadata { version: "1.0".to_owned(), user_id: None, session_id: None },
    };
    Ok(Envelope::try_from(&event)?.with_subject("0xabc")?)
}

pub(crate) async fn example() -> Result<()> {
    let engine = Arc::new(Model::new(&WallClock::fixed(Timestamp::from_unix_seconds(1_755_945_000))));
    let topic: Name = "integration".parse()?;
    let spec = TopicSpec { durability: Durability::UNSYNCED, ..TopicSpec::default() };
    engine.declare_topic(&topic, &spec).await?;
    let events = Events::default();
    let audit = events.subscribe(100);
    let bus = EventBus::new(engine.clone(), &topic, EventBusConfig::default(), events)?;

    // Every event passes through here before it is stored.
    bus.add_middleware(&"recorded".parse()?, |event: Envelope| async move {
        Ok(event.with_recorded_time(Timestamp::from_unix_seconds(1_755_945_000)))
    })?;
    // One handler for one type, as the type it is; one for a family; one for all of them, which fails.
    let balances = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&balances);
    bus.subscribe(
        &"balances".parse()?,
        IntegrationEventType::BalanceUpdated.name().parse()?,
        move |event: Envelope, context: EventContext| {
            seen.fetch_add(1, Ordering::Relaxed);
            let wei = event.data().and_then(Data::as_text).unwrap_or_default().to_owned();
            async move {
                println!("{wei} at {:?}, of {}", context.receipt.position, context.correlation_id());
                Ok(())
            }
        },
    )?;
    let (invalidating, cache) = (bus.clone(), "integration.wallet.*".parse()?);
    bus.subscribe(&"cache".parse()?, cache, move |event: Envelope, context: EventContext| {
        let bus = invalidating.clone();
        async move {
            // What an event causes is an event of the same flow.
            let of = IntegrationEventType::CacheInvalidated.name();
            let caused = context.caused(Envelope::new(&format!("{}-cache", event.id()), "/cache", of)?);
            bus.publish(caused).await?;
            Ok(())
        }
    })?;
    bus.subscribe(
        &"pager".parse()?,
        "integration.circuit.**".parse()?,
        |_: Envelope, _: EventContext| async { Err(Failure::transient("the pager does not answer")) },
    )?;

    let published = bus.publish(told("1", IntegrationEventType::WalletConnected, r#"{"chain":1}"#)?).await?;
    ensure!(published.is_success() && published.handlers_executed == 1, "{published:?}");

    let batch = [
        told("2", IntegrationEventType::BalanceUpdated, r#"{"wei":"1000"}"#)?,
        told("3", IntegrationEventType::CircuitOpened, r#"{"provider":"node"}"#)?,
        told("4", IntegrationEventType::BalanceUpdated, r#"{"wei":"900"}"#)?,
    ];
    let published = bus.publish_batch(batch).await?;
    for (of, events) in published.by_type() {
        let failures: usize = events.iter().map(|event| event.failures.len()).sum();
        println!("{} of {of}, {failures} failures", events.len());
    }
    ensure!(!published.is_success(), "the pager failed, and that is in the report");
    ensure!(balances.load(Ordering::Relaxed) == 2, "which kept nobody else from being told");

    // What is in the topic does not depend on who was there.
    let most = NonZeroU32::new(100).context("positive")?;
    let bytes_max = ByteSize::from_bytes(1 << 20);
    let read = Read { topic, partition: 0, from: 0, most, bytes_max, wait: Duration::ZERO };
    let records = engine.read(&read).await?.records;
    ensure!(records.len() == 5, "four events, and what one of them caused: {records:?}");
    let audited = audit.try_iter().filter(|event| event.name == "event_published").count();
    ensure!(audited == 5, "and each is in the audit log");
    ensure!(bus.shut_down().await.in_time, "nothing is under way");
    Ok(())
}
