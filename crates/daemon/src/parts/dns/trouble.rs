//! What keeps queries from being forwarded, as `tailscale status` tells it.
//!
//! Leaves out: when that is so (`imp`).

/// Why queries cannot be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody answered the last one.
    Silence,
    /// There is nobody to ask for names outside the tailnet, and this machine's programs ask for them here.
    Nobody,
}

impl Trouble {
    /// In words.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Silence => {
                "Name servers that Tailscale was told to use do not answer. Check that they are reachable from this \
                 machine (`tailscale dns status` lists them)."
            }
            Self::Nobody => {
                "Names outside the tailnet are not found: neither the tailnet nor this machine's own resolv.conf names \
                 a server for them. Add a global name server to the tailnet, or give this machine one."
            }
        }
    }
}
