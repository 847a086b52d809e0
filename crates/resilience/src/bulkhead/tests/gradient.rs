//! The gradient's arithmetic, one step after the other.

use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::quantity::Ratio;

use crate::bulkhead::adaptive::{AdaptiveConfig, Gradient, Sample};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A gradient that tolerates half more than its baseline, and the time.
struct Subject {
    gradient: Gradient,
    now: Instant,
}

impl Subject {
    fn new(concurrent: u32) -> Self {
        let config = AdaptiveConfig {
            window: ms(200),
            probe_every: Duration::from_secs(60),
            slowdown_max: Ratio::from_percent(50),
            ..AdaptiveConfig::gradient(NonZeroU32::new(200).expect("not zero"))
        };
        Self { gradient: Gradient::new(&config, concurrent), now: Instant::from_nanos(1_000_000_000) }
    }

    /// One whose probes agreed on 50 ms.
    fn settled(concurrent: u32) -> Self {
        let mut subject = Self::new(concurrent);
        let probes = (0..100).take_while(|_| {
            subject.now = subject.now + ms(10);
            subject.end(Class::Success, ms(50), concurrent) < concurrent
        });
        assert!(probes.count() < 100, "a probe lasts");
        subject
    }

    fn end(&mut self, class: Class, latency: Duration, running: u32) -> u32 {
        self.gradient.record(self.now, Sample { class, latency, running })
    }

    /// The calls of one window, all of which began in it.
    fn window(&mut self, class: Class, latency: Duration, running: u32) -> u32 {
        self.now = self.now + latency;
        for _ in 0..20 {
            self.now = self.now + ms(10);
            self.end(class, latency, running);
        }
        self.gradient.settled_limit()
    }
}

#[test]
fn a_few_calls_end_a_probe_once_it_is_overdue() {
    let mut subject = Subject::new(20);
    assert_eq!(subject.gradient.limit(), 10);
    assert_eq!(subject.end(Class::Success, ms(50), 10), 5, "the only call of four windows");
    subject.now = subject.now + ms(800);
    assert_eq!(
        subject.end(Class::Permanent, ms(50), 5),
        20,
        "none that says anything: what was found stands"
    );
}

#[test]
fn nothing_is_overdue_while_nothing_was_found() {
    let mut subject = Subject::new(20);
    assert_eq!(subject.end(Class::Permanent, ms(50), 10), 10);
}

#[test]
fn a_probe_of_one_call_is_the_last() {
    let mut subject = Subject::new(2);
    assert_eq!(subject.gradient.limit(), 1);
    assert_eq!(subject.end(Class::Success, ms(50), 1), 2);
}

#[test]
fn slow_failures_lower_the_limit_and_others_say_nothing() {
    // 20 + 0.2 × (20 × 0.5 + √20 - 20)
    assert_eq!(Subject::settled(20).window(Class::Transient, ms(200), 20), 18);
    for latency in [60, 75] {
        let mut subject = Subject::settled(20);
        for _ in 0..4 {
            assert_eq!(subject.window(Class::Transient, ms(latency), 20), 20, "{latency} ms is not slow");
        }
    }
}

#[test]
fn a_limit_rises_while_half_of_it_is_used() {
    let mut subject = Subject::settled(20);
    // 20 + 0.2 × √20, which more than ten calls must use then.
    assert_eq!(
        (subject.window(Class::Success, ms(50), 10), subject.window(Class::Success, ms(50), 11)),
        (20, 21)
    );
}

#[test]
fn a_limit_falls_however_little_of_it_is_used() {
    assert_eq!(Subject::settled(20).window(Class::Success, ms(200), 1), 18);
}
