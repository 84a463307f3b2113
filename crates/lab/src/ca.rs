//! A certificate authority for one lab: EC P-256, one root, server certificates for a name and its addresses.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// The root that signs; nodes trust it through `SSL_CERT_FILE`.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A server certificate and its key, both PEM.
#[derive(Debug)]
pub struct Certificate {
    /// The leaf certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS#8.
    pub key_pem: String,
}

impl Authority {
    /// A fresh root.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The root certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The root as a server's own certificate: what a server has that nobody signed.
    pub fn as_server(&self) -> Certificate {
        Certificate { certificate_pem: self.pem.clone(), key_pem: self.issuer.key().serialize_pem() }
    }

    /// A server certificate for `names`; those that are IP addresses become IP entries.
    ///
    /// # Errors
    /// When a name is not a DNS name or address.
    pub fn issue(&self, names: &[&str]) -> Result<Certificate> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Certificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_leaf_are_pem() {
        let root = Authority::new("lab root").unwrap();
        let leaf = root.issue(&["headscale.lab", "203.0.113.10", "2001:db8::10"]).unwrap();
        assert!(root.pem().starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(leaf.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(leaf.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_ne!(root.pem(), leaf.certificate_pem);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert!(Authority::new("lab root").unwrap().issue(&["schön"]).is_err());
    }
}
