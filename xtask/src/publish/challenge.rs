//! What a registry answers to somebody it does not know: `WWW-Authenticate`, as RFC 9110 §11.6.1 spells it.

/// The ways to prove who one is that registries use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    /// Fetch a token from `realm`, for `service`.
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

impl Challenge {
    /// The first challenge of a head that is understood, tokens before passwords.
    pub(crate) fn parse(head: &str) -> Option<Self> {
        let found = challenges(head);
        let bearer = found.iter().find_map(|(scheme, parameters)| {
            let get =
                |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            (scheme == "bearer").then_some(())?;
            Some(Self::Bearer { realm: get("realm")?, service: get("service") })
        });
        bearer.or_else(|| found.iter().any(|(scheme, _)| scheme == "basic").then_some(Self::Basic))
    }
}

type Parameters = Vec<(String, String)>;

/// Schemes in lower case, each with its parameters.
fn challenges(head: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    for piece in pieces(head) {
        let (name, value) = match piece.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
            None => (piece.trim(), None),
        };
        // `Bearer realm` before the first `=`: the scheme and its first parameter.
        let (scheme, name) = match name.rsplit_once(char::is_whitespace) {
            Some((scheme, name)) => (Some(scheme.trim()), name),
            None if value.is_none() => (Some(name), ""),
            None => (None, name),
        };
        if let Some(scheme) = scheme {
            found.push((scheme.to_ascii_lowercase(), Vec::new()));
        }
        if let (Some((_, parameters)), Some(value)) = (found.last_mut(), value) {
            parameters.push((name.to_ascii_lowercase(), value));
        }
    }
    found
}

/// Cuts at commas outside quotes.
fn pieces(head: &str) -> Vec<&str> {
    let (mut quoted, mut escaped, mut start) = (false, false, 0);
    let mut found = Vec::new();
    for (at, byte) in head.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                found.extend(head.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.extend(head.get(start..));
    found.retain(|piece: &&str| !piece.trim().is_empty());
    found
}

fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut plain = String::new();
    let mut escaped = false;
    for letter in inner.chars() {
        if letter == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            plain.push(letter);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_real_registries() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            Challenge::parse(docker),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        assert_eq!(Challenge::parse(r#"basic realm="Registry Realm""#), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Basic"), Some(Challenge::Basic));
        let both = r#"Basic realm="a, b", Bearer realm="https://x/\"t\"""#;
        assert_eq!(Challenge::parse(both), bearer("https://x/\"t\"", None));
        for bad in ["", "Bearer", "Digest realm=x", "Bearer service=\"x\"", ",,,", "\"", "=", "Bearer realm"]
        {
            assert_eq!(Challenge::parse(bad), None, "{bad}");
        }
    }
}
