//! A moment as Go writes it in JSON (RFC 3339); Go's zero time stands for "never".
//!
//! The moment itself is [`netmap::Timestamp`], which knows no JSON; here it gets its form in JSON.

use gojson::{Text, Zero, text};
use netmap::Timestamp;
use std::fmt;

/// Wall time with nanoseconds; [`Time::ZERO`], the default, is Go's zero time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(Timestamp);

impl Time {
    /// 0001-01-01T00:00:00Z: never, unset.
    pub const ZERO: Self = Self(Timestamp::ZERO);

    /// From seconds since 1970, brought into the range that can be written.
    pub fn from_unix(seconds: i64) -> Self {
        Self::from_unix_nanos(i128::from(seconds) * 1_000_000_000)
    }

    /// From nanoseconds since 1970, brought into the range that can be written.
    pub fn from_unix_nanos(nanos: i128) -> Self {
        Self(Timestamp::from_unix_nanos(nanos))
    }

    /// Seconds since 1970, rounded down.
    pub const fn unix(self) -> i64 {
        self.0.unix()
    }

    /// Nanoseconds since 1970.
    pub const fn unix_nanos(self) -> i128 {
        self.0.unix_nanos()
    }

    /// True for Go's zero time.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Reads RFC 3339 with any offset.
    pub fn parse(text: &str) -> Option<Self> {
        Timestamp::parse(text).map(Self)
    }
}

impl From<Timestamp> for Time {
    /// Brought into the range that can be written.
    fn from(at: Timestamp) -> Self {
        Self::from_unix_nanos(at.unix_nanos())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Zero for Time {
    fn zero() -> Self {
        Self::ZERO
    }
}

impl Text for Time {
    fn parse_text(text: &str) -> Result<Self, String> {
        Timestamp::parse_text(text).map(Self)
    }
    fn to_text(&self) -> String {
        self.to_string()
    }
}

text!(Time);
