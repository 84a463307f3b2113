//! What can go wrong between node and control, worded for the person who runs the node.

use std::io;
use std::time::Duration;

/// Every failure of this crate. Texts of servers in it are short and printable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `--login-server` is not a URL of a control server.
    #[error("control server URL {url:?}: {why}; it should look like https://controlplane.tailscale.com")]
    ServerUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No connection came about.
    #[error("{why}")]
    Dial {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// What the dialler said; it names host and port.
        why: String,
    },
    /// The chain of the server's certificate ends in no known root.
    #[error(
        "the certificate of {host} is not trusted ({why}): give the CA that signed it with --ca-file or SSL_CERT_FILE"
    )]
    UntrustedCertificate {
        /// Host name or address.
        host: String,
        /// What the dialler said.
        why: String,
    },
    /// TLS was tried with a server that does not speak it.
    #[error("{host}:{port} does not speak TLS: if it is a plain HTTP server, write http:// in the URL")]
    NotTls {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Plain HTTP was tried with a server that does not speak it.
    #[error("{host}:{port} does not answer in plain HTTP: if it speaks TLS, write https:// in the URL")]
    NotPlain {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// An ordinary HTTP request failed after the connection stood.
    #[error("{url}: {why}")]
    Fetch {
        /// What was asked for.
        url: String,
        /// Why it failed.
        why: String,
    },
    /// Neither of the two ways to the Noise upgrade worked.
    #[error("all connection attempts to control failed: {plain}; {tls}")]
    Unreachable {
        /// What happened over plain HTTP.
        plain: String,
        /// What happened over HTTPS.
        tls: String,
    },
    /// The server did not switch to Noise.
    #[error(
        "{host} answered the Noise upgrade with HTTP status {status}: it may not be a control server, or a proxy before it drops POST upgrades"
    )]
    Upgrade {
        /// Host name or address.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// The Noise handshake failed on our side.
    #[error("Noise handshake with control: {0}")]
    Handshake(&'static str),
    /// The server refused the Noise handshake, in its words (which nothing authenticates).
    #[error("control refused the Noise handshake: {0}")]
    HandshakeRefused(String),
    /// The HTTP/2 connection inside Noise broke.
    #[error("connection to control: {0}")]
    Connection(String),
    /// Control answered with another status than 200.
    #[error("control answered {what} with HTTP status {status}: {text}")]
    Status {
        /// Which request.
        what: &'static str,
        /// HTTP status.
        status: u16,
        /// Start of the body.
        text: String,
    },
    /// Control asks for patience (HTTP 429).
    #[error("control asks to try again in {0:?}")]
    RateLimited(Duration),
    /// Something took too long.
    #[error("{0} took too long")]
    Timeout(&'static str),
    /// Control refuses to register this node, in its words.
    #[error("{0}")]
    Refused(String),
    /// Even a new node key is expired, says control.
    #[error("control says that the node key has expired although it is new")]
    KeyExpired,
    /// The tailnet wants its nodes' keys signed, which this node cannot do.
    #[error(
        "this tailnet has Tailnet Lock enabled and asks for a signature, which this node does not support"
    )]
    TailnetLock,
    /// Control does not know the node key.
    #[error("control does not know this node")]
    NodeUnknown,
    /// An answer is not the JSON that belongs there.
    #[error("{what} from control is not understood: {why}")]
    Json {
        /// Which answer or field.
        what: String,
        /// What the parser said.
        why: String,
    },
    /// A message or a part of it exceeds its limit.
    #[error("{what} from control is longer than {limit} bytes")]
    TooLong {
        /// Which answer or field.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// The first message of a map stream lacks our own node.
    #[error("the first map message from control does not describe this node")]
    NoSelfNode,
    /// The map stream ended.
    #[error("control ended the map stream")]
    StreamEnded,
    /// The map stream was dropped by a command, a login or an update that control refused.
    #[error("this node closed the map stream")]
    StreamDropped,
}

impl Error {
    /// Sorts a failure of the dialler into what a person can act upon.
    pub(crate) fn dial(host: &str, port: u16, error: &io::Error) -> Self {
        let why = chain(error);
        let host = host.to_owned();
        let lower = why.to_ascii_lowercase();
        let signs = [
            "no known authority",
            "unknownissuer",
            "unknown issuer",
            "self-signed",
            "selfsigned",
            "caasendentity",
        ];
        if signs.iter().any(|sign| lower.contains(sign)) {
            // The dialler's text may already name the cure; ours is said once.
            let why = match lower.contains("ca-file") {
                true => "it is signed by no known authority".to_owned(),
                false => why,
            };
            Self::UntrustedCertificate { host, why }
        } else if lower.contains("invalidcontenttype") {
            Self::NotTls { host, port }
        } else {
            Self::Dial { host, port, why }
        }
    }

    /// True if the server's certificate or scheme stands in the way: waiting does not mend it.
    pub fn needs_configuration(&self) -> bool {
        matches!(
            self,
            Self::ServerUrl { .. }
                | Self::UntrustedCertificate { .. }
                | Self::NotTls { .. }
                | Self::NotPlain { .. }
        )
    }
}

/// An error and its sources in one line, without repetitions.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    // rustls ends some texts with a link to its manual.
    if let Some(link) = text.find(": https://docs.rs/") {
        text.truncate(link);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_can_do() {
        let dial = |text: &str| Error::dial("h.example", 443, &io::Error::other(text.to_owned()));
        let untrusted = dial("invalid peer certificate: UnknownIssuer");
        assert!(untrusted.needs_configuration());
        assert!(untrusted.to_string().contains("certificate of h.example is not trusted"), "{untrusted}");
        assert!(untrusted.to_string().contains("--ca-file or SSL_CERT_FILE"), "{untrusted}");
        let scheme = dial("received corrupt message of type InvalidContentType");
        assert!(scheme.to_string().contains("write http://"), "{scheme}");
        let both = dial(
            "TLS to h.example:443: its certificate is signed by no known authority; name its CA with --ca-file or SSL_CERT_FILE",
        );
        assert_eq!(both.to_string().matches("--ca-file").count(), 1, "{both}");
        assert_eq!(
            dial("connection refused by h.example:443").to_string(),
            "connection refused by h.example:443"
        );
    }
}
