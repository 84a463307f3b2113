//! People and messages that control tells of.

use crate::UserId;

/// A user of the tailnet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserProfile {
    /// Number within the control server.
    pub id: UserId,
    /// `ann@example.com`, or `tagged-devices`.
    pub login_name: Box<str>,
    /// `Ann`.
    pub display_name: Box<str>,
    /// URL of a picture.
    pub profile_pic_url: Box<str>,
    /// Groups, when control tells them.
    pub groups: Box<[Box<str>]>,
}

/// A message of control to the user of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DisplayMessage {
    /// One line.
    pub title: Box<str>,
    /// More, may be empty.
    pub text: Box<str>,
    /// `high`, `medium` or `low`.
    pub severity: Box<str>,
    /// The node may be cut off because of it.
    pub impacts_connectivity: bool,
    /// URL and label of what to do about it.
    pub action: Option<(Box<str>, Box<str>)>,
}

/// What control knows of newer versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientVersion {
    /// This is the newest.
    pub running_latest: bool,
    /// The newest.
    pub latest_version: Box<str>,
    /// The newest mends a security problem.
    pub urgent_security_update: bool,
    /// Tell the user.
    pub notify: bool,
    /// Where to read more.
    pub notify_url: Box<str>,
    /// What to tell.
    pub notify_text: Box<str>,
}
