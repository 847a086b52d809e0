//! What the gateway alone may say of a request.

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderName, HeaderValue, TE};

use super::{INTERTIE_CLIENT_IDENTITY, Present, REQUEST_ID};
use crate::forwarded::Origin;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// A correlation id longer than this is replaced: it would be copied to every hop and log line.
const CORRELATION_ID_BYTES_MAX: usize = 128;

/// What the gateway knows of a request when it passes it on.
#[derive(Debug)]
pub(in crate::proxy) struct Passage<'a> {
    pub(in crate::proxy) client: HeaderValue,
    pub(in crate::proxy) host: HeaderValue,
    pub(in crate::proxy) scheme: &'static str,
    pub(in crate::proxy) request_id: &'a HeaderValue,
    pub(in crate::proxy) accepts_trailers: bool,
}

impl Passage<'_> {
    /// Passes on what a trusted proxy tells of the client's own request.
    pub(in crate::proxy) fn believe(&mut self, origin: &Origin) {
        if let Ok(client) = HeaderValue::try_from(&origin.forwarded_for) {
            self.client = client;
        }
        if let Some(host) = origin.host.as_ref().and_then(|host| HeaderValue::try_from(host).ok()) {
            self.host = host;
        }
        self.scheme = origin.scheme.unwrap_or(self.scheme);
    }
}

/// Writes the headers that a service gets from the gateway, besides its `Host`. The client's own
/// `X-Forwarded-*` and `Forwarded` are replaced: anyone can write them.
pub(in crate::proxy) fn write_passage(headers: &mut HeaderMap, present: Present, passage: Passage<'_>) {
    if present.any(Present::FORWARDED) {
        remove(headers, Present::FORWARDED);
    }
    headers.insert(&X_FORWARDED_FOR, passage.client);
    headers.insert(&X_FORWARDED_HOST, passage.host);
    headers.insert(&X_FORWARDED_PROTO, HeaderValue::from_static(passage.scheme));
    headers.insert(&REQUEST_ID, passage.request_id.clone());
    let correlated = present.any(Present::CORRELATION_ID)
        && headers
            .get(&CORRELATION_ID)
            .is_some_and(|id| !id.is_empty() && id.len() <= CORRELATION_ID_BYTES_MAX && id.to_str().is_ok());
    if !correlated {
        headers.insert(&CORRELATION_ID, passage.request_id.clone());
    }
    if passage.accepts_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Replaces the identity that a client claims by the one that its certificate proves, before a route or a
/// limiter decides by it.
pub(in crate::proxy) fn write_identity(
    headers: &mut HeaderMap,
    present: Present,
    proved: Option<&HeaderValue>,
) {
    if present.any(Present::CLIENT_IDENTITY) {
        remove(headers, Present::CLIENT_IDENTITY);
    }
    if let Some(identity) = proved {
        headers.insert(&INTERTIE_CLIENT_IDENTITY, identity.clone());
    }
}

/// Removes from a client's trailers what only the gateway may say: many services take them for headers.
pub(in crate::proxy) fn clean_trailers(trailers: &mut HeaderMap) {
    remove(trailers, Present(Present::FORWARDED.0 | Present::CLIENT_IDENTITY.0));
}

fn remove(headers: &mut HeaderMap, which: Present) {
    let foreign = |name: &&HeaderName| Present::of(name.as_str()).any(which);
    let foreign: Vec<_> = headers.keys().filter(foreign).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
}

/// An address as `X-Forwarded-For` says it.
pub(in crate::proxy) fn address_value(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::headers::headers;

    #[test]
    fn what_anyone_can_write_is_replaced() {
        let mut map = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x_forwarded-for", "6.6.6.6"),
            ("x-correlation-id", "order-7"),
        ]);
        let (client, id) = (address_value([127, 0, 0, 1].into()), HeaderValue::from_static("id"));
        let host = HeaderValue::from_static("shop");
        let passage = Passage { client, host, request_id: &id, scheme: "https", accepts_trailers: false };
        let present = Present::among(&map);
        write_passage(&mut map, present, passage);
        assert_eq!(map["x-forwarded-for"], "127.0.0.1");
        assert_eq!(map["x-forwarded-proto"], "https");
        for name in ["forwarded", "x_forwarded-for"] {
            assert!(!map.contains_key(name), "{name}");
        }
        assert_eq!(map["x-correlation-id"], "order-7");
    }

    #[test]
    fn a_claimed_identity_gives_way_to_the_proved_one() {
        let claims = [
            ("intertie-client-identity", "dns:root"),
            ("intertie_client_identity", "dns:root"),
            ("intertie-client-identity-2", "mine"),
        ];
        for proved in [None, Some(HeaderValue::from_static("dns:orders"))] {
            let mut map = headers(&claims);
            let present = Present::among(&map);
            write_identity(&mut map, present, proved.as_ref());
            assert_eq!(map.get("intertie-client-identity"), proved.as_ref());
            assert_eq!(map.get("intertie_client_identity"), None);
            assert_eq!(map["intertie-client-identity-2"], "mine");
            clean_trailers(&mut map);
            assert_eq!(map.len(), 1, "{map:?}");
        }
    }
}
