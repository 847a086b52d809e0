//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri};
use intertie_core::telemetry::Events;
use intertie_gateway::config::Severity;
use intertie_gateway::plan::{Amplification, Explanation, explain};
use intertie_gateway::route::{Found, RequestView, request_host};

use crate::believed;
use crate::demo::{self, DemoArguments};
use crate::file::{self, Loaded};
use crate::health;
use crate::operation::{Activation, use_small_pages};
use crate::plan::{self, PlanArguments, Planned};
use crate::process;
use crate::secured;
use crate::series::Series;
use crate::simulate::{self, SimulateArguments, Simulated};
use crate::told;
use crate::towards;
use crate::up;

/// What scripts can tell apart.
mod code {
    /// The file runs but should not be run like this; no route wants the request; a fault's consequences do
    /// not end; or two files treat a log's requests differently.
    pub(super) const DOUBTFUL: u8 = 1;
    /// The file can not run, or the command line can not be read (clap's own code).
    pub(super) const REFUSED: u8 = 2;
    /// The file is good but the server can not start: an address is in use.
    pub(super) const NOT_STARTED: u8 = 3;
}

#[derive(Debug, Parser)]
#[command(
    name = "intertie",
    version,
    about = "The integration layer between services, in one server from one TOML file",
    after_help = EXAMPLES,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  intertie demo                          a minute of faults, and what the policies make of them
  intertie check intertie.toml           prove the timeouts, count the amplification, find the traps
  intertie up intertie.toml              serve; SIGHUP or a changed file reloads, SIGUSR2 hands over to a new process
  intertie explain intertie.toml GET http://shop.example/orders/7 -H 'Idempotency-Key: 1'
  intertie simulate intertie.toml --script faults.toml
  intertie plan intertie.toml changed.toml --log access.log
  intertie health intertie.toml          whether the server of the file is ready
  intertie schema > intertie.schema.json

Exit codes:
  0  all is well
  1  `check` found warnings, `explain` found no route, `simulate` saw no recovery, `plan` a change,
     or `health` a server that is not ready
  2  the file or the command line is wrong
  3  the server can not start, for example because an address is in use";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the routes of a file.
    #[command(after_help = "Examples:\n  intertie up\n  intertie up /etc/intertie.toml\n\n\
        SIGHUP, or a change of the file, reloads it: what did not change keeps its state, a wrong file is\n\
        refused whole, and no request is dropped. SIGUSR2 starts the binary anew, hands the listening sockets\n\
        over and drains once the new process serves; if it can not, this one goes on. SIGTERM and SIGINT\n\
        drain: no new connections, requests under way end, at most for `[server] drain`.")]
    Up {
        /// The file to serve.
        #[arg(default_value = "intertie.toml")]
        file: PathBuf,
        /// End when the standard input does, so that no parent can leave us behind.
        #[arg(long, hide = true)]
        until_stdin_closes: bool,
    },
    /// Prove that a file's timeouts fit, count its worst-case amplification and warn of its traps.
    #[command(
        after_help = "Examples:\n  intertie check intertie.toml\n  intertie check intertie.toml && deploy\n\n\
        Exits with 0 when nothing is to be said against the file, 1 with warnings, 2 with errors."
    )]
    Check {
        /// The file to look at.
        file: PathBuf,
    },
    /// Tell what happens to a request: its route, the losers, every effective value and its line; without
    /// one, what the process makes of the file and the machine.
    #[command(
        after_help = "Examples:\n  intertie explain intertie.toml\n  intertie explain intertie.toml GET /orders/7\n  \
        intertie explain intertie.toml POST http://shop.example/orders -H 'X-Version: 2'"
    )]
    Explain {
        /// The file that decides.
        file: PathBuf,
        /// The method, such as GET.
        #[arg(requires = "url")]
        method: Option<String>,
        /// The URL, or a path alone.
        url: Option<String>,
        /// A header, as often as needed.
        #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "url")]
        headers: Vec<String>,
    },
    /// Try the policies with a script of faults, in virtual time: goodput, amplification, recovery.
    #[command(after_help = "Examples:\n  intertie simulate intertie.toml --script faults.toml\n  \
        intertie simulate intertie.toml --script faults.toml --seed 7 --json\n\n\
        The script is a TOML file; `intertie schema --script` describes it. Nothing is sent anywhere, and the\n\
        same seed gives the same report. Exits with 0 when all is well again after every fault, 1 when it is\n\
        not, 2 with errors.")]
    Simulate(SimulateArguments),
    /// Tell what a changed file would change: an access log replayed on both, in virtual time.
    #[command(after_help = "Examples:\n  intertie plan intertie.toml changed.toml --log access.log\n  \
        zcat access.log.gz | intertie plan intertie.toml changed.toml --log - --duration 50ms --json\n\n\
        Reads our access log, as JSON or text, and the Common and Combined Log Format. Exits with 0 when\n\
        nothing would change, 1 when something would, 2 with errors.")]
    Plan(PlanArguments),
    /// Ask whether the server of a file is ready, for container health checks and scripts.
    #[command(
        after_help = "Examples:\n  intertie health\n  intertie health /etc/intertie.toml && deploy\n\n\
        Asks /health/ready on the file's `[server] admin`. Exits with 0 when the server is ready, 1 when it is\n\
        not or nobody answers, 2 when the file is wrong."
    )]
    Health {
        /// The file that the server was started with.
        #[arg(default_value = "intertie.toml")]
        file: PathBuf,
    },
    /// Print the JSON Schema of the file, for editors.
    #[command(after_help = "Examples:\n  intertie schema > intertie.schema.json\n  \
        intertie schema --script > faults.schema.json")]
    Schema {
        /// Of a script of `simulate` instead.
        #[arg(long)]
        script: bool,
    },
    /// See it work: three services, real traffic, five faults, one summary.
    Demo(DemoArguments),
    /// One of the demo's services.
    #[command(hide = true)]
    DemoService(demo::ServiceArguments),
}

/// Runs the command line.
pub(crate) fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Up { file, until_stdin_closes } => serve(&file, until_stdin_closes),
        Command::Check { file } => check(&file),
        Command::Explain { file, method: Some(method), url: Some(url), headers } => {
            print_explanation(explained(&file, &method, &url, &headers))
        }
        Command::Explain { file, .. } => print_explanation(explained_process(&file)),
        Command::Simulate(arguments) => try_faults(&arguments),
        Command::Plan(arguments) => compare(&arguments),
        Command::Health { file } => ask_health(&file),
        Command::Schema { script } => {
            let schema = if script { file::script_schema() } else { file::schema() };
            print_line(&serde_json::to_string_pretty(&schema).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DemoService(arguments) => demo::serve(&arguments),
    }
}

/// Prints to the standard output; a reader that closed it, such as `head`, is no error.
fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn serve(path: &std::path::Path, until_stdin_closes: bool) -> ExitCode {
    use_small_pages();
    // Before there are threads: it changes the environment, which they would share.
    let activation = match Activation::from_environment() {
        Ok(activation) => activation,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(code::NOT_STARTED);
        }
    };
    let loaded = match Loaded::read(path) {
        Ok(loaded) => loaded,
        Err(refusal) => {
            eprint!("{refusal}");
            return ExitCode::from(code::REFUSED);
        }
    };
    match up::run(loaded, activation, until_stdin_closes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(up::Failure::Refused(refusal)) => {
            eprint!("{refusal}");
            ExitCode::from(code::REFUSED)
        }
        Err(up::Failure::NotListening(message)) => {
            eprint!("{message}");
            ExitCode::from(code::NOT_STARTED)
        }
        Err(up::Failure::NotStarted(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::from(code::NOT_STARTED)
        }
    }
}

fn ask_health(path: &std::path::Path) -> ExitCode {
    let loaded = match Loaded::read(path) {
        Ok(loaded) => loaded,
        Err(refusal) => {
            eprint!("{refusal}");
            return ExitCode::from(code::REFUSED);
        }
    };
    let admin = loaded.server.admin;
    match health::ask(admin) {
        Ok((ready, answer)) => {
            print_line(&answer);
            if ready { ExitCode::SUCCESS } else { ExitCode::from(code::DOUBTFUL) }
        }
        Err(error) => {
            eprintln!("error: no answer from {admin}: {error}");
            ExitCode::from(code::DOUBTFUL)
        }
    }
}

fn check(path: &std::path::Path) -> ExitCode {
    let loaded = match Loaded::read(path) {
        Ok(loaded) => loaded,
        Err(refusal) => {
            eprint!("{refusal}");
            return ExitCode::from(code::REFUSED);
        }
    };
    let mut problems = match loaded.terms() {
        Ok((_, doubts)) => doubts,
        Err(problems) => {
            eprint!("{}", loaded.render(&problems));
            return ExitCode::from(code::REFUSED);
        }
    };
    match loaded.collector_terms() {
        Ok((_, doubts)) => problems.extend(doubts),
        Err(problems) => {
            eprint!("{}", loaded.render(&problems));
            return ExitCode::from(code::REFUSED);
        }
    }
    let (plan, report) = match loaded.plan(None, &Events::default()) {
        Ok(compiled) => compiled,
        Err(report) => {
            eprint!("{}", loaded.render(&report.problems));
            return ExitCode::from(code::REFUSED);
        }
    };
    let series = Series::of(&plan, &loaded);
    if let Some(problem) = series.problem(&loaded) {
        eprint!("{}", loaded.render(&[problem]));
        return ExitCode::from(code::REFUSED);
    }
    problems.extend(report.problems);
    eprint!("{}", loaded.render(&problems));
    print_line(&amplification(&report.amplification));
    print_line(&format!("series of metrics: at most {} of {}", series.most, loaded.server.metric_series_max));
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (warnings, notes) = (count(Severity::Warning), count(Severity::Note));
    print_line(&format!(
        "{}: {}, {}, {}, {}",
        path.display(),
        counted(loaded.traffic.routes.len(), "route"),
        counted(loaded.traffic.services.len(), "service"),
        counted(warnings, "warning"),
        counted(notes, "note")
    ));
    if warnings > 0 { ExitCode::from(code::DOUBTFUL) } else { ExitCode::SUCCESS }
}

/// `1 route`, `2 routes`.
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn amplification(rows: &[Amplification]) -> String {
    let mut table = String::from("worst-case requests for one client call:");
    let width = rows.iter().map(|row| row.service.len()).max().unwrap_or_default();
    for row in rows {
        table.push_str(&format!("\n  {:width$}  {:>4}   by {}", row.service, row.requests, row.chain));
    }
    table
}

fn explained_process(path: &std::path::Path) -> Result<(String, bool), String> {
    let loaded = Loaded::read(path)?;
    let (plan, _) = loaded.plan_to_look_at().map_err(|report| loaded.render(&report.problems))?;
    Ok((process::explain(&loaded, &plan) + &told::explain(&loaded), true))
}

fn print_explanation(explained: Result<(String, bool), String>) -> ExitCode {
    match explained {
        Ok((text, true)) => {
            print_line(text.trim_end());
            ExitCode::SUCCESS
        }
        Ok((text, false)) => {
            print_line(text.trim_end());
            ExitCode::from(code::DOUBTFUL)
        }
        Err(refusal) => {
            eprint!("{refusal}");
            ExitCode::from(code::REFUSED)
        }
    }
}

fn try_faults(arguments: &SimulateArguments) -> ExitCode {
    match simulate::simulate(arguments) {
        Ok(Simulated { text, recovered }) => {
            print_line(text.trim_end());
            if recovered { ExitCode::SUCCESS } else { ExitCode::from(code::DOUBTFUL) }
        }
        Err(refusal) => {
            eprint!("{refusal}");
            ExitCode::from(code::REFUSED)
        }
    }
}

fn compare(arguments: &PlanArguments) -> ExitCode {
    match plan::plan(arguments) {
        Ok(Planned { text, warning, changed }) => {
            eprint!("{warning}");
            print_line(text.trim_end());
            if changed { ExitCode::from(code::DOUBTFUL) } else { ExitCode::SUCCESS }
        }
        Err(refusal) => {
            eprint!("{refusal}");
            ExitCode::from(code::REFUSED)
        }
    }
}

/// The explanation, and whether a route was found.
fn explained(
    path: &std::path::Path,
    method: &str,
    url: &str,
    header_lines: &[String],
) -> Result<(String, bool), String> {
    let loaded = Loaded::read(path)?;
    let (plan, _) = loaded.plan_to_look_at().map_err(|report| loaded.render(&report.problems))?;
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| format!("error: `{method}` is no method\n"))?;
    let uri: Uri = url.parse().map_err(|error| format!("error: `{url}` is no URL: {error}\n"))?;
    let mut headers = HeaderMap::new();
    for line in header_lines {
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) =
            parsed.ok_or_else(|| format!("error: `{line}` is no header; write -H 'Name: value'\n"))?;
        headers.append(name, value);
    }
    let host = request_host(&uri, &headers);
    let view = RequestView {
        host: host.unwrap_or_default(),
        path: uri.path(),
        query: uri.query(),
        method: &method,
        headers: &headers,
    };
    if host.is_err() {
        let text = format!("{method} {uri}\n  is answered 400: a request names exactly one host\n");
        return Ok((text, false));
    }
    let explanation = explain(&plan, &view);
    let mut text = tell(&loaded, &method, &uri, &explanation);
    text.push_str(&believed::explain(&loaded));
    if uri.scheme() == Some(&http::uri::Scheme::HTTPS) {
        text.push_str(&secured::explain(&loaded, uri.host().unwrap_or_default())?);
    }
    text.push_str(&told::explain(&loaded));
    Ok((text, explanation.route.is_some()))
}

fn tell(loaded: &Loaded, method: &Method, uri: &Uri, explanation: &Explanation<'_>) -> String {
    let mut text = format!("{method} {uri}\n");
    let place = |keys: &[String]| loaded.place(keys);
    match (&explanation.found, explanation.route) {
        (_, Some(route)) => {
            let at = place(&["route".to_owned(), route.name.to_string()]);
            text.push_str(&format!(
                "  takes route `{}` ({at}) to service `{}`\n",
                route.name, route.service.name
            ));
        }
        (Found::OtherMethods(methods), _) => {
            let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
            text.push_str(&format!("  is answered 405: this path takes {}\n", methods.join(", ")));
        }
        (Found::Ambiguous, _) => {
            text.push_str("  is answered 400: the path can be read in more than one way\n");
        }
        _ => text.push_str("  is answered 404: no route wants this host and path\n"),
    }
    let winner = explanation.route.map(|route| route.name.as_ref());
    for (route, candidate) in &explanation.candidates {
        if winner == Some(route.name.as_ref()) {
            continue;
        }
        let why = match &candidate.mismatch {
            Some(mismatch) => mismatch.to_string(),
            None => "is less specific".to_owned(),
        };
        let at = place(&["route".to_owned(), route.name.to_string()]);
        text.push_str(&format!("  not route `{}` ({at}): it {why}\n", route.name));
    }
    let Some(route) = explanation.route else { return text };
    text.push_str("\npolicies, outermost first:\n");
    let effective = loaded.effective(&route.name);
    for shown in effective.shown() {
        let origin = shown.origin.as_deref().map_or_else(|| "built-in default".to_owned(), place);
        text.push_str(&format!("  {:<20} {}  ({origin})\n", shown.key.name(), shown.value));
    }
    let attempts = effective.retry.value.as_ref().map_or(1, |retry| retry.attempts.get());
    text.push_str("\nworst case:\n");
    if explanation.repeatable || attempts == 1 {
        let requests = counted(attempts as usize, "request");
        text.push_str(&format!("  {requests} to the service for one call\n"));
    } else {
        text.push_str(
            "  1 request to the service for one call: it is not idempotent and has no Idempotency-Key,\n  \
             so only an attempt that never reached the service is repeated\n",
        );
    }
    let bounded =
        if effective.deadline.value.is_some() { "; the deadline ends it at the latest" } else { "" };
    match effective.worst_case() {
        Some(worst) => {
            let worst = intertie_core::quantity::format_duration(worst);
            text.push_str(&format!("  {worst} by attempts, backoff and queue{bounded}\n"));
        }
        None if bounded.is_empty() => text.push_str("  nothing bounds an attempt\n"),
        None => text.push_str("  nothing but the deadline bounds an attempt\n"),
    }
    text.push_str(&towards::explain(loaded, &route.service));
    text.push_str("\nendpoints:\n");
    for (endpoint, config) in route.service.endpoints.iter().zip(&route.service.config.endpoints) {
        text.push_str(&format!("  {} weight {}\n", endpoint.address, config.weight));
    }
    text
}
