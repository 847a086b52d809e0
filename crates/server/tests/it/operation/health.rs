//! `intertie health`.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{binary, file};
use crate::harness::{Client, Origin, Reply, Server, answer, until};

fn health(file: &Path) -> Output {
    binary().arg("health").arg(file).output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_until_it_drains_and_then_nobody_answers() {
    let (arrived, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (arriving, leave) = (Arc::clone(&arrived), Arc::clone(&gate));
    let origin = Origin::start(move |_| {
        arriving.add_permits(1);
        let leave = Arc::clone(&leave);
        async move {
            leave.acquire().await.expect("open").forget();
            answer(200, &[], "late")
        }
    })
    .await;
    let mut server = Server::start(&super::traffic(&origin));
    // The file that people have names the port.
    let asked = server.folder.path().join("asked.toml");
    let admin = format!("admin = \"{}\"", server.admin);
    std::fs::write(&asked, file(&origin, "").replace("admin = \"127.0.0.1:0\"", &admin)).expect("written");
    let ready = health(&asked);
    assert_eq!(ready.status.code(), Some(0), "{ready:?}");
    assert_eq!(String::from_utf8_lossy(&ready.stdout), "200 OK {\"status\":\"ready\"}\n");

    let client = Client::new(server.address);
    let under_way = tokio::spawn(async move { client.get("/").await });
    arrived.acquire().await.expect("open").forget();
    server.signal("TERM");
    server.wait_for("drain_began");
    until(async || health(&asked).status.code() == Some(1), "it is not ready any more").await;
    let draining = String::from_utf8(health(&asked).stdout).expect("UTF-8");
    assert!(draining.starts_with("503 Service Unavailable {\"status\":\"draining\"}"), "{draining}");
    gate.add_permits(1);
    assert_eq!(under_way.await.expect("no panic").text(), "late");
    assert_eq!(server.wait(), Some(0));
    let gone = health(&asked);
    assert_eq!(gone.status.code(), Some(1));
    let said = String::from_utf8(gone.stderr).expect("UTF-8");
    assert!(said.starts_with(&format!("error: no answer from {}: ", server.admin)), "{said}");
    std::fs::write(&asked, "[route").expect("written");
    assert_eq!(health(&asked).status.code(), Some(2));
}

#[tokio::test]
async fn who_answers_otherwise_is_not_ready() {
    let other = Origin::start(|_| async { Reply::Close }).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("intertie.toml");
    let admin = format!("admin = \"{}\"", other.address);
    std::fs::write(&path, file(&other, "").replace("admin = \"127.0.0.1:0\"", &admin)).expect("written");
    let asked = tokio::task::spawn_blocking(move || health(&path)).await.expect("no panic");
    assert_eq!(asked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&asked.stderr).contains("the answer is no HTTP"), "{asked:?}");
}
