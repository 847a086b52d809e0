//! What died: seen with its cause, and sent again.

use serde_json::{Value, json};

use super::{Caller, start};

const QUEUES: &str = "[queue.orders]\nmax_deliveries = 1\nredelivery = { base = \"1ms\", cap = \"1ms\" }\n";
const DEAD: &str = "/api/v1/queues/orders/dead-letters";
const REDRIVES: &str = "/api/v1/queues/orders/redrives";

/// Lets `id` die: rejected, or delivered once too often.
async fn die(caller: &Caller, id: &str, outcome: &str) {
    caller.stored("orders", id).await;
    let leased = caller.take("orders").await;
    let body = json!({ "lease": leased.lease(0), "outcome": outcome }).to_string();
    assert_eq!(caller.settle("orders", &body).await.status, 200);
}

fn positions(said: &super::Said, of: &str) -> usize {
    said.body["data"][of].as_array().map_or(usize::MAX, Vec::len)
}

#[tokio::test]
async fn dead_letters_are_found_by_cause_and_type_in_pages() {
    let server = start(QUEUES);
    let caller = Caller::of(&server);
    for (id, outcome) in [("a", "dead_letter"), ("b", "retry"), ("c", "dead_letter")] {
        die(&caller, id, outcome).await;
    }
    let all = caller.get(DEAD).await;
    assert_eq!(all.events(), ["a", "b", "c"]);
    let dead = &all.list()[1]["attributes"]["deadLetter"];
    assert_eq!(dead["cause"], "max_deliveries");
    assert_eq!(dead["origin"]["queue"], "orders");
    assert_eq!((&dead["deliveries"], &dead["redrives"]), (&json!(1), &json!(0)));
    let first = caller.get(&format!("{DEAD}?cause=rejected&type=Tested&size=1")).await;
    assert_eq!(first.events(), ["a"]);
    let second = caller.get(first.body["links"]["next"].as_str().expect("more")).await;
    assert_eq!((second.events(), &second.body["links"]["next"]), (vec!["c"], &Value::Null));
    assert!(caller.get(&format!("{DEAD}?type=Other")).await.list().is_empty());
    let wrong = caller.get(&format!("{DEAD}?cause=rejectd")).await;
    assert!(wrong.status == 400 && wrong.detail().contains("did you mean `rejected`?"), "{wrong:?}");
}

#[tokio::test]
async fn a_redrive_sends_what_is_wanted_again_and_not_what_comes_back_for_ever() {
    let server = start(QUEUES);
    let caller = Caller::of(&server);
    for id in ["a", "b", "c"] {
        die(&caller, id, "dead_letter").await;
    }
    let dry = caller.post(REDRIVES, r#"{"dryRun":true,"most":2}"#).await;
    assert_eq!((dry.status, positions(&dry, "positions")), (200, 2), "{dry:?}");
    assert_eq!(caller.depth("orders", "ready").await, 0, "a dry run does nothing");
    let next = dry.body["data"]["next"].as_u64().expect("one is left");
    let before = caller.post(REDRIVES, &json!({ "dryRun": true, "until": next }).to_string()).await;
    assert_eq!((positions(&before, "positions"), &before.body["data"]["next"]), (2, &Value::Null));
    let one = caller.post(REDRIVES, &json!({ "from": next }).to_string()).await;
    assert_eq!((positions(&one, "positions"), &one.body["data"]["next"]), (1, &Value::Null));
    let leased = caller.take("orders").await;
    assert_eq!(leased.events(), ["c"]);
    assert_eq!(leased.list()[0]["attributes"]["deadLetter"]["redrives"], 1);
    let again = json!({ "lease": leased.lease(0), "outcome": "dead_letter" }).to_string();
    assert_eq!(caller.settle("orders", &again).await.status, 200);

    let bounded = caller.post(REDRIVES, r#"{"redrivesMax":1}"#).await;
    assert_eq!((positions(&bounded, "positions"), positions(&bounded, "skipped")), (2, 1), "{bounded:?}");
    assert_eq!(caller.get(DEAD).await.events(), ["c"]);
    let elsewhere = caller.post(REDRIVES, r#"{"to":"ordrs"}"#).await;
    assert_eq!((elsewhere.status, elsewhere.code()), (404, "QUEUE_NOT_FOUND"));
    assert!(elsewhere.detail().contains("did you mean `orders`?"), "{elsewhere:?}");
    assert_eq!(caller.get(DEAD).await.events(), ["c"], "nothing was moved");
}

#[tokio::test]
async fn only_what_died_in_the_queue_is_shown_where_several_share_one() {
    let server = start(
        "[queue.orders]\ndead_letter = \"failed\"\n[queue.mail]\ndead_letter = \"failed\"\n[queue.failed]\n",
    );
    let caller = Caller::of(&server);
    die(&caller, "order", "dead_letter").await;
    assert_eq!(caller.get(DEAD).await.events(), ["order"]);
    assert!(caller.get("/api/v1/queues/mail/dead-letters").await.list().is_empty());
    let redriven = caller.post("/api/v1/queues/mail/redrives", "").await;
    assert_eq!(positions(&redriven, "positions"), 0);
}

#[tokio::test]
async fn what_the_target_does_not_take_keeps_no_other_from_being_redriven() {
    let server = start("[queue.orders]\n[queue.small]\nmessage_bytes_max = \"200B\"\n");
    let caller = Caller::of(&server);
    let long = "x".repeat(500);
    assert_eq!(caller.send("orders", "large", &[("ce-subject", &long)]).await.status, 201);
    assert_eq!(caller.send("orders", "fits", &[]).await.status, 201);
    let leased = caller.take("orders").await;
    for n in 0..2 {
        let dies = json!({ "lease": leased.lease(n), "outcome": "dead_letter" }).to_string();
        assert_eq!(caller.settle("orders", &dies).await.status, 200);
    }
    let redriven = caller.post(REDRIVES, r#"{"to":"small"}"#).await;
    assert_eq!((positions(&redriven, "positions"), positions(&redriven, "skipped")), (1, 1), "{redriven:?}");
    assert_eq!(caller.take("small").await.events(), ["fits"]);
    assert_eq!(caller.get(DEAD).await.events(), ["large"]);
}
