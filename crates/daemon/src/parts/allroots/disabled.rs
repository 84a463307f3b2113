//! Those of `common.txt`; `build.rs` takes their keys from the same list that has all.

use dial::TrustAnchor;

include!(concat!(env!("OUT_DIR"), "/roots.rs"));

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// The authorities.
pub fn roots() -> Vec<TrustAnchor<'static>> {
    COMMON
        .iter()
        .map(|(subject, key)| TrustAnchor {
            subject: (*subject).into(),
            subject_public_key_info: (*key).into(),
            name_constraints: None,
        })
        .collect()
}
