//! From the start of a process to its end, and what is left after it.

use http::Method;

use super::{API, Caller, start};
use crate::harness::{Server, until};

/// A server whose data directory outlives it.
fn on(data: &tempfile::TempDir, queues: &str) -> Server {
    let data = data.path().join("data");
    Server::start_with(&format!("{API}data = {data:?}\n"), queues)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let lease = {
        let server = on(&data, "[queue.orders]\n");
        let caller = Caller::of(&server);
        for id in ["a", "b", "c"] {
            caller.stored("orders", id).await;
        }
        let leased = caller.take("orders").await;
        let ack = serde_json::json!({ "lease": leased.lease(0), "outcome": "ack" }).to_string();
        assert_eq!(caller.settle("orders", &ack).await.status, 200);
        leased.lease(1).to_owned()
    };
    let server = on(&data, "[queue.orders]\n");
    let caller = Caller::of(&server);
    let page = caller.get("/api/v1/queues/orders/messages").await;
    assert_eq!(page.events(), ["b", "c"]);
    let ack = serde_json::json!({ "lease": lease, "outcome": "ack" }).to_string();
    assert_eq!(caller.settle("orders", &ack).await.status, 200, "the lease is still its holder's");
}

#[tokio::test]
async fn a_stop_lets_those_go_that_wait_and_ends_at_once() {
    let mut server = start("[queue.orders]\n");
    let caller = Caller::of(&server);
    let waiting = caller.clone();
    let waits =
        tokio::spawn(async move { waiting.lease("orders", r#"{"consumer":"w","wait":"50s"}"#).await });
    until(async || caller.depth("orders", "consumers").await == 1, "it waits").await;
    let idle = caller.0.connect().await.expect("connects");
    server.signal("TERM");
    assert!(waits.await.expect("an answer").list().is_empty());
    assert_eq!(server.wait(), Some(0));
    drop(idle);
}

#[tokio::test]
async fn a_second_server_on_the_directory_is_refused_and_says_who_has_it() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let server = on(&data, "[queue.orders]\n");
    let path = data.path().join("data");
    let text = format!("{}{API}data = {path:?}\n[queue.orders]\n", crate::harness::OWN);
    let folder = crate::cli::folder(&text);
    let run = crate::cli::intertie(folder.path(), &["up", "intertie.toml"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.stderr.contains(&format!("in use by process {}", server.process())), "{run:?}");
}

/// The database in the directory, as another program has it.
fn database(data: &tempfile::TempDir) -> rusqlite::Connection {
    let files = std::fs::read_dir(data.path().join("data")).expect("a directory").flatten();
    let mut files = files.map(|file| file.path());
    let is_database = |path: &std::path::PathBuf| {
        std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3"))
    };
    rusqlite::Connection::open(files.find(is_database).expect("a database")).expect("opens")
}

#[tokio::test]
async fn a_message_that_can_not_be_read_is_told_by_its_place_and_the_others_go_on() {
    let data = tempfile::tempdir().expect("a temporary folder");
    {
        let mut server = on(&data, "[queue.orders]\n");
        let caller = Caller::of(&server);
        caller.stored("orders", "a").await;
        caller.stored("orders", "b").await;
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0));
    }
    let damaged = "UPDATE message SET stored = 'long ago' WHERE id = (SELECT min(id) FROM message)";
    database(&data).execute_batch(damaged).expect("written");
    let server = on(&data, "[queue.orders]\n");
    let caller = Caller::of(&server);
    assert!(caller.take("orders").await.answer.text().contains("\"id\":\"b\""));
    let (_, text) = server.admin("/health/detailed").await;
    assert!(text.contains("of queue `orders`"), "{text}");
}

#[tokio::test]
async fn a_store_that_takes_no_writes_is_told_wherever_one_looks() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let server = on(&data, "[queue.orders]\n");
    let caller = Caller::of(&server);
    caller.stored("orders", "a").await;
    assert_eq!(server.admin("/health/ready").await.0, 200);
    assert_eq!(server.metric("intertie_store_serving").await, 1.0);
    let foreign = database(&data);
    foreign.execute_batch("CREATE TABLE foreigner (a)").expect("written");
    drop(foreign);
    let refused = caller.send("orders", "b", &[]).await;
    assert_eq!((refused.status, refused.code()), (503, "ENGINE_UNAVAILABLE"), "{refused:?}");
    assert!(refused.answer.header("retry-after").is_some());
    let (status, text) = server.admin("/health/ready").await;
    assert!(status == 503 && text.contains("another program changed the database"), "{text}");
    let (status, text) = server.admin("/health/detailed").await;
    assert!(status == 503 && text.contains("\"takes_writes\":false"), "{text}");
    assert_eq!(server.metric("intertie_store_serving").await, 0.0);
    // It is read still.
    assert_eq!(caller.ask(Method::GET, "/nowhere", &[], "").await.status, 404);
}
