//! `intertie plan`: an access log replayed on two files in virtual time, and what would change.
//!
//! What decides is what the data plane runs: the router, limiters, bulkheads, budgets, breakers and
//! balancers of a compiled plan, which routes and services share as they do in life. Only the service is
//! played: what it did then, it does again.

mod behaviour;
mod call;
mod gate;
mod log;
mod order;
mod place;
mod report;
mod side;
mod table;
mod tally;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri};
use intertie_core::clock::Timestamp;
use intertie_core::quantity::{format_duration, parse_duration};
use intertie_gateway::plan::Route;
use intertie_gateway::route::request_host;
use intertie_observe::logged_request::LoggedRequest;

use behaviour::{Behaviour, Known};
use call::Call;
use gate::{Gate, Seen};
use log::Log;
use order::{Order, Window};
use report::{Move, Report};
use side::{Arrival, ReplayError, Side};
use tally::Outcome;

/// The arguments of `intertie plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// The file as it is.
    old: PathBuf,
    /// The file as it would be.
    new: PathBuf,
    /// The access log: ours as JSON or text, Common or Combined; `-` for the standard input.
    #[arg(long, value_name = "ACCESS_LOG")]
    log: PathBuf,
    /// How long a request took whose line does not tell, such as "50ms".
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    duration: Duration,
    /// The host of requests whose line names none.
    #[arg(long, default_value = "")]
    host: HeaderValue,
    /// Print JSON for programs instead of tables for people.
    #[arg(long)]
    json: bool,
}

/// What was seen, ready to be printed.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) text: String,
    /// What was wrong with the log, if anything.
    pub(crate) warning: String,
    pub(crate) changed: bool,
}

/// Where a request goes, or how it is refused.
type Destination = Result<usize, Outcome>;

/// A log that spans more was put together from others, or one of its clocks is wrong.
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Both files and what the log does to them.
struct Replay {
    old: Gate,
    new: Gate,
    old_side: Side,
    new_side: Side,
    moves: BTreeMap<(Destination, Destination), Move>,
    /// Where the same route to the same service stands in the new file, by its place in the old one.
    same: Vec<Option<usize>>,
    began: Option<Timestamp>,
    span: Duration,
    requests: u64,
    /// Requests that the gateway answered itself.
    unknown: u64,
    /// Requests whose lines tell no duration.
    untimed: u64,
    /// Requests for which no host is known.
    hostless: u64,
    /// Requests for which no address of a client is known.
    clientless: u64,
    /// Requests that took longer than an attempt of the old file may.
    long: u64,
}

/// Replays the log.
///
/// # Errors
/// What is wrong with the files or the log, ready to be printed.
pub(crate) fn plan(arguments: &PlanArguments) -> Result<Planned, String> {
    let (old, new) = (Gate::read(&arguments.old)?, Gate::read(&arguments.new)?);
    let mut log = Log::open(&arguments.log)?;
    let mut replay = Replay::start(old, new).map_err(|error| failed(&error))?;
    let mut order = Order::new(Window::default());
    let mut goes_on = true;
    while goes_on && let Some(request) = log.next()? {
        order.push(request);
        while goes_on && let Some((at, request)) = order.pop(false) {
            goes_on = replay.request(arguments, at, &request)?;
        }
    }
    while goes_on && let Some((at, request)) = order.pop(true) {
        goes_on = replay.request(arguments, at, &request)?;
    }
    let path = arguments.log.display();
    let bad = log.lines.first_bad.as_ref();
    let first = bad.map(|first| format!("{path}:{}: {}", first.line, first.why));
    if replay.requests == 0 {
        let why = first.unwrap_or_else(|| "it is empty".to_owned());
        return Err(format!("error: no line of the log is a request\n  --> {why}\n\n"));
    }
    let warning = first.map_or(String::new(), |first| {
        let (bad, read) = (log.lines.bad, log.lines.read);
        format!("warning: {bad} of {read} lines of the log are no requests; the first is\n  --> {first}\n\n")
    });
    let report = replay.finish(log.lines, order.late).map_err(|error| failed(&error))?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).unwrap_or_default()
    } else {
        report.to_string()
    };
    Ok(Planned { text, warning, changed: report.changed })
}

fn failed(error: &ReplayError) -> String {
    format!("error: {error}\n")
}

impl Replay {
    fn start(old: Gate, new: Gate) -> Result<Self, ReplayError> {
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
            unknown: 0,
            untimed: 0,
            hostless: 0,
            clientless: 0,
            long: 0,
        })
    }

    /// Offers a request to both files. False when one of them gave up.
    fn request(
        &mut self,
        arguments: &PlanArguments,
        at: Timestamp,
        request: &LoggedRequest,
    ) -> Result<bool, String> {
        let began = *self.began.get_or_insert(at);
        self.span = Duration::from_nanos(at.as_unix_nanos() - began.as_unix_nanos());
        if self.span > SPAN_MAX {
            return Err(format!(
                "error: the log spans more than {}, from {began} to {at}\n  --> {}\n\n",
                format_duration(SPAN_MAX),
                arguments.log.display()
            ));
        }
        self.requests += 1;
        let named = request.host.as_deref().map(HeaderValue::from_str);
        self.clientless += u64::from(request.client.is_none());
        self.hostless += u64::from(named.is_none() && arguments.host.is_empty());
        let method = Method::from_bytes(request.method.as_bytes()).ok();
        let (target, mut headers) = (Uri::default(), HeaderMap::new());
        let host = named.unwrap_or_else(|| Ok(arguments.host.clone()));
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
        let behaviour = self.behaviour(old, new, arguments, request);
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
    fn behaviour(
        &mut self,
        old: Destination,
        new: Destination,
        arguments: &PlanArguments,
        request: &LoggedRequest,
    ) -> Behaviour {
        match Known::of(request, arguments.duration) {
            Known::Behaviour(mut behaviour) => {
                self.untimed += u64::from(request.duration.is_none());
                let limit = old.ok().and_then(|route| self.old.attempt_timeout(route));
                if let Some(within) = limit.and_then(|limit| behaviour.within(limit)) {
                    behaviour = within;
                    self.long += 1;
                }
                if behaviour.is_well() {
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
                Behaviour::well(took.unwrap_or(arguments.duration))
            }
        }
    }

    fn finish(self, lines: log::Lines, late: u64) -> Result<Report, ReplayError> {
        let (old, new) = (self.old_side.finish()?, self.new_side.finish()?);
        let mut assumed = vec!["what the service did then, it does again, to each attempt".to_owned()];
        let mut assume = |requests: u64, what: &str| {
            if requests > 0 {
                assumed.push(format!("{requests} {what}"));
            }
        };
        assume(self.unknown, "were answered by the gateway: their service would have answered well");
        assume(self.untimed, "tell no duration: they take what `--duration` says, 0s if nothing");
        let hostless = if self.old.asks_host || self.new.asks_host { self.hostless } else { 0 };
        assume(hostless, "name no host: only routes for any host take them, unless `--host` says one");
        let clientless = if self.old.asks_client || self.new.asks_client { self.clientless } else { 0 };
        assume(clientless, "tell no address of their client: limiters by it let them pass");
        assume(
            self.long,
            "took longer than the old attempt_timeout: the rest was the time of the answer's body",
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
