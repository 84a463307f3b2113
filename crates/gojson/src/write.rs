//! The writer: JSON text as Go's `encoding/json` writes it. Tab or space indentation, `<`, `>`, `&`, U+2028 and U+2029
//! escaped in strings, floats without a needless `.0`, raw values brought to the same indentation.

use crate::number;
use crate::object::{Members, OMIT};
use crate::scalar::Extra;
use crate::value::{Shape, Value, is_empty};
use std::fmt::{Display, Write as _};

/// How a document is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indent {
    /// One line, no spaces.
    None,
    /// A tab a level: what the daemon writes.
    Tab,
    /// Two spaces a level: what the command line and the state file use.
    TwoSpaces,
}

impl Indent {
    const fn text(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Tab => Some("\t"),
            Self::TwoSpaces => Some("  "),
        }
    }
}

/// `value` as Go would marshal it, without a newline at the end.
pub fn to_go_json(value: &dyn Value, indent: Indent) -> String {
    let mut out = Vec::new();
    append(&mut out, value, indent, 0);
    String::from_utf8(out).unwrap_or_else(|_| "null".to_owned())
}

/// Appends `value` as it looks `depth` levels inside a document.
pub fn append(out: &mut Vec<u8>, value: &dyn Value, indent: Indent, depth: usize) {
    Writer::new(out, indent, depth).value(value, false);
}

/// Where scalars put themselves.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    indent: Option<&'static str>,
    depth: usize,
    /// The innermost container has at least one member.
    filled: bool,
}

impl std::fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(out: &'a mut Vec<u8>, indent: Indent, depth: usize) -> Self {
        Self { out, indent: indent.text(), depth, filled: false }
    }

    /// A string.
    pub fn text(&mut self, text: &str) {
        self.bytes(b"\"");
        self.escape(text.as_bytes(), true);
        self.bytes(b"\"");
    }

    /// A number, a boolean, `null`: what needs no quotes.
    pub fn bare(&mut self, scalar: &dyn Display) {
        let _ = write!(self, "{scalar}");
    }

    /// A number with a point where Go writes one, and an exponent where Go does; what is none is `null`.
    pub fn float(&mut self, value: f64) {
        if !value.is_finite() {
            return self.bytes(b"null");
        }
        if value.is_sign_negative() {
            self.bytes(b"-");
        }
        let (digits, exponent) = number::shortest(value.abs());
        let mut text = digits.to_string();
        // How many digits stand before the point; what stands behind it begins with as many zeros as that is below none.
        let whole = i32::try_from(text.len()).unwrap_or_default() + exponent;
        if !(-5..=21).contains(&whole) {
            if text.len() > 1 {
                text.insert(1, '.');
            }
            text.push_str(if whole > 0 { "e+" } else { "e-" });
            text.push_str(&(whole - 1).unsigned_abs().to_string());
        } else if let Ok(zeros) = usize::try_from(exponent) {
            text.extend(std::iter::repeat_n('0', zeros));
        } else {
            match usize::try_from(whole) {
                Ok(place) if place > 0 => text.insert(place, '.'),
                _ => text = format!("0.{:0>1$}", text, exponent.unsigned_abs() as usize),
            }
        }
        self.bytes(text.as_bytes());
    }

    /// JSON text with any white space, brought to this layout.
    pub fn raw(&mut self, text: &str) {
        let mut rest = text.trim_start();
        while let Some(first) = rest.bytes().next() {
            let mut used = 1;
            match first {
                b'"' => {
                    used = string_len(rest);
                    self.escape(rest.as_bytes().get(..used).unwrap_or_default(), false);
                }
                b'{' | b'[' => {
                    self.begin(first);
                    let inner = rest.get(1..).unwrap_or_default().trim_start();
                    if !inner.starts_with(['}', ']']) {
                        self.line();
                        self.filled = true;
                    }
                }
                b'}' | b']' => self.end(first),
                b',' => {
                    self.bytes(b",");
                    self.line();
                }
                b':' => self.colon(),
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => {
                    used = rest.find([',', '}', ']', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()).max(1);
                    self.bytes(rest.as_bytes().get(..used).unwrap_or_default());
                }
            }
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// Further members of an object.
    pub fn members(&mut self, extra: &Extra) {
        for (name, value) in extra {
            self.name(name.as_bytes());
            self.raw(value.text());
            self.filled = true;
        }
    }

    /// Any value. An empty list or map that is a `member` of a struct is Go's nil.
    fn value(&mut self, value: &dyn Value, member: bool) {
        match value.shape() {
            Shape::Leaf { .. } | Shape::Raw => value.put(self),
            Shape::Maybe => match value.at(0) {
                Some(value) => self.value(value, false),
                None => self.bytes(b"null"),
            },
            Shape::List | Shape::Map | Shape::Each if member && value.at(0).is_none() => self.bytes(b"null"),
            Shape::List | Shape::Each => {
                self.begin(b'[');
                for part in (0..).map_while(|index| value.at(index)) {
                    self.next();
                    self.value(part, false);
                    self.filled = true;
                }
                self.end(b']');
            }
            Shape::Map => {
                self.begin(b'{');
                for (name, index) in by_text(value) {
                    if let Some(part) = value.at(index) {
                        self.name(name.as_bytes());
                        self.value(part, false);
                        self.filled = true;
                    }
                }
                self.end(b'}');
            }
            Shape::Object { table, .. } => {
                self.begin(b'{');
                for member in Members::new(table) {
                    let Some(part) = value.at(member.index) else { continue };
                    if member.flag == OMIT && is_empty(part) {
                        continue;
                    }
                    self.name(member.name);
                    self.value(part, true);
                    self.filled = true;
                }
                value.put(self);
                self.end(b'}');
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn line(&mut self) {
        if let Some(indent) = self.indent {
            self.bytes(b"\n");
            for _ in 0..self.depth {
                self.bytes(indent.as_bytes());
            }
        }
    }

    fn begin(&mut self, bracket: u8) {
        self.depth = self.depth.saturating_add(1);
        self.filled = false;
        self.bytes(&[bracket]);
    }

    fn end(&mut self, bracket: u8) {
        self.depth = self.depth.saturating_sub(1);
        if self.filled {
            self.line();
        }
        self.filled = true;
        self.bytes(&[bracket]);
    }

    fn next(&mut self) {
        if self.filled {
            self.bytes(b",");
        }
        self.line();
    }

    fn name(&mut self, name: &[u8]) {
        self.next();
        self.bytes(b"\"");
        self.escape(name, true);
        self.bytes(b"\"");
        self.colon();
    }

    fn colon(&mut self) {
        self.bytes(if self.indent.is_some() { b": " } else { b":" });
    }

    /// The inside of a string, with the characters escaped that a browser might take for markup and, if it is `plain`,
    /// those that JSON wants to be.
    fn escape(&mut self, text: &[u8], plain: bool) {
        let mut done = 0;
        for (at, byte) in text.iter().copied().enumerate() {
            let (code, length) = match byte {
                b'<' | b'>' | b'&' => (u32::from(byte), 1),
                // U+2028 and U+2029.
                0xe2 => match text.get(at..at + 3) {
                    Some([_, 0x80, last @ (0xa8 | 0xa9)]) => (0x2028 + u32::from(*last == 0xa9), 3),
                    _ => continue,
                },
                0..0x20 | b'"' | b'\\' if plain => (byte.into(), 1),
                _ => continue,
            };
            self.bytes(text.get(done..at).unwrap_or_default());
            done = at + length;
            let short = match byte {
                b'"' | b'\\' => byte,
                0x08 => b'b',
                0x0c => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                _ => {
                    self.escaped(code);
                    continue;
                }
            };
            self.bytes(&[b'\\', short]);
        }
        self.bytes(text.get(done..).unwrap_or_default());
    }

    fn escaped(&mut self, code: u32) {
        let _ = write!(self, "\\u{code:04x}");
    }
}

/// Names and numbers of the entries of a map. Go sorts them by their text, numbers too: 10 comes before 9.
fn by_text(map: &dyn Value) -> Vec<(String, usize)> {
    let mut names: Vec<(String, usize)> = Vec::new();
    let mut index = 0;
    while map.at(index).is_some() {
        let name = map.key(index);
        let at = match names.last() {
            Some((last, _)) if *last > name => names.partition_point(|(known, _)| *known <= name),
            _ => names.len(),
        };
        names.insert(at, (name, index));
        index += 1;
    }
    names
}

/// Length of the string literal that `text` begins with, both quotes included.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
