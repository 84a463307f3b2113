//! Checks of `--advertise-tags` and `--hostname`.

use crate::args::quote;

/// A comma list of ACL tags, `tag:` added where a word has no colon.
///
/// # Errors
/// One sentence naming the tag that is not one.
pub(crate) fn tags(list: &str) -> Result<Vec<String>, String> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    list.split(',')
        .map(|word| {
            let tag = if word.contains(':') { word.to_owned() } else { format!("tag:{word}") };
            match tag_fault(&tag) {
                Some(fault) => Err(format!("tag: {}: {fault}", quote(&tag))),
                None => Ok(tag),
            }
        })
        .collect()
}

fn tag_fault(tag: &str) -> Option<&'static str> {
    let Some(name) = tag.strip_prefix("tag:") else { return Some("tags must start with 'tag:'") };
    match name.bytes().next() {
        None => Some("tag names must not be empty"),
        Some(first) if !first.is_ascii_alphabetic() => {
            Some("tag names must start with a letter, after 'tag:'")
        }
        _ if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => {
            Some("tag names can only contain numbers, letters, or dashes")
        }
        _ => None,
    }
}

/// Checks a host name given by the user and gives it without a dot at either end; the empty one means "the system's".
///
/// # Errors
/// One sentence naming the label that cannot be in a DNS name.
pub fn check_hostname(name: &str) -> Result<&str, String> {
    if name.is_empty() {
        return Ok(name);
    }
    let inner = name.strip_prefix('.').unwrap_or(name);
    let inner = inner.strip_suffix('.').unwrap_or(inner);
    if inner.len() > 253 {
        return Err(format!("{} is too long to be a DNS name", quote(inner)));
    }
    for label in inner.split('.') {
        let (Some(first), Some(last)) = (label.chars().next(), label.chars().last()) else {
            return Err("empty DNS label".to_owned());
        };
        if label.len() > 63 {
            return Err(format!("{} is too long, max length is 63 bytes", quote(label)));
        }
        let fault = if !first.is_ascii_alphanumeric() {
            "must start with a letter or number".to_owned()
        } else if !last.is_ascii_alphanumeric() {
            "must end with a letter or number".to_owned()
        } else if let Some(c) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            format!("contains invalid character '{c}'")
        } else {
            continue;
        };
        return Err(format!("{} is not a valid DNS label: {fault}", quote(label)));
    }
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_table() {
        assert_eq!(tags("eng,tag:web-1").unwrap(), ["tag:eng", "tag:web-1"]);
        assert_eq!(tags("").unwrap(), Vec::<String>::new());
        for (list, want) in [
            ("9", "tag: \"tag:9\": tag names must start with a letter, after 'tag:'"),
            ("a,", "tag: \"tag:\": tag names must not be empty"),
            ("foo:bar", "tag: \"foo:bar\": tags must start with 'tag:'"),
            ("a_b", "tag: \"tag:a_b\": tag names can only contain numbers, letters, or dashes"),
        ] {
            assert_eq!(tags(list).unwrap_err(), want);
        }
    }

    #[test]
    fn hostname_table() {
        for good in ["", "a", "router-1", "a.b.c", "a.b.", ".a.b", ".a."] {
            assert_eq!(check_hostname(good), Ok(good.trim_matches('.')), "{good}");
        }
        for (bad, want) in [
            ("-bad", "\"-bad\" is not a valid DNS label: must start with a letter or number"),
            ("bad-", "\"bad-\" is not a valid DNS label: must end with a letter or number"),
            ("b_d", "\"b_d\" is not a valid DNS label: contains invalid character '_'"),
            ("a..b", "empty DNS label"),
            ("a..", "empty DNS label"),
            (".", "empty DNS label"),
        ] {
            assert_eq!(check_hostname(bad).unwrap_err(), want);
        }
    }
}
