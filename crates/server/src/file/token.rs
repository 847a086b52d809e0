use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;
use std::str::FromStr;

use intertie_core::quantity::Rate;
use intertie_gateway::config::{Problem, nearest};
use intertie_resilience::{RateLimiter, RateLimiterConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::secret::SecretReference;

/// `[token.NAME]`: a client of the API. With any, nobody without one is served.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Token")]
pub(crate) struct TokenConfig {
    /// Where the secret stands that the client sends as `Authorization: Bearer SECRET`: `env:NAME` or `file:PATH`. At
    /// least 16 bytes of visible ASCII.
    pub(crate) secret: String,
    /// What it may do, each as a verb and the queues: "send orders", "lease orders-*", "* *". The verbs are `send`,
    /// `lease` (with settle and extend), `browse`, `manage` (take back and redrive) and `*`; in the name of a queue
    /// `*` stands for any characters.
    #[schemars(with = "Vec<String>")]
    pub(crate) allow: Vec<Grant>,
    /// Its requests, such as "100/s". Default: no bound.
    #[serde(default)]
    pub(crate) rate: Option<Rate>,
    /// Messages that it may hold at the same time, in all queues, those it waits for included; counted anew by each
    /// process. Default: no bound.
    #[serde(default)]
    pub(crate) leases_max: Option<NonZeroU32>,
}

/// What is done with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Send,
    Lease,
    Browse,
    Manage,
}

impl Verb {
    const ALL: [Self; 4] = [Self::Send, Self::Lease, Self::Browse, Self::Manage];

    /// As files write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Lease => "lease",
            Self::Browse => "browse",
            Self::Manage => "manage",
        }
    }
}

/// A verb, or all of them, with the queues of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    verb: Option<Verb>,
    pattern: String,
}

impl Grant {
    /// Whether it allows `verb` with the queue `name`.
    pub(crate) fn allows(&self, verb: Verb, name: &str) -> bool {
        self.verb.is_none_or(|own| own == verb) && matches(&self.pattern, name)
    }
}

/// Whether `name` is what `pattern` describes, in which `*` stands for any characters. Each piece is taken where it
/// first stands, which leaves most for those behind it.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in between.split('*') {
        let Some(at) = name.find(piece) else { return false };
        name = &name[at + piece.len()..];
    }
    name.ends_with(last)
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{text}` is not a verb and a queue, such as \"send orders-*\"");
        let (verb, pattern) = text.split_once(' ').ok_or_else(malformed)?;
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*".contains(&byte);
        if pattern.is_empty() || !pattern.bytes().all(is_known) {
            return Err(malformed());
        }
        let known = Verb::ALL.into_iter().find(|known| known.name() == verb);
        if known.is_none() && verb != "*" {
            let near = nearest(verb, Verb::ALL.map(Verb::name));
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Err(format!("`{verb}` is none of the verbs send, lease, browse, manage and *{near}"));
        }
        Ok(Self { verb: known, pattern: pattern.to_owned() })
    }
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What is wrong with tokens before their secrets are read.
pub(super) fn problems(tokens: &BTreeMap<String, TokenConfig>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, token) in tokens {
        if SecretReference::parse(&token.secret).is_none() {
            let message = "the secret stands in the file; it must be a reference";
            let problem = Problem::error(["token", name, "secret"], message);
            problems.push(problem.help("write \"env:NAME\" or \"file:PATH\""));
        }
        let rate = token.rate.map(RateLimiterConfig::new).map(RateLimiter::new);
        if let Some(Err(invalid)) = rate {
            let message = format!("the rate of the token `{name}` can not be kept: {invalid}");
            problems.push(Problem::error(["token", name, "rate"], message));
        }
        if token.allow.is_empty() {
            let message = format!("the token `{name}` may do nothing");
            problems
                .push(Problem::error(["token", name, "allow"], message).help("allow = [\"send orders\"]"));
        }
    }
    problems
}

/// A secret that was read; it is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Its bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The shortest secret that is no password to be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// Reads the secrets of all tokens.
///
/// # Errors
/// Which can not be read, are too short, or are those of another. No message has a secret in it.
pub(super) fn secrets(
    tokens: &BTreeMap<String, TokenConfig>,
    folder: &Path,
) -> Result<Vec<(String, TokenConfig, Secret)>, Vec<Problem>> {
    let (mut read, mut problems): (Vec<(String, TokenConfig, Secret)>, _) = (Vec::new(), Vec::new());
    for (name, token) in tokens {
        let mut wrong = |message: String| problems.push(Problem::error(["token", name, "secret"], message));
        let Some(reference) = SecretReference::parse(&token.secret) else { continue };
        match reference.read(folder) {
            Err(error) => wrong(format!("{:#}", anyhow::Error::new(error))),
            Ok(secret) if secret.len() < SECRET_BYTES_MIN => {
                wrong(format!("the secret has fewer than {SECRET_BYTES_MIN} bytes; anyone could guess it"));
            }
            Ok(secret) if !secret.bytes().all(|byte| byte.is_ascii_graphic()) => {
                wrong(
                    "the secret has other characters than visible ASCII, which no header carries".to_owned(),
                );
            }
            Ok(secret) => match read.iter().find(|(_, _, other)| other.0 == secret) {
                Some((other, ..)) => wrong(format!("the secret is that of the token `{other}` too")),
                None => read.push((name.clone(), token.clone(), Secret(secret))),
            },
        }
    }
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grants_are_a_verb_and_a_pattern() {
        let allows = |grant: &str, verb, name| grant.parse::<Grant>().expect(grant).allows(verb, name);
        assert!(allows("send orders", Verb::Send, "orders"));
        assert!(!allows("send orders", Verb::Lease, "orders"));
        assert!(!allows("send orders", Verb::Send, "orders-eu"));
        assert!(!allows("send orders", Verb::Send, "my-orders"));
        assert!(allows("* orders-*", Verb::Manage, "orders-"));
        assert!(!allows("* orders-*", Verb::Manage, "orders"));
        assert!(allows("lease *.dead", Verb::Lease, "a.b.dead"));
        for wrong in ["send", "sned a", "send ", "send a b", " a", "send a/b", ""] {
            wrong.parse::<Grant>().expect_err(wrong);
        }
        assert!("sned a".parse::<Grant>().expect_err("a typo").contains("did you mean `send`?"));
    }

    /// As slowly as can be: a star is nothing, or one character and a star.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) if naive(rest, name) => true,
            ([b'*', ..], [_, behind @ ..]) => naive(pattern, behind),
            ([one, rest @ ..], [other, behind @ ..]) => one == other && naive(rest, behind),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_as_the_naive_reading_does(pattern in "[ab*]{0,6}", name in "[ab]{0,7}") {
            prop_assert_eq!(matches(&pattern, &name), naive(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
