//! Who may do what.

use http::Method;

use super::{API, Caller, Said};
use crate::cli::{check, folder, intertie};
use crate::harness::{OWN, Server, until};

const SHOP: &str = "the-secret-of-the-shop";
const PACKER: &str = "the-secret-of-packers";

const TOKENS: &str = "[queue.orders]\n[queue.orders-eu]\n[queue.private]\n\
    [token.shop]\nsecret = \"file:shop.token\"\nallow = [\"send orders*\", \"browse orders\"]\n\
    [token.packers]\nsecret = \"file:packers.token\"\nallow = [\"lease orders\", \"manage orders\"]\n";

fn start(tokens: &str, keys: &str) -> Server {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("shop.token"), format!("{SHOP}\n")).expect("written");
    std::fs::write(folder.path().join("packers.token"), PACKER).expect("written");
    let command = std::process::Command::new(env!("CARGO_BIN_EXE_intertie"));
    Server::start_by(folder, command, &format!("{OWN}{API}{keys}\n{tokens}"))
}

async fn ask(caller: &Caller, token: &str, method: Method, path: &str, body: &str) -> Said {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/cloudevents+json")];
    caller.ask(method, &format!("/api/v1/queues{path}"), &headers, body).await
}

fn event(id: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/a","type":"T"}}"#)
}

#[tokio::test]
async fn each_token_does_what_it_is_allowed_and_nothing_else() {
    let server = start(TOKENS, "");
    let caller = Caller::of(&server);
    let (get, post) = (Method::GET, Method::POST);
    for (token, method, path, body, status) in [
        (SHOP, &post, "/orders/messages", &event("1")[..], 201),
        (SHOP, &post, "/orders-eu/messages", &event("1"), 201),
        (SHOP, &post, "/private/messages", &event("1"), 403),
        (SHOP, &post, "/nowhere/messages", &event("1"), 403),
        (SHOP, &get, "/orders", "", 200),
        (SHOP, &get, "/orders-eu", "", 403),
        (SHOP, &get, "/orders/messages", "", 200),
        (SHOP, &post, "/orders/leases", r#"{"consumer":"w"}"#, 403),
        (SHOP, &post, "/orders/settlements", r#"{"lease":"l","outcome":"ack"}"#, 403),
        (SHOP, &Method::PATCH, "/orders/leases/1", r#"{"visibilityTimeout":"1s"}"#, 403),
        (SHOP, &Method::DELETE, "/orders/messages/0", "", 403),
        (SHOP, &post, "/orders/redrives", "", 403),
        (PACKER, &post, "/orders/leases", r#"{"consumer":"w"}"#, 200),
        (PACKER, &post, "/orders/redrives", "", 200),
        (PACKER, &post, "/orders/redrives", r#"{"to":"private"}"#, 403),
        (PACKER, &get, "/orders/dead-letters", "", 403),
        (PACKER, &post, "/orders/messages", &event("2"), 403),
    ] {
        let said = ask(&caller, token, method.clone(), path, body).await;
        assert_eq!(said.status, status, "{method} {path} of {token}: {said:?}");
    }
    let listed = ask(&caller, SHOP, Method::GET, "", "").await;
    let names: Vec<_> = listed.list().iter().filter_map(|queue| queue["id"].as_str()).collect();
    assert_eq!(names, ["orders"]);
    let page = ask(&caller, SHOP, Method::GET, "?size=1", "").await;
    assert!(page.body["links"]["next"].is_null(), "what it may not browse is no place to go on: {page:?}");
    let near = ask(&caller, SHOP, Method::POST, "/orders-e/messages", &event("1")).await;
    assert_eq!(
        (near.status, near.detail()),
        (404, "there is no queue `orders-e`"),
        "it may not browse what is near"
    );
    let near = ask(&caller, SHOP, Method::POST, "/orderss/messages", &event("1")).await;
    assert!(near.detail().ends_with("did you mean `orders`?"), "{near:?}");
}

#[tokio::test]
async fn who_shows_no_token_is_denied_and_auditors_hear_of_it_without_any_secret() {
    let logs = tempfile::tempdir().expect("a temporary folder");
    let log = logs.path().join("audit.log");
    let audit = format!("[server.audit_log]\nto = {log:?}\nrejections_every = \"0s\"\n");
    let mut server = start(TOKENS, &audit);
    let caller = Caller::of(&server);
    for headers in [
        &[][..],
        &[("authorization", "Bearer the-secret-of-the-shoq")],
        &[("authorization", "Bearer the-secret-of-the-sho")],
        &[("authorization", "Basic the-secret-of-the-shop")],
        &[("authorization", "Bearer ")],
    ] {
        let denied = caller.ask(Method::GET, "/api/v1/queues/orders", headers, "").await;
        assert_eq!((denied.status, denied.code()), (401, "UNAUTHENTICATED"), "{headers:?}");
        assert_eq!(denied.answer.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(ask(&caller, SHOP, Method::POST, "/private/messages", &event("1")).await.status, 403);
    let elsewhere = ask(&caller, PACKER, Method::POST, "/orders/redrives", r#"{"to":"private"}"#).await;
    assert_eq!(elsewhere.status, 403);
    assert_eq!(server.metric("intertie_api_denied_total").await, 7.0);
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let written = std::fs::read_to_string(&log).expect("an audit log");
    assert_eq!(written.matches("\"api_denied\"").count(), 7, "{written}");
    assert!(written.contains("\"token\":\"shop\"") && written.contains("FORBIDDEN"), "{written}");
    assert_eq!(server.count("secret-of"), 0);
    assert!(!written.contains("secret-of"), "{written}");
}

#[tokio::test]
async fn who_has_no_token_hides_no_denial_of_one() {
    let logs = tempfile::tempdir().expect("a temporary folder");
    let log = logs.path().join("audit.log");
    let audit = format!("[server.audit_log]\nto = {log:?}\nrejections_every = \"1h\"\n");
    let mut server = start(TOKENS, &audit);
    let caller = Caller::of(&server);
    for _ in 0..3 {
        assert_eq!(caller.get("/api/v1/queues").await.status, 401);
        assert_eq!(ask(&caller, SHOP, Method::POST, "/private/messages", &event("1")).await.status, 403);
    }
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let written = std::fs::read_to_string(&log).expect("an audit log");
    assert_eq!(written.matches("\"api_denied\"").count(), 2, "{written}");
    assert!(written.contains("UNAUTHENTICATED") && written.contains("FORBIDDEN"), "{written}");
}

#[tokio::test]
async fn a_token_has_a_rate_and_a_bound_on_what_it_holds() {
    let tokens = TOKENS.replace("\"manage orders\"]", "\"manage orders\"]\nleases_max = 2");
    let tokens = tokens.replace("\"browse orders\"]", "\"browse orders\"]\nrate = \"4/h\"");
    let server = start(&tokens, "");
    let caller = Caller::of(&server);
    for id in ["1", "2", "3", "4"] {
        assert_eq!(ask(&caller, SHOP, Method::POST, "/orders/messages", &event(id)).await.status, 201);
    }
    let limited = ask(&caller, SHOP, Method::POST, "/orders/messages", &event("5")).await;
    assert_eq!((limited.status, limited.code()), (429, "RATE_LIMITED"));
    assert!(
        limited
            .answer
            .header("retry-after")
            .is_some_and(|wait| wait.parse::<u32>().is_ok_and(|wait| wait > 60))
    );

    let lease = r#"{"consumer":"w","most":10,"visibilityTimeout":"1h"}"#;
    let leased = ask(&caller, PACKER, Method::POST, "/orders/leases", lease).await;
    assert_eq!(leased.list().len(), 2);
    let full = ask(&caller, PACKER, Method::POST, "/orders/leases", lease).await;
    assert!(full.status == 429 && full.detail().contains("leases_max"), "{full:?}");
    let ack = serde_json::json!({ "lease": leased.lease(0), "outcome": "ack" }).to_string();
    assert_eq!(ask(&caller, PACKER, Method::POST, "/orders/settlements", &ack).await.status, 200);
    let third = ask(&caller, PACKER, Method::POST, "/orders/leases", lease).await;
    assert_eq!(third.list().len(), 1);
    // A lease that ends by itself makes room too.
    let path = format!("/orders/leases/{}", third.lease(0));
    let shorter = r#"{"visibilityTimeout":"1ms"}"#;
    assert_eq!(ask(&caller, PACKER, Method::PATCH, &path, shorter).await.status, 200);
    until(
        async || ask(&caller, PACKER, Method::POST, "/orders/leases", lease).await.status == 200,
        "the lease is over",
    )
    .await;
}

#[tokio::test]
async fn a_reload_takes_tokens_away_and_gives_new_ones() {
    let server = start(TOKENS, "");
    let caller = Caller::of(&server);
    assert_eq!(ask(&caller, SHOP, Method::GET, "/orders", "").await.status, 200);
    std::fs::write(server.folder.path().join("shop.token"), "another-secret-of-the-shop").expect("written");
    server.signal("HUP");
    server.wait_for("config_reloaded");
    assert_eq!(ask(&caller, SHOP, Method::GET, "/orders", "").await.status, 401);
    assert_eq!(ask(&caller, "another-secret-of-the-shop", Method::GET, "/orders", "").await.status, 200);
    std::fs::write(server.folder.path().join("shop.token"), PACKER).expect("written");
    server.signal("HUP");
    server.wait_for("config_refused");
    assert_eq!(ask(&caller, "another-secret-of-the-shop", Method::GET, "/orders", "").await.status, 200);
    assert_eq!(server.count("secret-of"), 0);
}

#[test]
fn tokens_that_can_not_be_trusted_are_refused_where_they_stand() {
    for (text, expected) in [
        (
            "[queue.a]\n[token.a]\nsecret = \"hunter2-hunter2-hunter2\"\nallow = [\"send a\"]\n",
            &["the secret stands in the file", ":3:1"][..],
        ),
        (
            "[queue.a]\n[token.a]\nsecret = \"env:A\"\nallow = [\"sned a\"]\n",
            &["did you mean `send`?", ":4:"],
        ),
        ("[queue.a]\n[token.a]\nsecret = \"env:A\"\nallow = []\n", &["may do nothing", ":4:1"]),
        ("[queue.a]\n[token.a]\nsecret = \"env:A\"\n", &["`allow` is missing"]),
    ] {
        check(text, 2, expected);
    }
    // Where it stands is shown, and not what: whoever reads the log would have the secret.
    for text in [
        "[queue.a]\n[token.a]\nsecret = \"hunter2-hunter2-hunter2\"\nallow = [\"send a\"]\n",
        "[queue.a]\n[token.a]\nsecrt = \"hunter2-hunter2-hunter2\"\nallow = [\"send a\"]\n",
        "[queue.a]\n[token.a]\nrate = \"hunter2-hunter2\nallow = [\"send a\"]\n",
        "[queue.a]\n[token]\na = \"hunter2-hunter2-hunter2\"\n",
        "token = { a = { secret = \"hunter2-hunter2\", allow = [\"send a\"] } }\n[queue.a]\n",
        "[queue.a]\n[token.a]\nleases_max = \"hunter2-hunter2\"\nsecret = \"env:A\"\nallow = [\"send a\"]\n",
    ] {
        let folder = folder(text);
        for verb in ["check", "up"] {
            let run = intertie(folder.path(), &[verb, "intertie.toml"]);
            assert!(run.code == 2 && !format!("{run:?}").contains("hunter2"), "{text}: {run:?}");
        }
    }
    for (secret, words) in [("short", "fewer than 16 bytes"), ("with a space in it", "visible ASCII")] {
        let folder = folder("[queue.a]\n[token.a]\nsecret = \"file:a\"\nallow = [\"send a\"]\n");
        std::fs::write(folder.path().join("a"), secret).expect("written");
        let run = intertie(folder.path(), &["up", "intertie.toml"]);
        assert!(run.code == 2 && run.stderr.contains(words) && !run.stderr.contains(secret), "{run:?}");
    }
}
