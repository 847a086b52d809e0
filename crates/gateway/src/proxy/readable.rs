//! Whether a socket that had nothing to read may have something by now.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Answers for a socket that it has nothing to read, until the socket has woken its reader.
///
/// hyper tries to read several times for each message, and the runtime takes a lock and counts a budget each time it
/// is asked in vain.
#[derive(Debug, Default)]
pub(super) struct Readable(RefCell<Option<Wait>>);

#[derive(Debug)]
struct Wait {
    reader: Arc<Reader>,
    /// Wakes the reader. Made once, since the socket keeps a copy that it compares.
    waker: Waker,
}

/// A task that reads, and whether there is a reason to.
#[derive(Debug)]
struct Reader {
    task: Waker,
    /// An atomic only because any thread may own a waker; reader and runtime are on one.
    called: AtomicBool,
}

impl Wake for Reader {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.called.store(true, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}

impl Wait {
    fn new(task: &Waker) -> Self {
        let reader = Arc::new(Reader { task: task.clone(), called: AtomicBool::new(true) });
        Self { waker: Waker::from(Arc::clone(&reader)), reader }
    }

    fn is_over(&self) -> bool {
        self.reader.called.load(Ordering::Relaxed)
    }
}

impl Readable {
    /// What `read` returns, or pending without it when it was that for the same task and has not called since.
    pub(super) fn poll<T>(
        &self,
        context: &Context<'_>,
        read: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let mut wait = self.0.borrow_mut();
        let wait = match &mut *wait {
            Some(wait) if wait.reader.task.will_wake(context.waker()) => wait,
            // Another task reads from now on.
            wait => wait.insert(Wait::new(context.waker())),
        };
        if !wait.is_over() {
            return Poll::Pending;
        }
        // Before the attempt, which may call at once.
        wait.reader.called.store(false, Ordering::Relaxed);
        let read = read(&mut Context::from_waker(&wait.waker));
        if read.is_ready() {
            wait.reader.called.store(true, Ordering::Relaxed);
        }
        read
    }

    /// Whether there was nothing to read, and the socket has not called since.
    pub(super) fn is_awaited(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(|wait| !wait.is_over())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_socket_is_asked_again_when_it_has_called_or_another_task_reads() {
        let (readable, asked) = (Readable::default(), Cell::new(0));
        let tasks = [Arc::new(Task::default()), Arc::new(Task::default())];
        let socket = RefCell::new(None);
        let read = |task: &Arc<Task>, answer: Poll<()>| {
            let waker = Waker::from(Arc::clone(task));
            readable.poll(&Context::from_waker(&waker), |context| {
                asked.set(asked.get() + 1);
                socket.replace(Some(context.waker().clone()));
                answer
            })
        };
        let call = || socket.take().expect("it was asked").wake();
        let [first, second] = &tasks;
        assert!(!readable.is_awaited());
        assert!(read(first, Poll::Ready(())).is_ready() && read(first, Poll::Ready(())).is_ready());
        assert!(!readable.is_awaited());
        for _ in 0..3 {
            assert!(read(first, Poll::Pending).is_pending() && readable.is_awaited());
        }
        assert_eq!(asked.get(), 3);
        call();
        assert_eq!(first.0.load(Ordering::Relaxed), 1);
        assert!(!readable.is_awaited());
        assert!(read(first, Poll::Pending).is_pending());
        assert_eq!(asked.get(), 4);
        assert!(read(second, Poll::Pending).is_pending());
        assert_eq!(asked.get(), 5);
        call();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn a_call_during_the_attempt_is_not_forgotten() {
        let readable = Readable::default();
        for _ in 0..2 {
            let polled: Poll<()> = readable.poll(&Context::from_waker(Waker::noop()), |context| {
                context.waker().wake_by_ref();
                Poll::Pending
            });
            assert!(polled.is_pending() && !readable.is_awaited());
        }
    }
}
