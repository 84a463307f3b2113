//! Query strings and percent-encoding.

/// The parameters of a query, decoded, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what follows the `?`. Pairs that are not well formed are left out, as Go does.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        Self(
            pairs
                .filter_map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    Some((decode(name, true)?, decode(value, true)?))
                })
                .collect(),
        )
    }

    /// The first value of `name`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first value of `name`, empty if there is none.
    pub fn text(&self, name: &str) -> &str {
        self.value(name).unwrap_or_default()
    }

    /// The first value of `name` as Go's `ParseBool` reads it; `None` if it is absent, empty or something else.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.value(name)? {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        }
    }
}

/// Undoes percent-encoding; with `plus`, `+` is a space. `None` when it is malformed or not UTF-8.
pub(crate) fn decode(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters() {
        let query = Query::parse("ip=100.64.0.7&type=TSMP&size=&name=a+b%2Fc&bad=%zz&x;y=1&flag=T&ip=2");
        assert_eq!(query.value("ip"), Some("100.64.0.7"));
        assert_eq!(query.value("size"), Some(""));
        assert_eq!(query.text("name"), "a b/c");
        assert_eq!(query.value("bad"), None);
        assert_eq!(query.value("x;y"), None);
        assert_eq!((query.flag("flag"), query.flag("type"), query.flag("none")), (Some(true), None, None));
    }

    proptest! {
        #[test]
        fn any_text(text: String) {
            let _ = Query::parse(&text);
            let _ = decode(&text, true);
        }

        #[test]
        fn round_trip(text: String, plus: bool) {
            prop_assert_eq!(decode(&encode(&text), plus), Some(text));
        }

        #[test]
        fn pairs(name in "[a-z]{1,8}", value: String) {
            let query = Query::parse(&format!("z=1&{}={}", encode(&name), encode(&value)));
            prop_assume!(name != "z");
            prop_assert_eq!(query.value(&name), Some(value.as_str()));
        }
    }
}
