//! The server's Noise key, published at `/key` over ordinary HTTPS (protocol reference §1.2).

use crate::overtake::overtaking;
use crate::server::Url;
use crate::{Error, plain};
use dial::Dial;
use http1::Method;
use keys::MachinePublic;
use std::time::Duration;

/// Longest answer, in bytes.
const LIMIT: usize = 64 << 10;
/// A slow router may need seconds for one TLS handshake.
const TIMEOUT: Duration = Duration::from_secs(10);

gojson::object! {
    read
    struct Published {
        public_key: Option<MachinePublic> => "publicKey",
    }
}

/// Fetches the key for a client that declares `version`.
pub(crate) async fn fetch(dialer: &dyn Dial, server: &Url, version: u16) -> Result<MachinePublic, Error> {
    let base = server.path.trim_end_matches('/');
    let url = Url { path: format!("{base}/key?v={version}"), ..server.clone() };
    let shown = format!("{}{}", url.authority, url.path);
    let answer = overtaking(TIMEOUT, "fetching the key of the control server", || {
        Box::pin(plain::fetch(dialer, Method::GET, &url, Vec::new(), LIMIT))
    })
    .await?;
    if answer.status != 200 {
        let text = crate::text::printable(&answer.body);
        return Err(Error::Status { what: "/key", status: answer.status, text });
    }
    let not_a_server = |why: String| Error::Json { what: format!("the key at {shown}"), why };
    let published: Published = gojson::from_slice(&answer.body)
        .map_err(|e| not_a_server(format!("{e} (is it a control server?)")))?;
    match published.public_key {
        Some(key) if !key.is_zero() => Ok(key),
        _ => Err(not_a_server(format!("no key for capability version {version}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let parse =
            |text: &str| gojson::from_slice::<Published>(text.as_bytes()).ok().and_then(|p| p.public_key);
        let key = MachinePublic::from_bytes([7; 32]);
        let text = format!(r#"{{"legacyPublicKey":"{}","publicKey":"{key}"}}"#, MachinePublic::ZERO);
        assert_eq!(parse(&text), Some(key));
        assert_eq!(parse("{}"), None);
        assert_eq!(parse("<html>"), None);
    }
}
