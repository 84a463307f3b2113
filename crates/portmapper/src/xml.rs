//! As much of XML as UPnP devices write: elements, text, the five entities and numbers, CDATA. No prefixes (they are cut
//! off), attributes, document types or entities of the document's own: nothing here can grow beyond its input.

/// What comes next in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// An element begins; its name without prefix.
    Open(&'a str),
    /// An element ends.
    Close(&'a str),
    /// Text between two tags, not all white, entities resolved.
    Text(String),
}

/// Reads a document item by item. It ends at the first thing that makes no sense.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a str,
    /// Of an empty element whose beginning was told last.
    close: Option<&'a str>,
}

impl<'a> Reader<'a> {
    /// Reads `text`.
    pub const fn new(text: &'a str) -> Self {
        Self { rest: text, close: None }
    }

    fn tag(&mut self) -> Option<Item<'a>> {
        let (tag, after) = self.rest.strip_prefix('<')?.split_once('>')?;
        self.rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            return Some(Item::Close(local(name)));
        }
        let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let name = local(tag.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or(tag));
        self.close = empty.then_some(name);
        Some(Item::Open(name))
    }

    /// Skips what says nothing: declarations and comments; true if there was some.
    fn skip(&mut self) -> Option<bool> {
        for (start, end) in [("<!--", "-->"), ("<?", "?>"), ("<!DOCTYPE", ">")] {
            if let Some(inside) = self.rest.strip_prefix(start) {
                self.rest = inside.split_once(end)?.1;
                return Some(true);
            }
        }
        Some(false)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if let Some(name) = self.close.take() {
            return Some(Item::Close(name));
        }
        loop {
            if self.skip()? {
                continue;
            }
            if let Some(inside) = self.rest.strip_prefix("<![CDATA[") {
                let (text, after) = inside.split_once("]]>")?;
                self.rest = after;
                return Some(Item::Text(text.to_owned()));
            }
            if self.rest.starts_with('<') {
                return self.tag();
            }
            let (text, after) = self.rest.split_at(self.rest.find('<')?);
            self.rest = after;
            if !text.trim().is_empty() {
                return Some(Item::Text(unescape(text.trim())));
            }
        }
    }
}

/// A name without its prefix.
fn local(name: &str) -> &str {
    let name = name.trim();
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

/// Bytes of an entity with its semicolon; farther on none is looked for, or a text of `&` alone would be read to its end for
/// each of them.
const LONGEST: usize = 12;

/// Resolves entities; what is none stays as it is.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let end = after.bytes().take(LONGEST).position(|byte| byte == b';');
        match end.and_then(|end| Some((entity(after.get(..end)?)?, after.get(end + 1..)?))) {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        name => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}

/// Makes `text` fit between two tags.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The text of the first element called `name`, whatever it is in.
pub fn text_of(document: &str, name: &str) -> Option<String> {
    let mut items = Reader::new(document).skip_while(|item| *item != Item::Open(name));
    items.next()?;
    match items.next()? {
        Item::Text(text) => Some(text),
        Item::Close(_) => Some(String::new()),
        Item::Open(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn documents() {
        let text = "<?xml version=\"1.0\"?>\r\n<!-- a > b --><s:Body a='1'>\n <u:X/> A&amp;B &#65;&#x42; &what; \
                    <![CDATA[<raw>]]></s:Body> ";
        let items: Vec<_> = Reader::new(text).collect();
        let want = [
            Item::Open("Body"),
            Item::Open("X"),
            Item::Close("X"),
            Item::Text("A&B AB &what;".to_owned()),
            Item::Text("<raw>".to_owned()),
            Item::Close("Body"),
        ];
        assert_eq!(items, want);
        assert_eq!(Reader::new("no tags").count(), 0);
        assert_eq!(Reader::new("<open").count(), 0);
        assert_eq!(Reader::new("<!-- never closed").count(), 0);
    }

    #[test]
    fn an_entity_ends_soon_or_is_none() {
        for (text, want) in [
            ("&#x00010ffff;", "\u{10ffff}"),
            ("&#x000010ffff;", "&#x000010ffff;"),
            ("&&amp;&", "&&&"),
            ("&", "&"),
            ("&;", "&;"),
            // In the middle of a character the look ends as well.
            ("&ääääää€;&lt;", "&ääääää€;<"),
        ] {
            assert_eq!(unescape(text), want);
        }
    }

    #[test]
    fn single_texts() {
        let text = "<r><a>1</a><b/><c> </c><d><e>2</e></d></r>";
        let all = ["a", "b", "c", "d", "e", "f"].map(|name| text_of(text, name));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(all, [some("1"), some(""), some(""), None, some("2"), None]);
    }

    proptest! {
        #[test]
        fn anything(text in "[<>/!?&;:#x\\-\\[\\]a-c CDAT]{0,200}") {
            let total: usize = Reader::new(&text)
                .map(|item| match item {
                    Item::Text(text) => text.len(),
                    Item::Open(_) | Item::Close(_) => 0,
                })
                .sum();
            prop_assert!(total <= text.len());
            prop_assert!(Reader::new(&text).count() <= 2 * text.len() + 1);
        }

        #[test]
        fn there_and_back(text in "[ -~]{1,40}") {
            prop_assume!(!text.trim().is_empty());
            let document = format!("<a>{}</a>", escape(&text));
            prop_assert_eq!(text_of(&document, "a"), Some(text.trim().to_owned()));
        }
    }
}
