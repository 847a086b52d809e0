use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use intertie_core::clock::Instant;

/// The last good value of a call, for at most so long. Clones are handles on the same value.
#[derive(Debug, Clone)]
pub struct LastGood<T> {
    age_max: Duration,
    value: Arc<Mutex<Option<(Instant, T)>>>,
}

impl<T: Clone> LastGood<T> {
    /// Remembers nothing yet. A value older than `age_max` is as good as none.
    pub fn new(age_max: Duration) -> Self {
        Self { age_max, value: Arc::default() }
    }

    /// Remembers `value`, which was good at `now`.
    pub fn remember(&self, now: Instant, value: &T) {
        let value = value.clone();
        let replaced = self.lock().replace((now, value));
        drop(replaced);
    }

    /// The last good value and its age, unless it is too old.
    pub fn recall(&self, now: Instant) -> Option<(T, Duration)> {
        let held = self.lock();
        let (since, value) = held.as_ref()?;
        let age = now.saturating_since(*since);
        (age <= self.age_max).then(|| (value.clone(), age))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, T)>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
