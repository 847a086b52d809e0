//! Whether a connection of HTTP/2 comes forward: something is asked for, and answers are taken.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::Instant;

/// The most of an answer that is handed over at once; the next piece is, once there is room for this one.
const PIECE: usize = 64 << 10;

/// What is under way on one connection.
#[derive(Debug)]
pub(super) struct Pace {
    state: watch::Sender<State>,
}

#[derive(Debug, Clone)]
struct State {
    /// Requests and answers ever.
    counted: u64,
    /// Requests that are not answered yet.
    waiting: usize,
    /// Answers that are not taken yet, and when the last piece of each was.
    answers: BTreeMap<u64, Instant>,
    /// Since when nothing of both is under way.
    idle_since: Instant,
}

/// For how long a connection may stand still.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standstill {
    /// With nothing under way, the preface included.
    pub(super) idle: Duration,
    /// With an answer of which nothing is taken.
    pub(super) untaken: Duration,
}

impl State {
    /// When the connection has stood still for too long, if nothing happens until then.
    fn end(&self, limits: Standstill) -> Option<Instant> {
        if let Some(last) = self.answers.values().min() {
            return Some(*last + limits.untaken);
        }
        (self.waiting == 0).then(|| self.idle_since + limits.idle)
    }

    fn note_idle(&mut self) {
        if self.waiting == 0 && self.answers.is_empty() {
            self.idle_since = Instant::now();
        }
    }
}

impl Pace {
    pub(super) fn new() -> Arc<Self> {
        let state = State { counted: 0, waiting: 0, answers: BTreeMap::new(), idle_since: Instant::now() };
        Arc::new(Self { state: watch::Sender::new(state) })
    }

    /// Whether anything was ever asked for.
    pub(super) fn is_used(&self) -> bool {
        self.state.borrow().counted > 0
    }

    /// Counts the time that it stands still from now on.
    pub(super) fn begin_anew(&self) {
        self.state.send_modify(State::note_idle);
    }

    /// Counts a request until it is answered.
    pub(super) fn request(self: &Arc<Self>) -> Waiting {
        self.state.send_modify(|state| {
            state.counted += 1;
            state.waiting += 1;
        });
        Waiting(Arc::clone(self))
    }

    /// Returns once the connection has stood still for too long.
    pub(super) async fn until_it_stands_still(&self, limits: Standstill) {
        let mut changes = self.state.subscribe();
        loop {
            let end = changes.borrow_and_update().end(limits);
            // The sender is here, so the wait ends with a change alone.
            match end {
                Some(end) => {
                    if tokio::time::timeout_at(end, changes.changed()).await.is_err() {
                        return;
                    }
                }
                None => drop(changes.changed().await),
            }
        }
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Pace>);

impl Waiting {
    /// The answer, which counts until it is taken.
    pub(super) fn answered(self, response: Response<Full<Bytes>>) -> Response<Taken> {
        let pace = Arc::clone(&self.0);
        let mut id = 0;
        pace.state.send_modify(|state| {
            state.counted += 1;
            id = state.counted;
            state.answers.insert(id, Instant::now());
        });
        response.map(|whole| Taken { rest: whole.into_inner().unwrap_or_default(), pace, id })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| {
            state.waiting -= 1;
            state.note_idle();
        });
    }
}

/// An answer in pieces, so that it is seen whether its client takes it.
#[derive(Debug)]
pub(super) struct Taken {
    rest: Bytes,
    pace: Arc<Pace>,
    id: u64,
}

impl Body for Taken {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let (id, most) = (self.id, self.rest.len().min(PIECE));
        self.pace.state.send_modify(|state| {
            state.answers.insert(id, Instant::now());
        });
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(most)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let id = self.id;
        self.pace.state.send_modify(|state| {
            state.answers.remove(&id);
            state.note_idle();
        });
    }
}
