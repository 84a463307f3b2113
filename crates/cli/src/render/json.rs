//! JSON the way Go indents it, without parsing what the daemon said into types.
//!
//! The text is passed through token by token, so fields that this version does not know, number spellings and
//! their order survive.

use gojson::{Indent, Pairs, Raw, to_go_json};

/// `text` indented with `indent` per level, no newline at the end. Text that is not JSON comes out unharmed but
/// for blanks.
pub(crate) fn reindent(text: &str, indent: &'static str) -> String {
    let mut out = Vec::with_capacity(text.len());
    Reindent::new(indent).push(text.as_bytes(), &mut out);
    // Only ASCII is added or left out, so this is text still.
    String::from_utf8_lossy(&out).into_owned()
}

/// The same for text that arrives in pieces, cut anywhere.
pub(crate) struct Reindent {
    indent: &'static str,
    depth: usize,
    /// Inside a string, and whether a backslash came last.
    string: Option<bool>,
    /// A bracket was opened and nothing has followed yet: an empty pair stays on its line.
    opened: bool,
}

impl Reindent {
    pub(crate) const fn new(indent: &'static str) -> Self {
        Self { indent, depth: 0, string: None, opened: false }
    }

    /// Appends `piece` in the new layout to `out`.
    pub(crate) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for &byte in piece {
            if let Some(escaped) = self.string {
                out.push(byte);
                self.string = match byte {
                    _ if escaped => Some(false),
                    b'"' => None,
                    byte => Some(byte == b'\\'),
                };
                continue;
            }
            if byte.is_ascii_whitespace() {
                continue;
            }
            let closing = matches!(byte, b'}' | b']');
            if closing {
                self.depth = self.depth.saturating_sub(1);
            }
            if closing != self.opened {
                self.line(out);
            }
            self.opened = false;
            out.push(byte);
            match byte {
                b'"' => self.string = Some(false),
                b'{' | b'[' => {
                    self.depth = self.depth.saturating_add(1);
                    self.opened = true;
                }
                b',' => self.line(out),
                b':' => out.push(b' '),
                _ => {}
            }
        }
    }

    fn line(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        for _ in 0..self.depth {
            out.extend_from_slice(self.indent.as_bytes());
        }
    }
}

/// The members of a JSON object in their order, values as written.
pub(crate) struct Members(pub(crate) Vec<(String, Raw)>);

impl Members {
    /// Splits `text` into members.
    ///
    /// # Errors
    /// When `text` is not one JSON object.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        gojson::from_slice(text.as_bytes())
            .map(|Pairs(members)| Self(members))
            .map_err(|error| error.to_string())
    }

    /// The object again, with each value replaced by what `change` makes of it; `None` leaves the member out.
    pub(crate) fn rewrite(&self, mut change: impl FnMut(&str, &str) -> Option<String>) -> String {
        let mut out = String::from("{");
        for (name, value) in &self.0 {
            let Some(value) = change(name, value.text()) else { continue };
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&string(name));
            out.push(':');
            out.push_str(&value);
        }
        out.push('}');
        out
    }
}

/// What `up --json` prints of a failure.
pub(crate) fn error(message: &str) -> String {
    format!("{{\n  \"Error\": {}\n}}\n", string(message.trim_end_matches('\n')))
}

/// A JSON string literal, with the characters that Go escapes for HTML's sake.
pub(crate) fn string(text: &str) -> String {
    to_go_json(&text, Indent::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indents_as_go_does() {
        let text = "{\n\t\"a\": [ ],\"b\":{}, \"c\":[1,{\"d\":\"x, {\\\"}\"}], \"e\":null}\n";
        let want = "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    {\n      \"d\": \"x, {\\\"}\"\n    }\n  ],\n  \"e\": null\n}";
        assert_eq!(reindent(text, "  "), want);
        assert_eq!(reindent(want, "  "), want);
    }

    #[test]
    fn pieces_make_no_difference() {
        let text = "{\"ü\": [ ],\"b\":[ {}, {\"c\":\"\\\\\\\"}\"}]}";
        let mut out = Vec::new();
        let mut layout = Reindent::new(" ");
        text.bytes().for_each(|byte| layout.push(&[byte], &mut out));
        assert_eq!(String::from_utf8(out).unwrap(), reindent(text, " "));
    }

    #[test]
    fn never_fails_on_broken_text() {
        for text in ["", "\"", "]]]]", "{\"a", "{\"a\\", "[[["] {
            let _ = reindent(text, " ");
        }
    }

    #[test]
    fn members_keep_order_and_unknown_fields() {
        let members = Members::parse("{\"z\":1.50,\"a\":{\"n\":9007199254740993}}").unwrap();
        let same = members.rewrite(|_, value| Some(value.to_owned()));
        assert_eq!(same, "{\"z\":1.50,\"a\":{\"n\":9007199254740993}}");
        assert_eq!(
            members.rewrite(|name, value| (name == "a").then(|| value.to_owned())),
            "{\"a\":{\"n\":9007199254740993}}"
        );
    }
}
