//! The Markdown tables: ours in process, and servers beside each other.

use std::fmt::Write as _;

use intertie_bench::machine::Machine;
use intertie_bench::statistics::Samples;

use crate::args::Args;
use crate::disk::Disk;
use crate::measure::{MESSAGE_BYTES, Sample};
use crate::mode::Mode;
use crate::subjects::Kind;

/// The samples of one subject in one mode, one for each round.
#[derive(Debug)]
pub struct Series {
    pub kind: Kind,
    pub mode: Mode,
    pub samples: Vec<Sample>,
}

impl Series {
    /// Those of all modes of these subjects, without samples.
    pub fn all(kinds: &[Kind]) -> Vec<Self> {
        let modes =
            |&kind: &Kind| kind.modes().iter().map(move |&mode| Self { kind, mode, samples: Vec::new() });
        kinds.iter().flat_map(modes).collect()
    }

    fn figures(&self, figure: impl Fn(&Sample) -> f64) -> Samples {
        self.samples.iter().map(figure).collect()
    }

    fn rates(&self) -> Samples {
        self.figures(|sample| sample.messages_per_second)
    }
}

pub struct Report<'a> {
    pub machine: Machine,
    pub args: &'a Args,
    pub versions: Vec<(Kind, String)>,
    pub disk: Vec<Disk>,
    pub series: Vec<Series>,
}

impl Report<'_> {
    pub fn render(&self) -> String {
        let mut report = self.heading();
        let (library, servers): (Vec<_>, Vec<_>) =
            self.series.iter().partition(|series| series.kind.is_library());
        if !library.is_empty() {
            report.push_str("\n### Library: in process, beside the disk's own limit\n\n");
            rows(&mut report, "load", &library, |series| series.mode.title());
        }
        let mut modes = Vec::new();
        for series in &servers {
            if !modes.contains(&series.mode) {
                modes.push(series.mode);
            }
        }
        for mode in modes {
            let _ = write!(report, "\n### Servers: {}\n\n", mode.title());
            let of_mode: Vec<_> = servers.iter().copied().filter(|series| series.mode == mode).collect();
            rows(&mut report, "server", &of_mode, |series| series.kind.to_string());
        }
        report
    }

    fn heading(&self) -> String {
        let Args { rounds, length, .. } = self.args;
        let versions: Vec<_> =
            self.versions.iter().map(|(kind, version)| format!("{kind} {version}")).collect();
        let disk = |figure: fn(&Disk) -> f64| self.disk.iter().map(figure).collect::<Samples>();
        let syncs = disk(|disk| disk.syncs_per_second);
        format!(
            "## Queues and topics, {}\n\n{}. {}.\n\n\
             Medians of {rounds} rounds of {} s, after {} s of warm-up; messages of {MESSAGE_BYTES} bytes. \
             {} messages lie there before consumers come. The disk by itself, between the rounds: {:.0} syncs of a block of 4 KiB in a second \
             ({:.0} to {:.0}), p50 {:.0} µs, p99 {:.0} µs.\n",
            self.machine.date,
            self.machine,
            versions.join(", "),
            length.measured.as_secs(),
            length.warm_up.as_secs(),
            length.filled,
            syncs.median(),
            syncs.lowest(),
            syncs.highest(),
            disk(|disk| disk.p50_us).median(),
            disk(|disk| disk.p99_us).median(),
        )
    }
}

fn rows(report: &mut String, first: &str, rows: &[&Series], name: impl Fn(&Series) -> String) {
    let reference = rows.iter().find(|row| row.kind == Kind::RabbitMq);
    let _ = write!(
        report,
        "| {first} | messages/s | lowest–highest | × RabbitMQ | p50 ms | p99 ms | CPU s per 100k | when a sender hears so |\n\
         |---|--:|--:|--:|--:|--:|--:|---|\n"
    );
    for row in rows {
        let rates = row.rates();
        let ratio = reference.map_or("–".to_owned(), |other| format!("{:.2}", rates.ratio(&other.rates())));
        let _ = writeln!(
            report,
            "| {} | {:.0} | {:.0}–{:.0} | {ratio} | {:.2} | {:.2} | {:.2} | {} |",
            name(row),
            rates.median(),
            rates.lowest(),
            rates.highest(),
            row.figures(|sample| sample.p50_ms).median(),
            row.figures(|sample| sample.p99_ms).median(),
            row.figures(|sample| sample.cpu_seconds_per_100k).median(),
            row.kind.durability(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{self, Request};

    #[test]
    fn ours_in_process_stands_in_a_table_of_its_own_and_ratios_are_of_the_same_round() {
        let Ok(Request::Run(args)) = args::parse([]) else { panic!("no flag is needed") };
        let rates = |kind: Kind| match kind {
            Kind::Embedded => [9.0, 9.0, 9.0],
            Kind::RabbitMq => [1.0, 2.0, 4.0],
            _ => [2.0, 6.0, 4.0],
        };
        let kinds = [Kind::Embedded, Kind::RabbitMq, Kind::Postgres];
        let mut series = Series::all(&kinds);
        for series in &mut series {
            let sample = |messages_per_second| Sample {
                messages_per_second,
                p50_ms: 1.0,
                p99_ms: 2.5,
                cpu_seconds_per_100k: 0.5,
            };
            series.samples = rates(series.kind).map(sample).to_vec();
        }
        let machine = Machine::read().unwrap();
        let disk = vec![Disk { syncs_per_second: 5_000.0, p50_us: 200.0, p99_us: 900.0 }];
        let report = Report { machine, args: &args, versions: Vec::new(), disk, series }.render();
        let (_, tables) = report.split_once("### Library").unwrap();
        let (library, servers) = tables.split_once("### Servers").unwrap();
        assert!(
            library.contains("64 senders | 9 | 9–9 | – |") && !library.contains("postgresql"),
            "{report}"
        );
        assert!(servers.contains("| postgresql | 4 | 2–6 | 2.00 |"), "{report}");
        assert!(!servers.contains("| 9 |"), "{report}");
    }
}
