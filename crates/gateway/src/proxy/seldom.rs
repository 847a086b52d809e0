//! Events that any stranger can cause, told seldom.

use std::cell::RefCell;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::telemetry::Events;
use intertie_resilience::MonotonicClock;

const EVERY: Duration = Duration::from_secs(1);

/// When each event was last told, so that a flood of one keeps no other from being told. As long as there are
/// names of events, which are few.
#[derive(Debug, Default)]
pub(super) struct Seldom(RefCell<Vec<(&'static str, Instant)>>);

impl Seldom {
    /// Tells the event called `name` unless it told it within the last second: counters tell how many there were.
    pub(super) fn tell(
        &self,
        events: &Events,
        name: &'static str,
        fields: impl FnOnce() -> Vec<(&'static str, String)>,
    ) {
        if self.is_due(name, MonotonicClock::now()) {
            events.tell(name, fields);
        }
    }

    fn is_due(&self, name: &'static str, now: Instant) -> bool {
        let mut told = self.0.borrow_mut();
        match told.iter_mut().find(|(known, _)| *known == name) {
            Some((_, last)) if now.saturating_since(*last) < EVERY => return false,
            Some((_, last)) => *last = now,
            None => told.push((name, now)),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_one_event_keeps_no_other_from_being_told() {
        let (seldom, events) = (Seldom::default(), Events::default());
        let told = events.subscribe(16);
        let names = || told.try_iter().map(|event| event.name).collect::<Vec<_>>();
        for _ in 0..9 {
            seldom.tell(&events, "request_refused", Vec::new);
        }
        seldom.tell(&events, "connection_cut", Vec::new);
        assert_eq!(names(), ["request_refused", "connection_cut"]);
        tokio::time::advance(EVERY / 2).await;
        seldom.tell(&events, "proxy_protocol_refused", Vec::new);
        seldom.tell(&events, "connection_cut", Vec::new);
        assert_eq!(names(), ["proxy_protocol_refused"]);
        tokio::time::advance(EVERY / 2).await;
        for name in ["request_refused", "connection_cut", "proxy_protocol_refused"] {
            seldom.tell(&events, name, Vec::new);
        }
        assert_eq!(names(), ["request_refused", "connection_cut"]);
    }
}
