//! Who may do what: tokens, and what each of them may take.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use intertie_core::clock::Timestamp;
use intertie_messaging::Name;
use intertie_messaging::queue::LeaseId;
use intertie_resilience::{MonotonicClock, RateLimiter, RateLimiterConfig};
use ring::digest::{Digest, SHA256, digest};

use super::failure::{ApiCode, Failure};
use crate::file::{Secret, TokenConfig, Verb};

/// The tokens of a file; with none of them, everyone may do everything.
#[derive(Debug, Default)]
pub(super) struct Access {
    tokens: Vec<Arc<Token>>,
}

/// One client, with what it has taken.
#[derive(Debug)]
pub(super) struct Token {
    name: String,
    config: TokenConfig,
    /// Of its secret, which is nowhere in the process after that.
    digest: Digest,
    rate: Option<RateLimiter>,
    held: Mutex<Held>,
}

/// What a token holds.
#[derive(Debug, Default)]
struct Held {
    /// Until when each lease is its own.
    leases: HashMap<LeaseId, Timestamp>,
    /// Messages that requests under way may be given.
    reserved: u32,
}

impl Access {
    /// Those of a file. What did not change of `before` keeps what it has taken.
    pub(super) fn new(tokens: Vec<(String, TokenConfig, Secret)>, before: &Self) -> Self {
        let token = |(name, config, secret): (String, TokenConfig, Secret)| {
            let digest = digest(&SHA256, secret.as_bytes());
            let is_same = |token: &&Arc<Token>| {
                token.name == name && token.config == config && token.digest.as_ref() == digest.as_ref()
            };
            before.tokens.iter().find(is_same).cloned().unwrap_or_else(|| {
                let rate = config.rate.map(RateLimiterConfig::new);
                let rate = rate.map(|rate| RateLimiter::new(rate).expect("the file is refused otherwise"));
                Arc::new(Token { name, config, digest, rate, held: Mutex::default() })
            })
        };
        Self { tokens: tokens.into_iter().map(token).collect() }
    }

    /// Whether everyone may do everything.
    pub(super) fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Whose request it is; nobody's where there are no tokens.
    ///
    /// # Errors
    /// The request has no token, or none of these.
    pub(super) fn client(&self, headers: &HeaderMap) -> Result<Option<Arc<Token>>, Failure> {
        if self.is_open() {
            return Ok(None);
        }
        let denied = |detail: &str| Failure::new(ApiCode::Unauthenticated, detail);
        let value =
            headers.get(AUTHORIZATION).ok_or_else(|| denied("there is no `Authorization: Bearer …`"))?;
        let (scheme, secret) = value
            .as_bytes()
            .split_at_checked("Bearer ".len())
            .ok_or_else(|| denied("`Authorization` has no `Bearer …`"))?;
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return Err(denied("`Authorization` has no `Bearer …`"));
        }
        let shown = digest(&SHA256, secret.trim_ascii());
        // All of them are compared, and each as a whole, so that no time tells how near a guess is.
        let mut found = None;
        for token in &self.tokens {
            if is_same(token.digest.as_ref(), shown.as_ref()) {
                found = Some(token);
            }
        }
        found
            .map(|token| Some(Arc::clone(token)))
            .ok_or_else(|| denied("the token is none that is known here"))
    }
}

/// Whether two digests are the same, in a time that does not depend on where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

impl Token {
    /// What the file calls it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may do `verb` with `queue`.
    pub(super) fn may(&self, verb: Verb, queue: &Name) -> bool {
        self.config.allow.iter().any(|grant| grant.allows(verb, queue.as_str()))
    }

    /// Counts a request.
    ///
    /// # Errors
    /// It is one too many for now.
    pub(super) fn admit(&self) -> Result<(), Failure> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.try_acquire((), MonotonicClock::now(), 1).map(|_| ()).map_err(|rejection| {
            let failure = Failure::new(ApiCode::RateLimited, "at its bound `rate` of the token");
            Failure { retry_after: rejection.retry_after, ..failure }
        })
    }

    /// Makes room for up to `most` leases.
    ///
    /// # Errors
    /// There is none left.
    pub(super) fn reserve(self: &Arc<Self>, most: NonZeroU32, now: Timestamp) -> Result<Reserved, Failure> {
        let reserved = |count| Reserved { token: Arc::clone(self), count };
        let Some(limit) = self.config.leases_max else { return Ok(reserved(most)) };
        let mut held = self.held();
        held.leases.retain(|_, until| *until > now);
        let taken = u32::try_from(held.leases.len()).unwrap_or(u32::MAX).saturating_add(held.reserved);
        let room = NonZeroU32::new(limit.get().saturating_sub(taken)).ok_or_else(|| {
            let detail = format!("at its bound `leases_max` of the token, {limit}");
            Failure::new(ApiCode::RateLimited, detail)
        })?;
        let count = most.min(room);
        held.reserved += count.get();
        Ok(reserved(count))
    }

    /// A lease has another end.
    pub(super) fn extended(&self, lease: &LeaseId, until: Timestamp) {
        if let Some(end) = self.held().leases.get_mut(lease) {
            *end = until;
        }
    }

    /// A lease is settled.
    pub(super) fn settled(&self, lease: &LeaseId) {
        self.held().leases.remove(lease);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for leases, which goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    token: Arc<Token>,
    pub(super) count: NonZeroU32,
}

impl Reserved {
    /// Notes the leases that were given.
    pub(super) fn took(&self, leases: impl IntoIterator<Item = (LeaseId, Timestamp)>) {
        if self.token.config.leases_max.is_some() {
            self.token.held().leases.extend(leases);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.token.config.leases_max.is_some() {
            self.token.held().reserved -= self.count.get();
        }
    }
}
