use super::Violation;
use crate::proxy::Cut;
use crate::stats::Counter;

/// What was refused, by side and reason, and who was cut off.
#[derive(Debug)]
pub(crate) struct WireStats {
    clients: [Counter; Violation::ALL.len()],
    services: [Counter; Violation::ALL.len()],
    connections_cut: Counter,
    streams_cut: Counter,
}

impl Default for WireStats {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| Counter::default());
        let (connections_cut, streams_cut) = (Counter::default(), Counter::default());
        Self { clients: zeros(), services: zeros(), connections_cut, streams_cut }
    }
}

impl WireStats {
    /// Counts a request.
    pub(crate) fn refused_request(&self, violation: Violation) {
        self.clients[violation as usize].increment();
    }

    /// Counts an answer.
    pub(crate) fn refused_answer(&self, violation: Violation) {
        self.services[violation as usize].increment();
    }

    /// Counts what a client took nothing of for too long.
    pub(crate) fn cut_off(&self, cut: Cut) {
        self.cuts(cut).increment();
    }

    /// What clients took nothing of for too long.
    pub(crate) fn cuts(&self, cut: Cut) -> &Counter {
        match cut {
            Cut::Connection => &self.connections_cut,
            Cut::Stream => &self.streams_cut,
        }
    }

    /// Side, reason and count of all violations.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let sides = [("client", &self.clients), ("service", &self.services)];
        sides.into_iter().flat_map(|(side, counters)| {
            let counted = Violation::ALL.iter().zip(counters);
            counted.map(move |(violation, counter)| (side, violation.name(), counter.get()))
        })
    }
}
