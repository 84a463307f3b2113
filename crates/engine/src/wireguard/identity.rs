//! Our own static key and what is derived from it once.

use super::hash::{Secret, hash};
use super::mac::COOKIE_LABEL;
use crate::mac1::Mac1Check;
use keys::{NodePrivate, NodePublic};

/// Our static key pair with the derived keys that every incoming message needs.
pub(super) struct Identity {
    /// Our private key.
    pub(super) private: NodePrivate,
    /// Its public half.
    pub(super) public: NodePublic,
    /// Checks mac1 of what is sent to us.
    pub(super) mac1: Mac1Check,
    /// Seals the cookies that we hand out.
    pub(super) cookie_key: [u8; 32],
}

impl Identity {
    pub(super) fn new(private: &NodePrivate) -> Self {
        let public = private.public();
        Self {
            private: private.clone(),
            public,
            mac1: Mac1Check::new(&public),
            cookie_key: hash(&[COOKIE_LABEL, public.as_bytes()]),
        }
    }

    /// The static-static secret with a peer; `None` if the peer's key is a point of small order.
    pub(super) fn shared(&self, peer: &NodePublic) -> Option<Secret> {
        self.private.agree(peer.as_bytes()).map(Secret::new)
    }
}
