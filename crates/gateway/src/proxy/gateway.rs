//! The data threads together.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::telemetry::Events;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, RuntimeMetrics};
use tokio::sync::watch;

use super::access::AccessLogging;
use super::admission::{Admission, Admitted};
use super::audit::{AuditConfig, Auditor};
use super::connection;
use super::listener::{CurrentTerms, Kind, Secure, bind, bind_first};
use super::pool::Pool;
use super::trace::Tracing;
use super::worker::{FollowedPlan, Worker};
use crate::config::ClientLimitsConfig;
use crate::plan::Plan;
use crate::stats::RouteStats;
use crate::tls::{Terms, TlsStats};
use crate::wire::WireStats;

/// What the data plane needs to know besides its plan.
pub struct GatewayConfig {
    /// The addresses to listen on without TLS.
    pub listen: Vec<SocketAddr>,
    /// Where TLS is spoken, if anywhere.
    pub tls: Option<TlsListeners>,
    /// Data threads; each has its own listener on every address.
    pub threads: NonZeroUsize,
    /// What a client may take.
    pub client_limits: ClientLimitsConfig,
    /// Where finished requests are told, if anywhere.
    pub access: Option<AccessLogging>,
    /// Which traces are recorded, if any.
    pub tracing: Option<Tracing>,
    /// What auditors are told of requests, if anything.
    pub audit: Option<AuditConfig>,
    /// Where transitions and ejections are told.
    pub events: Events,
    /// The wall clock.
    pub clock: WallClock,
}

/// Where TLS is spoken.
#[derive(Debug)]
pub struct TlsListeners {
    /// The addresses to listen on with TLS, at least one.
    pub listen: Vec<SocketAddr>,
    /// The addresses at which requests are redirected to TLS.
    pub redirect: Vec<SocketAddr>,
    /// The port that they are redirected to, unless that of the first of `listen`.
    pub redirect_port: Option<u16>,
    /// What the first handshakes are held under.
    pub terms: Terms,
}

impl std::fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("listen", &self.listen)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// A running data plane.
#[derive(Debug)]
pub struct Gateway {
    plan: watch::Sender<Arc<Plan>>,
    drain: watch::Sender<bool>,
    pub(super) admission: Arc<Admission>,
    /// What requests without a route did.
    pub(super) unrouted: Arc<RouteStats>,
    pub(super) refused: Arc<WireStats>,
    addresses: Addresses,
    /// The terms of TLS, and what was done under them, where it is spoken.
    pub(super) tls: Option<(watch::Sender<Arc<Terms>>, Arc<TlsStats>)>,
    threads: Vec<JoinHandle<()>>,
    /// What each data thread's runtime measures of itself, once it runs.
    pub(super) runtimes: Vec<Arc<OnceLock<RuntimeMetrics>>>,
    pub(super) connections_max: u32,
}

/// The addresses that are listened on; a configured port 0 shows as the port that was chosen.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// Without TLS.
    pub plain: Vec<SocketAddr>,
    /// With TLS.
    pub tls: Vec<SocketAddr>,
    /// Those that redirect to TLS.
    pub redirect: Vec<SocketAddr>,
}

/// How often idle connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

impl Gateway {
    /// Binds all addresses and starts the data threads.
    ///
    /// # Errors
    /// The address that can not be listened on, and why. Nothing is left running.
    pub fn start(config: GatewayConfig, plan: Plan) -> Result<Self, (SocketAddr, io::Error)> {
        let mut listeners = Listeners::new(config.threads);
        let mut addresses = Addresses::default();
        for address in &config.listen {
            addresses.plain.push(listeners.add(*address, &Kind::Plain)?);
        }
        let mut tls = None;
        if let Some(wanted) = config.tls {
            let stats = Arc::new(TlsStats::default());
            let (sender, updates) = watch::channel(Arc::new(wanted.terms));
            let secure = Kind::Tls(Secure { terms: CurrentTerms::new(updates), stats: Arc::clone(&stats) });
            for address in &wanted.listen {
                addresses.tls.push(listeners.add(*address, &secure)?);
            }
            let first = addresses.tls.first().map_or(0, SocketAddr::port);
            let redirect =
                Kind::Redirect { stats: Arc::clone(&stats), port: wanted.redirect_port.unwrap_or(first) };
            for address in &wanted.redirect {
                addresses.redirect.push(listeners.add(*address, &redirect)?);
            }
            tls = Some((sender, stats));
        }
        let (plan, updates) = watch::channel(Arc::new(plan));
        let (drain, draining) = watch::channel(false);
        let admission = Arc::new(Admission::new(&config.client_limits));
        let connections_max = config.client_limits.connections_max.get();
        let unrouted = Arc::new(RouteStats::default());
        let refused = Arc::new(WireStats::default());
        let (mut handles, mut runtimes) = (Vec::new(), Vec::new());
        for (number, listeners) in listeners.0.into_iter().enumerate() {
            let metrics = Arc::new(OnceLock::new());
            runtimes.push(Arc::clone(&metrics));
            let thread = DataThread {
                metrics,
                listeners,
                updates: updates.clone(),
                draining: draining.clone(),
                admission: Arc::clone(&admission),
                access: config.access.clone(),
                tracing: config.tracing.clone(),
                audit: config.audit.clone(),
                events: config.events.clone(),
                clock: config.clock.clone(),
                unrouted: Arc::clone(&unrouted),
                client_limits: config.client_limits.clone(),
                refused: Arc::clone(&refused),
            };
            let handle =
                std::thread::Builder::new().name(format!("data-{number}")).spawn(move || thread.run());
            handles.push(handle.map_err(|error| (addresses.any(), error))?);
        }
        Ok(Self {
            plan,
            drain,
            admission,
            unrouted,
            refused,
            addresses,
            tls,
            threads: handles,
            runtimes,
            connections_max,
        })
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Puts other terms of TLS in force for the handshakes that begin from now on; whether they differ from
    /// those that were. Does nothing where TLS is not spoken.
    pub fn update_tls(&self, terms: Terms) -> bool {
        let Some((sender, stats)) = &self.tls else { return false };
        let differ = !terms.are_those_of(&sender.borrow());
        if differ {
            sender.send_replace(Arc::new(terms));
            stats.reloads.increment();
        }
        differ
    }

    /// Counts terms of TLS that changed and could not be put in force.
    pub fn refused_tls(&self) {
        if let Some((_, stats)) = &self.tls {
            stats.reloads_refused.increment();
        }
    }

    /// The plan in force.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.borrow())
    }

    /// Follows the plan, for health checks.
    pub fn follow(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    /// Puts another plan in force. Requests under way end under the one that they began with.
    pub fn update(&self, plan: Plan) {
        self.plan.send_replace(Arc::new(plan));
    }

    /// Client connections that are open now.
    pub fn connections(&self) -> usize {
        self.admission.open()
    }

    /// Stops listening, lets requests under way end, and closes what is still open after `limit`.
    /// Returns the number of connections that were closed so.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.drain.send_replace(true);
        let wait = async {
            while self.threads.iter().any(|thread| !thread.is_finished()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let ended = tokio::time::timeout(limit, wait).await;
        if ended.is_ok() { 0 } else { self.connections() }
    }
}

impl Addresses {
    fn any(&self) -> SocketAddr {
        let unset = SocketAddr::from(([0, 0, 0, 0], 0));
        self.plain.iter().chain(&self.tls).next().copied().unwrap_or(unset)
    }
}

/// The listeners of each data thread.
struct Listeners(Vec<Vec<(TcpListener, Kind)>>);

impl Listeners {
    fn new(threads: NonZeroUsize) -> Self {
        Self((0..threads.get()).map(|_| Vec::new()).collect())
    }

    /// Adds a listener of `kind` to each thread; the address that they are bound to.
    fn add(&mut self, address: SocketAddr, kind: &Kind) -> Result<SocketAddr, (SocketAddr, io::Error)> {
        let first = bind_first(address).map_err(|error| (address, error))?;
        let bound = first.local_addr().map_err(|error| (address, error))?;
        let mut first = Some(first);
        for thread in &mut self.0 {
            let listener = match first.take() {
                Some(first) => first,
                None => bind(bound, true).map_err(|error| (bound, error))?,
            };
            thread.push((listener, kind.clone()));
        }
        Ok(bound)
    }
}

/// What a data thread is born with.
struct DataThread {
    metrics: Arc<OnceLock<RuntimeMetrics>>,
    listeners: Vec<(TcpListener, Kind)>,
    updates: watch::Receiver<Arc<Plan>>,
    draining: watch::Receiver<bool>,
    admission: Arc<Admission>,
    access: Option<AccessLogging>,
    tracing: Option<Tracing>,
    audit: Option<AuditConfig>,
    events: Events,
    clock: WallClock,
    unrouted: Arc<RouteStats>,
    client_limits: ClientLimitsConfig,
    refused: Arc<WireStats>,
}

impl DataThread {
    fn run(self) {
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                let _ = self.metrics.set(runtime.handle().metrics());
                runtime.block_on(self.serve());
            }
            Err(error) => self.events.tell("data_thread_failed", || vec![("error", error.to_string())]),
        }
    }

    async fn serve(self) {
        let worker = Rc::new(Worker {
            pool: Pool::default(),
            access: self.access,
            tracing: self.tracing,
            auditor: self.audit.map(Auditor::new),
            events: self.events,
            clock: self.clock,
            client_limits: self.client_limits,
            refused: self.refused,
            unrouted: self.unrouted,
            plan: FollowedPlan::new(self.updates),
            told: Cell::default(),
        });
        let mut accepting = Vec::new();
        for (listener, kind) in self.listeners {
            let (worker, draining) = (Rc::clone(&worker), self.draining.clone());
            let admission = Arc::clone(&self.admission);
            accepting.push(tokio::task::spawn_local(accept(worker, listener, kind, draining, admission)));
        }
        let sweeper = tokio::task::spawn_local({
            let worker = Rc::clone(&worker);
            async move {
                loop {
                    tokio::time::sleep(SWEEP_EVERY).await;
                    worker.pool.sweep(&worker.plan.get().services);
                }
            }
        });
        for task in accepting {
            let _ = task.await;
        }
        sweeper.abort();
    }
}

/// Accepts until the drain begins, then waits for the connections it accepted.
async fn accept(
    worker: Rc<Worker>,
    listener: TcpListener,
    kind: Kind,
    mut draining: watch::Receiver<bool>,
    admission: Arc<Admission>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            return worker.events.tell("listener_failed", || vec![("error", error.to_string())]);
        }
    };
    let drain = draining.clone();
    let admit = |client: SocketAddr| {
        let admitted = admission.admit(client.ip());
        if let Err(limit) = &admitted {
            worker.events.tell("connection_refused", || {
                vec![("client", client.ip().to_string()), ("limit", limit.name().to_owned())]
            });
        }
        admitted.ok()
    };
    let serve = |stream: TcpStream, client: SocketAddr, admitted: Admitted| {
        // Without it Nagle's algorithm and delayed acknowledgements can add 40 ms to an answer.
        let _ = stream.set_nodelay(true);
        let (worker, kind, drain) = (Rc::clone(&worker), kind.clone(), drain.clone());
        async move {
            let _admitted = admitted;
            connection::run(worker, kind, stream, client.ip(), drain).await;
        }
    };
    let mut open = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                while open.try_join_next().is_some() {}
                if let Some(admitted) = admit(client) {
                    open.spawn_local(serve(stream, client, admitted));
                }
            }
            Err(error) => {
                // Out of descriptors or memory: others must finish first, and spinning helps nobody.
                worker.events.tell("accept_failed", || vec![("error", error.to_string())]);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Whoever was already connected is served: what waits in the queue is accepted, not reset. Asked directly,
    // since the runtime may not have heard of it yet.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, client)) = listener.accept() {
            let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) else {
                continue;
            };
            if let Some(admitted) = admit(client) {
                open.spawn_local(serve(stream, client, admitted));
            }
        }
    }
    while open.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::LocalSet;

    use super::*;
    use crate::config::TrafficConfig;

    /// A data thread's world that answers every request itself, since its one route wants none.
    fn worker() -> Worker {
        let service = toml::from_str("endpoints = [{ at = \"127.0.0.1:1\" }]").expect("a service");
        let route = toml::from_str("to = \"s\"").expect("a route");
        let traffic = TrafficConfig {
            services: [("s".to_owned(), service)].into(),
            routes: [("/elsewhere".to_owned(), route)].into(),
            ..TrafficConfig::default()
        };
        Worker::serving(&traffic)
    }

    #[tokio::test]
    async fn clients_that_wait_to_be_accepted_when_the_drain_begins_are_served() {
        let listener = bind(([127, 0, 0, 1], 0).into(), false).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = TcpStream::connect(address).await.expect("queued");
            client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
            clients.push(client);
        }
        let (_drain, draining) = watch::channel(true);
        let admission = Arc::new(Admission::new(&ClientLimitsConfig::default()));
        let accepting = accept(Rc::new(worker()), listener, Kind::Plain, draining, Arc::clone(&admission));
        let reading = async {
            for (number, mut client) in clients.into_iter().enumerate() {
                let mut answer = String::new();
                let read = client.read_to_string(&mut answer).await;
                assert!(read.is_ok() && answer.starts_with("HTTP/1.1 404 "), "{number}: {read:?} {answer}");
            }
        };
        let local = LocalSet::new();
        let all = local.run_until(async { tokio::join!(accepting, reading) });
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("the drain ends");
        assert_eq!(admission.open(), 0);
        assert!(TcpStream::connect(address).await.is_err(), "nobody new is taken");
    }
}
