use std::collections::BTreeMap;
use std::time::Duration;

use intertie_core::clock::{Timestamp, nanos};
use intertie_observe::logged_request::{Form, LoggedRequest};

/// Brings requests into the order in which they began. A log has them in the order in which they ended, or
/// nearly, so each is held back until no earlier one can be expected.
#[derive(Debug)]
pub(super) struct Order {
    window: Window,
    held: BTreeMap<(Timestamp, u64), LoggedRequest>,
    /// What clients wrote in those that are held.
    bytes: usize,
    pushed: u64,
    /// The latest time that a line told.
    newest: Timestamp,
    /// When the latest request began that was let go.
    reached: Option<Timestamp>,
    second: Second,
    /// Requests that came too late for their place and are replayed after it.
    pub(super) late: u64,
}

/// How much is held back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) time: Duration,
    pub(super) requests: usize,
    /// Of paths, queries and hosts, which clients make as long as they like.
    pub(super) bytes: usize,
}

impl Default for Window {
    /// Longer than any request but a stream, and some 150 MB.
    fn default() -> Self {
        Self { time: Duration::from_secs(60), requests: 200_000, bytes: 64 << 20 }
    }
}

/// The requests of one second of a log that knows only whole ones: they are spread over it, or each second
/// would begin with a burst.
#[derive(Debug)]
struct Second {
    began: Timestamp,
    requests: u64,
    passed: u64,
}

impl Order {
    pub(super) fn new(window: Window) -> Self {
        let start = Timestamp::from_unix_nanos(0);
        Self {
            window,
            held: BTreeMap::new(),
            bytes: 0,
            pushed: 0,
            newest: start,
            reached: None,
            second: Second { began: start, requests: 0, passed: 0 },
            late: 0,
        }
    }

    /// Takes in the log's next request.
    pub(super) fn push(&mut self, request: LoggedRequest) {
        self.newest = self.newest.max(request.at);
        self.bytes += written(&request);
        self.held.insert((request.began(), self.pushed), request);
        self.pushed += 1;
    }

    /// The request whose turn it is, with the time at which it is replayed. At the log's `end` nothing is
    /// held back.
    pub(super) fn pop(&mut self, end: bool) -> Option<(Timestamp, LoggedRequest)> {
        let (began, _) = *self.held.first_key_value()?.0;
        let waited = self.newest.as_unix_nanos().saturating_sub(began.as_unix_nanos());
        let is_full = self.held.len() > self.window.requests || self.bytes > self.window.bytes;
        if !end && !is_full && waited < nanos(self.window.time) {
            return None;
        }
        let at = match self.held.first_key_value()?.1.form {
            Form::Common => self.spread(began),
            Form::Json | Form::Text => began,
        };
        let (_, request) = self.held.pop_first()?;
        self.bytes -= written(&request);
        let reached = self.reached.map_or(at, |reached| at.max(reached));
        self.late += u64::from(reached > at);
        self.reached = Some(reached);
        Some((reached, request))
    }

    /// The place of the next request in the second that began at `began`.
    fn spread(&mut self, began: Timestamp) -> Timestamp {
        if self.second.began != began || self.second.passed == self.second.requests {
            let requests = self.held.range(..=(began, u64::MAX)).count() as u64;
            self.second = Second { began, requests, passed: 0 };
        }
        let offset = 1_000_000_000 * self.second.passed / self.second.requests.max(1);
        self.second.passed += 1;
        Timestamp::from_unix_nanos(began.as_unix_nanos().saturating_add(offset))
    }
}

/// The bytes of a request that its client chose.
fn written(request: &LoggedRequest) -> usize {
    let optional = [&request.host, &request.query, &request.endpoint, &request.error, &request.cut];
    let optional: usize = optional.into_iter().flatten().map(String::len).sum();
    request.method.len() + request.path.len() + optional
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ours(ended_millis: u64, took_millis: u64) -> LoggedRequest {
        let at = Timestamp::from_unix_nanos(ended_millis * 1_000_000).to_string();
        let line = format!("{at} ::1 GET / 200 {took_millis}ms id=7");
        LoggedRequest::parse(line.as_bytes()).expect("a line of ours")
    }

    fn common(second: u64) -> LoggedRequest {
        let line = format!("::1 - - [01/Jan/1970:00:00:{second:02} +0000] \"GET / HTTP/1.1\" 200 5");
        LoggedRequest::parse(line.as_bytes()).expect("a common line")
    }

    /// The times, in milliseconds, at which `requests` are replayed, and how many were late.
    fn replayed(window: Window, requests: impl IntoIterator<Item = LoggedRequest>) -> (Vec<u64>, u64) {
        let mut order = Order::new(window);
        let mut times = Vec::new();
        for request in requests {
            order.push(request);
            while let Some((at, _)) = order.pop(false) {
                times.push(at.as_unix_nanos() / 1_000_000);
            }
        }
        while let Some((at, _)) = order.pop(true) {
            times.push(at.as_unix_nanos() / 1_000_000);
        }
        (times, order.late)
    }

    #[test]
    fn requests_are_replayed_in_the_order_in_which_they_began() {
        let log = [ours(1_000, 10), ours(1_100, 500), ours(900, 0), ours(70_000, 0), ours(71_000, 20_000)];
        assert_eq!(replayed(Window::default(), log), (vec![600, 900, 990, 51_000, 70_000], 0));
    }

    #[test]
    fn a_request_later_than_the_window_is_replayed_at_once_and_counted() {
        let narrow = Window { time: Duration::from_secs(1), requests: 100, bytes: 1 << 20 };
        let log = [ours(1_000, 0), ours(3_000, 0), ours(3_100, 2_500), ours(9_000, 0)];
        assert_eq!(replayed(narrow, log), (vec![1_000, 1_000, 3_000, 9_000], 1));
    }

    #[test]
    fn no_more_than_the_window_is_held() {
        // Each of these requests is `GET /`.
        for (requests, bytes) in [(2, 1 << 20), (1_000, 8)] {
            let mut order = Order::new(Window { time: Duration::from_secs(1_000), requests, bytes });
            for ended in 1..=50 {
                order.push(ours(ended, 0));
                while order.pop(false).is_some() {}
                assert!(order.held.len() <= 2);
            }
            assert_eq!((order.held.len(), order.bytes), (2, 8));
        }
    }

    #[test]
    fn requests_of_one_whole_second_are_spread_over_it() {
        let log = [common(1), common(2), common(1), common(1), common(1), common(3)];
        assert_eq!(replayed(Window::default(), log), (vec![1_000, 1_250, 1_500, 1_750, 2_000, 3_000], 0));
    }

    proptest! {
        #[test]
        fn every_request_is_replayed_once_and_time_never_goes_back(
            log in prop::collection::vec((any::<bool>(), 0_u64..50, 0_u64..20_000), 0..60),
            seconds in 0_u64..20,
            requests in 0_usize..40,
        ) {
            let window = Window { time: Duration::from_secs(seconds), requests, bytes: 1 << 20 };
            let all = log.iter().map(|(is_ours, second, took)| match is_ours {
                true => ours(second * 1_000, *took),
                false => common(*second),
            });
            let (times, late) = replayed(window, all);
            prop_assert_eq!(times.len(), log.len());
            prop_assert!(times.is_sorted());
            let millis: Vec<u64> = log
                .iter()
                .filter(|(ours, _, _)| *ours)
                .map(|(_, second, took)| (second * 1_000).saturating_sub(*took))
                .collect();
            if late == 0 && millis.len() == log.len() {
                let mut began = millis;
                began.sort_unstable();
                prop_assert_eq!(times, began);
            }
        }
    }
}
