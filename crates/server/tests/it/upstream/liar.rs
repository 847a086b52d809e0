//! A service that speaks HTTP/2 frame by frame, and does what its script says with each request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::frames::{self, ACK, DATA, END_STREAM, Frame, HEADERS, PING, RST_STREAM, SETTINGS};
use crate::harness::{free_port, services};

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(super) enum Lie {
    /// It is answered with 200.
    Answer,
    /// These frames are sent, with its stream's number in place of 0 where they belong to a stream.
    Frames(Vec<Frame>),
    /// These frames are sent and the connection is closed.
    FramesAndClose(Vec<Frame>),
    /// Some frames are sent at once, and others when so many bytes of its body are there.
    After { first: Vec<Frame>, bytes: usize, then: Vec<Frame> },
    /// Some frames are sent at once, and others when the gate lets it through; until then nothing is read.
    Gated { first: Vec<Frame>, gate: Arc<Semaphore>, then: Vec<Frame> },
    /// Each part of its body with data is sent back, and its end answered by trailers.
    Echo,
    /// Nothing is read any more, though the windows are opened wide.
    Deaf,
}

/// A service that lies.
pub(super) struct Liar {
    pub(super) address: SocketAddr,
    log: Arc<Log>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    connections: AtomicUsize,
    frames: Mutex<Vec<Frame>>,
}

impl Liar {
    /// Does with each request what comes next in `script`, and answers all after its end.
    pub(super) async fn start(script: &[Lie]) -> Self {
        let (listener, address) = free_port();
        let script = Arc::new(Mutex::new(VecDeque::from(script.to_vec())));
        let log = Arc::<Log>::default();
        let told = Arc::clone(&log);
        let task = services().spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                told.connections.fetch_add(1, Ordering::SeqCst);
                let (script, told) = (Arc::clone(&script), Arc::clone(&told));
                connections.spawn(async move { speak(stream, &script, &told).await });
            }
        });
        Self { address, log, task }
    }

    pub(super) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    /// All frames of `kind` that came so far.
    pub(super) fn frames(&self, kind: u8) -> Vec<Frame> {
        let frames = self.log.frames.lock().expect("unpoisoned");
        frames.iter().filter(|frame| frame.kind == kind).cloned().collect()
    }

    /// Requests that came so far.
    pub(super) fn requests(&self) -> usize {
        self.frames(HEADERS).len()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn speak(mut stream: TcpStream, script: &Mutex<VecDeque<Lie>>, log: &Log) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    Frame::new(SETTINGS, 0, 0, &[]).write(&mut stream).await?;
    let mut waiting: Option<(usize, Vec<Frame>)> = None;
    let mut echoes = false;
    loop {
        let frame = Frame::read(&mut stream).await?;
        log.frames.lock().expect("unpoisoned").push(frame.clone());
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => {
                Frame::new(SETTINGS, ACK, 0, &[]).write(&mut stream).await?;
            }
            PING if frame.flags & ACK == 0 => {
                Frame::new(PING, ACK, 0, &frame.payload).write(&mut stream).await?;
            }
            HEADERS => {
                let lie = script.lock().expect("unpoisoned").pop_front().unwrap_or(Lie::Answer);
                let (frames, close) = match lie {
                    Lie::Answer => (vec![Frame::ok(END_STREAM)], false),
                    Lie::Frames(frames) => (frames, false),
                    Lie::FramesAndClose(frames) => (frames, true),
                    Lie::After { first, bytes, then } => {
                        waiting = Some((bytes, then));
                        (first, false)
                    }
                    Lie::Gated { first, gate, then } => {
                        write(&mut stream, first, frame.stream).await?;
                        gate.acquire().await.expect("open").forget();
                        (then, false)
                    }
                    Lie::Echo => {
                        if !echoes {
                            frames::open_wide(&mut stream).await?;
                        }
                        echoes = true;
                        let end = frame.flags & END_STREAM != 0;
                        (std::iter::once(Frame::ok(0)).chain(end.then(Frame::no_error)).collect(), false)
                    }
                    Lie::Deaf => {
                        frames::open_wide(&mut stream).await?;
                        std::future::pending().await
                    }
                };
                write(&mut stream, frames, frame.stream).await?;
                if close {
                    // What was sent is to arrive: closing with something unread would reset the connection.
                    return drain(stream).await;
                }
            }
            DATA if echoes => {
                let mut parts = Vec::new();
                if !frame.payload.is_empty() {
                    parts.push(Frame::new(DATA, 0, 0, &frame.payload));
                }
                if frame.flags & END_STREAM != 0 {
                    parts.push(Frame::no_error());
                }
                write(&mut stream, parts, frame.stream).await?;
            }
            DATA => {
                let Some((bytes, frames)) = waiting.take() else { continue };
                let left = bytes.saturating_sub(frame.payload.len());
                if left == 0 {
                    write(&mut stream, frames, frame.stream).await?;
                } else {
                    waiting = Some((left, frames));
                }
            }
            _ => {}
        }
    }
}

/// Writes `frames`, those of a stream with its number.
async fn write(stream: &mut TcpStream, frames: Vec<Frame>, number: u32) -> std::io::Result<()> {
    for mut frame in frames {
        if matches!(frame.kind, HEADERS | DATA | RST_STREAM) {
            frame.stream = number;
        }
        frame.write(stream).await?;
    }
    Ok(())
}

async fn drain(mut stream: TcpStream) -> std::io::Result<()> {
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
