//! What became of the requests, for each kind of the mix.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};

use super::mix::MIX;

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// With all that was asked for.
    Good,
    /// The same, for a slow client.
    Slow,
    /// With an answer that says no: of the gateway, or a wrong one of the service.
    Refused,
    /// With no answer, or one that broke off.
    Broken,
    /// Its client left before.
    Left,
}

const OUTCOMES: [Outcome; 5] =
    [Outcome::Good, Outcome::Slow, Outcome::Refused, Outcome::Broken, Outcome::Left];

/// All counts.
#[derive(Debug, Default)]
pub(super) struct Figures([[AtomicU64; OUTCOMES.len()]; MIX.len()]);

impl Figures {
    pub(super) fn add(&self, place: usize, outcome: Outcome) {
        self.0[place][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All requests that ended so.
    pub(super) fn all(&self, outcome: Outcome) -> u64 {
        (0..MIX.len()).map(|place| self.of(place, outcome)).sum()
    }

    /// All requests.
    pub(super) fn sent(&self) -> u64 {
        OUTCOMES.iter().map(|outcome| self.all(*outcome)).sum()
    }

    fn of(&self, place: usize, outcome: Outcome) -> u64 {
        self.0[place][outcome as usize].load(Ordering::Relaxed)
    }

    /// Prints a row for each kind.
    pub(super) fn print(&self) {
        println!("\n| protocol | requests | good | slow and good | refused | broken | left |");
        println!("|---|--:|--:|--:|--:|--:|--:|");
        for (place, kind) in MIX.iter().enumerate() {
            let counts = OUTCOMES.map(|outcome| self.of(place, outcome));
            print!("| {} | {} |", kind.name, counts.iter().sum::<u64>());
            println!("{}", counts.map(|count| format!(" {count} |")).concat());
        }
    }

    /// Whether each kind was served, most of the time, and left by some of its clients.
    pub(super) fn judge(&self) -> Result<()> {
        for (place, kind) in MIX.iter().enumerate() {
            let good = self.of(place, Outcome::Good) + self.of(place, Outcome::Slow);
            let sent: u64 = OUTCOMES.iter().map(|outcome| self.of(place, *outcome)).sum();
            ensure!(good * 2 > sent, "{}: only {good} of {sent} requests were served", kind.name);
        }
        ensure!(self.all(Outcome::Slow) > 0, "no client was slow");
        ensure!(self.all(Outcome::Left) > 0, "no client left");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_must_be_served() {
        let served = || {
            let figures = Figures::default();
            for place in 0..MIX.len() {
                for outcome in [Outcome::Good, Outcome::Good, Outcome::Slow, Outcome::Left, Outcome::Broken] {
                    figures.add(place, outcome);
                }
            }
            figures
        };
        assert!(served().judge().is_ok());
        for place in 0..MIX.len() {
            let figures = served();
            figures.add(place, Outcome::Refused);
            assert!(figures.judge().is_err(), "{place}");
        }
    }
}
