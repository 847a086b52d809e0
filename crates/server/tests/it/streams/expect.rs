//! `Expect: 100-continue`.

use tokio::io::AsyncWriteExt;

use super::{Played, bytes, chatting, client, head, is_silent, rest};
use crate::harness::{Client, Server, until};

const UPLOAD: &str =
    "POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const DONE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";

#[tokio::test]
async fn a_client_is_told_to_go_on_once_a_service_takes_its_request() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, "retry = \"quick\""));
    for expectation in ["100-continue", "100-Continue"] {
        let mut client = client(&server, &UPLOAD.replace("100-continue", expectation)).await;
        let (mut service, asked) = played.asked().await;
        assert!(!asked.contains("expect"), "it was met already: {asked}");
        assert_eq!(head(&mut client).await, CONTINUE);
        client.write_all(b"body").await.expect("written");
        assert_eq!(bytes(&mut service, 4).await, b"body");
        service.write_all(DONE).await.expect("written");
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("done"), "{answer}");
        service.set_zero_linger().expect("a TCP socket");
    }
}

#[tokio::test]
async fn no_client_is_told_to_go_on_before_there_is_a_place_for_it() {
    let mut played = Played::start().await;
    let keys = "bulkhead = { concurrent = 1, queue = 1, wait = \"10s\" }";
    let server = Server::start(&chatting(played.address, keys));
    let first = client(&server, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut service, _) = played.asked().await;
    let mut waiting = client(&server, UPLOAD).await;
    let series = "intertie_bulkhead_waiting{service=\"origin\"}";
    until(async || server.metric(series).await == 1.0, "it waits for a place").await;
    assert!(is_silent(&waiting).await, "nobody takes its body yet");
    service.write_all(DONE).await.expect("written");
    assert_eq!(head(&mut waiting).await, CONTINUE);
    drop(first);
}

#[tokio::test]
async fn a_refusal_comes_in_place_of_100_and_not_after_it() {
    let mut played = Played::start().await;
    let server = Server::start(&format!(
        "[service.nobody]\nendpoints = [{{ at = \"127.0.0.1:1\" }}]\n{}\n\
         [route.\"/short\"]\nto = \"origin\"\nbody_max = \"3B\"\n\
         [route.\"/limited\"]\nto = \"origin\"\nrate_limiter = {{ limit = \"1/h\" }}\n\
         [route.\"GET /read\"]\nto = \"origin\"\n\
         [route.\"/gone\"]\nto = \"nobody\"\n",
        chatting(played.address, "").replace("\"/**\"", "\"/up/**\"")
    ));
    let spend = client(&server, "GET /limited HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let (mut spend, (mut service, _)) = tokio::join!(spend, played.asked());
    service.write_all(DONE).await.expect("written");
    rest(&mut spend).await;
    for (path, status) in
        [("/short", 413), ("/limited", 429), ("/nowhere", 404), ("/read", 405), ("/gone", 502)]
    {
        let request = UPLOAD.replace("/up", path).replace("connection: close\r\n", "");
        let mut client = client(&server, &request).await;
        let answer = rest(&mut client).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "the body may still come: {answer}");
    }
}

#[tokio::test]
async fn an_http2_client_need_not_wait() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, ""));
    let request =
        http::Request::post("/up").header("expect", "100-continue").body(crate::harness::full("body"));
    let asking = Client::new(server.address).http2();
    let answering = async {
        let (mut service, asked) = played.asked().await;
        assert!(!asked.contains("expect"), "{asked}");
        service.write_all(DONE).await.expect("written");
        service
    };
    let (answer, _service) = tokio::join!(asking.send(request.expect("a request")), answering);
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
}
