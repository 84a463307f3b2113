//! Names as people see them: MagicDNS base names, tidy host names, punycode.

/// `name` without the tailnet's `suffix` and without a dot at the end.
pub(crate) fn base_name<'a>(name: &'a str, suffix: &str) -> &'a str {
    let name = name.strip_suffix('.').unwrap_or(name);
    let suffix = suffix.trim_matches('.');
    match name.strip_suffix(suffix) {
        Some(base) if !suffix.is_empty() && base.ends_with('.') => base.strip_suffix('.').unwrap_or(base),
        _ => name,
    }
}

/// A host name turned into one DNS label: lower case, separators as hyphens, other characters dropped.
pub(crate) fn sanitized(hostname: &str) -> String {
    let mut name = hostname;
    for suffix in [".local", ".localdomain", ".lan"] {
        name = name.strip_suffix(suffix).unwrap_or(name);
    }
    let bytes = name.as_bytes();
    let label = bytes.get(..63).unwrap_or(bytes);
    let start = label.iter().position(u8::is_ascii_alphanumeric).unwrap_or(label.len());
    let end = label.iter().rposition(u8::is_ascii_alphanumeric).map_or(start, |at| at + 1);
    let label = label.get(start..end).unwrap_or_default();
    label
        .iter()
        .filter_map(|byte| match byte {
            b' ' | b'.' | b'@' | b'_' => Some('-'),
            b'-' => Some('-'),
            byte if byte.is_ascii_alphanumeric() => Some(char::from(byte.to_ascii_lowercase())),
            _ => None,
        })
        .collect()
}

/// `name` with every `xn--` label decoded; `None` if one of them is not valid punycode.
pub(crate) fn to_unicode(name: &str) -> Option<String> {
    let labels: Option<Vec<String>> = name
        .split('.')
        .map(|label| match label.strip_prefix("xn--") {
            Some(encoded) => punycode(encoded),
            None => Some(label.to_owned()),
        })
        .collect();
    labels.map(|labels| labels.join("."))
}

/// RFC 3492 §6.2 with its constants for IDNA.
fn punycode(encoded: &str) -> Option<String> {
    let (basic, extended) = encoded.rsplit_once('-').unwrap_or(("", encoded));
    if !encoded.is_ascii() || encoded.len() > 63 {
        return None;
    }
    let mut out: Vec<char> = basic.chars().collect();
    let (mut n, mut i, mut bias) = (128u32, 0u32, 72u32);
    let mut digits = extended.bytes().peekable();
    while digits.peek().is_some() {
        let (start, mut weight, mut k) = (i, 1u32, 36u32);
        loop {
            let digit = match digits.next()? {
                byte @ b'a'..=b'z' => u32::from(byte - b'a'),
                byte @ b'A'..=b'Z' => u32::from(byte - b'A'),
                byte @ b'0'..=b'9' => u32::from(byte - b'0') + 26,
                _ => return None,
            };
            i = i.checked_add(digit.checked_mul(weight)?)?;
            let threshold = k.saturating_sub(bias).clamp(1, 26);
            if digit < threshold {
                break;
            }
            weight = weight.checked_mul(36 - threshold)?;
            k += 36;
        }
        let count = u32::try_from(out.len()).ok()?.checked_add(1)?;
        let mut delta = if start == 0 { i / 700 } else { (i - start) / 2 };
        delta += delta / count;
        let mut steps = 0;
        while delta > 455 {
            delta /= 35;
            steps += 36;
        }
        bias = steps + 36 * delta / (delta + 38);
        n = n.checked_add(i / count)?;
        i %= count;
        out.insert(usize::try_from(i).ok()?, char::from_u32(n)?);
        i += 1;
    }
    Some(out.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_names() {
        assert_eq!(base_name("box.tail12.ts.net.", "tail12.ts.net"), "box");
        assert_eq!(base_name("box.other.ts.net.", "tail12.ts.net"), "box.other.ts.net");
        assert_eq!(base_name("tail12.ts.net.", "tail12.ts.net"), "tail12.ts.net");
        assert_eq!(base_name("box.", ""), "box");
        assert_eq!(base_name("", "x"), "");
    }

    #[test]
    fn tidy_host_names() {
        assert_eq!(sanitized("My Router.lan"), "my-router");
        assert_eq!(sanitized("-_ä x_y-"), "x-y");
        assert_eq!(sanitized("..."), "");
    }

    #[test]
    fn punycode_vectors() {
        assert_eq!(to_unicode("xn--bcher-kva").as_deref(), Some("bücher"));
        assert_eq!(to_unicode("xn--ls8h.la").as_deref(), Some("💩.la"));
        assert_eq!(to_unicode("xn--ihqwcrb4cv8a8dqg056pqjye").as_deref(), Some("他们为什么不说中文"));
        assert_eq!(to_unicode("xn--*"), None);
        assert_eq!(to_unicode("xn--99999999"), None);
    }
}
