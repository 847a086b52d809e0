//! Where an endpoint listens, and how large its share of the calls is.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One endpoint of a service, as a file declares it: `{ at = "127.0.0.1:7001", weight = 9 }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Where the endpoint listens: `"127.0.0.1:7001"`, `"[::1]:7001"` or `"orders.internal:7001"`.
    pub at: Address,
    /// The endpoint's share relative to its siblings: of weights 9 and 1, the first takes nine calls in ten.
    /// At least 1, which is also the default. `balance = "round_robin"` refuses weights that differ; every
    /// other way to balance honours them.
    #[serde(default = "weight_default")]
    pub weight: NonZeroU32,
}

fn weight_default() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl EndpointConfig {
    /// The endpoint at `at` with weight 1.
    pub fn new(at: Address) -> Self {
        Self { at, weight: weight_default() }
    }
}

/// The host and port of an endpoint, kept in one canonical spelling, so that equal addresses compare equal.
///
/// The host is an IPv4 address, an IPv6 address in brackets, or a DNS name (RFC 1123 labels, and `_`, which
/// service names use); the port is 1 to 65535. Names are lower-cased and IPv6 addresses written as RFC 5952
/// asks: `"[0::1]:80"` displays as `[::1]:80`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    text: Box<str>,
    port: u16,
    ip: Option<IpAddr>,
}

impl Address {
    /// The host without brackets, as a resolver takes it: `127.0.0.1`, `::1`, `orders.internal`.
    pub fn host(&self) -> &str {
        let host = self.text.rsplit_once(':').map_or(&*self.text, |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port, never zero.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as one text, as the `Host` header takes it: `127.0.0.1:7001`, `[::1]:7001`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address to connect to when the host is a literal IP address; `None` when it is a name to resolve.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |problem: &str| ParseAddressError(format!("`{text}` is no address: {problem}"));
        if text.contains("://") {
            return Err(refuse(
                "leave out the scheme and write host and port only, such as \"127.0.0.1:7001\"",
            ));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(refuse("the port is missing; write host and port, such as \"127.0.0.1:7001\""));
        };
        let port =
            parse_port(port).ok_or_else(|| refuse("after the last `:` stands a port from 1 to 65535"))?;
        let ip = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(bracketed) => {
                let ip = bracketed
                    .parse::<Ipv6Addr>()
                    .map_err(|_| refuse("no IPv6 address stands in the brackets"))?;
                Some(IpAddr::V6(ip))
            }
            None if host.contains(':') => {
                return Err(refuse("an IPv6 address stands in brackets, such as \"[::1]:7001\""));
            }
            // A resolver that is handed 127.0.0.256 may read it in one of the old octal or 32-bit spellings.
            None if ends_in_number(host) => {
                let ip = host.parse::<Ipv4Addr>().map_err(|_| refuse("the host is no IPv4 address"))?;
                Some(IpAddr::V4(ip))
            }
            None if is_dns_name(host) => None,
            None => return Err(refuse("the host is neither an IP address nor a DNS name")),
        };
        let text = match ip {
            Some(ip) => SocketAddr::new(ip, port).to_string(),
            None => format!("{}:{port}", host.to_ascii_lowercase()),
        };
        Ok(Self { text: text.into(), port, ip })
    }
}

/// Digits only: the standard parser would also take a sign.
fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

/// Whether the last label is a number, which only an IPv4 address may end in.
fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
}

/// At most 253 bytes in labels of 1 to 63; one dot at the end marks a name that no search domain completes.
fn is_dns_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = Address;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("host and port as text, such as \"127.0.0.1:7001\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Address, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for Address {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["127.0.0.1:7001", "[::1]:7001", "orders.internal:7001"] })
    }
}

/// The text was no address. Displays which part was wrong and what is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseAddressError(String);

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseAddressError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse().expect(text)
    }

    #[test]
    fn each_kind_of_host_is_read_into_its_parts() {
        for (text, host, port, socket) in [
            ("127.0.0.1:7001", "127.0.0.1", 7001, Some("127.0.0.1:7001")),
            ("[::1]:1", "::1", 1, Some("[::1]:1")),
            ("orders.internal:65535", "orders.internal", 65535, None),
            ("_http._tcp.orders:80", "_http._tcp.orders", 80, None),
            ("orders:80", "orders", 80, None),
            ("7up.example.:80", "7up.example.", 80, None),
        ] {
            let address = address(text);
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
            assert_eq!(address.socket_addr(), socket.map(|socket| socket.parse().expect(socket)), "{text}");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn spellings_of_one_address_are_equal() {
        assert_eq!(address("Orders.Internal:080"), address("orders.internal:80"));
        assert_eq!(address("[0:0::1]:80").as_str(), "[::1]:80");
    }

    #[test]
    fn a_refusal_says_which_part_is_wrong() {
        let long_label = format!("{}.example:80", "a".repeat(64));
        let longest_name = [63, 63, 63, 61].map(|length| "a".repeat(length)).join(".");
        assert_eq!(address(&format!("{longest_name}:80")).host().len(), 253);
        let long_name = format!("{longest_name}a:80");
        for (text, part) in [
            ("127.0.0.1", "port is missing"),
            ("", "port is missing"),
            ("http://127.0.0.1:80", "scheme"),
            ("127.0.0.1:0", "1 to 65535"),
            ("127.0.0.1:65536", "1 to 65535"),
            ("127.0.0.1:+80", "1 to 65535"),
            ("127.0.0.1:", "1 to 65535"),
            ("127.0.0.1:80/path", "1 to 65535"),
            ("::1:80", "brackets"),
            ("[127.0.0.1]:80", "in the brackets"),
            ("[::1%eth0]:80", "in the brackets"),
            ("127.0.0.256:80", "no IPv4"),
            ("127.0.0.01:80", "no IPv4"),
            ("127.1:80", "no IPv4"),
            (":80", "neither"),
            (".:80", "neither"),
            ("a..b:80", "neither"),
            ("-a:80", "neither"),
            ("a-:80", "neither"),
            ("a b:80", "neither"),
            ("bücher:80", "neither"),
            (&long_label, "neither"),
            (&long_name, "neither"),
        ] {
            let message = text.parse::<Address>().expect_err(text).to_string();
            assert!(message.contains(part) && message.contains(text), "{text}: {message}");
        }
    }

    #[test]
    fn an_endpoint_weighs_one_unless_it_says_otherwise() {
        let read = |json| serde_json::from_str::<EndpointConfig>(json);
        let plain = read(r#"{ "at": "127.0.0.1:7001" }"#).expect("weight has a default");
        assert_eq!(plain, EndpointConfig::new(address("127.0.0.1:7001")));
        assert_eq!(plain.weight.get(), 1);
        let heavy = read(r#"{ "at": "127.0.0.1:7001", "weight": 9 }"#).expect("valid");
        assert_eq!(heavy.weight.get(), 9);
    }

    #[test]
    fn an_endpoint_that_can_not_work_is_refused() {
        for (json, part) in [
            (r#"{ "at": "127.0.0.1:7001", "weight": 0 }"#, "nonzero"),
            (r#"{ "at": "127.0.0.1:7001", "wieght": 9 }"#, "wieght"),
            (r#"{ "at": "127.0.0.1" }"#, "port is missing"),
            (r#"{ "at": 7001 }"#, "host and port as text"),
            (r#"{ "weight": 1 }"#, "`at`"),
        ] {
            let message = serde_json::from_str::<EndpointConfig>(json).expect_err(json).to_string();
            assert!(message.contains(part), "{json}: {message}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_is_canonical_and_agrees_with_its_parts(text in "[a-zA-Z0-9:.\\[\\]-]{1,12}:[0-9]{1,5}") {
            if let Ok(address) = text.parse::<Address>() {
                let again: Address = address.as_str().parse().expect("canonical text parses");
                prop_assert_eq!(&again, &address);
                match address.socket_addr() {
                    Some(socket) => {
                        prop_assert_eq!(socket.to_string(), address.as_str());
                        prop_assert_eq!(socket.ip().to_string(), address.host());
                    }
                    None => prop_assert_eq!(format!("{}:{}", address.host(), address.port()), address.as_str()),
                }
            }
        }

        #[test]
        fn every_socket_address_is_an_address(ip in any::<IpAddr>(), port in 1_u16..) {
            let socket = SocketAddr::new(ip, port);
            prop_assert_eq!(address(&socket.to_string()).socket_addr(), Some(socket));
        }
    }
}
