//! Users of the tailnet, and what is known of newer versions.

go_object! {
    /// A user of the tailnet.
    pub struct UserProfile {
        pub id: i64 => "ID",
        /// `ann@example.com`, or `tagged-devices`.
        pub login_name: String => "LoginName",
        pub display_name: String => "DisplayName",
        pub profile_pic_url: String => "ProfilePicURL" omit,
        pub groups: Vec<String> => "Groups" omit,
    }
}

go_object! {
    /// What control knows of newer versions.
    pub struct ClientVersion {
        pub running_latest: bool => "RunningLatest" omit,
        pub latest_version: String => "LatestVersion" omit,
        pub urgent_security_update: bool => "UrgentSecurityUpdate" omit,
        pub notify: bool => "Notify" omit,
        pub notify_url: String => "NotifyURL" omit,
        pub notify_text: String => "NotifyText" omit,
    }
}
