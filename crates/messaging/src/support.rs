//! What an engine can do of what is asked for, said before the first message.

use std::borrow::Cow;
use std::fmt;

use crate::Name;
use crate::commit::Together;
use crate::queue::{QueueFeature, QueueVerb};

/// How an engine keeps one promise of a specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// The engine does it itself.
    Native,
    /// Intertie does it on top of the engine.
    Emulated {
        /// How, in a few words.
        by: Cow<'static, str>,
        /// What it costs that the engine's own way would not.
        cost: Cow<'static, str>,
    },
    /// Nobody does it, so the declaration is refused.
    Refused {
        /// Why not.
        why: Cow<'static, str>,
        /// What to change: another engine, a newer version, another key.
        hint: Cow<'static, str>,
    },
}

impl Support {
    /// Emulated `by` this, which costs `cost`.
    pub fn emulated(by: impl Into<Cow<'static, str>>, cost: impl Into<Cow<'static, str>>) -> Self {
        Self::Emulated { by: by.into(), cost: cost.into() }
    }

    /// What is left of it where `emulation` may be refused.
    #[must_use]
    pub fn under(self, emulation: Emulation) -> Self {
        match self {
            Self::Emulated { by, .. } if emulation == Emulation::Refused => {
                let why = format!("it is emulated by {by}");
                Self::refused(why, "allow it by `emulation = \"allowed\"`")
            }
            other => other,
        }
    }

    /// Whether it is refused; as a refusal of `feature`, for whoever asks anyway.
    pub fn refusal(self, feature: &'static str, engine: &EngineId) -> Option<Refusal> {
        match self {
            Self::Refused { why, hint } => Some(Refusal { feature, engine: engine.clone(), why, hint }),
            Self::Native | Self::Emulated { .. } => None,
        }
    }

    /// Refused because of `why`, with a `hint` what to do.
    pub fn refused(why: impl Into<Cow<'static, str>>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { why: why.into(), hint: hint.into() }
    }
}

/// An engine as it was found: the product and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineId {
    /// The product, such as `embedded` or `postgresql`.
    pub name: &'static str,
    /// Its version as the product itself says it.
    pub version: String,
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// One promise, by the key that asks for it in a file.
pub trait Feature: Copy + fmt::Debug {
    /// The key of the specification.
    fn key(self) -> &'static str;
}

/// What was declared, and how each part of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The queue or topic.
    pub name: Name,
    /// Who keeps it.
    pub engine: EngineId,
    /// Every promise that the specification asks for, in the order of its keys; none of them is refused.
    pub kept: Vec<(&'static str, Support)>,
    /// Every verb that not all engines have, asked for or not, and how it is done here; using one that is refused is
    /// [`EngineError::Unsupported`](crate::EngineError::Unsupported).
    pub verbs: Vec<(&'static str, Support)>,
    /// What is often committed together ([`Together::COMMON`]), and whether it can be.
    pub commits: Vec<(&'static str, Support)>,
}

impl Declared {
    /// The same, with what `engine` says of commits.
    #[must_use]
    pub fn with_commits(mut self, support: impl Fn(Together) -> Support) -> Self {
        self.commits = Together::COMMON.iter().map(|(name, together)| (*name, support(*together))).collect();
        self
    }

    /// The same, with what `engine` says of the verbs of queues, for one whose specification says `emulation`.
    #[must_use]
    pub fn with_verbs(mut self, emulation: Emulation, support: impl Fn(QueueFeature) -> Support) -> Self {
        let verbs = QueueVerb::ALL.into_iter();
        let offered = |verb| support(QueueFeature::Verb(verb)).under(emulation);
        self.verbs = verbs.map(|verb| (verb.name(), offered(verb))).collect();
        self
    }

    /// The promises that are kept by emulation.
    pub fn emulated(&self) -> impl Iterator<Item = (&'static str, &Support)> {
        self.kept
            .iter()
            .filter(|(_, support)| *support != Support::Native)
            .map(|(key, support)| (*key, support))
    }
}

/// Whether emulation is good enough.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Emulation {
    /// It is, and is reported.
    #[default]
    Allowed,
    /// What the engine does not do itself is refused.
    Refused,
}

/// A promise that can not be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The key that asks for it.
    pub feature: &'static str,
    /// Who can not keep it.
    pub engine: EngineId,
    /// Why not.
    pub why: Cow<'static, str>,
    /// What to change.
    pub hint: Cow<'static, str>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` on {}: {}; {}", self.feature, self.engine, self.why, self.hint)
    }
}

impl std::error::Error for Refusal {}

/// Resolves what is asked for against what `engine` says of each part of it, so that no part is dropped in
/// silence.
///
/// # Errors
/// Every promise that is refused, or that is emulated where `emulation` refuses that.
pub fn resolve<F: Feature>(
    name: &Name,
    asked: impl IntoIterator<Item = F>,
    emulation: Emulation,
    engine: &EngineId,
    support: impl Fn(F) -> Support,
) -> Result<Declared, Vec<Refusal>> {
    let (mut kept, mut refusals) = (Vec::new(), Vec::new());
    for feature in asked {
        let refuse = |why, hint| Refusal { feature: feature.key(), engine: engine.clone(), why, hint };
        match support(feature).under(emulation) {
            Support::Refused { why, hint } => refusals.push(refuse(why, hint)),
            support => kept.push((feature.key(), support)),
        }
    }
    if refusals.is_empty() {
        let (name, engine) = (name.clone(), engine.clone());
        Ok(Declared { name, engine, kept, verbs: Vec::new(), commits: Vec::new() })
    } else {
        Err(refusals)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    struct Numbered(usize);

    const KEYS: [&str; 4] = ["a", "b", "c", "d"];

    impl Feature for Numbered {
        fn key(self) -> &'static str {
            KEYS[self.0]
        }
    }

    fn support() -> impl Strategy<Value = Support> {
        prop_oneof![
            Just(Support::Native),
            Just(Support::emulated("a table", "a write")),
            Just(Support::refused("it can not", "take another")),
        ]
    }

    proptest! {
        #[test]
        fn every_promise_ends_as_kept_or_as_refused(
            supports in prop::collection::vec(support(), 4),
            asked in prop::collection::vec(0..4usize, 0..6),
            strict: bool,
        ) {
            let engine = EngineId { name: "model", version: "1".to_owned() };
            let name = "orders".parse().expect("a name");
            let emulation = if strict { Emulation::Refused } else { Emulation::Allowed };
            let resolved = resolve(&name, asked.iter().copied().map(Numbered), emulation, &engine, |feature| {
                supports[feature.0].clone()
            });
            let is_kept = |at: &usize| match supports[*at] {
                Support::Native => true,
                Support::Emulated { .. } => !strict,
                Support::Refused { .. } => false,
            };
            match resolved {
                Ok(declared) => {
                    prop_assert!(asked.iter().all(is_kept));
                    let kept: Vec<_> = declared.kept.iter().map(|(key, _)| *key).collect();
                    prop_assert_eq!(kept, asked.iter().map(|at| KEYS[*at]).collect::<Vec<_>>());
                }
                Err(refusals) => {
                    let refused: Vec<_> = refusals.iter().map(|refusal| refusal.feature).collect();
                    let expected = asked.iter().filter(|at| !is_kept(at)).map(|at| KEYS[*at]);
                    prop_assert!(!refused.is_empty());
                    prop_assert_eq!(refused, expected.collect::<Vec<_>>());
                }
            }
        }
    }
}
