use std::net::IpAddr;

use super::{Refusal, Source};

/// What a header begins with.
pub(crate) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes of a header before its addresses.
pub(crate) const HEAD_BYTES: usize = 16;

/// What a header's first bytes say of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    from: Announced,
    /// Bytes that follow, addresses and all else.
    pub(crate) length: usize,
}

/// What is said of whom a connection is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    V4,
    V6,
    Proxy,
    Unknown,
}

impl Head {
    /// The bytes of the two addresses and ports.
    pub(crate) fn addresses_length(self) -> usize {
        match self.from {
            Announced::V4 => 12,
            Announced::V6 => 36,
            Announced::Proxy | Announced::Unknown => 0,
        }
    }
}

/// Reads the bytes before the addresses.
pub(crate) fn v2_head(bytes: &[u8; HEAD_BYTES]) -> Result<Head, Refusal> {
    let [signature @ .., command, family, high, low] = bytes;
    if signature != SIGNATURE {
        return Err(Refusal::Missing);
    }
    let from = match (command, family) {
        (0x21, 0x11) => Announced::V4,
        (0x21, 0x21) => Announced::V6,
        // LOCAL: a connection of its own, as a check of health.
        (0x20, _) => Announced::Proxy,
        // UNSPEC, a local socket or datagrams: passed on for somebody, it does not say for whom.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Announced::Unknown,
        _ => return Err(Refusal::Malformed),
    };
    let head = Head { from, length: usize::from(u16::from_be_bytes([*high, *low])) };
    if head.length < head.addresses_length() { Err(Refusal::Malformed) } else { Ok(head) }
}

/// Whom the addresses behind `head` say that the connection is from. Whatever follows them is of no interest.
pub(crate) fn v2_source(head: Head, addresses: &[u8]) -> Source {
    let address = match head.from {
        Announced::V4 => addresses.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        Announced::V6 => addresses.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        Announced::Proxy => return Source::Proxy,
        Announced::Unknown => return Source::Unknown,
    };
    address.map_or(Source::Unknown, |address| Source::Client(address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(command: u8, family: u8, length: u16) -> [u8; HEAD_BYTES] {
        let [high, low] = length.to_be_bytes();
        let mut bytes = [0; HEAD_BYTES];
        bytes[..12].copy_from_slice(SIGNATURE);
        bytes[12..].copy_from_slice(&[command, family, high, low]);
        bytes
    }

    fn check(command: u8, family: u8, length: u16, expected: Result<(usize, usize), Refusal>) {
        let read = v2_head(&head(command, family, length));
        assert_eq!(
            read.map(|head| (head.addresses_length(), head.length)),
            expected,
            "{command:x} {family:x}"
        );
    }

    #[test]
    fn commands_and_families_are_read_as_the_specification_says() {
        check(0x21, 0x11, 12, Ok((12, 12)));
        check(0x21, 0x11, 65_535, Ok((12, 65_535)));
        check(0x21, 0x11, 11, Err(Refusal::Malformed));
        check(0x21, 0x21, 36, Ok((36, 36)));
        check(0x21, 0x21, 35, Err(Refusal::Malformed));
        for (command, family) in
            [(0x20, 0x00), (0x20, 0x11), (0x20, 0xff), (0x21, 0x00), (0x21, 0x31), (0x21, 0x12)]
        {
            check(command, family, 0, Ok((0, 0)));
            check(command, family, 216, Ok((0, 216)));
        }
        for (command, family) in
            [(0x22, 0x11), (0x2f, 0x00), (0x11, 0x11), (0x31, 0x11), (0x01, 0x11), (0x21, 0x13), (0x21, 0x41)]
        {
            check(command, family, 216, Err(Refusal::Malformed));
        }
        assert_eq!(v2_head(&[b'G'; HEAD_BYTES]), Err(Refusal::Missing));
    }

    #[test]
    fn a_proxy_speaks_for_itself_only_by_local() {
        for (command, family, expected) in [
            (0x20, 0x00, Source::Proxy),
            (0x20, 0x11, Source::Proxy),
            (0x21, 0x00, Source::Unknown),
            (0x21, 0x12, Source::Unknown),
            (0x21, 0x31, Source::Unknown),
        ] {
            let read = v2_head(&head(command, family, 36)).expect("a head");
            assert_eq!(v2_source(read, &[1; 36]), expected, "{command:x} {family:x}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: [u8; HEAD_BYTES], rest in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut signed = bytes;
            signed[..12].copy_from_slice(SIGNATURE);
            for bytes in [bytes, signed] {
                if let Ok(head) = v2_head(&bytes) {
                    let source = v2_source(head, &rest);
                    let is_client = matches!(source, Source::Client(_));
                    prop_assert!(!is_client || head.addresses_length() > 0);
                }
            }
        }

        #[test]
        fn the_first_address_is_the_source(from: [u8; 16], to: [u8; 20], four: [u8; 4]) {
            let six = v2_head(&head(0x21, 0x21, 36)).expect("a head");
            let address = v2_source(six, &[&from[..], &to].concat());
            prop_assert_eq!(address, Source::Client(IpAddr::from(from).to_canonical()));
            let head = v2_head(&head(0x21, 0x11, 12)).expect("a head");
            prop_assert_eq!(v2_source(head, &[&four[..], &to].concat()), Source::Client(IpAddr::from(four)));
        }
    }
}
