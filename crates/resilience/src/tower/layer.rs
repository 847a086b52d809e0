use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::answering::AnsweringLayer;
use super::handle::Handle;
use super::http::{Grpc, Http};
use super::protocol::{KeyedBy, Plain};
use super::service::PipelineService;

/// Puts a pipeline around services whose requests and answers a [`Protocol`](super::Protocol) understands. All
/// services that it makes, and their clones, share the pipeline's state.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use intertie_resilience::tower::{Http, PipelineLayer};
/// use intertie_resilience::{Pipeline, RetryConfig};
/// use tower_layer::Layer;
/// # use tower_service::Service;
/// # #[derive(Clone)]
/// # struct Client;
/// # impl Service<Request<String>> for Client {
/// #     type Response = Response<String>;
/// #     type Error = std::io::Error;
/// #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
/// #         std::task::Poll::Ready(Ok(()))
/// #     }
/// #     fn call(&mut self, request: Request<String>) -> Self::Future {
/// #         let is_first = request.headers()["intertie-attempt"] == "1";
/// #         let response = Response::builder().status(if is_first { 503 } else { 200 });
/// #         std::future::ready(Ok(response.body(String::new()).expect("valid")))
/// #     }
/// # }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let payments = Pipeline::named("payments")
///     .deadline(Duration::from_secs(30))
///     .retry(RetryConfig::standard())
///     .build()?;
/// let mut client = PipelineLayer::new(payments, Http::cloning()).layer(Client);
/// let answer = client.call(Request::get("/receipts/7").body(String::new())?).await?;
/// assert_eq!(answer.status(), 200, "after a 503");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PipelineLayer<P> {
    handle: Handle,
    protocol: Arc<P>,
}

impl<P> PipelineLayer<P> {
    /// Layers of `pipeline` around services that speak `protocol`.
    pub fn new(pipeline: impl Into<Handle>, protocol: P) -> Self {
        Self { handle: pipeline.into(), protocol: Arc::new(protocol) }
    }

    /// Layers that answer what the pipeline ends, instead of failing.
    pub fn answering(self) -> AnsweringLayer<P> {
        AnsweringLayer::new(self)
    }
}

impl PipelineLayer<Plain> {
    /// [`PipelineLayer::new`] with [`Plain`].
    pub fn plain(pipeline: impl Into<Handle>) -> Self {
        Self::new(pipeline, Plain)
    }
}

impl<B> PipelineLayer<Http<B>> {
    /// [`PipelineLayer::new`] with [`Http::new`], which makes one attempt of each request.
    pub fn http(pipeline: impl Into<Handle>) -> Self {
        Self::new(pipeline, Http::new())
    }

    /// The same with quotas of the rate limiter for each of what `key` returns.
    pub fn http_by<F, K>(pipeline: impl Into<Handle>, key: F) -> PipelineLayer<KeyedBy<Http<B>, F>>
    where
        F: Fn(&http::Request<B>) -> K,
    {
        PipelineLayer::new(pipeline, KeyedBy::new(Http::new(), key))
    }
}

impl<B> PipelineLayer<Grpc<B>> {
    /// [`PipelineLayer::new`] with [`Grpc`], which makes one attempt of each request.
    pub fn grpc(pipeline: impl Into<Handle>) -> Self {
        Self::new(pipeline, Grpc::from(Http::new()))
    }
}

impl<S, P> Layer<S> for PipelineLayer<P> {
    type Service = PipelineService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        PipelineService::new(inner, self.handle.clone(), Arc::clone(&self.protocol))
    }
}

impl<P> Clone for PipelineLayer<P> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), protocol: Arc::clone(&self.protocol) }
    }
}

impl<P: fmt::Debug> fmt::Debug for PipelineLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineLayer")
            .field("handle", &self.handle)
            .field("protocol", &self.protocol)
            .finish()
    }
}
