//! A moment of wall time as control and the state file write it (RFC 3339), in twelve bytes.

use std::fmt;

/// Seconds and nanoseconds since 1970-01-01T00:00:00Z, or Go's zero time, which means "never" or "unset".
///
/// Words of four bytes, the most significant first, so that order is that of time and three of them in a row leave no
/// gaps: there are three in every peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    high: i32,
    low: u32,
    /// Below a thousand million.
    nanos: u32,
}

/// 0001-01-01T00:00:00Z in seconds since 1970.
const GO_ZERO: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z likewise.
const LAST: i64 = 253_402_300_799;
const NANOS: i128 = 1_000_000_000;

impl Timestamp {
    /// Go's zero time: unset.
    pub const ZERO: Self = Self::from_unix(GO_ZERO);

    /// From whole seconds since 1970.
    pub const fn from_unix(seconds: i64) -> Self {
        Self { high: (seconds >> 32) as i32, low: seconds as u32, nanos: 0 }
    }

    /// From nanoseconds since 1970; values RFC 3339 cannot write are clamped to its range.
    pub fn from_unix_nanos(nanos: i128) -> Self {
        let nanos = nanos.clamp(GO_ZERO as i128 * NANOS, LAST as i128 * NANOS + NANOS - 1);
        let whole = Self::from_unix(nanos.div_euclid(NANOS) as i64);
        Self { nanos: nanos.rem_euclid(NANOS) as u32, ..whole }
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn unix(self) -> i64 {
        (self.high as i64) << 32 | self.low as i64
    }

    /// Nanoseconds since 1970.
    pub const fn unix_nanos(self) -> i128 {
        self.unix() as i128 * NANOS + self.nanos as i128
    }

    /// True for Go's zero time.
    pub const fn is_zero(self) -> bool {
        self.unix() == GO_ZERO && self.nanos == 0
    }

    /// Whether it is a moment at all, and not after `now`.
    pub fn has_come(self, now: Self) -> bool {
        !self.is_zero() && self <= now
    }

    /// Reads RFC 3339 with any offset; `None` if `text` is not one. There are no leap seconds.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = &mut text.as_bytes();
        let year = number(rest, b"", 4, 9999)?;
        let month = number(rest, b"-", 2, 12)?;
        let day = number(rest, b"-", 2, 31)?;
        let days = days(year, month, day)?;
        let mut seconds = clock(rest, b"Tt")? * 60 + number(rest, b":", 2, 59)?;
        let mut nanos = 0;
        if let [b'.', fraction @ ..] = *rest {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit());
            let mut worth = 100_000_000;
            for digit in digits.clone() {
                nanos += i128::from(digit - b'0') * worth;
                worth /= 10;
            }
            *rest = fraction.get(digits.count().max(1)..)?;
        }
        match *rest {
            [b'Z' | b'z'] => *rest = &[],
            [b'+', ..] => seconds -= clock(rest, b"+")? * 60,
            _ => seconds += clock(rest, b"-")? * 60,
        }
        let whole = GO_ZERO + days * DAY + seconds;
        rest.is_empty().then(|| Self::from_unix_nanos(i128::from(whole) * NANOS + nanos))
    }
}

/// Seconds of a day.
const DAY: i64 = 86_400;
/// From the first of March of year 0, with which the calendar repeats itself, to the first day of year 1.
const TO_YEAR_1: i64 = 306;

/// Takes one of the bytes `before`, if there are any, and a number of `digits` digits that is at most `most`.
fn number(rest: &mut &[u8], before: &[u8], digits: usize, most: i64) -> Option<i64> {
    if let Some((first, behind)) = rest.split_first()
        && before.contains(first)
    {
        *rest = behind;
    } else if !before.is_empty() {
        return None;
    }
    let (number, behind) = rest.split_at_checked(digits)?;
    *rest = behind;
    let digit = |number, byte: &u8| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'));
    number.iter().try_fold(0, digit).filter(|number| *number <= most)
}

/// Takes hours and minutes behind one of the bytes `before`; minutes.
fn clock(rest: &mut &[u8], before: &[u8]) -> Option<i64> {
    Some(number(rest, before, 2, 23)? * 60 + number(rest, b":", 2, 59)?)
}

/// Days since 0001-01-01; `None` for a day that its month does not have.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let long = match month {
        2 if year % 4 != 0 || (year % 100 == 0 && year % 400 != 0) => 28,
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if month < 1 || day < 1 || day > long {
        return None;
    }
    // Years that begin in March have their leap day at the end, and their months repeat themselves every five.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let whole = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(whole + (month * 153 + 2) / 5 + day - 1 - TO_YEAR_1)
}

/// Year, month and day, of days since 0001-01-01.
fn date(days: u32) -> [u32; 3] {
    let days = days + TO_YEAR_1 as u32;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (day * 5 + 2) / 153;
    let day = day - (month * 153 + 2) / 5 + 1;
    let (next, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    [cycle * 400 + year + next, month, day]
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, without a fraction when it is zero, as Go writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = (GO_ZERO..=LAST).contains(&self.unix());
        let seconds = if known { self.unix() - GO_ZERO } else { 0 };
        let [year, month, day] = date((seconds / DAY) as u32);
        let second = (seconds % DAY) as u32;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if known && self.nanos != 0 {
            f.write_str(format!(".{:09}", self.nanos).trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        assert_eq!(Timestamp::ZERO.to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamp::parse("0001-01-01T00:00:00Z"), Some(Timestamp::ZERO));
        assert_eq!(Timestamp::from_unix(123).to_string(), "1970-01-01T00:02:03Z");
        assert_eq!(
            Timestamp::parse("2026-08-22T12:00:00.5+02:00").map(|t| t.to_string()).as_deref(),
            Some("2026-08-22T10:00:00.5Z")
        );
        for (text, seconds) in [
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2100-03-01t00:00:00z", 4_107_542_400),
            ("1969-12-31T23:59:59.999-00:00", -1),
            ("9999-12-31T23:59:59Z", LAST),
            ("0000-01-01T00:00:00Z", GO_ZERO),
            ("9999-12-31T23:59:59-23:59", LAST),
        ] {
            assert_eq!(Timestamp::parse(text).map(Timestamp::unix), Some(seconds), "{text}");
        }
        for text in [
            "yesterday",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zz",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+01:00Z",
            "2026-01-01 00:00:00Z",
            "26-01-01T00:00:00Z",
            "+026-01-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
        assert_eq!(Timestamp::from_unix(i64::MAX).to_string(), "0001-01-01T00:00:00Z");
        // Longer than a nanosecond is not written, so what follows it is not read.
        let fine = Timestamp::parse("2026-01-01T00:00:00.1234567890123Z").map(|at| at.to_string());
        assert_eq!(fine.as_deref(), Some("2026-01-01T00:00:00.123456789Z"));
    }

    proptest! {
        #[test]
        fn round_trip(seconds in -62_135_596_800i64..253_402_300_799, nanos in 0i128..1_000_000_000) {
            let at = Timestamp::from_unix_nanos(i128::from(seconds) * NANOS + nanos);
            prop_assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
            prop_assert_eq!((at.unix(), at.unix_nanos()), (seconds, i128::from(seconds) * NANOS + nanos));
        }

        #[test]
        fn ordered_as_time(a: i64, b: i64, nanos in 0i128..1_000_000_000) {
            let [x, y] = [a, b].map(|at| Timestamp::from_unix_nanos(i128::from(at) + nanos));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(Timestamp::from_unix(a).cmp(&Timestamp::from_unix(b)), a.cmp(&b));
        }

        #[test]
        fn any_text(text: String) {
            let _ = Timestamp::parse(&text);
        }
    }
}
