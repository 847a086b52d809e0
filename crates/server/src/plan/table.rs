use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use intertie_core::quantity::format_duration;

use super::report::{Change, Report};
use super::tally::{Outcome, Tally};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = format_duration(Duration::from_secs(self.seconds.round() as u64));
        write!(f, "{} requests in {span}: ", self.requests)?;
        if self.changed {
            self.summary(f)?;
        } else {
            writeln!(f, "nothing changes")?;
        }
        if !self.moves.is_empty() {
            writeln!(f, "\nother routes")?;
        }
        for moved in &self.moves {
            writeln!(
                f,
                "  {:>8}  {} → {}, such as {}",
                moved.requests,
                moved.old,
                moved.new,
                shown(&moved.example)
            )?;
        }
        let is_changed = |change: &Change| change.size() > 0;
        for route in self.routes.iter().filter(|route| is_changed(&route.change)) {
            let name = if route.route.is_empty() {
                "no route".to_owned()
            } else {
                format!("route `{}`", route.route)
            };
            writeln!(f, "\n{name:<36}{:>10}{:>10}{:>10}", "old", "new", "change")?;
            table(f, &route.change)?;
        }
        let unchanged = self.routes.iter().filter(|route| !is_changed(&route.change));
        let unchanged: Vec<_> = unchanged
            .filter(|route| !route.route.is_empty() && route.change.old.requests > 0)
            .map(|route| format!("`{}`", route.route))
            .collect();
        writeln!(f)?;
        if !unchanged.is_empty() {
            writeln!(f, "unchanged  {}", unchanged.join(", "))?;
        }
        for assumed in &self.assumed {
            writeln!(f, "assumed    {assumed}")?;
        }
        for left_out in &self.left_out {
            writeln!(f, "left out   {left_out}")?;
        }
        Ok(())
    }
}

impl Report {
    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { old, new } = &self.total;
        let moved: u64 = self.moves.iter().map(|moved| moved.requests).sum();
        write!(f, "{moved} take another route")?;
        let mut differ = |name, wanted: fn(Outcome) -> bool| match (old.count(wanted), new.count(wanted)) {
            (old, new) if old == new => Ok(()),
            (old, new) => write!(f, ", {name} {old} → {new}"),
        };
        differ("answered", |outcome| outcome == Outcome::Answered)?;
        differ("rejected", Outcome::is_rejection)?;
        differ("timed out", Outcome::is_timeout)?;
        differ("failed", |outcome| outcome == Outcome::Failed)?;
        differ("left by the client", |outcome| outcome == Outcome::ClientLeft)?;
        writeln!(f, "; {:.2} → {:.2} attempts for each", old.amplification(), new.amplification())
    }
}

fn table(f: &mut fmt::Formatter<'_>, Change { old, new }: &Change) -> fmt::Result {
    let mut row = |name: &str, old: u64, new: u64| {
        let change = match (new.cmp(&old), new.abs_diff(old)) {
            (std::cmp::Ordering::Equal, _) => String::new(),
            (std::cmp::Ordering::Greater, by) => format!("+{by}"),
            (std::cmp::Ordering::Less, by) => format!("-{by}"),
        };
        writeln!(f, "{}", format!("  {name:<34}{old:>10}{new:>10}{change:>10}").trim_end())
    };
    row("requests", old.requests, new.requests)?;
    let outcomes: BTreeSet<&Outcome> = old.outcomes.keys().chain(new.outcomes.keys()).collect();
    let of = |tally: &Tally, outcome| tally.outcomes.get(outcome).copied().unwrap_or_default();
    for outcome in outcomes {
        row(&outcome.to_string(), of(old, outcome), of(new, outcome))?;
    }
    row("attempts", old.attempts, new.attempts)?;
    writeln!(f, "  {:<34}{:>10.2}{:>10.2}", "attempts for each", old.amplification(), new.amplification())
}

/// What a client wrote must not move the terminal's cursor.
fn shown(text: &str) -> String {
    text.chars().take(120).collect::<String>().escape_debug().to_string()
}
