//! Asks endpoints whether they are well, on the control thread.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use intertie_core::telemetry::Events;
use intertie_discovery::health_check::{HealthChange, HealthCheckConfig};
use intertie_resilience::MonotonicClock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::plan::{EndpointState, Plan, Transport};
use crate::proxy::dial::{DialError, Dialled, Stream, dial};
use crate::proxy::io::Protocol;
use crate::proxy::translate::to_http2;

/// Checks every endpoint whose service asks for it, for as long as `plans` lives; a reload starts and
/// stops only the checks that it changes.
pub async fn run(mut plans: watch::Receiver<Arc<Plan>>, events: Events) {
    let mut checks: HashMap<u64, (Checked, JoinHandle<()>)> = HashMap::new();
    loop {
        let plan = Arc::clone(&plans.borrow_and_update());
        let mut wanted = HashMap::new();
        for service in &plan.services {
            for endpoint in &service.endpoints {
                match &service.config.health_check {
                    Some(config) => {
                        let checked = Checked {
                            service: service.name.clone(),
                            transport: Arc::clone(&service.transport),
                            endpoint: Arc::clone(endpoint.state()),
                            config: config.clone(),
                        };
                        wanted.insert(endpoint.id, checked);
                    }
                    None => endpoint.forget_checks(),
                }
            }
        }
        checks.retain(|id, (checked, task)| {
            let same = wanted.get(id).is_some_and(|wanted| checked.is_same(wanted));
            if !same {
                task.abort();
            }
            same
        });
        for (id, checked) in wanted {
            checks.entry(id).or_insert_with(|| {
                let task = tokio::spawn(check(checked.clone(), events.clone()));
                (checked, task)
            });
        }
        if plans.changed().await.is_err() {
            return;
        }
    }
}

/// An endpoint, and how it is asked.
#[derive(Debug, Clone)]
struct Checked {
    service: Arc<str>,
    transport: Arc<Transport>,
    endpoint: Arc<EndpointState>,
    config: HealthCheckConfig,
}

impl Checked {
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.endpoint, &other.endpoint)
            && Arc::ptr_eq(&self.transport, &other.transport)
            && self.config == other.config
    }
}

async fn check(checked: Checked, events: Events) {
    let Checked { service, transport, endpoint, config } = checked;
    // Checks of many endpoints that began together spread out.
    let nanos = intertie_core::clock::nanos(config.every);
    tokio::time::sleep(Duration::from_nanos(fastrand::u64(0..=nanos / 10))).await;
    let mut turns = tokio::time::interval(config.every);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let asked = tokio::time::timeout(config.timeout, ask(&endpoint, &transport, &config)).await;
        let failure = match asked {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(CheckError::Timeout),
        };
        if let Some(failure) = &failure {
            endpoint.record_failure(MonotonicClock::now(), format!("health check: {failure}").into());
        }
        let name = match endpoint.record_check(&config, failure.is_none()) {
            None => continue,
            Some(HealthChange::BecameHealthy) => "endpoint_became_healthy",
            Some(HealthChange::BecameUnhealthy) => "endpoint_became_unhealthy",
        };
        events.tell(name, || {
            let mut fields =
                vec![("service", service.to_string()), ("endpoint", endpoint.address.to_string())];
            fields.extend(failure.as_ref().map(|failure| ("cause", failure.to_string())));
            fields
        });
    }
}

/// One request on a connection of its own: a kept one would not notice that nobody listens any more.
async fn ask(
    endpoint: &EndpointState,
    transport: &Transport,
    config: &HealthCheckConfig,
) -> Result<(), CheckError> {
    let deadline = tokio::time::Instant::now() + config.timeout;
    let dialled = dial(&endpoint.address, transport, &endpoint.stats, deadline).await;
    let Dialled { stream, spoken } = dialled
        .map_err(|error| if error.is_timeout() { CheckError::Timeout } else { CheckError::Dial(error) })?;
    let status = match stream {
        Stream::Plain(stream) => exchange(stream, spoken, endpoint, transport, &config.path).await?,
        Stream::Tls(stream) => exchange(stream, spoken, endpoint, transport, &config.path).await?,
    };
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(CheckError::Status(status)) }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    spoken: Protocol,
    endpoint: &EndpointState,
    transport: &Transport,
    path: &str,
) -> Result<StatusCode, CheckError> {
    let mut request = Request::get(path)
        .header(HOST, endpoint.address.as_str())
        .header(USER_AGENT, HeaderValue::from_static("intertie-health-check"))
        .body(Empty::<Bytes>::new())
        .map_err(CheckError::Request)?;
    let (answer, driver) = match spoken {
        Protocol::Http1 => {
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(CheckError::Exchange)?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            (sender.send_request(request).await, driver)
        }
        Protocol::Http2 => {
            to_http2(&mut request, transport.scheme(), endpoint.address.as_str());
            let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
            let (mut sender, connection) = handshake.await.map_err(CheckError::Exchange)?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            (sender.send_request(request).await, driver)
        }
    };
    driver.abort();
    Ok(answer.map_err(CheckError::Exchange)?.status())
}

/// Why an endpoint does not pass a check.
#[derive(Debug)]
enum CheckError {
    Dial(DialError),
    /// The endpoint's address or the path makes no request.
    Request(http::Error),
    Exchange(hyper::Error),
    Status(StatusCode),
    Timeout,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Exchange(error) => error.fmt(f),
            Self::Status(status) => write!(f, "answered {status}"),
            Self::Timeout => f.write_str("no answer within the timeout"),
        }
    }
}

impl std::error::Error for CheckError {}
