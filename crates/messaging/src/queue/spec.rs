use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, ByteSize, DurationText, Ratio, format_duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::support::{Emulation, Feature};
use crate::{Durability, Name};

/// What a queue promises, whichever engine keeps it: `[queue.NAME]` in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSpec {
    /// Whether the queue and its messages outlast the process. Default true.
    pub durable: bool,
    /// Whether one consumer at a time has the queue: another one is refused while it holds a lease or has asked
    /// for one within `visibility_timeout`. Default false.
    pub exclusive: bool,
    /// The queue is removed when it is empty and nobody has used it for so long. Default: never.
    #[serde(with = "quantity::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub auto_delete: Option<Duration>,
    /// How long a message may wait for its first delivery or for its next; after that it is dead. A message may
    /// ask for less, not for more. Default: for ever.
    #[serde(with = "quantity::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub ttl: Option<Duration>,
    /// How long a consumer has a message before it is somebody else's, unless it asks for more time. Default
    /// "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub visibility_timeout: Duration,
    /// Deliveries of a message in all, the first included and each that ended without a word; after that many it
    /// is dead. Releases do not count. Default 5, S2's `maxRetries` as its code behaves.
    pub max_deliveries: NonZeroU32,
    /// How long a message waits between deliveries when its consumer does not say.
    pub redelivery: RedeliveryConfig,
    /// The queue that dead messages go to; it must be declared too. Default: a queue of this one's name and
    /// `.dead`, which comes with it and has no end of deliveries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Name>,
    /// A message whose id was sent within so long before is taken for the same one and stored once. Default: no
    /// id is remembered.
    #[serde(with = "quantity::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub deduplication_window: Option<Duration>,
    /// How many priorities there are; a message has one from 0, the default, to one less than this, and higher
    /// ones are always delivered first. Default 1.
    pub priorities: NonZeroU8,
    /// Whether messages of one group are delivered in the order in which they were sent, one at a time, also while
    /// one of them is repeated. Default false.
    pub groups: bool,
    /// Whether a message may ask to be delivered later than at once. Default true.
    pub delays: bool,
    /// Messages that consumers hold together, across all of them. Default 1000.
    pub leases_max: NonZeroU32,
    /// The largest message, attributes included. Default "1MiB".
    pub message_bytes_max: ByteSize,
    /// Messages that the queue holds; one more is refused, none is ever dropped for it. Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth_max: Option<u64>,
    /// Where a message must be before its sender is told that it is stored. Default one copy, synced.
    pub durability: Durability,
    /// Whether promises may be kept by emulation. Default "allowed".
    pub emulation: Emulation,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self {
            durable: true,
            exclusive: false,
            auto_delete: None,
            ttl: None,
            visibility_timeout: Duration::from_secs(30),
            max_deliveries: NonZeroU32::new(5).expect("5 is not zero"),
            redelivery: RedeliveryConfig::default(),
            dead_letter: None,
            deduplication_window: None,
            priorities: NonZeroU8::MIN,
            groups: false,
            delays: true,
            leases_max: NonZeroU32::new(1000).expect("1000 is not zero"),
            message_bytes_max: ByteSize::from_bytes(1 << 20),
            depth_max: None,
            durability: Durability::default(),
            emulation: Emulation::default(),
        }
    }
}

/// The wait before a delivery that is not the first: `base` × `multiplier`ⁿ⁻¹ after the nth, at most `cap`, and up
/// to `jitter` of it more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedeliveryConfig {
    /// The wait after the first delivery. Default "1s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub base: Duration,
    /// No computed wait is longer, jitter aside. Default "5m".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub cap: Duration,
    /// What each wait is multiplied by for the next. Default 2.
    pub multiplier: NonZeroU32,
    /// The random addition to each wait, as a share of it. Default "30%".
    pub jitter: Ratio,
}

impl Default for RedeliveryConfig {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(300),
            multiplier: NonZeroU32::new(2).expect("2 is not zero"),
            jitter: Ratio::from_percent(30),
        }
    }
}

impl RedeliveryConfig {
    /// The wait after a message was delivered `deliveries` times; `random` is uniform in `0..=u32::MAX`.
    pub fn wait(&self, deliveries: NonZeroU32, random: u32) -> Duration {
        let factor = self.multiplier.get().checked_pow(deliveries.get() - 1);
        let wait = factor
            .and_then(|factor| self.base.checked_mul(factor))
            .map_or(self.cap, |wait| wait.min(self.cap));
        let added = wait.mul_f64(self.jitter.as_f64() * f64::from(random) / f64::from(u32::MAX));
        wait.saturating_add(added)
    }
}

/// What a specification may ask of an engine, apart from what every queue is: sent to, leased from, settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueFeature {
    /// `durable = true`.
    Durable,
    /// `durable = false`.
    Transient,
    /// One consumer at a time.
    Exclusive,
    /// Removal of queues that nobody uses.
    AutoDelete,
    /// An end of waiting for all messages, and a shorter one for some.
    Ttl,
    /// A lease that ends by itself, can be extended, and whose late settlements are refused.
    VisibilityTimeout(Duration),
    /// Exactly so many deliveries, and then one dead letter.
    MaxDeliveries(NonZeroU32),
    /// Waits between deliveries.
    Redelivery,
    /// Dead letters with their cause, which can be looked at and sent again.
    DeadLetter,
    /// One copy of what was sent twice.
    Deduplication(Duration),
    /// So many priorities, strictly.
    Priorities(NonZeroU8),
    /// Order in each group, also while one of its messages is repeated.
    Groups,
    /// Messages for later, which can be cancelled.
    Delays,
    /// A bound on leases.
    LeasesMax(NonZeroU32),
    /// A bound on the size of messages.
    MessageBytesMax(ByteSize),
    /// A bound on the depth, by refusal.
    DepthMax,
    /// Receipts that mean at least this.
    Durability(Durability),
}

impl Feature for QueueFeature {
    fn key(self) -> &'static str {
        match self {
            Self::Durable | Self::Transient => "durable",
            Self::Exclusive => "exclusive",
            Self::AutoDelete => "auto_delete",
            Self::Ttl => "ttl",
            Self::VisibilityTimeout(_) => "visibility_timeout",
            Self::MaxDeliveries(_) => "max_deliveries",
            Self::Redelivery => "redelivery",
            Self::DeadLetter => "dead_letter",
            Self::Deduplication(_) => "deduplication_window",
            Self::Priorities(_) => "priorities",
            Self::Groups => "groups",
            Self::Delays => "delays",
            Self::LeasesMax(_) => "leases_max",
            Self::MessageBytesMax(_) => "message_bytes_max",
            Self::DepthMax => "depth_max",
            Self::Durability(_) => "durability",
        }
    }
}

impl QueueSpec {
    /// What is asked of an engine, each promise once.
    ///
    /// It names every field, so that a new one can not be forgotten here.
    pub fn features(&self) -> Vec<QueueFeature> {
        let Self {
            durable,
            exclusive,
            auto_delete,
            ttl,
            visibility_timeout,
            max_deliveries,
            redelivery: _,
            dead_letter: _,
            deduplication_window,
            priorities,
            groups,
            delays,
            leases_max,
            message_bytes_max,
            depth_max,
            durability,
            emulation: _,
        } = self;
        let asked = [
            Some(if *durable { QueueFeature::Durable } else { QueueFeature::Transient }),
            exclusive.then_some(QueueFeature::Exclusive),
            auto_delete.map(|_| QueueFeature::AutoDelete),
            ttl.map(|_| QueueFeature::Ttl),
            Some(QueueFeature::VisibilityTimeout(*visibility_timeout)),
            Some(QueueFeature::MaxDeliveries(*max_deliveries)),
            Some(QueueFeature::Redelivery),
            Some(QueueFeature::DeadLetter),
            deduplication_window.map(QueueFeature::Deduplication),
            (priorities.get() > 1).then_some(QueueFeature::Priorities(*priorities)),
            groups.then_some(QueueFeature::Groups),
            delays.then_some(QueueFeature::Delays),
            Some(QueueFeature::LeasesMax(*leases_max)),
            Some(QueueFeature::MessageBytesMax(*message_bytes_max)),
            depth_max.map(|_| QueueFeature::DepthMax),
            Some(QueueFeature::Durability(*durability)),
        ];
        asked.into_iter().flatten().collect()
    }

    /// Finds settings that can not work on any engine.
    ///
    /// # Errors
    /// The first of them, with its value and the limit.
    pub fn check(&self) -> Result<(), Invalid> {
        for (field, duration) in [
            ("visibility_timeout", Some(self.visibility_timeout)),
            ("auto_delete", self.auto_delete),
            ("ttl", self.ttl),
            ("deduplication_window", self.deduplication_window),
            ("redelivery.base", Some(self.redelivery.base)),
        ] {
            if duration.is_some_and(|duration| duration.is_zero()) {
                return Err(Invalid::new(field, "0s is no time; it must be above zero"));
            }
        }
        let too_short = |field, what: Duration, other, limit: Duration| {
            let (what, limit) = (format_duration(what), format_duration(limit));
            Err(Invalid::new(field, format!("{what} is shorter than `{other}`, which is {limit}")))
        };
        if self.redelivery.cap < self.redelivery.base {
            return too_short("redelivery.cap", self.redelivery.cap, "redelivery.base", self.redelivery.base);
        }
        if let Some(auto_delete) =
            self.auto_delete.filter(|auto_delete| *auto_delete < self.visibility_timeout)
        {
            return too_short("auto_delete", auto_delete, "visibility_timeout", self.visibility_timeout);
        }
        if self.message_bytes_max.bytes() == 0 {
            return Err(Invalid::new("message_bytes_max", "no message has 0 bytes; it must be above zero"));
        }
        if self.depth_max == Some(0) {
            return Err(Invalid::new(
                "depth_max",
                "a queue for 0 messages takes none; it must be above zero",
            ));
        }
        if self.durability.synced > self.durability.copies {
            let Durability { copies, synced } = self.durability;
            let problem = format!("synced = {synced} is more than copies = {copies}");
            return Err(Invalid::new("durability", problem));
        }
        if !self.durable && self.durability.synced > 0 {
            let problem = "a queue that is not durable syncs nothing; ask for `synced = 0`";
            return Err(Invalid::new("durability", problem));
        }
        Ok(())
    }
}
