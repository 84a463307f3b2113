//! A moment of wall time as control and the state file write it (RFC 3339), in eight bytes.

use std::fmt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds and nanoseconds since 1970-01-01T00:00:00Z, or Go's zero time, which means "never" or "unset".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i128);

/// 0001-01-01T00:00:00Z in nanoseconds since 1970.
const GO_ZERO: i128 = -62_135_596_800 * NANOS;
const NANOS: i128 = 1_000_000_000;

impl Timestamp {
    /// Go's zero time: unset.
    pub const ZERO: Self = Self(GO_ZERO);

    /// From whole seconds since 1970.
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds as i128 * NANOS)
    }

    /// From nanoseconds since 1970; values RFC 3339 cannot write are clamped to its range.
    pub fn from_unix_nanos(nanos: i128) -> Self {
        const LAST: i128 = 253_402_300_799 * NANOS + NANOS - 1;
        Self(nanos.clamp(GO_ZERO, LAST))
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn unix(self) -> i64 {
        self.0.div_euclid(NANOS) as i64
    }

    /// Nanoseconds since 1970.
    pub const fn unix_nanos(self) -> i128 {
        self.0
    }

    /// True for Go's zero time.
    pub const fn is_zero(self) -> bool {
        self.0 == GO_ZERO
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
        let text =
            OffsetDateTime::from_unix_timestamp_nanos(self.0).ok().and_then(|at| at.format(&Rfc3339).ok());
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
        }

        #[test]
        fn any_text(text: String) {
            let _ = Timestamp::parse(&text);
        }
    }
}
