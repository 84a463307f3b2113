//! Control for pairs that speak plain WireGuard to each other: the test server shows each node to the other as one that
//! is reached at a fixed endpoint and nowhere else. So our UDP line is measured without path discovery in between.

use anyhow::{Context, Result};
use lab::{Flavour, Host, Lab, Node};
use std::net::SocketAddr;
use testcontrol::{Options, Server};

/// The port that these nodes listen on.
const PORT: u16 = 41641;

/// A test server on a host of its own.
#[derive(Debug)]
pub(crate) struct Control {
    server: Server,
    _host: Host,
}

impl Control {
    /// Starts it.
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let host = lab.host("control")?;
        let at = SocketAddr::from((host.ipv4, 0));
        let server = host.inside(|| Server::start_at(Options::default(), at))??;
        Ok(Self { server, _host: host })
    }

    /// A node that has joined and is shown at its host's IPv4 address.
    pub(crate) fn node(&self, lab: &Lab, name: &str, flavour: Flavour) -> Result<Node> {
        let mut node = lab.node(name, flavour)?;
        node.tun = "tailscale0".to_owned();
        node.arguments.push(format!("--port={PORT}"));
        node.start()?;
        let options = Options::default();
        let key = options.auth_keys.first().context("the test server has no auth key")?;
        let (server, key) = (format!("--login-server={}", self.server.url()), format!("--auth-key={key}"));
        node.tailscale(&["up", &server, &key, &format!("--hostname={name}"), "--timeout=40s"])?.ok()?;
        node.wait_running()?;
        let nodes = self.server.nodes();
        let view = nodes.iter().find(|view| view.name == name);
        let view = view.with_context(|| format!("the test server does not know {name}"))?;
        self.server.set_wireguard_only(&view.key, Some(vec![SocketAddr::from((node.host.ipv4, PORT))]));
        Ok(node)
    }
}
