//! Go's JSON object rules, once: a table of fields becomes a struct that encodes in field order and decodes as
//! Go's decoder does (names in any case, `null` changes nothing, later duplicates win).

use super::scalar::Raw;
use keys::NodePublic;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap};
use std::collections::BTreeMap;
use std::fmt;

/// Members that this version does not know, kept in the order in which they came.
pub type Extra = Vec<(String, Raw)>;

/// A value as a member of an object.
pub(crate) trait Member {
    /// What Go's `omitempty`/`omitzero` leaves out.
    fn is_zero(&self) -> bool;
    /// Writes one member.
    fn encode<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error>;
    /// Reads the value that follows a key into `self`.
    fn decode<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error>;
}

/// Members whose encoding is their own and whose `null` changes nothing.
macro_rules! plain_member {
    ($($t:ty),* $(,)?) => {$(
        impl $crate::types::object::Member for $t {
            fn is_zero(&self) -> bool {
                *self == <$t>::default()
            }
            fn encode<M: serde::ser::SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
                map.serialize_entry(key, self)
            }
            fn decode<'de, A: serde::de::MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
                if let Some(value) = map.next_value::<Option<$t>>()? {
                    *self = value;
                }
                Ok(())
            }
        }
    )*};
}

plain_member!(String, bool, i64, i32, u16, u32, u64, f64);
plain_member!(NodePublic, keys::DiscoPublic, keys::MachinePublic, keys::NodePrivate, keys::NlPrivate);

/// A Go slice: nothing in it is `null`. Where Go tells `[]` from `null`, the field is an `Option<Vec<_>>`.
impl<T: Serialize + DeserializeOwned> Member for Vec<T> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
    fn encode<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
        if self.is_empty() { map.serialize_entry(key, &()) } else { map.serialize_entry(key, self) }
    }
    fn decode<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        *self = map.next_value::<Option<Self>>()?.unwrap_or_default();
        Ok(())
    }
}

/// A Go pointer, or a slice or map whose `nil` matters.
impl<T: Serialize + DeserializeOwned> Member for Option<T> {
    fn is_zero(&self) -> bool {
        self.is_none()
    }
    fn encode<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(key, self)
    }
    fn decode<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        *self = map.next_value()?;
        Ok(())
    }
}

macro_rules! map_member {
    ($key:ty, $encode:expr) => {
        impl<T: Serialize + DeserializeOwned> Member for BTreeMap<$key, T> {
            fn is_zero(&self) -> bool {
                self.is_empty()
            }
            fn encode<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
                if self.is_empty() {
                    return map.serialize_entry(key, &());
                }
                $encode(self, key, map)
            }
            fn decode<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
                *self = map.next_value::<Option<Self>>()?.unwrap_or_default();
                Ok(())
            }
        }
    };
}

fn encode_as_is<K: Serialize, T: Serialize, M: SerializeMap>(
    value: &BTreeMap<K, T>,
    key: &'static str,
    map: &mut M,
) -> Result<(), M::Error> {
    map.serialize_entry(key, value)
}

/// Go sorts the members of a map by their text, numbers too: 10 comes before 9.
fn encode_by_text<T: Serialize, M: SerializeMap>(
    value: &BTreeMap<i64, T>,
    key: &'static str,
    map: &mut M,
) -> Result<(), M::Error> {
    let by_text: BTreeMap<String, &T> = value.iter().map(|(id, item)| (id.to_string(), item)).collect();
    map.serialize_entry(key, &by_text)
}

map_member!(String, encode_as_is);
map_member!(NodePublic, encode_as_is);
map_member!(i64, encode_by_text);

/// A struct made by [`go_object`].
pub(crate) trait Object: Default {
    /// Writes all members.
    fn encode_members<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
    /// Reads the value of member `key`; `false`, with the value still unread, if there is no such member.
    fn decode_member<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error>;
    /// Deals with the value of a member that the type does not know.
    fn decode_unknown<'de, A: MapAccess<'de>>(&mut self, _key: String, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<IgnoredAny>().map(drop)
    }
}

/// Decodes an object over a value that is there already.
pub(crate) struct Over<'a, T>(pub(crate) &'a mut T);

impl<'de, T: Object> DeserializeSeed<'de> for Over<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Object> Visitor<'de> for Over<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if !self.0.decode_member(&key, &mut map)? {
                self.0.decode_unknown(key, &mut map)?;
            }
        }
        Ok(())
    }
}

/// Defines a struct by its fields, each with its JSON key; `omit` after the key is Go's `omitempty`/`omitzero`.
/// With `keep` in front, unknown members are kept in a field `extra` and written back after the known ones.
macro_rules! go_object {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $t:ty => $key:literal $($omit:ident)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $name {
            $(#[doc = concat!("`", $key, "`. ")] $(#[$field_meta])* pub $field: $t,)*
        }
        go_object!(@impl $name {$($field: $t => $key $($omit)?,)*});
    };

    (keep $(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $t:ty => $key:literal $($omit:ident)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $name {
            $(#[doc = concat!("`", $key, "`. ")] $(#[$field_meta])* pub $field: $t,)*
            /// Members of other versions, written back as they were.
            pub extra: $crate::types::Extra,
        }
        go_object!(@impl $name {$($field: $t => $key $($omit)?,)*} keep);
    };

    (@impl $name:ident {$($field:ident: $t:ty => $key:literal $($omit:ident)?,)*} $($keep:ident)?) => {
        #[allow(unused_variables, unused_imports)]
        impl $crate::types::object::Object for $name {
            fn encode_members<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                use $crate::types::object::Member as _;
                $(go_object!(@encode self.$field, $key, map $(, $omit)?);)*
                $(go_object!(@$keep self, map);)?
                Ok(())
            }

            fn decode_member<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                use $crate::types::object::Member as _;
                $(if key.eq_ignore_ascii_case($key) {
                    self.$field.decode(map)?;
                    return Ok(true);
                })*
                Ok(false)
            }

            $(go_object!(@unknown $keep);)?
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                use $crate::types::object::Object as _;
                let mut map = serializer.serialize_map(None)?;
                self.encode_members(&mut map)?;
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::DeserializeSeed as _;
                let mut value = Self::default();
                $crate::types::object::Over(&mut value).deserialize(deserializer)?;
                Ok(value)
            }
        }

        plain_member!($name);
    };

    (@encode $self:ident.$field:ident, $key:literal, $map:ident) => {
        $self.$field.encode($key, $map)?
    };
    (@encode $self:ident.$field:ident, $key:literal, $map:ident, omit) => {
        if !$self.$field.is_zero() {
            $self.$field.encode($key, $map)?;
        }
    };

    (@keep $self:ident, $map:ident) => {
        for (key, value) in &$self.extra {
            $map.serialize_entry(key, value)?;
        }
    };
    (@unknown keep) => {
        fn decode_unknown<'de, A: serde::de::MapAccess<'de>>(
            &mut self,
            key: String,
            map: &mut A,
        ) -> Result<(), A::Error> {
            let value = map.next_value()?;
            self.extra.retain(|(known, _)| *known != key);
            self.extra.push((key, value));
            Ok(())
        }
    };
}
