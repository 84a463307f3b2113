//! Names: the lower-case text without a final dot, on the stack.
//!
//! A name out of a message and a name out of the configuration are compared as this text. A label that has a dot in it
//! cannot be told from two labels and is refused, as upstream does.

use crate::message::Fault;

/// Bytes of the longest name: 255 on the wire, less the first length byte and the root's.
pub const LONGEST: usize = 253;
/// Bytes of the longest label.
const LABEL: usize = 63;

/// A name in lower case, without a final dot; the root is empty.
#[derive(Clone, Copy)]
pub struct Name {
    len: u8,
    text: [u8; LONGEST],
}

impl Name {
    /// The root.
    pub const ROOT: Self = Self { len: 0, text: [0; LONGEST] };

    /// Reads an uncompressed name at the start of `bytes`; answers it and how many bytes it took.
    ///
    /// A compression pointer is a fault: in front of a query's first question there is nothing to point at.
    pub fn read(bytes: &[u8]) -> Result<(Self, usize), Fault> {
        let mut name = Self::ROOT;
        let mut at = 0;
        loop {
            let length = usize::from(*bytes.get(at).ok_or(Fault::Cut)?);
            at += 1;
            if length == 0 {
                return Ok((name, at));
            }
            if length > LABEL {
                return Err(Fault::Name);
            }
            let label = bytes.get(at..at + length).ok_or(Fault::Cut)?;
            at += length;
            if label.contains(&b'.') || !name.push(label) {
                return Err(Fault::Name);
            }
        }
    }

    /// The name that `text` writes, with or without a final dot; `None` when it is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        let text = text.strip_prefix(b".").unwrap_or(text);
        let mut name = Self::ROOT;
        if text.is_empty() {
            return Some(name);
        }
        for label in text.split(|byte| *byte == b'.') {
            if label.is_empty() || label.len() > LABEL || !name.push(label) {
                return None;
            }
        }
        Some(name)
    }

    /// Appends a label; whether there was room.
    fn push(&mut self, label: &[u8]) -> bool {
        let mut start = usize::from(self.len);
        let end = start + usize::from(start > 0) + label.len();
        if end > LONGEST {
            return false;
        }
        if start > 0 {
            if let Some(place) = self.text.get_mut(start) {
                *place = b'.';
            }
            start += 1;
        }
        for (to, from) in self.text.iter_mut().skip(start).zip(label) {
            *to = from.to_ascii_lowercase();
        }
        // At most 253.
        self.len = end as u8;
        true
    }

    /// This name below another: `host` and `tail1.ts.net` are `host.tail1.ts.net`.
    pub fn below(&self, suffix: &[u8]) -> Option<Self> {
        let mut joined = *self;
        for label in suffix.split(|byte| *byte == b'.').filter(|label| !label.is_empty()) {
            if !joined.push(label) {
                return None;
            }
        }
        Some(joined)
    }

    /// The text.
    pub fn bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Without a dot: a name that a search domain could complete.
    pub fn is_single_label(&self) -> bool {
        self.len > 0 && !self.bytes().contains(&b'.')
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Name {}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// With a final dot, as people who read messages expect it.
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.", self.bytes().escape_ascii())
    }
}

/// The text of a name in the configuration, in lower case and without a final dot; `None` when it is no name.
pub fn canonical(text: &str) -> Option<Box<str>> {
    let name = Name::parse(text.as_bytes())?;
    std::str::from_utf8(name.bytes()).ok().map(Box::from)
}

/// Whether `name` is `suffix` or lies below it; everything lies below the root.
pub fn is_below(name: &[u8], suffix: &[u8]) -> bool {
    match name.strip_suffix(suffix) {
        Some(front) => front.is_empty() || suffix.is_empty() || front.ends_with(b"."),
        None => false,
    }
}

/// The name without its first label; `None` for one label and for the root.
pub fn parent(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().position(|byte| *byte == b'.')?;
    name.get(dot + 1..)
}

/// How many labels.
pub fn labels(name: &[u8]) -> usize {
    if name.is_empty() { 0 } else { 1 + name.iter().filter(|byte| **byte == b'.').count() }
}

/// Writes a name as labels. A text that is no name is written as the root.
pub(crate) fn write(out: &mut Vec<u8>, text: &[u8]) {
    if Name::parse(text).is_some() {
        for label in text.split(|byte| *byte == b'.').filter(|label| !label.is_empty()) {
            out.push(label.len() as u8);
            out.extend_from_slice(label);
        }
    }
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).expect("a name")
    }

    #[test]
    fn text_and_wire_are_one() {
        for text in ["", "a", "node.tail1.ts.net", "_sip._tcp.x", "xn--bcher-kva.example"] {
            let mut wire = Vec::new();
            write(&mut wire, text.as_bytes());
            let (read, taken) = Name::read(&wire).expect("reads");
            assert_eq!((read.bytes(), taken), (text.as_bytes(), wire.len()));
            assert_eq!(Name::parse(text.as_bytes()), Some(read));
        }
        assert_eq!(name("NoDe.TS.net.").bytes(), b"node.ts.net");
    }

    #[test]
    fn the_longest_name_fits_and_no_longer_one() {
        let label = [b'a'; 63];
        let wire = |last: usize| {
            let mut wire = Vec::new();
            for length in [63, 63, 63, last] {
                wire.push(length as u8);
                wire.extend_from_slice(&label[..length]);
            }
            wire.push(0);
            wire
        };
        let (longest, taken) = Name::read(&wire(61)).expect("255 bytes");
        assert_eq!((longest.bytes().len(), taken), (LONGEST, 255));
        assert_eq!(Name::parse(longest.bytes()), Some(longest));
        assert_eq!(Name::read(&wire(62)).map(|_| ()), Err(Fault::Name));
        assert_eq!(longest.below(b"a"), None);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["a..b", "a..", ".a.", "a b.", &"x".repeat(64), &"x.".repeat(127), &"x.".repeat(128)] {
            let fine = [".a.", "a b.", &"x.".repeat(127)].contains(&text);
            assert_eq!(canonical(text).is_some(), fine, "{text}");
        }
        for wire in [&b"\x01"[..], b"\x01a", b"", b"\x05ab.cd\0", b"\xc0\x0c", b"\x40a\0", b"\x80a\0"] {
            assert!(Name::read(wire).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn suffixes_match_whole_labels() {
        for (name, suffix, below) in [
            ("a.ts.net", "ts.net", true),
            ("ts.net", "ts.net", true),
            ("ats.net", "ts.net", false),
            ("net", "ts.net", false),
            ("a", "", true),
            ("", "", true),
            ("", "net", false),
        ] {
            assert_eq!(is_below(name.as_bytes(), suffix.as_bytes()), below, "{name} {suffix}");
        }
        assert_eq!(parent(b"a.b.c"), Some(&b"b.c"[..]));
        assert_eq!(parent(b"c"), None);
        assert_eq!([labels(b""), labels(b"a"), labels(b"a.b")], [0, 1, 2]);
        assert!(
            name("host").is_single_label() && !name("a.b").is_single_label() && !Name::ROOT.is_single_label()
        );
        assert_eq!(name("host").below(b"tail1.ts.net"), Some(name("host.tail1.ts.net")));
    }
}
