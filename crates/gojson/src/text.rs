//! JSON text: white space, strings, values that are passed over, and where an error is. Numbers are next door.

use crate::read::DEPTH;
use crate::value::Token;
use std::borrow::Cow;
use std::fmt;

/// Why a text is not the JSON that was wanted, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    why: String,
    line: usize,
    column: usize,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {} column {}", self.why, self.line, self.column)
    }
}

impl std::error::Error for Error {}

/// The start of a text in quotes, for an error: the text may be megabytes of somebody else, and errors are logged and kept.
/// 64 characters, of which one that is escaped takes ten bytes at most.
#[cold]
pub(crate) fn shown(text: &str) -> String {
    let start = format!("{text:.64}");
    format!("{start:?}")
}

/// A text and how far it has been read.
pub(crate) struct Text<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Text<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// An error at this place.
    #[cold]
    pub(crate) fn error(&self, why: impl Into<String>) -> Error {
        let before = self.text.get(..self.at.min(self.text.len())).unwrap_or_default();
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error { why: why.into(), line, column: before.len() - line_start }
    }

    /// An error about the next byte, or about there being none.
    #[cold]
    pub(crate) fn unexpected(&self, wanted: &'static str) -> Error {
        match self.text.get(self.at) {
            Some(_) => self.error(wanted),
            None => self.error("EOF while parsing a value"),
        }
    }

    /// The next byte that is no white space, 0 at the end.
    pub(crate) fn peek(&mut self) -> u8 {
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return *byte,
            }
        }
        0
    }

    /// Takes the byte that was looked at.
    pub(crate) const fn take(&mut self) {
        self.at += 1;
    }

    /// Takes `byte` if it is the next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let next = self.peek() == byte;
        self.at += usize::from(next);
        next
    }

    /// Nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        self.peek();
        if self.at < self.text.len() { Err(self.error("trailing characters")) } else { Ok(()) }
    }

    /// The colon behind a name.
    pub(crate) fn colon(&mut self) -> Result<(), Error> {
        if self.eat(b':') { Ok(()) } else { Err(self.unexpected("expected `:`")) }
    }

    /// What is behind a part of a list or an object that ends with `close`: true if another part follows.
    pub(crate) fn another(&mut self, close: u8) -> Result<bool, Error> {
        match self.peek() {
            b',' => {
                self.take();
                Ok(true)
            }
            byte if byte == close => {
                self.take();
                Ok(false)
            }
            _ if close == b']' => Err(self.unexpected("expected `,` or `]`")),
            _ => Err(self.unexpected("expected `,` or `}`")),
        }
    }

    /// `null`, `true`, `false`, a number: what is neither string nor container.
    pub(crate) fn scalar(&mut self) -> Result<Token<'static>, Error> {
        let (word, token) = match self.peek() {
            b'n' => ("null", Token::Null),
            b't' => ("true", Token::Bool(true)),
            b'f' => ("false", Token::Bool(false)),
            b'-' | b'0'..=b'9' => {
                let parts = self.number()?;
                return parts.token().ok_or_else(|| self.error("number out of range"));
            }
            _ => return Err(self.unexpected("expected value")),
        };
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            let short = word.as_bytes().starts_with(rest);
            return Err(self.error(if short { "EOF while parsing a value" } else { "expected ident" }));
        }
        self.at += word.len();
        Ok(token)
    }

    /// A string, borrowed where it has no escapes.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        if !self.eat(b'"') {
            return Err(self.unexpected("expected a string"));
        }
        let plain = self.plain()?;
        if self.text.get(self.at) == Some(&b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut whole = plain.to_owned();
        loop {
            self.at += 1;
            whole.push(self.escape()?);
            whole.push_str(self.plain()?);
            if self.text.get(self.at) == Some(&b'"') {
                self.at += 1;
                return Ok(Cow::Owned(whole));
            }
        }
    }

    /// Everything up to the next quote or backslash.
    fn plain(&mut self) -> Result<&'a str, Error> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length =
            rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
        self.at += length;
        match self.text.get(self.at) {
            Some(b'"' | b'\\') => {}
            Some(_) => return Err(self.error("control character found while parsing a string")),
            None => return Err(self.error("EOF while parsing a string")),
        }
        std::str::from_utf8(rest.get(..length).unwrap_or_default())
            .map_err(|_| self.error("invalid unicode code point"))
    }

    /// What stands behind a backslash. As in Go, half of a surrogate pair is the replacement character.
    fn escape(&mut self) -> Result<char, Error> {
        let Some(byte) = self.text.get(self.at).copied() else {
            return Err(self.error("EOF while parsing a string"));
        };
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => byte.into(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex(self.at).ok_or_else(|| self.error("invalid escape"))?;
                self.at += 4;
                let next = self.text.get(self.at..).unwrap_or_default();
                let second = if next.starts_with(b"\\u") { self.hex(self.at + 2) } else { None };
                match (first, second) {
                    (0xd800..0xdc00, Some(second @ 0xdc00..0xe000)) => {
                        self.at += 6;
                        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                    }
                    _ => char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            _ => return Err(self.error("invalid escape")),
        })
    }

    /// Four hexadecimal digits.
    fn hex(&self, at: usize) -> Option<u32> {
        self.text
            .get(at..at + 4)?
            .iter()
            .try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
    }

    /// The text of any value that somebody carries along: one that is deep would be written with as deep an indentation in
    /// each line.
    pub(crate) fn carry(&mut self) -> Result<&'a str, Error> {
        self.pass(DEPTH as usize)
    }

    /// The text of any value, checked, not understood. Takes a byte of memory a level, no stack.
    pub(crate) fn skip(&mut self) -> Result<&'a str, Error> {
        self.pass(usize::MAX)
    }

    fn pass(&mut self, depth: usize) -> Result<&'a str, Error> {
        self.peek();
        let start = self.at;
        let mut open = Vec::new();
        loop {
            match self.peek() {
                b'"' => drop(self.string()?),
                byte @ (b'{' | b'[') => {
                    self.take();
                    // The closing bracket is two behind the opening one.
                    let close = byte + 2;
                    if open.len() >= depth {
                        return Err(self.error("recursion limit exceeded"));
                    }
                    if !self.eat(close) {
                        open.push(close);
                        self.name_if(close)?;
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => {
                    self.number()?;
                }
                _ => drop(self.scalar()?),
            }
            loop {
                let Some(close) = open.last().copied() else {
                    let text = self.text.get(start..self.at).unwrap_or_default();
                    return std::str::from_utf8(text).map_err(|_| self.error("invalid unicode code point"));
                };
                if self.another(close)? {
                    self.name_if(close)?;
                    break;
                }
                open.pop();
            }
        }
    }

    /// The name of a member, within an object.
    fn name_if(&mut self, close: u8) -> Result<(), Error> {
        if close == b'}' {
            self.string()?;
            self.colon()?;
        }
        Ok(())
    }
}
