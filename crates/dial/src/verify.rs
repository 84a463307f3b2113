//! Judges a TLS server's certificates: whom they must name, at what time, and what a router without a clock
//! lets pass.
//!
//! Rule: the clock is the only thing that an untrusted reading softens, and only towards the future: a
//! certificate that is not valid *yet* at the floor is judged once more at its own first second. Name, chain
//! and the handshake's signature are checked in any case ([`Verify::Nothing`] excepted).

use crate::der::CertFields;
use crate::provider::SIGNATURES;
use crate::roots::sha256;
use crate::{Verify, WallClock, WallReading};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, InvalidMessage, RootCertStore, SignatureScheme,
};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many hosts the "said once" memory holds; past that, everything new stays silent.
const MAX_TOLD: usize = 64;

/// What all connections of a dialler verify with.
pub(crate) struct Trust {
    roots: RootCertStore,
    pub(crate) wall: Arc<dyn WallClock>,
    /// SHA-256 of the certificates that the user named.
    named: Vec<[u8; 32]>,
    told: Mutex<Vec<String>>,
}

impl Trust {
    pub(crate) fn new(roots: RootCertStore, named: Vec<[u8; 32]>, wall: Arc<dyn WallClock>) -> Self {
        Self { roots, wall, named, told: Mutex::default() }
    }

    /// True the first time it is asked about `what`.
    fn first(&self, what: String) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let new = told.len() < MAX_TOLD && !told.contains(&what);
        if new {
            told.push(what);
        }
        new
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl rustls::time_provider::TimeProvider for Trust {
    fn current_time(&self) -> Option<UnixTime> {
        Some(at(self.wall.reading().unix_secs))
    }
}

/// The verifier of one connection.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) trust: Arc<Trust>,
    pub(crate) verify: Verify,
    pub(crate) host: String,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let reading = self.trust.wall.reading();
        let chain = |name: &ServerName<'_>| {
            let real: Vec<_> = intermediates.iter().filter(|cert| !is_derp_meta(cert)).cloned().collect();
            self.judge_in_time(reading, |now| {
                if self.trust.named.contains(&sha256(end_entity)) {
                    // A certificate that signs itself and is named as a root vouches for itself, whatever it says
                    // about being an authority; WebPKI would not have it.
                    rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                    let fields = CertFields::parse(end_entity).ok_or(CertificateError::BadEncoding)?;
                    return in_dates(&fields, now);
                }
                let cert = ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_cert_signed_by_trust_anchor(
                    &cert,
                    &self.trust.roots,
                    &real,
                    now,
                    SIGNATURES.all,
                )?;
                rustls::client::verify_server_name(&cert, name)
            })
        };
        match &self.verify {
            Verify::Host => chain(server_name)?,
            Verify::Name(name) => chain(&server_name_of(name)?)?,
            Verify::PinnedSha256(pin) => {
                let mut real = std::iter::once(end_entity).chain(intermediates).filter(|c| !is_derp_meta(c));
                let (Some(cert), None) = (real.next(), real.next()) else {
                    return Err(Error::General(
                        "expected exactly one certificate to compare with the pin".into(),
                    ));
                };
                if sha256(cert) != *pin {
                    return Err(CertificateError::ApplicationVerificationFailure.into());
                }
                let fields = CertFields::parse(cert).ok_or(CertificateError::BadEncoding)?;
                self.judge_in_time(reading, |now| in_dates(&fields, now))?;
            }
            Verify::Nothing => {
                if let Err(e) = chain(server_name)
                    && self.trust.first(format!("chain {}", self.host))
                {
                    log::info!("{}: certificate not verified, as asked: {}", self.host, explain(&e));
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}

impl Judge {
    /// Runs `check` at the reading and, if the clock is not to be trusted and the certificate is too young,
    /// once more at the certificate's first second.
    fn judge_in_time(
        &self,
        reading: WallReading,
        check: impl Fn(UnixTime) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match check(at(reading.unix_secs)) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }))
                if !reading.trusted =>
            {
                check(not_before)?;
                if self.trust.first(format!("clock {}", self.host)) {
                    log::warn!(
                        "clock is before {}, certificate of {} judged at {} (seconds since 1970)",
                        reading.unix_secs,
                        self.host,
                        not_before.as_secs()
                    );
                }
                Ok(())
            }
            verdict => verdict,
        }
    }
}

fn in_dates(fields: &CertFields<'_>, now: UnixTime) -> Result<(), Error> {
    let (not_before, not_after) = (at(fields.not_before), at(fields.not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    Ok(())
}

fn is_derp_meta(cert: &CertificateDer<'_>) -> bool {
    CertFields::parse(cert).is_some_and(|fields| fields.is_derp_meta())
}

fn at(unix_secs: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(unix_secs))
}

pub(crate) fn server_name_of(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| Error::General(format!("{name:?} is neither a DNS name nor an address")))
}

/// What went wrong with TLS and what the reader of the log can do about it.
pub(crate) fn explain(error: &Error) -> String {
    let reason = match error {
        Error::InvalidCertificate(reason) => reason,
        // What comes is no TLS at all: the commonest case is a server without certificates.
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            return "what answers there does not speak TLS; is it a TLS port?".to_owned();
        }
        error => return error.to_string(),
    };
    let text = match reason {
        // Its own text is that of a derived `Debug`, which builds that ship have without what is inside.
        CertificateError::Other(inner) => inner.0.to_string(),
        reason => reason.to_string(),
    };
    match reason {
        // The second is how WebPKI sees a self-signed certificate that calls itself an authority.
        reason if *reason == CertificateError::UnknownIssuer || text.contains("CaUsedAsEndEntity") => {
            "its certificate is signed by no known authority; name its CA with --ca-file or SSL_CERT_FILE"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; check this machine's clock, else renew the certificate".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; check this machine's clock".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name; check the server's address ({text})")
        }
        CertificateError::ApplicationVerificationFailure => {
            "its certificate is not the pinned one (CertName of the DERP map)".to_owned()
        }
        _ => format!("its certificate is bad: {text}"),
    }
}
