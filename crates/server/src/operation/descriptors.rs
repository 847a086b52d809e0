//! How many files the process may have open, and how many it may need.

use std::sync::Arc;

use intertie_gateway::plan::{Plan, Service};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Listeners, runtimes, logs, health checks and the clients of the admin listener.
const OWN: u64 = 100;

/// Raises the limit as far as the process may, and returns it.
///
/// # Errors
/// The system says neither the limit nor takes another.
pub(crate) fn raise_limit() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// The limit that [`raise_limit`] would reach.
///
/// # Errors
/// The system does not say.
pub(crate) fn limit() -> nix::Result<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).map(|(_, hard)| hard)
}

/// The descriptors that `connections_max` clients may need under `plan`: one for each of them, and one to a
/// service for each request under way, of which bulkheads let only so many run.
pub(crate) fn needed(connections_max: u32, plan: &Plan) -> u64 {
    let clients = u64::from(connections_max);
    let running = |service: &Arc<Service>| {
        let mut routes = plan.routes.iter().filter(|route| Arc::ptr_eq(&route.service, service));
        match &service.bulkhead {
            Some(bulkhead) if routes.all(|route| route.bulkhead.is_some()) => {
                u64::from(bulkhead.stats().limit)
            }
            _ => clients,
        }
    };
    let services: u64 = plan.services.iter().map(running).sum();
    clients + services.min(clients) + OWN
}
