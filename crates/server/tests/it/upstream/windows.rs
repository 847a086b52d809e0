//! Services of HTTP/2 that take a body in small steps, each of which opens their windows.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::before;
use super::frames::{ACK, DATA, END_STREAM, Frame, PING, SETTINGS, WINDOW_UPDATE};
use crate::harness::{Client, Server, free_port, full, services};

/// More than [`STEP`]s for as many updates as come without a reason.
const BODY_BYTES: usize = 60_000_000;
/// What Go's `net/http` lets gather before it opens the windows.
const STEP: usize = 4096;

/// A service that takes each body in steps, and answers with its end.
fn steady() -> SocketAddr {
    let (listener, address) = free_port();
    services().spawn(async move {
        let listener = TcpListener::from_std(listener).expect("a socket");
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take(stream));
        }
    });
    address
}

async fn take(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.read_exact(&mut [0; 24]).await?;
    Frame::new(SETTINGS, 0, 0, &[]).write(&mut stream).await?;
    let update = u32::try_from(STEP).expect("short").to_be_bytes();
    let mut untold = 0;
    loop {
        let frame = Frame::read(&mut stream).await?;
        match frame.kind {
            SETTINGS | PING if frame.flags & ACK == 0 => {
                let payload = if frame.kind == PING { frame.payload } else { Vec::new() };
                Frame::new(frame.kind, ACK, 0, &payload).write(&mut stream).await?;
            }
            DATA => {
                untold += frame.payload.len();
                while untold >= STEP {
                    untold -= STEP;
                    for number in [0, frame.stream] {
                        Frame::new(WINDOW_UPDATE, 0, number, &update).write(&mut stream).await?;
                    }
                }
                if frame.flags & END_STREAM != 0 {
                    let mut answer = Frame::ok(END_STREAM);
                    answer.stream = frame.stream;
                    answer.write(&mut stream).await?;
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_body_that_is_taken_in_small_steps_is_no_flood() {
    // However long it takes here, all of it is in one window.
    let limits = "[server.client_limits]\nhttp2 = { flood_window = \"1h\" }\n\n";
    let server = Server::start(&format!("{limits}{}", before(&[steady()], "protocol = \"http2\"", "")));
    let request = http::Request::post("/").body(full(vec![b'x'; BODY_BYTES])).expect("a request");
    let answer = Client::new(server.address).send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(server.count("answer_refused"), 0);
}
