//! The small parts of a map message.

use super::lenient::null;
use netmap::UserId;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UserProfile {
    #[serde(rename = "ID")]
    id: i64,
    #[serde(default, deserialize_with = "null")]
    login_name: Box<str>,
    #[serde(default, deserialize_with = "null")]
    display_name: Box<str>,
    #[serde(rename = "ProfilePicURL", default, deserialize_with = "null")]
    profile_pic_url: Box<str>,
    #[serde(default, deserialize_with = "null")]
    groups: Vec<Box<str>>,
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DisplayMessage {
    #[serde(default, deserialize_with = "null")]
    title: Box<str>,
    #[serde(default, deserialize_with = "null")]
    text: Box<str>,
    #[serde(default, deserialize_with = "null")]
    severity: Box<str>,
    #[serde(default, deserialize_with = "null")]
    impacts_connectivity: bool,
    #[serde(default)]
    primary_action: Option<Action>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Action {
    #[serde(rename = "URL", default, deserialize_with = "null")]
    url: Box<str>,
    #[serde(default, deserialize_with = "null")]
    label: Box<str>,
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ClientVersion {
    #[serde(default, deserialize_with = "null")]
    running_latest: bool,
    #[serde(default, deserialize_with = "null")]
    latest_version: Box<str>,
    #[serde(default, deserialize_with = "null")]
    urgent_security_update: bool,
    #[serde(default, deserialize_with = "null")]
    notify: bool,
    #[serde(rename = "NotifyURL", default, deserialize_with = "null")]
    notify_url: Box<str>,
    #[serde(default, deserialize_with = "null")]
    notify_text: Box<str>,
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

/// Tailnet Lock: on when there is a head and it is not disabled.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TkaInfo {
    #[serde(default, deserialize_with = "null")]
    head: Box<str>,
    #[serde(default, deserialize_with = "null")]
    disabled: bool,
}

impl TkaInfo {
    pub(crate) fn is_on(&self) -> bool {
        !self.head.is_empty() && !self.disabled
    }
}

/// Settings by which control steers a client for debugging; the rest of them has no meaning here.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DebugSettings {
    /// Wait so many seconds before going on (five minutes at most; done by this crate).
    #[serde(deserialize_with = "null")]
    pub sleep_seconds: f64,
    /// Control asks the process to exit with this status; ignored, because a router stays up.
    pub exit: Option<i64>,
}

/// A question of control whether and how this node answers (protocol reference §1.15).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PingRequest {
    #[serde(rename = "URL", deserialize_with = "null")]
    pub(crate) url: String,
    #[serde(rename = "URLIsNoise", deserialize_with = "null")]
    pub(crate) url_is_noise: bool,
    #[serde(deserialize_with = "null")]
    pub(crate) types: String,
    #[serde(rename = "IP", deserialize_with = "null")]
    pub(crate) ip: String,
    /// Base64.
    #[serde(deserialize_with = "null")]
    pub(crate) payload: String,
}
