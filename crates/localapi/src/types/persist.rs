//! The identity of a profile: keys and who is logged in. Lives in the state file inside [`Prefs`](super::Prefs),
//! under the name `Config`.

use super::user::UserProfile;
use gojson::Raw;
use keys::{NlPrivate, NodePrivate};

go_object! {
    keep
    /// What a profile must remember to be the same node again.
    pub struct Persist {
        pub private_node_key: NodePrivate => "PrivateNodeKey",
        /// Needed to ask control for a key rotation.
        pub old_private_node_key: NodePrivate => "OldPrivateNodeKey",
        pub user_profile: UserProfile => "UserProfile",
        pub network_lock_key: NlPrivate => "NetworkLockKey",
        /// Stable node id; empty until the first map with ourselves in it.
        pub node_id: String => "NodeID",
        /// A key bound to hardware, which only Go's client can use.
        pub attestation_key: Option<Raw> => "AttestationKey" omit,
        pub disallowed_tka_state_ids: Vec<String> => "DisallowedTKAStateIDs" omit,
    }
}

impl Persist {
    /// A copy without secrets, as `GET prefs` and the bus show it. Unknown members go too: they might be secret.
    #[must_use]
    pub fn redacted(&self) -> Self {
        Self {
            private_node_key: NodePrivate::zero(),
            old_private_node_key: NodePrivate::zero(),
            network_lock_key: NlPrivate::zero(),
            attestation_key: None,
            user_profile: self.user_profile.clone(),
            node_id: self.node_id.clone(),
            disallowed_tka_state_ids: self.disallowed_tka_state_ids.clone(),
            extra: Vec::new(),
        }
    }
}
