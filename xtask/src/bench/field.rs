//! The lab of a bench: one headscale, and for each path and each implementation a pair of hosts that stay.

use super::choice::{Choice, Named, Path, Who};
use super::stop;
use anyhow::{Context, Result, bail};
use lab::{Flavour, Headscale, Host, Lab, Need, Node};
use std::net::IpAddr;
use std::time::Duration;

/// How long two nodes may take to answer each other, and to find a direct path.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two hosts, with a node each unless it is the bare cable.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) who: Who,
    pub(crate) path: Path,
    ends: Ends,
    /// Address of the second in the tailnet, or on the cable.
    pub(crate) address: IpAddr,
}

#[derive(Debug)]
enum Ends {
    Cable(Box<[Host; 2]>),
    Nodes(Box<[Node; 2]>),
}

impl Pair {
    /// Both hosts.
    pub(crate) fn hosts(&self) -> [&Host; 2] {
        match &self.ends {
            Ends::Cable(hosts) => hosts.each_ref(),
            Ends::Nodes(nodes) => nodes.each_ref().map(|node| &node.host),
        }
    }

    /// Process ids of the daemons.
    pub(crate) fn daemons(&mut self) -> Result<Vec<u32>> {
        match &mut self.ends {
            Ends::Cable(_) => Ok(Vec::new()),
            Ends::Nodes(nodes) => nodes.iter_mut().map(|node| Ok(node.daemon()?.id())).collect(),
        }
    }

    /// Highest memory of either daemon, in KiB; `None` for the cable.
    pub(crate) fn peak_kib(&mut self) -> Result<Option<u64>> {
        let Ends::Nodes(nodes) = &mut self.ends else { return Ok(None) };
        let peaks: Result<Vec<_>> = nodes.iter_mut().map(|node| node.daemon()?.peak_kib()).collect();
        Ok(peaks?.into_iter().max())
    }

    /// Pings until the pair uses the path that it is measured for: one that is not used is forgotten.
    pub(crate) fn find_path(&mut self) -> Result<()> {
        let text = self.address.to_string();
        lab::until("the path", PATIENCE, || {
            if stop::asked() {
                return Ok(Some(()));
            }
            self.hosts()[0].run(&["ping", "-c", "1", "-W", "0.2", &text]).ok();
            self.check_path().map(Some)
        })
    }

    /// Fails when the pair does not use the path that it is measured for.
    pub(crate) fn check_path(&mut self) -> Result<()> {
        let Ends::Nodes(nodes) = &mut self.ends else { return Ok(()) };
        for node in nodes.iter_mut() {
            node.daemon()?.check()?;
        }
        let [from, to] = &**nodes;
        let peer = from.peer(&to.ipv4()?)?.context("the peer is gone")?;
        let direct = peer["CurAddr"].as_str().is_some_and(|at| !at.is_empty());
        if direct != (self.path == Path::Direct) {
            bail!("{} {}: the path is {}", self.who.title(), self.path.word(), peer["CurAddr"]);
        }
        Ok(())
    }
}

/// What is running.
#[derive(Debug)]
pub(crate) struct Field {
    /// Dropped in this order: nodes, headscale, network.
    pub(crate) pairs: Vec<Pair>,
    headscale: Headscale,
    lab: Lab,
}

/// Why an implementation cannot be measured here.
pub(crate) fn missing(who: Who) -> Option<String> {
    let need = match who {
        Who::Ours => Need::Ours,
        Who::Stock => Need::Go,
        Who::Incumbent => Need::Incumbent,
        Who::Raw => return None,
    };
    lab::missing(&[need])
}

/// The pairs to be made: one of the bare cable, whatever the path is.
pub(crate) fn wanted(choice: &Choice) -> Vec<(Path, Who)> {
    let mut pairs = Vec::new();
    for path in &choice.paths {
        for who in &choice.who {
            if *who != Who::Raw || pairs.iter().all(|(_, other)| *other != Who::Raw) {
                pairs.push((*path, *who));
            }
        }
    }
    pairs
}

impl Field {
    /// Starts everything. `tell` is given a line for each step.
    pub(crate) fn new(pairs: &[(Path, Who)], tell: impl Fn(&str)) -> Result<Self> {
        let lab = Lab::new()?;
        tell("headscale starts");
        let headscale = lab.headscale_with(lab::AS_IT_COMES)?;
        let mut field = Self { pairs: Vec::new(), headscale, lab };
        for (path, who) in pairs {
            stop::check()?;
            tell(&format!("{}, {}: two hosts", who.title(), path.word()));
            let made = field.pair(*path, *who);
            field.pairs.push(made.with_context(|| format!("{}, {}", who.title(), path.word()))?);
        }
        Ok(field)
    }

    fn pair(&self, path: Path, who: Who) -> Result<Pair> {
        let names = ["a", "b"].map(|end| format!("{}-{}-{end}", who.word(), path.word()));
        let Some(flavour) = who.flavour() else {
            let [a, b] = names.each_ref().map(|name| self.lab.host(name));
            let hosts = Box::new([a?, b?]);
            let address = hosts[1].ipv4.into();
            return Ok(Pair { who, path, ends: Ends::Cable(hosts), address });
        };
        let [a, b] = names.each_ref().map(|name| self.node(name, path, flavour));
        let nodes = Box::new([a?, b?]);
        let [from, to] = &*nodes;
        let address = to.ipv4()?;
        from.wait_peer(to)?;
        to.wait_peer(from)?;
        // The first packet may have to wait for a handshake with a peer that does not know us yet.
        lab::until("an echo", PATIENCE, || {
            let echo = from.host.run(&["ping", "-c", "1", "-W", "0.2", &address]);
            Ok((echo.is_ok() || stop::asked()).then_some(()))
        })?;
        let address = address.parse()?;
        let mut pair = Pair { who, path, ends: Ends::Nodes(nodes), address };
        pair.find_path()?;
        Ok(pair)
    }

    fn node(&self, name: &str, path: Path, flavour: Flavour) -> Result<Node> {
        let mut node = self.lab.node(name, flavour)?;
        node.tun = "tailscale0".to_owned();
        if path == Path::Relay {
            node.host.block_udp()?;
        }
        node.start()?;
        node.join(&self.headscale)?;
        Ok(node)
    }

    /// Process id of the relay server.
    pub(crate) fn relay(&self) -> u32 {
        self.headscale.id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cable_is_measured_once() {
        let choice = Choice {
            runs: 1,
            seconds: 1.0,
            who: Who::ALL.to_vec(),
            paths: Path::ALL.to_vec(),
            tests: Vec::new(),
            out: std::path::PathBuf::new(),
            list: false,
        };
        let pairs = wanted(&choice);
        assert_eq!(pairs.len(), 7);
        assert_eq!(pairs.iter().filter(|(_, who)| *who == Who::Raw).count(), 1);
    }
}
