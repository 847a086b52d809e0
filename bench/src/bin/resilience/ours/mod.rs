//! Ours, one adapter for each policy.

pub mod alone;
pub mod bulkhead;
pub mod circuit_breaker;
pub mod pipeline;
pub mod pool;
pub mod rate_limiter;
pub mod retry;
pub mod timeout;
