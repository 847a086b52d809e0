//! What is sent comes out as it was, once, when it is due.

use http::Method;

use super::{Caller, said, start};
use crate::harness::{Client, until};

const ORDERS: &str = "[queue.orders]\n";
const MESSAGES: &str = "/api/v1/queues/orders/messages";

#[tokio::test]
async fn events_of_all_three_modes_are_leased_as_they_came() {
    let server = start(ORDERS);
    let caller = Caller::of(&server);
    // Spaces, order and digits of JSON are data.
    let data = r#"{ "b" : 1.0,  "a":[1e2] }"#;
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "one"),
        ("ce-source", "/shop"),
        ("ce-type", "OrderPlaced"),
        ("ce-partitionkey", "k"),
        ("content-type", "application/json"),
    ];
    let binary = caller.ask(Method::POST, MESSAGES, &headers, data).await;
    assert_eq!(binary.status, 201, "{binary:?}");
    assert_eq!(binary.body["data"]["id"], "one");
    assert_eq!(binary.body["data"]["type"], "message");
    assert_eq!(binary.body["data"]["attributes"]["durability"]["synced"], 1);
    assert_eq!(binary.body["meta"]["version"], "v1");
    assert_eq!(binary.answer.header("x-request-id"), binary.body["meta"]["requestId"].as_str());
    let own = binary.body["links"]["self"].as_str().expect("a link");
    assert_eq!(binary.answer.header("location"), Some(own));

    let event = |id: &str, data: &str| {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/shop","type":"OrderPlaced","data":{data}}}"#)
    };
    let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
    let sent = caller.ask(Method::POST, MESSAGES, &structured, &event("two", data)).await;
    assert_eq!(sent.status, 201, "{sent:?}");
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let both = format!("[{},{}]", event("three", "3"), event("four", data));
    let sent = caller.ask(Method::POST, MESSAGES, &batch, &both).await;
    assert_eq!((sent.status, sent.list().len()), (201, 2), "{sent:?}");

    let shown = caller.get(own).await;
    assert_eq!(shown.body["data"]["attributes"]["event"]["partitionkey"], "k");
    let leased = caller.take("orders").await;
    assert_eq!(leased.events(), ["one", "two", "three", "four"]);
    assert_eq!(leased.answer.text().matches(data).count(), 3, "{}", leased.answer.text());
    assert_eq!(caller.depth("orders", "inFlight").await, 4);
}

#[tokio::test]
async fn an_idempotency_key_is_the_id_of_a_message_within_the_window() {
    let server = start("[queue.orders]\ndeduplication_window = \"1h\"\n");
    let caller = Caller::of(&server);
    let event = [("ce-specversion", "1.0"), ("ce-source", "/shop"), ("ce-type", "OrderPlaced")];
    let keyed = [&event[..], &[("idempotency-key", "k-1")]].concat();
    let first = caller.ask(Method::POST, MESSAGES, &keyed, "").await;
    let again = caller.ask(Method::POST, MESSAGES, &keyed, "").await;
    assert_eq!((first.status, again.status), (201, 200), "{again:?}");
    assert_eq!(again.body["data"]["id"], "k-1");
    assert_eq!(again.body["data"]["attributes"]["duplicate"], true);
    assert_eq!(first.body["data"]["attributes"]["position"], again.body["data"]["attributes"]["position"]);
    // Under its own id it is the same message.
    assert_eq!(
        caller.ask(Method::POST, MESSAGES, &[&event[..], &[("ce-id", "k-1")]].concat(), "").await.status,
        200
    );
    let other = [&keyed[..], &[("ce-id", "k-2")]].concat();
    let differs = caller.ask(Method::POST, MESSAGES, &other, "").await;
    assert_eq!((differs.status, differs.code(), differs.pointer()), (400, "INVALID_EVENT", "/id"));
    assert_eq!(caller.depth("orders", "ready").await, 1);
}

#[tokio::test]
async fn delayed_messages_wait_can_be_taken_back_and_higher_priorities_go_first() {
    let server = start("[queue.orders]\npriorities = 3\n");
    let caller = Caller::of(&server);
    assert_eq!(caller.send("orders", "low", &[]).await.status, 201);
    assert_eq!(caller.send("orders", "high", &[("intertie-priority", "2")]).await.status, 201);
    let later = caller.send("orders", "later", &[("intertie-delay", "1h")]).await;
    let dated = caller.send("orders", "dated", &[("intertie-due", "2090-01-01T00:00:00Z")]).await;
    assert_eq!(
        caller.send("orders", "past", &[("intertie-due", "2020-01-01T00:00:00+02:00")]).await.status,
        201
    );
    assert_eq!(caller.depth("orders", "delayed").await, 2);
    let due = |said: &super::Said| said.body["links"]["self"].as_str().expect("a link").to_owned();
    let shown = caller.get(&due(&dated)).await;
    assert_eq!(shown.body["data"]["attributes"]["due"], "2090-01-01T00:00:00.000Z");

    assert_eq!(caller.ask(Method::DELETE, &due(&later), &[], "").await.status, 204);
    let gone = caller.ask(Method::DELETE, &due(&later), &[], "").await;
    assert_eq!((gone.status, gone.code()), (404, "MESSAGE_NOT_FOUND"));
    assert_eq!(caller.get(&due(&later)).await.code(), "MESSAGE_NOT_FOUND");
    assert_eq!(caller.depth("orders", "delayed").await, 1);

    assert_eq!(caller.take("orders").await.events(), ["high", "low", "past"]);
    assert_eq!(caller.send("orders", "soon", &[("intertie-delay", "30ms")]).await.status, 201);
    until(async || caller.take("orders").await.events() == ["soon"], "the delay is over").await;
}

#[tokio::test]
async fn pages_of_messages_go_on_where_the_last_one_ended() {
    let server = start(ORDERS);
    let caller = Caller::of(&server);
    for id in ["1", "2", "3", "4", "5"] {
        caller.stored("orders", id).await;
    }
    let (mut seen, mut pages, mut next) = (Vec::new(), 0, Some(format!("{MESSAGES}?size=2")));
    while let Some(path) = next {
        let page = caller.get(&path).await;
        seen.extend(page.events().into_iter().map(str::to_owned));
        next = page.body["links"]["next"].as_str().map(str::to_owned);
        pages += 1;
    }
    assert_eq!((seen.join(""), pages), ("12345".to_owned(), 3));
}

#[tokio::test]
async fn queues_are_listed_with_what_is_in_them() {
    let server = start("[queue.orders]\ndead_letter = \"failed\"\n\n[queue.failed]\n\n[queue.mail]\n");
    let caller = Caller::of(&server);
    caller.stored("orders", "1").await;
    let all = caller.get("/api/v1/queues").await;
    let ids: Vec<_> = all.list().iter().map(|queue| queue["id"].as_str().expect("a name")).collect();
    assert_eq!(ids, ["failed", "failed.dead", "mail", "mail.dead", "orders"]);
    assert_eq!(all.list()[4]["attributes"]["ready"], 1);
    assert_eq!(all.list()[4]["attributes"]["deadLetters"], "failed");
    assert_eq!(all.list()[4]["attributes"]["declared"], true);
    assert_eq!(all.list()[1]["attributes"]["declared"], false);
    let first = caller.get("/api/v1/queues?size=3").await;
    let rest = caller.get(first.body["links"]["next"].as_str().expect("more")).await;
    assert_eq!(rest.list()[0]["id"], "mail.dead");
    assert_eq!(rest.body["links"]["next"], serde_json::Value::Null);
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_answered_likewise() {
    let server = start(ORDERS);
    let client = Client::new(server.api).http2();
    let sent = Caller(client.clone()).send("orders", "1", &[]).await;
    assert_eq!(sent.status, 201, "{sent:?}");
    let head = said(client.send(super::request(Method::HEAD, "/api/v1/queues/orders", &[], "")).await);
    assert_eq!((head.status, head.answer.body.len()), (200, 0));
    assert!(head.answer.header("content-length").is_some_and(|length| length != "0"));
}
