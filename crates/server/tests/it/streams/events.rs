//! Server-sent events: an answer that has no end of its own.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Played, bytes, chatting, client, head, rest};
use crate::harness::Server;

const ASK: &str = "GET /events HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n";
const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A client that hears the events of a service.
async fn listen(server: &Server, played: &mut Played) -> (TcpStream, TcpStream) {
    let mut client = client(server, ASK).await;
    let (mut service, _) = played.asked().await;
    service.write_all(HEAD).await.expect("written");
    assert!(head(&mut client).await.contains("content-type: text/event-stream\r\n"));
    (client, service)
}

/// Says an event, and hears it before there is another.
async fn tell(service: &mut TcpStream, client: &mut TcpStream, number: usize) {
    let event = format!("data: {number}\n\n");
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    service.write_all(chunk.as_bytes()).await.expect("written");
    let heard = bytes(client, chunk.len()).await;
    assert!(String::from_utf8_lossy(&heard).contains(&event), "{heard:?}");
}

#[tokio::test]
async fn each_event_comes_before_the_next_is_there_until_the_service_ends() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, "deadline = \"off\"\nattempt_timeout = \"500ms\""));
    let (mut client, mut service) = listen(&server, &mut played).await;
    for number in 1..=20 {
        tell(&mut service, &mut client, number).await;
    }
    service.write_all(b"0\r\n\r\n").await.expect("written");
    assert_eq!(bytes(&mut client, 5).await, b"0\r\n\r\n");
}

#[tokio::test]
async fn a_service_hears_that_its_listener_left() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, "deadline = \"off\""));
    let (mut client, mut service) = listen(&server, &mut played).await;
    tell(&mut service, &mut client, 1).await;
    drop(client);
    assert_eq!(rest(&mut service).await, "");
}

#[tokio::test]
async fn a_deadline_ends_the_events_for_both() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, "deadline = \"700ms\""));
    let (mut client, mut service) = listen(&server, &mut played).await;
    tell(&mut service, &mut client, 1).await;
    let began = std::time::Instant::now();
    assert_eq!(rest(&mut client).await, "", "no chunk that would pass for the last one");
    assert_eq!(rest(&mut service).await, "");
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}
