use super::config::Mode;
use super::state::Phase;

/// What a call must know of a breaker, in one word: bits 0-1 the phase, 2-3 the mode, 4 whether it ramps up,
/// 32-63 the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

const PHASES: [Phase; 3] = [Phase::Closed, Phase::Open, Phase::HalfOpen];
const MODES: [Mode; 4] = [Mode::Enforce, Mode::Observe, Mode::ForcedOpen, Mode::Disabled];
const RAMPING: u64 = 1 << 4;

impl Word {
    pub(super) fn new(phase: Phase, mode: Mode, ramping: bool, epoch: u32) -> Self {
        let ramping = if ramping { RAMPING } else { 0 };
        Self(phase as u64 | (mode as u64) << 2 | ramping | u64::from(epoch) << 32)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// Closed and counting, and nothing else is to be asked.
    pub(super) fn passes(self) -> bool {
        self.0 & 0b11011 == 0
    }

    pub(super) fn phase(self) -> Phase {
        PHASES[(self.0 & 0b11) as usize % PHASES.len()]
    }

    pub(super) fn mode(self) -> Mode {
        MODES[(self.0 >> 2 & 0b11) as usize]
    }

    pub(super) fn is_ramping(self) -> bool {
        self.0 & RAMPING != 0
    }

    pub(super) fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_what_was_put_in() {
        for phase in PHASES {
            for mode in MODES {
                for ramping in [false, true] {
                    let word = Word::new(phase, mode, ramping, u32::MAX - 1);
                    assert_eq!((word.phase(), word.mode()), (phase, mode));
                    assert_eq!((word.is_ramping(), word.epoch()), (ramping, u32::MAX - 1));
                    let counts = matches!(mode, Mode::Enforce | Mode::Observe);
                    let passes = phase == Phase::Closed && counts && !ramping;
                    assert_eq!(word.passes(), passes, "{phase:?} {mode:?} {ramping}");
                }
            }
        }
    }
}
