//! Numbers: digits, point and exponent, what they are worth, and the way back.

use crate::text::{Error, Text};
use crate::value::Token;

/// A number in pieces.
#[derive(Default)]
pub(crate) struct Parts {
    negative: bool,
    /// It is written as one, or too long for a whole number.
    float: bool,
    /// Its first digits, some twenty of them.
    number: u64,
    /// There were more.
    cut: bool,
    /// By how many digits the point is to be moved to the right.
    exponent: i32,
}

impl Parts {
    /// `None` for what is larger than any number.
    pub(crate) fn token(&self) -> Option<Token<'static>> {
        if !self.float {
            if !self.negative || self.number == 0 {
                return Some(Token::Uint(self.number));
            }
            if let Some(number) = 0i64.checked_sub_unsigned(self.number) {
                return Some(Token::Int(number));
            }
        }
        let size = self.float();
        size.is_finite().then_some(Token::Float(if self.negative { -size } else { size }))
    }

    /// Exact for up to 15 digits and 22 places, and next to exact else; the exact way takes a table of ten kilobytes.
    fn float(&self) -> f64 {
        moved(self.number as f64, self.exponent)
    }
}

/// `value` with its point moved by `places` to the right.
fn moved(mut value: f64, places: i32) -> f64 {
    let mut left = places.clamp(-400, 400);
    while left != 0 && value != 0.0 {
        // Up to this, powers of ten are exact.
        let step = left.clamp(-22, 22);
        let power = (0..step.abs()).fold(1.0, |power, _| power * 10.0);
        value = if left > 0 { value * power } else { value / power };
        left -= step;
    }
    value
}

/// The fewest digits that are read as `size`, and by how many places their point is to be moved to the right. Exact where
/// 15 digits and 22 places do, next to exact else: the standard library's way is exact and takes 13 kilobytes.
///
/// `size` is finite and not negative.
pub(crate) fn shortest(size: f64) -> (u64, i32) {
    if size == 0.0 {
        return (0, 0);
    }
    // How many digits stand before the point.
    let mut whole = 0;
    while moved(1.0, whole) <= size {
        whole += 1;
    }
    while moved(size, -whole) < 0.1 {
        whole -= 1;
    }
    let mut last = (0, 0);
    for places in 1 - whole..=17 - whole {
        let digits = moved(size, places).round();
        last = (digits as u64, -places);
        if moved(digits, -places) == size {
            break;
        }
    }
    // Beside a power of ten, rounding may have brought one place too many.
    while last.0 > 0 && last.0 % 10 == 0 {
        last = (last.0 / 10, last.1 + 1);
    }
    last
}

impl Text<'_> {
    /// Takes a number.
    pub(crate) fn number(&mut self) -> Result<Parts, Error> {
        let mut parts = Parts { negative: self.eat(b'-'), ..Parts::default() };
        let first = self.at;
        self.digits(&mut parts, 1)?;
        if self.at - first > 1 && self.text.get(first) == Some(&b'0') {
            return Err(self.error("invalid number"));
        }
        parts.float = parts.cut;
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            parts.float = true;
            self.digits(&mut parts, 0)?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            parts.float = true;
            let sign = self.text.get(self.at).copied();
            self.at += usize::from(matches!(sign, Some(b'+' | b'-')));
            let mut exponent = Parts::default();
            self.digits(&mut exponent, 1)?;
            let size = i32::try_from(exponent.number).unwrap_or(i32::MAX);
            let exponent = if sign == Some(b'-') { -size } else { size };
            parts.exponent = parts.exponent.saturating_add(exponent);
        }
        Ok(parts)
    }

    /// At least one digit. Each that is taken moves the point by `1 - whole` to the left, each that is not by `whole` to
    /// the right.
    fn digits(&mut self, parts: &mut Parts, whole: i32) -> Result<(), Error> {
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.at) {
            self.at += 1;
            let digit = u64::from(digit - b'0');
            let longer = parts.number.checked_mul(10).and_then(|number| number.checked_add(digit));
            match longer.filter(|_| !parts.cut) {
                Some(number) => {
                    parts.number = number;
                    parts.exponent = parts.exponent.saturating_sub(1 - whole);
                }
                None => {
                    parts.cut = true;
                    parts.exponent = parts.exponent.saturating_add(whole);
                }
            }
        }
        if self.at == start { Err(self.unexpected("invalid number")) } else { Ok(()) }
    }
}
