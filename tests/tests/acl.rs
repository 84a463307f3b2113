//! What headscale's policies let pass: the same flows to a node of ours and to Go's in the same place, and to the LANs
//! behind both. Which of them pass must be the same.

use anyhow::{Context, Result, ensure};
use blackbox::flows::{Flow, Listener, Packet, passing};
use blackbox::site::{Site, set};
use blackbox::{EVERYTHING, count, number, scenario};
use lab::{Flavour, Headscale, Host, Lab, Node, Ping};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// What is tried from every source to every target.
const PACKETS: [Packet; 26] = {
    use Packet::{Echo, Gre, Sctp, Tcp, Udp};
    [
        Echo,
        Gre,
        Sctp(3868),
        Sctp(8001),
        Tcp(22),
        Tcp(53),
        Tcp(80),
        Tcp(443),
        Tcp(5000),
        Tcp(5001),
        Tcp(8000),
        Tcp(8001),
        Tcp(8003),
        Tcp(8005),
        Tcp(8010),
        Tcp(9999),
        Udp(53),
        Udp(123),
        Udp(5000),
        Udp(5001),
        Udp(5003),
        Udp(5999),
        Udp(6000),
        Udp(8000),
        Udp(8001),
        Udp(9999),
    ]
};

/// A policy is in force where this port answers: no other rule speaks of it, and it is another one for each.
const FIRST_SIGN: u16 = 20_000;

/// The policy that a person would write: users, groups, tags, aliases, ports, ranges, protocols, both families.
fn by_hand() -> Vec<Value> {
    let lans = |ports: &str| json!([format!("lan-ours:{ports}"), format!("lan-go:{ports}")]);
    vec![
        json!({"src": ["group:ops"], "dst": ["tag:server:22,80,443"]}),
        json!({"proto": "tcp", "src": ["group:staff"], "dst": ["tag:server:8000-8003"]}),
        json!({"proto": "udp", "src": ["bob@"], "dst": ["tag:server:53,5000-5003"]}),
        json!({"proto": "icmp", "src": ["autogroup:member"], "dst": ["tag:server:*"]}),
        json!({"src": ["autogroup:tagged"], "dst": ["tag:server:123"]}),
        json!({"proto": "udp", "src": ["tag:cam"], "dst": lans("5000-5999")}),
        json!({"src": ["tag:client"], "dst": ["machine-ours:80,8005", "machine-go:80,8005"]}),
        json!({"proto": "tcp", "src": ["tag:client"], "dst": ["six-ours:443", "six-go:443"]}),
        json!({"proto": "gre", "src": ["tag:client"], "dst": ["tag:server:*"]}),
        json!({"proto": "sctp", "src": ["group:ops"], "dst": ["tag:server:3868"]}),
        json!({"src": ["lan-cam"], "dst": ["tag:server:22", "lan-ours:8000-8001", "lan-go:8000-8001"]}),
        json!({"src": ["alice-six"], "dst": ["tag:server:9999"]}),
    ]
}

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.throw(all.len())]
    }
}

const SOURCES: [&str; 13] = [
    "group:ops",
    "group:staff",
    "alice@",
    "bob@",
    "autogroup:member",
    "autogroup:tagged",
    "tag:client",
    "tag:cam",
    "lan-cam",
    "lan-six",
    "alice-six",
    "100.64.0.0/10",
    "*",
];

/// Places, each the same for both nodes.
const PLACES: [&[&str]; 7] = [
    &["tag:server"],
    &["lan-ours", "lan-go"],
    &["machine-ours", "machine-go"],
    &["six-ours", "six-go"],
    &["four-ours", "four-go"],
    &["tag:server", "lan-ours", "lan-go"],
    &["*"],
];

const PORTS: [&str; 9] =
    ["*", "22", "80,443", "8000-8003", "53,8001-8010", "5000-5999", "123,9999", "1-1023", "8001"];

/// Protocols by name and by number; a rule without one is for TCP, UDP and ICMP.
const PROTOCOLS: [(&str, bool); 8] = [
    ("", true),
    ("", true),
    ("tcp", true),
    ("udp", true),
    ("sctp", true),
    ("icmp", false),
    ("ipv6-icmp", false),
    ("gre", false),
];

/// A policy that nobody would write.
fn by_chance(seed: u64) -> Vec<Value> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut rules = Vec::new();
    for _ in 0..4 + dice.throw(6) {
        let (protocol, ports) = dice.one_of(&PROTOCOLS);
        let ports = if ports { dice.one_of(&PORTS) } else { "*" };
        let mut sources: Vec<&str> = (0..=dice.throw(2)).map(|_| dice.one_of(&SOURCES)).collect();
        if sources.contains(&"*") {
            sources = vec!["*"];
        }
        // Everything is too much for most rules.
        let place = if dice.throw(4) == 0 { dice.one_of(&PLACES) } else { dice.one_of(&PLACES[..6]) };
        let to: Vec<String> = place.iter().map(|place| format!("{place}:{ports}")).collect();
        let mut rule = json!({"src": sources, "dst": to});
        if !protocol.is_empty() {
            rule["proto"] = protocol.into();
        }
        rules.push(rule);
    }
    rules
}

/// The nodes that a policy speaks of.
struct Tailnet {
    headscale: Headscale,
    /// Ours and Go's, with the same tag and a LAN each.
    servers: [Site; 2],
    /// Users' nodes and a tagged one.
    clients: Vec<Node>,
    /// A tagged node whose LAN comes with its own addresses.
    cam: Site,
    hosts: Value,
}

impl Tailnet {
    fn new(lab: &Lab) -> Result<Self> {
        let headscale = lab.headscale()?;
        let (alice, bob) = (headscale.add_user("alice")?, headscale.add_user("bob")?);
        let server = headscale.tagged_key("tag:server")?;
        let mut ours = Site::prepared(lab, ("ours", Flavour::Ours), 1)?;
        let mut go = Site::prepared(lab, ("go", Flavour::Go), 2)?;
        let mut cam = Site::prepared(lab, ("cam", Flavour::Go), 3)?;
        let keys = [headscale.key_of(alice)?, headscale.key_of(bob)?, headscale.tagged_key("tag:client")?];
        let cam_key = headscale.tagged_key("tag:cam")?;
        let mut clients = Vec::new();
        for name in ["alice", "bob", "client"] {
            let mut node = lab.node(name, Flavour::Ours)?;
            node.tun = "tailscale0".to_owned();
            clients.push(node);
        }
        // Daemons end with the thread that started them, so this one does; joining is mostly waiting.
        for node in [&mut ours.node, &mut go.node, &mut cam.node].into_iter().chain(&mut clients) {
            node.start()?;
        }
        std::thread::scope(|scope| {
            let headscale = &headscale;
            let mut joining = Vec::new();
            for (site, key) in [(&ours, &server), (&go, &server), (&cam, &cam_key)] {
                joining.push(scope.spawn(move || {
                    site.join(headscale, key)?;
                    site.way_back()
                }));
            }
            for (node, key) in clients.iter().zip(&keys) {
                joining.push(scope.spawn(move || {
                    node.up(headscale, key)?;
                    node.wait_running()?;
                    set(node, "--accept-routes")
                }));
            }
            joining.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| anyhow::bail!("panic")))
        })?;
        // Flows without ports could not be told apart behind one address.
        for site in [&ours, &go, &cam] {
            set(&site.node, "--snat-subnet-routes=false")?;
        }
        let hosts = json!({
            "lan-ours": "10.77.1.0/24", "lan-go": "10.77.2.0/24", "lan-cam": "10.77.3.0/24",
            "lan-six": "fd77:3::/64", "machine-ours": "10.77.1.2/32", "machine-go": "10.77.2.2/32",
            "six-ours": "fd77:1::/64", "six-go": "fd77:2::/64",
            "four-ours": format!("{}/32", ours.node.ipv4()?), "four-go": format!("{}/32", go.node.ipv4()?),
            "alice-six": format!("{}/128", clients[0].ipv6()?),
        });
        Ok(Self { headscale, servers: [ours, go], clients, cam, hosts })
    }

    /// Puts `rules` in force, with one more that lets everybody see `sign` at both servers.
    fn set_policy(&self, mut rules: Vec<Value>, sign: u16) -> Result<()> {
        rules.iter_mut().for_each(|rule| rule["action"] = "accept".into());
        rules.push(json!({
            "action": "accept", "proto": "tcp", "src": ["autogroup:member", "autogroup:tagged", "lan-cam"],
            "dst": [format!("tag:server:{sign}")],
        }));
        let policy = json!({
            "groups": {"group:ops": ["alice@"], "group:staff": ["alice@", "bob@"]},
            "tagOwners": {"tag:server": ["group:ops"], "tag:client": ["group:ops"], "tag:cam": ["group:ops"]},
            "hosts": self.hosts,
            "acls": rules,
        });
        self.headscale.set_policy(&policy).with_context(|| policy.to_string())
    }

    /// Where flows begin.
    fn sources(&self) -> Vec<&Host> {
        let clients = self.clients.iter().map(|node| &node.host);
        clients.chain([&self.cam.node.host, &self.cam.machine]).collect()
    }

    /// Of one server: its own addresses and its machine's.
    fn targets(server: &Site) -> Result<[IpAddr; 4]> {
        let own = [server.node.ipv4()?.parse()?, server.node.ipv6()?.parse()?];
        Ok([own[0], own[1], server.machine_address(false), server.machine_address(true)])
    }
}

#[test]
fn the_same_flows_pass_as_at_a_go_node() {
    scenario(EVERYTHING, |lab| {
        let tailnet = Tailnet::new(lab)?;
        let sources = tailnet.sources();
        let mut targets = Vec::new();
        let mut listeners = Vec::new();
        for server in &tailnet.servers {
            targets.push(Tailnet::targets(server)?);
            for host in [&server.node.host, &server.machine] {
                listeners.push(Listener::new(host, &PACKETS)?);
            }
        }
        let listeners: Vec<_> = listeners.iter().collect();
        // Everybody has a session with both.
        for server in &targets {
            for node in tailnet.clients.iter().chain([&tailnet.cam.node]) {
                node.wait_ping(Ping::Tsmp, &server[0].to_string(), Duration::from_secs(30))?;
            }
        }
        let policies = 1 + u64::from(count(3, 40));
        let (mut passed, mut refused) = (0, 0);
        let mut different = Vec::new();
        for policy in 0..policies {
            let rules = if policy == 0 { by_hand() } else { by_chance(policy) };
            let sign = FIRST_SIGN + policy as u16;
            tailnet.set_policy(rules.clone(), sign)?;
            let signs: Vec<Flow> =
                targets.iter().map(|at| Flow { to: at[0], packet: Packet::Tcp(sign) }).collect();
            let signs: Vec<_> = sources.iter().map(|host| (*host, signs.clone())).collect();
            lab::until(&format!("policy {policy} to be in force"), Duration::from_secs(30), || {
                let seen = passing(&signs, &[])?;
                let all = seen.iter().flatten().all(|passed| *passed);
                ensure!(all, "of {}: {seen:?}", sources.len());
                Ok(Some(()))
            })?;
            let flows: Vec<Flow> = targets
                .iter()
                .flatten()
                .flat_map(|to| PACKETS.map(|packet| Flow { to: *to, packet }))
                .collect();
            let flows: Vec<_> = sources.iter().map(|host| (*host, flows.clone())).collect();
            let before = different.len();
            for ((host, flows), results) in flows.iter().zip(passing(&flows, &listeners)?) {
                let (ours, go) = results.split_at(results.len() / 2);
                for ((flow, ours), go) in flows.iter().zip(ours).zip(go) {
                    *(if *go { &mut passed } else { &mut refused }) += 1;
                    if ours != go {
                        let name = &host.name;
                        different
                            .push(format!("{policy}: {name} {flow:?}: ours {ours}, Go's {go}: {rules:?}"));
                    }
                }
            }
            if different.len() > before {
                different.push(format!("policy {policy} is {}", Value::from(rules)));
            }
        }
        number(
            "flows to ours and to Go's",
            format!("{passed} pass, {refused} do not, {} differ", different.len()),
        );
        ensure!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
        ensure!(passed >= 200 && refused >= 500, "{passed} and {refused}: no test of policies");
        Ok(())
    });
}
