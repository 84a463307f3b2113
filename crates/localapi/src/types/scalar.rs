//! Small values with JSON forms of their own: a boolean that may be unset, an address that may be empty, JSON
//! that is carried along unread.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::net::IpAddr;

/// Go's `opt.Bool`: true, false, or nothing said. A JSON `null` is remembered as "explicitly unset", which
/// means the same as empty, and compares equal to it, but is written even where an empty one is left out.
#[derive(Debug, Clone, Copy, Default)]
pub enum OptBool {
    /// Nothing said.
    #[default]
    Empty,
    /// Said to be unset.
    Unset,
    /// True.
    True,
    /// False.
    False,
}

impl OptBool {
    /// The value, if one is set.
    pub const fn value(self) -> Option<bool> {
        match self {
            Self::Empty | Self::Unset => None,
            Self::True => Some(true),
            Self::False => Some(false),
        }
    }
}

impl PartialEq for OptBool {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}
impl Eq for OptBool {}

impl From<bool> for OptBool {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl Serialize for OptBool {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OptBool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<bool>::deserialize(deserializer)?.map_or(Self::Unset, Self::from))
    }
}

impl super::object::Member for OptBool {
    fn is_zero(&self) -> bool {
        matches!(self, Self::Empty)
    }
    fn encode<M: serde::ser::SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(key, self)
    }
    fn decode<'de, A: serde::de::MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        *self = map.next_value()?;
        Ok(())
    }
}

/// Go's `netip.Addr`: an IP address, or nothing, written as an empty string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addr(pub Option<IpAddr>);

impl Serialize for Addr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(ip) => serializer.collect_str(&ip),
            None => serializer.serialize_str(""),
        }
    }
}

impl<'de> Deserialize<'de> for Addr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        let ip = text.parse().map_err(|_| D::Error::custom(format!("{text:?} is not an IP address")))?;
        Ok(Self(Some(ip)))
    }
}

plain_member!(Addr);

/// A JSON value carried along unread.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Raw(Box<RawValue>);

impl Raw {
    /// Takes JSON text; `None` if it is not JSON.
    pub fn new(json: String) -> Option<Self> {
        RawValue::from_string(json).ok().map(Self)
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}
