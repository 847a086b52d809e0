use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, ByteSize, DurationText, format_duration};
use intertie_resilience::PipelineConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Name;
use crate::queue::RedeliveryConfig;

/// How a consumer takes messages, and how its handler is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerConfig {
    /// Handlers that run at the same time, each with a message or a batch. Default 10.
    pub concurrent: NonZeroU32,
    /// Messages that the consumer holds at the same time, those that are handled included: the credit that it asks
    /// with. What is above `concurrent` waits here instead of in the queue, where others could take it. At least
    /// `concurrent`; the queue gives all consumers of one name no more than its `leases_per_consumer_max`, by default
    /// 100. Default 10, as in S2.
    pub prefetch: NonZeroU32,
    /// Bytes that are asked for at once, but for the first message. Default "16MiB".
    pub prefetch_bytes: ByteSize,
    /// Messages in a batch, for handlers of batches; others get one at a time. There are never more than `prefetch` for
    /// one. Also how many messages are settled, extended or looked up in the inbox at once. Default 100.
    pub batch_max: NonZeroU32,
    /// How long one question for messages waits in the engine; above zero, or an empty queue would be asked without a
    /// pause. Default "20s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub poll: Duration,
    /// How long a message is the consumer's at a time: when half of it is over, it is extended if it is being handled,
    /// and given back if it still waits. Default: the `visibility_timeout` that the queue had when the consumer was
    /// made, also after it was declared with another one; below `visibility_timeout_max` of the queue, or the consumer
    /// ends.
    #[serde(with = "quantity::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub visibility_timeout: Option<Duration>,
    /// How long one call of the handler may take, with all attempts and the waits between them. Until then the time of
    /// its message, or batch, is extended; afterwards the handler is dropped and the message has failed. When a batch is
    /// cut each half is a call of its own and has this time anew. It is cut to one `visibility_timeout` where the engine
    /// does not extend. Default "5m".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub handling_max: Duration,
    /// Whether messages of one group (`partitionkey`) are handled one after the other, in the order in which they came,
    /// and those behind one that was not done are given back. The queue itself keeps the rest of the order, with
    /// `groups = true`. Default true.
    pub ordered: bool,
    /// What a handler that panics means for its message. Default "retry".
    pub panics: Panics,
    /// The policies around the handler: further attempts while the message is held, circuit breaker, attempt timeout,
    /// rate limiter. What they reject was not tried: it is not counted, and nothing is taken in until they admit again.
    /// Default: none.
    pub pipeline: PipelineConfig,
    /// Remembers what was handled, so that it is not handled twice. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbox: Option<InboxConfig>,
    /// A longer wait than this that a handler asks for is cut to it: that of a message that failed, and that of the
    /// consumer when nothing was tried. Default "1h".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub retry_after_max: Duration,
    /// How long the engine may take for each answer, beyond `poll` where it waits for messages; after that it counts as
    /// away, and is asked again. Default "10s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub answer_timeout: Duration,
    /// The wait before an engine that does not answer is asked again, and before more is taken in for a handler that
    /// did not try. Default from "100ms" to "10s"; what a table leaves out is as in `redelivery` of a queue.
    pub backoff: RedeliveryConfig,
    /// How long handlers may go on when the consumer is to stop; then they are dropped and their messages given back.
    /// Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub drain_timeout: Duration,
    /// How long the engine has after that to take back what is left. Default "5s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub release_timeout: Duration,
}

/// What a handler that panics means for its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Panics {
    /// It comes again, counted.
    #[default]
    Retry,
    /// It is dead.
    DeadLetter,
}

/// What remembers the messages that were handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InboxConfig {
    /// Its name; consumers that do the same work share one.
    pub name: Name,
    /// For how long; longer than a message may come again. Default "7d".
    #[serde(default = "a_week", with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub kept: Duration,
}

fn a_week() -> Duration {
    Duration::from_secs(7 * 24 * 3600)
}

impl InboxConfig {
    /// An inbox of this name that remembers for a week.
    pub fn named(name: Name) -> Self {
        Self { name, kept: a_week() }
    }
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        const TEN: NonZeroU32 = NonZeroU32::new(10).expect("10 is not zero");
        Self {
            concurrent: TEN,
            prefetch: TEN,
            prefetch_bytes: ByteSize::from_bytes(16 << 20),
            batch_max: NonZeroU32::new(100).expect("100 is not zero"),
            poll: Duration::from_secs(20),
            visibility_timeout: None,
            handling_max: Duration::from_secs(300),
            ordered: true,
            panics: Panics::default(),
            pipeline: PipelineConfig::default(),
            inbox: None,
            retry_after_max: Duration::from_secs(3600),
            answer_timeout: Duration::from_secs(10),
            backoff: RedeliveryConfig {
                base: Duration::from_millis(100),
                cap: Duration::from_secs(10),
                ..RedeliveryConfig::default()
            },
            drain_timeout: Duration::from_secs(30),
            release_timeout: Duration::from_secs(5),
        }
    }
}

impl ConsumerConfig {
    /// Finds settings that can not work together.
    ///
    /// # Errors
    /// The first of them, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.prefetch < self.concurrent {
            let problem =
                format!("{} is less than `concurrent`, which is {}", self.prefetch, self.concurrent);
            return Err(Invalid::new("prefetch", problem));
        }
        for (field, time) in [
            ("visibility_timeout", self.visibility_timeout),
            ("poll", Some(self.poll)),
            ("handling_max", Some(self.handling_max)),
            ("answer_timeout", Some(self.answer_timeout)),
            ("backoff.base", Some(self.backoff.base)),
            ("inbox.kept", self.inbox.as_ref().map(|inbox| inbox.kept)),
        ] {
            if time.is_some_and(|time| time.is_zero()) {
                return Err(Invalid::new(field, "0s is no time; it must be above zero"));
            }
        }
        if self.backoff.cap < self.backoff.base {
            let (cap, base) = (format_duration(self.backoff.cap), format_duration(self.backoff.base));
            let problem = format!("{cap} is shorter than `backoff.base`, which is {base}");
            return Err(Invalid::new("backoff.cap", problem));
        }
        for (field, inner) in [
            ("pipeline.deadline", self.pipeline.deadline),
            ("pipeline.attempt_timeout", self.pipeline.attempt_timeout),
        ] {
            if let Some(inner) = inner.filter(|inner| *inner >= self.handling_max) {
                let (inner, outer) = (format_duration(inner), format_duration(self.handling_max));
                let problem = format!("{inner} can never be over before `handling_max`, which is {outer}");
                return Err(Invalid::new(field, problem));
            }
        }
        Ok(())
    }
}
