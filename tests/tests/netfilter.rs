//! The kernel's packet filters: what a kernel may lack, and what is in them already.

use anyhow::{Context, Result, ensure};
use blackbox::dump;
use blackbox::foreign;
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

#[test]
fn rules_of_others_outlive_every_end_of_the_node() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut site = Site::prepared(lab, ("site", Flavour::Ours), 1)?;
        // It goes from one filter to the other.
        site.node.lacks = Some(Vec::new());
        foreign::bring(&site.node.host)?;
        let before = dump::everything(&site.node.host)?;
        let (foreign, ours) = foreign::others(&site.node.host)?;
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
            let (now, ours) = foreign::others(&site.node.host)?;
            ensure!(
                ours && foreign::keeps(&foreign, &now),
                "round {round}, {kind}:\n{}",
                dump::difference(&foreign, &now)
            );
            if round % 2 == 0 {
                // Only the policies of tables that we have made are more than there was.
                let more = now.lines().count() - foreign.lines().count();
                ensure!(more == 0, "round {round}: {}", dump::difference(&foreign, &now));
            }
            site.node.kill();
            let (now, _) = foreign::others(&site.node.host)?;
            ensure!(
                foreign::keeps(&foreign, &now),
                "round {round}, killed:\n{}",
                dump::difference(&foreign, &now)
            );
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
