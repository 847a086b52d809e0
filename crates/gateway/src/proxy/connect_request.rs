//! CONNECT: tunnels to services (RFC 9110, section 9.3.6), and WebSockets over HTTP/2 (RFC 8441).

use http::header::SEC_WEBSOCKET_KEY;
use http::request::Parts;
use http::{HeaderValue, Method, Version};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;

use super::answer::Failure;
use super::error_code::ErrorCode;
use super::upgrade::{Upgrade, fresh_key};
use crate::config::{self, UpgradeProtocol};

/// What a client asks for by CONNECT, and where it will say it.
#[derive(Debug)]
pub(super) struct ConnectRequest {
    /// The stream, in HTTP/2; in HTTP/1.1 it will be the whole connection.
    pub(super) stream: Option<OnUpgrade>,
    asks: Asks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// For a tunnel.
    Tunnel,
    /// For what GET and `Upgrade: websocket` ask for in HTTP/1.1.
    WebSocket,
}

impl ConnectRequest {
    /// Reads a CONNECT. One for a WebSocket becomes the GET that it stands for, with a key of our own: it goes by
    /// the routes that the same client would take in HTTP/1.1.
    ///
    /// # Errors
    /// The answer, when it asks for another protocol.
    pub(super) fn read(parts: &mut Parts) -> Result<Self, Failure> {
        let stream = parts.extensions.remove::<OnUpgrade>().filter(|_| parts.version == Version::HTTP_2);
        let asks = match parts.extensions.remove::<Protocol>() {
            None => Asks::Tunnel,
            Some(protocol) if protocol.as_str().eq_ignore_ascii_case("websocket") => {
                parts.method = Method::GET;
                parts.headers.insert(SEC_WEBSOCKET_KEY, fresh_key());
                Asks::WebSocket
            }
            Some(_) => {
                let detail = "of all protocols, HTTP/2 carries only WebSocket here";
                return Err(Failure::new(ErrorCode::NotImplemented, detail));
            }
        };
        Ok(Self { stream, asks })
    }

    /// What the service is to be asked for, now that a route is found: nothing for a tunnel, which is bytes alone.
    ///
    /// # Errors
    /// The answer, when the route does not allow it, or a tunnel is not asked for as it has to be.
    pub(super) fn upgrade(
        &self,
        parts: &Parts,
        has_content: bool,
        allowed: &[UpgradeProtocol],
        service: config::Protocol,
    ) -> Result<Option<Upgrade>, Failure> {
        match self.asks {
            Asks::Tunnel if has_content => Err(bad("CONNECT has no content")),
            Asks::Tunnel if !names_host_and_port(parts) => {
                Err(bad("CONNECT names a host and a port, and nothing else"))
            }
            Asks::Tunnel => Ok(None),
            // A service that is known to speak HTTP/2 has no other protocol to go on in.
            Asks::WebSocket if service == config::Protocol::Http2 => Err(no_websocket()),
            Asks::WebSocket => {
                let key = parts.headers.get(SEC_WEBSOCKET_KEY);
                let upgrade = key.and_then(|key| Upgrade::websocket(key, allowed));
                upgrade.ok_or_else(no_websocket)?.of_known_version(parts).map(Some)
            }
        }
    }
}

fn bad(detail: &str) -> Failure {
    Failure::new(ErrorCode::BadRequest, detail)
}

/// The route takes a GET: it was found by one.
fn no_websocket() -> Failure {
    let failure = Failure::new(ErrorCode::MethodNotAllowed, "no WebSocket is opened here");
    Failure { allow: Some(HeaderValue::from_static("GET")), ..failure }
}

/// Whether the target is a host and a port that there can be, alone (RFC 9112, section 3.2.3).
fn names_host_and_port(parts: &Parts) -> bool {
    let alone = parts.uri.scheme().is_none() && parts.uri.path_and_query().is_none();
    alone && parts.uri.port_u16().is_some_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::SEC_WEBSOCKET_VERSION;

    use super::*;

    fn parts(target: &str) -> Parts {
        let request = Request::connect(target).version(Version::HTTP_2);
        request.body(()).expect("a request").into_parts().0
    }

    fn allowed(names: &[&str]) -> Vec<UpgradeProtocol> {
        let protocol = |name: &&str| serde_json::from_value((*name).into()).expect("a protocol");
        names.iter().map(protocol).collect()
    }

    fn status(answer: Result<Option<Upgrade>, Failure>) -> Result<bool, u16> {
        answer.map(|upgrade| upgrade.is_some()).map_err(|failure| failure.code.status().as_u16())
    }

    #[test]
    fn a_tunnel_is_asked_for_by_a_host_and_a_port_alone() {
        for (target, has_content, expected) in [
            ("db.example:5432", false, Ok(false)),
            ("[::1]:5432", false, Ok(false)),
            ("db.example:5432", true, Err(400)),
            ("db.example:0", false, Err(400)),
            ("db.example:65536", false, Err(400)),
            ("db.example:", false, Err(400)),
            ("db.example", false, Err(400)),
            ("/db.example:5432", false, Err(400)),
            ("http://db.example:5432/", false, Err(400)),
        ] {
            let mut parts = parts(target);
            let asked = ConnectRequest::read(&mut parts).expect("a tunnel");
            assert_eq!(parts.method, Method::CONNECT);
            let answer =
                asked.upgrade(&parts, has_content, &allowed(&["websocket"]), config::Protocol::Http2);
            assert_eq!(status(answer), expected, "{target}");
        }
    }

    #[test]
    fn a_websocket_is_asked_for_as_by_http1() {
        for (name, names, service, expected) in [
            ("websocket", &["chat", "websocket"][..], config::Protocol::Http1, Ok(true)),
            ("WebSocket", &["websocket"], config::Protocol::Negotiate, Ok(true)),
            ("websocket", &["chat"], config::Protocol::Http1, Err(405)),
            ("websocket", &[], config::Protocol::Http1, Err(405)),
            ("websocket", &["websocket"], config::Protocol::Http2, Err(405)),
        ] {
            let mut parts = parts("https://shop.example/chat");
            parts.extensions.insert(Protocol::from_static(name));
            parts.headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("the client's"));
            parts.headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            let asked = ConnectRequest::read(&mut parts).expect("a WebSocket");
            assert_eq!(parts.method, Method::GET);
            assert_eq!(parts.headers[SEC_WEBSOCKET_KEY].len(), 24, "a key of our own");
            let answer = asked.upgrade(&parts, false, &allowed(names), service);
            assert_eq!(status(answer), expected, "{name} {names:?}");
        }
    }

    #[test]
    fn no_other_protocol_is_known() {
        for name in ["connect-udp", "webtransport", "chat"] {
            let mut parts = parts("https://shop.example/chat");
            parts.extensions.insert(Protocol::from_static(name));
            let refused = ConnectRequest::read(&mut parts).expect_err("it is not known");
            assert_eq!(refused.code, ErrorCode::NotImplemented, "{name}");
        }
    }
}
