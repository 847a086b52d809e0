//! `intertie up`: the control thread around the data threads.

use std::fs::OpenOptions;
use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::Context;
use intertie_core::clock::WallClock;
use intertie_core::telemetry::{Events, Source};
use intertie_gateway::config::{Problem, Severity};
use intertie_gateway::plan::{Plan, Report};
use intertie_gateway::proxy::{AccessLogging, Addresses, Gateway, GatewayConfig, TlsListeners};
use intertie_gateway::tls::Terms;
use intertie_observe::access_log::{self, AccessLog};
use intertie_observe::event_log::{self, Latest};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{self, Admin};
use crate::audit::Audit;
use crate::file::{AccessLogConfig, AccessLogFormat, Loaded, ServerConfig};
use crate::series::Series;
use crate::traces::TraceExport;
use crate::watch::Watch;

/// Events that wait to be written.
const EVENTS_QUEUE: usize = 4096;

/// How long the end of the process waits for the access log to be written.
const ACCESS_LOG_PATIENCE: Duration = Duration::from_secs(5);

/// The last event of a server's life.
const STOPPED: &str = "server_stopped";

/// Why there is no server.
pub(crate) enum Failure {
    /// The file can not run; ready to be printed.
    Refused(String),
    /// The file is good, but the machine did not let us.
    NotStarted(anyhow::Error),
}

/// Serves until a signal ends it.
pub(crate) fn run(loaded: Loaded, until_stdin_closes: bool) -> Result<(), Failure> {
    let events = Events::new(WallClock::system());
    let terms = loaded.terms().map_err(|problems| Failure::Refused(loaded.render(&problems)))?;
    let compiled = Plan::compile(&loaded.traffic, None, &events);
    let (plan, report) = compiled.map_err(|report| Failure::Refused(loaded.render(&worth_saying(report))))?;
    if let Some(problem) = Series::of(&plan).problem(&loaded) {
        return Err(Failure::Refused(loaded.render(&[problem])));
    }
    eprint!("{}{}", loaded.render(&terms.1), loaded.render(&worth_saying(report)));
    serve(loaded, plan, terms.0, events, until_stdin_closes).map_err(Failure::NotStarted)
}

fn serve(
    loaded: Loaded,
    plan: Plan,
    terms: Option<Terms>,
    events: Events,
    until_stdin_closes: bool,
) -> anyhow::Result<()> {
    let clock = WallClock::system();
    let latest = Latest::default();
    let event_writer = spawn_event_writer(&events, &latest)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = Server::start(loaded, plan, terms, events.clone(), latest, &clock)?;
    let served = runtime.block_on(server.run(until_stdin_closes));
    // A thread that waits for the standard input would hold an orderly shutdown up for ever.
    runtime.shutdown_background();
    drop(events);
    let _ = event_writer.join();
    served
}

fn spawn_event_writer(events: &Events, latest: &Latest) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let received: mpsc::Receiver<_> = events.subscribe(EVENTS_QUEUE);
    let latest = latest.clone();
    let thread = std::thread::Builder::new().name("event-log".to_owned());
    Ok(thread.spawn(move || event_log::run(&received, std::io::stderr(), &latest, STOPPED))?)
}

struct Server {
    gateway: Arc<Gateway>,
    admin_listener: std::net::TcpListener,
    latest: Latest,
    access: Option<(Arc<AccessLog>, access_log::Writer)>,
    traces: Option<TraceExport>,
    audit: Option<Audit>,
    /// The services without which the server is not ready.
    needed: Arc<Mutex<Vec<String>>>,
    loaded: Loaded,
    events: Events,
}

impl Server {
    fn start(
        loaded: Loaded,
        plan: Plan,
        terms: Option<Terms>,
        events: Events,
        latest: Latest,
        clock: &WallClock,
    ) -> anyhow::Result<Self> {
        let server = &loaded.server;
        let admin_listener = std::net::TcpListener::bind(server.admin)
            .with_context(|| format!("failed to listen on admin address {}", server.admin))?;
        admin_listener.set_nonblocking(true)?;
        let access = open_access_log(&server.access_log.0, clock)?;
        let audit = server.audit_log.as_ref();
        let audit = audit.map(|config| Audit::start(config, &events, clock, STOPPED)).transpose()?;
        let traces = server.traces.as_ref();
        let traces = traces.map(|config| TraceExport::new(config, loaded.folder(), &events)).transpose()?;
        let logging = access.as_ref().map(|(log, _)| {
            let log = Arc::clone(log);
            let terms = Arc::new(server.access_log.0.terms());
            AccessLogging { sink: Arc::new(move |access| log.log(access)), terms }
        });
        let threads = match server.threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        };
        let config = GatewayConfig {
            listen: server.listen.clone(),
            tls: terms.map(|terms| TlsListeners {
                listen: loaded.tls.listen.clone(),
                redirect: loaded.tls.redirect.clone(),
                redirect_port: loaded.tls.redirect_port,
                terms,
            }),
            threads,
            client_limits: server.client_limits.clone(),
            access: logging,
            audit: audit.as_ref().map(Audit::config),
            tracing: traces.as_ref().map(TraceExport::tracing),
            events: events.clone(),
            clock: clock.clone(),
        };
        let gateway = Gateway::start(config, plan).map_err(|(address, error)| {
            let error = anyhow::Error::new(error);
            error.context(format!("failed to listen on {address}"))
        })?;
        let needed = Arc::new(Mutex::new(server.ready.services.clone()));
        Ok(Self {
            gateway: Arc::new(gateway),
            admin_listener,
            latest,
            access,
            traces,
            audit,
            needed,
            loaded,
            events,
        })
    }

    async fn run(mut self, until_stdin_closes: bool) -> anyhow::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let admin_address = self.admin_listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(self.admin_listener.try_clone()?)?;
        let mut sources: Vec<Arc<dyn Source + Send + Sync>> = vec![Arc::clone(&self.gateway) as Arc<_>];
        sources.extend(self.access.as_ref().map(|(log, _)| Arc::clone(log) as Arc<dyn Source + Send + Sync>));
        sources.extend(self.audit.as_ref().map(Audit::source));
        sources.extend(self.traces.as_ref().map(TraceExport::source));
        if let Some(traces) = &mut self.traces {
            traces.run();
        }
        let admin = Arc::new(Admin::new(
            Arc::clone(&self.gateway),
            sources,
            self.latest.clone(),
            self.events.clone(),
            Arc::clone(&self.needed),
        ));
        let admin_task = tokio::spawn(admin::serve(listener, Arc::clone(&admin)));
        let health_task =
            tokio::spawn(intertie_gateway::health::run(self.gateway.follow(), self.events.clone()));
        self.events.tell("server_started", || {
            let mut fields = listening(self.gateway.addresses());
            fields.push(("admin", admin_address.to_string()));
            fields.push(("file", self.loaded.path.display().to_string()));
            fields
        });
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
                () = terms_watch.changed() => self.reload_terms(),
                _ = hangup.recv() => self.reload("SIGHUP", true),
                () = watch.changed() => self.reload("the file changed", false),
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                () = &mut stdin_closed => break "the standard input closed",
            }
        };
        let limit = self.loaded.server.drain;
        self.events.tell("drain_began", || vec![("cause", cause.to_owned())]);
        admin.drain();
        health_task.abort();
        let left = {
            let drain = self.gateway.drain(limit);
            tokio::select! {
                left = drain => left,
                // A second signal means it.
                _ = terminate.recv() => self.gateway.connections(),
                _ = interrupt.recv() => self.gateway.connections(),
            }
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

    /// Puts the file into force again. A wrong file is refused whole; the old one stays.
    fn reload(&mut self, cause: &'static str, even_if_unchanged: bool) {
        let mut fresh = match Loaded::read(&self.loaded.path) {
            Ok(fresh) => fresh,
            Err(refusal) => return self.refuse(&refusal),
        };
        if !even_if_unchanged && fresh.same_text(&self.loaded) {
            return;
        }
        let (terms, doubts) = match fresh.terms() {
            Ok(terms) => terms,
            Err(problems) => return self.refuse(&fresh.render(&problems)),
        };
        let compiled = Plan::compile(&fresh.traffic, Some(&self.gateway.plan()), &self.events);
        let (plan, report) = match compiled {
            Ok(compiled) => compiled,
            Err(report) => return self.refuse(&fresh.render(&worth_saying(report))),
        };
        if let Some(problem) = Series::of(&plan).problem(&fresh) {
            return self.refuse(&fresh.render(&[problem]));
        }
        eprint!("{}{}", fresh.render(&doubts), fresh.render(&worth_saying(report)));
        self.gateway.update(plan);
        self.needed.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&fresh.server.ready.services);
        if let Some(terms) = terms {
            self.gateway.update_tls(terms);
        }
        let restart = needs_restart(&self.loaded, &fresh);
        self.events.tell("config_reloaded", || {
            let mut fields =
                vec![("cause", cause.to_owned()), ("changed", some(&self.loaded.changes(&fresh)))];
            if !restart.is_empty() {
                fields.push(("needs_restart", restart.join(",")));
            }
            fields
        });
        // What needs a restart is compared with what really runs, not with what the file said last.
        fresh.server = ServerConfig {
            drain: fresh.server.drain,
            ready: fresh.server.ready,
            metric_series_max: fresh.server.metric_series_max,
            ..self.loaded.server.clone()
        };
        let running = &self.loaded.tls;
        fresh.tls.listen.clone_from(&running.listen);
        fresh.tls.redirect.clone_from(&running.redirect);
        fresh.tls.redirect_port = running.redirect_port;
        self.loaded = fresh;
    }

    /// Puts the changed files of TLS into force, for handshakes from now on. Files that do not fit together
    /// are refused; the old terms stay.
    fn reload_terms(&mut self) {
        match self.loaded.terms() {
            Ok((Some(terms), doubts)) => {
                if self.gateway.update_tls(terms) {
                    eprint!("{}", self.loaded.render(&doubts));
                    self.events.tell("tls_reloaded", Vec::new);
                }
            }
            Ok((None, _)) => {}
            Err(problems) => {
                let refusal = self.loaded.render(&problems);
                eprint!("{refusal}");
                self.gateway.refused_tls();
                self.events.tell("tls_refused", || vec![("cause", first_line(&refusal))]);
            }
        }
    }

    fn refuse(&self, refusal: &str) {
        eprint!("{refusal}");
        self.events.tell("config_refused", || vec![("cause", first_line(refusal))]);
    }
}

/// Names, but not endlessly many.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 20;
    match names.split_at_checked(SHOWN) {
        Some((shown, rest)) if !rest.is_empty() => format!("{},and {} more", shown.join(","), rest.len()),
        _ => names.join(","),
    }
}

/// What a refusal says first.
fn first_line(refusal: &str) -> String {
    refusal.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
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

/// The keys that differ and take effect only in a new process.
fn needs_restart(running: &Loaded, fresh: &Loaded) -> Vec<&'static str> {
    let tls = (&running.tls, &fresh.tls);
    let (running, fresh) = (&running.server, &fresh.server);
    let differs = [
        ("listen", running.listen != fresh.listen),
        ("admin", running.admin != fresh.admin),
        ("threads", running.threads != fresh.threads),
        ("access_log", running.access_log != fresh.access_log),
        ("audit_log", running.audit_log != fresh.audit_log),
        ("traces", running.traces != fresh.traces),
        ("client_limits", running.client_limits != fresh.client_limits),
        ("tls.listen", tls.0.listen != tls.1.listen),
        ("tls.redirect", tls.0.redirect != tls.1.redirect),
        ("tls.redirect_port", tls.0.redirect_port != tls.1.redirect_port),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
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
