//! Exit nodes: ours for a Go client, Go's for ours, and what happens to packets when the exit node is gone.

use anyhow::{Context, Result, bail, ensure};
use blackbox::leak;
use blackbox::site::{follows_no_rules, node_without};
use blackbox::world::{FAR, World, exit};
use blackbox::{EVERYTHING, count, number, scenario};
use lab::{Capture, Flavour, Headscale, Host, Lab, Node, Refused};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How the user's kernel is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kernel {
    Usual,
    /// As RouterOS's: takes policy rules and does not follow them, drops what answers would not leave by, and has no
    /// nf_tables.
    NoRules,
}

/// Wants that a node complains of nothing.
fn well(node: &Node) -> Result<()> {
    let health = node.status()?["Health"].clone();
    ensure!(health.as_array().is_none_or(Vec::is_empty), "{} complains: {health}", node.host.name);
    Ok(())
}

/// How strictly the uplink of `host` judges where packets come from.
fn strictness(host: &Host) -> Result<String> {
    host.run(&["sysctl", "-n", "net.ipv4.conf.eth0.rp_filter"])
}

/// A joined node on such a kernel.
fn user(lab: &Lab, headscale: &Headscale, name: &str, of: Flavour, kernel: Kernel) -> Result<Node> {
    let lacks = (kernel == Kernel::NoRules).then(|| vec![Refused::NfTables]);
    let user = node_without(lacks, lab, headscale, name, of)?;
    if kernel == Kernel::NoRules {
        follows_no_rules(&user.host)?;
        user.host.run(&["sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1"])?;
    }
    Ok(user)
}

fn through(lab: &Lab, by: Flavour, of: Flavour, kernel: Kernel) -> Result<()> {
    let headscale = lab.headscale()?;
    let mut carrier = exit(lab, &headscale, "exit", by)?;
    let user = user(lab, &headscale, "user", of, kernel)?;
    user.wait_peer(&carrier)?;
    let world = lab.host("world")?;
    let world = World::new(&world, &[&carrier.host], &[&user.host])?;
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
    if of == Flavour::Ours {
        well(&user).context("an exit node is used")?;
    }
    if kernel == Kernel::NoRules {
        ensure!(by_main_table(&user.host)?, "policy rules that nobody follows");
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

/// Whether a node leads everything into the tunnel by the main table.
fn by_main_table(host: &Host) -> Result<bool> {
    let halves = host.run(&["ip", "route", "show", "dev", "tailscale0"])?.contains("128.0.0.0/1");
    let rules = host.run(&["ip", "rule"])?.contains("5270:");
    ensure!(halves != rules, "routes in the main table: {halves}, policy rules: {rules}");
    Ok(halves)
}

#[test]
fn nothing_leaks_while_the_exit_node_is_gone() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut carrier = exit(lab, &headscale, "exit", Flavour::Go)?;
        // With policy rules, and where the kernel does not follow them.
        let mut users = Vec::new();
        for (name, kernel) in [("rules", Kernel::Usual), ("main", Kernel::NoRules)] {
            users.push(user(lab, &headscale, name, Flavour::Ours, kernel)?);
        }
        let behind: Vec<&Host> = users.iter().map(|user| &user.host).collect();
        let world = World::new(&lab.host("world")?, &[&carrier.host], &behind)?;
        let stop = AtomicBool::new(false);
        let (result, rounds) = std::thread::scope(|scope| {
            let programs: Vec<_> =
                users.iter().map(|user| scope.spawn(|| leak::insist(&user.host, &stop))).collect();
            let result = leaves_nothing(&world, &headscale, &mut carrier, &users);
            stop.store(true, Ordering::Relaxed);
            let ended = programs.into_iter().map(|one| one.join().unwrap_or_else(|_| bail!("panic")));
            (result, ended.collect::<Result<Vec<_>>>())
        });
        let sent = result?;
        let rounds = rounds?;
        number(
            "packets by the uplink while the exit node comes and goes",
            format!("{sent:?} in {rounds:?} rounds of a program, 0 leaked"),
        );
        ensure!(rounds.iter().all(|rounds| *rounds > 50), "{rounds:?} rounds: no traffic");
        users.iter_mut().try_for_each(Node::stop)
    });
}

/// Uses the exit node, loses it, switches it off and on; how much each user has sent by its uplink meanwhile.
fn leaves_nothing(
    world: &World,
    headscale: &Headscale,
    carrier: &mut Node,
    users: &[Node],
) -> Result<Vec<usize>> {
    let captures = || users.iter().map(|user| Capture::new(&user.host)).collect::<Result<Vec<_>>>();
    let plain = || -> Result<()> {
        // The sniffer sees what leaves when nothing holds it.
        let captures = captures()?;
        users.iter().try_for_each(|user| world.sees(&user.host, Some(&user.host)))?;
        captures.into_iter().try_for_each(|capture| leak::all_kinds(&capture.end()))
    };
    let every = |words: &[&str]| -> Result<()> {
        users.iter().try_for_each(|user| user.tailscale(words)?.ok().map(drop))
    };
    let through = |carrier: &Node, users: &[Node]| {
        users.iter().try_for_each(|user| world.sees(&user.host, Some(&carrier.host)))
    };
    plain().context("without an exit node")?;
    every(&["set", &format!("--exit-node={}", carrier.ipv4()?)])?;
    through(carrier, users)?;
    for (user, main) in users.iter().zip([false, true]) {
        ensure!(by_main_table(&user.host)? == main, "{} has the other layout", user.host.name);
    }
    let first = captures()?;
    carrier.kill();
    users.iter().try_for_each(|user| world.sees(&user.host, None))?;
    std::thread::sleep(Duration::from_secs(u64::from(count(3, 150))));
    // It changes its mind about paths, and settings are changed around it.
    for setting in ["--exit-node-allow-lan-access", "--exit-node-allow-lan-access=false"] {
        every(&["set", setting])?;
    }
    carrier.start()?;
    carrier.wait_running()?;
    through(carrier, users).context("after the exit node is back")?;
    let mut sent = Vec::new();
    for (capture, user) in first.into_iter().zip(users) {
        let packets = leak::judge(capture, headscale, &carrier.host);
        sent.push(packets.with_context(|| format!("{}, with the exit node killed", user.host.name))?);
    }

    every(&["set", "--exit-node="])?;
    plain().context("switched off")?;
    every(&["set", &format!("--exit-node={}", carrier.ipv4()?)])?;
    // From here on, not from when the first packet is seen to go the right way.
    let second = captures()?;
    through(carrier, users).context("switched on again")?;
    std::thread::sleep(Duration::from_secs(1));
    for ((capture, user), sent) in second.into_iter().zip(users).zip(&mut sent) {
        let packets = leak::judge(capture, headscale, &carrier.host);
        *sent += packets.with_context(|| format!("{}, switched on again", user.host.name))?;
    }
    Ok(sent)
}

/// IPv6 that the machine has and its tunnel has not: nothing of it gets past the exit node, and when it is switched on, it
/// goes by that.
#[test]
fn no_ipv6_gets_past_where_only_the_tunnel_has_none() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let carrier = exit(lab, &headscale, "exit", Flavour::Go)?;
        let mut users = Vec::new();
        for (name, kernel) in [("rules", Kernel::Usual), ("main", Kernel::NoRules)] {
            let mut user = user(lab, &headscale, name, Flavour::Ours, kernel)?;
            user.stop()?;
            user.host.run(&["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])?;
            user.start()?;
            user.wait_running()?;
            user.wait_peer(&carrier)?;
            users.push(user);
        }
        let behind: Vec<&Host> = users.iter().map(|user| &user.host).collect();
        let world = World::new(&lab.host("world")?, &[&carrier.host], &behind)?;
        for user in &users {
            world.sees(&user.host, Some(&user.host))?;
            user.tailscale(&["set", &format!("--exit-node={}", carrier.ipv4()?)])?.ok()?;
            lab::until("IPv4 to go by the exit node", Duration::from_secs(30), || {
                Ok((world.hears(&user.host, false)? == Some(carrier.host.ipv4.into())).then_some(()))
            })?;
            let capture = Capture::new(&user.host)?;
            for _ in 0..5 {
                ensure!(world.hears(&user.host, true)?.is_none(), "IPv6 got past the exit node");
            }
            let far: std::net::IpAddr = FAR[1].parse()?;
            ensure!(capture.end().iter().all(|sent| sent.to != far), "IPv6 left by the uplink");
            well(user)?;

            // It is noticed with the next change of the network.
            user.host.run(&["sysctl", "-qw", "net.ipv6.conf.tailscale0.disable_ipv6=0"])?;
            user.host.run(&["ip", "addr", "add", "198.18.0.9/32", "dev", "lo"])?;
            world.sees(&user.host, Some(&carrier.host)).context("IPv6 has been switched on")?;
            let own = user.tailscale(&["ip", "-6"])?.ok()?.stdout;
            let listens = user.host.run(&["ss", "-Hltn"])?;
            ensure!(listens.contains(&format!("[{}]", own.trim())), "no PeerAPI at {own}: {listens}");
        }
        users.iter_mut().try_for_each(Node::stop)
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
