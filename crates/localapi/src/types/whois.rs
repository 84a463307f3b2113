//! Answers about one node: who is behind an address, which exit node is best.

use super::hostinfo::Location;
use super::node::{CapMap, Node};
use super::user::UserProfile;

go_object! {
    /// Who is behind an address.
    pub struct WhoIs {
        pub node: Option<Box<Node>> => "Node",
        pub user_profile: Option<UserProfile> => "UserProfile",
        /// What the asking side may do here, by application capability.
        pub cap_map: CapMap => "CapMap",
    }
}

go_object! {
    /// The exit node that suits best; an empty id if there is none.
    pub struct ExitNodeSuggestion {
        /// Stable id.
        pub id: String => "ID",
        pub name: String => "Name",
        pub location: Option<Location> => "Location" omit,
    }
}
