//! Go's scalars: booleans, numbers, strings.

use crate::value::{Bad, Shape, Token, Value, Zero};
use crate::write::Writer;

macro_rules! whole {
    ($($t:ty: $wide:ty, $min:expr, $max:expr, $name:literal;)*) => {$(
        impl Value for $t {
            fn shape(&self) -> Shape {
                Shape::Leaf { zero: *self == 0 }
            }
            fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
                if !matches!(token, Token::Null) {
                    *self = token.whole($min, $max, $name)? as $t;
                }
                Ok(())
            }
            fn put(&self, out: &mut Writer<'_>) {
                out.bare(&<$wide>::from(*self));
            }
        }
        impl Zero for $t {
            fn zero() -> Self {
                0
            }
        }
    )*};
}

whole! {
    u8: u64, 0, u8::MAX as u64, "u8";
    u16: u64, 0, u16::MAX as u64, "u16";
    u32: u64, 0, u32::MAX as u64, "u32";
    u64: u64, 0, u64::MAX, "u64";
    i32: i64, i32::MIN as i64, i32::MAX as u64, "i32";
    i64: i64, i64::MIN, i64::MAX as u64, "i64";
}

impl Value for bool {
    fn shape(&self) -> Shape {
        Shape::Leaf { zero: !self }
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        match token {
            Token::Null => {}
            Token::Bool(flag) => *self = flag,
            _ => return Err(Bad::Expected("a boolean")),
        }
        Ok(())
    }
    fn put(&self, out: &mut Writer<'_>) {
        out.bare(self);
    }
}

impl Zero for bool {
    fn zero() -> Self {
        false
    }
}

impl Value for f64 {
    fn shape(&self) -> Shape {
        Shape::Leaf { zero: *self == 0.0 }
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        match token {
            Token::Null => {}
            Token::Float(number) => *self = number,
            Token::Int(number) => *self = number as Self,
            Token::Uint(number) => *self = number as Self,
            _ => return Err(Bad::Expected("f64")),
        }
        Ok(())
    }
    fn put(&self, out: &mut Writer<'_>) {
        out.float(*self);
    }
}

impl Zero for f64 {
    fn zero() -> Self {
        0.0
    }
}

macro_rules! string {
    ($($t:ty),*) => {$(
        impl Value for $t {
            fn shape(&self) -> Shape {
                Shape::Leaf { zero: self.is_empty() }
            }
            fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
                match token {
                    Token::Null => {}
                    Token::Text(text) => *self = text.into(),
                    _ => return Err(Bad::Expected("a string")),
                }
                Ok(())
            }
            fn put(&self, out: &mut Writer<'_>) {
                out.text(self);
            }
        }
        impl Zero for $t {
            fn zero() -> Self {
                Self::default()
            }
        }
    )*};
}

string!(String, Box<str>);

/// Only written.
impl Value for str {
    fn shape(&self) -> Shape {
        Shape::Leaf { zero: self.is_empty() }
    }
    fn put(&self, out: &mut Writer<'_>) {
        out.text(self);
    }
}

impl Zero for &str {
    fn zero() -> Self {
        ""
    }
}

/// `null`.
impl Value for () {
    fn shape(&self) -> Shape {
        Shape::Leaf { zero: true }
    }
    fn put(&self, out: &mut Writer<'_>) {
        out.bare(&"null");
    }
}

impl Zero for () {
    fn zero() -> Self {}
}
