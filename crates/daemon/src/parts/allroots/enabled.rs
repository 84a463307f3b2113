//! Everybody whom Mozilla trusts.

use dial::TrustAnchor;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("allroots");

/// The authorities.
pub fn roots() -> Vec<TrustAnchor<'static>> {
    webpki_roots::TLS_SERVER_ROOTS.to_vec()
}
