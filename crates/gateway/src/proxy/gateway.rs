//! The data threads together.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::telemetry::Events;
use tokio::sync::watch;

use super::access::AccessLogging;
use super::admission::Admission;
use super::audit::AuditConfig;
use super::busy::BusyTimes;
use super::data_thread::Birth;
use super::generation::Generation;
use super::handover::{HandedOver, Role};
use super::listener::{CurrentTerms, Kind, Secure};
use super::sockets::Sockets;
use super::trace::Tracing;
use crate::config::{AnswersConfig, ClientLimitsConfig};
use crate::forwarded::Trust;
use crate::plan::Plan;
use crate::proxy_protocol::ProxyProtocolStats;
use crate::stats::RouteStats;
use crate::tls::{ServiceTlsReloads, Terms, TlsStats};
use crate::wire::WireStats;

/// What the data plane needs to know besides its plan.
pub struct GatewayConfig {
    /// The addresses to listen on without TLS.
    pub listen: Vec<SocketAddr>,
    /// Where TLS is spoken, if anywhere.
    pub tls: Option<TlsListeners>,
    /// Data threads; each has its own socket on every address.
    pub threads: NonZeroUsize,
    /// Whether another process serves the sockets that it handed over until [`Gateway::open`]. Before it none is
    /// bound beside them: should this process not come to serve, clients that wait there would be reset.
    pub after_another: bool,
    /// What a client may take.
    pub client_limits: ClientLimitsConfig,
    /// What the gateway says of itself.
    pub answers: AnswersConfig,
    /// Whose word counts for who a client is.
    pub trust: Trust,
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
    /// Those that accept, after those that only serve what they accepted before.
    generations: Mutex<Vec<Generation>>,
    /// None once the gateway accepts no more.
    sockets: Mutex<Vec<Sockets>>,
    after_another: bool,
    birth: Birth,
    pub(super) admission: Arc<Admission>,
    /// What requests without a route did.
    pub(super) unrouted: Arc<RouteStats>,
    pub(super) refused: Arc<WireStats>,
    pub(super) introductions: Arc<ProxyProtocolStats>,
    addresses: Addresses,
    /// The terms of TLS, and what was done under them, where it is spoken.
    pub(super) tls: Option<(watch::Sender<Arc<Terms>>, Arc<TlsStats>)>,
    /// What became of changed files of TLS towards services.
    pub(super) service_tls: ServiceTlsReloads,
    pub(super) busy: BusyTimes,
    pub(super) connections_max: u32,
}

/// Data threads that make room for others.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Retired {
    generation: u64,
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

impl Gateway {
    /// Takes over or binds all addresses and starts the data threads, which accept after [`Self::open`]. What
    /// is left in `handed_over` is nobody's.
    ///
    /// # Errors
    /// The address that can not be listened on, and why. Nothing is left running.
    pub fn start(
        config: GatewayConfig,
        plan: Plan,
        handed_over: &mut HandedOver,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut sockets = Vec::new();
        let mut listen = |role: Role, kind: &Kind, address: SocketAddr| {
            let opened = Sockets::open(role, kind.clone(), address, handed_over);
            let opened = opened.map_err(|error| (address, error))?;
            let bound = opened.address;
            sockets.push(opened);
            Ok(bound)
        };
        let mut addresses = Addresses::default();
        for address in &config.listen {
            addresses.plain.push(listen(Role::Plain, &Kind::Plain, *address)?);
        }
        let mut tls = None;
        if let Some(wanted) = config.tls {
            let stats = Arc::new(TlsStats::default());
            let (sender, updates) = watch::channel(Arc::new(wanted.terms));
            let secure = Kind::Tls(Secure { terms: CurrentTerms::new(updates), stats: Arc::clone(&stats) });
            for address in &wanted.listen {
                addresses.tls.push(listen(Role::Tls, &secure, *address)?);
            }
            let first = addresses.tls.first().map_or(0, SocketAddr::port);
            let redirect =
                Kind::Redirect { stats: Arc::clone(&stats), port: wanted.redirect_port.unwrap_or(first) };
            for address in &wanted.redirect {
                addresses.redirect.push(listen(Role::Redirect, &redirect, *address)?);
            }
            tls = Some((sender, stats));
        }
        let (plan, updates) = watch::channel(Arc::new(plan));
        let admission = Arc::new(Admission::new(&config.client_limits));
        let connections_max = config.client_limits.connections_max.get();
        let unrouted = Arc::new(RouteStats::default());
        let refused = Arc::new(WireStats::default());
        let introductions = Arc::new(ProxyProtocolStats::default());
        let busy = BusyTimes::default();
        let birth = Birth {
            updates,
            admission: Arc::clone(&admission),
            access: config.access,
            tracing: config.tracing,
            audit: config.audit,
            events: config.events,
            clock: config.clock,
            unrouted: Arc::clone(&unrouted),
            client_limits: config.client_limits,
            answers: config.answers,
            trust: config.trust,
            introductions: Arc::clone(&introductions),
            refused: Arc::clone(&refused),
            busy: busy.clone(),
        };
        let gateway = Self {
            plan,
            generations: Mutex::default(),
            sockets: Mutex::new(sockets),
            after_another: config.after_another,
            birth,
            admission,
            unrouted,
            refused,
            introductions,
            addresses,
            tls,
            service_tls: ServiceTlsReloads::default(),
            busy,
            connections_max,
        };
        match gateway.begin(config.threads) {
            Ok(()) => Ok(gateway),
            Err(error) => Err((gateway.addresses.any(), error)),
        }
    }

    /// Lets the data threads accept.
    pub fn open(&self) {
        let replaced = if self.after_another { self.spread() } else { None };
        self.generations().iter().for_each(Generation::open);
        if let Some(replaced) = replaced {
            replaced.end_unopened();
        }
    }

    /// Starts the first generation.
    fn begin(&self, threads: NonZeroUsize) -> io::Result<()> {
        let mut sockets = self.sockets();
        let first = if self.after_another {
            self.bear(0, &sockets, threads)?
        } else {
            self.bear_on_more(0, &mut sockets, threads)?
        };
        self.generations().push(first);
        Ok(())
    }

    /// Binds the sockets that were not bound beside those of another process, and puts threads that accept
    /// from them in the place of those that stand. Returns these; they share what there is where that fails.
    fn spread(&self) -> Option<Generation> {
        let threads = NonZeroUsize::new(self.threads())?;
        let mut sockets = self.sockets();
        if sockets.iter().all(|sockets| sockets.count() >= threads.get()) {
            return None;
        }
        let mut generations = self.generations();
        let first = generations.last_mut()?;
        match self.bear_on_more(first.number + 1, &mut sockets, threads) {
            Ok(next) => Some(std::mem::replace(first, next)),
            Err(error) => {
                self.birth.events.tell("threads_refused", || {
                    vec![("threads", threads.to_string()), ("cause", error.to_string())]
                });
                None
            }
        }
    }

    /// Data threads that accept.
    pub fn threads(&self) -> usize {
        self.generations().last().map_or(0, Generation::threads)
    }

    /// Puts another number of data threads to work, if it is another, on the same sockets. Those before accept
    /// no more and ask their connections to go; [`Self::retire`] waits for them.
    ///
    /// # Errors
    /// The system gives no more threads or descriptors; everything is as it was.
    pub fn set_threads(&self, threads: NonZeroUsize) -> io::Result<Option<Retired>> {
        if self.threads() == threads.get() {
            return Ok(None);
        }
        self.succeed(threads)
    }

    /// Starts the next generation, and asks the one before to go.
    fn succeed(&self, threads: NonZeroUsize) -> io::Result<Option<Retired>> {
        let mut sockets = self.sockets();
        let mut generations = self.generations();
        let before = generations.last().map(|before| before.number);
        let number = before.map_or(0, |before| before + 1);
        let next = self.bear_on_more(number, &mut sockets, threads)?;
        if let Some(before) = generations.last() {
            next.open();
            before.leave();
        }
        generations.push(next);
        Ok(before.map(|generation| Retired { generation }))
    }

    /// A generation that could accept from `sockets`, of which it binds more.
    fn bear_on_more(
        &self,
        number: u64,
        sockets: &mut [Sockets],
        threads: NonZeroUsize,
    ) -> io::Result<Generation> {
        let counts: Vec<_> = sockets.iter().map(Sockets::count).collect();
        sockets.iter_mut().for_each(|sockets| sockets.extend(threads, &self.birth.events));
        self.bear(number, sockets, threads).inspect_err(|_| {
            // Nobody would accept from those that were bound just now, and the kernel would give them clients.
            sockets.iter_mut().zip(&counts).for_each(|(sockets, count)| sockets.truncate(*count));
        })
    }

    /// A generation that could accept from `sockets`.
    fn bear(&self, number: u64, sockets: &[Sockets], threads: NonZeroUsize) -> io::Result<Generation> {
        let mut shares: Vec<_> = (0..threads.get()).map(|_| Vec::new()).collect();
        for sockets in sockets {
            for (share, more) in shares.iter_mut().zip(sockets.share(threads)?) {
                share.extend(more);
            }
        }
        Generation::start(number, &self.birth, shares)
    }

    /// Waits until the connections of `retired` have gone, and cuts those that have not after `limit`. Returns
    /// the number of threads that were cut so. Cancelled, nothing is cut.
    pub async fn retire(&self, retired: Retired, limit: Duration) -> usize {
        let own = |generation: &Generation| generation.number == retired.generation;
        let serving = || self.generations().iter().filter(|of| own(of)).map(Generation::serving).sum();
        ended(serving, limit).await;
        let cut = serving();
        self.generations().retain(|generation| !own(generation));
        cut
    }

    /// A duplicate of each listening socket with its role, for the process that comes after this one.
    ///
    /// # Errors
    /// The system gives no more descriptors.
    pub fn hand_over(&self) -> io::Result<Vec<(Role, TcpListener)>> {
        let mut duplicates = Vec::new();
        for sockets in self.sockets().iter() {
            duplicates.extend(sockets.duplicates()?.into_iter().map(|socket| (sockets.role, socket)));
        }
        Ok(duplicates)
    }

    fn generations(&self) -> MutexGuard<'_, Vec<Generation>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<Sockets>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Follows the terms of TLS, where it is spoken.
    pub fn follow_tls(&self) -> Option<watch::Receiver<Arc<Terms>>> {
        self.tls.as_ref().map(|(sender, _)| sender.subscribe())
    }

    /// Counts terms of TLS that changed and could not be put in force.
    pub fn refused_tls(&self) {
        if let Some((_, stats)) = &self.tls {
            stats.reloads_refused.increment();
        }
    }

    /// Puts a plan in force in which services are spoken to under other terms of TLS.
    pub fn update_service_tls(&self, plan: Plan) {
        self.update(plan);
        self.service_tls.reloads.increment();
    }

    /// Counts terms of TLS towards services that changed and could not be put in force.
    pub fn refused_service_tls(&self) {
        self.service_tls.refused.increment();
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
    pub fn drain(&self, limit: Duration) -> impl Future<Output = usize> {
        self.end(Generation::drain, limit)
    }

    /// The same for a process whose listening sockets another one serves from now on: clients come back to that
    /// one, so an idle connection may be used once more before it is closed.
    pub fn leave(&self, limit: Duration) -> impl Future<Output = usize> {
        self.end(Generation::leave, limit)
    }

    /// The threads are told at once, and waited for by the future.
    fn end(&self, tell: fn(&Generation), limit: Duration) -> impl Future<Output = usize> {
        // First, so that each socket is closed by a thread that has just emptied its queue.
        self.sockets().clear();
        self.generations().iter().for_each(tell);
        let serving = || self.generations().iter().map(Generation::serving).sum();
        async move { if ended(serving, limit).await { 0 } else { self.connections() } }
    }
}

/// Whether the number of threads that serve comes down to none within `limit`.
async fn ended(serving: impl Fn() -> usize, limit: Duration) -> bool {
    let wait = async {
        while serving() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(limit, wait).await.is_ok()
}

impl Addresses {
    fn any(&self) -> SocketAddr {
        let unset = SocketAddr::from(([0, 0, 0, 0], 0));
        self.plain.iter().chain(&self.tls).next().copied().unwrap_or(unset)
    }
}
