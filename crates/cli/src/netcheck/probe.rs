//! Asking DERP servers by STUN: which of them when, and what comes of it (protocol reference §4.2, the first plan).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use localapi::types::{DerpMap, DerpNode};
use rand_core::{OsRng, RngCore as _};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::report::Report;
use super::stun::{self, Transaction};

/// Requests to a region in each address family, over its servers in turn.
const TRIES: u32 = 3;
/// Between two of them.
const APART: Duration = Duration::from_millis(100);
/// All of it takes no longer.
const LIMIT: Duration = Duration::from_secs(3);
/// When so many regions have answered, the others get twice the time of the slowest of these.
const ENOUGH: usize = 3;
/// For looking up the names of servers whose addresses the map does not tell.
const LOOKUP: Duration = Duration::from_secs(2);
/// Where servers listen unless the map says otherwise.
const STUN_PORT: u16 = 3478;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    /// Since the beginning.
    at: Duration,
    region: i64,
    to: SocketAddr,
}

/// The addresses of names.
pub(super) type Names = BTreeMap<String, Vec<IpAddr>>;

/// Sockets of both families, those that could be had.
pub(super) struct Sockets {
    pub(super) v4: Option<UdpSocket>,
    pub(super) v6: Option<UdpSocket>,
}

impl Sockets {
    fn of(&self, addr: SocketAddr) -> Option<&UdpSocket> {
        if addr.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }
}

/// Looks up the names of servers whose addresses `map` does not tell.
pub(super) async fn look_up(map: &DerpMap) -> Names {
    let nodes = map.regions.values().flat_map(|region| &region.nodes);
    let unknown =
        |node: &&DerpNode| node.stun_test_ip.is_empty() && (node.ipv4.is_empty() || node.ipv6.is_empty());
    let names: BTreeSet<String> = nodes.filter(unknown).map(|node| node.host_name.clone()).collect();
    let mut running = JoinSet::new();
    for name in names {
        running.spawn(async move {
            let found = timeout(LOOKUP, tokio::net::lookup_host((name.as_str(), 0))).await;
            let ips: Vec<IpAddr> = found.ok()?.ok()?.map(|addr| addr.ip()).collect();
            Some((name, ips))
        });
    }
    let mut found = Names::new();
    while let Some(result) = running.join_next().await {
        found.extend(result.ok().flatten());
    }
    found
}

/// What to send, in order.
pub(super) fn plan(map: &DerpMap, names: &Names) -> Vec<Probe> {
    let mut probes = Vec::new();
    for (id, region) in map.regions.iter().filter(|(_, region)| !region.no_measure_no_home) {
        for (node, turn) in region.nodes.iter().cycle().zip(0..TRIES) {
            let at = APART * turn;
            probes.extend(addresses(node, names).into_iter().map(|to| Probe { at, region: *id, to }));
        }
    }
    probes.sort_by_key(|probe| probe.at);
    probes
}

/// Where a server listens for STUN: at most one address of each family.
fn addresses(node: &DerpNode, names: &Names) -> Vec<SocketAddr> {
    let port = match node.stun_port {
        0 => STUN_PORT,
        port => match u16::try_from(port) {
            Ok(port) => port,
            Err(_) => return Vec::new(),
        },
    };
    let ips: Vec<IpAddr> = if node.stun_test_ip.is_empty() {
        let named = |v4: bool| {
            names.get(&node.host_name).into_iter().flatten().find(|ip| ip.is_ipv4() == v4).copied()
        };
        let told = |text: &str, v4: bool| match text {
            "" => named(v4),
            text => text.parse().ok().filter(|ip: &IpAddr| ip.is_ipv4() == v4),
        };
        [told(&node.ipv4, true), told(&node.ipv6, false)].into_iter().flatten().collect()
    } else {
        node.stun_test_ip.parse().into_iter().collect()
    };
    ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

/// A request that was sent.
struct Sent {
    region: i64,
    to: SocketAddr,
    at: Instant,
}

/// Sends what `plan` says and notes what comes back.
pub(super) async fn run(sockets: &Sockets, plan: &[Probe], report: &mut Report, note: &mut dyn FnMut(&str)) {
    let start = Instant::now();
    let mut deadline = start + LIMIT;
    let mut waiting = plan.iter().peekable();
    let mut sent: BTreeMap<Transaction, Sent> = BTreeMap::new();
    // By region and family: asked, and answered.
    let (mut asked, mut answered) = (BTreeSet::new(), BTreeSet::new());
    let mut mapped: BTreeMap<SocketAddr, SocketAddr> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    let (mut in4, mut in6) = ([0; 1500], [0; 1500]);
    loop {
        // Who has answered is not asked again.
        while waiting.next_if(|probe| answered.contains(&(probe.region, probe.to.is_ipv4()))).is_some() {}
        if waiting.peek().is_none() && asked == answered {
            break;
        }
        let next = waiting.peek().map_or(deadline, |probe| (start + probe.at).min(deadline));
        let (len, datagram) = tokio::select! {
            Some((len, from)) = receive(sockets.v4.as_ref(), &mut in4) => ((len, from), &in4),
            Some((len, from)) = receive(sockets.v6.as_ref(), &mut in6) => ((len, from), &in6),
            () = sleep_until(next) => {
                if next >= deadline {
                    break;
                }
                let Some(probe) = waiting.next() else { break };
                let (to, family) = (probe.to, (probe.region, probe.to.is_ipv4()));
                let Some(socket) = sockets.of(to) else { continue };
                let mut transaction = Transaction::default();
                OsRng.fill_bytes(&mut transaction);
                let at = Instant::now();
                match socket.send_to(&stun::request(&transaction), to).await {
                    Ok(_) => {
                        note(&format!("sent to {to}"));
                        *(if to.is_ipv4() { &mut report.ipv4_can_send } else { &mut report.ipv6_can_send }) = true;
                        asked.insert(family);
                        sent.insert(transaction, Sent { region: probe.region, to, at });
                    }
                    Err(error) => note(&format!("cannot send to {to}: {error}")),
                }
                continue;
            }
        };
        let ((len, from), arrived) = (len, Instant::now());
        let Some((transaction, ours)) = stun::response(datagram.get(..len).unwrap_or_default()) else {
            continue;
        };
        let Some(Sent { region, to, at }) = sent.remove(&transaction) else { continue };
        let took = arrived.duration_since(at);
        note(&format!("{from} sees us as {ours}, after {took:?}"));
        report.heard(region, to.ip(), ours, took);
        slowest = slowest.max(took);
        if ours.is_ipv4() {
            mapped.insert(to, ours);
        }
        let new = answered.insert((region, to.is_ipv4()));
        let regions: BTreeSet<i64> = answered.iter().map(|(region, _)| *region).collect();
        if new && regions.len() == ENOUGH {
            deadline = deadline.min(arrived + 2 * slowest);
        }
    }
    let mut seen = mapped.values();
    if mapped.len() > 1
        && let Some(first) = seen.next()
    {
        report.mapping_varies = Some(seen.any(|other| other != first));
    }
}

/// The next datagram; never, without a socket; `None` when something went wrong that has no bearing on the others.
async fn receive(socket: Option<&UdpSocket>, room: &mut [u8]) -> Option<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(room).await.ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use localapi::types::DerpRegion;

    fn node(ipv4: &str, ipv6: &str) -> DerpNode {
        DerpNode {
            host_name: "derp.example".to_owned(),
            ipv4: ipv4.to_owned(),
            ipv6: ipv6.to_owned(),
            ..DerpNode::default()
        }
    }

    fn map(regions: Vec<DerpRegion>) -> DerpMap {
        DerpMap { regions: (1..).zip(regions).collect(), ..DerpMap::default() }
    }

    fn lines(plan: &[Probe]) -> Vec<String> {
        plan.iter().map(|probe| format!("{:?} {} {}", probe.at, probe.region, probe.to)).collect()
    }

    #[test]
    fn servers_take_turns() {
        let two = DerpRegion {
            nodes: vec![node("192.0.2.1", "none"), node("192.0.2.2", "2001:db8::2")],
            ..DerpRegion::default()
        };
        let never = DerpRegion {
            nodes: vec![node("192.0.2.3", "none")],
            no_measure_no_home: true,
            ..DerpRegion::default()
        };
        let mut off = node("192.0.2.4", "none");
        off.stun_port = -1;
        let off = DerpRegion { nodes: vec![off], ..DerpRegion::default() };
        let plan = plan(&map(vec![two, never, off, DerpRegion::default()]), &Names::new());
        let want = [
            "0ns 1 192.0.2.1:3478",
            "100ms 1 192.0.2.2:3478",
            "100ms 1 [2001:db8::2]:3478",
            "200ms 1 192.0.2.1:3478",
        ];
        assert_eq!(lines(&plan), want);
    }

    #[test]
    fn addresses_from_names_and_for_tests() {
        let ips = ["2001:db8::9", "192.0.2.9", "192.0.2.8"].map(|ip| ip.parse().unwrap());
        let names = Names::from([("derp.example".to_owned(), ips.to_vec())]);
        let both: Vec<SocketAddr> =
            ["192.0.2.9:3478", "[2001:db8::9]:3478"].map(|a| a.parse().unwrap()).into();
        assert_eq!(addresses(&node("", ""), &names), both);
        assert_eq!(addresses(&node("none", ""), &names), both[1..]);
        assert_eq!(addresses(&node("2001:db8::9", "nonsense"), &names), []);
        let mut test = node("192.0.2.1", "");
        (test.stun_test_ip, test.stun_port) = ("127.0.0.1".to_owned(), 99);
        assert_eq!(addresses(&test, &names), ["127.0.0.1:99".parse().unwrap()]);
        test.stun_port = 1 << 20;
        assert_eq!(addresses(&test, &names), []);
    }
}
