//! The control server's URL, and which ports its Noise upgrade is tried on (protocol reference §1.3).

use crate::Error;
use dial::{Target, Verify};
use std::net::IpAddr;

/// A parsed `http://` or `https://` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) tls: bool,
    /// Without the brackets of an IPv6 literal.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// Host and port as written.
    pub(crate) authority: String,
    /// Path and query; `/` at least.
    pub(crate) path: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let error = |why| Error::ServerUrl { url: crate::text::printable(text.as_bytes()), why };
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(error("not a URL"));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let tls = scheme.eq_ignore_ascii_case("https");
        if !tls && !scheme.eq_ignore_ascii_case("http") {
            return Err(error("it must begin with https:// or http://"));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(error("user names do not belong there"));
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, port)) => (host, port),
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        if host.is_empty() {
            return Err(error("no host"));
        }
        if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:%~".contains(&byte)) {
            return Err(error("not a host"));
        }
        let port = match port.strip_prefix(':').map(str::parse) {
            Some(Ok(port)) => Some(port),
            None if port.is_empty() => None,
            _ => return Err(error("not a port number")),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host: host.to_owned(), port, authority: authority.to_owned(), path })
    }

    /// Whether this is the service of the company Tailscale.
    pub(crate) fn is_tailscales_own(&self) -> bool {
        self.host.to_ascii_lowercase().ends_with(".tailscale.com")
    }

    /// Whether people may be sent to the page `page` by this control server, as Go's `validPopBrowserURL` decides: `https`,
    /// or `http` from a server that speaks that itself, and from Tailscale's own service to its own hosts only. Nothing
    /// that a terminal would not show as it is.
    pub(crate) fn may_show(&self, page: &str) -> bool {
        let Ok(page) = Self::parse(page) else { return false };
        let its_own = page.host == "tailscale.com" || page.host.ends_with(".tailscale.com");
        (page.tls || !self.tls) && (its_own || !self.is_tailscales_own())
    }

    /// Where to connect for this URL itself, with a verified certificate.
    pub(crate) fn target(&self) -> Target {
        let port = self.port.unwrap_or(if self.tls { 443 } else { 80 });
        Target { host: self.host.clone(), port, addrs: Vec::new(), tls: self.tls.then_some(Verify::Host) }
    }

    /// Ports of the plain and the TLS attempt at the Noise upgrade.
    pub(crate) fn noise_ports(&self) -> (u16, Option<u16>) {
        match (self.tls, self.port) {
            (true, port) => (80, Some(port.unwrap_or(443))),
            (false, port) if self.is_near() => (port.unwrap_or(80), None),
            (false, port) => (port.unwrap_or(80), Some(443)),
        }
    }

    /// A host of this machine or of a private network, named by address (or `localhost`).
    fn is_near(&self) -> bool {
        match self.host.parse() {
            Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
            Ok(IpAddr::V6(ip)) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
            Err(_) => self.host == "localhost",
        }
    }
}

/// `host` or `host:port`, with the brackets that an IPv6 literal needs.
pub(crate) fn host_header(host: &str, port: u16, default_port: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == default_port { host } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of protocol reference §1.3.
    #[test]
    fn ports() {
        for (url, ports) in [
            ("https://h.example", (80, Some(443))),
            ("https://h.example:8443", (80, Some(8443))),
            ("http://h.example", (80, Some(443))),
            ("http://h.example:8080/", (8080, Some(443))),
            ("http://127.0.0.1:9", (9, None)),
            ("http://localhost", (80, None)),
            ("http://[fd00::1]:81", (81, None)),
            ("http://192.168.1.2", (80, None)),
            ("http://8.8.8.8", (80, Some(443))),
        ] {
            assert_eq!(Url::parse(url).expect(url).noise_ports(), ports, "{url}");
        }
    }

    #[test]
    fn parts_and_refusals() {
        let url = Url::parse("https://[fd00::1]:8443/a/b?c=d").expect("url");
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("fd00::1", Some(8443), "/a/b?c=d"));
        assert_eq!(url.authority, "[fd00::1]:8443");
        for (url, path) in
            [("http://h", "/"), ("HTTP://h?a=b", "/?a=b"), ("http://h/a#b", "/a"), ("http://h#b", "/")]
        {
            assert_eq!(Url::parse(url).expect("url").path, path, "{url}");
        }
        for bad in [
            "",
            "h.example",
            "ftp://h",
            "https://",
            "https:///path",
            "https://u:p@h/",
            "https://h:99999",
            "https://h:x",
            "https://h:",
            "https://[::1",
            "https://[::1]x",
            "https://h h",
            "https://h/a\tb",
        ] {
            assert!(matches!(Url::parse(bad), Err(Error::ServerUrl { .. })), "{bad}");
        }
    }

    #[test]
    fn pages_that_people_may_be_sent_to() {
        let may = |server: &str, page: &str| Url::parse(server).expect("url").may_show(page);
        let own = "https://controlplane.tailscale.com";
        for good in ["https://login.tailscale.com/a/1", "https://tailscale.com?x"] {
            assert!(may(own, good), "{good}");
        }
        for bad in [
            "https://tailscale.com.example/a/1",
            "https://nottailscale.com/",
            "https://login.tailscale.com@evil.example/",
            "http://login.tailscale.com/a/1",
            "",
        ] {
            assert!(!may(own, bad), "{bad}");
        }
        // Others may have their pages anywhere.
        assert!(may("https://hs.example", "https://sso.example/x?y=z#w"));
        assert!(may("http://127.0.0.1:8080", "http://127.0.0.1:8080/register/x"));
        for bad in
            ["http://hs.example/", "file:///etc/passwd", "javascript:x", "ssh://h/", "https://h/\u{1b}[2J"]
        {
            assert!(!may("https://hs.example", bad), "{bad}");
        }
    }

    #[test]
    fn host_headers() {
        assert_eq!(host_header("h", 80, 80), "h");
        assert_eq!(host_header("::1", 81, 80), "[::1]:81");
    }
}
