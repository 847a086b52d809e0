use std::fmt;

/// The most that a store of records keeps, whoever sends the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Records of keys; `records_max`.
    pub records: u64,
    /// Bytes of the answers in them; `answers_bytes_max`.
    pub answer_bytes: u64,
}

/// What a store keeps now. What is over counts until the store forgets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Records.
    pub records: u64,
    /// Bytes of the answers in them.
    pub answer_bytes: u64,
}

/// A bound on what is kept is reached: the request was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The setting: `records_max` or `answers_bytes_max`.
    pub bound: &'static str,
    /// Its value.
    pub limit: u64,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too many requests are remembered: `{}` is {}", self.bound, self.limit)
    }
}

impl std::error::Error for Full {}

impl Bounds {
    /// Whether a request may begin for whose key there is no record yet. One that could not be remembered, or for whose
    /// answer there is no room at all, is not done in the first place.
    ///
    /// # Errors
    /// Names the bound that is reached.
    pub fn admit(self, usage: Usage) -> Result<(), Full> {
        if usage.records >= self.records {
            return Err(Full { bound: "records_max", limit: self.records });
        }
        if usage.answer_bytes >= self.answer_bytes {
            return Err(Full { bound: "answers_bytes_max", limit: self.answer_bytes });
        }
        Ok(())
    }

    /// Whether there is room for an answer of `bytes`. If not, the record is completed without it: the request was
    /// done, and a repetition is told so.
    pub fn has_room(self, usage: Usage, bytes: u64) -> bool {
        usage.answer_bytes.saturating_add(bytes) <= self.answer_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_bound_is_named_when_it_is_reached() {
        let bounds = Bounds { records: 2, answer_bytes: 10 };
        let usage = |records, answer_bytes| Usage { records, answer_bytes };
        assert_eq!(bounds.admit(usage(1, 9)), Ok(()));
        let records = bounds.admit(usage(2, 0)).expect_err("two records");
        assert_eq!(records.to_string(), "too many requests are remembered: `records_max` is 2");
        let bytes = bounds.admit(usage(0, 10)).expect_err("ten bytes");
        assert_eq!(bytes, Full { bound: "answers_bytes_max", limit: 10 });
        assert!(bounds.has_room(usage(0, 4), 6) && !bounds.has_room(usage(0, 4), 7));
        assert!(!bounds.has_room(usage(0, 4), u64::MAX));
    }

    proptest! {
        #[test]
        fn a_store_that_asks_never_keeps_more(
            answers in prop::collection::vec((0_u64..50, any::<bool>()), 0..100),
        ) {
            let bounds = Bounds { records: 8, answer_bytes: 100 };
            let mut usage = Usage::default();
            for (bytes, forgets) in answers {
                if forgets {
                    usage = Usage::default();
                }
                if bounds.admit(usage).is_ok() {
                    usage.records += 1;
                    usage.answer_bytes += if bounds.has_room(usage, bytes) { bytes } else { 0 };
                }
                prop_assert!(usage.records <= bounds.records && usage.answer_bytes <= bounds.answer_bytes);
            }
        }
    }
}
