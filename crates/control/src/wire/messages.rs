//! The small parts of a map message.

use gojson::Element;
use netmap::UserId;

gojson::object! {
    read
    pub(crate) struct UserProfile {
        id: i64 => "ID" need,
        login_name: Box<str> => "LoginName",
        display_name: Box<str> => "DisplayName",
        profile_pic_url: Box<str> => "ProfilePicURL",
        groups: Vec<Box<str>> => "Groups",
    }
}

impl From<UserProfile> for netmap::UserProfile {
    fn from(user: UserProfile) -> Self {
        Self {
            id: UserId(user.id),
            login_name: user.login_name,
            display_name: user.display_name,
            profile_pic_url: user.profile_pic_url,
            groups: user.groups.into(),
        }
    }
}

impl Element for UserProfile {
    type Made = netmap::UserProfile;
    fn made(self, _earlier: &[Self::Made]) -> (Option<netmap::UserProfile>, bool) {
        (Some(self.into()), false)
    }
}

gojson::object! {
    read
    pub(crate) struct DisplayMessage {
        title: Box<str> => "Title",
        text: Box<str> => "Text",
        severity: Box<str> => "Severity",
        impacts_connectivity: bool => "ImpactsConnectivity",
        primary_action: Option<Action> => "PrimaryAction",
    }
}

gojson::object! {
    read
    struct Action {
        url: Box<str> => "URL",
        label: Box<str> => "Label",
    }
}

impl From<DisplayMessage> for netmap::DisplayMessage {
    fn from(message: DisplayMessage) -> Self {
        Self {
            title: message.title,
            text: message.text,
            severity: message.severity,
            impacts_connectivity: message.impacts_connectivity,
            action: message.primary_action.map(|action| (action.url, action.label)),
        }
    }
}

gojson::object! {
    read
    pub(crate) struct ClientVersion {
        running_latest: bool => "RunningLatest",
        latest_version: Box<str> => "LatestVersion",
        urgent_security_update: bool => "UrgentSecurityUpdate",
        notify: bool => "Notify",
        notify_url: Box<str> => "NotifyURL",
        notify_text: Box<str> => "NotifyText",
    }
}

impl From<ClientVersion> for netmap::ClientVersion {
    fn from(version: ClientVersion) -> Self {
        Self {
            running_latest: version.running_latest,
            latest_version: version.latest_version,
            urgent_security_update: version.urgent_security_update,
            notify: version.notify,
            notify_url: version.notify_url,
            notify_text: version.notify_text,
        }
    }
}

gojson::object! {
    read
    /// Tailnet Lock: on when there is a head and it is not disabled.
    pub(crate) struct TkaInfo {
        head: Box<str> => "Head",
        disabled: bool => "Disabled",
    }
}

impl TkaInfo {
    pub(crate) fn is_on(&self) -> bool {
        !self.head.is_empty() && !self.disabled
    }
}

gojson::object! {
    read
    /// Settings by which control steers a client for debugging; the rest of them has no meaning here.
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub struct DebugSettings {
        /// Wait so many seconds before going on (five minutes at most; done by this crate).
        pub sleep_seconds: f64 => "SleepSeconds",
        /// Control asks the process to exit with this status; ignored, because a router stays up.
        pub exit: Option<i64> => "Exit",
    }
}

gojson::object! {
    read
    /// A question of control whether and how this node answers (protocol reference §1.15).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct PingRequest {
        pub(crate) url: String => "URL",
        pub(crate) url_is_noise: bool => "URLIsNoise",
        pub(crate) types: String => "Types",
        pub(crate) ip: String => "IP",
        /// Base64.
        pub(crate) payload: String => "Payload",
    }
}
