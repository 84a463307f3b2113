//! Maps in the order of their keys.

use crate::pairs::Key;
use crate::value::{Bad, Shape, Token, Value, Zero};
use netmap::Map;

/// A Go map; in JSON in the order of the text of its keys. One that strangers fill is better
/// [`Pairs`](crate::Pairs): entries that come in no order move others.
impl<K: Key, V: Value + Zero> Value for Map<K, V> {
    fn shape(&self) -> Shape {
        Shape::Map
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        match token {
            Token::Null => self.clear(),
            _ => return Err(Bad::Expected("a map")),
        }
        Ok(())
    }
    fn at(&self, index: usize) -> Option<&dyn Value> {
        self.nth(index).map(|(_, value)| value as &dyn Value)
    }
    fn key(&self, index: usize) -> String {
        self.nth(index).map(|(key, _)| key.text()).unwrap_or_default()
    }
    fn entry(&mut self, key: String) -> Result<&mut dyn Value, Bad> {
        let key = K::read(key).ok_or(Bad::Expected("another key in this map"))?;
        let value = self.get_or_insert_with(key, V::zero);
        *value = V::zero();
        Ok(value)
    }
}

impl<K, V> Zero for Map<K, V> {
    fn zero() -> Self {
        Self::new()
    }
}
