//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use intertie_core::telemetry::Events;
use intertie_gateway::config::Severity;
use intertie_gateway::plan::Amplification;

use crate::data::{self, DataArguments};
use crate::demo::{self, DemoArguments};
use crate::explain::{Explained, explain_process, explain_request};
use crate::file::{self, Loaded};
use crate::health;
use crate::operation::{Activation, use_small_pages};
use crate::plan::{self, PlanArguments, Planned};
use crate::queue::{self, QueueArguments};
use crate::series::Series;
use crate::simulate::{self, SimulateArguments, Simulated};
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
  intertie queue list                    what is in the queues of the server; send, lease, peek, redrive …
  intertie data backup data copy.db      a copy of the data directory, while its server goes on
  intertie schema > intertie.schema.json

Exit codes:
  0  all is well
  1  `check` found warnings, `explain` found no route, `simulate` saw no recovery, `plan` a change,
     `health` a server that is not ready, `queue` was refused, or `data verify` found damage
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
    /// Send, lease, settle and look at messages of a running server; see and redrive dead letters.
    #[command(after_help = "Examples:\n  intertie queue list\n  \
        intertie queue send shipments '{\"order\":7}' --type OrderPlaced\n  \
        intertie queue lease shipments --wait 20s --json\n  \
        intertie queue redrive shipments --cause rejected --rate 100/s --dry-run\n\n\
        Exits with 0 when it is done, 1 when the server refuses it or does not answer, 2 when the file or the\n\
        command line is wrong.")]
    Queue(QueueArguments),
    /// Verify, measure, back up and restore a data directory.
    #[command(after_help = "Examples:\n  intertie data verify data\n  intertie data stats data --json\n  \
        intertie data backup data /backup/monday.db\n  intertie data restore /backup/monday.db data\n\n\
        Exits with 0 when all is well, 1 when `verify` found damage, 2 when nothing could be done.")]
    Data(DataArguments),
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
            print_explanation(explain_request(&file, &method, &url, &headers))
        }
        Command::Explain { file, .. } => print_explanation(explain_process(&file)),
        Command::Simulate(arguments) => try_faults(&arguments),
        Command::Plan(arguments) => compare(&arguments),
        Command::Health { file } => ask_health(&file),
        Command::Queue(arguments) => match queue::run(arguments) {
            Ok(text) => {
                print_line(&text);
                ExitCode::SUCCESS
            }
            Err(queue::Failure::Wrong(refusal)) => refused(&refusal),
            Err(queue::Failure::Refused(error)) => {
                eprintln!("error: {error:#}");
                ExitCode::from(code::DOUBTFUL)
            }
        },
        Command::Data(arguments) => match data::run(&arguments) {
            Ok((text, is_well)) => {
                print_line(&text);
                verdict(is_well)
            }
            Err(refusal) => refused(&refusal),
        },
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

/// Prints why a file, or what was asked of it, is refused.
fn refused(refusal: &str) -> ExitCode {
    eprint!("{refusal}");
    ExitCode::from(code::REFUSED)
}

/// Tells scripts whether all is well.
fn verdict(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::from(code::DOUBTFUL) }
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
        Err(refusal) => return refused(&refusal),
    };
    match up::run(loaded, activation, until_stdin_closes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(up::Failure::Refused(refusal)) => refused(&refusal),
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
        Err(refusal) => return refused(&refusal),
    };
    let admin = loaded.server.admin;
    match health::ask(admin) {
        Ok((ready, answer)) => {
            print_line(&answer);
            verdict(ready)
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
        Err(refusal) => return refused(&refusal),
    };
    let mut problems = match loaded.terms(None) {
        Ok((_, doubts)) => doubts,
        Err(problems) => return refused(&loaded.render(&problems)),
    };
    match loaded.api_terms(None) {
        Ok((_, doubts)) => problems.extend(doubts),
        Err(problems) => return refused(&loaded.render(&problems)),
    }
    match loaded.collector_terms() {
        Ok((_, doubts)) => problems.extend(doubts),
        Err(problems) => return refused(&loaded.render(&problems)),
    }
    let (plan, report) = match loaded.plan(None, &Events::default()) {
        Ok(compiled) => compiled,
        Err(report) => return refused(&loaded.render(&report.problems)),
    };
    let series = Series::of(&plan, &loaded);
    if let Some(problem) = series.problem(&loaded) {
        return refused(&loaded.render(&[problem]));
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
    verdict(warnings == 0)
}

/// `1 route`, `2 routes`.
pub(crate) fn counted(count: usize, what: &str) -> String {
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

fn print_explanation(explained: Result<Explained, String>) -> ExitCode {
    match explained {
        Ok(Explained { text, found }) => {
            print_line(text.trim_end());
            verdict(found)
        }
        Err(refusal) => refused(&refusal),
    }
}

fn try_faults(arguments: &SimulateArguments) -> ExitCode {
    match simulate::simulate(arguments) {
        Ok(Simulated { text, recovered }) => {
            print_line(text.trim_end());
            verdict(recovered)
        }
        Err(refusal) => refused(&refusal),
    }
}

fn compare(arguments: &PlanArguments) -> ExitCode {
    match plan::plan(arguments) {
        Ok(Planned { text, warning, changed }) => {
            eprint!("{warning}");
            print_line(text.trim_end());
            verdict(!changed)
        }
        Err(refusal) => refused(&refusal),
    }
}
