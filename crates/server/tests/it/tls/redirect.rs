//! The listener without TLS.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::Client as TlsClient;
use super::shop;
use crate::harness::Client;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn every_request_is_sent_to_tls() {
    let (server, _authority, origin) = shop("redirect = [\"127.0.0.1:0\"]").await;
    let host = [("host", "shop.example:80")];
    let answer = Client::new(server.redirect).get_with("/a?b=c", &host).await;
    let port = server.tls.port();
    let expected = format!("https://shop.example:{port}/a?b=c");
    assert_eq!((answer.status, answer.header("location")), (308, Some(expected.as_str())));
    let answer = Client::new(server.redirect).post("/a", &host, "a body").await;
    assert_eq!(answer.status, 308);
    let answer = Client::new(server.redirect).http2().get("/a").await;
    assert_eq!(answer.header("location"), Some(format!("https://127.0.0.1:{port}/a").as_str()));
    let answer = Client::new(server.redirect).get_with("/a", &[("host", "")]).await;
    assert_eq!((answer.status, answer.header("location")), (400, None));
    assert!(origin.received().is_empty(), "nothing is passed on");
    assert_eq!(server.metric("intertie_tls_redirects_total").await, 4.0);
}

#[tokio::test]
async fn the_port_may_be_that_of_somebody_in_front() {
    let (server, _authority, _origin) = shop("redirect = [\"127.0.0.1:0\"]\nredirect_port = 443").await;
    let answer = Client::new(server.redirect).get_with("/", &[("host", "shop.example")]).await;
    assert_eq!(answer.header("location"), Some("https://shop.example/"));
}

/// What can be read in two ways is refused wherever it comes in, and never sent anywhere.
#[tokio::test]
async fn messages_in_doubt_are_refused_with_tls_and_without() {
    let (server, authority, origin) = shop("redirect = [\"127.0.0.1:0\"]").await;
    let doubtful =
        b"POST /a HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n";
    let secured = TlsClient::new(&authority).connect(server.tls).await.expect("connects");
    let plain = TcpStream::connect(server.redirect).await.expect("connects");
    for answer in [refusal(secured, doubtful).await, refusal(plain, doubtful).await] {
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert!(origin.received().is_empty(), "nothing is passed on");
    assert_eq!(server.metric("intertie_tls_redirects_total").await, 0.0);
}

async fn refusal(mut stream: impl AsyncRead + AsyncWrite + Unpin, message: &[u8]) -> String {
    stream.write_all(message).await.expect("written");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // Without a farewell of TLS the end is an error; what came before is what counts.
    drop(read.expect("the server closes"));
    String::from_utf8_lossy(&answer).into_owned()
}
