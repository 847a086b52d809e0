use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, ByteSize, DurationText};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Pattern;
use crate::queue::RedeliveryConfig;

/// How a requester asks, and how it takes in replies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RequesterConfig {
    /// How long a request that does not say waits for its reply, its sending included. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// Requests that wait for a reply at the same time, to all queues together; one more is refused at once. Default
    /// 1000.
    pub in_flight_max: NonZeroU32,
    /// Requests that are remembered when they have ended, so that a reply that comes afterwards is counted as late, or
    /// as another one, and not as one that nobody asked for. Default 10,000.
    pub remembered_max: u32,
    /// Whether a request to a queue from which nobody takes messages is refused instead of sent, where the engine knows.
    /// Default true.
    pub fail_fast: bool,
    /// How long a queue from which nobody takes messages is given to show that somebody does after all: a consumer may
    /// be between two messages. Default "100ms".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub responder_grace: Duration,
    /// How long it is taken for granted that somebody takes messages from a queue; after that the engine is asked again.
    /// Default "1s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub responder_seen: Duration,
    /// Queues of which that is remembered; of others the engine is asked each time. Default 1000.
    pub targets_max: u32,
    /// Replies that are taken in at once, and acknowledged as one. Default 100.
    pub batch_max: NonZeroU32,
    /// Bytes of replies that are taken in at once, but for the first. Default "16MiB".
    pub batch_bytes: ByteSize,
    /// The largest reply, attributes included: `message_bytes_max` of the reply queue. Default "1MiB".
    pub reply_bytes_max: ByteSize,
    /// How long one question for replies waits in the engine. Default "20s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub poll: Duration,
    /// How long the requester may be silent before another one of its name may take over its reply queue:
    /// `visibility_timeout` of that queue. Longer than `poll`. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub takeover: Duration,
    /// How long the reply queue outlives a requester that is gone without a word, once it is empty. At least `takeover`.
    /// Default "5m".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub auto_delete: Duration,
    /// How long the engine may take for each answer, beyond `poll` where it waits for replies. Default "10s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub answer_timeout: Duration,
    /// The wait before an engine that does not answer is asked for replies again. Default from "100ms" to "10s"; what a
    /// table leaves out is as in `redelivery` of a queue.
    pub backoff: RedeliveryConfig,
    /// How long requests may go on waiting when the requester is shut down. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub drain_timeout: Duration,
}

impl Default for RequesterConfig {
    fn default() -> Self {
        const THOUSAND: NonZeroU32 = NonZeroU32::new(1000).expect("1000 is not zero");
        Self {
            timeout: Duration::from_secs(30),
            in_flight_max: THOUSAND,
            remembered_max: 10_000,
            fail_fast: true,
            responder_grace: Duration::from_millis(100),
            responder_seen: Duration::from_secs(1),
            targets_max: 1000,
            batch_max: NonZeroU32::new(100).expect("100 is not zero"),
            batch_bytes: ByteSize::from_bytes(16 << 20),
            reply_bytes_max: ByteSize::from_bytes(1 << 20),
            poll: Duration::from_secs(20),
            takeover: Duration::from_secs(30),
            auto_delete: Duration::from_secs(300),
            answer_timeout: Duration::from_secs(10),
            backoff: RedeliveryConfig {
                base: Duration::from_millis(100),
                cap: Duration::from_secs(10),
                ..RedeliveryConfig::default()
            },
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl RequesterConfig {
    /// Finds settings that can not work together.
    ///
    /// # Errors
    /// The first of them, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        for (field, time) in [
            ("timeout", self.timeout),
            ("answer_timeout", self.answer_timeout),
            ("backoff.base", self.backoff.base),
        ] {
            if time.is_zero() {
                return Err(Invalid::new(field, "0s is no time; it must be above zero"));
            }
        }
        for (field, longer, other, shorter) in [
            ("backoff.cap", self.backoff.cap, "backoff.base", self.backoff.base),
            ("auto_delete", self.auto_delete, "takeover", self.takeover),
        ] {
            if longer < shorter {
                let (longer, shorter) =
                    (quantity::format_duration(longer), quantity::format_duration(shorter));
                let problem = format!("{longer} is shorter than `{other}`, which is {shorter}");
                return Err(Invalid::new(field, problem));
            }
        }
        if self.takeover <= self.poll {
            let (takeover, poll) =
                (quantity::format_duration(self.takeover), quantity::format_duration(self.poll));
            let problem = format!("{takeover} is over while one question for replies waits, `poll`, {poll}");
            return Err(Invalid::new("takeover", problem));
        }
        Ok(())
    }
}

/// To which queues a responder answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponderConfig {
    /// Which queues requests may name for their replies: whoever can send a request could otherwise have the responder
    /// send to queues that are none of theirs. Default "**.replies", which all requesters of Intertie name.
    pub reply_to: Pattern,
}

impl Default for ResponderConfig {
    fn default() -> Self {
        Self { reply_to: "**.replies".parse().expect("a pattern") }
    }
}
