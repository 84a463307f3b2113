//! What control says of names and headscale cannot: providers that speak DNS over HTTPS, resolvers of an exit node that
//! speaks nothing but WireGuard, and names that an exit node keeps to itself.

use anyhow::{Context, Result, ensure};
use blackbox::direct::{Control, PORT, WireguardGo, underlay};
use blackbox::names::{by_udp_within, query};
use blackbox::site::forwards;
use blackbox::upstreams::{Does, Https, Provider, TRUTH, Upstreams, address};
use blackbox::{number, scenario};
use lab::{Capture, Flavour, Need, Node};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use testcontrol::WireguardPeer;

const NEEDS: &[Need] = &[Need::Namespaces, Need::Go, Need::Ours];

/// What is known to be Quad9, Cloudflare, Google, and NextDNS, which has no plain DNS.
const QUAD9: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);
const CLOUDFLARE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
const GOOGLE: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
const NEXTDNS: Ipv4Addr = Ipv4Addr::new(45, 90, 28, 0);

/// Code of the answer of quad-100 to a question for an IPv4 address, and the address.
fn ask(node: &Node, name: &str) -> Result<(u8, Option<Ipv4Addr>)> {
    let quad100 = SocketAddr::from(([100, 100, 100, 100], 53));
    // Long enough for a busy machine; what is asked of whom does not depend on it.
    let answer = by_udp_within(&node.host, quad100, &query(name, 1).bytes, Duration::from_secs(8))?;
    let answer = answer.with_context(|| format!("{} is silent about {name}", node.host.name))?;
    let address: Option<[u8; 4]> = answer.last_chunk().copied().filter(|_| answer[7] > 0);
    Ok((answer[3] & 15, address.map(Ipv4Addr::from)))
}

/// Waits until `node` says the truth about a name.
fn until_true(node: &Node, name: &str) -> Result<()> {
    lab::until(&format!("{name} at {}", node.host.name), Duration::from_secs(20), || {
        let answer = ask(node, name);
        ensure!(matches!(answer, Ok((0, Some(TRUTH)))), "{answer:?}");
        Ok(Some(()))
    })
}

/// Asks for names that begin so, one after another.
fn all_true(node: &Node, name: &str, count: u32) -> Result<()> {
    for n in 0..count {
        let answer = ask(node, &format!("{name}{n}.example.org"))?;
        ensure!(answer == (0, Some(TRUTH)), "{name}{n} at {}: {answer:?}", node.host.name);
    }
    Ok(())
}

fn tell(control: &Control, node: &Node, dns: &Value) -> Result<()> {
    let mut whole = json!({"Proxied": true, "Domains": ["tail-test.ts.net"]});
    for (key, value) in dns.as_object().context("no object")? {
        whole[key] = value.clone();
    }
    let key = control.view(node)?.key;
    ensure!(control.server.send_map(&key, json!({"DNSConfig": whole})), "no stream to {}", node.host.name);
    Ok(())
}

fn of(counter: &AtomicU32) -> u32 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn providers_are_asked_by_https_and_else_by_udp() {
    scenario(NEEDS, |lab| {
        let control = Control::start(lab)?;
        let host = lab.host("provider")?;
        let ours = control.node(lab, "ours", Flavour::Ours, &[])?;
        let go = control.node(lab, "go", Flavour::Go, &[])?;
        for at in [QUAD9, CLOUDFLARE, GOOGLE, NEXTDNS] {
            address(&host, at, &[&ours.host, &go.host])?;
        }
        let plain = Upstreams::default();
        plain.start(&host, QUAD9, Does::Well)?;
        plain.start(&host, CLOUDFLARE, Does::Well)?;
        plain.start(&host, GOOGLE, Does::Well)?;
        let certificate = lab.authority().issue(&["dns.quad9.net", "dns.nextdns.io"])?;
        let quad9 = Provider::start(&host, QUAD9, &certificate)?;
        let cloudflare = Provider::start(&host, CLOUDFLARE, &certificate)?;
        let nextdns = Provider::start(&host, NEXTDNS, &certificate)?;
        let by_udp = |name: &str| plain.asked(QUAD9, "udp", name);

        for node in [&go, &ours] {
            let who = &node.host.name;
            let is_ours = who == "ours";
            tell(&control, node, &json!({"Resolvers": [{"Addr": "9.9.9.9"}]}))?;
            until_true(node, &format!("first.{who}.example.org"))?;
            // One connection for all that is asked while it lives.
            let (connections, questions) = (of(&quad9.connections), of(&quad9.questions));
            all_true(node, &format!("kept-{who}-"), 20)?;
            let opened = of(&quad9.connections) - connections;
            number(&format!("connections of {who} for 20 questions by HTTPS"), opened);
            ensure!(
                of(&quad9.questions) - questions == 20 && by_udp(&format!("kept-{who}-")) == 0,
                "not by HTTPS"
            );
            ensure!(!is_ours || opened <= 1, "{opened} connections for 20 questions");
            // A few at once, however many ask.
            let connections = of(&quad9.connections);
            std::thread::scope(|scope| {
                let asking: Vec<_> = (0..40)
                    .map(|n| scope.spawn(move || all_true(node, &format!("many-{who}-{n}-"), 1)))
                    .collect();
                asking
                    .into_iter()
                    .try_for_each(|one| one.join().unwrap_or_else(|_| anyhow::bail!("asking panicked")))
            })?;
            let opened = of(&quad9.connections) - connections;
            number(&format!("connections of {who} for 40 questions at once by HTTPS"), opened);
            ensure!(!is_ours || opened <= 4, "{opened} connections for 40 questions at once");
            // One that is hung up between two questions is not noticed.
            quad9.set(Https::Once);
            all_true(node, &format!("once-{who}-"), 5)?;
            // Silence, and what is no answer: UDP, half a second later or at once.
            for (does, name) in [(Https::Silent, "silent"), (Https::Fails, "failing")] {
                quad9.set(does);
                let name = format!("{name}-{who}-");
                all_true(node, &name, 2)?;
                ensure!(by_udp(&name) == 2, "{does:?}: {} questions by UDP", by_udp(&name));
            }
            quad9.set(Https::Well);
            // Nobody else is told what is for HTTPS only.
            tell(&control, node, &json!({"Resolvers": [{"Addr": "https://dns.nextdns.io/ab12"}]}))?;
            let asked = of(&nextdns.questions);
            lab::until("NextDNS", Duration::from_secs(10), || {
                let answer = ask(node, &format!("profile.{who}.example.org"));
                Ok((of(&nextdns.questions) > asked && answer.is_ok()).then_some(()))
            })?;
            all_true(node, &format!("profile-{who}-"), 3)?;
            let path = nextdns.path.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ensure!(path == "/ab12", "the profile is {path}");
        }

        // Whose HTTPS does not work is not asked by it again and again.
        cloudflare.set(Https::HangsUp);
        tell(&control, &ours, &json!({"Resolvers": [{"Addr": "1.1.1.1"}]}))?;
        let by_udp = |name: &str| plain.asked(CLOUDFLARE, "udp", name);
        // Until control's word is heard, NextDNS answers.
        lab::until("Cloudflare", Duration::from_secs(10), || {
            until_true(&ours, "hung-up.example.org")?;
            Ok((by_udp("hung-up.") > 0).then_some(()))
        })?;
        all_true(&ours, "hung-up-", 10)?;
        let (opened, asked) = (of(&cloudflare.connections), by_udp("hung-up-"));
        ensure!(
            (1..=2).contains(&opened) && asked == 10,
            "{opened} handshakes in vain, {asked} of 10 by UDP"
        );

        // Nor whose HTTPS is dropped on the way without a word.
        let rules = "table inet drops {
              chain input { type filter hook input priority 0; ip daddr 8.8.8.8 tcp dport 443 counter drop; }
            }";
        host.run(&["nft", rules])?;
        let attempts = || -> Result<u32> {
            let listed = host.run(&["nft", "list", "table", "inet", "drops"])?;
            let count = listed.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next());
            Ok(count.context("no counter")?.parse()?)
        };
        tell(&control, &ours, &json!({"Resolvers": [{"Addr": GOOGLE.to_string()}]}))?;
        lab::until("Google", Duration::from_secs(10), || {
            until_true(&ours, "dropped.example.org")?;
            Ok((plain.asked(GOOGLE, "udp", "dropped.") > 0).then_some(()))
        })?;
        all_true(&ours, "dropped-", 10)?;
        let (opened, asked) = (attempts()?, plain.asked(GOOGLE, "udp", "dropped-"));
        number("attempts to connect for 11 questions to a provider whose HTTPS is dropped", opened);
        ensure!((1..=3).contains(&opened) && asked == 10, "{opened} attempts, {asked} of 10 by UDP");
        cloudflare.end();
        quad9.end();
        nextdns.end();
        Ok(())
    });
}

#[test]
fn an_exit_node_that_speaks_only_wireguard_names_its_resolvers() {
    scenario(&[Need::Namespaces, Need::Go, Need::Ours, Need::WireguardGo], |lab| {
        const NAMED: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
        const SET: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
        let control = Control::start(lab)?;
        let exit = WireguardGo::start(lab.host("exit")?)?;
        let upstreams = Upstreams::default();
        // Reached through the tunnel, and by no other way.
        for at in [NAMED, SET] {
            address(&exit.host, at, &[])?;
            upstreams.start(&exit.host, at, Does::Well)?;
        }
        let prefixes = exit.addresses.map(|ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }));
        let everything = ["0.0.0.0/0".to_owned(), "::/0".to_owned()];
        control.server.add_wireguard_peer(WireguardPeer {
            name: "exit".to_owned(),
            key: exit.key.public().to_string(),
            endpoints: underlay(&exit.host)?.map(|ip| SocketAddr::new(ip, PORT)).to_vec(),
            addresses: prefixes.to_vec(),
            allowed_ips: [&prefixes[..], &everything].concat(),
            resolvers: vec![NAMED.to_string()],
        });
        for flavour in [Flavour::Go, Flavour::Ours] {
            let name = format!("{flavour:?}").to_lowercase();
            let node = control.node(lab, &name, flavour, &[])?;
            exit.knows(&control.view(&node)?, None)?;
            node.tailscale(&["set", &format!("--exit-node={}", exit.addresses[0])])?.ok()?;
            let capture = Capture::new(&node.host)?;
            until_true(&node, &format!("named.{name}.example.org"))?;
            ensure!(upstreams.asked(NAMED, "udp", &format!("named.{name}")) > 0, "somebody else was asked");
            // What the tailnet sets for everything goes before.
            tell(&control, &node, &json!({"Resolvers": [{"Addr": SET.to_string()}]}))?;
            lab::until("the tailnet's resolver", Duration::from_secs(10), || {
                ask(&node, &format!("set.{name}.example.org")).ok();
                Ok((upstreams.asked(SET, "udp", &format!("set.{name}")) > 0).then_some(()))
            })?;
            until_true(&node, &format!("set.{name}.example.org"))?;
            let outside: Vec<_> = capture.end().into_iter().filter(|sent| sent.ports[1] == 53).collect();
            ensure!(outside.is_empty(), "questions of {name} left outside the tunnel: {outside:?}");
        }
        Ok(())
    });
}

#[test]
fn an_exit_node_keeps_names_to_itself() {
    scenario(NEEDS, |lab| {
        let control = Control::start(lab)?;
        let host = lab.host("names")?;
        let exit = control.node(lab, "exit", Flavour::Ours, &[])?;
        let clients =
            [control.node(lab, "go", Flavour::Go, &[])?, control.node(lab, "ours", Flavour::Ours, &[])?];
        let upstreams = Upstreams::default();
        upstreams.start(&host, host.ipv4, Does::Well)?;
        forwards(&exit.host)?;
        exit.tailscale(&["set", "--advertise-exit-node"])?.ok()?;
        control.server.set_routes(&control.view(&exit)?.key, &["0.0.0.0/0", "::/0"]);
        let resolver = json!([{"Addr": host.ipv4.to_string()}]);
        let kept = json!(["secret.example.org", ".hidden.example.org"]);
        tell(&control, &exit, &json!({"Resolvers": resolver, "ExitNodeFilteredSet": kept}))?;
        for client in &clients {
            client.wait_peer(&exit)?;
            client.tailscale(&["set", &format!("--exit-node={}", exit.ipv4()?)])?.ok()?;
            until_true(client, &format!("open.{}.example.org", client.host.name))?;
            for (name, kept) in [
                ("secret.example.org", true),
                ("SECRET.Example.org", true),
                ("below.secret.example.org", false),
                ("secret.example.orgs", false),
                ("hidden.example.org", false),
                ("below.hidden.example.org", true),
                ("far.below.hidden.example.org", true),
                ("xhidden.example.org", false),
            ] {
                let (code, found) = ask(client, name)?;
                let as_it_should = if kept { code == 5 && found.is_none() } else { found == Some(TRUTH) };
                ensure!(as_it_should, "{name} for {}: {code} {found:?}", client.host.name);
            }
        }
        for how in ["udp", "tcp"] {
            for name in ["secret.example.org.", "SECRET.Example.org.", "below.hidden.", "far.below.hidden."] {
                let asked = upstreams.asked(host.ipv4, how, name);
                ensure!(asked == 0, "the exit node has asked for {name} by {how} {asked} times");
            }
        }
        // The node itself is told, and its clients are once control has nothing against it.
        ensure!(ask(&exit, "secret.example.org")? == (0, Some(TRUTH)), "not even the exit node knows");
        tell(&control, &exit, &json!({"Resolvers": resolver}))?;
        for client in &clients {
            until_true(client, "secret.example.org")?;
        }
        Ok(())
    });
}
