use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::clock::Timestamp;

/// A moment that keeps the text it came in: RFC 3339, with the offset, digits and letters that its writer chose.
///
/// Two of them are equal when their texts are; [`Time::unix`] compares moments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Time {
    text: Box<str>,
    seconds: i64,
    nanos: u32,
}

/// The text is no time of RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseTimeError;

impl fmt::Display for ParseTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no time of RFC 3339, such as 2018-04-05T17:31:00Z")
    }
}

impl std::error::Error for ParseTimeError {}

impl Time {
    /// The text, as it came.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Seconds since 1970-01-01T00:00:00Z, negative before it, and the nanoseconds after them. Digits below a
    /// nanosecond are left out; a leap second is the second after it.
    pub fn unix(&self) -> (i64, u32) {
        (self.seconds, self.nanos)
    }

    /// The same as a [`Timestamp`]; `None` before 1970 and after July 2554, which a timestamp does not reach.
    pub fn timestamp(&self) -> Option<Timestamp> {
        let seconds = u64::try_from(self.seconds).ok()?.checked_mul(1_000_000_000)?;
        Some(Timestamp::from_unix_nanos(seconds.checked_add(self.nanos.into())?))
    }
}

/// Written in UTC with as many digits as the timestamp needs: none, three, six or nine.
impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        let unix = Duration::from_nanos(timestamp.as_unix_nanos());
        let (time, nanos) = (UNIX_EPOCH + unix, unix.subsec_nanos());
        let text = if nanos == 0 {
            humantime::format_rfc3339_seconds(time)
        } else if nanos.is_multiple_of(1_000_000) {
            humantime::format_rfc3339_millis(time)
        } else if nanos.is_multiple_of(1_000) {
            humantime::format_rfc3339_micros(time)
        } else {
            humantime::format_rfc3339_nanos(time)
        };
        Self { text: text.to_string().into(), seconds: unix.as_secs().cast_signed(), nanos }
    }
}

impl FromStr for Time {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        let (seconds, nanos) = parse(text.as_bytes()).ok_or(ParseTimeError)?;
        Ok(Self { text: text.into(), seconds, nanos })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// `YYYY-MM-DDThh:mm:ss`, a fraction of any length, and `Z` or an offset.
fn parse(text: &[u8]) -> Option<(i64, u32)> {
    let (whole, rest) = text.split_at_checked(19)?;
    let separated = whole[4] == b'-'
        && whole[7] == b'-'
        && matches!(whole[10], b'T' | b't')
        && whole[13] == b':'
        && whole[16] == b':';
    let (year, month, day) = (number(&whole[..4])?, number(&whole[5..7])?, number(&whole[8..10])?);
    let (hour, minute, second) = (number(&whole[11..13])?, number(&whole[14..16])?, number(&whole[17..])?);
    let (nanos, zone) = fraction(rest)?;
    let offset = offset(zone)?;
    let exists = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    // A leap second ends a day of UTC.
    let leaps = second < 60 || seconds.rem_euclid(86_400) == 0;
    (separated && exists && leaps).then_some((seconds, nanos))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

/// Nanoseconds, and what follows the fraction.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let nanos = (0..9).fold(0, |nanos, place| {
        nanos * 10 + if place < length { u32::from(digits[place] - b'0') } else { 0 }
    });
    (length > 0).then_some((nanos, &digits[length..]))
}

/// Seconds that local time is ahead of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    match *zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), ref hours @ .., b':', tens, ones] => {
            let (hours, minutes) = (number(hours).filter(|_| hours.len() == 2)?, number(&[tens, ones])?);
            let seconds = hours * 3_600 + minutes * 60;
            (hours < 24 && minutes < 60).then_some(if sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days of the Gregorian calendar, counted in years that begin in March, whose leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    const DAYS_TO_1970: i64 = 719_468;
    year * 365 + leap_days + (month_from_march * 153 + 2) / 5 + day - 1 - DAYS_TO_1970
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unix(text: &str) -> Option<(i64, u32)> {
        text.parse::<Time>().ok().map(|time| time.unix())
    }

    #[test]
    fn moments_are_read_and_texts_kept() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("1969-12-31T23:59:59.25Z", -1, 250_000_000),
            ("2018-04-05T17:31:00Z", 1_522_949_460, 0),
            ("2018-04-05t19:31:00.000+02:00", 1_522_949_460, 0),
            ("2018-04-05T12:01:00.123456789123-05:30", 1_522_949_460, 123_456_789),
            ("2016-12-31T23:59:60Z", 1_483_228_800, 0),
            ("1990-12-31T15:59:60-08:00", 662_688_000, 0),
            ("2000-02-29T00:00:00z", 951_782_400, 0),
            ("2400-02-29T00:00:00Z", 13_574_563_200, 0),
            ("0000-01-01T00:00:00-00:00", -62_167_219_200, 0),
            ("9999-12-31T23:59:59Z", 253_402_300_799, 0),
        ] {
            let time: Time = text.parse().unwrap_or_else(|_| panic!("{text} is one"));
            assert_eq!(time.unix(), (seconds, nanos), "{text}");
            assert_eq!(time.as_str(), text);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "2018-04-05",
            "2018-04-05T17:31:00",
            "2018-04-05T17:31Z",
            "2018-04-05 17:31:00Z",
            "2018-04-05T17:31:00.Z",
            "2018-04-05T17:31:00,5Z",
            "2018-04-05T17:31:00+0200",
            "2018-04-05T17:31:00+2:00",
            "2018-04-05T17:31:00+002:00",
            "2018-04-05T17:31:00+24:00",
            "2018-04-05T17:31:00+02:60",
            "2018-04-05T17:31:00ZZ",
            "2018-04-05T24:00:00Z",
            "2018-04-05T17:60:00Z",
            "2018-04-05T17:31:61Z",
            "2018-04-05T17:31:60Z",
            "2018-13-05T17:31:00Z",
            "2018-00-05T17:31:00Z",
            "2018-02-29T17:31:00Z",
            "1900-02-29T17:31:00Z",
            "2018-04-31T17:31:00Z",
            "2018-04-00T17:31:00Z",
            "2018-4-05T17:31:00Z",
            "+018-04-05T17:31:00Z",
            "12018-04-05T17:31:00Z",
        ] {
            assert_eq!(unix(bad), None, "{bad}");
        }
    }

    #[test]
    fn timestamps_are_written_with_the_digits_that_they_need() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (120_000_000, "1970-01-01T00:00:00.120Z"),
            (1_000, "1970-01-01T00:00:00.000001Z"),
            (1, "1970-01-01T00:00:00.000000001Z"),
        ] {
            assert_eq!(Time::from(Timestamp::from_unix_nanos(nanos)).as_str(), text);
        }
    }

    #[test]
    fn timestamps_end_where_their_range_does() {
        let timestamp = |text: &str| text.parse::<Time>().expect("a time").timestamp();
        assert_eq!(timestamp("1969-12-31T23:59:59Z"), None);
        assert_eq!(timestamp("2555-01-01T00:00:00Z"), None);
        assert_eq!(timestamp("1970-01-01T00:00:01.5Z"), Some(Timestamp::from_unix_nanos(1_500_000_000)));
    }

    proptest! {
        /// humantime's own calendar is the reference.
        #[test]
        fn timestamps_are_written_and_read_back(nanos: u64, zone in -1_439_i64..1_440) {
            let (timestamp, time) = (Timestamp::from_unix_nanos(nanos), Time::from(Timestamp::from_unix_nanos(nanos)));
            prop_assert_eq!(time.timestamp(), Some(timestamp));
            prop_assert_eq!(time.as_str().parse::<Time>(), Ok(time.clone()));

            let sign = if zone < 0 { '-' } else { '+' };
            let local = time.as_str().replace('Z', &format!("{sign}{:02}:{:02}", zone.abs() / 60, zone.abs() % 60));
            prop_assert_eq!(unix(&local), Some((time.seconds - zone * 60, time.nanos)));
        }

        #[test]
        fn any_text_gets_an_answer(text: String, near in "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?[Zz+-]?[0-9:]{0,6}") {
            let _ = (unix(&text), unix(&near));
        }
    }
}
