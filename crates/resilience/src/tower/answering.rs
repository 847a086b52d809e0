use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use tower_layer::Layer;
use tower_service::Service;

use super::layer::PipelineLayer;
use super::protocol::Protocol;
use super::service::PipelineService;
use crate::CallError;
use crate::pipeline::http::answer;

/// Puts a pipeline around a server's service and answers what the pipeline ends: a caller that is turned away
/// gets a 429 or 503 with `Retry-After`, as [`answer`] says, and the reason as text. The service's own errors stay
/// what they are, so one that has none, as axum asks for, still has none.
pub struct AnsweringLayer<P>(PipelineLayer<P>);

impl<P> AnsweringLayer<P> {
    pub(super) fn new(layer: PipelineLayer<P>) -> Self {
        Self(layer)
    }
}

impl<S, P> Layer<S> for AnsweringLayer<P> {
    type Service = Answering<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Answering(self.0.layer(inner))
    }
}

impl<P> Clone for AnsweringLayer<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: fmt::Debug> fmt::Debug for AnsweringLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnsweringLayer").field(&self.0).finish()
    }
}

/// A service under a pipeline whose refusals are answers. It is always ready; dropping the future of a call
/// cancels it.
pub struct Answering<S, P>(PipelineService<S, P>);

impl<S, P, Q, B> Service<Q> for Answering<S, P>
where
    Q: Send + 'static,
    S: Service<Q, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    B: From<String> + Send + 'static,
    P: Protocol<Q, S::Response, S::Error> + Send + Sync + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let call = self.0.clone().run(request);
        Box::pin(async move {
            match call.await.map_err(CallError::into_operation) {
                Ok(response) => Ok(response),
                Err(Ok(error)) => Err(error),
                Err(Err(refused)) => Ok(answer(&refused).map(|()| B::from(refused.to_string()))),
            }
        })
    }
}

impl<S: Clone, P> Clone for Answering<S, P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: fmt::Debug, P: fmt::Debug> fmt::Debug for Answering<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answering").field(&self.0).finish()
    }
}
