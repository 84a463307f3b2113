//! JSON text as Go's `encoding/json` writes it: tab or space indentation, `<`, `>`, `&`, U+2028 and U+2029
//! escaped in strings, floats without a needless `.0`, raw values brought to the same indentation.

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

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
///
/// A value that cannot be written (none of this crate) gives `null`.
pub fn to_go_json<T: Serialize + ?Sized>(value: &T, indent: Indent) -> String {
    let mut out = Vec::new();
    append(&mut out, value, indent, 0);
    String::from_utf8(out).unwrap_or_else(|_| "null".to_owned())
}

/// Appends `value` as it looks `depth` levels inside a document.
pub(crate) fn append<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T, indent: Indent, depth: usize) {
    let start = out.len();
    let format = GoFormat { indent: indent.text(), depth, filled: false };
    if value.serialize(&mut Serializer::with_formatter(&mut *out, format)).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

struct GoFormat {
    indent: Option<&'static str>,
    depth: usize,
    /// The innermost container has at least one member.
    filled: bool,
}

impl GoFormat {
    fn line<W: ?Sized + Write>(&self, out: &mut W) -> io::Result<()> {
        if let Some(indent) = self.indent {
            out.write_all(b"\n")?;
            for _ in 0..self.depth {
                out.write_all(indent.as_bytes())?;
            }
        }
        Ok(())
    }

    fn open<W: ?Sized + Write>(&mut self, out: &mut W, bracket: u8) -> io::Result<()> {
        self.depth = self.depth.saturating_add(1);
        self.filled = false;
        out.write_all(&[bracket])
    }

    fn close<W: ?Sized + Write>(&mut self, out: &mut W, bracket: u8) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        if self.filled {
            self.line(out)?;
        }
        self.filled = true;
        out.write_all(&[bracket])
    }

    fn next<W: ?Sized + Write>(&self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        self.line(out)
    }

    fn colon<W: ?Sized + Write>(&self, out: &mut W) -> io::Result<()> {
        out.write_all(if self.indent.is_some() { b": " } else { b":" })
    }
}

impl Formatter for GoFormat {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b'[')
    }
    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b']')
    }
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }
    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }
    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b'{')
    }
    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b'}')
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.colon(out)
    }
    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if size != 0.0 && !(1e-6..1e21).contains(&size) {
            let text = format!("{value:e}");
            let signed = if size >= 1.0 { text.replace('e', "e+") } else { text };
            return out.write_all(signed.as_bytes());
        }
        write!(out, "{value}")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        escape(out, fragment)
    }

    /// Brings a raw value, which is valid JSON with any white space, to this layout.
    fn write_raw_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment.trim_start();
        while let Some(first) = rest.bytes().next() {
            let mut used = 1;
            match first {
                b'"' => {
                    used = string_len(rest);
                    escape(out, rest.get(..used).unwrap_or_default())?;
                }
                b'{' | b'[' => {
                    self.open(out, first)?;
                    let inner = rest.get(1..).unwrap_or_default().trim_start();
                    if !inner.starts_with(['}', ']']) {
                        self.line(out)?;
                        self.filled = true;
                    }
                }
                b'}' | b']' => self.close(out, first)?,
                b',' => self.next(out, false)?,
                b':' => self.colon(out)?,
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => {
                    used = rest.find([',', '}', ']', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()).max(1);
                    out.write_all(rest.as_bytes().get(..used).unwrap_or_default())?;
                }
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }
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

/// Writes part of a string, with the characters escaped that a browser might take for markup.
fn escape<W: ?Sized + Write>(out: &mut W, fragment: &str) -> io::Result<()> {
    let mut rest = fragment;
    while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        let (plain, special) = rest.split_at(at);
        out.write_all(plain.as_bytes())?;
        let mut chars = special.chars();
        if let Some(c) = chars.next() {
            write!(out, "\\u{:04x}", u32::from(c))?;
        }
        rest = chars.as_str();
    }
    out.write_all(rest.as_bytes())
}
