//! What bulk traffic costs and how fast it is, beside Go's node in the same minute. Not the promises themselves, which
//! `cargo xtask bench` measures at leisure: half of what there is to lose, so that whoever loses it hears of it.

use anyhow::{Context, Result, ensure};
use blackbox::{EVERYTHING, number, quiet_enough, scenario, shipped};
use lab::load::{Datagrams, Streams};
use lab::{Flavour, Headscale, Lab, Node, Ping};
use std::net::IpAddr;
use std::time::Duration;

/// What is not measured of a stream: until it has found its speed.
const WARM_UP: Duration = Duration::from_millis(700);

/// How long each is measured.
const TIME: Duration = Duration::from_millis(1500);

/// Datagrams a second that both implementations carry without loss.
const RATE: f64 = 8000.0;

/// Rate and cost of one stretch.
#[derive(Clone, Copy)]
struct Measured {
    /// Bytes a second.
    rate: f64,
    /// Processor time of both daemons for each byte, in seconds.
    cost: f64,
}

/// Two nodes of a flavour with kernel interfaces, the second's address.
struct Pair {
    nodes: [Node; 2],
    address: IpAddr,
}

impl Pair {
    fn new(lab: &Lab, headscale: &Headscale, flavour: Flavour, direct: bool) -> Result<Self> {
        let node = |end: &str| -> Result<Node> {
            let mut node = lab.node(&format!("{flavour:?}-{end}").to_lowercase(), flavour)?;
            node.tun = "tailscale0".to_owned();
            if !direct {
                node.host.block_udp()?;
            }
            node.start()?;
            node.join(headscale)?;
            Ok(node)
        };
        let nodes = [node("a")?, node("b")?];
        let to = nodes[1].ipv4()?;
        nodes[0].wait_ping(Ping::Icmp, &to, Duration::from_secs(30))?;
        lab::until("the path", Duration::from_secs(30), || {
            nodes[0].host.run(&["ping", "-c", "1", "-W", "0.2", &to]).ok();
            let peer = nodes[0].peer(&to)?.context("no such peer")?;
            Ok((peer["CurAddr"].as_str().is_some_and(|at| !at.is_empty()) == direct).then_some(()))
        })?;
        Ok(Self { nodes, address: to.parse()? })
    }

    fn cpu(&mut self) -> Result<Duration> {
        self.nodes.iter_mut().map(|node| node.daemon()?.cpu()).sum()
    }

    /// One TCP stream as fast as it goes.
    fn stream(&mut self) -> Result<Measured> {
        let [from, to] = self.nodes.each_ref().map(|node| &node.host);
        let streams = Streams::open(from, to, self.address, 1, false)?;
        std::thread::sleep(WARM_UP);
        let (before, start, began) = (self.cpu()?, streams.bytes(), lab::now());
        std::thread::sleep(TIME);
        let (bytes, took) = ((streams.bytes() - start) as f64, began.elapsed());
        let spent = self.cpu()?.saturating_sub(before);
        streams.check()?;
        ensure!(bytes > 0.0, "nothing has arrived");
        Ok(Measured { rate: bytes / took.as_secs_f64(), cost: spent.as_secs_f64() / bytes })
    }

    /// Datagrams of 1200 bytes at [`RATE`].
    fn datagrams(&mut self) -> Result<Measured> {
        let [from, to] = self.nodes.each_ref().map(|node| &node.host);
        let datagrams = Datagrams::open(from, to, self.address, 1200)?;
        let before = self.cpu()?;
        let probe = datagrams.run(RATE, TIME)?;
        let spent = self.cpu()?.saturating_sub(before);
        ensure!(probe.received > 0, "nothing has arrived");
        let rate = probe.received_rate() * 1200.0;
        Ok(Measured { rate, cost: spent.as_secs_f64() / (probe.received as f64 * 1200.0) })
    }
}

/// Compares a stretch of each; ours is to have at least `faster` times the rate at no more than `cheaper` times the cost.
fn compare(
    what: &str,
    pairs: &mut [Pair; 2],
    (faster, cheaper): (f64, f64),
    stretch: fn(&mut Pair) -> Result<Measured>,
) -> Result<()> {
    let judged = shipped()?;
    quiet_enough(|| {
        let [ours, go] = pairs;
        let (ours, go) = (stretch(ours)?, stretch(go)?);
        let (rate, cost) = (ours.rate / go.rate, ours.cost / go.cost);
        let text = format!(
            "{:.0} Mbit/s, {rate:.2} x Go's, at {cost:.2} x its processor time a byte",
            ours.rate * 8e-6
        );
        number(what, &text);
        let good = rate >= faster && cost <= cheaper;
        Ok((judged && !good).then(|| format!("{what}: {text}; wanted are {faster} x at {cheaper} x")))
    })
}

#[test]
fn by_a_relay() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let pair = |flavour| Pair::new(lab, &headscale, flavour, false);
        let mut pairs = [pair(Flavour::Ours)?, pair(Flavour::Go)?];
        compare("TCP by a relay", &mut pairs, (1.5, 0.4), Pair::stream)
    });
}

#[test]
fn by_a_direct_path() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let pair = |flavour| Pair::new(lab, &headscale, flavour, true);
        let mut pairs = [pair(Flavour::Ours)?, pair(Flavour::Go)?];
        compare("TCP by a direct path", &mut pairs, (1.0, 0.9), Pair::stream)?;
        compare("datagrams by a direct path", &mut pairs, (0.95, 0.5), Pair::datagrams)
    });
}
