//! A service that speaks HTTP/2 frame by frame, and does what its script says with each request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::frames::{ACK, END_STREAM, Frame, HEADERS, PING, SETTINGS};

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(super) enum Lie {
    /// It is answered with 200.
    Answer,
    /// These frames are sent, with its stream's number in place of 0 where they belong to a stream.
    Frames(Vec<Frame>),
    /// These frames are sent and the connection is closed.
    FramesAndClose(Vec<Frame>),
    /// Nothing is sent, and nothing is read any more.
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
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let script = Arc::new(Mutex::new(VecDeque::from(script.to_vec())));
        let log = Arc::<Log>::default();
        let told = Arc::clone(&log);
        let task = tokio::spawn(async move {
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
    loop {
        let frame = Frame::read(&mut stream).await?;
        log.frames.lock().expect("unpoisoned").push(frame.clone());
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => {
                Frame::new(SETTINGS, ACK, 0, &[]).write(&mut stream).await?
            }
            PING if frame.flags & ACK == 0 => {
                Frame::new(PING, ACK, 0, &frame.payload).write(&mut stream).await?
            }
            HEADERS => {
                let lie = script.lock().expect("unpoisoned").pop_front().unwrap_or(Lie::Answer);
                let (frames, close) = match lie {
                    Lie::Answer => (vec![Frame::ok(0, END_STREAM)], false),
                    Lie::Frames(frames) => (frames, false),
                    Lie::FramesAndClose(frames) => (frames, true),
                    Lie::Deaf => std::future::pending().await,
                };
                for mut answer in frames {
                    if answer.stream == 0 && !matches!(answer.kind, SETTINGS | PING | super::frames::GOAWAY) {
                        answer.stream = frame.stream;
                    }
                    answer.write(&mut stream).await?;
                }
                if close {
                    // What was sent is to arrive: closing with something unread would reset the connection.
                    return drain(stream).await;
                }
            }
            _ => {}
        }
    }
}

async fn drain(mut stream: TcpStream) -> std::io::Result<()> {
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
