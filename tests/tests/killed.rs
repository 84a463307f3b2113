//! Killed at any moment while addresses, routes and rules are being set: who starts next makes of it what a first start makes,
//! and what others have stays.

use anyhow::{Context, Result, ensure};
use blackbox::direct::Control;
use blackbox::{count, dump, foreign, number, scenario};
use lab::{Flavour, Host, Need, Node, until};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Both filters and both places for routes, by chance.
const WAYS: [[&str; 2]; 4] =
    [["iptables", "policy"], ["nftables", "policy"], ["iptables", "main"], ["nftables", "main"]];

const SOON: Duration = Duration::from_secs(20);

/// xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}

/// Networks behind the other node: everything, and some by name.
fn networks(set: u8) -> Vec<String> {
    let all = ["0.0.0.0/0".to_owned(), "::/0".to_owned()].into_iter();
    all.chain((0..40).flat_map(|n| [format!("10.{}.{n}.0/24", 70 + set), format!("fd70:{set}:{n}::/64")]))
        .collect()
}

/// Policy rules and routes that are not ours, between ours.
fn other_routes(host: &Host) -> Result<()> {
    for words in [
        "rule add pref 5220 to 198.18.0.0/15 lookup 77",
        "-6 rule add pref 5220 to 2001:db8:77::/48 lookup 77",
        "rule add pref 5270 fwmark 0x100/0x100 lookup 77",
        "route add 198.18.0.0/15 dev lo table 77",
        "route add throw 192.0.2.128/25 table 52 proto static",
        "route add 192.0.2.64/26 via 203.0.113.1",
    ] {
        host.run(&[&["ip"][..], &words.split(' ').collect::<Vec<_>>()].concat()).context(words)?;
    }
    Ok(())
}

/// Addresses, routes and rules.
fn state(host: &Host) -> Result<String> {
    Ok(dump::routing(host)? + &dump::rules(host)?)
}

/// Whether everything of `before` is there yet; rules of nodes aside.
fn keeps(before: &[String; 2], host: &Host) -> Result<()> {
    let (rules, _) = foreign::others(host)?;
    ensure!(foreign::keeps(&before[0], &rules), "rules:\n{}", dump::difference(&before[0], &rules));
    let routing = dump::routing(host)?;
    ensure!(foreign::keeps(&before[1], &routing), "routes:\n{}", dump::difference(&before[1], &routing));
    Ok(())
}

fn by(node: &mut Node, way: [&str; 2]) {
    let names = ["TS_DEBUG_FIREWALL_MODE", "TS_DEBUG_ROUTE_LAYOUT"];
    node.environment.retain(|(name, _)| !names.contains(&name.as_str()));
    let named = names.into_iter().zip(way);
    node.environment.extend(named.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn killed_at_any_moment() {
    scenario(&[Need::Namespaces, Need::Ours, Need::Iptables], |lab| {
        let seed = std::env::var("SMALLTAIL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
        number("seed of killed_at_any_moment", seed);
        let mut chance = Chance(seed | 1 << 40);
        let control = Control::start(lab)?;
        let far = control.node(lab, "far", Flavour::Ours, &[])?;
        let leads = control.view(&far)?.key;
        let lead = |set: u8| {
            let networks = networks(set);
            let networks: Vec<_> = networks.iter().map(String::as_str).collect();
            control.server.set_routes(&leads, &networks);
        };
        lead(0);
        let mut node = lab.node("node", Flavour::Ours)?;
        node.tun = "tailscale0".to_owned();
        node.arguments.push("--port=41641".to_owned());
        // It goes from one filter to the other, and so do its routes.
        node.lacks = Some(Vec::new());
        // A killed one cannot put this one back, and the next does not know that it was another.
        node.host.run(&["sysctl", "-qw", "net.ipv4.conf.all.src_valid_mark=1"])?;
        foreign::bring(&node.host)?;
        other_routes(&node.host)?;
        let others = [foreign::others(&node.host)?.0, dump::routing(&node.host)?];
        let before = dump::everything(&node.host)?;
        let bare = state(&node.host)?;

        // What is to be there, from starts after which nothing was left, and how long it takes.
        let (mut meant, mut span) = (Vec::new(), Duration::ZERO);
        for way in WAYS {
            by(&mut node, way);
            let started = lab::now();
            node.start()?;
            if meant.is_empty() {
                control.join(&node)?;
                let exit = format!("--exit-node={}", far.ipv4()?);
                node.tailscale(&["set", "--accept-routes", &exit, "--exit-node-allow-lan-access"])?.ok()?;
                node.stop()?;
                node.start()?;
            }
            let mut last = String::new();
            let whole = until("everything to be set", SOON, || {
                let now = state(&node.host)?;
                let whole = now.contains("10.70.39.0/24") && now.contains("fd70:0:39::/64");
                Ok((std::mem::replace(&mut last, now) == last && whole).then(|| last.clone()))
            })?;
            span = started.elapsed();
            meant.push(whole);
            node.stop()?;
            let after = dump::everything(&node.host)?;
            ensure!(after == before, "left by a clean stop:\n{}", dump::difference(&before, &after));
        }

        let rounds = count(10, 100);
        let (mut found, stop, changes) = (0, AtomicBool::new(false), AtomicU32::new(0));
        for round in 0..rounds {
            by(&mut node, WAYS[chance.below(4) as usize]);
            let after = Duration::from_micros(chance.below(span.as_micros() as u64));
            stop.store(false, Ordering::Relaxed);
            std::thread::scope(|scope| -> Result<()> {
                // Control does not leave it alone, either.
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        lead((changes.fetch_add(1, Ordering::Relaxed) % 2) as u8);
                        std::thread::sleep(Duration::from_millis(15));
                    }
                });
                let daemon = node.host.spawn(node.daemon_command(), "killed");
                std::thread::sleep(after);
                drop(daemon?);
                stop.store(true, Ordering::Relaxed);
                Ok(())
            })?;
            lead(0);
            let about = || format!("round {round}, killed after {after:?}");
            keeps(&others, &node.host).with_context(about)?;
            found += u32::from(state(&node.host)? != bare);

            let way = chance.below(4) as usize;
            by(&mut node, WAYS[way]);
            node.start()?;
            let mut last = String::new();
            until("everything to be right", SOON, || {
                last = state(&node.host)?;
                Ok((last == meant[way]).then_some(()))
            })
            .with_context(|| format!("{:?}:\n{}", WAYS[way], dump::difference(&meant[way], &last)))
            .with_context(about)?;
            keeps(&others, &node.host).with_context(about)?;
            // The next one finds what this one left, or nothing.
            if chance.below(2) == 0 {
                node.kill();
            } else {
                node.stop()?;
                let after = dump::everything(&node.host)?;
                ensure!(after == before, "{}, left:\n{}", about(), dump::difference(&before, &after));
            }
        }
        number("of so many killed nodes something was left", format!("{found} of {rounds}"));
        ensure!(found > 0, "nothing was ever left: they were killed too early");
        Ok(())
    });
}
