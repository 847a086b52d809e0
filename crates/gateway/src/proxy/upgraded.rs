//! An exchange whose two sides go on in something else than HTTP.

use bytes::Bytes;
use http::header::SEC_WEBSOCKET_ACCEPT;
use http::response::Parts;
use http::{Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use intertie_core::failure::Class;
use intertie_resilience::MonotonicClock;

use super::attempt::Attempt;
use super::body::ResponseBody;
use super::client_stream::ClientStream;
use super::exchange::Exchange;
use super::headers::{self, Present};
use super::pool::Connection;
use super::tunnel::{End, carry};
use super::upgrade::Upgrade;
use crate::stats::UpgradeEnd;

/// What a service has granted, before its client is told.
pub(super) struct Granted {
    /// The head that says so: the service's, or one of our own for a tunnel.
    head: Parts,
    /// The protocol that it was asked for; none for a tunnel.
    upgrade: Option<Box<Upgrade>>,
    service: ServiceSide,
    attempt: Option<(Attempt, Class)>,
    /// The client's stream, if it is one of HTTP/2.
    stream: Option<OnUpgrade>,
}

impl Granted {
    /// A switch to `upgrade`.
    pub(super) fn switch(
        answer: Response<Incoming>,
        connection: Connection,
        upgrade: Box<Upgrade>,
        attempt: Option<(Attempt, Class)>,
        stream: Option<OnUpgrade>,
    ) -> Self {
        let (head, service) = (answer.into_parts().0, ServiceSide::Switched(connection));
        Self { head, upgrade: Some(upgrade), service, attempt, stream }
    }

    /// A tunnel over `connection`, which has carried nothing yet.
    pub(super) fn tunnel(connection: Box<End>, attempt: (Attempt, Class), stream: Option<OnUpgrade>) -> Self {
        let (head, service) = (Response::new(()).into_parts().0, ServiceSide::Connected(connection));
        Self { head, upgrade: None, service, attempt: Some(attempt), stream }
    }
}

/// An exchange that lasts as long as its tunnel: it keeps its place in the bulkhead and at the endpoint. The
/// endpoint is judged by the switch, which ends the deadline and the timeout of the attempt too.
#[derive(Debug)]
pub(super) struct Upgraded {
    exchange: Exchange,
    attempt: Option<Attempt>,
    service: ServiceSide,
}

#[derive(Debug)]
enum ServiceSide {
    Switched(Connection),
    Connected(Box<End>),
}

impl Upgraded {
    /// Has the client's side carry what is granted, as soon as that is written; what is written.
    pub(super) fn open(mut exchange: Exchange, granted: Granted) -> Response<ResponseBody> {
        let Granted { head: mut parts, upgrade, service, attempt, stream } = granted;
        if let Some(upgrade) = upgrade {
            let present = Present::among(&parts.headers);
            headers::remove_hop_by_hop(&mut parts.headers, present);
            if stream.is_some() {
                parts.status = StatusCode::OK;
                parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
            } else {
                upgrade.write(&mut parts.headers);
            }
            exchange.worker.signature.write_via_answer(&mut parts.headers, parts.version);
        }
        exchange.sign(&mut parts);
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        let now = MonotonicClock::now();
        let attempt = attempt.map(|(mut attempt, class)| {
            attempt.judge(class, None, now, &exchange.worker.events);
            attempt
        });
        exchange.upgraded(parts.status, now);
        let client = exchange.client.clone();
        let upgraded = Box::new(Self { exchange, attempt, service });
        match stream {
            None => client.upgrade(upgraded),
            Some(stream) => upgraded.carry_on(stream),
        }
        Response::from_parts(parts, ResponseBody::Own { bytes: Bytes::new(), _delivery: None })
    }

    /// Carries bytes both ways on a stream of the client's connection, once that is answered.
    fn carry_on(self: Box<Self>, stream: OnUpgrade) {
        // Before the request is over for which the stream was there.
        let under_way = self.exchange.client.begin_stream();
        tokio::task::spawn_local(async move {
            // Otherwise the client has gone, and what is dropped here says so.
            if let Ok(stream) = stream.await {
                self.carry(End::new(ClientStream::new(stream, under_way), Bytes::new())).await;
            }
        });
    }

    /// Carries bytes both ways until the tunnel ends.
    pub(super) async fn carry(self: Box<Self>, client: End) {
        let Self { mut exchange, attempt, service } = *self;
        let Some(route) = exchange.route.clone() else { return };
        let idle_max = route.settings.upgrade_idle_timeout;
        let buffer = exchange.worker.client_limits.upgrade_buffer.bytes() as usize;
        let stats = &route.stats.upgrades;
        let service = match service {
            ServiceSide::Switched(connection) => connection.into_end().await,
            ServiceSide::Connected(connection) => Some(connection),
        };
        let how = match service {
            None => UpgradeEnd::ServiceBrokeOff,
            Some(service) => {
                carry(client, *service, buffer, idle_max, |way, bytes| stats.pass(way, bytes)).await
            }
        };
        exchange.upgrade_ended(how);
        drop(attempt);
    }
}
