//! The logins that a state directory holds.

use super::time::Time;
use super::user::UserProfile;

go_object! {
    keep
    /// One login, as listed in the state file under `_profiles` and by `GET profiles/`.
    pub struct LoginProfile {
        /// Four hex digits; empty while the profile is new.
        pub id: String => "ID",
        /// Name given by the user, else the login name.
        pub name: String => "Name",
        pub network_profile: NetworkProfile => "NetworkProfile",
        /// Where its preferences are stored: `profile-` and the id.
        pub key: String => "Key",
        pub user_profile: UserProfile => "UserProfile",
        /// Stable node id.
        pub node_id: String => "NodeID",
        /// Windows only, empty here.
        pub local_user_id: String => "LocalUserID",
        pub control_url: String => "ControlURL",
        pub created: Time => "Created" omit,
    }
}

go_object! {
    /// The tailnet of a login.
    pub struct NetworkProfile {
        pub magic_dns_name: String => "MagicDNSName",
        pub domain_name: String => "DomainName",
        pub display_name: String => "DisplayName",
    }
}
