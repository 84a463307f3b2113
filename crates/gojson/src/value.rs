//! What a value is to reader and writer: a shape, and the few things that can be done to each shape.

use crate::object::Table;
use crate::write::{Indent, Writer};

/// What a value looks like in JSON, and which methods of [`Value`] it has.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A scalar: `set` and `put`.
    Leaf {
        /// Go's `omitempty` leaves it out.
        zero: bool,
    },
    /// Any JSON, taken and written as it is: `set` with [`Token::Raw`], `put`.
    Raw,
    /// A struct: `at` and `open` by the number of the member.
    Object {
        /// Names of the members, and what is special about each.
        table: Table,
        /// Unknown members go to `set` as [`Token::Member`], and `put` writes them behind the known ones.
        keep: bool,
    },
    /// A list: `set` with [`Token::Null`] empties it, `open` appends a zero value, `at` by position.
    List,
    /// A list of which only the elements that can be read are kept: as [`Shape::List`], and `set` with
    /// [`Token::Null`] is told after the element that was opened last could not be read.
    Each,
    /// A map: `set` with [`Token::Null`] empties it, `entry` appends, `at` and `key` by position.
    Map,
    /// A pointer: `set` with [`Token::Null`] empties it, `open` fills it with a zero value, `at(0)` is what it has.
    Maybe,
}

/// What a text holds where a value is to be read.
#[derive(Debug)]
pub enum Token<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A negative whole number.
    Int(i64),
    /// Any other whole number.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(&'a str),
    /// The text of any value.
    Raw(Box<str>),
    /// An unknown member and the text of its value.
    Member(String, Box<str>),
}

/// Why a value cannot be what the text says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bad {
    /// The text has something else than this there.
    Expected(&'static str),
    /// It is of the right kind, but this is wrong with it.
    Wrong(String),
}

/// A place that a JSON value is read into and written from.
pub trait Value {
    /// What it looks like, now.
    fn shape(&self) -> Shape;

    /// Takes a scalar.
    ///
    /// # Errors
    /// When it is not for this type.
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        match token {
            Token::Null => Ok(()),
            _ => Err(Bad::Expected(self.shape().name())),
        }
    }

    /// Writes a scalar.
    fn put(&self, _out: &mut Writer<'_>) {}

    /// A part.
    fn at(&self, _index: usize) -> Option<&dyn Value> {
        None
    }

    /// A part that is to be read.
    fn open(&mut self, _index: usize) -> Option<&mut dyn Value> {
        None
    }

    /// The name of a part of a map.
    fn key(&self, _index: usize) -> String {
        String::new()
    }

    /// A new part of a map.
    ///
    /// # Errors
    /// When the name is none for this map.
    fn entry(&mut self, _key: String) -> Result<&mut dyn Value, Bad> {
        Err(Bad::Expected(self.shape().name()))
    }
}

/// What reading begins with.
pub trait Zero {
    /// Go's zero value.
    fn zero() -> Self;
}

impl Shape {
    /// In words.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Leaf { .. } | Self::Raw => "a scalar",
            Self::Object { .. } => "an object",
            Self::List | Self::Each => "a list",
            Self::Map => "a map",
            Self::Maybe => "a value",
        }
    }
}

impl Token<'_> {
    /// The bits of a whole number from `min` to `max`; `expected` says so.
    ///
    /// # Errors
    /// When it is none.
    pub fn whole(&self, min: i64, max: u64, expected: &'static str) -> Result<u64, Bad> {
        match *self {
            Self::Uint(number) if number <= max => Ok(number),
            Self::Int(number) if number >= min => Ok(number as u64),
            _ => Err(Bad::Expected(expected)),
        }
    }
}

/// True for what `omitempty` leaves out.
pub fn is_empty(value: &dyn Value) -> bool {
    match value.shape() {
        Shape::Leaf { zero } => zero,
        Shape::Raw => false,
        Shape::Object { .. } => (0..).map_while(|index| value.at(index)).all(is_empty),
        Shape::List | Shape::Each | Shape::Map | Shape::Maybe => value.at(0).is_none(),
    }
}

/// True for values of one type that are written alike.
pub fn same(a: &dyn Value, b: &dyn Value) -> bool {
    let shape = a.shape();
    let own_text = matches!(shape, Shape::Leaf { .. } | Shape::Raw | Shape::Object { keep: true, .. });
    if own_text && own(a) != own(b) {
        return false;
    }
    let mut index = 0;
    loop {
        match (a.at(index), b.at(index)) {
            (None, None) => return true,
            (Some(left), Some(right)) => {
                let named_alike = !matches!(shape, Shape::Map) || a.key(index) == b.key(index);
                if !named_alike || !same(left, right) {
                    return false;
                }
            }
            _ => return false,
        }
        index += 1;
    }
}

/// What the value itself writes, without its parts.
fn own(value: &dyn Value) -> Vec<u8> {
    let mut text = Vec::new();
    value.put(&mut Writer::new(&mut text, Indent::None, 0));
    text
}
