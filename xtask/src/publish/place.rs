//! Where an image goes: host, repository and tags as they are typed, checked before anything is sent.

use anyhow::{Context, Result, bail, ensure};
use std::net::IpAddr;

/// Docker's registry goes by another name than its images.
const DOCKER: &str = "docker.io";
const DOCKER_HOST: &str = "registry-1.docker.io";

/// Longest tag that registries take.
const TAG_LENGTH: usize = 128;

/// Tags that follow what is newest. Every other tag names one image for ever.
const MOVING: [&str; 5] = ["stable", "testing", "edge", "nightly", "latest"];

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `https://host:port`
    pub(crate) base: String,
    /// `host:port`, as credentials are kept under.
    pub(crate) host: String,
    pub(crate) repository: String,
}

impl Place {
    /// Reads `HOST[:PORT]/REPOSITORY`, perhaps with `https://` or `http://` before it. Without TLS is only loopback,
    /// unless `plain` allows it.
    ///
    /// # Errors
    /// Says what is wrong and what it should look like.
    pub(crate) fn parse(text: &str, plain: bool) -> Result<Self> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("https" | "http"), rest)) => (Some(scheme), rest),
            Some((scheme, _)) => bail!("--registry: {scheme}:// is neither https:// nor http://"),
            None => (None, text),
        };
        let (host, repository) = rest.split_once('/').context("--registry wants HOST/REPOSITORY")?;
        ensure!(
            !host.contains('@'),
            "--registry: credentials do not belong on the command line; docs/images.md"
        );
        let named = host == "localhost" || host.contains(['.', ':']);
        let plain_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
        ensure!(named && plain_host && !host.starts_with(['.', '-', ':']), "--registry: `{host}` is no host");
        if let Some((name, tag)) = repository.rsplit_once(':') {
            bail!("--registry {host}/{name}: give the tag as `--tag {tag}`");
        }
        let part = |part: &str| {
            let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            let inner = |byte: u8| letter(byte) || b"._-".contains(&byte);
            let ends = |byte: Option<u8>| byte.is_some_and(letter);
            part.bytes().all(inner) && ends(part.bytes().next()) && ends(part.bytes().last())
        };
        ensure!(
            repository.split('/').all(part),
            "--registry: `{repository}` is no repository: lower case letters, digits, and ._- between them"
        );
        let scheme = match scheme {
            Some("http") if !loopback(host) && !plain => bail!("--registry: http:// needs --plain-http"),
            Some(scheme) => scheme,
            None if plain || loopback(host) => "http",
            None => "https",
        };
        let host_name = if host == DOCKER { DOCKER_HOST } else { host };
        let short = host == DOCKER && !repository.contains('/');
        Ok(Self {
            base: format!("{scheme}://{host_name}"),
            host: host.to_owned(),
            repository: if short { format!("library/{repository}") } else { repository.to_owned() },
        })
    }

    /// Whether nothing protects what is sent.
    pub(crate) fn plain(&self) -> bool {
        self.base.starts_with("http://")
    }

    /// Whether it is on this machine.
    pub(crate) fn loopback(&self) -> bool {
        loopback(&self.host)
    }
}

fn loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag(String);

impl Tag {
    /// Checks a tag's spelling.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        ensure!(
            first && text.bytes().all(fine) && text.len() <= TAG_LENGTH,
            "--tag: `{text}` is no tag: at most {TAG_LENGTH} letters, digits and ._-"
        );
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Whether it may be given to another image: `stable`, `stable-shell`, `edge-tiny` …
    pub(crate) fn moves(&self) -> bool {
        self.0.split('-').next().is_some_and(|word| MOVING.contains(&word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_unless_loopback_or_asked_for() {
        let base =
            |text: &str, plain| Place::parse(text, plain).map(|place| place.base).map_err(|e| e.to_string());
        assert_eq!(base("registry.example.com/a/b", false), Ok("https://registry.example.com".to_owned()));
        assert_eq!(
            base("registry.example.com:5000/a", true),
            Ok("http://registry.example.com:5000".to_owned())
        );
        assert_eq!(base("127.0.0.1:5000/a", false), Ok("http://127.0.0.1:5000".to_owned()));
        assert_eq!(base("localhost/a", false), Ok("http://localhost".to_owned()));
        assert_eq!(base("[::1]:5000/a", false), Ok("http://[::1]:5000".to_owned()));
        assert_eq!(base("https://localhost:5000/a", false), Ok("https://localhost:5000".to_owned()));
        assert!(base("http://registry.example.com/a", false).unwrap_err().contains("--plain-http"));
        assert_eq!(base("localhost.example.com/a", false), Ok("https://localhost.example.com".to_owned()));
        let docker = Place::parse("docker.io/smalltail", false).unwrap();
        assert_eq!(
            (docker.base.as_str(), docker.repository.as_str()),
            ("https://registry-1.docker.io", "library/smalltail")
        );
    }

    #[test]
    fn what_is_no_place_is_refused_with_a_reason() {
        for (text, reason) in [
            ("smalltail", "HOST/REPOSITORY"),
            ("someone/smalltail", "no host"),
            ("example.com/Small", "no repository"),
            ("example.com/a//b", "no repository"),
            ("example.com/../b", "no repository"),
            ("example.com/a?b", "no repository"),
            ("example.com/a:stable", "--tag stable"),
            ("user:secret@example.com/a", "command line"),
            ("ftp://example.com/a", "neither"),
        ] {
            let error = Place::parse(text, false).unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn only_named_tags_move() {
        let moves = |text: &str| Tag::parse(text).unwrap().moves();
        assert!(moves("stable") && moves("stable-shell") && moves("edge-tiny") && moves("latest"));
        assert!(!moves("0.1.0") && !moves("v1") && !moves("stables") && !moves("0.1.0-stable"));
        let long = "x".repeat(129);
        for bad in ["", "a/b", "a:b", "-a", ".a", "ä", "a b", &long] {
            assert!(Tag::parse(bad).is_err(), "{bad}");
        }
    }
}
