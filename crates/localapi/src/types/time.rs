//! A moment as Go writes it in JSON (RFC 3339); Go's zero time stands for "never".

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const NANOS: i128 = 1_000_000_000;
/// 0001-01-01T00:00:00Z in seconds since 1970.
const ZERO_UNIX: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z, the last that RFC 3339 can write.
const LAST_UNIX: i64 = 253_402_300_799;

/// Wall time with nanoseconds; [`Time::ZERO`], the default, is Go's zero time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    unix: i64,
    nanos: u32,
}

impl Time {
    /// 0001-01-01T00:00:00Z: never, unset.
    pub const ZERO: Self = Self { unix: ZERO_UNIX, nanos: 0 };

    /// From seconds since 1970, brought into the range that can be written.
    pub fn from_unix(seconds: i64) -> Self {
        Self { unix: seconds.clamp(ZERO_UNIX, LAST_UNIX), nanos: 0 }
    }

    /// From nanoseconds since 1970, brought into the range that can be written.
    pub fn from_unix_nanos(nanos: i128) -> Self {
        let clamped = nanos.clamp(i128::from(ZERO_UNIX) * NANOS, i128::from(LAST_UNIX) * NANOS + NANOS - 1);
        Self { unix: clamped.div_euclid(NANOS) as i64, nanos: clamped.rem_euclid(NANOS) as u32 }
    }

    /// Seconds since 1970, rounded down.
    pub const fn unix(self) -> i64 {
        self.unix
    }

    /// Nanoseconds since 1970.
    pub fn unix_nanos(self) -> i128 {
        i128::from(self.unix) * NANOS + i128::from(self.nanos)
    }

    /// True for Go's zero time.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// Reads RFC 3339 with any offset.
    pub fn parse(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Some(Self::from_unix_nanos(at.unix_timestamp_nanos()))
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp_nanos(self.unix_nanos());
        let text = at.ok().and_then(|at| at.format(&Rfc3339).ok());
        f.write_str(text.as_deref().unwrap_or("0001-01-01T00:00:00Z"))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not an RFC 3339 time")))
    }
}

plain_member!(Time);
