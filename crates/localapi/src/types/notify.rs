//! The messages of the bus that `watch-ipn-bus` streams, and the mask that asks for them.

use super::health::HealthState;
use super::node::{Node, PeerChange};
use super::prefs::Prefs;
use super::status::Status;
use super::time::Time;
use super::user::{ClientVersion, UserProfile};
use gojson::{Bad, Map, Raw, Shape, Token, Value, Writer, Zero};
use keys::NodePublic;
use std::fmt;

go_object! {
    /// One message of the bus; what is not set has not changed. `ErrMessage`, `LoginFinished`, `State`, `Prefs`,
    /// `NetMap`, `Engine`, `BrowseToURL` and `DriveShares` are written as `null` then, the others are left out.
    pub struct Notify {
        pub version: String => "Version",
        pub session_id: String => "SessionID" omit,
        pub err_message: Option<String> => "ErrMessage",
        pub login_finished: Option<Empty> => "LoginFinished",
        pub state: Option<State> => "State",
        pub prefs: Option<Box<Prefs>> => "Prefs",
        pub self_change: Option<Box<Node>> => "SelfChange" omit,
        pub initial_status: Option<Box<Status>> => "InitialStatus" omit,
        pub net_map: Option<Raw> => "NetMap",
        pub peer_changed_patch: Vec<PeerChange> => "PeerChangedPatch" omit,
        pub peers_changed: Vec<Node> => "PeersChanged" omit,
        /// Node ids.
        pub peers_removed: Vec<i64> => "PeersRemoved" omit,
        pub user_profiles: Map<i64, UserProfile> => "UserProfiles" omit,
        /// By stable id.
        pub peer_state: Map<String, PeerState> => "PeerState" omit,
        pub engine: Option<EngineStatus> => "Engine",
        pub browse_to_url: Option<String> => "BrowseToURL",
        pub files_waiting: Option<Empty> => "FilesWaiting" omit,
        pub incoming_files: Option<Raw> => "IncomingFiles" omit,
        pub outgoing_files: Option<Raw> => "OutgoingFiles" omit,
        pub local_tcp_port: Option<u16> => "LocalTCPPort" omit,
        pub client_version: Option<ClientVersion> => "ClientVersion" omit,
        pub drive_shares: Option<Raw> => "DriveShares",
        pub health: Option<HealthState> => "Health" omit,
        /// Stable id.
        pub suggested_exit_node: Option<String> => "SuggestedExitNode" omit,
        pub policy: Option<Raw> => "Policy" omit,
    }
}

go_object! {
    /// A fact without details: `{}`.
    pub struct Empty {}
}

go_object! {
    /// What the WireGuard engine is doing.
    pub struct EngineStatus {
        pub r_bytes: i64 => "RBytes",
        pub w_bytes: i64 => "WBytes",
        /// Peers with a handshake.
        pub num_live: i64 => "NumLive",
        /// Open DERP connections.
        pub live_derps: i64 => "LiveDERPs",
        pub live_peers: Option<Map<NodePublic, PeerStatusLite>> => "LivePeers",
    }
}

go_object! {
    /// Traffic of one peer.
    pub struct PeerStatusLite {
        pub node_key: NodePublic => "NodeKey",
        pub tx_bytes: i64 => "TxBytes",
        pub rx_bytes: i64 => "RxBytes",
        pub last_handshake: Time => "LastHandshake",
    }
}

go_object! {
    /// The WireGuard session of one peer.
    pub struct PeerState {
        /// `none`, `handshake`, `established` or `expired`.
        pub state: String => "PeerWireGuardState",
        pub at: Time => "PeerWireGuardStateAt",
    }
}

/// The backend's states; a number on the bus, a name in [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum State {
    /// Starting up, or the state store is broken.
    #[default]
    NoState = 0,
    /// Windows only.
    InUseOtherUser = 1,
    /// Somebody must log in.
    NeedsLogin = 2,
    /// An admin must approve the machine.
    NeedsMachineAuth = 3,
    /// Switched off by the user.
    Stopped = 4,
    /// Has a map, no connection yet.
    Starting = 5,
    /// Working.
    Running = 6,
}

impl State {
    const ALL: [(Self, &'static str); 7] = [
        (Self::NoState, "NoState"),
        (Self::InUseOtherUser, "InUseOtherUser"),
        (Self::NeedsLogin, "NeedsLogin"),
        (Self::NeedsMachineAuth, "NeedsMachineAuth"),
        (Self::Stopped, "Stopped"),
        (Self::Starting, "Starting"),
        (Self::Running, "Running"),
    ];

    /// The name that status and command line use.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(state, _)| *state)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Zero for State {
    fn zero() -> Self {
        Self::NoState
    }
}

impl Value for State {
    fn shape(&self) -> Shape {
        Shape::Leaf { zero: *self == Self::NoState }
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        if matches!(token, Token::Null) {
            return Ok(());
        }
        let number = token.whole(0, 6, "a state from 0 to 6")?;
        if let Some((state, _)) = Self::ALL.iter().find(|(state, _)| *state as u64 == number) {
            *self = *state;
        }
        Ok(())
    }
    fn put(&self, out: &mut Writer<'_>) {
        out.bare(&(*self as u8));
    }
}

/// Bits of the mask of `watch-ipn-bus` (feature reference §4.4).
pub mod mask {
    /// Have the engine asked every 2 s.
    pub const WATCH_ENGINE_UPDATES: u64 = 1 << 0;
    /// First message: session id, state, login URL.
    pub const INITIAL_STATE: u64 = 1 << 1;
    /// First message: preferences.
    pub const INITIAL_PREFS: u64 = 1 << 2;
    /// First message: own node and whole network map.
    pub const INITIAL_NETMAP: u64 = 1 << 3;
    /// Does nothing: keys are never sent.
    pub const NO_PRIVATE_KEYS: u64 = 1 << 4;
    /// First message: Taildrive shares.
    pub const INITIAL_DRIVE_SHARES: u64 = 1 << 5;
    /// First message: Taildrop transfers.
    pub const INITIAL_OUTGOING_FILES: u64 = 1 << 6;
    /// First message: health.
    pub const INITIAL_HEALTH_STATE: u64 = 1 << 7;
    /// Engine and map news at most every 3 s.
    pub const RATE_LIMIT: u64 = 1 << 8;
    /// Keep `PrimaryAction` instead of appending it to the text.
    pub const HEALTH_ACTIONS: u64 = 1 << 9;
    /// First message: suggested exit node.
    pub const INITIAL_SUGGESTED_EXIT_NODE: u64 = 1 << 10;
    /// First message: newer version.
    pub const INITIAL_CLIENT_VERSION: u64 = 1 << 11;
    /// Peers added, replaced, removed.
    pub const PEER_CHANGES: u64 = 1 << 12;
    /// No whole map after the first message.
    pub const NO_NETMAP: u64 = 1 << 13;
    /// First message: whole status.
    pub const INITIAL_STATUS: u64 = 1 << 14;
    /// Changed peers as patches; implies [`PEER_CHANGES`].
    pub const PEER_PATCHES: u64 = 1 << 15;
    /// Only inside Go's process; refused over the socket.
    pub const IN_PROCESS_NO_DISCONNECT: u64 = 1 << 16;
    /// System policy, first and on change.
    pub const SYS_POLICY_CHANGES: u64 = 1 << 17;
    /// WireGuard sessions, first and on change.
    pub const PEER_WIREGUARD_STATE: u64 = 1 << 18;
    /// What [`RATE_LIMIT`] cannot be combined with.
    pub const RATE_LIMIT_INCOMPATIBLE: u64 = PEER_CHANGES | NO_NETMAP | INITIAL_STATUS | PEER_PATCHES;
}
