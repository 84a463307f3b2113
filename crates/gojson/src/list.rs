//! Lists and pointers.

use crate::value::{Bad, Shape, Token, Value, Zero};
use crate::write::Writer;

/// A Go slice. Where Go tells `[]` from `null`, the member is an `Option<Vec<_>>`: an empty list that is a member of
/// a struct is written as `null`.
impl<T: Value + Zero> Value for Vec<T> {
    fn shape(&self) -> Shape {
        Shape::List
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        match token {
            Token::Null => self.clear(),
            _ => return Err(Bad::Expected("a list")),
        }
        Ok(())
    }
    fn at(&self, index: usize) -> Option<&dyn Value> {
        Some(self.get(index)?)
    }
    fn open(&mut self, _index: usize) -> Option<&mut dyn Value> {
        self.push(T::zero());
        Some(self.last_mut()?)
    }
}

impl<T> Zero for Vec<T> {
    fn zero() -> Self {
        Self::new()
    }
}

/// Only written.
impl<T: Value> Value for [T] {
    fn shape(&self) -> Shape {
        Shape::List
    }
    fn at(&self, index: usize) -> Option<&dyn Value> {
        Some(self.get(index)?)
    }
}

/// Only written.
impl<T: Value, const N: usize> Value for [T; N] {
    fn shape(&self) -> Shape {
        Shape::List
    }
    fn at(&self, index: usize) -> Option<&dyn Value> {
        Some(self.get(index)?)
    }
}

/// An element of a list of which those that cannot be read are left out.
pub trait Element: Value + Zero {
    /// What is made of each as soon as it is read, so that not the whole list is there in both forms.
    type Made;
    /// Makes it, if anything is left of it; `true` if something of it is lost. `earlier` is what became of those before
    /// it, with which it may have something in common.
    fn made(self, earlier: &[Self::Made]) -> (Option<Self::Made>, bool);
}

/// What the elements of a list that could be read became, and how many could not or lost something.
#[derive(Debug)]
pub struct Each<T: Element> {
    items: Vec<T::Made>,
    bad: usize,
    /// Being read, or read last.
    current: Option<T>,
}

impl<T: Element> Each<T> {
    /// All that could be read, and how many could not or lost something.
    pub fn finish(mut self) -> (Vec<T::Made>, usize) {
        self.make();
        (self.items, self.bad)
    }

    fn make(&mut self) {
        if let Some((item, lost)) = self.current.take().map(|element| element.made(&self.items)) {
            self.items.extend(item);
            self.bad += usize::from(lost);
        }
    }
}

/// Only read.
impl<T: Element> Value for Each<T> {
    fn shape(&self) -> Shape {
        Shape::Each
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        match token {
            Token::Null => self.bad += usize::from(self.current.take().is_some()),
            _ => return Err(Bad::Expected("a list")),
        }
        Ok(())
    }
    fn open(&mut self, _index: usize) -> Option<&mut dyn Value> {
        self.make();
        Some(self.current.insert(T::zero()))
    }
}

impl<T: Element> Zero for Each<T> {
    fn zero() -> Self {
        Self { items: Vec::new(), bad: 0, current: None }
    }
}

/// A Go pointer, or a slice or map whose `nil` matters.
impl<T: Value + Zero> Value for Option<T> {
    fn shape(&self) -> Shape {
        Shape::Maybe
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        match token {
            Token::Null => *self = None,
            _ => return Err(Bad::Expected("a value")),
        }
        Ok(())
    }
    fn at(&self, index: usize) -> Option<&dyn Value> {
        match (self, index) {
            (Some(value), 0) => Some(value),
            _ => None,
        }
    }
    fn open(&mut self, _index: usize) -> Option<&mut dyn Value> {
        Some(self.insert(T::zero()))
    }
}

impl<T> Zero for Option<T> {
    fn zero() -> Self {
        None
    }
}

impl<T: Value> Value for Box<T> {
    fn shape(&self) -> Shape {
        (**self).shape()
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        (**self).set(token)
    }
    fn put(&self, out: &mut Writer<'_>) {
        (**self).put(out);
    }
    fn at(&self, index: usize) -> Option<&dyn Value> {
        (**self).at(index)
    }
    fn open(&mut self, index: usize) -> Option<&mut dyn Value> {
        (**self).open(index)
    }
    fn key(&self, index: usize) -> String {
        (**self).key(index)
    }
    fn entry(&mut self, key: String) -> Result<&mut dyn Value, Bad> {
        (**self).entry(key)
    }
}

impl<T: Zero> Zero for Box<T> {
    fn zero() -> Self {
        Self::new(T::zero())
    }
}

/// Only written.
impl<T: Value + ?Sized> Value for &T {
    fn shape(&self) -> Shape {
        (**self).shape()
    }
    fn put(&self, out: &mut Writer<'_>) {
        (**self).put(out);
    }
    fn at(&self, index: usize) -> Option<&dyn Value> {
        (**self).at(index)
    }
    fn key(&self, index: usize) -> String {
        (**self).key(index)
    }
}
