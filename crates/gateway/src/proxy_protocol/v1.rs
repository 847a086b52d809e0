use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Refusal, Source};

/// The longest line, with its end.
pub(crate) const LINE_BYTES_MAX: usize = 107;

/// Whom a line without its end says that the connection is from.
pub(crate) fn v1_source(line: &[u8]) -> Result<Source, Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| Refusal::Malformed)?;
    let rest = line.strip_prefix("PROXY ").ok_or(Refusal::Malformed)?;
    // Whatever follows `UNKNOWN` is to be ignored.
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Ok(Source::Unknown);
    }
    let mut words = rest.split(' ');
    let mut word = || words.next().ok_or(Refusal::Malformed);
    let (family, from, to) = (word()?, word()?, word()?);
    let ports = [word()?, word()?];
    if words.next().is_some() || !ports.into_iter().all(is_port) {
        return Err(Refusal::Malformed);
    }
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Refusal::Malformed),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| Refusal::Malformed),
        _ => Err(Refusal::Malformed),
    };
    address(to)?;
    address(from).map(|from| Source::Client(from.to_canonical()))
}

/// A number up to 65535, without a sign or zeros before it.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
        && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Result<Source, Refusal> {
        v1_source(line.as_bytes())
    }

    #[test]
    fn lines_are_read_as_the_specification_shows_them() {
        let from = |address: &str| Ok(Source::Client(address.parse().expect("an address")));
        assert_eq!(read("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535"), from("255.255.255.255"));
        assert_eq!(read("PROXY TCP6 2001:db8::1 ::1 4711 443"), from("2001:db8::1"));
        assert_eq!(read("PROXY TCP6 ::ffff:192.0.2.1 ::1 4711 443"), from("192.0.2.1"));
        assert_eq!(read("PROXY UNKNOWN"), Ok(Source::Unknown));
        assert_eq!(read("PROXY UNKNOWN ffff:f...f:ffff whatever 65535 65535"), Ok(Source::Unknown));
    }

    #[test]
    fn anything_else_is_malformed() {
        for line in [
            "",
            "PROXY",
            "PROXY ",
            "PROXY TCP4",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 +2",
            "PROXY TCP4 1.1.1.1 2.2.2.2 01 2",
            "PROXY TCP4 1.1.1.1 2.2.2.2  1 2",
            "PROXY TCP4 ::1 ::1 1 2",
            "PROXY TCP4 1.1.1.1 x 1 2",
            "PROXY TCP4 01.1.1.1 2.2.2.2 1 2",
            "PROXY TCP6 1.1.1.1 2.2.2.2 1 2",
            "PROXY UDP4 1.1.1.1 2.2.2.2 1 2",
            "PROXY UNKNOWNS",
            "proxy TCP4 1.1.1.1 2.2.2.2 1 2",
            "GET / HTTP/1.1",
        ] {
            assert_eq!(read(line), Err(Refusal::Malformed), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(line in prop::collection::vec(any::<u8>(), 0..LINE_BYTES_MAX)) {
            let _ = v1_source(&line);
        }

        #[test]
        fn what_is_written_is_read(from: u128, to: u128, ports: (u16, u16)) {
            let (from, to) = (Ipv6Addr::from(from), Ipv6Addr::from(to));
            let line = format!("PROXY TCP6 {from} {to} {} {}", ports.0, ports.1);
            prop_assert!(line.len() + 2 <= LINE_BYTES_MAX);
            prop_assert_eq!(v1_source(line.as_bytes()), Ok(Source::Client(IpAddr::V6(from).to_canonical())));
        }
    }
}
