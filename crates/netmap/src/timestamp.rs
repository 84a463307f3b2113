//! A moment of wall time as control and the state file write it (RFC 3339), in twelve bytes.

use std::fmt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

    /// Reads RFC 3339 with any offset; `None` if `text` is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Some(Self::from_unix_nanos(at.unix_timestamp_nanos()))
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, without a fraction when it is zero, as Go writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(self.unix_nanos())
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok());
        f.write_str(text.as_deref().unwrap_or("0001-01-01T00:00:00Z"))
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
        assert_eq!(Timestamp::parse("yesterday"), None);
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
