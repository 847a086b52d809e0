//! What a server does when its file or its certificates change.

use std::sync::{Arc, PoisonError};

use intertie_gateway::tls::Terms;

use super::{Server, listening, undeclared_problem, worth_saying};
use crate::file::{Loaded, ServerConfig, opened_to_everyone};
use crate::operation::State;
use crate::series::Series;

impl Server {
    /// Reloads, and tells the service manager when that began and ended.
    pub(super) async fn reload_for_manager(&mut self, cause: &'static str, even_if_unchanged: bool) {
        self.notify.tell(State::Reloading, "");
        self.reload(cause, even_if_unchanged).await;
        self.tell_ready();
    }

    pub(super) fn tell_ready(&self) {
        let addresses: Vec<_> =
            listening(self.gateway.addresses()).into_iter().map(|(_, addresses)| addresses).collect();
        let threads = self.gateway.threads();
        self.notify
            .tell(State::Ready, &format!("serving {} with {threads} data threads", addresses.join(" ")));
    }

    /// Puts as many data threads to work as `fresh` and the machine say now; not while a takeover is under way,
    /// since sockets that were bound for them now would not be handed over, and reset who waits there at the end.
    pub(super) fn change_threads(&self, fresh: &ServerConfig) {
        let (before, threads) = (self.gateway.threads(), fresh.threads());
        if self.takeover.is_some() {
            if before != threads.get() {
                self.events.tell("threads_deferred", || vec![("threads", threads.to_string())]);
            }
            return;
        }
        match self.gateway.set_threads(threads) {
            Ok(None) => {}
            Ok(Some(retired)) => {
                self.events.tell("threads_changed", || {
                    vec![("from", before.to_string()), ("to", threads.to_string())]
                });
                let (gateway, events, limit) = (Arc::clone(&self.gateway), self.events.clone(), fresh.drain);
                tokio::spawn(async move {
                    let cut = gateway.retire(retired, limit).await;
                    if cut > 0 {
                        events.tell("threads_cut", || vec![("threads", cut.to_string())]);
                    }
                });
            }
            Err(error) => self.events.tell("threads_refused", || {
                vec![("threads", threads.to_string()), ("cause", error.to_string())]
            }),
        }
    }

    /// Puts the file into force again. A wrong file is refused whole; the old one stays.
    async fn reload(&mut self, cause: &'static str, even_if_unchanged: bool) {
        let read = if even_if_unchanged {
            Loaded::read(&self.loaded.path).map(Some)
        } else {
            self.loaded.read_if_changed()
        };
        let mut fresh = match read {
            Ok(Some(fresh)) => fresh,
            Ok(None) => return,
            Err(refusal) => return self.refuse(&refusal),
        };
        let (terms, doubts) = match fresh.terms(self.terms_in_force().as_deref()) {
            Ok(terms) => terms,
            Err(problems) => return self.refuse(&fresh.render(&problems)),
        };
        let shown = self.api.as_ref().and_then(|(api, _)| api.terms());
        let (api_terms, api_doubts) = match fresh.api_terms(shown.as_deref()) {
            Ok(terms) => terms,
            Err(problems) => return self.refuse(&fresh.render(&problems)),
        };
        let compiled = fresh.plan(Some(&self.gateway.plan()), &self.events);
        let (plan, report) = match compiled {
            Ok(compiled) => compiled,
            Err(report) => return self.refuse(&fresh.render(&worth_saying(report))),
        };
        if let Some(problem) = Series::of(&plan, &fresh).problem(&fresh) {
            return self.refuse(&fresh.render(&[problem]));
        }
        let tokens = match fresh.tokens() {
            Ok(tokens) => tokens,
            Err(problems) => return self.refuse(&fresh.render(&problems)),
        };
        let running = self.api.as_ref().and_then(|(api, _)| api.address().ok());
        if let Some(problem) = running.and_then(|running| opened_to_everyone(running, !tokens.is_empty())) {
            return self.refuse(&fresh.render(&[problem]));
        }
        if let Some((api, store)) = &self.api {
            if let Err(undeclared) = store.redeclare(&self.loaded.queues, &fresh.queues).await {
                return self.refuse(&fresh.render(&[undeclared_problem(&undeclared)]));
            }
            api.update(&fresh.queues, tokens);
            // Another certificate by name waits for a restart; the files of this one may have changed.
            let is_same = self.loaded.server.api_certificate == fresh.server.api_certificate;
            if let Some(terms) = api_terms.filter(|_| is_same) {
                api.update_terms(terms);
            }
        }
        let doubts = [doubts, api_doubts, worth_saying(report)].concat();
        eprint!("{}", fresh.render(&doubts));
        fresh.forget_routes();
        self.gateway.update(plan);
        self.needed.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&fresh.server.ready.services);
        if let Some(terms) = terms {
            self.gateway.update_tls(terms);
        }
        let mut restart = needs_restart(&self.loaded, &fresh);
        restart.extend((self.api.is_none() && fresh.api().is_some()).then_some("api"));
        self.events.tell("config_reloaded", || {
            let mut fields =
                vec![("cause", cause.to_owned()), ("changed", some(&self.loaded.changes(&fresh)))];
            if !restart.is_empty() {
                fields.push(("needs_restart", restart.join(",")));
            }
            fields
        });
        // What needs a restart is compared with what really runs, not with what the file said last.
        self.change_threads(&fresh.server);
        fresh.server = ServerConfig {
            drain: fresh.server.drain,
            takeover_timeout: fresh.server.takeover_timeout,
            threads: fresh.server.threads,
            ready: fresh.server.ready,
            metric_series_max: fresh.server.metric_series_max,
            ..self.loaded.server.clone()
        };
        let running = &self.loaded.tls;
        fresh.tls.listen.clone_from(&running.listen);
        fresh.tls.redirect.clone_from(&running.redirect);
        fresh.tls.redirect_port = running.redirect_port;
        fresh.tls.proxy_protocol = running.proxy_protocol;
        self.loaded = fresh;
        self.tell_of_undeclared_queues().await;
    }

    /// Tells which queues the data directory has and the file has not: they stay, with what is in them.
    pub(super) async fn tell_of_undeclared_queues(&self) {
        let Some((_, store)) = &self.api else { return };
        let undeclared = store.undeclared(&self.loaded.queues).await;
        if !undeclared.is_empty() {
            let names: Vec<_> = undeclared.iter().map(ToString::to_string).collect();
            self.events.tell("queues_undeclared", || vec![("queues", some(&names))]);
        }
    }

    /// What clients are shown so far. What expires while it is shown is a warning: to refuse it would keep everything
    /// else from being changed.
    fn terms_in_force(&self) -> Option<Arc<Terms>> {
        self.gateway.follow_tls().map(|terms| Arc::clone(&terms.borrow()))
    }

    /// Puts the changed files of TLS into force, for handshakes from now on. Files that do not fit together
    /// are refused; the old terms stay.
    pub(super) fn reload_terms(&mut self) {
        match self.loaded.terms(self.terms_in_force().as_deref()) {
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

    /// The same for clients of the API.
    pub(super) fn reload_api_terms(&mut self) {
        let Some((api, _)) = &self.api else { return };
        match self.loaded.api_terms(api.terms().as_deref()) {
            Ok((Some(terms), doubts)) => {
                if api.update_terms(terms) {
                    eprint!("{}", self.loaded.render(&doubts));
                    self.events.tell("api_tls_reloaded", Vec::new);
                }
            }
            Ok((None, _)) => {}
            Err(problems) => {
                let refusal = self.loaded.render(&problems);
                eprint!("{refusal}");
                self.events.tell("api_tls_refused", || vec![("cause", first_line(&refusal))]);
            }
        }
    }

    /// Puts the changed files of TLS towards services into force, for connections from now on.
    pub(super) fn reload_service_terms(&self) {
        let running = self.gateway.plan();
        let whole = match self.loaded.whole() {
            Ok(whole) => whole,
            Err(refusal) => return self.refuse(&refusal),
        };
        match whole.plan(Some(&running), &self.events) {
            Ok((plan, report)) => {
                let changed: Vec<_> = plan.changed_transports(&running).map(str::to_owned).collect();
                if !changed.is_empty() {
                    eprint!("{}", self.loaded.render(&worth_saying(report)));
                    self.gateway.update_service_tls(plan);
                    self.events.tell("service_tls_reloaded", || vec![("services", changed.join(","))]);
                }
            }
            Err(report) => {
                let refusal = self.loaded.render(&worth_saying(report));
                eprint!("{refusal}");
                self.gateway.refused_service_tls();
                self.events.tell("service_tls_refused", || vec![("cause", first_line(&refusal))]);
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

/// The keys that differ and take effect only in a new process.
fn needs_restart(running: &Loaded, fresh: &Loaded) -> Vec<&'static str> {
    let tls = (&running.tls, &fresh.tls);
    let (running, fresh) = (&running.server, &fresh.server);
    let differs = [
        ("listen", running.listen != fresh.listen),
        ("admin", running.admin != fresh.admin),
        ("api", running.api != fresh.api),
        ("api_certificate", running.api_certificate != fresh.api_certificate),
        ("data", running.data != fresh.data),
        ("api_limits", running.api_limits != fresh.api_limits),
        ("access_log", running.access_log != fresh.access_log),
        ("audit_log", running.audit_log != fresh.audit_log),
        ("traces", running.traces != fresh.traces),
        ("client_limits", running.client_limits != fresh.client_limits),
        ("answers", running.answers != fresh.answers),
        ("trusted_proxies", running.trusted_proxies != fresh.trusted_proxies),
        ("forwarded_header", running.forwarded_header != fresh.forwarded_header),
        ("proxy_protocol", running.proxy_protocol != fresh.proxy_protocol),
        ("tls.listen", tls.0.listen != tls.1.listen),
        ("tls.redirect", tls.0.redirect != tls.1.redirect),
        ("tls.redirect_port", tls.0.redirect_port != tls.1.redirect_port),
        ("tls.proxy_protocol", tls.0.proxy_protocol != tls.1.proxy_protocol),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
