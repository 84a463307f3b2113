//! Text of others on its way into our errors and logs.

/// Longest text of a server that is repeated, in bytes.
const LONGEST: usize = 200;

/// The start of `bytes` as one printable line.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..LONGEST).unwrap_or(bytes));
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_short_line() {
        assert_eq!(super::printable(b" a\nb\x1b[1m\n"), "a b [1m");
        assert!(super::printable(&[b'x'; 1000]).len() == 200);
    }
}
