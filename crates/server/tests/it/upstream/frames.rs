//! Frames of HTTP/2, for a service that lies.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const ACK: u8 = 1;

pub(super) const NO_ERROR: u32 = 0;
pub(super) const INTERNAL_ERROR: u32 = 2;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;
pub(super) const HTTP_1_1_REQUIRED: u32 = 13;

#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Self { kind, flags, stream, payload: payload.to_vec() }
    }

    /// An answer of status 200 without other headers; the byte is its place in HPACK's static table.
    pub(super) fn ok(flags: u8) -> Self {
        Self::new(HEADERS, END_HEADERS | flags, 0, &[0x88])
    }

    /// Trailers without compression: `grpc-status: 0`.
    pub(super) fn no_error() -> Self {
        Self::new(HEADERS, END_HEADERS | END_STREAM, 0, b"\x00\x0bgrpc-status\x010")
    }

    pub(super) fn reset(code: u32) -> Self {
        Self::new(RST_STREAM, 0, 0, &code.to_be_bytes())
    }

    pub(super) fn go_away(last_stream: u32, code: u32) -> Self {
        Self::new(GOAWAY, 0, 0, &[last_stream.to_be_bytes(), code.to_be_bytes()].concat())
    }

    pub(super) async fn read(stream: &mut TcpStream) -> std::io::Result<Self> {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Ok(Self { kind: head[3], flags: head[4], stream: id, payload })
    }

    pub(super) async fn write(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let length = u32::try_from(self.payload.len()).expect("short");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        stream.write_all(&bytes).await
    }
}

/// Lets the other side send as much as it likes.
pub(super) async fn open_wide(stream: &mut TcpStream) -> std::io::Result<()> {
    let window = (1_u32 << 30).to_be_bytes();
    Frame::new(SETTINGS, 0, 0, &[&[0, 4], &window[..]].concat()).write(stream).await?;
    Frame::new(WINDOW_UPDATE, 0, 0, &window).write(stream).await
}

/// Begins to speak HTTP/2 as a client and asks for `/`, by GET, or by POST with a body that goes on.
pub(super) async fn begin(stream: &mut TcpStream, with_body: bool) -> std::io::Result<()> {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    Frame::new(SETTINGS, 0, 0, &[]).write(stream).await?;
    let (method, end) = if with_body { (0x83, 0) } else { (0x82, END_STREAM) };
    // Places in HPACK's static table: the method, `http`, `/`; and an authority of one letter.
    let head = [method, 0x86, 0x84, 0x41, 1, b'a'];
    Frame::new(HEADERS, END_HEADERS | end, 1, &head).write(stream).await?;
    if with_body { Frame::new(DATA, 0, 1, b"a beginning").write(stream).await } else { Ok(()) }
}
