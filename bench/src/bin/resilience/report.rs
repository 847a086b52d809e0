//! The Markdown tables.

use std::collections::HashMap;
use std::fmt::Write as _;

use intertie_bench::machine::{Machine, locked_version};

use crate::args::{Args, Effort};
use crate::child::Allocations;
use crate::keyed::{self, Keyed};
use crate::measure::{Cost, Costs};
use crate::subject::Row;
use crate::targets::{self, Goal};
use crate::threads::Sharing;

/// Whose versions are told.
const LIBRARIES: [&str; 9] = [
    "backon",
    "bb8",
    "deadpool",
    "failsafe",
    "governor",
    "recloser",
    "tokio",
    "tower",
    "tower-resilience-circuitbreaker",
];

pub struct Report<'a> {
    pub machine: Machine,
    pub args: &'a Args,
    pub allocations: HashMap<(String, String), Allocations>,
    pub costs: Costs,
    pub keyed: Vec<Keyed>,
    pub threads: Vec<Sharing>,
}

const fn title(row: Row) -> &'static str {
    match row {
        Row::Closed => "breaker closed, window",
        Row::Failing => "same, 10 % failing",
        Row::Consecutive => "breaker closed, failures in a row",
        Row::Open => "breaker open",
        Row::Retry => "retry untaken",
        Row::Timeout => "timeout, ready at first poll",
        Row::Limiter => "rate limiter",
        Row::Keyed => "rate limiter, a million keys",
        Row::Bulkhead => "bulkhead",
        Row::Pool => "pool, an idle resource",
        Row::Alone => "a caller alone",
        Row::Pipeline => "five policies",
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("ours")
}

impl Report<'_> {
    pub fn render(&self) -> String {
        let mut report = self.heading();
        if !self.costs.subjects.is_empty() {
            report.push_str(
                "\n### One thread\n\n\
                 | policy | subject | net ns | lowest–highest | C | allocations | bytes | target |\n\
                 |---|---|--:|--:|--:|--:|--:|---|\n",
            );
            self.costs.subjects.iter().for_each(|cost| self.cost(&mut report, cost));
        }
        if !self.keyed.is_empty() {
            report.push_str(
                "\n### A quota for each of a million keys\n\n\
                 | subject | net ns | lowest–highest | C | bytes per key | target |\n\
                 |---|--:|--:|--:|--:|---|\n",
            );
            self.keyed.iter().for_each(|keyed| self.keyed(&mut report, keyed));
        }
        if !self.threads.is_empty() {
            report.push_str(
                "\n### Two threads: throughput with one shared object, divided by that with one each\n\n\
                 | policy | subject | ratio | lowest–highest | processors had | target |\n\
                 |---|---|--:|--:|--:|---|\n",
            );
            self.threads.iter().for_each(|sharing| sharing_line(&mut report, sharing));
        }
        report
    }

    fn heading(&self) -> String {
        let date = &self.machine.date;
        let version = |name: &&str| locked_version(name).map(|version| format!("{name} {version}"));
        let versions: Vec<_> = LIBRARIES.iter().filter_map(version).collect();
        let (rounds, processes) = (self.args.rounds, self.args.processes);
        let quick = match self.args.effort {
            Effort::Quick => " A quick run: it shows that all works, not how fast.",
            Effort::Full => "",
        };
        format!(
            "## Resilience policies beside each other, {date}\n\n\
             {}. {}.\n\n\
             C = one `Instant::now()` = {:.1} ns. Every figure is net of the bare operation ({:.2} ns): medians of \
             {rounds} interleaved samples; of {processes} fresh processes for keys and for two threads.{quick}\n",
            self.machine,
            versions.join(", "),
            self.costs.clock.median(),
            self.costs.bare.median(),
        )
    }

    fn cost(&self, report: &mut String, cost: &Cost) {
        let in_clocks = cost.net.ratio(&self.costs.clock);
        let allocations = self.allocations.get(&(cost.row.name().to_owned(), cost.name.to_owned()));
        let figure = |goal: &Goal| match goal {
            Goal::Clock(_) => Some(in_clocks),
            Goal::NoAllocation => allocations.map(|counted| counted.count),
            Goal::Times(_, whom) => {
                let mut row = self.costs.subjects.iter().filter(|other| other.row == cost.row);
                row.find(|other| other.name == *whom).map(|other| cost.net.ratio(&other.net))
            }
            Goal::BytesPerKey(_) | Goal::Sharing(_) => None,
        };
        let verdicts = |goal: &Goal| goal.verdict(figure(goal));
        let target: Vec<_> = targets::of(cost.row).iter().map(verdicts).collect();
        let (count, bytes) = match allocations {
            Some(counted) => (round(counted.count), round(counted.bytes)),
            None => ("–".to_owned(), "–".to_owned()),
        };
        let _ = writeln!(
            report,
            "| {} | {} | {:.1} | {:.1}–{:.1} | {in_clocks:.2} | {count} | {bytes} | {} |",
            title(cost.row),
            cost.name,
            cost.net.median(),
            cost.net.lowest(),
            cost.net.highest(),
            if is_ours(cost.name) { target.join("; ") } else { String::new() },
        );
    }

    fn keyed(&self, report: &mut String, keyed: &Keyed) {
        let bytes = keyed.bytes_per_key.median();
        let figure = |goal: &Goal| match goal {
            Goal::BytesPerKey(_) => Some(bytes),
            Goal::Times(..) => {
                let governor = self.keyed.iter().find(|other| other.name == keyed::GOVERNOR);
                governor.map(|governor| keyed.net.ratio(&governor.net))
            }
            Goal::Clock(_) | Goal::NoAllocation | Goal::Sharing(_) => None,
        };
        let verdicts = |goal: &Goal| goal.verdict(figure(goal));
        let target: Vec<_> = targets::of(Row::Keyed).iter().map(verdicts).collect();
        let _ = writeln!(
            report,
            "| {} | {:.0} | {:.0}–{:.0} | {:.1} | {bytes:.1} | {} |",
            keyed.name,
            keyed.net.median(),
            keyed.net.lowest(),
            keyed.net.highest(),
            keyed.net.ratio(&keyed.clock),
            if is_ours(keyed.name) { target.join("; ") } else { String::new() },
        );
    }
}

fn sharing_line(report: &mut String, sharing: &Sharing) {
    let ratio = sharing.ratio.median();
    let goal = targets::of_two_threads(sharing.row).filter(|_| is_ours(sharing.name));
    let _ = writeln!(
        report,
        "| {} | {} | {ratio:.2} | {:.2}–{:.2} | {:.1} | {} |",
        title(sharing.row),
        sharing.name,
        sharing.ratio.lowest(),
        sharing.ratio.highest(),
        sharing.processors.median(),
        goal.map(|goal| goal.verdict(Some(ratio))).unwrap_or_default(),
    );
}

/// Whole, unless a part of it says something.
fn round(figure: f64) -> String {
    if (figure - figure.round()).abs() < 0.005 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_has_a_version() {
        for name in LIBRARIES {
            assert!(locked_version(name).is_some_and(|version| version.contains('.')), "{name}");
        }
    }
}
