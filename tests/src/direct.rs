//! Nodes that reach each other without a relay: the test server shows them to each other as peers that speak nothing but
//! WireGuard, and WireGuard's own program may be one of them.

use anyhow::{Context, Result, ensure};
use keys::NodePrivate;
use lab::{Flavour, Host, Lab, Node, Process};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use testcontrol::{NodeView, Options, Server};

/// The port that nodes of these tests listen on.
pub const PORT: u16 = 41641;

/// How long a program of the lab may take to come up.
const START: Duration = Duration::from_secs(20);

/// A test server on a host of its own.
pub struct Control {
    /// The server.
    pub server: Server,
    _host: Host,
}

impl Control {
    /// Starts it.
    ///
    /// # Errors
    /// When its host or the server cannot be made.
    pub fn start(lab: &Lab) -> Result<Self> {
        Self::start_as(lab, "control", 0)
    }

    /// Starts it under a name, with so many peers that it makes up.
    ///
    /// # Errors
    /// When its host or the server cannot be made.
    pub fn start_as(lab: &Lab, name: &str, phantom_peers: u32) -> Result<Self> {
        let host = lab.host(name)?;
        let at = SocketAddr::from((host.ipv4, 0));
        let options = Options { phantom_peers, ..Options::default() };
        let server = host.inside(|| Server::start_at(options, at))??;
        Ok(Self { server, _host: host })
    }

    /// A node with a kernel interface that listens on [`PORT`] and has joined; `environment` is its daemon's.
    ///
    /// # Errors
    /// When it does not start or join.
    pub fn node(
        &self,
        lab: &Lab,
        name: &str,
        flavour: Flavour,
        environment: &[(&str, &str)],
    ) -> Result<Node> {
        let mut node = lab.node(name, flavour)?;
        node.tun = "tailscale0".to_owned();
        node.arguments.push(format!("--port={PORT}"));
        node.environment
            .extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        node.start()?;
        self.join(&node)?;
        Ok(node)
    }

    /// Lets a started node join.
    ///
    /// # Errors
    /// When it does not.
    pub fn join(&self, node: &Node) -> Result<()> {
        let server = format!("--login-server={}", self.server.url());
        let name = format!("--hostname={}", node.host.name);
        node.tailscale(&["up", &server, "--auth-key=tskey-auth-test", &name, "--timeout=40s"])?.ok()?;
        node.wait_running()
    }

    /// What the server knows of a node.
    ///
    /// # Errors
    /// When it has not joined.
    pub fn view(&self, node: &Node) -> Result<NodeView> {
        let found = self.server.nodes().into_iter().find(|view| view.name == node.host.name);
        found.with_context(|| format!("the server does not know {}", node.host.name))
    }

    /// Shows `node` to its peers as one that is reached at this address of its host and nowhere else.
    ///
    /// # Errors
    /// When it has not joined.
    pub fn show_at(&self, node: &Node, at: IpAddr) -> Result<SocketAddr> {
        let endpoint = SocketAddr::new(at, PORT);
        self.server.set_wireguard_only(&self.view(node)?.key, Some(vec![endpoint]));
        Ok(endpoint)
    }

    /// Packets that relays have carried so far.
    pub fn relayed(&self) -> u32 {
        self.server.counts().relayed_packets
    }
}

/// Both addresses of a host in the lab's internet.
///
/// # Errors
/// When it has no IPv6.
pub fn underlay(host: &Host) -> Result<[IpAddr; 2]> {
    Ok([host.ipv4.into(), host.ipv6.context("no IPv6")?.into()])
}

/// Waits until `status` of `node` names this address as the way to `peer`.
///
/// # Errors
/// When that does not come.
pub fn wait_direct(node: &Node, peer: &str, at: SocketAddr) -> Result<()> {
    let what = format!("{} to reach {peer} at {at}", node.host.name);
    lab::until(&what, Duration::from_secs(20), || {
        let entry = node.peer(peer)?.context("no such peer")?;
        ensure!(entry["CurAddr"] == at.to_string(), "CurAddr is {}", entry["CurAddr"]);
        Ok(Some(()))
    })
}

/// A running `wireguard-go` with an interface of its own.
pub struct WireguardGo {
    /// Where it runs.
    pub host: Host,
    /// Its addresses in the tailnet.
    pub addresses: [IpAddr; 2],
    /// Its private key.
    pub key: NodePrivate,
    process: Process,
}

impl WireguardGo {
    /// The name of its interface.
    const INTERFACE: &str = "wg0";

    /// Starts it on a host; it knows no peer yet.
    ///
    /// # Errors
    /// When it does not come up or its interface cannot be configured.
    pub fn start(host: Host) -> Result<Self> {
        // A folder for its socket that no other host shares.
        let script = "mkdir -p /run/wireguard && mount -t tmpfs none /run/wireguard && exec \"$@\"";
        let mut command = host.command("sh");
        command.args(["-c", script, "sh"]).arg(lab::wireguard_go()).args(["-f", Self::INTERFACE]);
        let process = host.spawn(command, "wireguard-go")?;
        let addresses = [
            IpAddr::from(Ipv4Addr::new(100, 101, 7, 7)),
            "fd7a:115c:a1e0::7:7".parse().context("its address")?,
        ];
        let mut started = Self { host, addresses, key: NodePrivate::from_bytes([0x47; 32]), process };
        lab::until("wireguard-go's socket", START, || {
            started.process.check()?;
            Ok(started.connect().ok().map(drop))
        })?;
        started.set(&format!("private_key={}\nlisten_port={PORT}\n", hex(&[0x47; 32])))?;
        for (address, length, range) in
            [(started.addresses[0], 32, "100.64.0.0/10"), (started.addresses[1], 128, "fd7a:115c:a1e0::/48")]
        {
            let family = if length == 32 { "-4" } else { "-6" };
            let address = format!("{address}/{length}");
            started.host.run(&["ip", family, "address", "add", &address, "dev", Self::INTERFACE])?;
            started.host.run(&["ip", "link", "set", "dev", Self::INTERFACE, "mtu", "1280", "up"])?;
            started.host.run(&["ip", family, "route", "add", range, "dev", Self::INTERFACE])?;
        }
        Ok(started)
    }

    /// Starts it anew, with the same key; it knows no peer again. To be called before it speaks by IPv6 after it has spoken by
    /// IPv4: one process would send the first datagrams of that to an address of whose sixteen bytes it has filled in four
    /// (`Send` of its `conn/bind_std.go` copies before it makes room).
    ///
    /// # Errors
    /// As [`WireguardGo::start`].
    pub fn restart(self) -> Result<Self> {
        let Self { host, process, .. } = self;
        drop(process);
        Self::start(host)
    }

    /// Makes it know one peer, which is reached at `endpoint` (`None`: wherever it comes from).
    ///
    /// # Errors
    /// When it refuses.
    pub fn knows(&self, peer: &NodeView, endpoint: Option<SocketAddr>) -> Result<()> {
        let key = peer.key.strip_prefix("nodekey:").context("a node key")?;
        let endpoint = endpoint.map(|at| format!("endpoint={at}\n")).unwrap_or_default();
        self.set(&format!(
            "replace_peers=true\npublic_key={key}\nreplace_allowed_ips=true\n{endpoint}\
             allowed_ip={}/32\nallowed_ip={}/128\n",
            peer.ip4, peer.ip6
        ))
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When its socket does not answer.
    pub fn get(&self) -> Result<String> {
        self.ask("get=1\n\n")
    }

    fn set(&self, lines: &str) -> Result<()> {
        let answer = self.ask(&format!("set=1\n{lines}\n"))?;
        ensure!(answer.trim() == "errno=0", "wireguard-go says {answer:?}");
        Ok(())
    }

    fn connect(&self) -> Result<UnixStream> {
        let root = Path::new("/proc").join(self.process.id().to_string()).join("root");
        let path = root.join("run/wireguard").join(format!("{}.sock", Self::INTERFACE));
        UnixStream::connect(&path).with_context(|| path.display().to_string())
    }

    /// A request of its configuration protocol; each answer ends with an empty line.
    fn ask(&self, request: &str) -> Result<String> {
        let mut socket = self.connect()?;
        socket.set_read_timeout(Some(START))?;
        socket.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\n\n") && socket.read(&mut byte)? == 1 {
            answer.extend_from_slice(&byte);
        }
        Ok(String::from_utf8(answer)?)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
