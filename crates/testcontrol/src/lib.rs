//! A control server, a DERP relay and a STUN server in one process on loopback, for tests and the demo.
//!
//! Owns: a server that clients of any make can join, ours and Go's alike. It shares no code with our client on
//! purpose (its Noise handshake comes from another library, its JSON is built by hand), so that both cannot be
//! wrong in the same way.
//! Leaves out: persistence, policy, certificates anybody should trust.

mod bytes_io;
mod churn;
mod derp;
mod http;
mod json;
mod machine;
mod noise;
mod stun;
mod wireguard;
mod world;
mod zstd;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

pub use wireguard::WireguardPeer;
pub use world::{Counts, Faults, NodeView};

/// How to set up a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Auth keys that let a node in at once.
    pub auth_keys: Vec<String>,
    /// Auth keys that are refused as expired.
    pub expired_keys: Vec<String>,
    /// Machines must be approved with [`Server::authorize`] before they see peers.
    pub require_machine_auth: bool,
    /// How many further peers that never answer stand in every map.
    pub phantom_peers: u32,
    /// Time between keep-alives of the map stream.
    pub keep_alive: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auth_keys: vec!["tskey-auth-test".to_owned()],
            expired_keys: Vec::new(),
            require_machine_auth: false,
            phantom_peers: 0,
            keep_alive: Duration::from_secs(50),
        }
    }
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    control: SocketAddr,
    derp: SocketAddr,
    stun: SocketAddr,
    commands: tokio::sync::mpsc::Sender<Command>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Something to be asked of the world on its own thread.
type Question = Box<dyn FnOnce(&Rc<world::World>) + Send>;

/// What the handle asks of the server's thread.
enum Command {
    Run(Question),
    Stop,
}

impl Server {
    /// Starts on free ports of 127.0.0.1, on a thread of its own.
    pub fn start(options: Options) -> Result<Self> {
        Self::start_at(options, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts with control at `control` (port 0 = any) and DERP and STUN on free ports of the same address.
    pub fn start_at(options: Options, control: SocketAddr) -> Result<Self> {
        let (ready, started) = mpsc::channel();
        let (commands, inbox) = tokio::sync::mpsc::channel(64);
        let thread = std::thread::Builder::new()
            .name("testcontrol".to_owned())
            .spawn(move || run(options, control, inbox, &ready))
            .context("start the server's thread")?;
        let addrs = started.recv().context("the server's thread ended early")??;
        Ok(Self { control: addrs[0], derp: addrs[1], stun: addrs[2], commands, thread: Some(thread) })
    }

    /// What to give to `--login-server`.
    pub fn url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// Where DERP (TLS, certificate not to be verified) listens.
    pub const fn derp_addr(&self) -> SocketAddr {
        self.derp
    }

    /// Where STUN listens.
    pub const fn stun_addr(&self) -> SocketAddr {
        self.stun
    }

    /// Every node that has registered.
    pub fn nodes(&self) -> Vec<NodeView> {
        self.ask(|world| world.views())
    }

    /// How often what was asked.
    pub fn counts(&self) -> Counts {
        self.ask(|world| world.counts())
    }

    /// Completes the interactive login behind `url`, as the person at the browser would. False if there is none.
    pub fn complete_login(&self, url: &str) -> bool {
        let id = url.rsplit('/').next().unwrap_or("").to_owned();
        self.ask(move |world| world.approve_login(&id))
    }

    /// Approves the machine of the node with this key.
    pub fn authorize(&self, node_key: &str) {
        let key = node_key.to_owned();
        self.ask(move |world| world.authorize(&key));
    }

    /// Gives a node these attributes and no others, and tells it.
    pub fn set_attributes(&self, node_key: &str, attributes: &[&str]) {
        let key = node_key.to_owned();
        let attributes = attributes.iter().map(|name| (*name).to_owned()).collect();
        self.ask(move |world| world.set_attributes(&key, attributes));
    }

    /// Leads these routes through a node, whatever it advertises, and tells its peers.
    pub fn set_routes(&self, node_key: &str, routes: &[&str]) {
        let key = node_key.to_owned();
        let routes = routes.iter().map(|route| (*route).to_owned()).collect();
        self.ask(move |world| world.set_routes(&key, routes));
    }

    /// Marks a node's key as expired (or valid again) and tells everybody.
    pub fn set_expired(&self, node_key: &str, expired: bool) {
        let key = node_key.to_owned();
        self.ask(move |world| world.set_expired(&key, expired));
    }

    /// Deletes a node and tells everybody.
    pub fn remove(&self, node_key: &str) {
        let key = node_key.to_owned();
        self.ask(move |world| world.remove(&key));
    }

    /// Adds a peer that is no node of this server and speaks nothing but WireGuard.
    pub fn add_wireguard_peer(&self, peer: WireguardPeer) {
        self.ask(move |world| world.add_wireguard_peer(peer));
    }

    /// Shows the node with this key to its peers as one that speaks nothing but WireGuard and listens at `endpoints`;
    /// `None`: as what it is.
    pub fn set_wireguard_only(&self, node_key: &str, endpoints: Option<Vec<SocketAddr>>) {
        let key = node_key.to_owned();
        self.ask(move |world| world.set_wireguard_only(&key, endpoints));
    }

    /// Sends a raw map message (JSON object) to the node with this key. False if it has no stream.
    pub fn send_map(&self, node_key: &str, message: serde_json::Value) -> bool {
        let key = node_key.to_owned();
        self.ask(move |world| world.send_raw(&key, message))
    }

    /// Sends the node with this key a request of control, raw HTTP/1.1; its answer, also raw, comes by
    /// [`Self::ping_answers`]. False if it has no stream.
    pub fn c2n(&self, node_key: &str, request: &str) -> bool {
        let key = node_key.to_owned();
        let payload = base64::engine::general_purpose::STANDARD.encode(request);
        self.ask(move |world| world.send_c2n(&key, &payload))
    }

    /// Switches faults on and off.
    pub fn set_faults(&self, faults: Faults) {
        self.ask(move |world| world.set_faults(faults));
    }

    /// Changes `peers` phantom peers, `per_second` changes in all, from now on; 0 of either stops it. Phantoms beyond
    /// [`Options::phantom_peers`] come into being when they are changed.
    pub fn churn(&self, peers: u32, per_second: u32) {
        self.ask(move |world| world.churn(peers, per_second));
    }

    /// Bodies that clients have posted in answer to pings, oldest first.
    pub fn ping_answers(&self) -> Vec<String> {
        self.ask(|world| world.take_ping_answers())
    }

    fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Rc<world::World>) -> T + Send + 'static) -> T {
        let (answer, wait) = mpsc::channel();
        let run = Command::Run(Box::new(move |world| drop(answer.send(question(world)))));
        assert!(self.commands.blocking_send(run).is_ok(), "the test server has stopped");
        wait.recv().expect("the test server has stopped")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.commands.blocking_send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    options: Options,
    control: SocketAddr,
    mut inbox: tokio::sync::mpsc::Receiver<Command>,
    ready: &mpsc::Sender<Result<[SocketAddr; 3]>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error.into()))),
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let world = match bind(options, control).await {
            Ok((world, addrs)) => {
                let _ = ready.send(Ok(addrs));
                world
            }
            Err(error) => return drop(ready.send(Err(error))),
        };
        while let Some(Command::Run(question)) = inbox.recv().await {
            question(&world);
        }
    });
}

async fn bind(options: Options, control: SocketAddr) -> Result<(Rc<world::World>, [SocketAddr; 3])> {
    let ip = control.ip();
    let listener =
        tokio::net::TcpListener::bind(control).await.with_context(|| format!("listen on {control}"))?;
    let derp = tokio::net::TcpListener::bind((ip, 0)).await.context("listen for DERP")?;
    let stun = tokio::net::UdpSocket::bind((ip, 0)).await.context("listen for STUN")?;
    let addrs = [listener.local_addr()?, derp.local_addr()?, stun.local_addr()?];
    let world = Rc::new(world::World::new(options, addrs));
    tokio::task::spawn_local(http::serve(listener, world.clone()));
    tokio::task::spawn_local(derp::serve(derp, derp::Relay::new(ip)?, world.clone()));
    tokio::task::spawn_local(stun::serve(stun));
    Ok((world, addrs))
}
