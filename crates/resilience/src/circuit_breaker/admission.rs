use intertie_core::clock::Instant;

/// What an admitted call hands back with its outcome: when it began, and its ticket. Two words, which travel in
/// registers.
///
/// | bits of the ticket | what |
/// |---|---|
/// | 0–1 | the kind: 0 call, 1 probe, 2 untracked |
/// | 2–31 | of a probe: its round |
/// | 32–63 | the epoch: the period between two transitions in which the call was admitted |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admission {
    started: Instant,
    ticket: u64,
}

/// What an admitted call is to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its outcome counts.
    Call,
    /// Its outcome decides a half-open breaker.
    Probe,
    /// Its outcome does not matter.
    Untracked,
}

const KIND: u64 = 0b11;
const PROBE: u64 = 1;
const UNTRACKED: u64 = 2;
const ROUND_SHIFT: u32 = 2;
const EPOCH_SHIFT: u32 = 32;

impl Admission {
    #[inline]
    pub(super) fn call(epoch: u32, started: Instant) -> Self {
        Self { started, ticket: u64::from(epoch) << EPOCH_SHIFT }
    }

    /// Probes of an earlier `round` hold no place any more. Rounds are told apart modulo 2³⁰.
    pub(super) fn probe(epoch: u32, round: u32, started: Instant) -> Self {
        Self { started, ticket: probe_ticket(epoch, round) }
    }

    pub(super) fn untracked(epoch: u32, started: Instant) -> Self {
        Self { started, ticket: u64::from(epoch) << EPOCH_SHIFT | UNTRACKED }
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        match self.ticket & KIND {
            PROBE => Kind::Probe,
            UNTRACKED => Kind::Untracked,
            _ => Kind::Call,
        }
    }

    pub(super) fn is_of_round(self, round: u32) -> bool {
        self.ticket == probe_ticket(self.epoch(), round)
    }

    #[inline]
    pub(super) fn epoch(self) -> u32 {
        (self.ticket >> EPOCH_SHIFT) as u32
    }

    #[inline]
    pub(super) fn started(self) -> Instant {
        self.started
    }
}

fn probe_ticket(epoch: u32, round: u32) -> u64 {
    u64::from(epoch) << EPOCH_SHIFT | u64::from(round << ROUND_SHIFT) | PROBE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_field_reads_as_it_was_written(epoch: u32, round in 0..1_u32 << 30, nanos: u64) {
            let started = Instant::from_nanos(nanos);
            for (admission, kind) in [
                (Admission::call(epoch, started), Kind::Call),
                (Admission::probe(epoch, round, started), Kind::Probe),
                (Admission::untracked(epoch, started), Kind::Untracked),
            ] {
                prop_assert_eq!((admission.kind(), admission.epoch()), (kind, epoch));
                prop_assert_eq!(admission.started(), started);
                prop_assert_eq!(admission.is_of_round(round), kind == Kind::Probe);
                prop_assert!(!admission.is_of_round(round ^ 1));
            }
        }
    }
}
