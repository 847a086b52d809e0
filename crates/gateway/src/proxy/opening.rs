//! Connections that several requests wait for, so that a burst opens one and not one each.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::connect::OpenError;
use super::proxy_error::ProxyError;

/// A connection that is being opened.
#[derive(Debug, Default)]
pub(super) struct Opening {
    outcome: RefCell<Option<Result<(), OpenError>>>,
    ended: Notify,
}

impl Opening {
    /// Waits for its end. Cancelling the wait does not end the opening.
    pub(super) async fn outcome(&self) -> Result<(), OpenError> {
        loop {
            let ended = self.ended.notified();
            if let Some(outcome) = &*self.outcome.borrow() {
                return outcome.clone();
            }
            ended.await;
        }
    }
}

/// Ends an opening for all who wait for it, also when it is dropped before its time.
pub(super) struct Opener<F: FnMut()> {
    opening: Rc<Opening>,
    forget: F,
}

impl<F: FnMut()> Opener<F> {
    /// `forget` sees to it that nobody else begins to wait.
    pub(super) fn new(opening: Rc<Opening>, forget: F) -> Self {
        Self { opening, forget }
    }

    pub(super) fn end(self, outcome: Result<(), OpenError>) {
        *self.opening.outcome.borrow_mut() = Some(outcome);
    }
}

impl<F: FnMut()> Drop for Opener<F> {
    fn drop(&mut self) {
        (self.forget)();
        let mut outcome = self.opening.outcome.borrow_mut();
        let given_up = || Err(OpenError::Failed("it was given up".into(), ProxyError::ProxyInternalError));
        outcome.get_or_insert_with(given_up);
        self.opening.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn all_who_wait_hear_of_the_end_and_so_do_those_who_come_late() {
        for given_up in [false, true] {
            let opening = Rc::<Opening>::default();
            let forgotten = Cell::new(false);
            let opener = Opener::new(Rc::clone(&opening), || forgotten.set(true));
            let ending = async move {
                tokio::task::yield_now().await;
                if !given_up {
                    opener.end(Ok(()));
                }
            };
            let (one, other, ()) = tokio::join!(opening.outcome(), opening.outcome(), ending);
            let late = opening.outcome().await;
            assert!([one, other, late].into_iter().all(|outcome| outcome.is_err() == given_up));
            assert!(forgotten.get(), "the next one begins anew");
        }
    }
}
