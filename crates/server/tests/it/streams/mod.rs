//! Exchanges without an end of their own: tunnels, other protocols after an upgrade, events, bodies that wait.

mod connect;
mod connect_http2;
mod dripping;
mod events;
mod expect;
mod lies;
mod slow;
mod upgrades;
mod websocket_version;
mod websockets_http2;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::harness::{Client, PATIENCE, Server};

/// A request that asks for the protocol `chat`.
const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
/// The answer that grants it.
const GRANT: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";

/// A service that a test plays itself, connection by connection.
struct Played {
    address: SocketAddr,
    connections: mpsc::UnboundedReceiver<TcpStream>,
}

impl Played {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (sender, connections) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("a TCP socket");
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { address, connections }
    }

    /// The next connection.
    async fn next(&mut self) -> TcpStream {
        soon(self.connections.recv()).await.expect("the service listens")
    }

    /// The next connection with the head of its first request.
    async fn asked(&mut self) -> (TcpStream, String) {
        let mut stream = self.next().await;
        let head = head(&mut stream).await;
        (stream, head)
    }
}

/// One route `/**` to `address`, with `keys` of its own, on which `chat` may be spoken.
fn chatting(address: SocketAddr, keys: &str) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{address}\" }}]\n\n\
         [route.\"/**\"]\nto = \"origin\"\nupgrade = [\"websocket\", \"chat\"]\n{keys}\n"
    )
}

/// What happens soon, or the test fails.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens soon")
}

/// The head that comes next, and not a byte of what follows it.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    soon(async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
    })
    .await;
    String::from_utf8(head).expect("ASCII")
}

/// The next `length` bytes.
async fn bytes(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    soon(stream.read_exact(&mut bytes)).await.expect("as many bytes");
    bytes
}

/// All that comes until the other side ends.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.expect("an orderly end");
    String::from_utf8(bytes).expect("ASCII")
}

/// Hears the other side fail, without a word before.
async fn hear_failure(stream: &mut TcpStream) {
    let mut heard = Vec::new();
    let error = soon(stream.read_to_end(&mut heard)).await.expect_err("no orderly end");
    assert_eq!((error.kind(), heard.len()), (std::io::ErrorKind::ConnectionReset, 0));
}

/// Has the other side see a failure.
fn fail(stream: TcpStream) {
    stream.set_zero_linger().expect("a TCP socket");
    drop(stream);
}

/// A client of `server` that has said `words`.
async fn client(server: &Server, words: &str) -> TcpStream {
    let mut stream = Client::new(server.address).connect().await.expect("connects");
    stream.write_all(words.as_bytes()).await.expect("written");
    stream
}

/// A client and the service that it speaks `chat` to.
async fn chat(server: &Server, service: &mut Played) -> (TcpStream, TcpStream) {
    let mut client = client(server, ASK).await;
    let (mut service, _) = service.asked().await;
    service.write_all(GRANT.as_bytes()).await.expect("written");
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
    (client, service)
}

/// Says `words` on one side, and hears them on the other.
async fn pass(from: &mut TcpStream, to: &mut TcpStream, words: &str) {
    from.write_all(words.as_bytes()).await.expect("written");
    assert_eq!(bytes(to, words.len()).await, words.as_bytes());
}

/// Says what HTTP would not take, both ways; then each side ends what it says, the service last.
async fn pass_anything(mut client: TcpStream, mut service: TcpStream) {
    let odd = "GET / HTTP/1.1\nx : y\r\n\r\n\0HTTP/1.1 200 OK\r\n\r\n";
    pass(&mut client, &mut service, odd).await;
    pass(&mut service, &mut client, odd).await;
    client.shutdown().await.expect("half closed");
    assert_eq!(rest(&mut service).await, "");
    pass(&mut service, &mut client, "what was left to say").await;
    drop(service);
    assert_eq!(rest(&mut client).await, "");
}

/// Whether nothing comes for a while, which no test can wait out for ever.
async fn is_silent(stream: &TcpStream) -> bool {
    tokio::time::timeout(Duration::from_millis(200), stream.peek(&mut [0])).await.is_err()
}

/// The series of a route's metric.
fn of_route(name: &str, labels: &str) -> String {
    format!("intertie_{name}{{route=\"/**\"{labels}}}")
}
