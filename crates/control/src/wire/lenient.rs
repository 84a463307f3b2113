//! Reading JSON the way Go writes it: null for empty, "" for unset, one bad entry does not spoil a list.

use netmap::{CapMap, Timestamp};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::str::FromStr;

/// Capability name to raw values, null allowed at both levels.
pub(crate) type Caps = BTreeMap<Box<str>, Option<Vec<Box<RawValue>>>>;

/// Null is the default value.
pub(crate) fn null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

/// A key or another text form; "" and null are the default value, anything broken is an error.
pub(crate) fn text<'de, D: Deserializer<'de>, T: FromStr + Default>(d: D) -> Result<T, D::Error>
where
    T::Err: std::fmt::Display,
{
    match Option::<std::borrow::Cow<'de, str>>::deserialize(d)? {
        Some(text) if !text.is_empty() => text.parse().map_err(de::Error::custom),
        _ => Ok(T::default()),
    }
}

/// An RFC 3339 time; "" and null are unset.
pub(crate) fn timestamp<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
    Ok(some_timestamp(d)?.unwrap_or_default())
}

/// An RFC 3339 time; "" and null are `None`.
pub(crate) fn some_timestamp<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    match Option::<std::borrow::Cow<'de, str>>::deserialize(d)? {
        Some(text) if !text.is_empty() => {
            Timestamp::parse(&text).map(Some).ok_or_else(|| de::Error::custom("not a time"))
        }
        _ => Ok(None),
    }
}

/// The entries of a list of texts that parse; the others are left out.
pub(crate) fn list<T: FromStr, L: FromIterator<T>>(texts: &[Box<str>]) -> L {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The elements of a list that parse one by one, and how many did not.
pub(crate) fn parse_each<'a, T: Deserialize<'a>>(raw: &[&'a RawValue]) -> (Vec<T>, usize) {
    let parsed: Vec<T> =
        raw.iter().filter_map(|raw| serde_json::from_slice(raw.get().as_bytes()).ok()).collect();
    let bad = raw.len() - parsed.len();
    (parsed, bad)
}

/// Raw values as texts.
pub(crate) fn cap_map(caps: Caps) -> CapMap {
    caps.into_iter()
        .map(|(name, values)| {
            let values = values.unwrap_or_default();
            (name, values.into_iter().map(|value| Box::<str>::from(value.get())).collect())
        })
        .collect()
}
