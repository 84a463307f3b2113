//! Everything the node can do.

use super::input::Reply;
use super::profiles::Changes;
use ipnet::{Ipv4Net, Ipv6Net};
use keys::{MachinePrivate, NodePrivate};
use localapi::types::{NetfilterMode, Notify};
use netmap::{DerpMap, IpNet, NodeId, RegionId, Set};
use std::net::{SocketAddr, SocketAddrV4};

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// Write these keys to the store, then tell [`super::Input::Saved`].
    Save(Changes),
    /// End the control client, if there is one, and start another.
    StartControl(Box<ControlStart>),
    /// Give this to the control client.
    Control(control::Command),
    /// End the control client until another is started.
    StopControl,
    /// Ask control to let our node key expire at this time, and answer.
    ExpireSooner(netmap::Timestamp, Reply<Result<(), String>>),
    /// End the session at control, then tell [`super::Input::LoggedOut`].
    Logout,
    /// Control has told the time.
    ControlTime(netmap::Timestamp),
    /// The engine's own configuration has changed: give it [`super::Backend::self_config`].
    Configure,
    /// What the system must know of us has changed: give the router [`super::Backend::router_config`].
    Router,
    /// DNS may follow from other facts now: let it look at the backend.
    Dns,
    /// These peers have changed: give the engine [`super::Backend::peer_config`] of each.
    SyncPeers(PeerSet),
    /// The relays' configuration has changed: give it [`super::Backend::relay_config`].
    Relays,
    /// Look at the network: how far the relays are, how the world sees us. The answer is [`super::Input::Looked`].
    Look,
    /// A router forwards this address to us, or nothing any more: an endpoint of ours.
    PortMapping(Option<SocketAddrV4>),
    /// The user knows of these endpoints of ours besides those that are found.
    StaticEndpoints(Vec<SocketAddr>),
    /// Tell everybody who watches the bus.
    Notify(Box<Notify>),
}

/// Some or all peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerSet {
    /// All there are, and none that the engine has besides.
    All,
    /// These; one that is not in the map any more is to be forgotten.
    Some(Set<NodeId>),
}

/// What a control client is started with.
#[derive(Debug)]
pub struct ControlStart {
    /// Where.
    pub server_url: String,
    /// This installation's key.
    pub machine_key: MachinePrivate,
    /// The profile's keys.
    pub persisted: control::Persisted,
}

/// The addresses of tailnets (protocol reference §8.1).
pub const TAILNET: [&str; 2] = ["100.64.0.0/10", "fd7a:115c:a1e0::/48"];

/// The routes to everywhere, one a family.
pub fn default_routes() -> [IpNet; 2] {
    [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())]
}

/// What the system must know of us: the interface of the node, whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouterConfig {
    /// Our addresses.
    pub addresses: Vec<IpNet>,
    /// What is reached through us.
    pub routes: Vec<IpNet>,
    /// Networks of other interfaces that are reached as ever, although a route of ours covers them.
    pub around: Vec<IpNet>,
    /// Networks behind routers near us that are reached as ever, although a route of ours covers them.
    pub behind: Vec<IpNet>,
    /// Networks of other interfaces that are not to be reached any more.
    pub shut: Vec<IpNet>,
    /// What is asked of the system's packet filter.
    pub firewall: Firewall,
}

impl RouterConfig {
    /// Whether everything without another way goes through us.
    pub fn leads_out(&self) -> bool {
        self.routes.iter().any(|net| net.prefix_len() == 0)
    }

    /// Whether addresses go through us that are no tailnet's: where peers, relays or control may be.
    pub fn leads_beyond(&self) -> bool {
        self.routes.iter().any(|net| !is_tailnets(net))
    }
}

/// Whether `net` has addresses of tailnets only.
pub fn is_tailnets(net: &IpNet) -> bool {
    let mut ranges = TAILNET.iter().filter_map(|range| range.parse::<IpNet>().ok());
    ranges.any(|range| range.contains(net))
}

/// What the system's packet filter is to do for us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Firewall {
    /// How much of it.
    pub mode: NetfilterMode,
    /// By which of the kernel's ways, in upstream's words; empty = whichever is in use.
    pub kind: String,
    /// What comes from the tailnet and goes on gets this machine's address.
    pub snat: bool,
    /// Into the tailnet goes only what belongs to connections that exist.
    pub stateful: bool,
    /// What pretends to come from the tailnet is dropped.
    pub drop_cgnat: bool,
    /// Our UDP port; 0 = not open.
    pub port: u16,
}

/// What the relays are connected as and to.
#[derive(Debug, Clone)]
pub struct RelayConfig<'a> {
    /// Our node key.
    pub key: NodePrivate,
    /// All regions.
    pub map: &'a DerpMap,
    /// Our home.
    pub home: RegionId,
    /// UDP may be used; control can forbid it.
    pub udp: bool,
    /// Routers may be asked by UPnP; control can forbid that, too.
    pub upnp: bool,
    /// UDP is to listen on any port rather than on that of the command line; control can wish so.
    pub random_port: bool,
    /// The network is looked at from time to time without traffic, too; control can wish so.
    pub always_look: bool,
    /// Stay disconnected.
    pub paused: bool,
}
