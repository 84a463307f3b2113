//! Exit nodes: ours for a Go client, Go's for ours, and what happens to packets when the exit node is gone.

use anyhow::{Context, Result, ensure};
use blackbox::site::{forwards, legacy_programs};
use blackbox::{EVERYTHING, scenario};
use lab::{Flavour, Headscale, Host, Lab, Node};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where the world listens: not in a network that anybody else is in, because exit nodes keep others out of theirs.
const FAR: [&str; 2] = ["192.0.2.77", "2001:db8:77::77"];
const PORT: u16 = 7007;

/// A joined node with a kernel interface.
fn node(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    let mut node = lab.node(name, flavour)?;
    node.tun = "tailscale0".to_owned();
    legacy_programs(&node.host)?;
    node.start()?;
    node.join(headscale)?;
    Ok(node)
}

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
    /// `near` know the way there.
    fn new(host: &Host, near: &[&Host]) -> Result<Self> {
        let next = [host.ipv4.to_string(), host.ipv6.context("no IPv6")?.to_string()];
        for (far, next) in FAR.iter().zip(&next) {
            host.run(&["ip", "addr", "add", far, "dev", "lo"])?;
            for near in near {
                near.run(&["ip", "route", "add", far, "via", next])?;
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

fn through(lab: &Lab, by: Flavour, of: Flavour) -> Result<()> {
    let headscale = lab.headscale()?;
    let mut carrier = exit(lab, &headscale, "exit", by)?;
    let user = node(lab, &headscale, "user", of)?;
    user.wait_peer(&carrier)?;
    let world = lab.host("world")?;
    let world = World::new(&world, &[&carrier.host, &user.host])?;
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
    world.sees(&user.host, Some(&user.host)).context("without an exit node")
}

#[test]
fn a_go_client_through_ours() {
    scenario(EVERYTHING, |lab| through(lab, Flavour::Ours, Flavour::Go));
}

#[test]
fn ours_through_a_go_exit_node() {
    scenario(EVERYTHING, |lab| through(lab, Flavour::Go, Flavour::Ours));
}
