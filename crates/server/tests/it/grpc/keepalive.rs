//! PING from gRPC's clients: the gateway answers, on a stream on which nothing else happens.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{PYTHON, Service, folder, gateway};
use crate::clients::packages::Language;
use crate::harness::{PATIENCE, until};

/// The type and the flag of an answer to PING.
const ANSWER: [u8; 2] = [6, 1];

/// Carries one connection to `server`, and counts the answers to PING that come back.
async fn relay(listener: TcpListener, server: SocketAddr, answers: Arc<AtomicUsize>) {
    let (client, _) = listener.accept().await.expect("accepts");
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await.expect("connects").into_split();
    let there = tokio::io::copy(&mut from_client, &mut to_server);
    let back = async {
        let mut head = [0; 9];
        while from_server.read_exact(&mut head).await.is_ok() {
            let mut frame = head.to_vec();
            frame.resize(9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize, 0);
            from_server.read_exact(&mut frame[9..]).await?;
            answers.fetch_add(usize::from(frame[3..5] == ANSWER), Ordering::Relaxed);
            to_client.write_all(&frame).await?;
        }
        std::io::Result::Ok(())
    };
    // Whoever ends the connection, it ends.
    tokio::select! {
        _ = there => {}
        _ = back => {}
    }
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_by_pings() {
    let folder = folder();
    let script = folder.path().join("keepalive.py");
    std::fs::write(&script, include_str!("keepalive.py")).expect("written");
    let service = Service::start(folder.path(), "service").await;
    let server = gateway(folder, service.plain, "protocol = \"http2\"");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut command = Language::python(PYTHON).await.command(&script);
    command.arg(listener.local_addr().expect("bound").to_string());
    let answers = Arc::new(AtomicUsize::new(0));
    let relay = tokio::spawn(relay(listener, server.address, Arc::clone(&answers)));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
    let open = tokio::time::timeout(PATIENCE, said.next_line()).await.expect("soon").expect("UTF-8");
    assert_eq!(open.as_deref(), Some("open"));
    until(async || answers.load(Ordering::Relaxed) >= 5, "five answers to PING").await;
    child.stdin.take().expect("piped").write_all(b"go on\n").await.expect("it listens");
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("soon").expect("it ends");
    assert!(ended.success(), "its stream did not last");
    relay.await.expect("it ends with its connection");
}
