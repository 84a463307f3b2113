//! What a daemon sends itself goes past the tunnel, whatever networks peers have: the one that they are in themselves, and the
//! coordination server's.

use anyhow::{Context, Result, ensure};
use blackbox::site::{follows_no_rules, forwards, node_without, set};
use blackbox::traffic::transfer;
use blackbox::{EVERYTHING, scenario};
use lab::{Flavour, Host, Lab, Node, Refused};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Where every node here listens.
const PORT: u16 = 41641;

/// Which way leads to `address`, by this host's tables.
fn way(host: &Host, address: IpAddr) -> Result<String> {
    let text = host.run(&["ip", "route", "get", &address.to_string()])?;
    let device = text.split("dev ").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(device.context("no way")?.to_owned())
}

/// Waits until `user` reaches `peer` at `at`, with a packet now and then.
fn direct(user: &Node, peer: &str, at: SocketAddr) -> Result<()> {
    lab::until("a direct path", Duration::from_secs(20), || {
        let _ = user.host.run(&["ping", "-c", "1", "-W", "1", peer]);
        let entry = user.peer(peer)?.context("no such peer")?;
        Ok((entry["CurAddr"] == at.to_string()).then_some(()))
    })
}

/// A peer has its own address and the server's. The user drops what answers would not leave by; without `rules` its kernel
/// takes policy rules and does not follow them.
fn surrounded(lab: &Lab, rules: bool) -> Result<()> {
    let headscale = lab.headscale()?;
    let mut far = lab.node("far", Flavour::Go)?;
    far.tun = "tailscale0".to_owned();
    far.arguments.push(format!("--port={PORT}"));
    forwards(&far.host)?;
    // There is no such filter for IPv6, so that is no way out.
    far.host.run(&["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1"])?;
    far.start()?;
    far.join(&headscale)?;
    let lacks = (!rules).then(|| vec![Refused::NfTables]);
    let mut user = node_without(lacks, lab, &headscale, "user", Flavour::Ours)?;
    user.host.run(&["sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1"])?;
    if !rules {
        follows_no_rules(&user.host)?;
    }
    let (peer, at) = (far.ipv4()?, SocketAddr::new(far.host.ipv4.into(), PORT));
    // A path that is there before, and that the peer may have begun.
    user.wait_peer(&far)?;
    far.wait_ping(lab::Ping::Disco, &user.ipv4()?, Duration::from_secs(20))?;
    direct(&user, &peer, at)?;
    let nets = [at.ip(), headscale.host.ipv4.into()].map(|ip| format!("{ip}/32"));
    set(&far, &format!("--advertise-routes={}", nets.join(",")))?;
    headscale.approve_routes("far", &nets)?;
    set(&user, "--accept-routes")?;
    lab::until(&format!("{at} to be reached by the tunnel"), Duration::from_secs(20), || {
        Ok((way(&user.host, at.ip())? == "tailscale0").then_some(()))
    })?;
    for round in 0..2 {
        transfer(&user.host, &far.host, peer.parse()?, 2048)?;
        // For as long as a path is believed in without a word from it, and more.
        std::thread::sleep(Duration::from_secs(8));
        transfer(&far.host, &user.host, user.ipv4()?.parse()?, 2048)?;
        let entry = user.peer(&peer)?.context("no such peer")?;
        ensure!(entry["CurAddr"] == at.to_string(), "round {round}: {}", entry["CurAddr"]);
        let health = user.status()?["Health"].to_string();
        ensure!(!health.contains("relay") && !health.contains("coordination"), "{health}");
        if round == 0 {
            // The server is behind the peer, too, for whoever has no mark.
            user.kill();
            user.start()?;
            user.wait_running()?;
            direct(&user, &peer, at)?;
        }
    }
    set(&user, "--accept-routes=false")?;
    ensure!(way(&user.host, at.ip())? == "eth0", "the network is still ours");
    Ok(())
}

/// The uplink is made anew under its name, with everything that it had, before anybody looks.
fn uplink_made_anew(host: &Host, router: &Host) -> Result<()> {
    let (v4, router) = (host.ipv4, router.ipv4);
    let lines = [
        "ip link del up0 2>/dev/null || true; ip addr flush dev eth0 scope global".to_owned(),
        "ip link add up0 type bridge && ip link set eth0 master up0 && ip link set up0 up".to_owned(),
        format!("ip addr add {v4}/24 dev up0 && ip route replace default via {router}"),
    ];
    host.run(&["sh", "-ec", &lines.join("\n")]).map(drop)
}

#[test]
fn direct_paths_outlive_an_uplink_that_is_made_anew_under_its_name() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut far = lab.node("far", Flavour::Ours)?;
        far.arguments.push(format!("--port={PORT}"));
        far.tun = "tailscale0".to_owned();
        forwards(&far.host)?;
        far.host.run(&["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1"])?;
        far.start()?;
        far.join(&headscale)?;
        set(&far, "--advertise-routes=198.18.7.0/24")?;
        headscale.approve_routes("far", &["198.18.7.0/24"])?;
        let mut user = lab.node("user", Flavour::Ours)?;
        user.tun = "tailscale0".to_owned();
        uplink_made_anew(&user.host, &headscale.host)?;
        follows_no_rules(&user.host)?;
        user.start()?;
        user.join(&headscale)?;
        user.wait_peer(&far)?;
        set(&user, "--accept-routes")?;
        lab::until("the network behind the peer", Duration::from_secs(20), || {
            Ok((way(&user.host, [198, 18, 7, 1].into())? == "tailscale0").then_some(()))
        })?;
        let (peer, at) = (far.ipv4()?, SocketAddr::new(far.host.ipv4.into(), PORT));
        direct(&user, &peer, at)?;
        ensure!(!user.host.run(&["ip", "rule"])?.contains("5270:"), "rules that nobody follows");
        uplink_made_anew(&user.host, &headscale.host)?;
        // For as long as a path is believed in without a word from it, and more.
        std::thread::sleep(Duration::from_secs(8));
        direct(&user, &peer, at)
    });
}

#[test]
fn a_peer_has_the_network_that_it_is_in_itself() {
    scenario(EVERYTHING, |lab| surrounded(lab, true));
}

#[test]
fn the_same_where_policy_rules_are_not_followed() {
    scenario(EVERYTHING, |lab| surrounded(lab, false));
}
