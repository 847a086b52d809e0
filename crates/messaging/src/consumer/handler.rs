use std::future::{Future, poll_fn};
use std::task::{Context as TaskContext, Poll};

use intertie_core::envelope::Envelope;
use intertie_core::failure::Class;
use tower_service::Service;

use super::config::Panics;
use super::delivery::{Context, Delivery};
use super::failure::Failure;
use crate::commit::Commit;
use crate::unwind::caught;

/// What handles messages (`M` is a [`Delivery`]) or batches of them (a `Vec<Delivery>`): every service of tower that
/// answers with what is to be committed, so that every layer of tower can stand around it.
///
/// What it answers is done together with the acknowledgement, or neither is: what it sends, appends, or completes. A
/// batch is acknowledged as a whole.
pub trait Handler<M>:
    Service<M, Response = Commit, Error: Into<Failure>, Future: Send> + Clone + Send + 'static
{
}

impl<M, S> Handler<M> for S where
    S: Service<M, Response = Commit, Error: Into<Failure>, Future: Send> + Clone + Send + 'static
{
}

/// A handler of messages, from an async function of the message and what is known of its delivery.
pub fn handle<F, Fut>(function: F) -> HandlerFn<F>
where
    F: FnMut(Envelope, Context) -> Fut + Clone,
    Fut: Future<Output = Result<Commit, Failure>>,
{
    HandlerFn { function }
}

/// A handler of batches, from an async function of the messages.
pub fn handle_batch<F, Fut>(function: F) -> HandlerFn<F>
where
    F: FnMut(Vec<Delivery>) -> Fut + Clone,
    Fut: Future<Output = Result<Commit, Failure>>,
{
    HandlerFn { function }
}

/// A [`Handler`] that is a function: [`handle`], [`handle_batch`].
#[derive(Debug, Clone)]
pub struct HandlerFn<F> {
    function: F,
}

impl<F, Fut> Service<Delivery> for HandlerFn<F>
where
    F: FnMut(Envelope, Context) -> Fut,
    Fut: Future<Output = Result<Commit, Failure>>,
{
    type Response = Commit;
    type Error = Failure;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Delivery) -> Fut {
        (self.function)(delivery.envelope, delivery.context)
    }
}

impl<F, Fut> Service<Vec<Delivery>> for HandlerFn<F>
where
    F: FnMut(Vec<Delivery>) -> Fut,
    Fut: Future<Output = Result<Commit, Failure>>,
{
    type Response = Commit;
    type Error = Failure;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, deliveries: Vec<Delivery>) -> Fut {
        (self.function)(deliveries)
    }
}

/// A handler of messages as one of batches of one.
#[derive(Debug, Clone)]
pub(super) struct Single<H>(pub(super) H);

impl<H: Handler<Delivery>> Service<Vec<Delivery>> for Single<H> {
    type Response = Commit;
    type Error = H::Error;
    type Future = H::Future;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), H::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, deliveries: Vec<Delivery>) -> H::Future {
        let [delivery] = <[Delivery; 1]>::try_from(deliveries).expect("a batch of one has one message");
        self.0.call(delivery)
    }
}

/// One attempt, of which a panic is a failure.
pub(super) async fn attempt<H: Handler<Vec<Delivery>>>(
    mut handler: H,
    deliveries: Vec<Delivery>,
    panics: Panics,
) -> Result<Commit, Failure> {
    let attempt = caught(async move {
        poll_fn(|context| handler.poll_ready(context)).await?;
        handler.call(deliveries).await
    });
    match attempt.await {
        Ok(answered) => answered.map_err(Into::into),
        Err(words) => Err(panicked(&words, panics)),
    }
}

fn panicked(words: &str, panics: Panics) -> Failure {
    let class = match panics {
        Panics::Retry => Class::Transient,
        Panics::DeadLetter => Class::Permanent,
    };
    Failure::of_class(class, format!("the handler panicked: {words}"))
}
