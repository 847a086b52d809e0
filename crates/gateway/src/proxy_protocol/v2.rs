use std::net::IpAddr;

use super::Refusal;

/// What a header begins with.
pub(crate) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes of a header before its addresses.
pub(crate) const HEAD_BYTES: usize = 16;

/// What a header's first bytes say of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    family: Option<Family>,
    /// Bytes that follow, addresses and all else.
    pub(crate) length: usize,
}

/// The kinds of addresses that say whom a connection is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Head {
    /// The bytes of the two addresses and ports.
    pub(crate) fn addresses_length(self) -> usize {
        match self.family {
            None => 0,
            Some(Family::V4) => 12,
            Some(Family::V6) => 36,
        }
    }
}

/// Reads the bytes before the addresses.
pub(crate) fn v2_head(bytes: &[u8; HEAD_BYTES]) -> Result<Head, Refusal> {
    let [signature @ .., command, family, high, low] = bytes;
    if signature != SIGNATURE {
        return Err(Refusal::Missing);
    }
    // The connection of the proxy itself (LOCAL), one that it does not know (UNSPEC), a local socket or
    // datagrams: it is from the proxy then.
    let known = match (command, family) {
        (0x21, 0x11) => Some(Family::V4),
        (0x21, 0x21) => Some(Family::V6),
        (0x20, _) | (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => None,
        _ => return Err(Refusal::Malformed),
    };
    let head = Head { family: known, length: usize::from(u16::from_be_bytes([*high, *low])) };
    if head.length < head.addresses_length() { Err(Refusal::Malformed) } else { Ok(head) }
}

/// Whom the addresses behind `head` say that the connection is from. Whatever follows them is of no interest.
pub(crate) fn v2_source(head: Head, addresses: &[u8]) -> Option<IpAddr> {
    let address = match head.family? {
        Family::V4 => IpAddr::from(*addresses.first_chunk::<4>()?),
        Family::V6 => IpAddr::from(*addresses.first_chunk::<16>()?),
    };
    Some(address.to_canonical())
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

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: [u8; HEAD_BYTES], rest in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut signed = bytes;
            signed[..12].copy_from_slice(SIGNATURE);
            for bytes in [bytes, signed] {
                if let Ok(head) = v2_head(&bytes) {
                    let source = v2_source(head, &rest);
                    prop_assert!(source.is_none() || head.addresses_length() > 0);
                }
            }
        }

        #[test]
        fn the_first_address_is_the_source(from: [u8; 16], to: [u8; 20], four: [u8; 4]) {
            let six = v2_head(&head(0x21, 0x21, 36)).expect("a head");
            let address = v2_source(six, &[&from[..], &to].concat());
            prop_assert_eq!(address, Some(IpAddr::from(from).to_canonical()));
            let head = v2_head(&head(0x21, 0x11, 12)).expect("a head");
            prop_assert_eq!(v2_source(head, &[&four[..], &to].concat()), Some(IpAddr::from(four)));
        }
    }
}
