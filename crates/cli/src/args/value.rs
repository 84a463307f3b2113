//! Value forms of Go's `flag` package and its quoting: booleans, durations, `%q`, and shell words.

use std::fmt;
use std::time::Duration;

/// Nanoseconds as Go's `time.Duration` counts them; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GoDuration(pub(crate) i64);

impl GoDuration {
    /// `None` for zero and below, which every flag here reads as "no limit".
    pub(crate) fn limit(self) -> Option<Duration> {
        u64::try_from(self.0).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos)
    }
}

/// Go's text: `1h2m3s`, `1.5s`, `23ms`, `0s`.
impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        if nanos == 0 {
            return f.write_str("0s");
        }
        for (unit, name) in [(1u64, "ns"), (1_000, "µs"), (1_000_000, "ms")] {
            if nanos < unit * 1_000 {
                return write!(f, "{}{name}", decimal(nanos, unit));
            }
        }
        let seconds = nanos / 1_000_000_000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(nanos % 60_000_000_000, 1_000_000_000))
    }
}

/// `value / unit` without trailing zeros, for a power of ten `unit`.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, part) = (value / unit, value % unit);
    if part == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{part:0width$}").trim_end_matches('0'))
}

/// Go's `strconv.ParseBool` set of words.
///
/// # Errors
/// What is wrong, for the end of a sentence.
pub fn parse_bool(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("parse error"),
    }
}

/// A decimal or `0x`/`0o`/`0b` whole number.
pub(crate) fn parse_int(text: &str) -> Result<i64, &'static str> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)),
        _ => (10, Some(digits)),
    };
    let digits = digits.filter(|digits| !digits.is_empty()).ok_or("parse error")?;
    // Below zero there is one number more.
    let mut value = Some(0i64);
    for digit in digits.chars() {
        let digit = digit.to_digit(radix).ok_or("parse error")?;
        value = value.and_then(|value| value.checked_mul(radix.into())?.checked_sub(digit.into()));
    }
    let value = if negative { value } else { value.and_then(i64::checked_neg) };
    value.ok_or("value out of range")
}

/// A Go duration: `0`, or numbers with units `ns us µs ms s m h`, e.g. `1h2m3.5s`.
pub(crate) fn parse_duration(text: &str) -> Result<GoDuration, &'static str> {
    const BAD: &str = "parse error";
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(GoDuration(0));
    }
    if rest.is_empty() {
        return Err(BAD);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(BAD)?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(BAD),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && part.is_empty() || part.contains('.') {
            return Err(BAD);
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| BAD)? };
        total = whole.checked_mul(scale).and_then(|more| total.checked_add(more)).ok_or(BAD)?;
        let mut digit_scale = scale;
        for digit in part.bytes() {
            digit_scale /= 10;
            total = total.checked_add(u64::from(digit - b'0') * digit_scale).ok_or(BAD)?;
        }
        rest = after;
    }
    let total = i64::try_from(total).map_err(|_| BAD)?;
    Ok(GoDuration(if negative { -total } else { total }))
}

/// Go's `%q`: double quotes and backslash escapes.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Go's `%q` of a list: `["a" "b"]`.
pub(crate) fn quote_list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

/// `word` as one POSIX shell word: backslashes for a few special characters, single quotes where there is a blank.
pub(crate) fn shell_quote(word: &str) -> String {
    if word.is_empty() {
        return "''".to_owned();
    }
    if word.contains([' ', '\t', '\n']) {
        let pieces: Vec<String> = word
            .split('\'')
            .map(|piece| if piece.is_empty() { String::new() } else { format!("'{piece}'") })
            .collect();
        return pieces.join("\\'");
    }
    let mut out = String::with_capacity(word.len());
    for (at, c) in word.chars().enumerate() {
        if "\\'\"`${[|&;<>()*?!".contains(c) || (at == 0 && c == '~') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
