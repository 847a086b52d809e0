//! Events and messages of others: through CloudEvents in JSON and back.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::from_json;
use super::properties::{json, source, text, time};
use crate::envelope::shapes::{
    DomainEvent, DomainEventMetadata, Event, IntegrationEventType, Json, MessageEnvelope,
    PublicationMetadata, PublishedEvent,
};
use crate::envelope::{Envelope, EnvelopeError, Limits, Reason, binary, structured};

/// Checks that `shape` is the event `expected`, and comes back from its JSON and from its headers.
#[track_caller]
fn check<S>(shape: &str, expected: &str)
where
    S: Serialize
        + DeserializeOwned
        + Debug
        + PartialEq
        + for<'a> TryFrom<&'a Envelope, Error = EnvelopeError>,
    for<'a> Envelope: TryFrom<&'a S, Error = EnvelopeError>,
{
    let read: S = serde_json::from_str(shape).expect("the document's own example");
    let event = Envelope::try_from(&read).expect("it is an event");
    assert_eq!(event, from_json(expected).expect("valid"));
    passes(&read).expect("it comes back");
    let written = serde_json::to_value(&read).expect("JSON");
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(shape).expect("JSON"));
}

/// Sends a shape through CloudEvents, in JSON and in headers.
fn passes<S>(shape: &S) -> Result<(), TestCaseError>
where
    S: Debug + PartialEq + for<'a> TryFrom<&'a Envelope, Error = EnvelopeError>,
    for<'a> Envelope: TryFrom<&'a S, Error = EnvelopeError>,
{
    let event = Envelope::try_from(shape).expect("an event");
    let read = structured::read(&structured::write(&event).into(), &Limits::default()).expect("valid");
    prop_assert_eq!(&S::try_from(&read).expect("of this shape"), shape);
    let message = binary::write(&event);
    let headers = message.headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
    let read = binary::read(headers, message.body.clone(), &Limits::default()).expect("valid");
    prop_assert_eq!(&S::try_from(&read).expect("of this shape"), shape);
    Ok(())
}

#[test]
fn a_domain_event() {
    check::<DomainEvent>(
        r#"{
            "id": "7d1f",
            "type": "integration.wallet.connected",
            "timestamp": 1755945000123,
            "source": "integration/wallet",
            "correlationId": "req-1",
            "payload": { "address": "0xAB" },
            "metadata": { "version": "1.0", "userId": "u 1", "sessionId": "s-1" }
        }"#,
        r#"{
            "specversion": "1.0",
            "id": "7d1f",
            "source": "integration/wallet",
            "type": "integration.wallet.connected",
            "time": "2025-08-23T10:30:00.123Z",
            "datacontenttype": "application/json",
            "correlationid": "req-1",
            "eventversion": "1.0",
            "userid": "u 1",
            "sessionid": "s-1",
            "data": { "address": "0xAB" }
        }"#,
    );
}

#[test]
fn a_message() {
    check::<MessageEnvelope>(
        r#"{
            "id": "m-1",
            "payload": { "orderId": 7 },
            "timestamp": "2025-08-23T10:30:00.000Z",
            "source": "order-service",
            "correlationId": "c-1",
            "replyTo": "response-1",
            "headers": { "request-type": "request-response", "timeout": "5000" }
        }"#,
        r#"{
            "specversion": "1.0",
            "id": "m-1",
            "source": "order-service",
            "type": "intertie.message",
            "time": "2025-08-23T10:30:00.000Z",
            "datacontenttype": "application/json",
            "correlationid": "c-1",
            "replyto": "response-1",
            "headers": "{\"request-type\":\"request-response\",\"timeout\":\"5000\"}",
            "data": { "orderId": 7 }
        }"#,
    );
}

#[test]
fn an_event_of_a_store() {
    check::<Event>(
        r#"{
            "id": "e-1",
            "type": "OrderConfirmed",
            "version": "1.0",
            "source": "order-7",
            "timestamp": "2025-08-23T10:30:00.000Z",
            "data": { "orderId": "order-7", "confirmedAt": "2025-08-23T10:30:00.000Z" },
            "metadata": {"user":"\u00f6"}
        }"#,
        r#"{
            "specversion": "1.0",
            "id": "e-1",
            "source": "order-7",
            "type": "OrderConfirmed",
            "time": "2025-08-23T10:30:00.000Z",
            "datacontenttype": "application/json",
            "eventversion": "1.0",
            "metadata": "{\"user\":\"\\u00f6\"}",
            "data": { "orderId": "order-7", "confirmedAt": "2025-08-23T10:30:00.000Z" }
        }"#,
    );
}

#[test]
fn a_published_event() {
    check::<PublishedEvent>(
        r#"{
            "eventId": "evt_123456789",
            "eventType": "UserRegistered",
            "aggregateId": "user_123e4567-e89b-12d3-a456-426614174000",
            "aggregateType": "User",
            "eventVersion": "1.0",
            "occurredAt": "2025-08-23T10:30:00Z",
            "causationId": "cmd_987654321",
            "correlationId": "corr_456789123",
            "data": { "email": "user@example.com", "marketingConsent": true },
            "metadata": {
                "publishedBy": "user-service",
                "publishedAt": "2025-08-23T10:30:01Z",
                "schemaVersion": "1.0"
            }
        }"#,
        r#"{
            "specversion": "1.0",
            "id": "evt_123456789",
            "source": "user-service",
            "type": "UserRegistered",
            "subject": "user_123e4567-e89b-12d3-a456-426614174000",
            "time": "2025-08-23T10:30:00Z",
            "datacontenttype": "application/json",
            "aggregatetype": "User",
            "causationid": "cmd_987654321",
            "correlationid": "corr_456789123",
            "eventversion": "1.0",
            "recordedtime": "2025-08-23T10:30:01Z",
            "schemaversion": "1.0",
            "data": { "email": "user@example.com", "marketingConsent": true }
        }"#,
    );
}

#[test]
fn types_of_integration_events_are_found_by_name() {
    for kind in IntegrationEventType::ALL {
        assert_eq!(IntegrationEventType::of(kind.name()), Some(kind));
    }
    assert_eq!(IntegrationEventType::of("integration.circuit.opens"), None);
}

/// A published event, as a CloudEvent with `change` made to its JSON.
fn published(change: (&str, &str)) -> Result<PublishedEvent, EnvelopeError> {
    let event = r#"{"specversion":"1.0","id":"1","source":"/a","type":"T","subject":"s","time":"2025-08-23T10:30:00Z","aggregatetype":"U","eventversion":"1","data":{}}"#;
    let changed = event.replace(change.0, change.1);
    assert!(change.0.is_empty() || changed != event);
    PublishedEvent::try_from(&from_json(&changed).expect("valid"))
}

#[test]
fn what_a_shape_can_not_say_is_refused_by_name() {
    let end = "\"data\":{}}";
    let no_field = || Reason::NoField { shape: "PublishedEvent" };
    let json = || Reason::WrongType { expected: "JSON" };
    for (change, pointer, reason) in [
        ((end, r#""userid":"u","data":{}}"#), "/userid", no_field()),
        ((end, r#""dataschema":"urn:a:b","data":{}}"#), "/dataschema", no_field()),
        ((end, r#""datacontenttype":"application/geo+json","data":{}}"#), "/datacontenttype", no_field()),
        ((end, r#""datacontenttype":"text/plain","data":"x"}"#), "/datacontenttype", no_field()),
        ((end, r#""data_base64":"e30="}"#), "/data", json()),
        ((r#","data":{}"#, ""), "/data", Reason::Missing),
        ((r#""subject":"s","#, ""), "/subject", Reason::Missing),
        ((r#""time":"2025-08-23T10:30:00Z","#, ""), "/time", Reason::Missing),
        ((r#""aggregatetype":"U","#, ""), "/aggregatetype", Reason::Missing),
        (
            (end, r#""recordedtime":"now","data":{}}"#),
            "/recordedtime",
            Reason::Malformed { expected: "a time of RFC 3339" },
        ),
    ] {
        let error = published(change).expect_err("refused");
        assert_eq!((error.pointer().as_str(), &error.reason), (pointer, &reason));
    }
    let delivered = (
        end,
        r#""traceparent":"x","expirytime":"2026-01-01T00:00:00Z","replyto":"q","datacontenttype":"Application/JSON; charset=utf-8","data":{}}"#,
    );
    assert_eq!(published(delivered), published(("", "")));
}

#[test]
fn what_an_event_can_not_say_is_refused_by_name() {
    let event = DomainEvent {
        id: "1".to_owned(),
        r#type: "a.b.c".to_owned(),
        timestamp: 1,
        source: "/a".to_owned(),
        correlation_id: "c".to_owned(),
        payload: Json::new("1").expect("JSON"),
        metadata: DomainEventMetadata { version: "1".to_owned(), user_id: None, session_id: None },
    };
    let refused = |event: &DomainEvent, pointer: &str| {
        let error = Envelope::try_from(event).expect_err("refused");
        assert_eq!(error.pointer(), pointer);
    };
    refused(&DomainEvent { source: "Order Service".to_owned(), ..event.clone() }, "/source");
    refused(&DomainEvent { timestamp: u64::MAX, ..event.clone() }, "/time");
    refused(&DomainEvent { correlation_id: String::new(), ..event.clone() }, "/correlationid");
    let user_id = Some("a\nb".to_owned());
    let metadata = DomainEventMetadata { user_id, ..event.metadata.clone() };
    refused(&DomainEvent { metadata, ..event.clone() }, "/userid");

    let envelope = Envelope::try_from(&event).expect("an event");
    for (time, pointer) in [("1969-12-31T23:59:59Z", "/time"), ("2025-08-23T10:30:00.0001Z", "/time")] {
        let time: crate::envelope::Time = time.parse().expect("a time");
        let error = DomainEvent::try_from(&envelope.clone().with_time(time)).expect_err("refused");
        assert_eq!(error.pointer(), pointer);
    }
    let error =
        MessageEnvelope::try_from(&Envelope::new("1", "/a", "t").expect("valid")).expect_err("refused");
    assert_eq!(
        (error.pointer().as_str(), error.reason),
        ("/type", Reason::NoField { shape: "MessageEnvelope" })
    );
}

fn payload() -> impl Strategy<Value = Json> {
    json().prop_map(|text| Json::new(&text).expect("JSON"))
}

proptest! {
    #[test]
    fn domain_events_come_back(
        (id, kind, correlation_id) in (text(), text(), text()), timestamp in 0..18_000_000_000_000_u64, source in source(),
        payload in payload(), version in text(), user_id in option::of(text()), session_id in option::of(text()),
    ) {
        let metadata = DomainEventMetadata { version, user_id, session_id };
        passes(&DomainEvent { id, r#type: kind, timestamp, source, correlation_id, payload, metadata })?;
    }

    #[test]
    fn messages_come_back(
        id in text(), payload in payload(), timestamp in time(), source in source(), correlation_id in option::of(text()),
        reply_to in option::of(text()), headers in btree_map(any::<String>(), any::<String>(), 0..4),
    ) {
        let headers: BTreeMap<_, _> = headers;
        passes(&MessageEnvelope { id, payload, timestamp, source, correlation_id, reply_to, headers })?;
    }

    #[test]
    fn events_of_a_store_come_back(
        (id, kind, version) in (text(), text(), text()), source in source(), timestamp in time(), data in payload(),
        metadata in option::of(payload()),
    ) {
        let mut event = Event { id, r#type: kind, version, source, timestamp, data, metadata };
        let envelope = Envelope::try_from(&event).expect("an event");
        let back = Event::try_from(&envelope).expect("of this shape");
        event.metadata = event.metadata.as_ref().map(Json::in_ascii);
        prop_assert_eq!(back, event.clone());
        passes(&event)?;
    }

    #[test]
    fn published_events_come_back(
        (event_id, event_type, aggregate_id) in (text(), text(), text()), (aggregate_type, event_version) in (text(), text()),
        occurred_at in time(), (causation_id, correlation_id) in (option::of(text()), option::of(text())), data in payload(),
        published_by in source(), published_at in option::of(time()), schema_version in option::of(text()),
    ) {
        let metadata = PublicationMetadata { published_by, published_at, schema_version };
        passes(&PublishedEvent {
            event_id, event_type, aggregate_id, aggregate_type, event_version, occurred_at, causation_id,
            correlation_id, data, metadata,
        })?;
    }
}
