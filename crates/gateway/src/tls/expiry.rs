//! Revocation lists that go out of date while they are in force.

use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::telemetry::Events;
use tokio::sync::watch;

use super::Terms;

/// How often lists are looked at. Wall time may be set, so nobody can sleep until a moment of it.
const EVERY: Duration = Duration::from_secs(1);

/// Tells of each revocation list of the terms in force that goes out of date from now on, until the terms come to
/// an end. What was out of date when it was read is said then.
pub async fn tell_of_expired_lists(mut terms: watch::Receiver<Arc<Terms>>, events: Events, clock: WallClock) {
    let mut looked = clock.now();
    loop {
        if terms.borrow().list_expiries().next().is_none() {
            if terms.changed().await.is_err() {
                return;
            }
            looked = clock.now();
            continue;
        }
        tokio::time::sleep(EVERY).await;
        let now = clock.now();
        let in_force = Arc::clone(&terms.borrow());
        for (list, end) in expired(in_force.list_expiries(), looked, now) {
            events.tell("tls_revocation_list_expired", || {
                vec![("list", list.to_owned()), ("since", end.to_string())]
            });
        }
        looked = looked.max(now);
    }
}

/// Those of `lists` that have gone out of date since the look at `looked`.
fn expired<'a>(
    lists: impl Iterator<Item = (&'a str, Timestamp)>,
    looked: Timestamp,
    now: Timestamp,
) -> impl Iterator<Item = (&'a str, Timestamp)> {
    lists.filter(move |(_, end)| *end > looked && *end <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_in_one_look() {
        let at = Timestamp::from_unix_seconds;
        let lists = [("a", at(10)), ("b", at(11)), ("c", at(12))];
        let told = |looked, now| {
            expired(lists.into_iter(), at(looked), at(now)).map(|(list, _)| list).collect::<String>()
        };
        let looks = [(9, 9, ""), (9, 10, "a"), (10, 12, "bc"), (12, 20, ""), (12, 9, ""), (0, 20, "abc")];
        for (looked, now, expected) in looks {
            assert_eq!(told(looked, now), expected, "{looked} {now}");
        }
    }
}
