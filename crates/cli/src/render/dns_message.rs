//! Reads the answers of a DNS message for people. What it says comes from strangers: every length is checked, and a
//! name that points at itself ends.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of the longest name as text.
const LONGEST: usize = 255;

/// What `dns query` shows of a message.
pub(crate) struct Message {
    code: u16,
    /// The answers, if it is no error.
    pub(crate) answers: Option<Vec<Found>>,
}

/// One record, in Go's words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) ttl: u32,
    pub(crate) class: String,
    pub(crate) kind: String,
    pub(crate) body: String,
}

const CODES: [&str; 6] = [
    "RCodeSuccess",
    "RCodeFormatError",
    "RCodeServerFailure",
    "RCodeNameError",
    "RCodeNotImplemented",
    "RCodeRefused",
];

const KINDS: [(u16, &str); 15] = [
    (1, "TypeA"),
    (2, "TypeNS"),
    (5, "TypeCNAME"),
    (6, "TypeSOA"),
    (11, "TypeWKS"),
    (12, "TypePTR"),
    (13, "TypeHINFO"),
    (14, "TypeMINFO"),
    (15, "TypeMX"),
    (16, "TypeTXT"),
    (28, "TypeAAAA"),
    (33, "TypeSRV"),
    (41, "TypeOPT"),
    (64, "TypeSVCB"),
    (65, "TypeHTTPS"),
];

const CLASSES: [(u16, &str); 5] =
    [(1, "ClassINET"), (2, "ClassCSNET"), (3, "ClassCHAOS"), (4, "ClassHESIOD"), (255, "ClassANY")];

/// The name of a number, or the number.
fn named(table: &[(u16, &str)], number: u16) -> String {
    let known = table.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A name with its final dot, and where it ends.
fn name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut text, mut end) = (Vec::new(), None);
    loop {
        let length = *bytes.get(at)?;
        match length {
            0 => break,
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(length))?;
                text.extend_from_slice(label);
                text.push(b'.');
                at += 1 + label.len();
            }
            0xc0.. => {
                end.get_or_insert(at + 2);
                let to = usize::from(word(bytes, at)? & 0x3fff);
                // Only backwards, so that it ends.
                at = Some(to).filter(|to| *to < at)?;
            }
            _ => return None,
        }
        if text.len() > LONGEST {
            return None;
        }
    }
    if text.is_empty() {
        text.push(b'.');
    }
    Some((String::from_utf8_lossy(&text).into_owned(), end.unwrap_or(at + 1)))
}

impl Message {
    /// `None` when it is cut off or damaged.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let code = word(bytes, 2)? & 0xf;
        let (questions, answers) = (word(bytes, 4)?, word(bytes, 6)?);
        let mut at = 12;
        bytes.get(..at)?;
        if code != 0 {
            return Some(Self { code, answers: None });
        }
        for _ in 0..questions {
            at = name(bytes, at)?.1 + 4;
        }
        let mut all = Vec::new();
        for _ in 0..answers {
            let (owner, end) = name(bytes, at)?;
            let kind = word(bytes, end)?;
            let (class, ttl) = (word(bytes, end + 2)?, long(bytes, end + 4)?);
            let start = end + 10;
            at = start + usize::from(word(bytes, end + 8)?);
            bytes.get(start..at)?;
            let body = body(bytes, start, at, kind)?;
            all.push(Found {
                name: owner,
                ttl,
                class: named(&CLASSES, class),
                kind: named(&KINDS, kind),
                body,
            });
        }
        Some(Self { code, answers: Some(all) })
    }

    /// The response code in Go's words.
    pub(crate) fn code(&self) -> String {
        let known = CODES.get(usize::from(self.code));
        known.map_or_else(|| self.code.to_string(), |name| (*name).to_owned())
    }
}

/// What a record says, in Go's form.
fn body(bytes: &[u8], start: usize, end: usize, kind: u16) -> Option<String> {
    let data = bytes.get(start..end)?;
    // As Go, whatever lies between the record's end and what it points at.
    Some(match kind {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).to_string(),
        28 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string(),
        2 | 5 | 12 => name(bytes, start)?.0,
        15 => format!("{} (Priority={})", name(bytes, start + 2)?.0, word(data, 0)?),
        33 => format!(
            "Target={}, Port={}, Priority={}, Weight={}",
            name(bytes, start + 6)?.0,
            word(data, 4)?,
            word(data, 0)?,
            word(data, 2)?
        ),
        16 => texts(data)?,
        6 => {
            let (server, at) = name(bytes, start)?;
            let (mailbox, at) = name(bytes, at)?;
            let number = |n: usize| long(bytes, at + 4 * n);
            format!(
                "dnsmessage.SOAResource{{NS: dnsmessage.MustNewName({server:?}), MBox: \
                 dnsmessage.MustNewName({mailbox:?}), Serial: {}, Refresh: {}, Retry: {}, Expire: {}, MinTTL: {}}}",
                number(0)?,
                number(1)?,
                number(2)?,
                number(3)?,
                number(4)?
            )
        }
        _ => {
            let list: Vec<String> = data.iter().map(ToString::to_string).collect();
            let kind = named(&KINDS, kind);
            let kind = if kind.starts_with("Type") { format!("dnsmessage.{kind}") } else { kind };
            let (length, list) = (data.len(), list.join(", "));
            format!("dnsmessage.UnknownResource{{Type: {kind}, Data: [{length}]byte{{{list}}}}}")
        }
    })
}

/// The strings of a TXT record as Go quotes a list.
fn texts(mut data: &[u8]) -> Option<String> {
    let mut all = Vec::new();
    while let [length, rest @ ..] = data {
        let (text, rest) = rest.split_at_checked(usize::from(*length))?;
        all.push(crate::args::quote(&String::from_utf8_lossy(text)));
        data = rest;
    }
    Some(format!("[{}]", all.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with one question for `x.` and these answers, each behind a pointer to that name.
    fn message(answers: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes =
            vec![0, 1, 0x85, 0x80, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1];
        for (kind, data) in answers {
            bytes.extend_from_slice(&[0xc0, 12]);
            bytes.extend_from_slice(&kind.to_be_bytes());
            bytes.extend_from_slice(&[0, 1, 0, 0, 0, 5]);
            bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
            bytes.extend_from_slice(data);
        }
        bytes
    }

    #[test]
    fn records_in_gos_words() {
        let soa = [&[0, 0xc0, 12][..], &[0, 0, 0, 1].repeat(5)].concat();
        let table: [(u16, &[u8], &str, &str); 8] = [
            (1, &[10, 0, 0, 1], "TypeA", "10.0.0.1"),
            (28, &[0; 16], "TypeAAAA", "::"),
            (5, &[1, b'y', 0xc0, 12], "TypeCNAME", "y.x."),
            (15, &[0, 10, 0xc0, 12], "TypeMX", "x. (Priority=10)"),
            (33, &[0, 1, 0, 2, 0, 53, 0], "TypeSRV", "Target=., Port=53, Priority=1, Weight=2"),
            (16, &[2, b'a', b'"', 0], "TypeTXT", r#"["a\"" ""]"#),
            (99, &[1, 2], "99", "dnsmessage.UnknownResource{Type: 99, Data: [2]byte{1, 2}}"),
            (
                6,
                &soa,
                "TypeSOA",
                "dnsmessage.SOAResource{NS: dnsmessage.MustNewName(\".\"), MBox: dnsmessage.MustNewName(\"x.\"), \
                 Serial: 1, Refresh: 1, Retry: 1, Expire: 1, MinTTL: 1}",
            ),
        ];
        for (number, data, kind, body) in table {
            let read = Message::read(&message(&[(number, data)])).expect("reads");
            let (name, class) = ("x.".to_owned(), "ClassINET".to_owned());
            let found = Found { name, ttl: 5, class, kind: kind.to_owned(), body: body.to_owned() };
            assert_eq!((read.code().as_str(), read.answers), ("RCodeSuccess", Some(vec![found])));
        }
    }

    #[test]
    fn damage_is_seen() {
        let whole = message(&[(1, &[10, 0, 0, 1]), (15, &[0, 10, 0xc0, 12])]);
        for length in 0..whole.len() {
            assert!(Message::read(&whole[..length]).is_none(), "{length}");
        }
        // Names that lead to themselves, and one that is no address.
        for answer in [(5, &[0xc0, 31][..]), (5, &[1, b'y', 0xc0, 31]), (1, &[10, 0, 0]), (16, &[9, b'a'])] {
            assert!(Message::read(&message(&[answer])).is_none(), "{answer:?}");
        }
        let mut missing = message(&[]);
        missing[3] |= 3;
        let read = Message::read(&missing).expect("reads");
        assert_eq!((read.code().as_str(), read.answers), ("RCodeNameError", None));
        missing[3] |= 15;
        assert_eq!(Message::read(&missing).expect("reads").code(), "15");
    }
}
