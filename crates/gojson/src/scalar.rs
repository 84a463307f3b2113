//! Scalars of a kind of their own: texts that mean something, a boolean that may be unset, JSON that is carried along
//! unread.

use crate::text::shown;
use crate::value::{Bad, Shape, Token, Value, Zero};
use crate::write::Writer;
use keys::{DiscoPublic, MachinePublic, NlPrivate, NlPublic, NodePrivate, NodePublic};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A text that means something.
pub trait Text: Zero + PartialEq {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    fn parse_text(text: &str) -> Result<Self, String>
    where
        Self: Sized;
    /// Writes it.
    fn to_text(&self) -> String;
}

/// Makes a [`Text`] a [`Value`]. `null` changes nothing, unless it is said to be `bad`.
#[macro_export]
macro_rules! text {
    ($($t:ty $(: $null:ident)?),* $(,)?) => {$(
        impl $crate::Value for $t {
            fn shape(&self) -> $crate::Shape {
                $crate::Shape::Leaf { zero: *self == <Self as $crate::Zero>::zero() }
            }
            fn set(&mut self, token: $crate::Token<'_>) -> Result<(), $crate::Bad> {
                match token {
                    $crate::Token::Text(text) => {
                        *self = <Self as $crate::Text>::parse_text(text).map_err($crate::Bad::Wrong)?;
                        Ok(())
                    }
                    $crate::Token::Null => $crate::text!(@null $($null)?),
                    _ => Err($crate::Bad::Expected("a string")),
                }
            }
            fn put(&self, out: &mut $crate::Writer<'_>) {
                out.text(&$crate::Text::to_text(self));
            }
        }
    )*};
    (@null) => { Ok(()) };
    (@null bad) => { Err($crate::Bad::Expected("a string")) };
}

macro_rules! keys {
    ($($t:ty),*) => {$(
        impl Zero for $t {
            fn zero() -> Self {
                Self::default()
            }
        }
        impl Text for $t {
            fn parse_text(text: &str) -> Result<Self, String> {
                text.parse().map_err(|error: keys::ParseKeyError| error.to_string())
            }
            fn to_text(&self) -> String {
                Self::to_text(self)
            }
        }
        text!($t);
    )*};
}

keys!(NodePublic, DiscoPublic, MachinePublic, NlPublic, NodePrivate, NlPrivate);

/// That a text is not what it should be, in words.
#[cold]
fn not(text: &str, what: &str) -> String {
    format!("{} is not {what}", shown(text))
}

macro_rules! addresses {
    ($($t:ty, $zero:expr, $what:literal;)*) => {$(
        impl Zero for $t {
            fn zero() -> Self {
                $zero
            }
        }
        impl Text for $t {
            fn parse_text(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| not(text, $what))
            }
            fn to_text(&self) -> String {
                self.to_string()
            }
        }
        // Their zero values mean something, so nothing may become one unsaid.
        text!($t: bad);
    )*};
}

addresses! {
    IpAddr, Self::V4(Ipv4Addr::UNSPECIFIED), "an IP address";
    SocketAddr, Self::new(IpAddr::zero(), 0), "an address and port";
    ipnet::IpNet, ipnet::IpNet::V4(ipnet::Ipv4Net::default()), "a prefix";
}

/// A text of which `""` is the zero value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Blank<T>(pub T);

impl<T: Zero> Zero for Blank<T> {
    fn zero() -> Self {
        Self(T::zero())
    }
}

impl<T: Text> Value for Blank<T> {
    fn shape(&self) -> Shape {
        Shape::Leaf { zero: self.0 == T::zero() }
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        match token {
            Token::Null => {}
            Token::Text("") => self.0 = T::zero(),
            Token::Text(text) => self.0 = T::parse_text(text).map_err(Bad::Wrong)?,
            _ => return Err(Bad::Expected("a string")),
        }
        Ok(())
    }
    fn put(&self, out: &mut Writer<'_>) {
        out.text(&if self.0 == T::zero() { String::new() } else { self.0.to_text() });
    }
}

impl Zero for netmap::Timestamp {
    fn zero() -> Self {
        Self::ZERO
    }
}

impl Text for netmap::Timestamp {
    fn parse_text(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| not(text, "an RFC 3339 time"))
    }
    fn to_text(&self) -> String {
        self.to_string()
    }
}

text!(netmap::Timestamp);

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

impl Zero for OptBool {
    fn zero() -> Self {
        Self::Empty
    }
}

impl Value for OptBool {
    fn shape(&self) -> Shape {
        Shape::Leaf { zero: matches!(self, Self::Empty) }
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        *self = match token {
            Token::Null => Self::Unset,
            Token::Bool(flag) => flag.into(),
            _ => return Err(Bad::Expected("a boolean")),
        };
        Ok(())
    }
    fn put(&self, out: &mut Writer<'_>) {
        match self.value() {
            Some(flag) => out.bare(&flag),
            None => out.bare(&"null"),
        }
    }
}

/// A JSON value carried along unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw(Box<str>);

impl Raw {
    /// Takes JSON text; `None` if it is not JSON, or more than 128 levels deep.
    pub fn new(json: String) -> Option<Self> {
        let mut text = crate::text::Text::new(json.as_bytes());
        let value = text.carry().ok()?;
        text.end().ok()?;
        Some(Self(value.into()))
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        if self.0.is_empty() { "null" } else { &self.0 }
    }

    /// What it says; `None` if that is not a `T`, or `null`.
    pub fn read<T: Value + Zero>(&self) -> Option<T> {
        crate::from_slice(self.text().as_bytes()).ok().filter(|_| self.text() != "null")
    }

    /// The JSON text, without a copy.
    pub fn into_text(self) -> Box<str> {
        if self.0.is_empty() { "null".into() } else { self.0 }
    }
}

impl Zero for Raw {
    fn zero() -> Self {
        Self(Box::default())
    }
}

impl Value for Raw {
    fn shape(&self) -> Shape {
        Shape::Raw
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        match token {
            Token::Raw(text) => self.0 = text,
            _ => self.0 = Box::default(),
        }
        Ok(())
    }
    fn put(&self, out: &mut Writer<'_>) {
        out.raw(self.text());
    }
}

/// Members that a type does not know, kept in the order in which they came.
pub type Extra = Vec<(String, Raw)>;

/// Keeps an unknown member in place of an earlier one of that name.
///
/// # Errors
/// When `token` is something else.
pub fn keep(extra: &mut Extra, token: Token<'_>) -> Result<(), Bad> {
    match token {
        Token::Null => {}
        Token::Member(name, text) => {
            extra.retain(|(known, _)| *known != name);
            extra.push((name, Raw(text)));
        }
        _ => return Err(Bad::Expected("an object")),
    }
    Ok(())
}
