//! A service that does exactly what it is told to each connection, right or wrong.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// What a service does with connections.
#[derive(Debug, Clone, Copy)]
pub(super) enum Listening {
    /// Takes each and does these steps, then closes it.
    Does(&'static [Step]),
    /// Is not there.
    Refuses,
    /// Lets the kernel take them and never takes them itself.
    LeavesInQueue,
    /// Its queue is full, so that the kernel answers nothing either.
    IsFull,
}

/// What is done on a connection, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Reads one byte, and leaves the others.
    ReadByte,
    /// Reads a request to the end of its body.
    Read,
    /// Reads a request to the end of its head, and a few bytes more.
    ReadHead,
    Say(&'static [u8]),
    /// Again and again until the other side closes, and no faster than it reads.
    SayForEver(&'static [u8]),
    /// One byte after the other, until the other side closes.
    DripForEver(u8),
    /// Says no more, and goes on listening.
    HalfClose,
    Reset,
    /// Does nothing until the other side closes.
    Hang,
    /// Reads nothing, does nothing.
    Ignore,
}

/// The service; what it holds stays as it is until it is dropped.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) address: SocketAddr,
    _held: Vec<Socket>,
}

impl Service {
    pub(super) fn start(listening: Listening) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let address = listener.local_addr().expect("bound").as_socket().expect("an address");
        // What is not read stands soon, and not only after some megabytes.
        listener.set_recv_buffer_size(64 << 10).expect("a socket");
        let mut held = Vec::new();
        match listening {
            Listening::Does(steps) => {
                listener.listen(128).expect("listens");
                let listener = TcpListener::from(listener);
                std::thread::spawn(move || {
                    for stream in listener.incoming().map_while(Result::ok) {
                        std::thread::spawn(move || perform(stream, steps));
                    }
                });
            }
            // The port stays bound, so that nobody else gets it.
            Listening::Refuses => held.push(listener),
            Listening::LeavesInQueue => {
                listener.listen(128).expect("listens");
                held.push(listener);
            }
            Listening::IsFull => {
                listener.listen(0).expect("listens");
                held.push(listener);
                held.extend(fill(address));
            }
        }
        Self { address, _held: held }
    }
}

/// Connects until the kernel answers no more.
fn fill(address: SocketAddr) -> Vec<Socket> {
    let mut held = Vec::new();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let connected = socket.connect_timeout(&address.into(), Duration::from_millis(300));
        held.push(socket);
        if connected.is_err() {
            return held;
        }
        assert!(held.len() < 16, "a queue of none is never full");
    }
}

fn perform(mut stream: TcpStream, steps: &[Step]) {
    stream.set_nodelay(true).expect("a TCP socket");
    for step in steps {
        let done = match *step {
            Step::ReadByte => stream.read_exact(&mut [0]),
            Step::Read => read_request(&mut stream, true),
            Step::ReadHead => read_request(&mut stream, false),
            Step::Say(words) => stream.write_all(words),
            Step::SayForEver(words) => repeat(&mut stream, words, Duration::from_millis(1)),
            Step::DripForEver(byte) => repeat(&mut stream, &[byte], Duration::from_millis(20)),
            Step::HalfClose => stream.shutdown(Shutdown::Write),
            Step::Reset => SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
            Step::Hang => std::io::copy(&mut stream, &mut std::io::sink()).map(drop),
            Step::Ignore => loop {
                std::thread::park();
            },
        };
        if done.is_err() {
            return;
        }
    }
}

fn repeat(stream: &mut TcpStream, words: &[u8], pause: Duration) -> std::io::Result<()> {
    loop {
        stream.write_all(words)?;
        std::thread::sleep(pause);
    }
}

fn read_request(stream: &mut TcpStream, whole: bool) -> std::io::Result<()> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest);
            let length: usize = length.lines().next().unwrap_or("0").parse().expect("a length");
            if !whole || body.len() >= length {
                return Ok(());
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
