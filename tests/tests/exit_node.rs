//! Exit nodes: ours for a Go client, Go's for ours, and what happens to packets when the exit node is gone.

use anyhow::{Context, Result, ensure};
use blackbox::site::{forwards, node, node_without};
use blackbox::{EVERYTHING, count, number, scenario};
use lab::{Capture, Flavour, Headscale, Host, Lab, Node, Refused, Sent};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Where the world listens: not in a network that anybody else is in, because exit nodes keep others out of theirs.
const FAR: [&str; 2] = ["192.0.2.77", "2001:db8:77::77"];
const PORT: u16 = 7007;

/// A node that headscale lets carry everybody's traffic.
fn exit(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    let exit = node(lab, headscale, name, flavour)?;
    forwards(&exit.host)?;
    exit.tailscale(&["set", "--advertise-exit-node"])?.ok()?;
    headscale.approve_routes(name, &["0.0.0.0/0", "::/0"])?;
    Ok(exit)
}

/// Who has sent what the world receives.
struct World {
    sockets: [UdpSocket; 2],
    /// Each datagram says another.
    words: AtomicU32,
}

impl World {
    /// `near` know the way there, and nothing else lies that way for `behind`.
    fn new(host: &Host, near: &[&Host], behind: &[&Host]) -> Result<Self> {
        let next = [host.ipv4.to_string(), host.ipv6.context("no IPv6")?.to_string()];
        for (far, next) in FAR.iter().zip(&next) {
            host.run(&["ip", "addr", "add", far, "dev", "lo"])?;
            for near in near {
                near.run(&["ip", "route", "add", far, "via", next])?;
            }
            for behind in behind {
                behind.run(&["ip", "route", "replace", "default", "via", next])?;
            }
        }
        let open = |at: &str| {
            let socket = UdpSocket::bind((at.parse::<IpAddr>()?, PORT))?;
            socket.set_read_timeout(Some(Duration::from_millis(300)))?;
            Ok::<_, anyhow::Error>(socket)
        };
        let sockets = host.inside(|| Ok::<_, anyhow::Error>([open(FAR[0])?, open(FAR[1])?]))??;
        Ok(Self { sockets, words: AtomicU32::new(0) })
    }

    /// Sends from `from` and gives the sender as the world sees it; `None` if nothing arrives.
    fn hears(&self, from: &Host, v6: bool) -> Result<Option<IpAddr>> {
        let at: IpAddr = FAR[usize::from(v6)].parse()?;
        let unspecified: IpAddr =
            if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        // No way at all is refused at once, and that is silence, too.
        let word = self.words.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let _ =
            from.inside(|| UdpSocket::bind((unspecified, 0))?.send_to(&word, SocketAddr::new(at, PORT)))?;
        let mut room = [0; 64];
        // What was said before may come late.
        while let Ok((len, from)) = self.sockets[usize::from(v6)].recv_from(&mut room) {
            if room[..len] == word {
                return Ok(Some(from.ip().to_canonical()));
            }
        }
        Ok(None)
    }

    /// Waits until the world sees `from` as `seen`, by both families.
    fn sees(&self, from: &Host, seen: Option<&Host>) -> Result<()> {
        for v6 in [false, true] {
            let who = seen.map(|host| if v6 { host.ipv6.map(IpAddr::V6) } else { Some(host.ipv4.into()) });
            let who = who.flatten();
            lab::until(
                &format!("the world to see {} as {who:?}", from.name),
                Duration::from_secs(30),
                || Ok((self.hears(from, v6)? == who).then_some(())),
            )?;
        }
        Ok(())
    }
}

/// How the user's kernel is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kernel {
    Usual,
    /// As RouterOS's: takes policy rules and does not follow them, drops what answers would not leave by, and has no
    /// nf_tables.
    NoRules,
}

/// How strictly the uplink of `host` judges where packets come from.
fn strictness(host: &Host) -> Result<String> {
    host.run(&["sysctl", "-n", "net.ipv4.conf.eth0.rp_filter"])
}

fn through(lab: &Lab, by: Flavour, of: Flavour, kernel: Kernel) -> Result<()> {
    let headscale = lab.headscale()?;
    let mut carrier = exit(lab, &headscale, "exit", by)?;
    let lacks = (kernel == Kernel::NoRules).then(|| vec![Refused::NfTables]);
    let user = node_without(lacks, lab, &headscale, "user", of)?;
    user.wait_peer(&carrier)?;
    let world = lab.host("world")?;
    let world = World::new(&world, &[&carrier.host], &[&user.host])?;
    if kernel == Kernel::NoRules {
        for family in ["-4", "-6"] {
            user.host.run(&["ip", family, "rule", "add", "pref", "100", "lookup", "main"])?;
        }
        user.host.run(&["sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1"])?;
    }
    let strict = strictness(&user.host)?;
    world.sees(&user.host, Some(&user.host))?;

    let listed = lab::until("the exit node to be listed", Duration::from_secs(20), || {
        let listed = user.tailscale(&["exit-node", "list"])?;
        Ok((listed.code() == 0).then_some(listed.stdout))
    })?;
    let address = carrier.ipv4()?;
    ensure!(listed.contains(&address), "{listed}");
    user.tailscale(&["set", &format!("--exit-node={address}")])?.ok()?;
    world.sees(&user.host, Some(&carrier.host))?;
    let used = user.tailscale(&["exit-node", "list"])?.ok()?.stdout;
    ensure!(used.contains("selected"), "{used}");
    if kernel == Kernel::NoRules {
        let routes = user.host.run(&["ip", "route", "show", "dev", "tailscale0"])?;
        ensure!(routes.contains("128.0.0.0/1"), "{routes}");
        let status = user.status()?;
        ensure!(!status["Health"].to_string().contains("exit node is not used"), "{}", status["Health"]);
        user.wait_ping(lab::Ping::Disco, &address, Duration::from_secs(20))?;
    }

    // Nobody carries it any more: then nothing leaves, and the node itself is still there.
    carrier.kill();
    world.sees(&user.host, None)?;
    for _ in 0..5 {
        for v6 in [false, true] {
            ensure!(world.hears(&user.host, v6)?.is_none(), "a packet got past the exit node");
        }
    }
    carrier.start()?;
    carrier.wait_running()?;
    world.sees(&user.host, Some(&carrier.host)).context("after the exit node is back")?;
    user.tailscale(&["set", "--exit-node="])?.ok()?;
    world.sees(&user.host, Some(&user.host)).context("without an exit node")?;
    ensure!(strictness(&user.host)? == strict, "rp_filter was not given back");
    user.wait_ping(lab::Ping::Disco, &address, Duration::from_secs(20))
}

/// What a node with an exit node may send by its plain uplink: what belongs to the tailnet itself, DNS, and what finds
/// neighbours.
fn belongs(packet: &Sent, headscale: &Headscale, carrier: &Host) -> bool {
    let neighbours = |to: IpAddr| match to {
        IpAddr::V4(to) => to.is_multicast(),
        IpAddr::V6(to) => to.is_multicast() || to.is_unicast_link_local(),
    };
    let is = |host: &Host| packet.to == host.ipv4 || host.ipv6.is_some_and(|six| packet.to == six);
    let kind = packet.bytes.get(40).copied().unwrap_or(0);
    match packet.protocol {
        // Control and relay, STUN, WireGuard and disco; what is asked of name servers and of routers that map ports.
        6 => is(&headscale.host) && packet.ports[1] == 443,
        17 => {
            is(&headscale.host) && packet.ports[1] == 3478
                || is(carrier)
                || matches!(packet.ports[1], 53 | 5351 | 1900)
        }
        // Neighbours of IPv6, and who listens to which of their groups.
        58 => (133..=137).contains(&kind) || kind == 143,
        0 => neighbours(packet.to),
        _ => false,
    }
}

/// A program that never gives up: datagrams, echoes and connections to the world by both families.
fn insist(user: &Host, stop: &AtomicBool) -> Result<u32> {
    user.inside(|| {
        let sockets =
            [UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?, UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?];
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            for (socket, far) in sockets.iter().zip(FAR) {
                let at = SocketAddr::new(far.parse()?, PORT + 1);
                let _ = socket.send_to(b"secret", at);
                let _ = TcpStream::connect_timeout(&at, Duration::from_millis(5));
            }
            rounds += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(rounds)
    })?
}

#[test]
fn nothing_leaks_while_the_exit_node_is_gone() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut carrier = exit(lab, &headscale, "exit", Flavour::Go)?;
        let mut user = node(lab, &headscale, "user", Flavour::Ours)?;
        user.wait_peer(&carrier)?;
        let world = lab.host("world")?;
        let world = World::new(&world, &[&carrier.host, &user.host], &[])?;
        // The sniffer sees what leaves when nothing holds it.
        let capture = Capture::new(&user.host)?;
        world.sees(&user.host, Some(&user.host))?;
        let seen = capture.end();
        for far in FAR {
            let far: IpAddr = far.parse()?;
            ensure!(seen.iter().any(|packet| packet.to == far), "{far} was not seen among {}", seen.len());
        }
        user.tailscale(&["set", &format!("--exit-node={}", carrier.ipv4()?)])?.ok()?;
        world.sees(&user.host, Some(&carrier.host))?;

        let stop = AtomicBool::new(false);
        let capture = Capture::new(&user.host)?;
        let rounds = std::thread::scope(|scope| {
            let program = scope.spawn(|| insist(&user.host, &stop));
            let mut body = || -> Result<()> {
                world.sees(&user.host, Some(&carrier.host))?;
                carrier.kill();
                world.sees(&user.host, None)?;
                std::thread::sleep(Duration::from_secs(u64::from(count(5, 150))));
                // It changes its mind about paths, and settings are changed around it.
                for setting in ["--exit-node-allow-lan-access", "--exit-node-allow-lan-access=false"] {
                    user.tailscale(&["set", setting])?.ok()?;
                }
                carrier.start()?;
                carrier.wait_running()?;
                world.sees(&user.host, Some(&carrier.host)).context("after the exit node is back")
            };
            let result = body();
            stop.store(true, Ordering::Relaxed);
            let rounds = program.join().unwrap_or_else(|_| anyhow::bail!("panic"));
            result.and(rounds)
        })?;
        let sent = capture.end();
        let leaked: Vec<_> =
            sent.iter().filter(|packet| !belongs(packet, &headscale, &carrier.host)).collect();
        number(
            "packets by the uplink while the exit node comes and goes",
            format!("{} in {rounds} rounds of a program, {} leaked", sent.len(), leaked.len()),
        );
        ensure!(leaked.is_empty(), "{} leaked: {:?}", leaked.len(), leaked.first());
        ensure!(rounds > 50 && sent.len() > 50, "{rounds} rounds, {} packets: no traffic", sent.len());
        user.stop()
    });
}

#[test]
fn a_go_client_through_ours() {
    scenario(EVERYTHING, |lab| through(lab, Flavour::Ours, Flavour::Go, Kernel::Usual));
}

#[test]
fn ours_through_a_go_exit_node() {
    scenario(EVERYTHING, |lab| through(lab, Flavour::Go, Flavour::Ours, Kernel::Usual));
}

#[test]
fn ours_where_policy_rules_are_not_followed() {
    scenario(EVERYTHING, |lab| through(lab, Flavour::Go, Flavour::Ours, Kernel::NoRules));
}
