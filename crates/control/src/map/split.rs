//! Cuts one JSON object into its top-level fields, and listed arrays into their elements, while it arrives.
//!
//! A byte state machine: it tracks strings, escapes and depth, and leaves judging the JSON within a field to
//! the parser that gets it. Memory: one field or element at a time, within its limit.

use crate::Error;

/// Longest name of a field; longer ones are certainly unknown.
const NAME_LIMIT: usize = 64;
/// Longest element of a list that is cut up; a longer one is left out.
pub(super) const ELEMENT_LIMIT: usize = 1 << 20;
/// Longest other field; what its lists take is bounded where it is read.
pub(super) const FIELD_LIMIT: usize = 16 << 20;
/// A buffer that grew beyond this is given back after use.
const KEEP: usize = 64 << 10;

/// What to do with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Give it whole.
    Whole,
    /// If it is an array, give its elements one by one; otherwise whole.
    Elements,
    /// Pass over it.
    No,
}

/// A piece of the object: raw JSON, not yet checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// A field and its value.
    Field(&'a str, &'a [u8]),
    /// An element of the array in this field.
    Element(&'a str, &'a [u8]),
    /// An element of this field was longer than its limit and has been passed over.
    Skipped(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the object.
    Start,
    /// After `{`, or after a comma (then `}` may not come).
    Name {
        or_end: bool,
    },
    InName {
        escape: bool,
    },
    Colon,
    /// Before a value of the object or (`element`) of an array; `or_end`: the array may end here.
    Before {
        element: bool,
        or_end: bool,
    },
    /// Within a value.
    Value {
        element: bool,
    },
    /// After a value.
    After {
        element: bool,
    },
    /// After the object.
    Done,
}

/// The state machine; one for each message.
pub(super) struct Splitter<W> {
    wanted: W,
    state: State,
    name: Vec<u8>,
    want: Wanted,
    buf: Vec<u8>,
    skipped: bool,
    depth: u32,
    in_string: bool,
    escape: bool,
    scalar: bool,
    /// The item given out last is still in `buf`.
    given: bool,
}

impl<W: Fn(&str) -> Wanted> Splitter<W> {
    /// `wanted` says what to do with each field by name.
    pub(super) fn new(wanted: W) -> Self {
        Self {
            wanted,
            state: State::Start,
            name: Vec::new(),
            want: Wanted::No,
            buf: Vec::new(),
            skipped: false,
            depth: 0,
            in_string: false,
            escape: false,
            scalar: false,
            given: false,
        }
    }

    /// Ready for the next message.
    pub(super) fn reset(&mut self) {
        self.state = State::Start;
        self.clear();
    }

    /// True after the whole object.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn clear(&mut self) {
        self.buf.clear();
        if self.buf.capacity() > KEEP {
            self.buf = Vec::new();
        }
        self.skipped = false;
        self.given = false;
    }

    /// Takes bytes off `input` until an item is complete; `None` when `input` is used up.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Item<'_>>, Error> {
        if self.given {
            self.clear();
        }
        while let Some((&byte, rest)) = input.split_first() {
            if let State::Value { element } = self.state {
                if self.value(input)? {
                    self.state = State::After { element };
                    if self.want != Wanted::No || self.skipped {
                        self.given = true;
                        return Ok(Some(self.item(element)));
                    }
                }
                continue;
            }
            if let State::InName { escape } = self.state {
                *input = rest;
                self.name_byte(byte, escape)?;
                continue;
            }
            if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                *input = rest;
                continue;
            }
            match (self.state, byte) {
                (State::Start, b'{') => self.state = State::Name { or_end: true },
                (State::Name { .. }, b'"') => {
                    self.name.clear();
                    self.state = State::InName { escape: false };
                }
                (State::Name { or_end: true }, b'}') => self.state = State::Done,
                (State::Colon, b':') => {
                    self.want = std::str::from_utf8(&self.name).map_or(Wanted::No, &self.wanted);
                    self.state = State::Before { element: false, or_end: false };
                }
                (State::Before { element: false, .. }, b'[') if self.want == Wanted::Elements => {
                    self.state = State::Before { element: true, or_end: true };
                }
                (State::Before { element: true, or_end: true }, b']') => {
                    self.state = State::After { element: false };
                }
                (State::Before { element, .. }, _) => {
                    self.begin(byte)?;
                    self.state = State::Value { element };
                    continue;
                }
                (State::After { element: false }, b',') => self.state = State::Name { or_end: false },
                (State::After { element: false }, b'}') => self.state = State::Done,
                (State::After { element: true }, b',') => {
                    self.state = State::Before { element: true, or_end: false };
                }
                (State::After { element: true }, b']') => self.state = State::After { element: false },
                _ => return Err(self.bad()),
            }
            *input = rest;
        }
        Ok(None)
    }

    fn item(&self, element: bool) -> Item<'_> {
        let name = std::str::from_utf8(&self.name).unwrap_or_default();
        match (self.skipped, element) {
            (true, _) => Item::Skipped(name),
            (_, true) => Item::Element(name, &self.buf),
            (_, false) => Item::Field(name, &self.buf),
        }
    }

    fn bad(&self) -> Error {
        let place = match std::str::from_utf8(&self.name) {
            Ok(name) if !name.is_empty() => format!("a map message (at {name:?})"),
            _ => "a map message".to_owned(),
        };
        Error::Json { what: place, why: "not a JSON object".to_owned() }
    }

    fn name_byte(&mut self, byte: u8, escape: bool) -> Result<(), Error> {
        self.state = State::InName { escape: false };
        match (byte, escape) {
            (b'"', false) => {
                self.unescape_name();
                self.state = State::Colon;
            }
            // A raw control character may not stand in a JSON string.
            (..0x20, _) => return Err(self.bad()),
            (_, escape) => {
                self.state = State::InName { escape: byte == b'\\' && !escape };
                // A name too long to be known becomes one that certainly is not.
                match self.name.len() {
                    ..NAME_LIMIT => self.name.push(byte),
                    _ => self.name.fill(b'?'),
                }
            }
        }
        Ok(())
    }

    fn unescape_name(&mut self) {
        if self.name.contains(&b'\\') {
            let quoted = [&b"\""[..], &self.name, b"\""].concat();
            self.name = gojson::from_slice::<String>(&quoted).unwrap_or_default().into_bytes();
        }
    }

    fn begin(&mut self, byte: u8) -> Result<(), Error> {
        self.clear();
        (self.depth, self.in_string, self.escape) = (0, false, false);
        self.scalar = !matches!(byte, b'{' | b'[' | b'"');
        match byte {
            b',' | b':' | b'}' | b']' => Err(self.bad()),
            _ => Ok(()),
        }
    }

    /// Takes bytes of the current value; true when it is complete.
    fn value(&mut self, input: &mut &[u8]) -> Result<bool, Error> {
        let (mut n, mut complete) = (0, false);
        while let Some(byte) = input.get(n).filter(|_| !complete) {
            if self.scalar {
                if matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r') {
                    complete = true;
                    break;
                }
            } else if self.escape {
                self.escape = false;
            } else if self.in_string {
                // Most of a message is within strings, so this is the loop that counts.
                let rest = input.get(n..).unwrap_or_default();
                let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                    n = input.len();
                    break;
                };
                n += at;
                self.escape = rest.get(at) == Some(&b'\\');
                self.in_string = self.escape;
                complete = !self.in_string && self.depth == 0;
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        complete = self.depth == 0;
                    }
                    _ => {}
                }
            }
            n += 1;
        }
        let (taken, rest) = input.split_at(n);
        *input = rest;
        self.keep(taken)?;
        Ok(complete)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.want == Wanted::No || self.skipped {
            return Ok(());
        }
        let element = matches!(self.state, State::Value { element: true });
        let limit = if element { ELEMENT_LIMIT } else { FIELD_LIMIT };
        if self.buf.len().saturating_add(bytes.len()) <= limit {
            self.buf.extend_from_slice(bytes);
            return Ok(());
        }
        let what = String::from_utf8_lossy(&self.name).into_owned();
        if !element {
            return Err(Error::TooLong { what: format!("map field {what}"), limit });
        }
        self.clear();
        self.skipped = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
