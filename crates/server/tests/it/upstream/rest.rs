//! Kept connections on which nothing is under way.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::before;
use crate::harness::{Client, Server};

const REQUEST_END: &[u8] = b"\r\n\r\n";
const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Reads a request without a body.
async fn read_request(stream: &mut tokio::net::TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(REQUEST_END) {
        read.push(stream.read_u8().await.expect("a request"));
    }
}

/// What a service does to a connection that rests is noticed at once, long before it has rested for too long.
#[tokio::test]
async fn a_connection_that_is_closed_or_spoken_on_while_it_rests_is_let_go() {
    for unasked in [&b""[..], GOOD] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = Server::start_with("threads = 1", &before(&[address], "idle_timeout = \"10m\"", ""));
        let client = Client::new(server.address);
        let serving = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            for _ in 0..3 {
                read_request(&mut stream).await;
                stream.write_all(GOOD).await.expect("written");
            }
            stream
        };
        let asking = async {
            for _ in 0..3 {
                assert_eq!(client.get("/").await.text(), "ok");
            }
        };
        let (mut stream, ()) = tokio::join!(serving, asking);
        if unasked.is_empty() {
            stream.shutdown().await.expect("closed");
        } else {
            stream.write_all(unasked).await.expect("written");
        }
        let mut byte = [0];
        let end = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut byte)).await;
        // A connection that is closed with something unread is reset.
        assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    }
}
