//! Services of HTTP/2 whose answers come when nobody waits for them any more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::before;
use super::frames::{ACK, END_STREAM, Frame, HEADERS, PING, RST_STREAM, SETTINGS};
use crate::harness::{Client, Server, free_port, services, until};

/// More requests than heads may come for one: with one stream at a time, each of these ends before the next.
const CANCELLED: usize = 40;

/// A service that answers the first [`CANCELLED`] requests together when the last of them was cancelled, and all
/// others at once; and how many requests came, and how many were cancelled.
fn late() -> (SocketAddr, Arc<[AtomicUsize; 2]>) {
    let (listener, address) = free_port();
    let seen = Arc::<[AtomicUsize; 2]>::default();
    let told = Arc::clone(&seen);
    services().spawn(async move {
        let listener = TcpListener::from_std(listener).expect("a socket");
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&told)));
        }
    });
    (address, seen)
}

async fn answer(mut stream: TcpStream, seen: Arc<[AtomicUsize; 2]>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.read_exact(&mut [0; 24]).await?;
    Frame::new(SETTINGS, 0, 0, &[]).write(&mut stream).await?;
    let mut cancelled = Vec::new();
    loop {
        let frame = Frame::read(&mut stream).await?;
        let ok = |flags, number| Frame { stream: number, ..Frame::ok(flags) };
        for (count, kind) in seen.iter().zip([HEADERS, RST_STREAM]) {
            count.fetch_add(usize::from(frame.kind == kind), Ordering::SeqCst);
        }
        match frame.kind {
            SETTINGS | PING if frame.flags & ACK == 0 => {
                let payload = if frame.kind == PING { frame.payload } else { Vec::new() };
                Frame::new(frame.kind, ACK, 0, &payload).write(&mut stream).await?;
            }
            HEADERS if cancelled.len() >= CANCELLED => {
                ok(END_STREAM, frame.stream).write(&mut stream).await?;
            }
            RST_STREAM => {
                cancelled.push(frame.stream);
                if cancelled.len() == CANCELLED {
                    for number in &cancelled {
                        ok(0, *number).write(&mut stream).await?;
                    }
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn answers_to_cancelled_requests_are_not_unasked() {
    let service = "protocol = \"http2\"\nhttp2 = { streams_max = 1, connections_max = 1 }";
    let (address, seen) = late();
    let server = Server::start(&format!("threads = 1\n\n{}", before(&[address], service, "")));
    for number in 1..=CANCELLED {
        let mut client = Client::new(server.address).connect().await.expect("connects");
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
        let [requests, cancelled] = &*seen;
        until(async || requests.load(Ordering::SeqCst) == number, "it is asked").await;
        drop(client);
        until(async || cancelled.load(Ordering::SeqCst) >= number, "it is cancelled").await;
    }
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    assert_eq!(server.count("answer_refused"), 0);
    assert_eq!(seen[0].load(Ordering::SeqCst), CANCELLED + 1, "nothing was sent twice");
}
