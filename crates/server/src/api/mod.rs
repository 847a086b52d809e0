//! The HTTP API of queues: a thread with a runtime of its own, apart from the data plane's.
//!
//! - [`Api`]: the listener, from its start to its end.
//! - `exchange`: one request; `target`: what it is about; `fields`: what its body says, read by `members`.
//! - `listener`: connections; `pace`: whether those of HTTP/2 come forward.
//! - `access`: who may do what; `origin`: what no page of another site may.
//! - `queues`, `messages`, `leases`, `dead_letters`: the resources; `resource`: how they are shown.
//! - `failure`: what is answered when something is not done.

mod access;
mod dead_letters;
mod exchange;
mod failure;
mod fields;
mod leases;
mod listener;
mod members;
mod messages;
mod origin;
mod pace;
mod queues;
mod resource;
mod target;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use http::request::Parts;
use intertie_core::clock::WallClock;
use intertie_core::telemetry::{Events, Snapshot, Source};
use intertie_engine_embedded::store::{Failure as StoreFailure, Health};
use intertie_gateway::proxy::AuditConfig;
use intertie_gateway::tls::Terms;
use intertie_messaging::Name;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::file::{ApiLimitsConfig, Secret, TokenConfig};
use crate::store::{Queues, Store};
use access::{Access, Token};
use failure::{ApiCode, Failure};

/// What the API is started with.
pub(crate) struct ApiConfig {
    pub(crate) listener: TcpListener,
    /// What it is spoken to under, if with TLS.
    pub(crate) terms: Option<Terms>,
    pub(crate) limits: ApiLimitsConfig,
    pub(crate) store: Store,
    /// How long a request waits for a data directory that the process before has still.
    pub(crate) store_patience: Duration,
    pub(crate) queues: Queues,
    pub(crate) tokens: Tokens,
    pub(crate) events: Events,
    /// Where denials are told, if anywhere.
    pub(crate) audit: Option<AuditConfig>,
}

/// The tokens of a file, with their secrets.
pub(crate) type Tokens = Vec<(String, TokenConfig, Secret)>;

/// The API of a process.
pub(crate) struct Api {
    listener: TcpListener,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// How far the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Another process accepts; connections stay for what their clients have under way.
    Leaving,
    /// All connections end with their requests.
    Ending,
}

/// What all connections share.
struct Shared {
    store: Store,
    limits: ApiLimitsConfig,
    store_patience: Duration,
    declared: RwLock<Arc<BTreeMap<Name, Option<Name>>>>,
    /// For handshakes from now on.
    terms: RwLock<Option<Arc<Terms>>>,
    access: RwLock<Arc<Access>>,
    audit: Option<Denials>,
    clock: WallClock,
    phase: watch::Sender<Phase>,
    /// Requests under way.
    requests: AtomicUsize,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    connections: AtomicUsize,
    /// Requests that no token allowed.
    denied: AtomicU64,
    /// Connections on which TLS was not agreed on.
    handshakes_failed: AtomicU64,
    /// Connections that were closed because there were `connections_max`.
    refused: AtomicU64,
}

impl Api {
    /// Starts to accept.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn start(config: ApiConfig) -> anyhow::Result<Self> {
        let ApiConfig { listener, terms, limits, store, store_patience, queues, tokens, events, audit } =
            config;
        let shared = Arc::new(Shared {
            store,
            limits,
            store_patience,
            declared: RwLock::new(Arc::new(named(&queues))),
            terms: RwLock::new(terms.map(Arc::new)),
            access: RwLock::new(Arc::new(Access::new(tokens, &Access::default()))),
            audit: audit.map(|config| Denials { config, told: Mutex::default() }),
            clock: WallClock::system(),
            phase: watch::Sender::new(Phase::Serving),
            requests: AtomicUsize::new(0),
            counters: Counters::default(),
        });
        listener.set_nonblocking(true).context("failed to set up the listener of the API")?;
        let (own, serving) = (listener.try_clone()?, Arc::clone(&shared));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("failed to start the runtime of the API")?;
        let thread = std::thread::Builder::new().name("api".to_owned());
        let thread = thread.spawn(move || {
            if let Err(error) = runtime.block_on(listener::serve(own, serving)) {
                events.tell("api_failed", || vec![("cause", error.to_string())]);
            }
        });
        Ok(Self { listener, shared, thread: thread.context("failed to start the thread of the API")? })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Another descriptor of its socket, for the process after this one.
    pub(crate) fn socket(&self) -> std::io::Result<TcpListener> {
        self.listener.try_clone()
    }

    /// What it shows of itself.
    pub(crate) fn source(&self) -> Arc<dyn Source + Send + Sync> {
        Arc::clone(&self.shared) as Arc<_>
    }

    /// What it is spoken to under, if with TLS.
    pub(crate) fn terms(&self) -> Option<Arc<Terms>> {
        self.shared.terms()
    }

    /// Holds handshakes under `fresh` from now on; false when these are the terms in force. Whether it is TLS that is
    /// spoken stays as it was.
    pub(crate) fn update_terms(&self, fresh: Terms) -> bool {
        let changed = self.terms().is_some_and(|terms| !terms.are_those_of(&fresh));
        if changed {
            *self.shared.terms.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(fresh));
        }
        changed
    }

    /// The queues or the tokens of the file changed.
    pub(crate) fn update(&self, queues: &Queues, tokens: Tokens) {
        let access = Arc::new(Access::new(tokens, &self.shared.access()));
        *self.shared.access.write().unwrap_or_else(PoisonError::into_inner) = access;
        let fresh = Arc::new(named(queues));
        *self.shared.declared.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// Accepts no more, lets those go that wait, answers what is under way within `patience`, and lets go of the data
    /// directory. Then it stays for its connections, at most for `limit` in all: what comes on them is answered 503,
    /// and that they close, since a client can not tell a request that was never read from one that was done.
    pub(crate) async fn leave(&self, patience: Duration, limit: Duration) {
        self.shared.phase.send_replace(Phase::Leaving);
        let began = Instant::now();
        let under_way = || self.shared.requests.load(Ordering::Acquire) > 0;
        wait_while(under_way, began + patience.min(limit)).await;
        self.shared.store.close().await;
        let connected = || self.shared.counters.connections.load(Ordering::Acquire) > 0;
        wait_while(connected, began + limit).await;
    }

    /// Ends all connections, within `limit` with what is under way on them, and lets go of the data directory.
    pub(crate) async fn end(self, limit: Duration) {
        let Self { listener, shared, thread } = self;
        shared.phase.send_replace(Phase::Ending);
        // Nobody accepts any more: who connects now is to hear so at once.
        drop(listener);
        wait_while(|| !thread.is_finished(), Instant::now() + limit).await;
        shared.store.close().await;
    }
}

/// Waits for something that happens on another thread, for a short time most often.
async fn wait_while(holds: impl Fn() -> bool, end: Instant) {
    while holds() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Shared {
    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Returns once the process makes room for another, or ends.
    async fn until_it_ends(&self) {
        let mut phase = self.phase.subscribe();
        // The sender is here, so the wait ends with the phase alone.
        let _ = phase.wait_for(|phase| *phase > Phase::Serving).await;
    }

    /// Counts a request until the guard is dropped.
    fn count(&self) -> Counted<'_> {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        Counted::new(&self.requests)
    }

    fn terms(&self) -> Option<Arc<Terms>> {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who may do what, as the file says now.
    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a request that no token allows, and tells auditors of it.
    fn denied(&self, peer: IpAddr, client: Option<&Arc<Token>>, parts: &Parts, failure: &Failure) {
        self.counters.denied.fetch_add(1, Ordering::Relaxed);
        let Some(Denials { config, told }) = &self.audit else { return };
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Who has no token hides no denial of those who have one; their names are the file's, and few.
        let kind = (client.map(|client| client.name().to_owned()), failure.code.code());
        let told = told.entry(kind).or_default();
        if told.at.is_some_and(|at| now < at + config.rejections_every) {
            told.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut told.untold);
        told.at = Some(now);
        config.events.tell("api_denied", || {
            let path = parts.uri.path();
            let mut fields = vec![
                ("client", peer.to_string()),
                ("code", failure.code.code().to_owned()),
                ("method", parts.method.to_string()),
                ("path", path[..path.floor_char_boundary(PATH_SHOWN_MAX)].to_owned()),
            ];
            fields.extend(client.map(|client| ("token", client.name().to_owned())));
            fields.extend((untold > 0).then(|| ("untold_before", untold.to_string())));
            fields
        });
    }

    /// The queues of the file, and where their dead letters go if the file says it.
    fn declared(&self) -> Arc<BTreeMap<Name, Option<Name>>> {
        Arc::clone(&self.declared.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The queue that keeps what dies in `queue`.
    fn dead_letters_of(&self, queue: &Name) -> String {
        let declared = self.declared();
        let target = declared.get(queue).cloned().flatten();
        target.map_or_else(|| format!("{queue}.dead"), |target| target.to_string())
    }

    /// A failure of the store with what only its health knows: that the disk is full.
    fn told_of_a_full_disk(&self, failure: Failure) -> Failure {
        match self.store.health() {
            Some(Health::Failed { cause: StoreFailure::DiskFull { .. } })
                if failure.code == ApiCode::EngineUnavailable =>
            {
                Failure::new(ApiCode::StorageFull, failure.detail)
            }
            _ => failure,
        }
    }
}

/// The most of a path that is told of a request that was denied.
const PATH_SHOWN_MAX: usize = 200;

/// How denials are told.
struct Denials {
    config: AuditConfig,
    /// By token and code.
    told: Mutex<BTreeMap<(Option<String>, &'static str), Told>>,
}

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    untold: u64,
}

/// One of those that there are now.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::AcqRel);
        Self(all)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Source for Shared {
    fn read(&self, snapshot: &mut Snapshot) {
        let requests = self.counters.requests.load(Ordering::Relaxed);
        snapshot.counter("api_requests", "Requests of the API.", &[], requests);
        let denied = self.counters.denied.load(Ordering::Relaxed);
        snapshot.counter("api_denied", "Requests of the API that no token allowed.", &[], denied);
        let connections = self.counters.connections.load(Ordering::Relaxed) as f64;
        snapshot.gauge("api_connections", "Connections of clients of the API.", &[], connections);
        let help = "Connections that were closed at once because of connections_max of api_limits.";
        snapshot.counter("api_connections_refused", help, &[], self.counters.refused.load(Ordering::Relaxed));
        let failed = self.counters.handshakes_failed.load(Ordering::Relaxed);
        let help = "Connections to the API on which TLS was not agreed on.";
        snapshot.counter("api_handshakes_failed", help, &[], failed);
        let under_way = self.requests.load(Ordering::Relaxed) as f64;
        snapshot.gauge(
            "api_requests_under_way",
            "Requests of the API that are not answered yet.",
            &[],
            under_way,
        );
    }
}

fn named(queues: &Queues) -> BTreeMap<Name, Option<Name>> {
    queues.iter().map(|(name, spec)| (name.clone(), spec.dead_letter.clone())).collect()
}
