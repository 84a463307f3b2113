//! Text of others made fit for a terminal: names, systems and reasons come from peers and control, who may send anything.
//!
//! Leaves out JSON, which goes as it is to whoever reads it.

use std::borrow::Cow;

/// Stands for a character that a terminal would obey.
const INSTEAD: char = '\u{fffd}';

/// `text` without control characters but for line ends and tabs.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    without(text, |c| c.is_control() && c != '\n' && c != '\t')
}

/// `text` as one cell of a table: without any control character.
pub(crate) fn cell(text: &str) -> Cow<'_, str> {
    without(text, char::is_control)
}

fn without(text: &str, bad: fn(char) -> bool) -> Cow<'_, str> {
    match text.contains(bad) {
        true => Cow::Owned(text.replace(bad, INSTEAD.encode_utf8(&mut [0; 4]))),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        let foul = "a\u{1b}[2J\r\u{7f}\u{9b}1m\tb\n\u{e9}";
        assert_eq!(text(foul), "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}1m\tb\n\u{e9}");
        assert_eq!(cell(foul), "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}1m\u{fffd}b\u{fffd}\u{e9}");
        assert!(matches!(text("plain"), Cow::Borrowed("plain")));
    }
}
