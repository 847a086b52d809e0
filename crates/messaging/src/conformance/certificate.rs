use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use intertie_core::quantity::ByteSize;
use serde::{Deserialize, Serialize};

use super::{Port, Ports, Verdict};
use crate::commit::Together;
use crate::log::TopicFeature;
use crate::queue::{QueueFeature, QueueVerb, TtlCounts};
use crate::support::{EngineId, Support};
use crate::{Durability, Engine};

/// What an engine was found to keep: a JSON document ([`Certificate::to_json`]), of which [`capability_table`] lays
/// several side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The product.
    pub engine: String,
    /// Its version, as it says it.
    pub version: String,
    /// The version of the suite.
    pub suite: String,
    /// Every promise that a specification can ask for, and how it is kept.
    pub kept: Vec<Kept>,
    /// Every case.
    pub cases: Vec<Tried>,
}

/// How a promise is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Of queues or of topics.
    pub port: Port,
    /// The key that asks for it, with its value where that matters.
    pub promise: String,
    /// By whom.
    pub keeping: Keeping,
}

/// Who keeps a promise: [`Support`], as certificates write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeping {
    /// The engine.
    Native,
    /// Intertie.
    Emulated {
        /// How.
        by: String,
        /// At what cost.
        cost: String,
    },
    /// Nobody.
    Refused {
        /// Why.
        why: String,
    },
}

impl From<Support> for Keeping {
    fn from(support: Support) -> Self {
        match support {
            Support::Native => Self::Native,
            Support::Emulated { by, cost } => Self::Emulated { by: by.into_owned(), cost: cost.into_owned() },
            Support::Refused { why, .. } => Self::Refused { why: why.into_owned() },
        }
    }
}

/// A case that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// The port that it is about.
    pub port: Port,
    /// What of it.
    pub feature: String,
    /// What holds when it passes.
    pub name: String,
    /// Whether it does.
    pub verdict: Verdict,
}

impl Certificate {
    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Tried> {
        self.cases.iter().filter(|tried| matches!(tried.verdict, Verdict::Failed { .. }))
    }

    /// What failed, and why, a line each.
    pub fn report(&self) -> String {
        let mut report = String::new();
        for Tried { port, feature, name, verdict } in self.failures() {
            if let Verdict::Failed { problem } = verdict {
                writeln!(report, "{}/{feature}/{name}: {problem}", port.name()).expect("strings take all");
            }
        }
        report
    }

    /// Reads what [`Certificate::to_json`] wrote.
    ///
    /// # Errors
    /// When `text` is something else.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The certificate as a JSON document.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names, texts and lists of them")
    }
}

/// One of each promise, with values that tell engines apart.
fn queue_promises() -> Vec<(&'static str, QueueFeature)> {
    let time = Duration::from_secs(60);
    let three = NonZeroU32::new(3).expect("3 is not zero");
    let mut promises = vec![
        ("durable = true", QueueFeature::Durable),
        ("durable = false", QueueFeature::Transient),
        ("exclusive", QueueFeature::Exclusive),
        ("auto_delete", QueueFeature::AutoDelete),
        ("ttl, of each wait", QueueFeature::Ttl(TtlCounts::Wait)),
        ("ttl, of the age", QueueFeature::Ttl(TtlCounts::Age)),
        ("visibility_timeout", QueueFeature::VisibilityTimeout(time)),
        ("settlement_window", QueueFeature::SettlementWindow(time)),
        ("max_deliveries", QueueFeature::MaxDeliveries(three)),
        ("redelivery", QueueFeature::Redelivery),
        ("dead_letter", QueueFeature::DeadLetter),
        ("deduplication_window", QueueFeature::Deduplication(time)),
        ("priorities", QueueFeature::Priorities(NonZeroU8::new(3).expect("3 is not zero"))),
        ("groups", QueueFeature::Groups),
        ("delays", QueueFeature::Delays),
        ("leases_max", QueueFeature::LeasesMax(three)),
        ("leases_per_consumer_max", QueueFeature::LeasesPerConsumerMax(three)),
        ("message_bytes_max", QueueFeature::MessageBytesMax(ByteSize::from_bytes(1 << 20))),
        ("depth_max", QueueFeature::DepthMax),
        ("durability, 1 copy", QueueFeature::Durability(Durability::UNSYNCED)),
        ("durability, 1 copy synced", QueueFeature::Durability(Durability::SYNCED)),
        ("durability, 3 copies synced", QueueFeature::Durability(Durability { copies: 3, synced: 3 })),
    ];
    promises.extend(QueueVerb::ALL.map(|verb| (verb.name(), QueueFeature::Verb(verb))));
    promises
}

fn topic_promises() -> Vec<(&'static str, TopicFeature)> {
    let size = ByteSize::from_bytes(1 << 20);
    vec![
        ("partitions", TopicFeature::Partitions(NonZeroU32::new(3).expect("3 is not zero"))),
        ("replicas, 3", TopicFeature::Replicas(NonZeroU8::new(3).expect("3 is not zero"))),
        ("retention", TopicFeature::Retention(Duration::from_secs(60))),
        ("retention_bytes", TopicFeature::RetentionBytes(size)),
        ("cleanup = \"compact\"", TopicFeature::Compaction),
        ("record_bytes_max", TopicFeature::RecordBytesMax(size)),
        ("durability, 1 copy", TopicFeature::Durability(Durability::UNSYNCED)),
        ("durability, 1 copy synced", TopicFeature::Durability(Durability::SYNCED)),
        ("durability, 3 copies synced", TopicFeature::Durability(Durability { copies: 3, synced: 3 })),
    ]
}

fn kept<F: Copy>(port: Port, promises: Vec<(&'static str, F)>, support: impl Fn(F) -> Support) -> Vec<Kept> {
    let keep = |(promise, feature): (&str, F)| Kept {
        port,
        promise: promise.to_owned(),
        keeping: support(feature).into(),
    };
    promises.into_iter().map(keep).collect()
}

/// What the engine says of itself.
pub(super) fn begin(ports: &Ports) -> Certificate {
    let mut promises = Vec::new();
    let mut id: Option<&EngineId> = None;
    if let Some(queues) = &ports.queues {
        id = Some(queues.id());
        promises.extend(kept(Port::Queue, queue_promises(), |feature| queues.support(feature)));
    }
    if let Some(logs) = &ports.logs {
        id = id.or(Some(logs.id()));
        promises.extend(kept(Port::Log, topic_promises(), |feature| logs.support(feature)));
    }
    let engine = ports.queues.as_ref().map(|queues| &**queues as &dyn Engine);
    let engine = engine.or(ports.logs.as_ref().map(|logs| &**logs as &dyn Engine));
    if let Some(engine) = engine {
        let support = |together| engine.commit_support(together);
        promises.extend(kept(Port::Commit, Together::COMMON.to_vec(), support));
    }
    Certificate {
        engine: id.map_or_else(String::new, |id| id.name.to_owned()),
        version: id.map_or_else(String::new, |id| id.version.clone()),
        suite: env!("CARGO_PKG_VERSION").to_owned(),
        kept: promises,
        cases: Vec::new(),
    }
}

/// The promises of `certificates` as a table in Markdown, an engine in each column. A promise whose cases failed
/// can not be told by its key, so an engine with failures says how many.
pub fn capability_table(certificates: &[Certificate]) -> String {
    let mut table = String::from("| promise |");
    for Certificate { engine, version, .. } in certificates {
        write!(table, " {engine} {version} |").expect("strings take all");
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(certificates.len()));
    let mut seen = BTreeSet::new();
    for Kept { port, promise, .. } in certificates.iter().flat_map(|certificate| &certificate.kept) {
        if !seen.insert((port.name(), promise)) {
            continue;
        }
        write!(table, "\n| {}: {} |", port.name(), cell(promise)).expect("strings take all");
        for certificate in certificates {
            let mut same = certificate.kept.iter();
            let keeping = same.find(|kept| kept.port == *port && kept.promise == *promise);
            let text = match keeping.map(|kept| &kept.keeping) {
                Some(Keeping::Native) => "native".to_owned(),
                Some(Keeping::Emulated { by, cost }) => format!("emulated by {by}; costs {cost}"),
                Some(Keeping::Refused { why }) => format!("refused: {why}"),
                None => "–".to_owned(),
            };
            write!(table, " {} |", cell(&text)).expect("strings take all");
        }
    }
    table.push_str("\n| cases passed, failed, not applicable |");
    for certificate in certificates {
        let count =
            |is: fn(&Verdict) -> bool| certificate.cases.iter().filter(|tried| is(&tried.verdict)).count();
        let passed = count(|verdict| *verdict == Verdict::Passed);
        let failed = count(|verdict| matches!(verdict, Verdict::Failed { .. }));
        let not_applicable = count(|verdict| matches!(verdict, Verdict::NotApplicable { .. }));
        write!(table, " {passed}, {failed}, {not_applicable} |").expect("strings take all");
    }
    table.push('\n');
    table
}

/// Text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
