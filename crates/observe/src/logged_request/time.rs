use std::time::Duration;

use intertie_core::clock::{Timestamp, nanos};

/// A moment as our log writes it (RFC 3339): `2026-03-01T10:00:00.250Z`, or with `+01:00` for the `Z`.
pub(super) fn rfc_3339(text: &str) -> Option<Timestamp> {
    let text = Some(text).filter(|text| text.is_ascii())?;
    let (date, time) = (text.get(..10)?, text.get(11..)?);
    let mut date = date.split('-');
    let (year, month, day) = (number(date.next()?, 4)?, number(date.next()?, 2)?, number(date.next()?, 2)?);
    let zone_at = time.find(['Z', '+', '-'])?;
    let (time, zone) = time.split_at(zone_at);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let offset = match zone.strip_prefix('Z') {
        Some("") => 0,
        Some(_) => return None,
        None => offset(&zone.replacen(':', "", 1))?,
    };
    let digits = number(fraction, fraction.len()).filter(|_| fraction.len() <= 9)?;
    let fraction = u64::try_from(digits).ok()? * 10_u64.pow(9 - u32::try_from(fraction.len()).ok()?);
    moment(days(year, month, day)?, clock, offset, Duration::from_nanos(fraction))
}

/// A moment as the Common Log Format writes it: `10/Oct/2000:13:55:36 -0700`.
pub(super) fn common(text: &str) -> Option<Timestamp> {
    let (stamp, zone) = text.split_once(' ')?;
    let (date, clock) = stamp.split_once(':')?;
    let mut date = date.split('/');
    let (day, month, year) = (number(date.next()?, 2)?, date.next()?, number(date.next()?, 4)?);
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = i64::try_from(month).ok()? + 1;
    let complete = date.next().is_none();
    moment(days(year, month, day).filter(|_| complete)?, clock, offset(zone)?, Duration::ZERO)
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn moment(days: i64, clock: &str, offset: i64, fraction: Duration) -> Option<Timestamp> {
    let mut clock = clock.split(':');
    let (hour, minute, second) =
        (number(clock.next()?, 2)?, number(clock.next()?, 2)?, number(clock.next()?, 2)?);
    // 60 is a leap second.
    if clock.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    let whole = Duration::from_secs(u64::try_from(seconds).ok()?);
    Some(Timestamp::from_unix_nanos(nanos(whole + fraction)))
}

/// Days since 1970-01-01 (Hinnant, *chrono-Compatible Low-Level Date Algorithms*, `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1970..=2500).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Seconds east of Greenwich: `-0700`.
fn offset(zone: &str) -> Option<i64> {
    let (sign, digits) = match (zone.strip_prefix('+'), zone.strip_prefix('-')) {
        (Some(digits), _) => (1, digits),
        (_, Some(digits)) => (-1, digits),
        _ => return None,
    };
    let both = number(digits, 4)?;
    let (hours, minutes) = (both / 100, both % 100);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let clean = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if clean { text.parse().ok() } else { None }
}
