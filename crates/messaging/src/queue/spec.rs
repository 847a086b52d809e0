use std::collections::BTreeSet;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use intertie_core::backoff::exponential;
use intertie_core::config::Invalid;
use intertie_core::quantity::{self, ByteSize, DurationText, Ratio, format_duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{QueueFeature, QueueVerb, TtlCounts};
use crate::support::Emulation;
use crate::{Durability, Name, Unfit};

/// What a queue promises, whichever engine keeps it: `[queue.NAME]` in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSpec {
    /// Whether the queue and its messages outlast the process. Default true.
    pub durable: bool,
    /// Whether one consumer at a time has the queue: another one is refused while it holds a lease or has asked
    /// for one within `visibility_timeout`. Default false.
    pub exclusive: bool,
    /// The queue is removed when it is empty and nobody has sent to it, asked for a message or settled one for so
    /// long. Default: never.
    #[serde(with = "quantity::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub auto_delete: Option<Duration>,
    /// How long a message may wait to be delivered, as `ttl_counts` counts; after that it is dead. A message may ask
    /// for less by its `expirytime`, a moment, not for more, and no longer once it has died. An engine that emulates
    /// this may find a dead message only when it would be delivered, and counts it until then. Default: for ever.
    #[serde(with = "quantity::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub ttl: Option<Duration>,
    /// What `ttl` counts. Default "wait".
    pub ttl_counts: TtlCounts,
    /// How long a consumer has a message before it is somebody else's, unless it asks for more time. Default
    /// "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub visibility_timeout: Duration,
    /// The longest time that a consumer may ask for at once; it may ask again before that is over. At least
    /// `visibility_timeout`. Default "12h".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub visibility_timeout_max: Duration,
    /// How long a settlement is remembered, so that the same one again is done before; after that it is stale. Default
    /// "1m"; "0s": none is remembered.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub settlement_window: Duration,
    /// Settlements that are remembered at once; above them the oldest is forgotten before its time, so that it should be
    /// no less than are made within `settlement_window`. Default 2,000,000: more than 30,000 a second for a minute.
    pub settlements_max: NonZeroU32,
    /// Deliveries of a message in all, the first included and each that ended without a word; after that many it
    /// is dead. Releases do not count. Default 5, S2's `maxRetries` as its code behaves.
    pub max_deliveries: NonZeroU32,
    /// How long a message waits between deliveries when its consumer does not say.
    pub redelivery: RedeliveryConfig,
    /// The queue that dead messages go to. It must be declared before, be as durable as this one, have no
    /// `auto_delete`, and its own dead must not come back here; it can not be deleted as long as this one is there.
    /// Default: a queue of this one's name and `.dead`, which must be a name; it comes with this one, goes with it
    /// once it is empty, and has no end of deliveries, and what is rejected in it stays, at its end and with its last
    /// reason. Dead messages are taken whatever their size, and beyond `depth_max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Name>,
    /// A message whose id was stored less than so long before is taken for the same one and not stored again, which
    /// does not lengthen the time. It fits into a full queue. Default: no id is remembered.
    #[serde(with = "quantity::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub deduplication_window: Option<Duration>,
    /// How many priorities there are; a message has one from 0, the default, to one less than this, and higher
    /// ones are always delivered first. Where there are several, messages of one that were never delivered come in
    /// the order of their positions. Default 1.
    pub priorities: NonZeroU8,
    /// Whether messages of one group are delivered in the order in which they were sent, one at a time, also while
    /// one of them is repeated. That goes before `priorities`, which order the first messages of groups. Messages
    /// without a group wait for nobody. Default false.
    pub groups: bool,
    /// Whether a message may ask to be delivered later than at once. Default true.
    pub delays: bool,
    /// Messages that consumers hold together, across all of them. Default 1000.
    pub leases_max: NonZeroU32,
    /// Messages that one consumer holds; more stay for others. A consumer gets no more than that also where its
    /// `prefetch` asks for it. At `leases_max` or above one consumer may have all of them. Default 100.
    pub leases_per_consumer_max: Option<NonZeroU32>,
    /// The largest message, attributes included. Default "1MiB".
    pub message_bytes_max: ByteSize,
    /// Messages that the queue holds, those that consumers have included; one more is refused, none is ever dropped
    /// for it. Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth_max: Option<u64>,
    /// Where a message must be before its sender is told that it is stored. Default one copy, synced.
    pub durability: Durability,
    /// Verbs that its users can not do without: an engine that does not offer one refuses the queue. What is not here is
    /// offered where it can be, natively where `emulation` is refused, and [`Declared`](crate::support::Declared)
    /// tells. Default: none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub needs: BTreeSet<QueueVerb>,
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
            ttl_counts: TtlCounts::default(),
            visibility_timeout: Duration::from_secs(30),
            visibility_timeout_max: Duration::from_secs(12 * 3600),
            settlement_window: Duration::from_secs(60),
            settlements_max: NonZeroU32::new(2_000_000).expect("2,000,000 is not zero"),
            max_deliveries: NonZeroU32::new(5).expect("5 is not zero"),
            redelivery: RedeliveryConfig::default(),
            dead_letter: None,
            deduplication_window: None,
            priorities: NonZeroU8::MIN,
            groups: false,
            delays: true,
            leases_max: NonZeroU32::new(1000).expect("1000 is not zero"),
            leases_per_consumer_max: NonZeroU32::new(100),
            message_bytes_max: ByteSize::from_bytes(1 << 20),
            depth_max: None,
            durability: Durability::default(),
            needs: BTreeSet::new(),
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
        let wait = exponential(self.base, self.multiplier.get(), deliveries.get(), self.cap);
        let added = wait.mul_f64(self.jitter.as_f64() * f64::from(random) / f64::from(u32::MAX));
        wait.saturating_add(added)
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
            ttl_counts,
            visibility_timeout,
            visibility_timeout_max: _,
            settlement_window,
            settlements_max: _,
            max_deliveries,
            redelivery: _,
            dead_letter: _,
            deduplication_window,
            priorities,
            groups,
            delays,
            leases_max,
            leases_per_consumer_max,
            message_bytes_max,
            depth_max,
            durability,
            needs,
            emulation: _,
        } = self;
        let asked = [
            Some(if *durable { QueueFeature::Durable } else { QueueFeature::Transient }),
            exclusive.then_some(QueueFeature::Exclusive),
            auto_delete.map(|_| QueueFeature::AutoDelete),
            ttl.map(|_| QueueFeature::Ttl(*ttl_counts)),
            Some(QueueFeature::VisibilityTimeout(*visibility_timeout)),
            (!settlement_window.is_zero()).then_some(QueueFeature::SettlementWindow(*settlement_window)),
            Some(QueueFeature::MaxDeliveries(*max_deliveries)),
            Some(QueueFeature::Redelivery),
            Some(QueueFeature::DeadLetter),
            deduplication_window.map(QueueFeature::Deduplication),
            (priorities.get() > 1).then_some(QueueFeature::Priorities(*priorities)),
            groups.then_some(QueueFeature::Groups),
            delays.then_some(QueueFeature::Delays),
            Some(QueueFeature::LeasesMax(*leases_max)),
            leases_per_consumer_max.map(QueueFeature::LeasesPerConsumerMax),
            Some(QueueFeature::MessageBytesMax(*message_bytes_max)),
            depth_max.map(|_| QueueFeature::DepthMax),
            Some(QueueFeature::Durability(*durability)),
        ];
        let verbs = needs.iter().copied().map(QueueFeature::Verb);
        asked.into_iter().flatten().chain(verbs).collect()
    }

    /// Whether a queue of this specification can keep what dies in one of `source`, for as long as that would have kept
    /// it, and as safely.
    ///
    /// # Errors
    /// Why not. Whether it is there, and where its own dead go, is for the engine to look at.
    pub fn takes_dead_of(&self, source: &Self) -> Result<(), Unfit> {
        let (has, needs) = (self.durability, source.durability);
        if self.auto_delete.is_some() {
            Err(Unfit::AutoDelete)
        } else if source.durable && !self.durable {
            Err(Unfit::Transient)
        } else if !has.satisfies(needs) {
            Err(Unfit::LessDurable { has, needs })
        } else {
            Ok(())
        }
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
        if self.visibility_timeout_max < self.visibility_timeout {
            let (max, time) = (self.visibility_timeout_max, self.visibility_timeout);
            return too_short("visibility_timeout_max", max, "visibility_timeout", time);
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
