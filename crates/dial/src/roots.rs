//! The roots of trust: those the caller brings, and the PEM files the user named.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Larger files are no CA bundle (the fattest one is about 300 KB).
const MAX_CA_FILE: u64 = 4 << 20;

/// Why a dialler could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("cannot read CA file {path}: {reason}; check SSL_CERT_FILE or --ca-file", path = path.display())]
    CaFileUnreadable {
        /// As the user named it.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file holds no certificate that could be a root.
    #[error("no usable certificate in CA file {path}; it must be PEM (-----BEGIN CERTIFICATE-----)", path = path.display())]
    CaFileEmpty {
        /// As the user named it.
        path: PathBuf,
    },
}

/// The roots there are and those of `files`, and the SHA-256 of each certificate in `files`.
pub(crate) fn load(
    roots: Vec<TrustAnchor<'static>>,
    files: &[PathBuf],
) -> Result<(RootCertStore, Vec<[u8; 32]>), Error> {
    let mut roots = RootCertStore { roots };
    let mut named = Vec::new();
    for path in files {
        let pem = read(path)?;
        let before = roots.roots.len();
        for cert in CertificateDer::pem_slice_iter(&pem) {
            // System bundles hold the odd certificate that no verifier accepts: skipped, as long as one is good.
            match cert {
                Ok(der) => {
                    let hash = sha256(&der);
                    match roots.add(der) {
                        Ok(()) => named.push(hash),
                        Err(e) => log::debug!("{}: {e}", path.display()),
                    }
                }
                Err(e) => log::debug!("{}: {e}", path.display()),
            }
        }
        if roots.roots.len() == before {
            return Err(Error::CaFileEmpty { path: path.clone() });
        }
    }
    Ok((roots, named))
}

/// What a certificate is known by.
pub(crate) fn sha256(cert: &CertificateDer<'_>) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, cert).as_ref());
    hash
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |reason: String| Error::CaFileUnreadable { path: path.to_owned(), reason };
    let file = std::fs::File::open(path).map_err(|e| unreadable(e.to_string()))?;
    let mut pem = Vec::new();
    file.take(MAX_CA_FILE + 1).read_to_end(&mut pem).map_err(|e| unreadable(e.to_string()))?;
    if pem.len() as u64 > MAX_CA_FILE {
        return Err(unreadable("larger than 4 MiB".to_owned()));
    }
    Ok(pem)
}
