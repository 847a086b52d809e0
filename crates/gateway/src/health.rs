//! Asks endpoints whether they are well, on the control thread.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use intertie_core::telemetry::Events;
use intertie_discovery::endpoint::Address;
use intertie_discovery::health_check::{HealthChange, HealthCheckConfig};
use intertie_resilience::MonotonicClock;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::plan::{EndpointState, Plan};

/// Checks every endpoint whose service asks for it, for as long as `plans` lives; a reload starts and
/// stops only the checks that it changes.
pub async fn run(mut plans: watch::Receiver<Arc<Plan>>, events: Events) {
    let mut checks: HashMap<u64, (Arc<EndpointState>, HealthCheckConfig, JoinHandle<()>)> = HashMap::new();
    loop {
        let plan = Arc::clone(&plans.borrow_and_update());
        let mut wanted = HashMap::new();
        for service in &plan.services {
            for endpoint in &service.endpoints {
                match &service.config.health_check {
                    Some(config) => {
                        wanted.insert(
                            endpoint.id,
                            (service.name.clone(), Arc::clone(endpoint.state()), config.clone()),
                        );
                    }
                    None => endpoint.forget_checks(),
                }
            }
        }
        checks.retain(|id, (endpoint, config, task)| {
            let same = wanted.get(id).is_some_and(|(_, wanted, wanted_config)| {
                Arc::ptr_eq(endpoint, wanted) && config == wanted_config
            });
            if !same {
                task.abort();
            }
            same
        });
        for (id, (service, endpoint, config)) in wanted {
            checks.entry(id).or_insert_with(|| {
                let check = check(service, Arc::clone(&endpoint), config.clone(), events.clone());
                (endpoint, config, tokio::spawn(check))
            });
        }
        if plans.changed().await.is_err() {
            return;
        }
    }
}

async fn check(service: Arc<str>, endpoint: Arc<EndpointState>, config: HealthCheckConfig, events: Events) {
    // Checks of many endpoints that began together spread out.
    let nanos = intertie_core::clock::nanos(config.every);
    tokio::time::sleep(Duration::from_nanos(fastrand::u64(0..=nanos / 10))).await;
    let mut turns = tokio::time::interval(config.every);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let asked = tokio::time::timeout(config.timeout, ask(&endpoint.address, &config.path)).await;
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
async fn ask(address: &Address, path: &str) -> Result<(), CheckError> {
    let stream = match address.socket_addr() {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((address.host(), address.port())).await,
    };
    let stream = TokioIo::new(stream.map_err(CheckError::Connect)?);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(CheckError::Exchange)?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, address.as_str())
        .header(USER_AGENT, HeaderValue::from_static("intertie-health-check"))
        .body(Empty::<Bytes>::new())
        .map_err(CheckError::Request)?;
    let answer = sender.send_request(request).await;
    driver.abort();
    let status = answer.map_err(CheckError::Exchange)?.status();
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(CheckError::Status(status)) }
}

/// Why an endpoint does not pass a check.
#[derive(Debug)]
enum CheckError {
    Connect(std::io::Error),
    /// The endpoint's address or the path makes no request.
    Request(http::Error),
    Exchange(hyper::Error),
    Status(StatusCode),
    Timeout,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Exchange(error) => error.fmt(f),
            Self::Status(status) => write!(f, "answered {status}"),
            Self::Timeout => f.write_str("no answer within the timeout"),
        }
    }
}

impl std::error::Error for CheckError {}
