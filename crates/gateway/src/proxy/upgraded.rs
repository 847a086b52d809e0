//! An exchange whose connections go on in another protocol.

use bytes::Bytes;
use http::{Response, Version};
use intertie_resilience::MonotonicClock;

use super::attempt::Attempt;
use super::body::ResponseBody;
use super::exchange::{Answer, Exchange};
use super::headers::{self, Present};
use super::pool::Connection;
use super::tunnel::{End, carry};
use super::upgrade::Upgrade;
use crate::stats::UpgradeEnd;

/// An exchange that lasts as long as its tunnel: it keeps its place in the bulkhead and at the endpoint. The
/// endpoint is judged by the switch, which ends the deadline and the timeout of the attempt too.
#[derive(Debug)]
pub(super) struct Upgraded {
    exchange: Exchange,
    attempt: Option<Attempt>,
    connection: Connection,
}

impl Upgraded {
    /// Has the client's connection carry what `answer` grants, as soon as that is written; what is written.
    pub(super) fn open(mut exchange: Exchange, answer: Answer, upgrade: &Upgrade) -> Response<ResponseBody> {
        let Answer { response, connection, attempt, .. } = answer;
        let mut parts = response.into_parts().0;
        let present = Present::among(&parts.headers);
        headers::remove_hop_by_hop(&mut parts.headers, present);
        upgrade.write(&mut parts.headers);
        parts.headers.insert(&headers::REQUEST_ID, exchange.request_id.clone());
        exchange.worker.signature.write_via_answer(&mut parts.headers, parts.version);
        if let Some(route) = &exchange.route {
            exchange.told.write(&mut parts.headers, route.rate_limit_policy());
        }
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        let now = MonotonicClock::now();
        let attempt = attempt.map(|(mut attempt, class)| {
            attempt.judge(class, None, now, &exchange.worker.events);
            attempt
        });
        exchange.upgraded(now);
        let client = exchange.client.clone();
        client.upgrade(Box::new(Self { exchange, attempt, connection }));
        Response::from_parts(parts, ResponseBody::Own { bytes: Bytes::new(), _delivery: None })
    }

    /// Carries bytes both ways until the tunnel ends.
    pub(super) async fn carry(self: Box<Self>, client: End) {
        let Self { mut exchange, attempt, connection } = *self;
        let Some(route) = exchange.route.clone() else { return };
        let idle_max = route.settings.upgrade_idle_timeout;
        let buffer = exchange.worker.client_limits.upgrade_buffer.bytes() as usize;
        let stats = &route.stats.upgrades;
        let how = match connection.into_end().await {
            None => UpgradeEnd::ServiceBrokeOff,
            Some(service) => {
                carry(client, *service, buffer, idle_max, |way, bytes| stats.pass(way, bytes)).await
            }
        };
        exchange.upgrade_ended(how);
        drop(attempt);
    }
}
