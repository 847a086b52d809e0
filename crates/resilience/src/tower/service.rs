use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::handle::Handle;
use super::protocol::Protocol;
use crate::CallError;
use crate::pipeline::Cx;

/// A service under a pipeline. It is always ready; dropping the future of a call cancels it.
pub struct PipelineService<S, P> {
    inner: S,
    handle: Handle,
    protocol: Arc<P>,
}

impl<S, P> PipelineService<S, P> {
    pub(super) fn new(inner: S, handle: Handle, protocol: Arc<P>) -> Self {
        Self { inner, handle, protocol }
    }

    /// A call that begins when it is first polled.
    pub(super) async fn run<Q>(self, request: Q) -> Result<S::Response, CallError<S::Error>>
    where
        S: Service<Q> + Clone,
        P: Protocol<Q, S::Response, S::Error>,
    {
        let Self { inner, handle, protocol } = self;
        let pipeline = handle.get();
        let key = pipeline.hash(KeyOf { protocol: &*protocol, request: &request, of: PhantomData });
        let remaining = protocol.remaining(&request);
        let idempotency_key = protocol.idempotency_key(&request);
        let may_repeat = pipeline.may_repeat() && protocol.is_idempotent(&request);
        let spare = if may_repeat { protocol.try_clone(&request) } else { None };
        let is_idempotent = spare.is_some();

        let first = Cell::new(Some(request));
        let asked = Arc::clone(&protocol);
        let mut call = pipeline.call(move |cx: Cx| {
            let again = || spare.as_ref().and_then(|spare| asked.try_clone(spare));
            let mut request = first.take().or_else(again).expect("what was cloned once is cloned again");
            asked.mark(&mut request, &cx);
            ready_and_call(inner.clone(), request)
        });
        call = call.with_key(key);
        if let Some(key) = idempotency_key {
            call = call.with_idempotency_key(key);
        }
        if is_idempotent {
            call = call.idempotent();
        }
        if let Some(remaining) = remaining {
            call = call.remaining(remaining);
        }
        let classifying = Arc::clone(&protocol);
        let mut call = pin!(call.classify(move |outcome| classifying.classify(outcome)));
        let mut outcome = call.as_mut().await;
        if let (true, Ok(answer)) = (call.is_exhausted(), &mut outcome) {
            protocol.mark_exhausted(answer);
        }
        outcome
    }
}

impl<S, P, Q> Service<Q> for PipelineService<S, P>
where
    Q: Send + 'static,
    S: Service<Q> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    P: Protocol<Q, S::Response, S::Error> + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, CallError<S::Error>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Q) -> Self::Future {
        Box::pin(self.clone().run(request))
    }
}

/// Hashes what a protocol says about a request.
struct KeyOf<'a, P, Q, A, E> {
    protocol: &'a P,
    request: &'a Q,
    of: PhantomData<fn() -> (A, E)>,
}

impl<P: Protocol<Q, A, E>, Q, A, E> Hash for KeyOf<'_, P, Q, A, E> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.protocol.key(self.request, state);
    }
}

/// One attempt, on a service of its own: being ready is what one clone is, and not another.
async fn ready_and_call<S: Service<Q>, Q>(mut service: S, request: Q) -> Result<S::Response, S::Error> {
    poll_fn(|context| service.poll_ready(context)).await?;
    service.call(request).await
}

impl<S: Clone, P> Clone for PipelineService<S, P> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.handle.clone(), Arc::clone(&self.protocol))
    }
}

impl<S: fmt::Debug, P: fmt::Debug> fmt::Debug for PipelineService<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineService")
            .field("inner", &self.inner)
            .field("handle", &self.handle)
            .field("protocol", &self.protocol)
            .finish()
    }
}
