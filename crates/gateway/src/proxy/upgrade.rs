//! Whether a request asks for another protocol, and whether an answer grants it (RFC 9110, section 7.8).

use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::answer::Failure;
use super::error_code::ErrorCode;
use crate::config::UpgradeProtocol;
use crate::field::{only, words};

/// A switch to another protocol that a client asks for and its route allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upgrade {
    /// The protocol as the client spells it.
    protocol: HeaderValue,
    /// For WebSockets: what shows that the service answers this very handshake (RFC 6455, section 4.2.2).
    accept: Option<[u8; ACCEPT_LENGTH]>,
}

impl Upgrade {
    /// The first protocol that a request without a body asks for and that is among `allowed`. Any other
    /// request goes on as a plain one.
    pub(super) fn asked(parts: &Parts, allowed: &[UpgradeProtocol]) -> Option<Self> {
        if parts.version != Version::HTTP_11 || !is_named(&parts.headers, &CONNECTION, "upgrade") {
            return None;
        }
        let is_allowed =
            |name: &&[u8]| allowed.iter().any(|allowed| allowed.name().as_bytes().eq_ignore_ascii_case(name));
        let protocol = words(&parts.headers, &UPGRADE).find(is_allowed)?;
        let accept = if protocol.eq_ignore_ascii_case(WEBSOCKET.as_bytes()) {
            let key = only(&parts.headers, &SEC_WEBSOCKET_KEY).filter(|_| parts.method == Method::GET)?;
            Some(accept_of(key.as_bytes()))
        } else {
            None
        };
        Some(Self { protocol: HeaderValue::from_bytes(protocol).ok()?, accept })
    }

    /// A WebSocket whose handshake begins here with `key`, if it is among `allowed`.
    pub(super) fn websocket(key: &HeaderValue, allowed: &[UpgradeProtocol]) -> Option<Self> {
        let is_allowed = allowed.iter().any(|protocol| protocol.name() == WEBSOCKET);
        let protocol = HeaderValue::from_static(WEBSOCKET);
        is_allowed.then(|| Self { protocol, accept: Some(accept_of(key.as_bytes())) })
    }

    /// Whether a WebSocket is asked for in the version that there is (RFC 6455, section 4.2.2).
    ///
    /// # Errors
    /// The answer, which names that version.
    pub(super) fn of_known_version(self, parts: &Parts) -> Result<Self, Failure> {
        let named = only(&parts.headers, &SEC_WEBSOCKET_VERSION);
        if self.accept.is_none() || named.is_some_and(|version| version == WEBSOCKET_VERSION) {
            return Ok(self);
        }
        // An answer in HTTP/2 has no `Upgrade`, without which there is no 426 (RFC 9110, section 15.5.22).
        let code = match parts.version {
            Version::HTTP_2 => ErrorCode::BadRequest,
            _ => ErrorCode::UpgradeRequired,
        };
        let failure = Failure::new(code, "of all versions of WebSocket there is only 13 here");
        Err(Failure { tells_websocket_version: true, ..failure })
    }

    /// Says in a request, or in the answer that grants it, which protocol it is about.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }

    /// Whether the headers of a 101 grant what was asked for, and nothing else.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn granted(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let mut protocols = words(headers, &UPGRADE);
        let asked = self.protocol.as_bytes();
        if !protocols.next().is_some_and(|protocol| protocol.eq_ignore_ascii_case(asked))
            || protocols.next().is_some()
        {
            return Err("to another protocol than the client asked for");
        }
        if !is_named(headers, &CONNECTION, "upgrade") {
            return Err("without `Connection: upgrade`");
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return Err("with a length");
        }
        match &self.accept {
            Some(accept)
                if only(headers, &SEC_WEBSOCKET_ACCEPT).is_none_or(|value| value.as_bytes() != accept) =>
            {
                Err("with a Sec-WebSocket-Accept that is not the answer to the client's key")
            }
            _ => Ok(()),
        }
    }
}

const WEBSOCKET: &str = "websocket";

/// The only version that was ever more than a draft.
pub(super) const WEBSOCKET_VERSION: &str = "13";

/// Says in an answer that a WebSocket is what can be asked for.
pub(super) fn write_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

/// What a client asks a service to answer in a WebSocket's handshake (RFC 6455, section 4.1).
pub(super) fn fresh_key() -> HeaderValue {
    let key = base64::<24>(&fastrand::u128(..).to_be_bytes());
    HeaderValue::from_bytes(&key).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn is_named(headers: &HeaderMap, name: &HeaderName, option: &str) -> bool {
    words(headers, name).any(|word| word.eq_ignore_ascii_case(option.as_bytes()))
}

/// SHA-1's 20 bytes in Base64.
const ACCEPT_LENGTH: usize = 28;

/// What a service that speaks WebSocket answers to `key` (RFC 6455, section 4.2.2).
fn accept_of(key: &[u8]) -> [u8; ACCEPT_LENGTH] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(context.finish().as_ref())
}

fn base64<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = [b'='; LENGTH];
    for (three, four) in bytes.chunks(3).zip(text.chunks_mut(4)) {
        let bits =
            three.iter().enumerate().fold(0, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for (at, letter) in four.iter_mut().enumerate().take(three.len() + 1) {
            *letter = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    /// The example of RFC 6455, section 1.3.
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn headers(text: &str) -> HeaderMap {
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        lines.map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).fold(
            HeaderMap::new(),
            |mut headers, (name, value): (HeaderName, HeaderValue)| {
                headers.append(name, value);
                headers
            },
        )
    }

    fn asked(method: &str, version: Version, text: &str, allowed: &[&str]) -> Option<Upgrade> {
        let mut parts =
            Request::builder().method(method).version(version).body(()).expect("a request").into_parts().0;
        parts.headers = headers(text);
        let allowed: Vec<UpgradeProtocol> =
            allowed.iter().map(|name| serde_json::from_value((*name).into()).expect("a protocol")).collect();
        Upgrade::asked(&parts, &allowed)
    }

    fn websocket(connection: &str) -> String {
        format!("{connection}\nupgrade: websocket\nsec-websocket-key: {KEY}")
    }

    #[test]
    fn what_is_asked_for_must_be_allowed_and_said_twice() {
        let allowed = ["websocket", "irc/6.9"];
        let spelled = |text: &str| {
            let asked = asked("GET", Version::HTTP_11, text, &allowed)?;
            Some(asked.protocol.to_str().expect("ASCII").to_owned())
        };
        let key = format!("sec-websocket-key: {KEY}");
        for (text, protocol) in [
            (websocket("connection: upgrade"), Some("websocket")),
            (websocket("connection: keep-alive, Upgrade"), Some("websocket")),
            (websocket("connection: keep-alive\nconnection: UPGRADE"), Some("websocket")),
            (format!("connection: upgrade\nupgrade: WebSocket\n{key}"), Some("WebSocket")),
            ("connection: upgrade\nupgrade: IRC/6.9".to_owned(), Some("IRC/6.9")),
            (format!("connection: upgrade\nupgrade: h2c, websocket\n{key}"), Some("websocket")),
            (format!("connection: upgrade\nupgrade: irc/6.9\nupgrade: websocket\n{key}"), Some("irc/6.9")),
            (websocket("connection: keep-alive"), None),
            (websocket("x: y"), None),
            ("connection: upgrade\nupgrade: websocket".to_owned(), None),
            (format!("connection: upgrade\nupgrade: websocket\n{key}\n{key}"), None),
            ("connection: upgrade\nupgrade: h2c".to_owned(), None),
            ("connection: upgrade\nupgrade: irc".to_owned(), None),
            ("connection: upgrade".to_owned(), None),
        ] {
            assert_eq!(spelled(&text).as_deref(), protocol, "{text}");
        }
        let text = websocket("connection: upgrade");
        assert_eq!(asked("POST", Version::HTTP_11, &text, &allowed), None);
        assert_eq!(asked("GET", Version::HTTP_10, &text, &allowed), None);
        assert_eq!(asked("GET", Version::HTTP_2, &text, &allowed), None);
        assert_eq!(asked("GET", Version::HTTP_11, &text, &[]), None);
    }

    #[test]
    fn a_websocket_has_one_version() {
        let judged = |version, text: &str| {
            let mut parts = Request::builder().version(version).body(()).expect("a request").into_parts().0;
            parts.headers = headers(text);
            let websocket =
                Upgrade::websocket(&HeaderValue::from_static(KEY), &[UpgradeProtocol::websocket()]);
            let judged = websocket.expect("it is allowed").of_known_version(&parts);
            judged.map(|_| ()).map_err(|failure| (failure.code, failure.tells_websocket_version))
        };
        assert_eq!(judged(Version::HTTP_11, "sec-websocket-version: 13"), Ok(()));
        assert_eq!(judged(Version::HTTP_2, "sec-websocket-version: 13"), Ok(()));
        for wrong in
            ["8", "013", "13, 8", "", "13\nsec-websocket-version: 13", "13\nsec-websocket-version: 8"]
        {
            let text = format!("sec-websocket-version: {wrong}");
            assert_eq!(judged(Version::HTTP_11, &text), Err((ErrorCode::UpgradeRequired, true)), "{wrong}");
            assert_eq!(judged(Version::HTTP_2, &text), Err((ErrorCode::BadRequest, true)), "{wrong}");
        }
        assert_eq!(judged(Version::HTTP_11, "x: y"), Err((ErrorCode::UpgradeRequired, true)));
        let other = asked("GET", Version::HTTP_11, "connection: upgrade\nupgrade: chat", &["chat"]);
        let parts = Request::new(()).into_parts().0;
        assert!(other.expect("it is allowed").of_known_version(&parts).is_ok(), "another protocol has none");
    }

    #[test]
    fn only_the_answer_to_this_very_request_grants_it() {
        let asked = asked("GET", Version::HTTP_11, &websocket("connection: upgrade"), &["websocket"]);
        let asked = asked.expect("it is allowed");
        let good = format!("connection: Upgrade\nupgrade: WebSocket\nsec-websocket-accept: {ACCEPT}");
        assert_eq!(asked.granted(&headers(&good)), Ok(()));
        for wrong in [
            good.replace("WebSocket", "h2c"),
            good.replace("WebSocket", "websocket, h2c"),
            good.replace("upgrade: WebSocket\n", ""),
            good.replace("connection: Upgrade", "connection: close"),
            good.replace("connection: Upgrade\n", ""),
            good.replace("s3p", "S3p"),
            good.replace("sec-websocket-accept", "x"),
            format!("{good}\nsec-websocket-accept: {ACCEPT}"),
            format!("{good}\nupgrade: websocket"),
            format!("{good}\ncontent-length: 0"),
        ] {
            assert!(asked.granted(&headers(&wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_are_written_as_rfc_4648_says() {
        // Section 10, and the two bytes without a letter or digit.
        assert_eq!(&base64::<8>(b"foobar"), b"Zm9vYmFy");
        assert_eq!(&base64::<8>(b"fooba"), b"Zm9vYmE=");
        assert_eq!(&base64::<8>(b"foob"), b"Zm9vYg==");
        assert_eq!(&base64::<4>(&[0xfb, 0xff, 0xbf]), b"+/+/");
        assert_ne!(fresh_key(), fresh_key());
    }

    proptest! {
        /// Nothing that a client or a service writes there does harm, and what is granted was asked for.
        #[test]
        fn any_headers_are_judged(
            request in "(connection: ?(upgrade|close|, )*\n)?(upgrade: (websocket|h2c|a/b|,| ){0,4}\n){0,2}(sec-websocket-key: [ -~]{1,30}\n){0,2}",
            answer in "(connection: ?(upgrade|close|, )*\n)?(upgrade: (websocket|h2c|a/b|,| ){0,4}\n){0,2}",
        ) {
            if let Some(asked) = asked("GET", Version::HTTP_11, &request, &["a/b", "websocket"]) {
                prop_assert!(asked.protocol == "a/b" || asked.protocol == "websocket");
                if asked.granted(&headers(&answer)).is_ok() {
                    prop_assert!(asked.protocol == "a/b", "no answer here has the key's answer");
                    prop_assert!(answer.contains("upgrade: a/b") || answer.contains("a/b"));
                }
            }
        }
    }
}
