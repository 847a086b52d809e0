//! Request identifiers.

use std::fmt;

/// A random 128-bit identifier, shown as 32 lower-case hexadecimal digits.
///
/// It tells requests apart; it is no secret and must not be used as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id([u8; 16]);

impl Id {
    /// A new identifier from the calling thread's generator.
    pub fn random() -> Self {
        Self(fastrand::u128(1..).to_be_bytes())
    }

    /// The identifier as 32 ASCII hexadecimal digits.
    pub fn to_hex(self) -> [u8; 32] {
        let mut hex = [0; 32];
        write_hex(u128::from_be_bytes(self.0), &mut hex);
        hex
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Writes the low digits of `value` into `out`, most significant first.
pub(crate) fn write_hex(value: u128, out: &mut [u8]) {
    for (place, digit) in out.iter_mut().rev().enumerate() {
        let nibble = (value >> (4 * place)) & 0xf;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_display_agree() {
        let id = Id(0x0123_4567_89ab_cdef_0000_0000_0000_00ff_u128.to_be_bytes());
        assert_eq!(id.to_string().as_bytes(), id.to_hex());
        assert_eq!(id.to_string(), "0123456789abcdef00000000000000ff");
    }
}
