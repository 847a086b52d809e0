//! `intertie queue` and `intertie data`.

use std::time::Instant;

use serde_json::Value;

use super::{Caller, start};
use crate::cli::{Run, folder, intertie};
use crate::harness::Server;

/// `intertie queue` against a server; what it printed.
fn queue(server: &Server, arguments: &[&str]) -> Run {
    let api = server.api.to_string();
    intertie(server.folder.path(), &[&["queue", "--api", &api], arguments].concat())
}

fn printed(server: &Server, arguments: &[&str]) -> String {
    let run = queue(server, arguments);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{arguments:?}: {run:?}");
    run.stdout
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    let text = printed(server, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn messages_are_sent_leased_settled_and_looked_at_from_the_command_line() {
    let server = start("[queue.orders]\n");
    let sent =
        printed(&server, &["send", "orders", "{\"order\":7}", "--type", "OrderPlaced", "--id", "seven"]);
    assert!(sent.starts_with("seven: stored at position "), "{sent}");
    printed(&server, &["send", "orders", "no JSON", "--delay", "1h"]);
    let peeked = printed(&server, &["peek", "orders"]);
    let lines: Vec<_> = peeked.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("position"), "{peeked}");
    assert!(lines[1].contains("OrderPlaced") && lines[1].ends_with("{\"order\":7}"), "{peeked}");
    assert!(lines[2].ends_with("no JSON"), "{peeked}");
    let listed = printed(&server, &["list"]);
    let orders = listed.lines().find(|line| line.starts_with("orders ")).expect("the queue");
    let cells: Vec<_> = orders.split_whitespace().collect();
    assert_eq!(cells[1..4], ["1", "1", "0"], "{listed}");
    let leased = json(&server, &["lease", "orders", "--most", "5", "--visibility-timeout", "1h"]);
    let lease = leased["data"][0]["id"].as_str().expect("a lease");
    assert_eq!(leased["data"][0]["attributes"]["event"]["id"], "seven");
    printed(&server, &["settle", "orders", lease, "dead-letter", "--reason", "no such customer"]);
    let dead = printed(&server, &["dead-letters", "orders", "--cause", "rejected"]);
    assert!(dead.contains("no such customer") && dead.contains("seven"), "{dead}");
    assert_eq!(json(&server, &["show", "orders"])["data"]["attributes"]["ready"], 0);
}

#[test]
fn what_the_server_refuses_and_who_does_not_answer_are_told_apart_from_what_is_wrong_here() {
    let server = start("[queue.orders]\n");
    let refused = queue(&server, &["show", "ordrs"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("did you mean `orders`?") && refused.stderr.contains("QUEUE_NOT_FOUND"));
    let nobody = folder("[server]\napi = \"127.0.0.1:1\"\n[queue.orders]\n");
    let run = intertie(nobody.path(), &["queue", "list"]);
    assert!(run.code == 1 && run.stderr.contains("no server answers at 127.0.0.1:1"), "{run:?}");
    let none = folder("[service.a]\nendpoints = [{ at = \"127.0.0.1:1\" }]\n[route.\"/**\"]\nto = \"a\"\n");
    let run = intertie(none.path(), &["queue", "list"]);
    assert!(run.code == 2 && run.stderr.contains("has no queue and no API"), "{run:?}");
    assert_eq!(queue(&server, &["list", "--token", "hunter2"]).code, 2);
}

#[tokio::test]
async fn a_redrive_goes_on_until_nothing_is_left_and_no_faster_than_it_may() {
    let server = start("[queue.orders]\n");
    let caller = Caller::of(&server);
    for n in 0..30 {
        caller.stored("orders", &n.to_string()).await;
    }
    let leased = caller.lease("orders", r#"{"consumer":"w","most":100}"#).await;
    let settlements: Vec<_> =
        (0..30).map(|n| serde_json::json!({ "lease": leased.lease(n), "outcome": "dead_letter" })).collect();
    assert_eq!(caller.settle("orders", &Value::Array(settlements).to_string()).await.status, 200);
    let dry = printed(&server, &["redrive", "orders", "--dry-run"]);
    assert_eq!(dry, "30 would be redriven, 0 skipped\n");
    let began = Instant::now();
    let done = json(&server, &["redrive", "orders", "--rate", "100/s", "--cause", "rejected"]);
    assert_eq!((&done["data"]["redriven"], &done["data"]["skipped"]), (&30.into(), &0.into()));
    // The last step needs no wait behind it.
    assert!(began.elapsed().as_millis() >= 200, "{:?}", began.elapsed());
    assert_eq!(caller.depth("orders", "ready").await, 30);
}

#[tokio::test]
async fn a_directory_is_verified_measured_backed_up_and_restored() {
    let server = start("[queue.orders]\n");
    let caller = Caller::of(&server);
    caller.stored("orders", "a").await;
    let home = server.folder.path();
    let run = |arguments: &[&str]| intertie(home, &[&["data"], arguments].concat());
    let sound = run(&["verify", "data"]);
    assert_eq!((sound.code, sound.stdout.as_str()), (0, "data: sound\n"), "{sound:?}");
    let stats = run(&["stats", "data", "--json"]);
    let stats: Value = serde_json::from_str(&stats.stdout).expect("JSON");
    let tables = stats["tables"].as_array().expect("tables");
    let messages = tables.iter().find(|table| table["name"] == "message").expect("messages");
    assert_eq!(messages["rows"], 1);
    assert!(run(&["stats", "data"]).stdout.contains("message"));
    assert_eq!(run(&["backup", "data", "copy.db"]).code, 0);
    let again = run(&["backup", "data", "copy.db"]);
    assert!(again.code == 2 && again.stderr.contains("nothing is overwritten"), "{again:?}");
    assert_eq!(run(&["restore", "copy.db", "restored"]).code, 0);
    let restored = home.join("restored");
    let other = Server::start_with(&format!("{}data = {restored:?}\n", super::API), "[queue.orders]\n");
    assert_eq!(Caller::of(&other).take("orders").await.events(), ["a"]);
    let nothing = run(&["verify", "nowhere"]);
    assert!(nothing.code == 2 && nothing.stderr.starts_with("error: "), "{nothing:?}");
}

#[tokio::test]
async fn damage_in_a_directory_is_found() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let path = data.path().join("data");
    let mut server = Server::start_with(&format!("{}data = {path:?}\n", super::API), "[queue.orders]\n");
    let caller = Caller::of(&server);
    for n in 0..200 {
        caller.stored("orders", &n.to_string()).await;
    }
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert_eq!(intertie(data.path(), &["data", "backup", "data", "copy"]).code, 0);
    let mut bytes = std::fs::read(data.path().join("copy")).expect("a copy");
    // All but the first page, which says what the file is.
    bytes[4096..].fill(0xff);
    std::fs::create_dir(data.path().join("broken")).expect("made");
    let name = std::fs::read_dir(&path).expect("a directory").flatten().map(|entry| entry.path());
    let name =
        name.into_iter().find(|path| std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite")));
    let name = name.expect("a database");
    std::fs::write(data.path().join("broken").join(name.file_name().expect("a name")), &bytes)
        .expect("written");
    let found = intertie(data.path(), &["data", "verify", "broken"]);
    assert!(found.code == 1 || found.code == 2, "{found:?}");
    assert!(!found.stdout.contains("sound"), "{found:?}");
}

#[test]
fn what_messages_say_is_nothing_that_a_terminal_obeys() {
    let server = start("[queue.orders]\n");
    printed(&server, &["send", "orders", "red \u{1b}[31m\u{202e}\u{9b}", "--id", "1"]);
    let peeked = printed(&server, &["peek", "orders"]);
    assert!(peeked.contains("red \\u{1b}[31m\\u{202e}\\u{9b}"), "{peeked:?}");
    let told = json(&server, &["peek", "orders"]);
    assert_eq!(told["data"][0]["attributes"]["event"]["data"], "red \u{1b}[31m\u{202e}\u{9b}");
}

#[test]
fn a_token_goes_nowhere_in_the_clear() {
    let home = folder("[queue.orders]\n");
    std::fs::write(home.path().join("token"), "a-secret-that-is-long-enough").expect("written");
    let run = intertie(home.path(), &["queue", "list", "--api", "192.0.2.1:8081", "--token", "file:token"]);
    assert!(run.code == 2 && run.stderr.contains("in the clear"), "{run:?}");
}

#[tokio::test]
async fn data_are_sent_as_they_were_written() {
    let server = start("[queue.orders]\n");
    let written = r#"{"b":1.50,"a":123456789012345678901234567890,"c":1e999}"#;
    printed(&server, &["send", "orders", written]);
    let said = Caller::of(&server).0.get("/api/v1/queues/orders/messages").await;
    assert!(said.text().contains(written), "{}", said.text());
}
