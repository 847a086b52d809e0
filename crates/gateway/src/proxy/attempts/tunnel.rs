//! One attempt to open a tunnel.

use std::pin::pin;

use http::StatusCode;
use intertie_core::failure::Class;
use intertie_resilience::MonotonicClock;
use intertie_resilience::deadline::AttemptLimit;

use super::{Ended, Last};
use crate::proxy::attempt::Attempt;
use crate::proxy::call::Call;
use crate::proxy::connect::open_for_tunnel;
use crate::proxy::exchange::Exchange;

impl Call {
    /// Connects to the endpoint. Not a byte of the client's goes there before it is told of the connection, so one
    /// that can not be had harms nobody and is tried again.
    pub(super) async fn tunnel(
        &mut self,
        exchange: &mut Exchange,
        mut attempt: Attempt,
        limit: AttemptLimit,
    ) -> Ended {
        self.connects = true;
        let opened = {
            let opening = pin!(open_for_tunnel(&exchange.worker, attempt.service(), attempt.endpoint()));
            match limit.at {
                None => Ok(opening.await),
                Some(at) => tokio::time::timeout_at(MonotonicClock::to_tokio(at), opening).await,
            }
        };
        let now = MonotonicClock::now();
        let missed = match opened {
            Ok(Ok(service)) => {
                let class = Class::Success;
                attempt.answered(now, class);
                exchange.attempt_ended(now, class, attempt.elapsed(now), Ok(StatusCode::OK));
                let last = Last::Connected(Box::new(service), attempt);
                return Ended { class, retry_after: None, unprocessed: true, last };
            }
            Ok(Err(error)) => self.not_sent(exchange, error.into()),
            Err(_) => self.timed_out(&attempt, limit),
        };
        missed.end(exchange, attempt, true, now)
    }
}
