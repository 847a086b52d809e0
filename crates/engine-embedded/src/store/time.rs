//! The time that a state is told.

use std::time::Duration;

use intertie_core::clock::{Instant, Timestamp, WallClock, nanos};
use rusqlite::{Connection, OptionalExtension};

/// How far ahead of what was told the stored time is: so it is written ten times a second at most, and after
/// a crash the time goes on at most so much later than it would have.
const RESERVED: Duration = Duration::from_millis(100);

/// The latest moment that a database can hold, in the year 2262.
const LATEST: Timestamp = Timestamp::from_unix_nanos(i64::MAX.cast_unsigned());

/// Time that never runs back and never stands still.
///
/// It is that of the wall clock as long as that clock does not run back. From then on it goes on by the
/// monotonic clock, and so stays ahead until the wall clock has caught up. A wall clock that jumps ahead is followed
/// at once: nobody can tell that from a machine that slept.
#[derive(Debug)]
struct Time {
    last: Timestamp,
    at: Instant,
}

impl Time {
    /// Reads the wall clock first. The other way round a pause between both would be counted twice, by the wall clock now
    /// and by the monotonic clock the next time, and each such pause would put the time further ahead for good.
    fn now(&mut self, wall: impl FnOnce() -> Timestamp, monotonic: impl FnOnce() -> Instant) -> Timestamp {
        let (wall, monotonic) = (wall(), monotonic());
        let passed = monotonic.saturating_since(self.at);
        self.last = later(self.last, passed).max(wall).min(LATEST);
        self.at = self.at.max(monotonic);
        self.last
    }
}

/// A store's clock, which goes on where it was when the store was closed or crashed.
#[derive(Debug)]
pub(super) struct Clock {
    wall: WallClock,
    origin: tokio::time::Instant,
    time: Time,
    /// No time after this one was told to a state and kept.
    stored: Timestamp,
}

impl Clock {
    /// Goes on from the time that is stored in the database.
    pub(super) fn load(wall: WallClock, connection: &Connection) -> rusqlite::Result<Self> {
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS store_time (one INTEGER PRIMARY KEY CHECK (one = 1), until INTEGER NOT NULL)",
        )?;
        let stored: Option<i64> =
            connection.query_row("SELECT until FROM store_time", [], |row| row.get(0)).optional()?;
        let stored = Timestamp::from_unix_nanos(stored.unwrap_or(0).max(0).cast_unsigned());
        let time = Time { last: stored, at: Instant::ORIGIN };
        Ok(Self { wall, origin: tokio::time::Instant::now(), time, stored })
    }

    /// The present time. While the wall clock is fixed, it moves by that clock alone.
    pub(super) fn now(&mut self) -> Timestamp {
        let passed = || if self.wall.is_fixed() { Duration::ZERO } else { self.origin.elapsed() };
        self.time.now(|| self.wall.now(), || Instant::from_nanos(nanos(passed())))
    }

    /// How far `now` is ahead of the wall clock.
    pub(super) fn ahead(&self, now: Timestamp) -> Duration {
        until(self.wall.now(), now)
    }

    /// Stores, in the transaction that is under way, that `now` was told. It is kept by its commit, and so before
    /// anybody hears of it.
    pub(super) fn keep(&mut self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        if now <= self.stored {
            return Ok(());
        }
        self.stored = later(now, RESERVED).min(LATEST);
        let nanos = self.stored.as_unix_nanos().cast_signed();
        connection.prepare_cached("INSERT OR REPLACE INTO store_time VALUES (1, ?1)")?.execute([nanos])?;
        Ok(())
    }
}

/// How long it is from `now` to `then`: no time, if that is over.
pub(super) fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::from_nanos(then.as_unix_nanos().saturating_sub(now.as_unix_nanos()))
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_unix_nanos(time.as_unix_nanos().saturating_add(nanos(by)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    #[test]
    fn it_goes_on_while_the_wall_clock_is_behind_and_follows_it_ahead() {
        let mut time = Time { last: seconds(0), at: Instant::ORIGIN };
        let mut at = |wall, monotonic: u64| {
            time.now(|| seconds(wall), || Instant::from_nanos(monotonic * 1_000_000_000)).as_unix_nanos()
                / 1_000_000_000
        };
        // An hour back at the third reading, caught up and passed at the last.
        let told = [at(5000, 0), at(5010, 10), at(1411, 11), at(1500, 100), at(6000, 101), at(6001, 102)];
        assert_eq!(told, [5000, 5010, 5011, 5100, 6000, 6001]);
    }

    proptest! {
        #[test]
        fn it_never_runs_back_never_slower_than_the_monotonic_clock_and_never_behind_the_wall_clock(
            steps in proptest::collection::vec((0_u64..1 << 40, 0_u64..1 << 40), 1..100),
        ) {
            let mut time = Time { last: Timestamp::from_unix_nanos(0), at: Instant::ORIGIN };
            let (mut monotonic, mut before) = (0, 0);
            for (wall, passed) in steps {
                monotonic += passed;
                let now = time.now(|| Timestamp::from_unix_nanos(wall), || Instant::from_nanos(monotonic));
                let now = now.as_unix_nanos();
                prop_assert!(now >= before + passed && now >= wall);
                prop_assert!(now == before + passed || now == wall, "it is one of the two");
                before = now;
            }
        }

        #[test]
        fn pauses_while_the_clocks_are_read_put_it_nowhere(
            steps in proptest::collection::vec((0_u64..1000, 0_u64..1000), 1..100),
        ) {
            let mut time = Time { last: Timestamp::from_unix_nanos(0), at: Instant::ORIGIN };
            let is = std::cell::Cell::new(0);
            let pass = |nanos| is.replace(is.get() + nanos) + nanos;
            for (before, between) in steps {
                pass(before);
                let first = is.get();
                // Whichever is read second is read after a pause.
                let read = std::cell::Cell::new(false);
                let clock = || if read.replace(true) { pass(between) } else { is.get() };
                let now = time.now(|| Timestamp::from_unix_nanos(clock()), || Instant::from_nanos(clock()));
                let now = now.as_unix_nanos();
                prop_assert!(now >= first && now <= is.get(), "{} is neither before nor after {}", now, is.get());
            }
        }

        #[test]
        fn after_a_restart_it_is_not_before_what_was_kept_and_hardly_after(
            walls in proptest::collection::vec(0_u64..1 << 40, 1..20),
            rolled_back in any::<bool>(),
        ) {
            let connection = Connection::open_in_memory().expect("opens");
            let mut kept = 0;
            for wall in walls {
                let wall = WallClock::fixed(Timestamp::from_unix_nanos(wall));
                let mut clock = Clock::load(wall.clone(), &connection).expect("loads");
                connection.execute_batch("BEGIN").expect("begins");
                let now = clock.now();
                clock.keep(&connection, now).expect("keeps");
                connection.execute_batch(if rolled_back { "ROLLBACK" } else { "COMMIT" }).expect("ends");
                let now = now.as_unix_nanos();
                prop_assert!(now >= kept && now >= wall.now().as_unix_nanos());
                prop_assert!(now <= kept.max(wall.now().as_unix_nanos()) + nanos(RESERVED));
                kept = if rolled_back { 0 } else { now };
            }
        }

        #[test]
        fn a_stored_time_of_nonsense_is_some_time(stored in any::<i64>()) {
            let connection = Connection::open_in_memory().expect("opens");
            Clock::load(WallClock::system(), &connection).expect("makes the table");
            connection.execute("INSERT INTO store_time VALUES (1, ?1)", [stored]).expect("writes");
            let mut clock = Clock::load(WallClock::system(), &connection).expect("loads");
            let now = clock.now();
            prop_assert!(now <= LATEST);
            clock.keep(&connection, now).expect("keeps");
        }
    }
}
