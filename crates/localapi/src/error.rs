//! What can go wrong between a client, the socket and the daemon, worded as Go's command line words it.

use std::path::PathBuf;

/// Why a call or a socket failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the socket.
    #[error("Failed to connect to local Tailscale daemon for {path}; not running? Error: dial unix {}: connect: {cause}", socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// What was asked for, without query.
        path: String,
        /// The system's words.
        cause: String,
    },
    /// The daemon does not let this user do it (403).
    #[error("Access denied: {0}")]
    AccessDenied(String),
    /// The daemon is not in a state for it (412).
    #[error("Preconditions failed: {0}")]
    PreconditionsFailed(String),
    /// The daemon has no such thing, or was built without it (404).
    #[error("{0}")]
    NotFound(String),
    /// Another status than the expected one.
    #[error("{text}")]
    Http {
        /// The status code.
        status: u16,
        /// What the daemon said; status and body where the body is no JSON error.
        text: String,
    },
    /// An answer of 200 that says it did not work.
    #[error("{0}")]
    Refused(String),
    /// The answer is not what the endpoint gives.
    #[error("{path}: {cause}")]
    Decode {
        /// What was asked for.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The connection broke, or an answer was larger than the limit.
    #[error("{path}: {cause}")]
    Connection {
        /// What was asked for.
        path: String,
        /// The system's words.
        cause: String,
    },
    /// Another daemon listens at the socket.
    #[error("tailscaled already running on {}", .0.display())]
    SocketInUse(PathBuf),
    /// The socket cannot be made.
    #[error("cannot listen on {}: {cause}", socket.display())]
    Listen {
        /// The socket.
        socket: PathBuf,
        /// The system's words.
        cause: String,
    },
}

/// The system's words for `error`, as Go prints them: lower case, no number.
pub(crate) fn system_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}
