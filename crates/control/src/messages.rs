//! What goes into and comes out of the control client.

use crate::{Error, Hostinfo, MapItem};
use dial::Dial;
use keys::{DiscoPublic, MachinePrivate, NlPrivate, NodePrivate};
use netmap::{Timestamp, UserProfile};
use rand_core::CryptoRngCore;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tokio::sync::oneshot;

/// What stays the same for the life of a control client.
pub struct Options {
    /// `https://…` or `http://…`, host and port; a trailing slash does not matter.
    pub server_url: String,
    /// Opens connections.
    pub dialer: Rc<dyn Dial>,
    /// Names this installation to control.
    pub machine_key: MachinePrivate,
    /// Usually [`crate::CAPABILITY_VERSION`].
    pub capability_version: u16,
    /// Makes node keys and ephemeral keys, and spreads waits.
    pub rng: Box<dyn CryptoRngCore>,
    /// Never try plain HTTP for Noise where there is HTTPS (`TS_FORCE_NOISE_443`).
    pub force_noise_443: bool,
}

/// The keys of a profile, from the state file.
#[derive(Debug, Clone, Default)]
pub struct Persisted {
    /// Current node key; zero before the first login.
    pub node_key: NodePrivate,
    /// The node key before a rotation that did not complete; usually zero.
    pub old_node_key: NodePrivate,
    /// Tailnet Lock key, only announced.
    pub nl_key: NlPrivate,
}

/// How to log in.
#[derive(Clone, Default)]
pub struct Login {
    /// Used until control has answered once, then forgotten.
    pub auth_key: Option<String>,
    /// Make a new node key even if there is one: the user asked for a login (`--force-reauth`, interactive), or
    /// the key's expiry is past by the daemon's clock.
    pub new_key: bool,
    /// Wished expiry of the node key; `None` lets control choose.
    pub expiry: Option<Timestamp>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let auth_key = self.auth_key.as_ref().map(|_| "redacted");
        f.debug_struct("Login").field("auth_key", &auth_key).field("new_key", &self.new_key).finish()
    }
}

/// What this node tells control about itself, whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SelfReport {
    /// With `NetInfo` in it as soon as there is a home DERP: peers cannot reach us without.
    pub hostinfo: Hostinfo,
    /// Where our UDP socket may be reached.
    pub endpoints: Vec<Endpoint>,
    /// Disco key of this run.
    pub disco_key: DiscoPublic,
    /// `warn-ip-forwarding-off`, `warn-router-unhealthy`.
    pub debug_flags: Vec<String>,
    /// Delete the node when it goes offline.
    pub ephemeral: bool,
}

/// One of our endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Address and port.
    pub addr: SocketAddr,
    /// How it was found.
    pub kind: EndpointKind,
}

/// How an endpoint was found (§1.9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EndpointKind {
    /// Address of an interface.
    Local = 1,
    /// Seen by a STUN server.
    Stun = 2,
    /// Mapped by a router.
    Portmapped = 3,
    /// Seen by STUN, with our local port: the user may have forwarded it.
    Stun4LocalPort = 4,
    /// Configured.
    Explicit = 5,
}

/// What the daemon wants. Never wait for room in the command channel in the task that reads the events: a full
/// event channel stops the client until events are read.
#[derive(Debug)]
pub enum Command {
    /// Log in, instead of a login under way. Needs a report first (it waits for one). A map stream under way
    /// goes on until the login succeeds with another key.
    Login(Login),
    /// What we are now; sent to control when it differs from the last.
    Report(Box<SelfReport>),
    /// true: close the map stream and send no updates; false: go on. Logging in is not affected.
    Pause(bool),
    /// End the session at control (10 s at most). The node key is forgotten if that succeeds.
    Logout {
        /// Told when it is over.
        reply: oneshot::Sender<Result<(), Error>>,
    },
    /// Let the node key expire at this time, which control takes only if it is earlier than the key's own (10 s at
    /// most). Logins and the map stream are not affected.
    ExpireSooner {
        /// When.
        at: Timestamp,
        /// Told when it is over.
        reply: oneshot::Sender<Result<(), Error>>,
    },
    /// Something happened that makes waiting pointless (link change): retry at once, and see whether the
    /// connection still works.
    Wake,
}

/// What happened.
///
/// A map stream goes `MapUp`, `MapItem`…, `MapDown`. Of one that a `Command`, a login with a new key or a refused update
/// ends, the `MapDown` comes when the next one is about to be asked for.
#[derive(Debug)]
pub enum Event {
    /// The user must visit this URL. Each URL comes once.
    AuthUrl(String),
    /// This node is registered. Persist the key.
    LoggedIn(Box<LoggedIn>),
    /// Control refused, in words for the user. `retrying` tells whether the client goes on trying without being
    /// told to; a refused auth key is not tried again, but a node that has a key of its own goes on with that.
    LoginFailed {
        /// What control said.
        error: Error,
        /// The client goes on by itself.
        retrying: bool,
    },
    /// Control says that our node key has expired; a new one is being registered.
    KeyExpired,
    /// An activity fails and is retried, or (`None`) works again.
    Trouble {
        /// Which.
        activity: Activity,
        /// Why.
        error: Option<Error>,
    },
    /// Control took a map request: a stream begins ([`netmap::NetMap::begin_stream`]).
    MapUp,
    /// A piece of a map message.
    MapItem(MapItem),
    /// The stream is over; another is being tried. The last map stays in force.
    MapDown {
        /// Why.
        error: Error,
    },
    /// A request of control to this node, raw HTTP/1.1; the answer, also raw, goes to control if it comes within
    /// a minute.
    C2n {
        /// Request line, headers, body.
        request: Vec<u8>,
        /// Status line, headers, body.
        reply: oneshot::Sender<Vec<u8>>,
    },
    /// Control wants us to ping a peer; ten seconds.
    PingPeer {
        /// `disco`, `TSMP`, `ICMP` or `peerapi`.
        kind: String,
        /// Whom.
        ip: IpAddr,
        /// The result.
        reply: oneshot::Sender<PingReply>,
    },
}

/// What can fail and be retried, each for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    /// Registering.
    Login,
    /// The map stream.
    Map,
    /// Telling control about ourselves.
    Update,
}

/// The result of a login.
#[derive(Debug, Clone)]
pub struct LoggedIn {
    /// Our node key from now on.
    pub node_key: NodePrivate,
    /// It differs from the one before.
    pub rotated: bool,
    /// Whose node it is.
    pub user: UserProfile,
    /// Identity provider, may be empty.
    pub provider: Box<str>,
    /// False: an admin must approve this machine; the map stream runs, but without peers.
    pub machine_authorized: bool,
}

gojson::object! {
    write
    /// The answer to a [`Event::PingPeer`], in the words of the wire.
    #[derive(Debug, Clone, PartialEq, Default)]
    pub struct PingReply {
        /// The kind that was asked for (filled in by this crate).
        pub kind: String => "Type",
        /// Who was pinged (filled in by this crate).
        pub ip: String => "IP",
        /// Its first address; by TSMP and ICMP the one that was asked.
        pub node_ip: String => "NodeIP",
        /// Its name.
        pub node_name: String => "NodeName",
        /// Why there was no answer.
        pub err: String => "Err" omit,
        /// Round trip in seconds.
        pub latency_seconds: f64 => "LatencySeconds",
        /// Address and port of a direct path.
        pub endpoint: String => "Endpoint" omit,
        /// Region of a relayed path, 0 = direct.
        pub derp_region_id: u16 => "DERPRegionID",
        /// Its code.
        pub derp_region_code: String => "DERPRegionCode" omit,
        /// Port of its PeerAPI, which TSMP tells; 0 = not told.
        pub peerapi_port: u16 => "PeerAPIPort",
        /// The address is our own.
        pub is_local_ip: bool => "IsLocalIP",
    }
}
