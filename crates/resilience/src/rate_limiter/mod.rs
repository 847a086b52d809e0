//! Admits at most so many calls per time, for all callers together or for each of them.
//!
//! | [`Algorithm`] | admits | choose it when |
//! |---|---|---|
//! | `TokenBucket` | `burst` at once, then one each `period / amount` | traffic may come in bursts; the default |
//! | `SlidingWindow` | `amount` in any window, as estimated from two counters | a contract says "n per window" |
//! | `SlidingWindowLog` | `amount` in any window, exactly | the same, the amount is small, and no estimate will do |
//! | `FixedWindow` | `amount` in each period, up to twice that around its edge | a provider counts that way too |
//!
//! | verb | when permits are missing |
//! |---|---|
//! | [`RateLimiter::try_acquire`] | rejects at once |
//! | [`RateLimiter::acquire`] | waits its turn, if it comes soon enough |
//! | [`RateLimiter::try_acquire_all`] | takes from several limiters, or from none |
//!
//! [`lease`] is the arithmetic by which several nodes keep one limit.
//!
//! A rejected caller learns when the same call can succeed. A call whose cost can never fit is told so at
//! once instead of being sent away to wait for ever.
//!
//! # Cost
//! A token bucket that all callers share, key `()`, is one atomic word; where many threads meet there,
//! `lease` lets each take several permits at a time, at a stated price in exactness. With keys, a call
//! takes the lock of one of up to 256 shards and reads one cache line of its table. The window algorithms
//! keep their state for all callers behind a lock.

mod callers;
mod claim;
mod config;
mod engine;
mod fixed_window;
mod keyed;
mod layer;
pub mod lease;
mod leased;
mod limit;
mod limit_by;
#[cfg(all(test, intertie_loom))]
mod loom;
mod quotas;
mod sliding_window;
mod sliding_window_log;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod token_bucket;
mod wait;

pub use claim::Claim;
pub use config::{Algorithm, Count, QuotaOverride, RateLimiterConfig};
pub use layer::{Quota, RateLimiter, Stats};
pub use limit_by::{LimitBy, ParseLimitByError};
pub use quotas::Quotas;
pub use status::Status;
