use super::config::Mode;
use super::state::Phase;

/// What a call must know of a breaker, in one atomic word.
///
/// | bits | what |
/// |---|---|
/// | 0–1 | the phase: 0 closed, 1 open, 2 half-open |
/// | 2–3 | the mode: 0 enforce, 1 observe, 2 forced open, 3 disabled |
/// | 4 | whether it ramps up |
/// | 5–31 | nothing: zero |
/// | 32–63 | the epoch |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

/// Each at its own number.
const PHASES: [Phase; 3] = [Phase::Closed, Phase::Open, Phase::HalfOpen];
/// Each at its own number.
const MODES: [Mode; 4] = [Mode::Enforce, Mode::Observe, Mode::ForcedOpen, Mode::Disabled];

const PHASE: u64 = 0b11;
const MODE_SHIFT: u32 = 2;
const MODE: u64 = 0b11 << MODE_SHIFT;
/// Set in the modes that look at no outcome, [`Mode::ForcedOpen`] and [`Mode::Disabled`].
const MODE_IS_BLIND: u64 = 0b10 << MODE_SHIFT;
const RAMPING: u64 = 1 << 4;
const EPOCH_SHIFT: u32 = 32;

impl Word {
    pub(super) fn new(phase: Phase, mode: Mode, ramping: bool, epoch: u32) -> Self {
        let ramping = if ramping { RAMPING } else { 0 };
        Self(phase as u64 | (mode as u64) << MODE_SHIFT | ramping | u64::from(epoch) << EPOCH_SHIFT)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// Closed and counting, and nothing else is to be asked.
    pub(super) fn passes(self) -> bool {
        self.0 & (PHASE | MODE_IS_BLIND | RAMPING) == 0
    }

    /// Open and enforced: calls are rejected until its time is over.
    pub(super) fn is_open(self) -> bool {
        self.0 & (PHASE | MODE) == Phase::Open as u64
    }

    pub(super) fn phase(self) -> Phase {
        // The remainder spares a panic's code; three is never written.
        PHASES[(self.0 & PHASE) as usize % PHASES.len()]
    }

    pub(super) fn mode(self) -> Mode {
        MODES[((self.0 & MODE) >> MODE_SHIFT) as usize]
    }

    pub(super) fn is_ramping(self) -> bool {
        self.0 & RAMPING != 0
    }

    pub(super) fn epoch(self) -> u32 {
        (self.0 >> EPOCH_SHIFT) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn words() -> impl Strategy<Value = (Phase, Mode, bool, u32)> {
        (select(&PHASES[..]), select(&MODES[..]), any::<bool>(), any::<u32>())
    }

    proptest! {
        #[test]
        fn each_field_reads_as_it_was_written((phase, mode, ramping, epoch) in words()) {
            let word = Word::from_bits(Word::new(phase, mode, ramping, epoch).bits());
            prop_assert_eq!(word.phase(), phase);
            prop_assert_eq!(word.mode(), mode);
            prop_assert_eq!(word.is_ramping(), ramping);
            prop_assert_eq!(word.epoch(), epoch);
        }

        #[test]
        fn what_is_decided_by_the_word_alone(
            (phase, mode, ramping, epoch) in words()
        ) {
            let counts = matches!(mode, Mode::Enforce | Mode::Observe);
            let passes = phase == Phase::Closed && counts && !ramping;
            let word = Word::new(phase, mode, ramping, epoch);
            prop_assert_eq!(word.passes(), passes);
            prop_assert_eq!(word.is_open(), phase == Phase::Open && mode == Mode::Enforce);
        }

        #[test]
        fn the_bits_are_those_of_the_table((phase, mode, ramping, epoch) in words()) {
            let phase_number = PHASES.iter().position(|it| *it == phase).expect("listed") as u64;
            let mode_number = MODES.iter().position(|it| *it == mode).expect("listed") as u64;
            let bits = phase_number + 4 * mode_number + 16 * u64::from(ramping) + (u64::from(epoch) << 32);
            prop_assert_eq!(Word::new(phase, mode, ramping, epoch).bits(), bits);
        }
    }
}
