use std::num::NonZeroU32;

/// What puts records of one key into one partition: the same on every machine, in every version.
///
/// FNV-1a of 64 bits over the key in UTF-8, modulo the number of partitions. Who knows a key and the number can tell
/// where its records are, in any language. A topic that grows moves keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(u64);

impl KeyHash {
    /// That of `key`.
    pub fn of(key: &str) -> Self {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(key.bytes().fold(0xcbf2_9ce4_8422_2325, step))
    }

    /// The partition, of so many.
    pub fn partition(self, partitions: NonZeroU32) -> u32 {
        u32::try_from(self.0 % u64::from(partitions.get())).expect("what is left is below the divisor")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_where_it_was_in_every_version() {
        // Of the algorithm's authors.
        for (key, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(KeyHash::of(key), KeyHash(hash), "{key:?}");
        }
    }

    #[test]
    fn keys_are_spread_evenly() {
        for partitions in [2, 3, 8, 12, 100] {
            let partitions = NonZeroU32::new(partitions).expect("not zero");
            let mut counts = vec![0; partitions.get() as usize];
            for number in 0..10_000 {
                counts[KeyHash::of(&format!("order-{number}")).partition(partitions) as usize] += 1;
            }
            let fair = 10_000 / partitions.get();
            assert!(counts.iter().all(|count| fair / 2 < *count && *count < fair * 2), "{counts:?}");
        }
    }
}
