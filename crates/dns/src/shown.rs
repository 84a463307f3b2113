//! Questions that people write, and answers as they read them: the debug form of an exit node's `/dns-query`.
//!
//! `?q=NAME&t=KIND` is answered by a JSON list of addresses and texts (protocol reference §9.6).

use crate::message::{self, Code, HEADER, kind, word};
use crate::name::Name;

/// Texts.
const TXT: u16 = 16;
/// Class `IN`.
const INTERNET: u16 = 1;

/// The query for a name that somebody wrote: for its IPv4 addresses, unless `wanted` is `aaaa` or `txt`. `None`: that is no
/// name.
pub fn question(name: &str, wanted: &str) -> Option<Vec<u8>> {
    let kind = match () {
        () if wanted.eq_ignore_ascii_case("aaaa") => kind::AAAA,
        () if wanted.eq_ignore_ascii_case("txt") => TXT,
        () => kind::A,
    };
    Some(message::query(1, &Name::parse(name.as_bytes())?, kind))
}

/// Addresses and texts of an answer, in their order.
///
/// # Errors
/// That it says something else, in Go's words, or cannot be read.
pub fn records(answer: &[u8]) -> Result<Vec<String>, String> {
    let code = message::code(answer);
    if code != Code::Success as u8 {
        const NAMES: [&str; 6] =
            ["Success", "FormatError", "ServerFailure", "NameError", "NotImplemented", "Refused"];
        let name = NAMES.get(usize::from(code)).map(|name| format!("RCode{name}"));
        return Err(format!("DNS RCode = {}", name.unwrap_or_else(|| code.to_string())));
    }
    let mut shown = Vec::new();
    read(answer, &mut shown).ok_or("an answer that is cut")?;
    Ok(shown)
}

fn read(answer: &[u8], shown: &mut Vec<String>) -> Option<()> {
    let mut at = HEADER;
    for _ in 0..word(answer, 4)? {
        at = name_end(answer, at)? + 4;
    }
    for _ in 0..word(answer, 6)? {
        at = name_end(answer, at)?;
        let (kind, class, length) = (word(answer, at)?, word(answer, at + 2)?, word(answer, at + 8)?);
        let data = answer.get(at + 10..at + 10 + usize::from(length))?;
        at += 10 + data.len();
        if class != INTERNET {
            continue;
        }
        match kind {
            kind::A => shown.push(std::net::Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).to_string()),
            kind::AAAA => shown.push(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string()),
            TXT => texts(data, shown)?,
            _ => {}
        }
    }
    Some(())
}

/// Each is preceded by its length.
fn texts(mut data: &[u8], shown: &mut Vec<String>) -> Option<()> {
    while let Some((length, rest)) = data.split_first() {
        let (text, rest) = rest.split_at_checked(usize::from(*length))?;
        shown.push(String::from_utf8_lossy(text).into_owned());
        data = rest;
    }
    Some(())
}

/// Where the name at `at` ends; where a pointer leads is not looked at.
fn name_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(*length),
            _ => return Some(at + 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers to `question` with these records, by kind, class and data.
    fn answer(records: &[(u16, u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question("a.b", "").expect("a name");
        bytes[2] |= 0x80;
        bytes[7] = records.len() as u8;
        for (kind, class, data) in records {
            bytes.extend([0xc0, 12]);
            bytes.extend([kind.to_be_bytes(), class.to_be_bytes(), [0, 0], [0, 60]].concat());
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn addresses_and_texts_are_shown() {
        let long = [&[2][..], b"ab", &[0], &[1], b"\xff"].concat();
        let all = answer(&[
            (1, 1, &[192, 0, 2, 1]),
            (1, 3, &[192, 0, 2, 2]),
            (28, 1, &[0; 16]),
            (5, 1, &[1, b'x', 0]),
            (TXT, 1, &long),
        ]);
        let shown = records(&all).expect("readable");
        assert_eq!(shown, ["192.0.2.1", "::", "ab", "", "\u{fffd}"]);
        assert_eq!(records(&answer(&[])), Ok(Vec::new()));
        // Cut anywhere it is said, and nothing worse happens.
        for length in HEADER..all.len() {
            assert!(records(&all[..length]).is_err(), "{length}");
        }
        for bad in [(1, &[1, 2, 3][..]), (28, &[0; 4]), (TXT, &[5, b'x'])] {
            assert!(records(&answer(&[(bad.0, 1, bad.1)])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn failures_have_gos_names() {
        let mut bytes = answer(&[]);
        for (code, expected) in
            [(2, "DNS RCode = RCodeServerFailure"), (3, "DNS RCode = RCodeNameError"), (9, "DNS RCode = 9")]
        {
            bytes[3] = code;
            assert_eq!(records(&bytes), Err(expected.to_owned()));
        }
        assert!(records(&[]).is_err());
    }

    #[test]
    fn questions_of_people() {
        let kind = |wanted| question("a.b.", wanted).map(|bytes| bytes[bytes.len() - 3]);
        assert_eq!(["", "a", "AAAA", "txt", "mx"].map(kind), [1, 1, 28, 16, 1].map(Some));
        assert_eq!(question("a..b", ""), None);
    }
}
