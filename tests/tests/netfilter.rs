//! The kernel's packet filters: what a kernel may lack, and what is in them already.

use anyhow::{Context, Result, ensure};
use blackbox::dump;
use blackbox::site::Site;
use blackbox::traffic::{datagrams, transfer};
use blackbox::{EVERYTHING, count, scenario};
use lab::{Flavour, Headscale, Host, Lab, Node, Refused};
use std::time::Duration;

/// What the two filters have of ours: x_tables, nf_tables.
fn where_rules_are(host: &Host) -> Result<[bool; 2]> {
    let legacy = host.run(&["iptables-legacy-save"])? + &host.run(&["ip6tables-legacy-save"])?;
    let nft = host.run(&["nft", "list", "ruleset"])?;
    // `iptables-legacy` itself is not in nf_tables' list.
    Ok([legacy.contains("ts-forward"), nft.contains("ts-forward")])
}

fn health(node: &Node) -> Result<String> {
    Ok(node.status()?["Health"].to_string())
}

/// TCP, UDP and ICMP by both families between a machine behind `site` and `other`, begun by either. Whoever comes out of the
/// tunnel has the node's address on the LAN where it is `translated`, and nobody else has another than its own.
fn carries(site: &Site, other: &Host, address: [std::net::IpAddr; 2], translated: bool) -> Result<()> {
    site.wait(other, true)?;
    for v6 in [false, true] {
        let own = address[usize::from(v6)];
        transfer(other, &site.machine, site.machine_address(v6), 64)?;
        transfer(&site.machine, other, own, 64)?;
        let seen = datagrams(other, &site.machine, site.machine_address(v6))?;
        let expected = if translated { site.node_address(v6) } else { own };
        ensure!(seen == expected, "the LAN is asked by {seen}, not by {expected}");
        let seen = datagrams(&site.machine, other, own)?;
        ensure!(seen == site.machine_address(v6), "the tailnet is asked by {seen}");
    }
    Ok(())
}

fn lacking(
    lab: &Lab,
    headscale: &Headscale,
    user: &Node,
    (name, number): (&str, u8),
    refused: Option<&[Refused]>,
    expected: [bool; 2],
) -> Result<()> {
    let mut site = Site::prepared(lab, (name, Flavour::Ours), number)?;
    let host_before = dump::everything(&site.node.host)?;
    site.node.lacks = refused.map(<[_]>::to_vec);
    let mut body = || {
        site.node.start()?;
        site.join(headscale, &headscale.auth_key()?)?;
        let nothing = expected == [false; 2];
        if nothing {
            // Addresses cannot be translated.
            lab::until("health to say why", Duration::from_secs(10), || {
                let health = health(&site.node)?;
                ensure!(health.contains("neither to nf_tables nor to x_tables"), "{health}");
                Ok(Some(()))
            })?;
        }
        // Into the tailnet no machine on a LAN gets without a way back, and with translation none is needed.
        site.way_back()?;
        carries(&site, &user.host, blackbox::traffic::addresses(user)?, !nothing)?;
        let found = where_rules_are(&site.node.host)?;
        ensure!(found == expected, "rules in x_tables and nf_tables: {found:?}");
        ensure!(nothing || !health(&site.node)?.contains("x_tables"), "{}", health(&site.node)?);
        site.node.stop()?;
        let after = dump::everything(&site.node.host)?;
        ensure!(after == host_before, "left after a clean stop:\n{}", dump::difference(&host_before, &after));
        Ok(())
    };
    body().with_context(|| format!("{name}: without {refused:?}"))
}

#[test]
fn whatever_the_kernel_lacks_traffic_passes_or_health_says_why() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let user = Site::new(lab, &headscale, ("user", Flavour::Go), 9, &[])?.node;
        let both = [Refused::NfTables, Refused::XTables];
        lacking(lab, &headscale, &user, ("legacy", 1), Some(&both[..1]), [true, false])?;
        lacking(lab, &headscale, &user, ("nft", 2), Some(&both[1..]), [false, true])?;
        // As all other scenarios of this run have it: the whole kernel, if nothing was said.
        let without = lab::everywhere()?.contains(&Refused::NfTables);
        lacking(lab, &headscale, &user, ("usual", 3), None, [without, !without])?;
        lacking(lab, &headscale, &user, ("none", 4), Some(&both), [false, false])
    });
}

/// What others have in x_tables, as `iptables-restore` takes it.
const FOREIGN: &str = r#"*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:mine - [0:0]
-A INPUT -p tcp -m tcp --dport 9 -m comment --comment "not ours" -j DROP
-A INPUT -s 198.51.100.0/24 -j mine
-A FORWARD -i lan0 -p tcp -m multiport --dports 25,26 -j REJECT --reject-with icmp-port-unreachable
-A mine -m limit --limit 3/min -j RETURN
-A mine -m mark --mark 0x40000/0xff0000 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 192.0.2.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.77.1.2:80
-A POSTROUTING -s 192.168.0.0/16 -o eth0 -j MASQUERADE
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
COMMIT
"#;

/// And in nf_tables: in the very tables and chains that ours would be in, and in one of their own.
const FOREIGN_NFT: &str = r#"
table ip filter {
    set known { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.9 }; }
    chain INPUT { type filter hook input priority 0; policy accept; ip saddr @known tcp dport 9 drop; jump mine; }
    chain mine { meta mark & 0x00ff0000 == 0x00040000 return; udp dport 7 drop; }
}
table ip nat {
    chain POSTROUTING { type nat hook postrouting priority 100; ip saddr 192.168.0.0/16 oifname "eth0" masquerade; }
}
table ip6 filter {
    chain FORWARD { type filter hook forward priority 0; policy accept; tcp dport 25 drop; }
}
table inet theirs {
    chain in { type filter hook input priority 5; policy accept; tcp dport 9 drop; }
}
"#;

/// The rules without ours, and whether there were some of ours.
fn others(host: &Host) -> Result<(String, bool)> {
    let (mut text, mut ours, mut inside) = (String::new(), false, false);
    for line in dump::rules(host)?.lines() {
        let own = line.contains("ts-") || line.contains("CONNMARK") || line.contains("ct mark");
        ours |= own;
        // A chain of ours in nf_tables' notation goes on to its closing bracket.
        inside = (inside || (own && line.trim_end().ends_with('{'))) && line.trim() != "}";
        if !own && !inside {
            text += line;
            text.push('\n');
        }
    }
    Ok((text, ours))
}

/// Whether every line of `before` is in `now`, in the same order.
fn keeps(before: &str, now: &str) -> bool {
    let mut lines = now.lines();
    before.lines().all(|wanted| lines.any(|line| line == wanted))
}

fn restore(host: &Host, program: &str, text: &str) -> Result<()> {
    let file = host.dir.join("rules");
    std::fs::write(&file, text)?;
    let file = file.display().to_string();
    if program == "nft" {
        return host.run(&["nft", "-f", &file]).map(drop);
    }
    host.run(&["sh", "-c", &format!("{program} -w 5 <{file}")]).map(drop)
}

#[test]
fn rules_of_others_outlive_every_end_of_the_node() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut site = Site::prepared(lab, ("site", Flavour::Ours), 1)?;
        // It goes from one filter to the other.
        site.node.lacks = Some(Vec::new());
        for program in ["iptables-legacy-restore", "ip6tables-legacy-restore"] {
            let mut text = FOREIGN.to_owned();
            if program.starts_with("ip6") {
                for (from, to) in [
                    ("198.51.100.0/24", "2001:db8:9::/64"),
                    ("192.0.2.1/32", "2001:db8:8::1/128"),
                    ("10.77.1.2:80", "[fd77:1::2]:80"),
                    ("192.168.0.0/16", "fd00:8::/32"),
                    ("icmp-port", "icmp6-port"),
                ] {
                    text = text.replace(from, to);
                }
            }
            restore(&site.node.host, program, &text)?;
        }
        restore(&site.node.host, "nft", FOREIGN_NFT)?;
        let before = dump::everything(&site.node.host)?;
        let (foreign, ours) = others(&site.node.host)?;
        ensure!(!ours && foreign.contains("theirs") && foreign.contains("TCPMSS"), "{foreign}");
        let rounds = count(5, 100);
        for round in 0..rounds {
            let kind = if round % 2 == 0 { "iptables" } else { "nftables" };
            site.node.environment.retain(|(name, _)| name != "TS_DEBUG_FIREWALL_MODE");
            site.node.environment.push(("TS_DEBUG_FIREWALL_MODE".to_owned(), kind.to_owned()));
            site.node.start()?;
            if round == 0 {
                site.join(&headscale, &headscale.auth_key()?)?;
            }
            let expected = [kind == "iptables", kind != "iptables"];
            lab::until("rules of ours", Duration::from_secs(20), || {
                Ok((where_rules_are(&site.node.host)? == expected).then_some(()))
            })?;
            let (now, ours) = others(&site.node.host)?;
            ensure!(
                ours && keeps(&foreign, &now),
                "round {round}, {kind}:\n{}",
                dump::difference(&foreign, &now)
            );
            if round % 2 == 0 {
                // Only the policies of tables that we have made are more than there was.
                let more = now.lines().count() - foreign.lines().count();
                ensure!(more == 0, "round {round}: {}", dump::difference(&foreign, &now));
            }
            site.node.kill();
            let (now, _) = others(&site.node.host)?;
            ensure!(keeps(&foreign, &now), "round {round}, killed:\n{}", dump::difference(&foreign, &now));
        }
        for kind in ["iptables", "nftables"] {
            site.node.environment.retain(|(name, _)| name != "TS_DEBUG_FIREWALL_MODE");
            site.node.environment.push(("TS_DEBUG_FIREWALL_MODE".to_owned(), kind.to_owned()));
            site.node.start()?;
            site.node.wait_running()?;
            site.node.stop()?;
            let after = dump::everything(&site.node.host)?;
            ensure!(after == before, "after a clean stop, {kind}:\n{}", dump::difference(&before, &after));
        }
        Ok(())
    });
}
