use std::num::NonZeroU32;

/// What puts records of one key into one partition: the same on every machine, in every version.
///
/// FNV-1a of 64 bits over the key in UTF-8, then `fmix64` of MurmurHash3, modulo the number of partitions. Who knows a
/// key and the number can tell where its records are, in any language. A topic that grows moves keys.
///
/// FNV alone would not do: its lowest bit is the parity of the lowest bits of all bytes, and so is whatever an even
/// number of partitions leaves of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(u64);

impl KeyHash {
    /// That of `key`.
    pub fn of(key: &str) -> Self {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(mixed(key.bytes().fold(0xcbf2_9ce4_8422_2325, step)))
    }

    /// The partition, of so many.
    pub fn partition(self, partitions: NonZeroU32) -> u32 {
        u32::try_from(self.0 % u64::from(partitions.get())).expect("what is left is below the divisor")
    }
}

/// Has each bit depend on all bits: `fmix64` of MurmurHash3.
fn mixed(mut hash: u64) -> u64 {
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_where_it_was_in_every_version() {
        // Of the algorithms' authors.
        for (hash, expected) in [
            (0, 0),
            (1, 0xb456_bcfc_34c2_cb2c),
            (0xcbf2_9ce4_8422_2325, 0xefd0_1f60_ba99_2926),
            (u64::MAX, 0x64b5_720b_4b82_5f21),
        ] {
            assert_eq!(mixed(hash), expected, "{hash:x}");
        }
        for (key, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(KeyHash::of(key), KeyHash(mixed(hash)), "{key:?}");
        }
        for (key, places) in [("", [0, 6, 2, 42]), ("a", [1, 3, 11, 15]), ("foobar", [1, 3, 7, 75])] {
            let place =
                |partitions| KeyHash::of(key).partition(NonZeroU32::new(partitions).expect("not zero"));
            assert_eq!([2, 8, 12, 100].map(place), places, "{key:?}");
        }
    }

    #[test]
    fn keys_are_spread_evenly() {
        for partitions in [2, 3, 4, 8, 12, 100] {
            let partitions = NonZeroU32::new(partitions).expect("not zero");
            // Keys that say a number twice have an even number of each digit: what a hash makes of parities shows.
            for twice in [false, true] {
                let mut counts = vec![0; partitions.get() as usize];
                for number in 0..10_000 {
                    let key = if twice { format!("{number}/{number}") } else { format!("order-{number}") };
                    counts[KeyHash::of(&key).partition(partitions) as usize] += 1;
                }
                let fair = 10_000 / partitions.get();
                assert!(counts.iter().all(|count| fair / 2 < *count && *count < fair * 2), "{counts:?}");
            }
        }
    }
}
