use crate::striped::STRIPES;
use crate::sync::{AtomicU64, Ordering};

/// Free places, spread over stripes so that threads which come and go do not share a cache line.
///
/// A place is a token: it lies in one stripe, or a call holds it, so never more than all of them are out.
/// A call takes a token from its thread's stripe, or steals one from another, and puts it into its
/// thread's stripe when it ends; tokens so gather where they are used.
///
/// Each stripe is one word: the free tokens, the admissions so far, and the guard. While the guard is up,
/// calls leave the tokens alone and ask the holder of the gate's lock instead. Since guard and tokens
/// change in one word, whoever puts a token back either did it before the guard went up, and its holder
/// finds the token, or learns of the guard and reports to its holder: no token is overlooked.
#[derive(Debug)]
pub(super) struct Places {
    stripes: Box<[Stripe]>,
}

/// Alone on its cache line and on the neighbour that processors fetch with it.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    /// From the lowest bit: the guard (1 bit), free tokens (32 bits), admissions (31 bits).
    word: AtomicU64,
}

const GUARD: u64 = 1;
const TOKEN: u64 = 1 << 1;
const TOKENS: u64 = (u32::MAX as u64) << 1;
const ADMISSION: u64 = 1 << 33;

const fn tokens(word: u64) -> u64 {
    (word & TOKENS) / TOKEN
}

impl Places {
    /// As many stripes as `places` can fill.
    pub(super) fn stripes_for(places: u32) -> usize {
        (places as usize).min(STRIPES).next_power_of_two()
    }

    /// `places` free ones in `stripes` stripes, which must be a power of two.
    pub(super) fn new(places: u32, stripes: usize) -> Self {
        debug_assert!(stripes.is_power_of_two());
        let stripes = (0..stripes).map(|index| {
            let share = (places as usize + stripes - 1 - index) / stripes;
            Stripe { word: AtomicU64::new(share as u64 * TOKEN) }
        });
        Self { stripes: stripes.collect() }
    }

    /// Takes a place, from the stripe `home` if it has one. False does not mean that all are taken: the
    /// guard may be up, and tokens that move meanwhile can be missed.
    pub(super) fn try_take(&self, home: usize) -> bool {
        let last = self.stripes.len() - 1;
        (0..=last).any(|step| self.stripes[home.wrapping_add(step) & last].try_take())
    }

    /// Puts a place back. True when the guard is up: its holder must be told.
    #[must_use]
    pub(super) fn put_back(&self, home: usize) -> bool {
        let last = self.stripes.len() - 1;
        self.stripes[home & last].word.fetch_add(TOKEN, Ordering::AcqRel) & GUARD != 0
    }

    /// Puts the guard up. Afterwards tokens are only added, except by [`Places::take_guarded`].
    pub(super) fn guard(&self) {
        for stripe in &self.stripes {
            stripe.word.fetch_or(GUARD, Ordering::AcqRel);
        }
    }

    /// Takes a place behind the guard, uncounted. False means that every place was taken when the guard
    /// was up.
    pub(super) fn take_guarded(&self) -> bool {
        self.take_guarded_up_to(1) == 1
    }

    /// Takes as many places behind the guard as there are free ones, and `most` at most.
    pub(super) fn take_guarded_up_to(&self, most: u32) -> u32 {
        self.stripes.iter().fold(0, |taken, stripe| {
            let free = tokens(stripe.word.load(Ordering::Acquire));
            let takes = u32::try_from(free).unwrap_or(u32::MAX).min(most - taken);
            if takes > 0 {
                stripe.word.fetch_sub(u64::from(takes) * TOKEN, Ordering::AcqRel);
            }
            taken + takes
        })
    }

    /// Adds places behind the guard, for one stripe; from there they are stolen.
    pub(super) fn add_guarded(&self, places: u32) {
        self.stripes[0].word.fetch_add(u64::from(places) * TOKEN, Ordering::AcqRel);
    }

    /// Takes the guard down, and returns the admissions since it went down last.
    #[must_use]
    pub(super) fn unguard(&self) -> u64 {
        self.stripes.iter().map(|stripe| stripe.word.fetch_and(TOKENS, Ordering::AcqRel) / ADMISSION).sum()
    }

    /// The free places, and the admissions since the guard went down last. Exact while nothing moves.
    pub(super) fn count(&self) -> (u64, u64) {
        self.stripes
            .iter()
            .map(|stripe| stripe.word.load(Ordering::Acquire))
            .fold((0, 0), |(free, admitted), word| (free + tokens(word), admitted + word / ADMISSION))
    }
}

impl Stripe {
    fn try_take(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & GUARD == 0 && word & TOKENS != 0 {
            // A full count of admissions is a matter for the holder of the lock, who empties it.
            let Some(next) = word.checked_add(ADMISSION - TOKEN) else { return false };
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(changed) => word = changed,
            }
        }
        false
    }
}

#[cfg(all(test, not(intertie_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_count_of_admissions_is_emptied_behind_the_guard() {
        let places = Places::new(2, 1);
        let most = u64::MAX / ADMISSION;
        places.stripes[0].word.fetch_add(most * ADMISSION, Ordering::Relaxed);
        assert!(!places.try_take(0), "one more would overflow");
        assert_eq!(places.count(), (2, most));
        places.guard();
        assert!(places.take_guarded());
        assert_eq!(places.unguard(), most);
        assert!(places.try_take(0));
        assert_eq!(places.count(), (0, 1));
    }

    #[test]
    fn a_thread_steals_what_its_own_stripe_lacks() {
        let places = Places::new(8, 8);
        assert!((0..8).all(|_| places.try_take(5)) && !places.try_take(5));
        assert!((0..8).all(|_| !places.put_back(3)));
        assert!((0..8).all(|home| places.try_take(home)));
    }

    #[test]
    fn nobody_passes_the_guard() {
        let places = Places::new(8, 8);
        places.guard();
        assert!((0..8).all(|home| !places.try_take(home)));
        assert!(places.put_back(0), "and who puts back is told of it");
    }

    #[test]
    fn places_are_spread_over_all_stripes_and_none_is_lost() {
        for count in [1, 2, 3, 7, 8, 9, 1_000, u32::MAX] {
            let places = Places::new(count, Places::stripes_for(count));
            assert_eq!(places.count(), (u64::from(count), 0));
            let shares = places.stripes.iter().map(|stripe| tokens(stripe.word.load(Ordering::Relaxed)));
            let (low, high) = (shares.clone().min(), shares.max());
            assert!(high.zip(low).is_some_and(|(high, low)| high - low <= 1), "{count}");
        }
    }
}
