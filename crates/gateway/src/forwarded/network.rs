use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// An address, `"10.0.0.1"` or `"::1"`, or all with the same first bits, `"10.0.0.0/8"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `address` is in it. An IPv4 address that is written as an IPv6 one, as listeners for both show
    /// it, counts as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= self.prefix.into()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= self.prefix.into()
            }
            _ => false,
        }
    }

    /// The address with all bits behind the prefix cleared.
    fn first(address: IpAddr, prefix: u8) -> IpAddr {
        match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        }
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let no_address = || ParseNetworkError::NoAddress(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| no_address())?;
        let address = written.to_canonical();
        if address != written && prefix.is_some() {
            return Err(ParseNetworkError::Mapped(text.to_owned()));
        }
        let most = if address.is_ipv4() { 32 } else { 128 };
        let Some(prefix) = prefix else { return Ok(Self { address, prefix: most }) };
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = if digits { prefix.parse::<u8>().ok() } else { None };
        let prefix = prefix
            .filter(|prefix| *prefix <= most)
            .ok_or_else(|| ParseNetworkError::Prefix { text: text.to_owned(), most })?;
        let first = Self::first(address, prefix);
        if first != address {
            return Err(ParseNetworkError::BitsBehind {
                text: text.to_owned(),
                meant: Self { address: first, prefix },
            });
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.prefix == if self.address.is_ipv4() { 32 } else { 128 };
        match whole {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

/// Why a text is neither an address nor a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseNetworkError {
    /// What stands before the slash is no address.
    NoAddress(String),
    /// The length of the prefix is no number, or too large.
    Prefix {
        /// The text.
        text: String,
        /// The longest prefix of such an address.
        most: u8,
    },
    /// The address says more than its prefix.
    BitsBehind {
        /// The text.
        text: String,
        /// What it may have been meant to be.
        meant: Network,
    },
    /// A prefix of IPv4 in the form of IPv6.
    Mapped(String),
}

impl fmt::Display for ParseNetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress(text) => {
                write!(f, "`{text}` is no address such as \"10.0.0.1\" and no prefix such as \"10.0.0.0/8\"")
            }
            Self::Prefix { text, most } => {
                write!(f, "the prefix of `{text}` is no number from 0 to {most}")
            }
            Self::BitsBehind { text, meant } => {
                write!(f, "`{text}` has bits behind its prefix; did you mean `{meant}`?")
            }
            Self::Mapped(text) => {
                write!(f, "`{text}` is a prefix of IPv4 in the form of IPv6; write it as \"10.0.0.0/8\"")
            }
        }
    }
}

impl std::error::Error for ParseNetworkError {}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Network {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["10.0.0.0/8", "192.0.2.7", "::1"] })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn wrong_ones_say_what_is_wrong() {
        for (text, words) in [
            ("localhost", "`localhost` is no address such as \"10.0.0.1\""),
            ("10.0.0.0/33", "no number from 0 to 32"),
            ("::/129", "no number from 0 to 128"),
            ("10.0.0.0/+8", "no number from 0 to 32"),
            ("10.0.0.0/", "no number from 0 to 32"),
            ("10.0.0.1/8", "did you mean `10.0.0.0/8`?"),
            ("2001:db8::1/32", "did you mean `2001:db8::/32`?"),
            ("::ffff:10.0.0.0/104", "a prefix of IPv4 in the form of IPv6"),
            ("10.0.0.0:80", "is no address"),
            ("", "`` is no address"),
        ] {
            let error = text.parse::<Network>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_is_itself_in_both_forms() {
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");
        assert!(network("10.0.0.0/8").contains(mapped));
        assert!(network("::ffff:10.0.0.1").contains([10, 0, 0, 1].into()));
        assert!(!network("::/0").contains(mapped), "that is IPv4");
        assert!(network("0.0.0.0/0").contains([255, 0, 0, 1].into()));
        assert!(!network("0.0.0.0/0").contains("::1".parse().expect("an address")));
    }

    proptest! {
        #[test]
        fn a_prefix_covers_what_begins_with_it(own: u32, other: u32, prefix in 0_u8..=32) {
            let bits = |bits: u32| format!("{bits:032b}")[..prefix.into()].to_owned();
            let network = Network { address: Network::first(IpAddr::V4(own.into()), prefix), prefix };
            prop_assert_eq!(network.contains(IpAddr::V4(other.into())), bits(own) == bits(other));
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }

        #[test]
        fn a_prefix_of_ipv6_too(own: u128, flip in 0_u32..128, prefix in 0_u8..=128) {
            // An address of the other family in disguise would be none of these.
            prop_assume!(own >> 64 != 0 && (own ^ (1 << flip)) >> 64 != 0);
            let network = Network { address: Network::first(IpAddr::V6(own.into()), prefix), prefix };
            let other = own ^ (1 << flip);
            let differs_within = 127 - flip < prefix.into();
            prop_assert_eq!(network.contains(IpAddr::V6(other.into())), !differs_within);
        }

        #[test]
        fn any_text_is_read(text in ".*") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }
    }
}
