//! Another file takes effect, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::{Method, StatusCode};
use http_body_util::BodyExt;

use crate::harness::{Client, Origin, Reply, Server, answer, full, until};

/// `number` makes each version of the file different in a route that nobody asks for.
fn version(origin: &Origin, number: u32) -> String {
    format!(
        "[policy.standard]\nrate_limiter = {{ limit = \"5/h\", burst = 5, by = \"header:X-Caller\" }}\n\
         circuit_breaker = {{ preset = \"sensitive\", open = \"1h\" }}\nretry = {{ attempts = 2, base = \"1ms\" }}\n\
         bulkhead = {{ concurrent = 500 }}\n\n\
         [service.origin]\nendpoints = [{{ at = \"{0}\" }}]\n\n\
         [service.broken]\nendpoints = [{{ at = \"{0}\", weight = {1} }}]\n\n\
         [route.\"/ok\"]\nto = \"origin\"\nuse = \"standard\"\nrate_limiter = \"off\"\n\n\
         [route.\"/limited\"]\nto = \"origin\"\nuse = \"standard\"\n\n\
         [route.\"/broken\"]\nto = \"broken\"\ncircuit_breaker = {{ preset = \"sensitive\", open = \"1h\" }}\n\n\
         [route.\"/unused-{2}\"]\nto = \"origin\"\n",
        origin.address,
        number % 7 + 1,
        number
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_under_load_lose_no_request_and_no_state() {
    let origin = Origin::start(|request| async move {
        match request.path.as_str() {
            "/broken" => answer(500, &[], ""),
            _ => answer(200, &[], "ok"),
        }
    })
    .await;
    let server = Server::start(&version(&origin, 0));
    let client = Client::new(server.address);
    for _ in 0..5 {
        assert_eq!(client.get("/broken").await.status, 500);
    }
    for _ in 0..3 {
        assert_eq!(client.get_with("/limited", &[("x-caller", "a")]).await.status, 200);
    }
    server.wait_for("circuit_breaker_opened");

    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU64::new(0));
    let load: Vec<_> =
        (0..4).map(|_| tokio::spawn(load(server.address, Arc::clone(&stop), Arc::clone(&served)))).collect();
    for number in 1..=1_000_u32 {
        server.rewrite("", &version(&origin, number));
        server.signal("HUP");
        server.wait_for_nth("config_reloaded", number as usize);
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("no request failed");
    }
    assert!(served.load(Ordering::Relaxed) > 1_000, "{served:?} requests were served meanwhile");
    assert_eq!(client.get("/broken").await.code(), "CIRCUIT_OPEN", "the breaker is as it was");
    let mut admitted = 0;
    while client.get_with("/limited", &[("x-caller", "a")]).await.status == 200 {
        admitted += 1;
    }
    assert_eq!(admitted, 2, "the bucket is as it was: 3 of 5 were taken");
    assert_eq!(client.get("/unused-1000").await.status, 200, "the last file is in force");
    assert_eq!(client.get("/unused-999").await.status, 404);
}

/// Requests on kept connections until told to stop; any failure is a panic.
async fn load(address: std::net::SocketAddr, stop: Arc<AtomicBool>, served: Arc<AtomicU64>) {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("handshake");
    tokio::spawn(connection);
    while !stop.load(Ordering::Relaxed) {
        let request =
            http::Request::builder().method(Method::GET).uri("/ok").header("host", "a").body(full(""));
        sender.ready().await.expect("the connection stays open");
        let response = sender.send_request(request.expect("a request")).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "ok");
        served.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_bad_file_is_refused_whole_and_the_old_one_stays() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&version(&origin, 0));
    let client = Client::new(server.address);
    for bad in ["[route.\"/new\"]\nto = \"nowhere\"\n", "[route", ""] {
        server.rewrite("", bad);
        server.signal("HUP");
    }
    server.wait_for_nth("config_refused", 3);
    assert_eq!(client.get("/unused-0").await.status, 200);
    assert_eq!(client.get("/new").await.status, 404);
    std::fs::remove_file(&server.file).expect("removed");
    server.signal("HUP");
    server.wait_for_nth("config_refused", 4);
    assert_eq!(client.get("/unused-0").await.status, 200);
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_a_signal() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&version(&origin, 0));
    server.rewrite("", &version(&origin, 1));
    let line = server.wait_for("config_reloaded");
    assert!(line.contains("the file changed"), "{line}");
    assert_eq!(Client::new(server.address).get("/unused-1").await.status, 200);
}

#[tokio::test]
async fn what_needs_a_restart_is_said() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&version(&origin, 0));
    server.rewrite("[server.client_limits]\nconnections_max = 7", &version(&origin, 0));
    let line = server.wait_for("config_reloaded");
    assert!(line.contains("needs_restart=client_limits"), "{line}");
    let keys = "trusted_proxies = [\"::1\"]\nforwarded_header = \"forwarded\"\nproxy_protocol = \"required\"\n\
                [server.answers]\nname = \"edge\"\n";
    server.rewrite(keys, &version(&origin, 0));
    let line = server.wait_for_nth("config_reloaded", 2);
    assert!(line.contains("needs_restart=answers,trusted_proxies,forwarded_header,proxy_protocol"), "{line}");
}

#[tokio::test]
async fn requests_under_way_end_under_the_file_they_began_with() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let leave = Arc::clone(&gate);
    let origin = Origin::start(move |_| {
        let leave = Arc::clone(&leave);
        async move {
            leave.acquire().await.expect("open").forget();
            Reply::Answer(http::Response::new(full("late")))
        }
    })
    .await;
    let server = Server::start(&version(&origin, 0));
    let client = Client::new(server.address);
    let under_way = tokio::spawn(async move { client.get("/unused-0").await });
    until(async || !origin.received().is_empty(), "the request arrives").await;
    server.rewrite("", &version(&origin, 1));
    server.wait_for("config_reloaded");
    gate.add_permits(1);
    assert_eq!(under_way.await.expect("no panic").text(), "late");
}
