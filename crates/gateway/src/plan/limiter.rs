use intertie_core::config::Invalid;
use intertie_resilience::RateLimiterConfig;
use intertie_resilience::rate_limiter::Quotas;

use crate::stats::Counter;

/// The quotas of a route, or of a `[limit.NAME]`, and what became of the calls that asked for them.
///
/// There is one for each route, and there may be tens of thousands of routes: no thread has counters of its own.
#[derive(Debug)]
pub struct Limiter {
    /// The quotas.
    pub quotas: Quotas,
    /// Calls that were let through, by this limiter and by all that were asked with it.
    pub admitted: Counter,
    /// Calls that this limiter rejected.
    pub rejected: Counter,
}

impl Limiter {
    /// Full quotas.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub(super) fn new(config: RateLimiterConfig) -> Result<Self, Invalid> {
        let quotas = Quotas::new(config)?;
        Ok(Self { quotas, admitted: Counter::default(), rejected: Counter::default() })
    }

    /// The options in force.
    pub fn config(&self) -> &RateLimiterConfig {
        self.quotas.config()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ten thousand routes take is mostly this.
    #[test]
    fn a_limiter_of_a_route_takes_less_than_a_kibibyte() {
        assert!(size_of::<Limiter>() <= 640, "{} bytes", size_of::<Limiter>());
    }
}
