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
mod replay;
mod report;
mod side;
mod table;
mod tally;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::HeaderValue;
use intertie_core::quantity::parse_duration;

use gate::Gate;
use log::Log;
use order::{Order, Window};
use replay::{Replay, Untold};
use side::ReplayError;

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

/// Replays the log.
///
/// # Errors
/// What is wrong with the files or the log, ready to be printed.
pub(crate) fn plan(arguments: &PlanArguments) -> Result<Planned, String> {
    let (old, new) = (Gate::read(&arguments.old)?, Gate::read(&arguments.new)?);
    let mut log = Log::open(&arguments.log)?;
    let untold = Untold { duration: arguments.duration, host: arguments.host.clone() };
    let mut replay = Replay::start(old, new, untold).map_err(|error| failed(&error))?;
    let mut order = Order::new(Window::default());
    let mut goes_on = true;
    while goes_on && let Some(request) = log.next()? {
        order.push(request);
        while goes_on && let Some((at, request)) = order.pop(false) {
            goes_on = replay.request(at, &request).map_err(|error| failed(&error))?;
        }
    }
    while goes_on && let Some((at, request)) = order.pop(true) {
        goes_on = replay.request(at, &request).map_err(|error| failed(&error))?;
    }
    let path = match arguments.log.to_string_lossy() {
        path if path == "-" => "standard input".into(),
        path => path,
    };
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
