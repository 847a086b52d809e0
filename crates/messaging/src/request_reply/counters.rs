use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use intertie_core::telemetry::{Snapshot, Source};

use super::pending::Discarded;
use crate::Name;

/// Declares what is counted, and what it is read as.
macro_rules! counted {
    ($counters:ident, $(#[$stats_doc:meta])* $stats:ident { $($(#[$doc:meta])* $name:ident,)+ }) => {
        #[derive(Debug, Default)]
        pub(super) struct $counters {
            $(pub(super) $name: AtomicU64,)+
        }

        $(#[$stats_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $stats {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl $counters {
            pub(super) fn read(&self) -> $stats {
                $stats { $($name: self.$name.load(Relaxed),)+ }
            }
        }
    };
}

counted! {
    RequesterCounters,
    /// What a requester did since it was started.
    RequesterStats {
        /// Requests that were begun.
        begun,
        /// Requests that were answered.
        answered,
        /// Requests whose responder failed, and said so.
        failed,
        /// Requests that no reply came to in time.
        timed_out,
        /// Requests that whoever asked no longer waited for.
        dropped,
        /// Requests that were not sent because nobody takes messages from their queue.
        without_responder,
        /// Requests that the engine did not take, or could not be asked about.
        not_sent,
        /// Requests that were refused because `in_flight_max` others waited, because one of their id did, or because of
        /// a shutdown.
        refused,
        /// Requests that waited when the requester stopped.
        cut,
        /// Requests to queues of which the engine does not know whether anyone takes messages from them.
        responders_unknown,
        /// Replies to requests that took too long, or that nobody waited for any more.
        late,
        /// Replies to requests that were answered before.
        again,
        /// Replies to no request that is known.
        unasked,
        /// Replies that are no envelope.
        undecodable,
        /// Times that the reply queue was gone, and was made anew.
        reopened,
    }
}

counted! {
    ResponderCounters,
    /// What a responder did since it was made. A request that is delivered again counts again.
    ResponderStats {
        /// Requests for which there was an answer.
        answered,
        /// Requests that failed, and whose failure was the reply.
        failed,
        /// Requests whose deadline was over, before they were worked on or meanwhile.
        expired,
        /// Requests whose reply queue was gone.
        abandoned,
        /// Requests that can not be answered: they went to the dead letters.
        unanswerable,
    }
}

impl RequesterCounters {
    pub(super) fn discarded(&self, why: Discarded) {
        let count = match why {
            Discarded::Late => &self.late,
            Discarded::Again => &self.again,
            Discarded::Unasked => &self.unasked,
        };
        count.fetch_add(1, Relaxed);
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The counts of a requester, to be scraped at any time.
#[derive(Debug, Clone)]
pub struct RequesterSource {
    pub(super) name: Name,
    pub(super) counters: Arc<RequesterCounters>,
    pub(super) in_flight: Arc<AtomicU64>,
}

impl Source for RequesterSource {
    fn read(&self, snapshot: &mut Snapshot) {
        let stats = self.counters.read();
        let with = |label, value| [("requester", self.name.as_str()), (label, value)];
        for (outcome, count) in [
            ("answered", stats.answered),
            ("failed", stats.failed),
            ("timed_out", stats.timed_out),
            ("dropped", stats.dropped),
            ("without_responder", stats.without_responder),
            ("not_sent", stats.not_sent),
            ("refused", stats.refused),
            ("cut", stats.cut),
        ] {
            let help = "Requests by how they ended.";
            snapshot.counter("request_reply_requests", help, &with("outcome", outcome), count);
        }
        for (why, count) in [
            (Discarded::Late.name(), stats.late),
            (Discarded::Again.name(), stats.again),
            (Discarded::Unasked.name(), stats.unasked),
            ("undecodable", stats.undecodable),
        ] {
            let help = "Replies that were for nobody.";
            snapshot.counter("request_reply_discarded", help, &with("why", why), count);
        }
        let labels = [("requester", self.name.as_str())];
        let help = "Requests to queues of which the engine does not know whether anyone answers.";
        snapshot.counter("request_reply_responders_unknown", help, &labels, stats.responders_unknown);
        let help = "Times that the reply queue was gone.";
        snapshot.counter("request_reply_reopened", help, &labels, stats.reopened);
        let in_flight = self.in_flight.load(Relaxed) as f64;
        snapshot.gauge("request_reply_in_flight", "Requests that wait for a reply.", &labels, in_flight);
    }
}

/// What a responder does, to be read and scraped at any time; clones read the same.
#[derive(Debug, Clone)]
pub struct ResponderSource {
    pub(super) name: Name,
    pub(super) counters: Arc<ResponderCounters>,
}

impl ResponderSource {
    /// What it did so far.
    pub fn read(&self) -> ResponderStats {
        self.counters.read()
    }
}

impl Source for ResponderSource {
    fn read(&self, snapshot: &mut Snapshot) {
        let stats = self.counters.read();
        for (outcome, count) in [
            ("answered", stats.answered),
            ("failed", stats.failed),
            ("expired", stats.expired),
            ("abandoned", stats.abandoned),
            ("unanswerable", stats.unanswerable),
        ] {
            let labels = [("responder", self.name.as_str()), ("outcome", outcome)];
            let help = "Requests by what their responder made of them.";
            snapshot.counter("request_reply_responses", help, &labels, count);
        }
    }
}
