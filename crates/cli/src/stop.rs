//! Why a command ended before its end.

use localapi::Error;

/// The ways a command can fail, by what is printed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The text on standard error, status 1.
    Error(String),
    /// The daemon refused the user: text and a hint, status 1.
    Denied(String),
    /// Everything has been said; this status.
    Quiet(i32),
    /// The help of the command, status 0.
    Help,
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Self::Error(message)
    }
}

impl From<&str> for Stop {
    fn from(message: &str) -> Self {
        Self::Error(message.to_owned())
    }
}

/// How a command ends.
pub(crate) type Outcome = Result<(), Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::AccessDenied(_) => Self::Denied(error.to_string()),
            _ => Self::Error(error.to_string()),
        }
    }
}

/// For the commands that people type first: a daemon that is not there gets its own sentence.
pub(crate) fn connecting(error: Error) -> Stop {
    match error {
        Error::NotRunning { socket, cause, .. } => Stop::Error(format!(
            "failed to connect to local tailscaled; it doesn't appear to be running (socket {}: {cause})",
            socket.display()
        )),
        error => Stop::from(error),
    }
}
