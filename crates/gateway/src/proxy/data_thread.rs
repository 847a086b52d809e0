//! One data thread: its runtime, its listeners, and what it is born with.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::telemetry::Events;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use super::accept_failure::AcceptFailure;
use super::access::AccessLogging;
use super::admission::{Admission, Admitted};
use super::audit::{AuditConfig, Auditor};
use super::busy::BusyTimes;
use super::connection;
use super::listener::{BACKLOG, Kind};
use super::pool::Pool;
use super::seldom::Seldom;
use super::signature::Signature;
use super::trace::Tracing;
use super::worker::{FollowedPlan, Worker};
use crate::config::{AnswersConfig, ClientLimitsConfig};
use crate::forwarded::Trust;
use crate::plan::Plan;
use crate::proxy_protocol::ProxyProtocolStats;
use crate::stats::RouteStats;
use crate::wire::WireStats;

/// How often idle connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// What every data thread is born with.
#[derive(Clone)]
pub(super) struct Birth {
    pub(super) updates: watch::Receiver<Arc<Plan>>,
    pub(super) admission: Arc<Admission>,
    pub(super) access: Option<AccessLogging>,
    pub(super) tracing: Option<Tracing>,
    pub(super) audit: Option<AuditConfig>,
    pub(super) events: Events,
    pub(super) clock: WallClock,
    pub(super) unrouted: Arc<RouteStats>,
    pub(super) client_limits: ClientLimitsConfig,
    pub(super) answers: AnswersConfig,
    pub(super) trust: Trust,
    pub(super) introductions: Arc<ProxyProtocolStats>,
    pub(super) refused: Arc<WireStats>,
    pub(super) busy: BusyTimes,
}

impl std::fmt::Debug for Birth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Birth").field("client_limits", &self.client_limits).finish_non_exhaustive()
    }
}

/// One data thread.
pub(super) struct DataThread {
    /// Its position among those born with it, and the number of their generation.
    pub(super) number: (usize, u64),
    pub(super) listeners: Vec<(TcpListener, Kind)>,
    pub(super) opened: watch::Receiver<bool>,
    pub(super) leaving: watch::Receiver<bool>,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) birth: Birth,
}

impl DataThread {
    /// Serves. Says through `ready` once that it could accept, or that it never will.
    pub(super) fn run(self, ready: mpsc::Sender<io::Result<()>>) {
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                let (position, generation) = self.number;
                let _working = self.birth.busy.begin(position, generation, runtime.metrics());
                runtime.block_on(self.serve(ready));
            }
            Err(error) => {
                // Whoever waits for it is there: it waits for all threads.
                let _ = ready.send(Err(error));
            }
        }
    }

    async fn serve(mut self, ready: mpsc::Sender<io::Result<()>>) {
        let Birth {
            updates,
            admission,
            access,
            tracing,
            audit,
            events,
            clock,
            unrouted,
            client_limits,
            answers,
            trust,
            introductions,
            refused,
            busy: _,
        } = self.birth;
        let worker = Rc::new(Worker {
            pool: Pool::default(),
            access,
            tracing,
            auditor: audit.map(Auditor::new),
            events,
            clock,
            client_limits,
            signature: Signature::new(answers),
            trust,
            introductions,
            refused,
            unrouted,
            plan: FollowedPlan::new(updates),
            leaving: self.leaving.clone(),
            seldom: Seldom::default(),
        });
        let register = |(listener, kind)| Ok((tokio::net::TcpListener::from_std(listener)?, kind));
        let listeners: io::Result<Vec<_>> = self.listeners.into_iter().map(register).collect();
        let (listeners, word) = match listeners {
            Ok(listeners) => (listeners, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        let works = word.is_ok();
        let _ = ready.send(word);
        drop(ready);
        if !works {
            return;
        }
        if self.opened.wait_for(|open| *open).await.is_err() {
            return;
        }
        let mut accepting = Vec::new();
        for (listener, kind) in listeners {
            let (worker, draining) = (Rc::clone(&worker), self.draining.clone());
            let admission = Arc::clone(&admission);
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
        let all = async {
            for task in accepting {
                let _ = task.await;
            }
        };
        let mut generation = self.leaving;
        tokio::select! {
            () = all => {}
            // The sender is gone, and with it the patience for what is still open.
            _ = generation.wait_for(|_| false) => {}
        }
        sweeper.abort();
    }
}

/// Accepts until its thread is to leave, then waits for the connections it accepted.
async fn accept(
    worker: Rc<Worker>,
    listener: tokio::net::TcpListener,
    kind: Kind,
    drain: watch::Receiver<bool>,
    admission: Arc<Admission>,
) {
    let mut leaving = worker.leaving.clone();
    let admit = |client: SocketAddr| {
        let admitted = admission.admit(client.ip());
        if let Err(limit) = &admitted {
            worker.tell_seldom("connection_refused", || {
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
            _ = leaving.wait_for(|leaving| *leaving) => break,
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
                let failure = AcceptFailure::of(&error);
                admission.failures.count(failure);
                worker.events.tell("accept_failed", || {
                    vec![("cause", failure.name().to_owned()), ("error", error.to_string())]
                });
                if failure != AcceptFailure::Connection {
                    // Others must finish first, and spinning helps nobody.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    // Whoever was already connected is served: what waits in the queue is accepted, not reset. Asked directly,
    // since the runtime may not have heard of it yet. More than the queue holds came later, to whoever else
    // serves the socket.
    if let Ok(listener) = listener.into_std() {
        for _ in 0..=BACKLOG {
            let Ok((stream, client)) = listener.accept() else { break };
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
    fn worker(leaving: watch::Receiver<bool>) -> Worker {
        let service = toml::from_str("endpoints = [{ at = \"127.0.0.1:1\" }]").expect("a service");
        let route = toml::from_str("to = \"s\"").expect("a route");
        let traffic = TrafficConfig {
            services: [("s".to_owned(), service)].into(),
            routes: [("/elsewhere".to_owned(), route)].into(),
            ..TrafficConfig::default()
        };
        Worker { leaving, ..Worker::serving(&traffic) }
    }

    #[tokio::test]
    async fn clients_that_wait_to_be_accepted_when_the_drain_begins_are_served() {
        let listener = super::super::listener::bind(([127, 0, 0, 1], 0).into(), false).expect("a free port");
        let listener = tokio::net::TcpListener::from_std(listener).expect("registered");
        let address = listener.local_addr().expect("bound");
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = TcpStream::connect(address).await.expect("queued");
            client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
            clients.push(client);
        }
        let (_drain, draining) = watch::channel(true);
        let (_leave, leaving) = watch::channel(true);
        let admission = Arc::new(Admission::new(&ClientLimitsConfig::default()));
        let accepting =
            accept(Rc::new(worker(leaving)), listener, Kind::Plain, draining, Arc::clone(&admission));
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
