use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use intertie_core::clock::WallClock;
use intertie_core::failure::Class;
use intertie_gateway::tls::ServiceTls;
use intertie_observe::otlp;
use intertie_resilience::RetryConfig;
use intertie_resilience::pipeline::http::retry_after;
use intertie_resilience::pipeline::{CallError, Pipeline, Verdict};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::file::{SecretReference, TracesConfig, collector_host};

/// As much of an answer as is read, and for so long; what it says takes a few bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Where spans go, and how patiently.
#[derive(Debug)]
pub(super) struct Collector {
    host: String,
    port: u16,
    tls: Option<ServiceTls>,
    path: PathAndQuery,
    headers: HeaderMap,
    pipeline: Pipeline,
    clock: WallClock,
}

/// Why a collector did not take a message.
#[derive(Debug)]
pub(super) enum SendError {
    Connect(std::io::Error),
    Handshake(std::io::Error),
    Exchange(hyper::Error),
    Status(StatusCode, Option<Duration>),
}

impl Collector {
    pub(super) fn new(config: &TracesConfig, tls: Option<ServiceTls>, folder: &Path) -> anyhow::Result<Self> {
        let uri = config.collector().context("no URL of a collector")?;
        let authority = uri.authority().context("a collector without a host")?;
        let mut headers = HeaderMap::new();
        for (name, reference) in &config.headers {
            let reference = SecretReference::parse(reference).context("a header without a reference")?;
            let secret = reference.read(folder).with_context(|| format!("the header `{name}`"))?;
            let mut value = HeaderValue::try_from(secret)
                .with_context(|| format!("the header `{name}` has a value that no header may have"))?;
            value.set_sensitive(true);
            headers.insert(HeaderName::try_from(name)?, value);
        }
        headers.insert(HOST, HeaderValue::try_from(authority.as_str())?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(otlp::CONTENT_TYPE));
        headers.insert(ACCEPT, HeaderValue::from_static(otlp::CONTENT_TYPE));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("intertie/", env!("CARGO_PKG_VERSION"))));
        let pipeline = Pipeline::named("traces")
            .deadline(config.deadline)
            .retry(RetryConfig { base: Duration::from_millis(500), ..RetryConfig::patient() })
            .attempt_timeout(config.timeout)
            .build()?;
        Ok(Self {
            host: collector_host(&uri).context("a collector without a host")?.to_owned(),
            port: authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 }),
            tls,
            path: uri.path_and_query().cloned().context("a URL without a path")?,
            headers,
            pipeline,
            clock: WallClock::system(),
        })
    }

    /// Hands a message over; the body of the answer.
    ///
    /// # Errors
    /// Why it was not taken in the end.
    pub(super) async fn send(&self, message: Bytes) -> Result<Bytes, CallError<SendError>> {
        let attempt = |_| self.attempt(message.clone());
        self.pipeline.call(attempt).classify(verdict).idempotent().await
    }

    /// One attempt, on a connection of its own: messages are seldom.
    async fn attempt(&self, message: Bytes) -> Result<Bytes, SendError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(SendError::Connect)?;
        match &self.tls {
            None => self.exchange(stream, message).await,
            Some(tls) => {
                let stream = tls.connect(&self.host, stream).await.map_err(SendError::Handshake)?;
                self.exchange(stream, message).await
            }
        }
    }

    async fn exchange<S>(&self, stream: S, message: Bytes) -> Result<Bytes, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(SendError::Exchange)?;
        // The connection ends with the attempt that it was opened for, also when that one is cut short.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut request = Request::new(Full::new(message));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone().into();
        *request.headers_mut() = self.headers.clone();
        let (parts, body) = sender.send_request(request).await.map_err(SendError::Exchange)?.into_parts();
        if !parts.status.is_success() {
            return Err(SendError::Status(parts.status, retry_after(&parts.headers, &self.clock)));
        }
        // The message was taken, whatever stands in the answer: a repetition would store it twice.
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect();
        let body = tokio::time::timeout(ANSWER_TIMEOUT, body).await;
        drop(driver);
        Ok(body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default())
    }
}

/// Which failures OTLP wants to be repeated: <https://opentelemetry.io/docs/specs/otlp/#failures-1>.
fn verdict(outcome: &Result<Bytes, SendError>) -> Verdict {
    let Err(failure) = outcome else { return Class::Success.into() };
    match failure {
        SendError::Status(status, wait) => {
            let class = match status.as_u16() {
                429 => Class::Throttled,
                503 => Class::Unavailable,
                502 | 504 => Class::Transient,
                _ => Class::Permanent,
            };
            Verdict { retry_after: *wait, ..class.into() }
        }
        SendError::Connect(_) | SendError::Handshake(_) | SendError::Exchange(_) => Class::Transient.into(),
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(_) => f.write_str("no connection to the collector"),
            Self::Handshake(_) => f.write_str("no TLS handshake with the collector"),
            Self::Exchange(_) => f.write_str("the collector gave no valid answer"),
            Self::Status(status, _) => write!(f, "the collector answered {status}"),
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) | Self::Handshake(error) => Some(error),
            Self::Exchange(error) => Some(error),
            Self::Status(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_specification_names_is_sent_again() {
        for (status, again) in
            [(400, false), (401, false), (404, false), (408, false), (500, false), (501, false)]
                .into_iter()
                .chain([(429, true), (502, true), (503, true), (504, true)])
        {
            let status = StatusCode::from_u16(status).expect("a status");
            let wait = Some(Duration::from_secs(7));
            let verdict = verdict(&Err(SendError::Status(status, wait)));
            assert_eq!(verdict.class.is_retriable(), again, "{status}");
            assert_eq!(verdict.retry_after, wait);
        }
    }
}
