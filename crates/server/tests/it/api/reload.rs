//! Another file, and what becomes of queues.

use super::{API, Caller, start};
use crate::harness::until;

#[tokio::test]
async fn a_queue_that_is_new_is_there_after_a_reload_and_one_that_went_stays_with_what_it_holds() {
    let server = start("[queue.orders]\n[queue.old]\n");
    let caller = Caller::of(&server);
    caller.stored("old", "kept").await;
    assert_eq!(caller.send("fresh", "1", &[]).await.status, 404);
    server.rewrite(API, "[queue.orders]\nmessage_bytes_max = \"1KiB\"\n[queue.fresh]\n");
    server.signal("HUP");
    let reloaded = server.wait_for("config_reloaded");
    assert!(!reloaded.contains("needs_restart"), "{reloaded}");
    caller.stored("fresh", "1").await;
    let told = server.wait_for("queues_undeclared");
    assert!(told.contains("queues=old") && !told.contains("orders"), "{told}");
    assert_eq!(caller.take("old").await.events(), ["kept"]);
    let large = [("ce-subject", "x".repeat(2000))];
    let large = [(large[0].0, large[0].1.as_str())];
    assert_eq!(caller.send("orders", "2", &large).await.code(), "MESSAGE_TOO_LARGE");
}

#[tokio::test]
async fn a_change_that_can_not_be_is_refused_whole() {
    let server = start("[queue.a]\n[queue.b]\n");
    let caller = Caller::of(&server);
    caller.stored("b", "1").await;
    let small = "message_bytes_max = \"1KiB\"";
    server.rewrite(API, &format!("[queue.a]\n{small}\n[queue.b]\ngroups = true\n"));
    server.signal("HUP");
    let refused = server.wait_for("config_refused");
    assert!(refused.contains("`b` can not be what the file says"), "{refused}");
    assert!(server.count("the queue holds 1 messages") > 0 && server.count("groups = true") > 0);
    let large = "x".repeat(2000);
    let sent = caller.send("a", "2", &[("ce-subject", &large)]).await;
    assert_eq!(sent.status, 201, "what came before it is as it was: {sent:?}");
}

#[tokio::test]
async fn another_address_or_directory_needs_a_restart() {
    let server = start("[queue.a]\n");
    server.rewrite(&format!("{API}data = \"elsewhere\"\n"), "[queue.a]\n");
    server.signal("HUP");
    let reloaded = server.wait_for("config_reloaded");
    assert!(reloaded.ends_with("needs_restart=data"), "{reloaded}");
}

#[tokio::test]
async fn a_queue_that_deleted_itself_is_there_again_after_a_reload() {
    let queues = "[queue.a]\nauto_delete = \"200ms\"\nvisibility_timeout = \"100ms\"\n";
    let server = start(queues);
    let caller = Caller::of(&server);
    until(async || caller.get("/api/v1/queues/a").await.status == 404, "it deletes itself").await;
    server.rewrite(API, &format!("{queues}[queue.b]\n"));
    server.signal("HUP");
    server.wait_for("config_reloaded");
    assert_eq!(caller.get("/api/v1/queues/b").await.status, 200);
    let is_there = async || {
        server.signal("HUP");
        caller.get("/api/v1/queues/a").await.status == 200
    };
    until(is_there, "it is there").await;
}
