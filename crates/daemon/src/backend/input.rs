//! Everything that can happen to the node.

use crate::config::Config;
use crate::parts::{dns, portmapper};
use engine::netcheck::Report;
use localapi::types::{MaskedPrefs, Options, Prefs};
use netmap::{IpNet, Timestamp};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The way back to whoever gave a command; dropping it unanswered is seen there as "daemon is stopping".
pub struct Reply<T>(Box<dyn FnOnce(T)>);

impl<T> Reply<T> {
    /// Answers go to `answer`.
    pub fn new(answer: impl FnOnce(T) + 'static) -> Self {
        Self(Box::new(answer))
    }

    /// Answers.
    pub fn send(self, value: T) {
        (self.0)(value);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// The daemon is ready to go.
    Start,
    /// News of the control client.
    Control(control::Event),
    /// Somebody at the LocalAPI wants something.
    Command(Command),
    /// Control has answered a logout.
    LoggedOut(Result<(), String>),
    /// So many peers have a session now.
    LivePeers(usize),
    /// News of the relays.
    Relay(derp::Event),
    /// Where we can be reached has changed.
    Endpoints(Vec<control::Endpoint>),
    /// The network has been looked at.
    Looked(Arc<Report>),
    /// What the router in front of us forwards has changed.
    PortMapping(portmapper::Mapping),
    /// The other interfaces of this machine have these addresses now, with the lengths of their prefixes.
    Interfaces(Vec<IpNet>),
    /// Whether there is a UDP socket of IPv4.
    Udp4(bool),
    /// What keeps this machine from forwarding packets, if anything.
    Forwarding(Option<String>),
    /// What DNS has found.
    Dns(dns::Finding),
    /// Where our PeerAPI listens now.
    PeerApi(Vec<SocketAddr>),
    /// Routes and packet filter have been set or looked at.
    Router {
        /// What could not be set; empty when all is well.
        problems: Vec<String>,
        /// The packet filter that is used, in upstream's words.
        firewall: &'static str,
    },
    /// The store was written, or why not.
    Saved(Result<(), String>),
    /// The moment of [`super::Backend::poll_timeout`] has come.
    Timeout,
}

/// What somebody at the LocalAPI may want changed.
#[derive(Debug)]
pub enum Command {
    /// `start`: new settings, an auth key.
    Start(Box<Options>, Reply<Result<(), String>>),
    /// `prefs` PATCH.
    EditPrefs(Box<MaskedPrefs>, Reply<Result<Prefs, String>>),
    /// `check-prefs`.
    CheckPrefs(Box<Prefs>, Reply<Result<(), String>>),
    /// `login-interactive`.
    LoginInteractive(Reply<Result<(), String>>),
    /// `logout`.
    Logout(Reply<Result<(), String>>),
    /// `profiles/ID` POST.
    SwitchProfile(String, Reply<Result<(), String>>),
    /// `profiles/` PUT.
    NewProfile(Reply<Result<(), String>>),
    /// `profiles/ID` DELETE.
    DeleteProfile(String, Reply<Result<(), String>>),
    /// `reset-auth`.
    ResetAuth(Reply<Result<(), String>>),
    /// The configuration file says this, at start or when it is read again (`reload-config`).
    SetConfig(Box<Config>, Reply<Result<(), String>>),
    /// `set-expiry-sooner`.
    ExpireSooner(Timestamp, Reply<Result<(), String>>),
    /// `set-use-exit-node-enabled`.
    UseExitNode(bool, Reply<Result<Prefs, String>>),
    /// `disconnect-control`.
    DisconnectControl(Reply<Result<(), String>>),
}
