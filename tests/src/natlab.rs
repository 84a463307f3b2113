//! Pairs of nodes behind every kind of router: do they find a direct path, and how soon.
//!
//! All pairs of a table share one headscale and two relays: with a single STUN server no node can know that its mapping
//! varies by destination.

use crate::local_api;
use anyhow::{Context, Result, ensure};
use lab::{Flavour, Headscale, Host, Lab, Nat, Node, PortMapper, Process, Relay, Router, Speaks};
use serde_json::Value;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

/// What both nodes have after joining before traffic begins.
const SETTLE: Duration = Duration::from_secs(4);

/// How long a pair may take to find a direct path. Go's nodes knock every five seconds.
const PATIENCE: Duration = Duration::from_secs(16);

/// After how long a pair with one of ours is too late: Go's second knock, which no load delays.
const SOON: Duration = Duration::from_secs(6);

/// Where the two nodes of a pair are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Behind a router each.
    Apart(Side, Side),
    /// On one LAN.
    Together(Nat),
}

/// One side of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Behind a router with this NAT.
    Behind(Nat),
    /// Behind two of them.
    Double(Nat, Nat),
    /// Behind a hard NAT that maps ports by this protocol.
    Mapped(Speaks),
    /// Behind a hard NAT and an IPv6 firewall.
    Dual,
    /// Behind an IPv6 firewall; no IPv4.
    Six,
    /// Behind an easy NAT, UDP blocked.
    NoUdp,
    /// Behind an easy NAT, TCP to ports 80 and 443 alone.
    OnlyWeb,
}

/// A row of the table: a name, the places, and whether a direct path can be found.
pub type Row = (&'static str, Where, bool);

/// Every row.
pub const ROWS: [Row; 16] = {
    use Nat::{AddressFiltering, Easy, Hard, OneToOne};
    use Side::{Behind, Double, Dual, Mapped, NoUdp, OnlyWeb, Six};
    use Where::{Apart, Together};
    [
        ("easy – easy", Apart(Behind(Easy), Behind(Easy)), true),
        ("easy – hard", Apart(Behind(Easy), Behind(Hard)), false),
        ("hard – hard", Apart(Behind(Hard), Behind(Hard)), false),
        ("address-filtering – easy", Apart(Behind(AddressFiltering), Behind(Easy)), true),
        ("address-filtering – hard", Apart(Behind(AddressFiltering), Behind(Hard)), true),
        ("one-to-one – hard", Apart(Behind(OneToOne), Behind(Hard)), true),
        ("IPv6 only", Apart(Six, Six), true),
        ("dual stack, hard", Apart(Dual, Dual), true),
        ("IPv6 only – dual stack", Apart(Six, Dual), true),
        ("one LAN", Together(Hard), true),
        ("double NAT – easy", Apart(Double(Easy, Easy), Behind(Easy)), true),
        ("NAT-PMP – hard", Apart(Mapped(Speaks::Pmp), Behind(Hard)), true),
        ("PCP – hard", Apart(Mapped(Speaks::Pcp), Behind(Hard)), true),
        ("UPnP – hard", Apart(Mapped(Speaks::Upnp), Behind(Hard)), true),
        ("UDP blocked – easy", Apart(NoUdp, Behind(Easy)), false),
        ("TCP 80 and 443 – easy", Apart(OnlyWeb, Behind(Easy)), false),
    ]
};

/// How a pair ended up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reached {
    /// Both sides have a direct path; from the first packet of traffic to the later one.
    Direct(Duration),
    /// Traffic goes through a relay.
    Relay,
    /// Only the first, or only the second, sends directly.
    Half(bool),
}

impl Reached {
    fn cell(self) -> String {
        match self {
            Self::Direct(after) => format!("direct, {:.2} s", after.as_secs_f64()),
            Self::Relay => "relay".to_owned(),
            Self::Half(first) => format!("only the {} is direct", if first { "first" } else { "second" }),
        }
    }
}

/// Headscale with two regions.
pub struct Ground<'a> {
    lab: &'a Lab,
    headscale: Headscale,
    key: String,
    _relays: Vec<Relay>,
    pairs: std::cell::Cell<u32>,
}

/// What must live as long as a pair.
#[derive(Default)]
struct Surroundings {
    routers: Vec<Router>,
    mappers: Vec<PortMapper>,
}

impl<'a> Ground<'a> {
    /// Starts it.
    ///
    /// # Errors
    /// When a server does not come up.
    pub fn start(lab: &'a Lab) -> Result<Self> {
        let relays = lab.relays(2)?;
        let headscale = lab.headscale_beside(&relays)?;
        let key = headscale.auth_key()?;
        Ok(Self { lab, headscale, key, _relays: relays, pairs: std::cell::Cell::new(0) })
    }

    /// Starts a pair in a row's places, lets the first ping the second, and waits for direct paths.
    ///
    /// # Errors
    /// When a node does not start or join, or a ping is not answered by any path.
    pub fn measure(&self, (name, places, direct): Row, flavours: [Flavour; 2]) -> Result<Reached> {
        self.pair(places, flavours, direct).with_context(|| format!("{name}, {flavours:?}"))
    }

    /// The same, and the pair must end up as the row says.
    ///
    /// # Errors
    /// When it does not.
    pub fn expect(&self, row: Row, flavours: [Flavour; 2]) -> Result<Reached> {
        let found = self.measure(row, flavours)?;
        crate::number(&format!("{}, {:?} and {:?}", row.0, flavours[0], flavours[1]), found.cell());
        ensure!(matches!(found, Reached::Direct(_)) == row.2, "{}, {flavours:?}: {found:?}", row.0);
        Ok(found)
    }

    fn pair(&self, places: Where, flavours: [Flavour; 2], direct: bool) -> Result<Reached> {
        let number = self.pairs.get();
        self.pairs.set(number + 1);
        let mut around = Surroundings::default();
        let names = ["a", "b"].map(|side| format!("{side}{number}"));
        let hosts = match places {
            Where::Together(nat) => {
                let router = self.lab.router(&format!("r{number}"), nat)?;
                let hosts = [router.host(&names[0])?, router.host(&names[1])?];
                around.routers.push(router);
                hosts
            }
            Where::Apart(one, two) => {
                let first = self.side(one, &names[0], &mut around)?;
                [first, self.side(two, &names[1], &mut around)?]
            }
        };
        let mut nodes = Vec::new();
        for (host, flavour) in hosts.into_iter().zip(flavours) {
            let mut node = self.lab.node_on(host, flavour);
            node.tun = "tailscale0".to_owned();
            node.start()?;
            node.up(&self.headscale, &self.key)?;
            nodes.push(node);
        }
        let [one, two] = &nodes[..] else { unreachable!("two nodes") };
        nodes.iter().try_for_each(Node::wait_running)?;
        one.wait_peer(two)?;
        two.wait_peer(one)?;
        std::thread::sleep(SETTLE);
        let found = watch(one, two, direct);
        for node in &nodes {
            node.tailscale(&["logout"]).ok();
        }
        found
    }

    fn side(&self, side: Side, name: &str, around: &mut Surroundings) -> Result<Host> {
        let lab = self.lab;
        let outer = match side {
            Side::Behind(nat) | Side::Double(nat, _) => nat,
            Side::Mapped(_) | Side::Dual | Side::Six => Nat::Hard,
            Side::NoUdp | Side::OnlyWeb => Nat::Easy,
        };
        let mut router = lab.router(&format!("r-{name}"), outer)?;
        let host = match side {
            Side::Behind(_) => router.host(name)?,
            Side::Double(_, nat) => {
                let inner = router.inner(lab, &format!("i-{name}"), nat)?;
                let host = inner.host(name)?;
                around.routers.push(inner);
                host
            }
            Side::Mapped(speaks) => {
                around.mappers.push(router.port_mapper(lab, speaks)?);
                router.host(name)?
            }
            Side::Dual => {
                router.add_ipv6(lab)?;
                router.host(name)?
            }
            Side::Six => {
                router.add_ipv6(lab)?;
                router.host_without_ipv4(name)?
            }
            Side::NoUdp => {
                let host = router.host(name)?;
                host.block_udp()?;
                host
            }
            Side::OnlyWeb => {
                let host = router.host(name)?;
                host.only_web()?;
                host
            }
        };
        around.routers.push(router);
        Ok(host)
    }
}

/// Lets the first ping the second until both send directly, or time is up.
fn watch(one: &Node, two: &Node, direct: bool) -> Result<Reached> {
    let addresses = [one.ipv4()?, two.ipv4()?];
    let started = lab::now();
    let _traffic = pings(&one.host, &addresses[1])?;
    let mut found = [None; 2];
    let patience = if direct { 2 * PATIENCE } else { PATIENCE };
    while started.elapsed() < patience && found.contains(&None) {
        for (at, (node, peer)) in found.iter_mut().zip([(one, &addresses[1]), (two, &addresses[0])]) {
            if at.is_none() && current_address(node, peer)?.is_some() {
                *at = Some(started.elapsed());
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let to: IpAddr = addresses[1].parse()?;
    crate::traffic::echo(&one.host, to, Duration::from_secs(20))?;
    Ok(match found {
        [Some(a), Some(b)] => Reached::Direct(a.max(b)),
        [None, None] => Reached::Relay,
        [first, _] => Reached::Half(first.is_some()),
    })
}

/// Five echo requests a second.
fn pings(from: &Host, to: &str) -> Result<Process> {
    let mut command = from.command("ping");
    command.args(["-i", "0.2", to]);
    from.spawn(command, "ping")
}

/// The address at which a node reaches a peer directly, from its LocalAPI.
fn current_address(node: &Node, peer: &str) -> Result<Option<String>> {
    let status: Value =
        serde_json::from_str(&local_api::body(&node.socket(), "GET status")?).context("status")?;
    let peers = status["Peer"].as_object().context("no peers")?;
    let entry = peers
        .values()
        .find(|entry| entry["TailscaleIPs"].as_array().is_some_and(|ips| ips.iter().any(|ip| ip == peer)));
    let at = entry.context("no such peer")?["CurAddr"].as_str().unwrap_or_default();
    Ok((!at.is_empty()).then(|| at.to_owned()))
}

/// The columns of the whole table.
pub const PAIRS: [[Flavour; 2]; 4] = [
    [Flavour::Go, Flavour::Go],
    [Flavour::Ours, Flavour::Go],
    [Flavour::Go, Flavour::Ours],
    [Flavour::Ours, Flavour::Ours],
];

/// A table in Markdown; `None` where nothing was measured.
pub fn markdown(columns: &[[Flavour; 2]], rows: &[(&str, Vec<Option<Reached>>)]) -> String {
    let mut text = String::from("| places |");
    for [one, two] in columns {
        let _ = write!(text, " {one:?} – {two:?} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(columns.len()));
    for (name, cells) in rows {
        let _ = write!(text, "\n| {name} |");
        for cell in cells {
            let _ = write!(text, " {} |", cell.map_or_else(|| "failed".to_owned(), Reached::cell));
        }
    }
    text.push('\n');
    text
}

/// Measures rows with these pairs, prints the table and leaves it in the target directory as `nat-table.md`. What fails is
/// told after all rows.
///
/// # Errors
/// When a pair did not come to where it should, or could not be measured.
#[allow(clippy::print_stdout)]
pub fn table(lab: &Lab, rows: &[Row], columns: &[[Flavour; 2]]) -> Result<()> {
    ensure!(!rows.is_empty(), "no row has such a name");
    let ground = Ground::start(lab)?;
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for row in rows {
        let mut cells = Vec::new();
        for pair in columns {
            let found = ground.measure(*row, *pair);
            match &found {
                Err(error) => wrong.push(format!("{error:#}")),
                Ok(reached) if matches!(reached, Reached::Direct(_)) != row.2 => {
                    wrong.push(format!("{}, {pair:?}: {reached:?}", row.0));
                }
                Ok(Reached::Direct(after)) if pair.contains(&Flavour::Ours) && *after > SOON => {
                    wrong.push(format!("{}, {pair:?}: direct after {after:?} only", row.0));
                }
                Ok(_) => {}
            }
            let cell = found.as_ref().map_or_else(|_| "failed".to_owned(), |found| found.cell());
            crate::number(&format!("{}, {:?} and {:?}", row.0, pair[0], pair[1]), cell);
            cells.push(found.ok());
        }
        lines.push((row.0, cells));
    }
    let text = markdown(columns, &lines);
    println!("{text}");
    std::fs::write(lab::target_dir().join("nat-table.md"), &text).ok();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
