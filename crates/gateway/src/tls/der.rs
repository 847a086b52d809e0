//! The little of DER (ITU-T X.690) that reading a certificate takes. Pure: bytes in, parts out.

/// What is left to be read of a DER value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(&'a [u8]);

pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next value: its tag and its content. `None` when it is cut short, or longer than 4 GiB.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next value, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().and_then(|(found, content)| (found == tag).then_some(content))
    }

    /// The values inside of the next one, which must have this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.expect(tag).map(Self)
    }

    /// Passes over the next value if it has this tag.
    pub(super) fn skip_optional(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) { self.expect(tag).map(drop) } else { Some(()) }
    }
}

/// `2.5.4.3`, as people write the content of an OBJECT IDENTIFIER.
pub(super) fn dotted(identifier: &[u8]) -> Option<String> {
    let mut arcs = Vec::new();
    let mut arc: u64 = 0;
    for (position, byte) in identifier.iter().enumerate() {
        arc = arc.checked_mul(128)? | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.extend([first, arc - first * 40]);
            } else {
                arcs.push(arc);
            }
            arc = 0;
        } else if position + 1 == identifier.len() {
            return None;
        }
    }
    let arcs: Vec<_> = arcs.iter().map(u64::to_string).collect();
    (!arcs.is_empty()).then(|| arcs.join("."))
}

/// Seconds since 1970 of a `UTCTime` or `GeneralizedTime` in the one form that certificates allow
/// (RFC 5280, section 4.1.2.5): to the second, in UTC. A time before 1970 counts as 1970.
pub(super) fn unix_seconds(tag: u8, content: &[u8]) -> Option<u64> {
    let digits = content.strip_suffix(b"Z")?;
    let mut pairs = Vec::with_capacity(7);
    for pair in digits.chunks(2) {
        let [ten @ b'0'..=b'9', one @ b'0'..=b'9'] = pair else { return None };
        pairs.push(i64::from(ten - b'0') * 10 + i64::from(one - b'0'));
    }
    let (year, rest) = match (tag, pairs.as_slice()) {
        (UTC_TIME, [year, rest @ ..]) => (if *year < 50 { 2000 + year } else { 1900 + year }, rest),
        (GENERALIZED_TIME, [century, year, rest @ ..]) => (century * 100 + year, rest),
        _ => return None,
    };
    let [month @ 1..=12, day @ 1..=31, hour @ 0..=23, minute @ 0..=59, second @ 0..=60] = *rest else {
        return None;
    };
    let seconds = (days_since_1970(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// Days of the Gregorian calendar: years are counted from March, so that leap days come last
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_in_all_forms_and_cut_short() {
        let long = [&[0x04, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        assert_eq!(Der::new(&long).next(), Some((4, &[7; 256][..])));
        assert_eq!(Der::new(&long[..259]).next(), None);
        assert_eq!(Der::new(&[0x05, 0x00, 0xff]).next(), Some((5, &[][..])));
        assert_eq!(Der::new(&[0x04, 0x80, 0x00]).next(), None, "no length without end in DER");
        assert_eq!(Der::new(&[0x04, 0x85, 0, 0, 0, 0, 1, 9]).next(), None);
        assert_eq!(Der::new(&[0x30]).next(), None);
    }

    #[test]
    fn identifiers_are_dotted() {
        assert_eq!(dotted(&[0x55, 0x04, 0x03]).as_deref(), Some("2.5.4.3"));
        let domain_component = [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19];
        assert_eq!(dotted(&domain_component).as_deref(), Some("0.9.2342.19200300.100.1.25"));
        assert_eq!(dotted(&[0x88, 0x37, 0x03]).as_deref(), Some("2.999.3"));
        assert_eq!(dotted(&[0x55, 0x84]), None);
        assert_eq!(dotted(&[0xff; 20]), None);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "000229235959Z", Some(951_868_799)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (GENERALIZED_TIME, "21000228120000Z", Some(4_107_499_200)),
            (UTC_TIME, "991301000000Z", None),
            (UTC_TIME, "9912310000Z", None),
            (UTC_TIME, "991231000000", None),
            (UTC_TIME, "99123100000aZ", None),
            (0x0c, "700101000000Z", None),
        ] {
            assert_eq!(unix_seconds(tag, text.as_bytes()), seconds, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut der = Der::new(&bytes);
            let mut read = 0;
            while let Some((_, content)) = der.next() {
                read += content.len() + 2;
                prop_assert!(read <= bytes.len());
            }
            let _ = dotted(&bytes);
            let _ = unix_seconds(UTC_TIME, &bytes);
        }

        #[test]
        fn days_follow_each_other(days in -800_000_i64..3_000_000) {
            // Against a walk from month to month of the year that the day falls into.
            let mut year = 1970 + days.div_euclid(366);
            while days_since_1970(year + 1, 1, 1) <= days {
                year += 1;
            }
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let mut left = days - days_since_1970(year, 1, 1);
            let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            let mut month = 0;
            while left >= lengths[month] {
                left -= lengths[month];
                month += 1;
                prop_assert!(month < 12);
            }
            prop_assert_eq!(days_since_1970(year, month as i64 + 1, left + 1), days);
        }
    }
}
