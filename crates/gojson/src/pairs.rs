//! Keys of maps, and maps as they came.

use crate::value::{Bad, Shape, Token, Value, Zero};
use std::cmp::Ordering;

/// What may name an entry of a map.
pub trait Key: Ord + Sized {
    /// As JSON has it.
    fn text(&self) -> String;
    /// From JSON; `None` if it is none.
    fn read(text: String) -> Option<Self>;
}

impl Key for String {
    fn text(&self) -> String {
        self.clone()
    }
    fn read(text: String) -> Option<Self> {
        Some(text)
    }
}

impl Key for Box<str> {
    fn text(&self) -> String {
        self.as_ref().to_owned()
    }
    fn read(text: String) -> Option<Self> {
        Some(text.into_boxed_str())
    }
}

/// Only written.
impl Key for &str {
    fn text(&self) -> String {
        (*self).to_owned()
    }
    fn read(_: String) -> Option<Self> {
        None
    }
}

impl Key for i64 {
    fn text(&self) -> String {
        self.to_string()
    }
    fn read(text: String) -> Option<Self> {
        text.parse().ok()
    }
}

impl Key for keys::NodePublic {
    fn text(&self) -> String {
        self.to_text()
    }
    fn read(text: String) -> Option<Self> {
        text.parse().ok()
    }
}

/// A map as it came: every pair in its order, the same key maybe more than once. What is made of it takes the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs<K, V>(pub Vec<(K, V)>);

impl<K: Ord, V> Pairs<K, V> {
    /// In the order of the keys, and those of the same key in the order in which they came: what a [`netmap::Map`] takes
    /// without moving anything, whoever chose the keys.
    pub fn sorted(self) -> Vec<(K, V)> {
        let Self(mut pairs) = self;
        let key = |place: usize| pairs.get(place).map(|(key, _)| key);
        let order = order(pairs.len(), &|a, b| key(a).cmp(&key(b)));
        arrange(order, &mut |a, b| pairs.swap(a, b));
        pairs
    }
}

/// Places in order, none if they are so already. Here and below is code that is there once, whatever is sorted.
fn order(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    if (1..count).all(|place| compare(place - 1, place).is_le()) {
        return Vec::new();
    }
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by(|a, b| compare(*a, *b));
    places
}

/// Puts to each place what stands at the place that `order` has there: swaps along each cycle, so no more often than there
/// are places.
fn arrange(mut order: Vec<usize>, swap: &mut dyn FnMut(usize, usize)) {
    for start in 0..order.len() {
        let mut at = start;
        while let Some(place) = order.get_mut(at) {
            let from = std::mem::replace(place, at);
            if from == start {
                break;
            }
            swap(at, from);
            at = from;
        }
    }
}

impl<K, V> FromIterator<(K, V)> for Pairs<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<K, V> Default for Pairs<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, V> IntoIterator for Pairs<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: Key, V: Value + Zero> Value for Pairs<K, V> {
    fn shape(&self) -> Shape {
        Shape::Map
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        match token {
            Token::Null => self.0.clear(),
            _ => return Err(Bad::Expected("a map")),
        }
        Ok(())
    }
    fn at(&self, index: usize) -> Option<&dyn Value> {
        Some(&self.0.get(index)?.1)
    }
    fn key(&self, index: usize) -> String {
        self.0.get(index).map(|(key, _)| key.text()).unwrap_or_default()
    }
    fn entry(&mut self, key: String) -> Result<&mut dyn Value, Bad> {
        const BAD: Bad = Bad::Expected("another key in this map");
        self.0.push((K::read(key).ok_or(BAD)?, V::zero()));
        self.0.last_mut().map(|(_, value)| value as &mut dyn Value).ok_or(BAD)
    }
}

impl<K, V> Zero for Pairs<K, V> {
    fn zero() -> Self {
        Self::default()
    }
}
