use std::fmt;
use std::time::Duration;

use intertie_core::quantity::format_duration;

use super::config::{Effect, FaultConfig};
use super::report::{FaultReport, Report, Second};

/// The most marks in a line of goodput; a longer simulation shows several seconds in each.
const MARKS_MAX: usize = 60;

/// From nothing to everything.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasts = format_duration(self.duration);
        writeln!(f, "  offered        {} calls in {lasts}, seed {}", self.offered, self.seed)?;
        writeln!(f, "  succeeded      {} ({})", self.succeeded, percent(self.succeeded, self.offered))?;
        for (reason, count) in &self.failed {
            writeln!(f, "  failed         {count} ({}) {reason}", percent(*count, self.offered))?;
        }
        let amplification = &self.amplification;
        writeln!(
            f,
            "  amplification  {:.2} attempts for each call; {:.2} in the worst second, {:.2} in the worst 5s",
            amplification.overall, amplification.worst_second, amplification.worst_five_seconds
        )?;
        match &self.latency {
            Some(latency) => {
                let (p50, p99) = (format_duration(latency.p50), format_duration(latency.p99));
                writeln!(f, "  latency        p50 {p50}, p99 {p99} of the calls that succeeded")?;
            }
            None => writeln!(f, "  latency        no call succeeded")?,
        }
        for fault in &self.faults {
            writeln!(f, "  fault          {fault}")?;
        }
        let step = self.seconds.len().div_ceil(MARKS_MAX).max(1);
        let goodput: String = self.seconds.chunks(step).map(level).collect();
        writeln!(f, "  goodput        |{goodput}| {step}s a mark")?;
        if !self.faults.is_empty() {
            writeln!(f, "  faults         |{}|", self.fault_marks(step))?;
        }
        Ok(())
    }
}

impl Report {
    /// Below the goodput: a mark where a fault was in force.
    fn fault_marks(&self, step: usize) -> String {
        let overlaps = |begin: Duration, end: Duration| {
            self.faults.iter().any(|fault| fault.fault.at < end && begin < fault.fault.ends())
        };
        let mark = |begin: usize| {
            let end = Duration::from_secs((begin + step) as u64);
            if overlaps(Duration::from_secs(begin as u64), end) { '^' } else { ' ' }
        };
        (0..self.seconds.len()).step_by(step).map(mark).collect()
    }
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.fault)?;
        match self.recovered_after {
            Some(Duration::ZERO) => f.write_str("all was well when it ended"),
            Some(after) => write!(f, "all was well {} after its end", format_duration(after)),
            None => f.write_str("never recovered"),
        }
    }
}

impl fmt::Display for FaultConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (format_duration(self.at), format_duration(self.lasts));
        write!(f, "{} from {at} for {lasts}", self.effect)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse => f.write_str("refuse"),
            Self::Hang => f.write_str("hang"),
            Self::Fail(share) => write!(f, "fail {share}"),
            Self::Slow(times) => write!(f, "slow × {times}"),
            Self::Capacity(servers) => write!(f, "capacity {servers}"),
            Self::Throttle(hint) => write!(f, "throttle for {}", format_duration(*hint)),
        }
    }
}

/// The share of the offered calls that succeeded, as a bar. A second without calls looks like one without
/// success.
fn level(seconds: &[Second]) -> char {
    let sum = |count: fn(&Second) -> u64| seconds.iter().map(count).sum::<u64>();
    let (succeeded, offered) = (sum(|second| second.succeeded), sum(|second| second.offered));
    // Full only when all succeeded, empty only when none did.
    let eighths = (succeeded * 8).checked_div(offered).unwrap_or_default();
    LEVELS[(eighths as usize).max(usize::from(succeeded > 0))]
}

fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{share:.1}%")
}
