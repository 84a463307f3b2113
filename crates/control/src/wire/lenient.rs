//! What several messages have: texts in lists, capabilities, times that may be unset, numbers that are out of range.

use gojson::{Bad, Blank, Pairs, Raw, Shape, Token, Value, Zero};
use netmap::{CapMap, Timestamp};
use std::str::FromStr;

/// Capability name to raw values, null allowed at both levels.
pub(crate) type Caps = Pairs<Box<str>, Option<Vec<Raw>>>;

/// A time of which `""` is `None`.
#[derive(Default)]
pub(crate) struct MaybeTime(pub(crate) Option<Timestamp>);

impl Zero for MaybeTime {
    fn zero() -> Self {
        Self(None)
    }
}

impl Value for MaybeTime {
    fn shape(&self) -> Shape {
        Shape::Leaf { zero: self.0.is_none() }
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        let mut time = Blank(Timestamp::ZERO);
        let said = matches!(token, Token::Text(text) if !text.is_empty());
        time.set(token)?;
        self.0 = said.then_some(time.0);
        Ok(())
    }
}

/// The entries of a list of texts that parse; the others are left out.
pub(crate) fn list<T: FromStr, L: FromIterator<T>>(texts: &[Box<str>]) -> L {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// A number where only its size matters, as near as it fits.
pub(crate) fn near(number: i64) -> i32 {
    number.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// Raw values as texts; `names` are capabilities without values.
pub(crate) fn cap_map(caps: Caps, names: Vec<Box<str>>) -> CapMap {
    let names = names.into_iter().map(|name| (name, None));
    let all: Caps = names.chain(caps).collect();
    let all = all.sorted().into_iter().map(|(name, values)| {
        let values = values.unwrap_or_default();
        (name, values.into_iter().map(Raw::into_text).collect())
    });
    all.collect()
}
