//! The Markdown table.

use std::fmt::Write as _;

use anyhow::Result;
use intertie_bench::machine::Machine;
use intertie_bench::statistics::Samples;

use crate::args::Args;
use crate::load;
use crate::measure::Sample;
use crate::memory::{Footprint, ROUTES_MANY};
use crate::mode::Mode;
use crate::subjects::{Kind, Subject, WORKERS};

/// Where and with which versions it is measured.
#[derive(Debug)]
pub struct Environment {
    pub machine: Machine,
    /// Name and version of everything that takes part.
    pub versions: Vec<(&'static str, String)>,
}

impl Environment {
    pub fn read(subjects: &[Subject], load: &load::Tools) -> Result<Self> {
        let mut versions: Vec<_> =
            subjects.iter().map(|subject| (subject.kind.name(), subject.version.clone())).collect();
        versions.extend(load.versions()?);
        Ok(Self { machine: Machine::read()?, versions })
    }
}

/// The samples of one subject in one mode, one for each round.
#[derive(Debug)]
pub struct Series<'a> {
    pub mode: Mode,
    pub subject: &'a Subject,
    pub samples: Vec<Sample>,
}

impl<'a> Series<'a> {
    pub fn new(mode: Mode, subject: &'a Subject) -> Self {
        Self { mode, subject, samples: Vec::new() }
    }

    fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        self.samples.iter().map(figure).collect::<Samples>().median()
    }

    /// CPU time as a multiple of the other's: the median of the ratios of each round, because two runs of one round
    /// met the same machine and the medians of all rounds need not have.
    fn cpu_ratio(&self, other: &Self) -> f64 {
        let cpu = |series: &Self| {
            series.samples.iter().map(|sample| sample.cpu_seconds_per_100k).collect::<Samples>()
        };
        cpu(self).ratio(&cpu(other))
    }
}

pub fn render(environment: &Environment, args: &Args, series: &[Series<'_>]) -> String {
    let mut report = heading(environment, args);
    for &mode in &args.modes {
        let rows: Vec<_> = series.iter().filter(|series| series.mode == mode).collect();
        let reference = |kind| rows.iter().copied().find(|row| row.subject.kind == kind);
        let (nginx, envoy) = (reference(Kind::Nginx), reference(Kind::Envoy));
        let _ = write!(
            report,
            "\n### {mode}: {}\n\n\
             | subject | CPU s per 100k requests | lowest–highest | × nginx | × Envoy | requests/s | p50 ms | p99 ms | peak RSS MiB |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
            mode.title()
        );
        for row in rows {
            let cpu = |sample: &Sample| sample.cpu_seconds_per_100k;
            let lowest = row.samples.iter().map(cpu).fold(f64::INFINITY, f64::min);
            let highest = row.samples.iter().map(cpu).fold(0.0, f64::max);
            let ratio = |to: Option<&Series<'_>>| {
                to.map_or("–".to_owned(), |other| format!("{:.2}", row.cpu_ratio(other)))
            };
            let _ = writeln!(
                report,
                "| {} | {:.2} | {lowest:.2}–{highest:.2} | {} | {} | {:.0} | {:.2} | {:.2} | {:.0} |",
                row.subject.kind,
                row.median(cpu),
                ratio(nginx),
                ratio(envoy),
                row.median(|sample| sample.requests_per_second),
                row.median(|sample| sample.p50_ms),
                row.median(|sample| sample.p99_ms),
                row.median(|sample| sample.peak_rss_mib),
            );
        }
    }
    report
}

/// One row for each subject.
pub fn render_memory(environment: &Environment, rows: &[(&Subject, Footprint)]) -> String {
    let mut report = format!("## What gateways keep in memory, {}", place(environment));
    let _ = write!(
        report,
        "\n\
         | subject | idle MiB | with {ROUTES_MANY} routes, MiB | an idle connection, kB | with TLS, kB |\n\
         |---|--:|--:|--:|--:|\n"
    );
    for (subject, footprint) in rows {
        let Footprint { idle_mib, routes_mib, connection_kb, tls_connection_kb } = footprint;
        let kind = subject.kind;
        let _ = writeln!(
            report,
            "| {kind} | {idle_mib:.1} | {routes_mib:.1} | {connection_kb:.1} | {tls_connection_kb:.1} |"
        );
    }
    report
}

fn heading(environment: &Environment, args: &Args) -> String {
    format!(
        "## Gateways beside each other, {}\n\
         Medians of {} × {} s, each after {} s of warm-up; 64 requests under way, {WORKERS} workers each, answers of \
         1 KiB. Ratios are of CPU time, taken within each round.\n",
        place(environment),
        args.rounds,
        args.seconds.measured,
        args.seconds.warm_up,
    )
}

/// When, where and with which versions.
fn place(environment: &Environment) -> String {
    let versions: Vec<_> =
        environment.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    format!("{}\n\n{}. {}.\n", environment.machine.date, environment.machine, versions.join(", "),)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Seconds;

    fn sample(cpu_seconds_per_100k: f64) -> Sample {
        Sample {
            cpu_seconds_per_100k,
            requests_per_second: 50_000.4,
            p50_ms: 1.0,
            p99_ms: 2.5,
            peak_rss_mib: 9.6,
        }
    }

    #[test]
    fn a_row_has_ratios_of_the_same_round_and_a_dash_for_whom_is_absent() {
        let subject = |kind| Subject { kind, binary: "x".into(), version: "1".to_owned() };
        let (ours, nginx) = (subject(Kind::Intertie), subject(Kind::Nginx));
        // The medians are 2 and 3, of different rounds; the ratios of the rounds are 0.5, 0.5 and 3.
        let series = [
            Series { mode: Mode::Work, subject: &ours, samples: [1.0, 2.0, 9.0].map(sample).to_vec() },
            Series { mode: Mode::Work, subject: &nginx, samples: [2.0, 4.0, 3.0].map(sample).to_vec() },
        ];
        let args = Args {
            rounds: 3,
            seconds: Seconds { warm_up: 2, measured: 5 },
            subjects: vec![Kind::Intertie, Kind::Nginx],
            modes: vec![Mode::Work],
            memory: false,
            build: true,
            append: None,
        };
        let environment =
            Environment { machine: Machine::read().unwrap(), versions: vec![("nginx", "1".to_owned())] };
        let report = render(&environment, &args, &series);
        assert!(
            report.contains("| intertie | 2.00 | 1.00–9.00 | 0.50 | – | 50000 | 1.00 | 2.50 | 10 |"),
            "{report}"
        );
        assert!(report.contains("| nginx | 3.00 | 2.00–4.00 | 1.00 | – |"), "{report}");
    }
}
