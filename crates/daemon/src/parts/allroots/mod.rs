//! Feature `allroots`: which public certificate authorities are trusted without being named by `--ca-file`.
//!
//! With it all that Mozilla trusts, which is 50 KB that do not compress; without it those of `common.txt`, which sign for
//! Tailscale's own service and for nearly everybody else.

#[cfg(feature = "allroots")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "allroots"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_of_tailscales_own_service_is_known() {
        let roots = roots();
        assert!(roots.len() >= 20, "{}", roots.len());
        assert!(roots.iter().any(|root| root.subject.windows(12).any(|part| part == b"ISRG Root X1")));
        assert!(roots.iter().all(|root| !root.subject_public_key_info.is_empty()));
    }
}
