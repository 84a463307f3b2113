//! From nothing to an encrypted stream: the race of port 80 against 443, the upgrade and the handshake
//! (protocol reference §1.3).
//!
//! Plain HTTP is safe because Noise authenticates the server by the key that came over TLS from `/key`; for the
//! same reason the certificate does not matter on the TLS attempt.

use crate::noise::{self, Initiator, NoiseStream};
use crate::overtake::overtaking;
use crate::server::{Url, host_header};
use crate::{Error, plain};
use base64::Engine as _;
use dial::{Dial, LocalFuture, Target, Verify};
use http1::{Head, Method};
use keys::{MachinePrivate, MachinePublic};
use rand_core::CryptoRngCore;
use std::cell::RefCell;
use std::time::Duration;

/// Head start of plain HTTP.
const HEAD_START: Duration = Duration::from_millis(500);
/// Time for one attempt: dial, TLS, upgrade and Noise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What every attempt needs.
pub(crate) struct Attempt<'a> {
    pub(crate) dialer: &'a dyn Dial,
    pub(crate) server: &'a Url,
    pub(crate) server_key: MachinePublic,
    pub(crate) machine_key: &'a MachinePrivate,
    pub(crate) version: u16,
    pub(crate) rng: &'a RefCell<Box<dyn CryptoRngCore>>,
}

/// Connects; `skip_plain` leaves plain HTTP out where there is another way.
pub(crate) async fn connect(attempt: &Attempt<'_>, skip_plain: bool) -> Result<NoiseStream, Error> {
    let (plain_port, tls_port) = attempt.server.noise_ports();
    let Some(tls_port) = tls_port else {
        return attempt.one(plain_port, false).await;
    };
    if skip_plain {
        return attempt.one(tls_port, true).await;
    }
    let mut plain = attempt.one(plain_port, false);
    let mut tls = attempt.one(tls_port, true);
    let mut plain_error = tokio::select! {
        biased;
        result = &mut plain => match result {
            Ok(stream) => return Ok(stream),
            Err(e) => Some(e),
        },
        () = tokio::time::sleep(HEAD_START) => None,
    };
    let mut tls_error = None;
    loop {
        tokio::select! {
            biased;
            result = &mut plain, if plain_error.is_none() => match result {
                Ok(stream) => return Ok(stream),
                Err(e) => plain_error = Some(e),
            },
            result = &mut tls, if tls_error.is_none() => match result {
                Ok(stream) => return Ok(stream),
                Err(e) => tls_error = Some(e),
            },
        }
        if let (Some(plain), Some(tls)) = (&plain_error, &tls_error) {
            return Err(Error::Unreachable { plain: plain.to_string(), tls: tls.to_string() });
        }
    }
}

impl Attempt<'_> {
    /// In a box: its code is large and used in four places.
    fn one(&self, port: u16, tls: bool) -> LocalFuture<'_, Result<NoiseStream, Error>> {
        Box::pin(overtaking(TIMEOUT, "connecting to control", move || Box::pin(self.one_untimed(port, tls))))
    }

    async fn one_untimed(&self, port: u16, tls: bool) -> Result<NoiseStream, Error> {
        let host = self.server.host.clone();
        let host_value = host_header(&host, port, if tls { 443 } else { 80 });
        let target = Target { host, port, addrs: Vec::new(), tls: tls.then_some(Verify::Nothing) };
        let ephemeral = MachinePrivate::generate(&mut &mut **self.rng.borrow_mut());
        let (initiator, message) =
            Initiator::start(self.version, self.machine_key.clone(), &self.server_key, ephemeral)?;
        let message = base64::engine::general_purpose::STANDARD.encode(message);
        let request = Head::request(Method::POST, "/ts2021", &host_value)
            .field("Upgrade", "tailscale-control-protocol")
            .field("Connection", "upgrade")
            .field("X-Tailscale-Handshake", &message);
        let stream = plain::upgrade(self.dialer, &target, &host_value, request).await?;
        noise::handshake(stream, initiator).await
    }
}
