//! The streams of an HTTP/2 connection, to be ended one by one.
//!
//! A client that withholds a stream's window is not noticed by the socket, nor by an answer's body, which is
//! not asked for more until there is room. So each answer tells when a part of it was handed over, and the
//! connection's timer looks from time to time who has taken nothing since.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::Executor;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::abort_on_drop::AbortOnDrop;

/// The streams that are open.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    /// The one whose task is about to be spawned.
    newest: Cell<Option<usize>>,
}

#[derive(Debug, Default)]
struct Slot {
    task: Option<JoinHandle<()>>,
    /// Looks since a part was handed over, that one included; none where nothing waits for the client.
    looks: u32,
    is_cut: bool,
}

/// The looks that a client has for taking something.
pub(super) const LOOKS: u32 = 4;

impl Streams {
    /// A place for the stream whose request has just come.
    pub(super) fn open(&self) -> usize {
        let free = self.free.borrow_mut().pop();
        let place = free.unwrap_or_else(|| {
            let mut slots = self.slots.borrow_mut();
            slots.push(Slot::default());
            slots.len() - 1
        });
        self.newest.set(Some(place));
        place
    }

    /// Notes whether a part of an answer waits for the client.
    pub(super) fn note(&self, place: usize, waits: bool) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(place) {
            slot.looks = u32::from(waits);
        }
    }

    /// Ends the streams whose client took nothing between [`LOOKS`] calls; how many.
    pub(super) fn look(&self) -> usize {
        let mut cut = 0;
        for slot in &mut *self.slots.borrow_mut() {
            if slot.looks > LOOKS && !slot.is_cut {
                slot.is_cut = true;
                cut += 1;
                // Dropped with its task, the stream is reset.
                slot.task.iter().for_each(JoinHandle::abort);
            }
            slot.looks += u32::from(slot.looks > 0);
        }
        cut
    }

    /// Whether the stream is ended since its client took nothing.
    pub(super) fn is_cut(&self, place: usize) -> bool {
        self.slots.borrow().get(place).is_some_and(|slot| slot.is_cut)
    }

    /// Ready when the task of the stream has ended.
    pub(super) fn poll_over(&self, place: usize, context: &mut Context<'_>) -> Poll<()> {
        let mut slots = self.slots.borrow_mut();
        match slots.get_mut(place).and_then(|slot| slot.task.as_mut()) {
            // One that was ready must not be polled again.
            Some(task) if !task.is_finished() => Pin::new(task).poll(context).map(|_| ()),
            _ => Poll::Ready(()),
        }
    }

    /// Ends the stream, by a reset unless it has ended.
    pub(super) fn reset(&self, place: usize) {
        if let Some(task) = self.slots.borrow().get(place).and_then(|slot| slot.task.as_ref()) {
            task.abort();
        }
    }

    /// The stream is over.
    pub(super) fn close(&self, place: usize) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(place) {
            *slot = Slot::default();
            self.free.borrow_mut().push(place);
        }
    }

    /// Whether there ever was one. Most connections are HTTP/1.1's, which have none.
    pub(super) fn are_used(&self) -> bool {
        !self.slots.borrow().is_empty()
    }
}

/// Runs the streams of an HTTP/2 connection on the thread that accepted it.
#[derive(Debug, Clone)]
pub(super) struct StreamExecutor(pub(super) Rc<Streams>);

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        // hyper spawns a stream as soon as it has called the service, and one that goes on as a tunnel a second
        // time as soon as that is answered.
        let Some(place) = self.0.newest.take() else { return };
        if let Some(slot) = self.0.slots.borrow_mut().get_mut(place) {
            slot.task = Some(task);
        }
    }
}

/// Runs what belongs to an HTTP/2 connection to a service on the thread that opened it, and hands over the
/// task that owns its socket.
#[derive(Debug, Clone)]
pub(super) struct ConnectionExecutor(Rc<RefCell<Option<oneshot::Sender<AbortOnDrop>>>>);

impl ConnectionExecutor {
    pub(super) fn new(socket: oneshot::Sender<AbortOnDrop>) -> Self {
        Self(Rc::new(RefCell::new(Some(socket))))
    }
}

impl<F> Executor<F> for ConnectionExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        // hyper spawns the socket's task at the end of the handshake, and those of its streams later.
        if let Some(socket) = self.0.borrow_mut().take() {
            let _ = socket.send(AbortOnDrop(task));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_takes_nothing_for_long_is_cut() {
        let streams = Streams::default();
        let (silent, slow, serving) = (streams.open(), streams.open(), streams.open());
        streams.note(silent, true);
        for look in 0..LOOKS {
            streams.note(slow, true);
            streams.note(serving, false);
            assert_eq!(streams.look(), 0, "look {look}");
        }
        assert_eq!(streams.look(), 1);
        assert_eq!([silent, slow, serving].map(|place| streams.is_cut(place)), [true, false, false]);
        assert_eq!(streams.look(), 0, "once");
        streams.close(silent);
        assert_eq!(streams.open(), silent, "its place is free");
        assert!(!streams.is_cut(silent));
    }
}
