//! `intertie up`: the control thread around the data threads.

mod reload;
mod succession;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use anyhow::Context;
use intertie_core::clock::WallClock;
use intertie_core::telemetry::{Events, Source};
use intertie_gateway::config::{Problem, Severity};
use intertie_gateway::forwarded::Trust;
use intertie_gateway::plan::{Plan, Report};
use intertie_gateway::proxy::{AccessLogging, Addresses, Gateway, GatewayConfig, Role, TlsListeners};
use intertie_gateway::tls::{ServiceTls, Terms, tell_of_expired_lists};
use intertie_messaging::DeclareError;
use intertie_observe::access_log::{self, AccessLog};
use intertie_observe::event_log::{self, Latest};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::{self, Admin};
use crate::api::{Api, ApiConfig, Tokens};
use crate::audit::Audit;
use crate::file::{AccessLogConfig, AccessLogFormat, Loaded};
use crate::operation::{Activation, Notify, State, Takeover, listen_failure, needed, raise_limit};
use crate::series::Series;
use crate::store::{Store, Undeclared};
use crate::traces::TraceExport;
use crate::watch::Watch;

/// Events that wait to be written.
const EVENTS_QUEUE: usize = 4096;

/// How long the end of the process waits for the access log to be written.
const ACCESS_LOG_PATIENCE: Duration = Duration::from_secs(5);

/// How long requests of the API may take in the old process of a takeover, while the new one waits for the data
/// directory. They are short; those that wait for messages are let go at once.
const API_PATIENCE: Duration = Duration::from_secs(5);

/// The last event of a server's life.
const STOPPED: &str = "server_stopped";

/// Why there is no server.
pub(crate) enum Failure {
    /// The file can not run; ready to be printed.
    Refused(String),
    /// The file is good, but the machine did not let us.
    NotStarted(anyhow::Error),
    /// An address of the file can not be listened on; ready to be printed.
    NotListening(String),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::NotStarted(error)
    }
}

/// Serves until a signal ends it, on the sockets of `activation` where it has those of the file.
pub(crate) fn run(
    mut loaded: Loaded,
    activation: Activation,
    until_stdin_closes: bool,
) -> Result<(), Failure> {
    let events = Events::new(WallClock::system());
    let refused = |problems: Vec<_>| Failure::Refused(loaded.render(&problems));
    let terms = loaded.terms(None).map_err(refused)?;
    let collector = loaded.collector_terms().map_err(refused)?;
    let compiled = loaded.plan(None, &events);
    let (plan, report) = compiled.map_err(|report| Failure::Refused(loaded.render(&worth_saying(report))))?;
    if let Some(problem) = Series::of(&plan, &loaded).problem(&loaded) {
        return Err(Failure::Refused(loaded.render(&[problem])));
    }
    let api_terms = loaded.api_terms(None).map_err(|problems| Failure::Refused(loaded.render(&problems)))?;
    let tokens = loaded.tokens().map_err(|problems| Failure::Refused(loaded.render(&problems)))?;
    let doubts = [terms.1, api_terms.1, collector.1, worth_saying(report)].concat();
    eprint!("{}", loaded.render(&doubts));
    loaded.forget_routes();
    let birth = Birth {
        loaded,
        activation,
        plan,
        terms: terms.0,
        collector: collector.0,
        api_terms: api_terms.0,
        tokens,
        events,
    };
    serve(birth, until_stdin_closes)
}

/// What a server is born with.
struct Birth {
    loaded: Loaded,
    activation: Activation,
    plan: Plan,
    terms: Option<Terms>,
    /// What the collector of traces is spoken to under, if with TLS.
    collector: Option<ServiceTls>,
    /// What clients of the API speak under, if with TLS.
    api_terms: Option<Terms>,
    tokens: Tokens,
    events: Events,
}

fn serve(birth: Birth, until_stdin_closes: bool) -> Result<(), Failure> {
    let clock = WallClock::system();
    let latest = Latest::default();
    let events = birth.events.clone();
    let event_writer = spawn_event_writer(&events, &latest)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("failed to start the control thread")?;
    // A signal may come as soon as someone knows of this process, which in a takeover is before it serves.
    let signals = {
        let _entered = runtime.enter();
        Signals::listen().context("failed to listen to signals")?
    };
    let server = Server::start(birth, latest, &clock)?;
    let served = runtime.block_on(server.run(signals, until_stdin_closes));
    // A thread that waits for the standard input would hold an orderly shutdown up for ever.
    runtime.shutdown_background();
    drop(events);
    let _ = event_writer.join();
    Ok(served?)
}

fn spawn_event_writer(events: &Events, latest: &Latest) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let received: mpsc::Receiver<_> = events.subscribe(EVENTS_QUEUE);
    let latest = latest.clone();
    let thread = std::thread::Builder::new().name("event-log".to_owned());
    Ok(thread.spawn(move || event_log::run(&received, std::io::stderr(), &latest, STOPPED))?)
}

/// The signals that a server takes.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    succeed: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            succeed: signal(SignalKind::user_defined2())?,
        })
    }
}

struct Server {
    gateway: Arc<Gateway>,
    notify: Notify,
    admin_listener: std::net::TcpListener,
    latest: Latest,
    access: Option<(Arc<AccessLog>, access_log::Writer)>,
    traces: Option<TraceExport>,
    audit: Option<Audit>,
    /// The API and the data directory behind it, if the file wants one.
    api: Option<(Api, Store)>,
    /// The services without which the server is not ready.
    needed: Arc<Mutex<Vec<String>>>,
    loaded: Loaded,
    events: Events,
    /// The process that is to come after this one, if one was started.
    takeover: Option<Takeover>,
}

impl Server {
    fn start(birth: Birth, latest: Latest, clock: &WallClock) -> Result<Self, Failure> {
        let Birth { loaded, mut activation, plan, terms, collector, api_terms, tokens, events } = birth;
        let server = &loaded.server;
        let not_listening =
            |address, error: std::io::Error| Failure::NotListening(listen_failure(&loaded, address, &error));
        let notify = Notify::from_environment().context("failed to reach NOTIFY_SOCKET")?;
        warn_of_descriptors(&loaded, &plan);
        let admin_listener = match activation.sockets.take(Role::Admin, server.admin).pop() {
            Some(handed_over) => handed_over,
            None => std::net::TcpListener::bind(server.admin)
                .map_err(|error| not_listening(server.admin, error))?,
        };
        admin_listener.set_nonblocking(true).context("failed to set up the admin listener")?;
        let api_listener =
            loaded.api().map(|address| match activation.sockets.take(Role::Api, address).pop() {
                Some(handed_over) => Ok(handed_over),
                None => std::net::TcpListener::bind(address).map_err(|error| not_listening(address, error)),
            });
        let api_listener = api_listener.transpose()?;
        // Before anything is served: a directory or a queue that is wrong is no server. In a takeover the process
        // before has the directory for as long as it serves.
        let store = match loaded.data().filter(|_| activation.successor.is_none()) {
            Some(directory) => Some(open_store(&loaded, &directory, &events)?),
            None => None,
        };
        let access = open_access_log(&server.access_log.0, clock)?;
        let audit = server.audit_log.as_ref();
        let audit = audit.map(|config| Audit::start(config, &events, clock, STOPPED)).transpose()?;
        let traces = server.traces.as_ref();
        let export = |config| TraceExport::new(config, collector, loaded.folder(), &events);
        let traces = traces.map(export).transpose()?;
        let logging = access.as_ref().map(|(log, _)| {
            let log = Arc::clone(log);
            let terms = Arc::new(server.access_log.0.terms());
            AccessLogging { sink: Arc::new(move |access| log.log(access)), terms }
        });
        let config = GatewayConfig {
            listen: server.listen.clone(),
            tls: terms.map(|terms| TlsListeners {
                listen: loaded.tls.listen.clone(),
                redirect: loaded.tls.redirect.clone(),
                redirect_port: loaded.tls.redirect_port,
                terms,
            }),
            threads: server.threads(),
            after_another: activation.successor.is_some(),
            client_limits: server.client_limits.clone(),
            answers: server.answers.clone(),
            trust: Trust {
                proxies: server.trusted_proxies.clone(),
                header: server.forwarded_header,
                proxy_protocol: server.proxy_protocol,
                tls_proxy_protocol: loaded.tls.proxy_protocol,
            },
            access: logging,
            audit: audit.as_ref().map(Audit::config),
            tracing: traces.as_ref().map(TraceExport::tracing),
            events: events.clone(),
            clock: clock.clone(),
        };
        let gateway = Gateway::start(config, plan, &mut activation.sockets)
            .map_err(|(address, error)| not_listening(address, error))?;
        let mut successor = activation.successor.take();
        for address in activation.released(&loaded.addresses(), successor.is_some())? {
            events.tell("listener_released", || vec![("address", address.to_string())]);
        }
        if let Some(successor) = &mut successor {
            successor.take_over().context("the process before goes on serving")?;
        }
        gateway.open();
        let store = store.or_else(|| {
            let directory = loaded.data()?;
            Some(Store::open_after_another(directory, loaded.queues.clone(), &events))
        });
        let api = api_listener.zip(store).map(|(listener, store)| {
            let config = ApiConfig {
                listener,
                terms: api_terms,
                limits: server.api_limits.clone(),
                store: store.clone(),
                store_patience: server.takeover_timeout,
                queues: loaded.queues.clone(),
                tokens,
                events: events.clone(),
                audit: audit.as_ref().map(Audit::config),
            };
            Api::start(config).map(|api| (api, store))
        });
        let api = api.transpose()?;
        if let Some(successor) = successor {
            successor.accepts();
        }
        let needed = Arc::new(Mutex::new(server.ready.services.clone()));
        Ok(Self {
            gateway: Arc::new(gateway),
            notify,
            admin_listener,
            latest,
            access,
            traces,
            audit,
            api,
            needed,
            loaded,
            events,
            takeover: None,
        })
    }

    async fn run(mut self, signals: Signals, until_stdin_closes: bool) -> anyhow::Result<()> {
        let Signals { mut hangup, mut terminate, mut interrupt, mut succeed } = signals;
        let admin_address = self.admin_listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(self.admin_listener.try_clone()?)?;
        let mut sources: Vec<Arc<dyn Source + Send + Sync>> = vec![Arc::clone(&self.gateway) as Arc<_>];
        sources.extend(self.access.as_ref().map(|(log, _)| Arc::clone(log) as Arc<dyn Source + Send + Sync>));
        sources.extend(self.audit.as_ref().map(Audit::source));
        sources.extend(self.traces.as_ref().map(TraceExport::source));
        if let Some((api, store)) = &self.api {
            sources.extend([api.source(), Arc::new(store.clone())]);
        }
        if let Some(traces) = &mut self.traces {
            traces.run();
        }
        let admin = Arc::new(Admin::new(
            Arc::clone(&self.gateway),
            sources,
            self.latest.clone(),
            self.events.clone(),
            Arc::clone(&self.needed),
            self.api.as_ref().map(|(_, store)| store.clone()),
        ));
        let admin_task = tokio::spawn(admin::serve(listener, Arc::clone(&admin)));
        let health_task =
            tokio::spawn(intertie_gateway::health::run(self.gateway.follow(), self.events.clone()));
        let lists_task = self.gateway.follow_tls().map(|terms| {
            tokio::spawn(tell_of_expired_lists(terms, self.events.clone(), WallClock::system()))
        });
        self.events.tell("server_started", || {
            let mut fields = listening(self.gateway.addresses());
            fields.push(("admin", admin_address.to_string()));
            let api = self.api.as_ref().and_then(|(api, _)| api.address().ok());
            fields.extend(api.map(|address| ("api", address.to_string())));
            fields.push(("threads", self.gateway.threads().to_string()));
            fields.push(("file", self.loaded.path.display().to_string()));
            fields
        });
        self.tell_ready();
        self.tell_of_undeclared_queues().await;
        let mut watch = Watch::new(vec![self.loaded.path.clone()]);
        let mut watched = self.loaded.terms_files();
        let mut terms_watch = Watch::new(watched.clone());
        let mut stdin_closed = Box::pin(stdin_closed(until_stdin_closes));
        let cause = loop {
            let files = self.loaded.terms_files();
            if files != watched {
                terms_watch = Watch::new(files.clone());
                watched = files;
            }
            tokio::select! {
                () = terms_watch.changed() => {
                    self.reload_terms();
                    self.reload_api_terms();
                    self.reload_service_terms();
                }
                _ = hangup.recv() => self.reload_for_manager("SIGHUP", true).await,
                () = watch.changed() => self.reload_for_manager("the file changed", false).await,
                _ = succeed.recv() => self.begin_takeover(),
                progress = succession::progress(&mut self.takeover) => {
                    if self.continue_takeover(progress).await {
                        break Cause::Takeover;
                    }
                }
                () = watchdog(self.notify.watchdog_every()) => self.notify.tell(State::Watchdog, ""),
                _ = terminate.recv() => break Cause::Told("SIGTERM"),
                _ = interrupt.recv() => break Cause::Told("SIGINT"),
                () = &mut stdin_closed => break Cause::StdinClosed,
            }
        };
        if let Some(takeover) = self.takeover.take() {
            takeover.give_up().await;
        }
        let limit = self.loaded.server.drain;
        health_task.abort();
        if let Some(task) = lists_task {
            task.abort();
        }
        let drain: Pin<Box<dyn Future<Output = usize> + '_>> = if cause == Cause::Takeover {
            // The new process answers for the address from now on.
            admin_task.abort();
            admin.leave();
            let api = self.api.as_ref();
            let gateway = &self.gateway;
            Box::pin(async move {
                let leave = async {
                    if let Some((api, _)) = api {
                        api.leave(API_PATIENCE, limit).await;
                    }
                };
                tokio::join!(gateway.leave(limit), leave).0
            })
        } else {
            admin.drain();
            self.notify.tell(State::Stopping, "draining");
            let api = self.api.take();
            let gateway = &self.gateway;
            Box::pin(async move {
                let end = async {
                    if let Some((api, _)) = api {
                        api.end(limit).await;
                    }
                };
                tokio::join!(gateway.drain(limit), end).0
            })
        };
        // Told when it holds: whoever reads this finds that connections are asked to go.
        self.events.tell("drain_began", || vec![("cause", cause.name().to_owned())]);
        let left = tokio::select! {
            left = drain => left,
            // A second signal means it.
            _ = terminate.recv() => self.gateway.connections(),
            _ = interrupt.recv() => self.gateway.connections(),
            () = &mut stdin_closed, if cause != Cause::StdinClosed => self.gateway.connections(),
        };
        if let Some(traces) = self.traces.take() {
            traces.flush(&self.events).await;
        }
        self.events.tell(STOPPED, || vec![("connections_cut", left.to_string())]);
        if let Some(audit) = self.audit.take()
            && !audit.finish().await
        {
            eprintln!("warning: the audit log could not be written to its end");
        }
        admin_task.abort();
        let _ = admin_task.await;
        drop(admin);
        drop(self.gateway);
        if let Some((log, writer)) = self.access.take() {
            drop(log);
            // Connections that were cut, and admin clients, may hold the log a little longer.
            let started = tokio::time::Instant::now();
            while !writer.is_finished() && started.elapsed() < ACCESS_LOG_PATIENCE {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }
}

/// Opens the data directory and makes the queues what the file says.
fn open_store(loaded: &Loaded, directory: &Path, events: &Events) -> Result<Store, Failure> {
    let opened = Store::open(directory, &loaded.queues, events);
    match opened.map_err(|error| Failure::NotStarted(error.into()))? {
        Ok(store) => Ok(store),
        Err(undeclared) => Err(Failure::Refused(loaded.render(&[undeclared_problem(&undeclared)]))),
    }
}

/// A queue that can not become what the file says, with its place.
fn undeclared_problem(undeclared: &Undeclared) -> Problem {
    match undeclared {
        Undeclared::Queue(name, error) => {
            let key = match error {
                DeclareError::Fixed { key, .. } => key,
                DeclareError::DeadLetter { .. } => "dead_letter",
                DeclareError::Invalid(invalid) => invalid.field,
                DeclareError::Refused(_) | DeclareError::Engine(_) => "",
            };
            let message = format!("the queue `{name}` can not be what the file says: {error}");
            Problem::error(["queue", name.as_str(), key], message)
        }
        Undeclared::Absent(absent) => {
            Problem::error(["server", "data"], format!("no queue can be declared: {absent}"))
        }
    }
}

/// Why a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// This signal came.
    Told(&'static str),
    /// Another process serves in its place.
    Takeover,
    /// Whoever started it is gone.
    StdinClosed,
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Self::Told(signal) => signal,
            Self::Takeover => "a new process serves",
            Self::StdinClosed => "the standard input closed",
        }
    }
}

/// Raises the limit on descriptors, and warns when the clients that the file admits could need more.
fn warn_of_descriptors(loaded: &Loaded, plan: &Plan) {
    let clients = loaded.server.client_limits.connections_max.get();
    let needed = needed(clients, plan) + u64::from(loaded.api_connections());
    match raise_limit() {
        Ok(limit) if limit < needed => say(&format!(
            "warning: the process may open {limit} files (RLIMIT_NOFILE), and {clients} connections \
             (connections_max) with theirs to services can need {needed}\n  \
             = help: raise it (LimitNOFILE= in a unit, `ulimit -Hn` in a shell), or lower connections_max\n\n"
        )),
        Ok(_) => {}
        Err(error) => say(&format!("warning: the limit on open files can not be raised: {error}\n\n")),
    }
}

/// Writes to the standard error output in one piece: in a takeover two processes do.
fn say(text: &str) {
    eprint!("{text}");
}

/// Returns when the manager wants to hear that all is well.
async fn watchdog(every: Option<Duration>) {
    match every {
        Some(every) => tokio::time::sleep(every).await,
        None => std::future::pending().await,
    }
}

/// The addresses of the listeners that there are.
fn listening(addresses: &Addresses) -> Vec<(&'static str, String)> {
    let kinds = [("listen", &addresses.plain), ("tls", &addresses.tls), ("redirect", &addresses.redirect)];
    let said = kinds.into_iter().filter(|(_, addresses)| !addresses.is_empty()).map(|(kind, addresses)| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        (kind, addresses.join(","))
    });
    said.collect()
}

/// What a server says of a file: errors and warnings. Notes are for `check`.
fn worth_saying(report: Report) -> Vec<Problem> {
    report.problems.into_iter().filter(|problem| problem.severity > Severity::Note).collect()
}

fn open_access_log(
    config: &AccessLogConfig,
    clock: &WallClock,
) -> anyhow::Result<Option<(Arc<AccessLog>, access_log::Writer)>> {
    let target: Box<dyn Write + Send> = match config.to.as_str() {
        "off" => return Ok(None),
        "stdout" => Box::new(std::io::stdout()),
        path => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Box::new(file.with_context(|| format!("failed to open the access log {path}"))?)
        }
    };
    let format = match config.format {
        AccessLogFormat::Json => access_log::Format::Json,
        AccessLogFormat::Text => access_log::Format::Text,
    };
    let (log, writer) = AccessLog::start(target, format, config.queue, clock.clone())?;
    Ok(Some((Arc::new(log), writer)))
}

async fn stdin_closed(watched: bool) {
    if !watched {
        return std::future::pending().await;
    }
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 64];
    while stdin.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}
