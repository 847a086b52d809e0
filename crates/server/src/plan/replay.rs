use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri};
use intertie_core::clock::Timestamp;
use intertie_gateway::plan::Route;
use intertie_gateway::route::request_host;
use intertie_observe::logged_request::LoggedRequest;

use super::behaviour::{Behaviour, Known, answered_after};
use super::call::Call;
use super::gate::{Gate, Seen};
use super::log::Lines;
use super::report::{self, Move, Report};
use super::side::{Arrival, ReplayError, SPAN_MAX, Side};
use super::tally::Outcome;

/// Where a request goes, or how it is refused.
type Destination = Result<usize, Outcome>;

/// What is said of requests whose lines do not tell.
#[derive(Debug, Clone)]
pub(super) struct Untold {
    /// How long they took.
    pub(super) duration: Duration,
    /// Their host; empty for none.
    pub(super) host: HeaderValue,
}

/// Both files and what the log does to them.
pub(super) struct Replay {
    old: Gate,
    new: Gate,
    old_side: Side,
    new_side: Side,
    moves: BTreeMap<(Destination, Destination), Move>,
    /// Where the same route to the same service stands in the new file, by its place in the old one.
    same: Vec<Option<usize>>,
    began: Option<Timestamp>,
    span: Duration,
    pub(super) requests: u64,
    untold: Untold,
    /// Requests that the gateway answered itself.
    unknown: u64,
    /// Requests whose lines do not tell how long their service took.
    untimed: u64,
    /// Requests for which no host is known.
    hostless: u64,
    /// Requests that stand for others too.
    sampled: u64,
    /// Requests for which no address of a client is known.
    clientless: u64,
    /// Requests that took longer than an attempt of the old file may.
    long: u64,
}

impl Replay {
    /// Begins, with nothing offered yet.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(old: Gate, new: Gate, untold: Untold) -> Result<Self, ReplayError> {
        let counterpart = |route: &Arc<Route>| {
            let same =
                |other: &Arc<Route>| other.name == route.name && other.service.name == route.service.name;
            new.plan.routes.iter().position(same)
        };
        let same = old.plan.routes.iter().map(counterpart).collect();
        let (old_side, new_side) = (Side::start(Arc::clone(&old.plan))?, Side::start(Arc::clone(&new.plan))?);
        Ok(Self {
            old,
            new,
            old_side,
            new_side,
            moves: BTreeMap::new(),
            same,
            began: None,
            span: Duration::ZERO,
            requests: 0,
            untold,
            unknown: 0,
            untimed: 0,
            hostless: 0,
            sampled: 0,
            clientless: 0,
            long: 0,
        })
    }

    /// Offers a request to both files. False when one of them gave up.
    ///
    /// # Errors
    /// When it is too far from the first one.
    pub(super) fn request(&mut self, at: Timestamp, request: &LoggedRequest) -> Result<bool, ReplayError> {
        let began = *self.began.get_or_insert(at);
        self.span = Duration::from_nanos(at.as_unix_nanos() - began.as_unix_nanos());
        if self.span > SPAN_MAX {
            return Err(ReplayError::TooLong { from: began, to: at });
        }
        self.requests += 1;
        let named = request.host.as_deref().map(HeaderValue::from_str);
        self.sampled += u64::from(request.sample.is_some());
        self.clientless += u64::from(request.client.is_none());
        self.hostless += u64::from(named.is_none() && self.untold.host.is_empty());
        let method = Method::from_bytes(request.method.as_bytes()).ok();
        // A WebSocket over HTTP/2 takes the route of the GET that it stands for.
        let stands_for_get = |method: &Method| *method == Method::CONNECT && !request.path.is_empty();
        let method = method.map(|method| if stands_for_get(&method) { Method::GET } else { method });
        let (target, mut headers) = (Uri::default(), HeaderMap::new());
        let host = named.unwrap_or_else(|| Ok(self.untold.host.clone()));
        headers.extend(host.as_ref().ok().map(|host| (HOST, host.clone())));
        let host = host.ok().and(request_host(&target, &headers).ok());
        let seen = Seen {
            method: method.as_ref(),
            host,
            path: &request.path,
            query: request.query.as_deref(),
            headers: &headers,
            tells_query: request.tells_query(),
        };
        let (old, new) = (self.old.route(&seen), self.new.route(&seen));
        self.compare(old, new, request);
        let behaviour = self.behaviour(old, new, request);
        // Only what is repeatable was repeated.
        let repeated = request.attempts.is_some_and(|attempts| attempts > 1);
        let idempotent = repeated || method.is_some_and(|method| method.is_idempotent());
        let endpoint = request.endpoint.as_deref();
        let mut goes_on = true;
        for (gate, side, destination) in
            [(&self.old, &mut self.old_side, old), (&self.new, &mut self.new_side, new)]
        {
            let Ok(route) = destination else { continue };
            let endpoint = gate.endpoint(route, endpoint);
            let call = Call { client: request.client, idempotent, endpoint, behaviour };
            goes_on &= side.offer(Arrival { at: self.span, route, call });
        }
        Ok(goes_on)
    }

    /// Notes a request that takes another route.
    fn compare(&mut self, old: Destination, new: Destination, request: &LoggedRequest) {
        let stays = match (old, new) {
            (Ok(old), Ok(new)) => self.same[old] == Some(new),
            (old, new) => old == new,
        };
        if stays {
            return;
        }
        let labels = (&self.old, &self.new);
        let moved = self.moves.entry((old, new)).or_insert_with(|| {
            let query = request.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
            Move {
                requests: 0,
                old: labels.0.label(old),
                new: labels.1.label(new),
                example: format!("{} {}{query}", request.method, request.path),
            }
        });
        moved.requests += 1;
    }

    /// What the service does with the request: what it did, or when that is not known, what it did last
    /// for such a request when it was well.
    fn behaviour(&mut self, old: Destination, new: Destination, request: &LoggedRequest) -> Behaviour {
        match Known::of(request, self.untold.duration) {
            Known::Behaviour(mut behaviour) => {
                let timed = answered_after(request).is_some();
                self.untimed += u64::from(!timed);
                let limit = old.ok().and_then(|route| self.old.attempt_timeout(route));
                if let Some(within) = limit.and_then(|limit| behaviour.within(limit)) {
                    behaviour = within;
                    self.long += 1;
                }
                if timed && behaviour.is_well() {
                    for (gate, destination) in [(&mut self.old, old), (&mut self.new, new)] {
                        if let Ok(route) = destination {
                            gate.answered_well(route, behaviour.took);
                        }
                    }
                }
                behaviour
            }
            Known::Nothing => {
                self.unknown += 1;
                let recent = |gate: &Gate, at: Destination| at.ok().and_then(|route| gate.healthy(route));
                let took = recent(&self.new, new).or_else(|| recent(&self.old, old));
                Behaviour::well(took.unwrap_or(self.untold.duration))
            }
        }
    }

    /// What would change, with the lines of the log and those that came too late.
    ///
    /// # Errors
    /// Why one of the files was not replayed to the end.
    pub(super) fn finish(self, lines: Lines, late: u64) -> Result<Report, ReplayError> {
        let (old, new) = (self.old_side.finish()?, self.new_side.finish()?);
        let mut assumed = vec!["what the service did then, it does again, to each attempt".to_owned()];
        let mut assume = |requests: u64, what: &str| {
            if requests > 0 {
                assumed.push(format!("{requests} {what}"));
            }
        };
        assume(self.unknown, "were answered by the gateway: their service would have answered well");
        assume(
            self.untimed,
            "do not tell how long their service took: they take what `--duration` says, 0s if nothing",
        );
        let hostless = if self.old.asks_host || self.new.asks_host { self.hostless } else { 0 };
        assume(hostless, "name no host: only routes for any host take them, unless `--host` says one");
        let clientless = if self.old.asks_client || self.new.asks_client { self.clientless } else { 0 };
        assume(clientless, "tell no address of their client: limiters by it let them pass");
        assume(
            self.long,
            "took longer than the old attempt_timeout: the rest was the time of the answer's body",
        );
        assume(
            self.sampled,
            "stand for others that a sampled log left out: policies meet less load than there was",
        );
        assume(late, "were logged too late for their place in time: they come after it");
        let mut left_out = self.old.left_out();
        left_out.extend(self.new.left_out());
        let uncertain = self.old.uncertain.max(self.new.uncertain);
        if uncertain > 0 {
            left_out.push(format!(
                "headers, and in our own log queries: {uncertain} requests might take another route by them"
            ));
        }
        left_out.sort();
        left_out.dedup();
        let names =
            |gate: &Gate| gate.plan.routes.iter().map(|route| route.name.to_string()).collect::<Vec<_>>();
        let rows = report::rows(
            names(&self.old).into_iter().zip(old).collect(),
            names(&self.new).into_iter().zip(new).collect(),
            (self.old.unrouted, self.new.unrouted),
        );
        let moves = self.moves.into_values().collect();
        Ok(Report::new(self.requests, self.span, moves, rows, lines, assumed, left_out))
    }
}
