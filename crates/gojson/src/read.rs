//! The reader: one for all types.

use crate::object::{Member, Members, NEED, Table};
use crate::text::{Error, Text, shown};
use crate::value::{Bad, Shape, Token, Value, Zero};
use crate::write::{Indent, to_go_json};
use std::fmt::Display;

/// Values within values within values…: further in than any of ours goes.
pub(crate) const DEPTH: u32 = 128;

/// So many bytes more than a text may the elements of all its lists and maps take, without what they point to: one of two
/// bytes, `{}`, may become a struct of hundreds.
const ELEMENTS: usize = 8 << 20;

/// Reads a value.
///
/// # Errors
/// When `text` is not the JSON of one.
pub fn from_slice<T: Value + Zero>(text: &[u8]) -> Result<T, Error> {
    let mut value = T::zero();
    from_slice_over(text, &mut value)?;
    Ok(value)
}

/// [`from_slice`] of a text.
///
/// # Errors
/// As [`from_slice`].
pub fn from_str<T: Value + Zero>(text: &str) -> Result<T, Error> {
    from_slice(text.as_bytes())
}

/// Reads into a value that is there already: what `text` does not name stays.
///
/// # Errors
/// When `text` is not the JSON of one; some of it may have been read then.
pub fn from_slice_over(text: &[u8], value: &mut dyn Value) -> Result<(), Error> {
    let mut reader = Reader::new(text);
    reader.value(Place { slot: value, name: b"", null: Null::Fine })?;
    reader.text.end()
}

/// [`from_slice_over`], and does not look at what follows the value, as Go's decoder of streams.
///
/// # Errors
/// As [`from_slice_over`].
pub fn first_over(text: &[u8], value: &mut dyn Value) -> Result<(), Error> {
    Reader::new(text).value(Place { slot: value, name: b"", null: Null::Fine })
}

/// Where a value goes.
struct Place<'a> {
    slot: &'a mut dyn Value,
    /// The member it belongs to, for errors; empty at the top.
    name: &'static [u8],
    null: Null,
}

/// What `null` means in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Null {
    /// It is up to the value.
    Fine,
    /// As if nothing were there.
    Missing,
    /// An error, as for an element of a list, where Go would have a zero value that nobody meant.
    Bad,
}

struct Reader<'a> {
    text: Text<'a>,
    depth: u32,
    /// What is left for elements, in bytes.
    left: usize,
}

impl<'a> Reader<'a> {
    const fn new(text: &'a [u8]) -> Self {
        Self { text: Text::new(text), depth: 0, left: ELEMENTS.saturating_add(text.len()) }
    }

    /// Counts an element that has been made.
    fn count(&mut self, element: &dyn Value) -> Result<(), Error> {
        match self.left.checked_sub(size_of_val(element)) {
            Some(left) => self.left = left,
            None => return Err(self.text.error("lists take 8 MiB more than their text")),
        }
        Ok(())
    }

    fn value(&mut self, place: Place<'_>) -> Result<(), Error> {
        let shape = place.slot.shape();
        if matches!(shape, Shape::Raw) {
            let text = self.text.carry()?;
            return self.set(place, Token::Raw(text.into()));
        }
        match self.text.peek() {
            b'n' => {
                self.text.scalar()?;
                self.null(place, shape)
            }
            _ if matches!(shape, Shape::Maybe) => {
                let Place { slot, name, .. } = place;
                match slot.open(0) {
                    Some(slot) => self.value(Place { slot, name, null: Null::Fine }),
                    None => Ok(()),
                }
            }
            b'"' => {
                let text = self.text.string()?;
                self.set(place, Token::Text(&text))
            }
            bracket @ (b'{' | b'[') => {
                self.text.take();
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err(self.text.error("recursion limit exceeded"));
                }
                if bracket == b'{' {
                    self.object(place, shape)?
                } else {
                    self.list(place, shape)?
                }
                self.depth -= 1;
                Ok(())
            }
            _ => {
                let token = self.text.scalar()?;
                self.set(place, token)
            }
        }
    }

    fn null(&mut self, place: Place<'_>, shape: Shape) -> Result<(), Error> {
        // A struct that must have something in it cannot be null either.
        let missing = match (place.null, shape) {
            (Null::Missing, _) => Some(place.name),
            (_, Shape::Object { table, .. }) => needed(table).next().map(|member| member.name),
            (Null::Bad, Shape::Leaf { .. } | Shape::List | Shape::Each | Shape::Map) => {
                return Err(self.wrong(place.name, &Bad::Expected(shape.name()), &"null"));
            }
            _ => None,
        };
        match missing {
            Some(name) => Err(self.missing(name)),
            None => self.set(place, Token::Null),
        }
    }

    fn set(&mut self, place: Place<'_>, token: Token<'_>) -> Result<(), Error> {
        let came = match &token {
            Token::Null => Came::Null,
            Token::Bool(flag) => Came::Bool(*flag),
            Token::Int(number) => Came::Number(*number as f64),
            Token::Uint(number) => Came::Number(*number as f64),
            Token::Float(number) => Came::Number(*number),
            Token::Text(text) => Came::Text(text),
            Token::Raw(_) | Token::Member(..) => Came::This,
        };
        place.slot.set(token).map_err(|bad| self.wrong(place.name, &bad, &came))
    }

    fn object(&mut self, place: Place<'_>, shape: Shape) -> Result<(), Error> {
        let Place { slot, name: whole, .. } = place;
        let (table, keep) = match shape {
            Shape::Object { table, keep } => (table, keep),
            Shape::Map => return self.map(slot, whole),
            _ => return Err(self.wrong(whole, &Bad::Expected(shape.name()), &"map")),
        };
        let mut members = Members::new(table);
        // Which needed members have come, by number; a table that needs any is short.
        let mut seen = 0u64;
        let mut more = !self.text.eat(b'}');
        while more {
            let name = self.text.string()?;
            self.text.colon()?;
            if let Some(member) = members.named(name.as_bytes()) {
                if let Some(slot) = slot.open(member.index) {
                    let null = if member.flag == NEED { Null::Missing } else { Null::Fine };
                    self.value(Place { slot, name: member.name, null })?;
                    seen |= bit(member);
                }
            } else {
                if !keep {
                    self.text.skip()?;
                } else {
                    let text = self.text.carry()?;
                    let token = Token::Member(name.into_owned(), text.into());
                    self.set(Place { slot: &mut *slot, name: whole, null: Null::Fine }, token)?;
                }
            }
            more = self.text.another(b'}')?;
        }
        match needed(table).find(|member| seen & bit(*member) == 0) {
            Some(member) => Err(self.missing(member.name)),
            None => Ok(()),
        }
    }

    fn map(&mut self, slot: &mut dyn Value, whole: &'static [u8]) -> Result<(), Error> {
        let _ = slot.set(Token::Null);
        let mut more = !self.text.eat(b'}');
        while more {
            let name = self.text.string()?.into_owned();
            self.text.colon()?;
            match slot.entry(name) {
                Ok(slot) => {
                    self.count(slot)?;
                    self.value(Place { slot, name: whole, null: Null::Bad })?
                }
                Err(bad) => return Err(self.wrong(whole, &bad, &"this key")),
            }
            more = self.text.another(b'}')?;
        }
        Ok(())
    }

    fn list(&mut self, place: Place<'_>, shape: Shape) -> Result<(), Error> {
        let Place { slot: list, name, .. } = place;
        let each = match shape {
            Shape::List => false,
            Shape::Each => true,
            _ => return Err(self.wrong(name, &Bad::Expected(shape.name()), &"sequence")),
        };
        let _ = list.set(Token::Null);
        let mut more = !self.text.eat(b']');
        while more {
            if each {
                // Cut out first: after an error nobody knows where the element would have ended.
                let text = self.text.skip()?;
                let mut read = false;
                if let Some(slot) = list.open(usize::MAX).filter(|_| text != "null") {
                    self.count(slot)?;
                    let mut reader = Reader { left: self.left, ..Reader::new(text.as_bytes()) };
                    read = reader.value(Place { slot, name: b"", null: Null::Fine }).is_ok();
                    self.left = reader.left;
                }
                if !read {
                    let _ = list.set(Token::Null);
                }
            } else if let Some(slot) = list.open(usize::MAX) {
                self.count(slot)?;
                self.value(Place { slot, name, null: Null::Bad })?;
            }
            more = self.text.another(b']')?;
        }
        Ok(())
    }

    /// In words: at which member, what came, and what was expected.
    #[cold]
    fn wrong(&self, name: &[u8], bad: &Bad, came: &dyn Display) -> Error {
        let name = String::from_utf8_lossy(name);
        let colon = if name.is_empty() { "" } else { ": " };
        self.text.error(match bad {
            Bad::Expected(what) => format!("{name}{colon}invalid type: {came}, expected {what}"),
            Bad::Wrong(why) => format!("{name}{colon}{why}"),
        })
    }

    #[cold]
    fn missing(&self, name: &[u8]) -> Error {
        self.text.error(format!("missing field `{}`", String::from_utf8_lossy(name)))
    }
}

/// What came instead of what was expected.
enum Came<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(&'a str),
    This,
}

impl Display for Came<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(flag) => write!(f, "boolean `{flag}`"),
            Self::Number(number) => write!(f, "number `{}`", to_go_json(number, Indent::None)),
            Self::Text(text) => write!(f, "string {}", shown(text)),
            Self::This => f.write_str("this"),
        }
    }
}

/// The members that must be there.
fn needed(table: Table) -> impl Iterator<Item = Member> {
    Members::new(table).filter(|member| member.flag == NEED)
}

fn bit(member: Member) -> u64 {
    if member.flag == NEED { 1u64.checked_shl(member.index as u32).unwrap_or(0) } else { 0 }
}
