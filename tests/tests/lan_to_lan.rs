//! Bulk from LAN to LAN: networks of 1500 bytes on both sides, a tunnel that carries less between them, and no ICMP that
//! would say so.

use anyhow::{Result, ensure};
use blackbox::site::{Site, set};
use blackbox::traffic::{BLOCK, transfer};
use blackbox::{EVERYTHING, count, number, scenario};
use lab::{Flavour, Host};

/// Nobody hears that a packet was too big, and offers of segments are counted: too large and just right, by IPv4 and 6.
const WATCH: &str = "table inet look {
  chain in { type filter hook input priority 0;
    icmp type destination-unreachable drop
    icmpv6 type { packet-too-big, destination-unreachable } drop
    meta nfproto ipv4 tcp flags & (syn | rst) == syn tcp option maxseg size > 1240 counter
    meta nfproto ipv6 tcp flags & (syn | rst) == syn tcp option maxseg size > 1220 counter
    meta nfproto ipv4 tcp flags & (syn | rst) == syn tcp option maxseg size 1240 counter
    meta nfproto ipv6 tcp flags & (syn | rst) == syn tcp option maxseg size 1220 counter
  }
  chain out { type filter hook output priority 0;
    oifname lan0 icmp type destination-unreachable drop
    oifname lan0 icmpv6 type { packet-too-big, destination-unreachable } drop
  }
  chain through { type filter hook forward priority -10;
    icmp type destination-unreachable drop
    icmpv6 type { packet-too-big, destination-unreachable } drop
  }
}";

fn watch(host: &Host) -> Result<()> {
    let file = host.dir.join("watch");
    std::fs::write(&file, WATCH)?;
    host.run(&["nft", "-f", &file.display().to_string()]).map(drop)
}

/// Whether the host was offered segments of all these kinds.
fn offered(host: &Host) -> Result<Vec<bool>> {
    let text = host.run(&["nft", "list", "chain", "inet", "look", "in"])?;
    let counts = text.lines().filter_map(|line| line.split("counter packets ").nth(1)?.split(' ').next());
    Ok(counts.map(|count| count != "0").collect())
}

#[test]
fn no_stream_stands_still_without_icmp() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut sites = Vec::new();
        for (n, (name, flavour)) in
            [("ours", Flavour::Ours), ("go", Flavour::Go), ("other", Flavour::Ours)].into_iter().enumerate()
        {
            let site = Site::new(lab, &headscale, (name, flavour), n as u8 + 1, &[])?;
            site.way_back()?;
            watch(&site.machine)?;
            watch(&site.node.host)?;
            sites.push(site);
        }
        let mebibytes = count(16, 64);
        let blocks = (u64::from(mebibytes) << 20) / BLOCK as u64;
        for snat in [true, false] {
            for site in &sites {
                set(&site.node, &format!("--snat-subnet-routes={snat}"))?;
            }
            // Ours and Go's in either role, and two of ours.
            for (from, to) in [(0, 1), (1, 0), (0, 2)] {
                let (from, to) = (&sites[from], &sites[to]);
                from.wait(&to.machine, true)?;
                to.wait(&from.machine, true)?;
                for v6 in [false, true] {
                    let there = transfer(&from.machine, &to.machine, to.machine_address(v6), blocks)?;
                    let back = transfer(&to.machine, &from.machine, from.machine_address(v6), blocks)?;
                    let names = format!("{} and {}", from.node.host.name, to.node.host.name);
                    let family = if v6 { 6 } else { 4 };
                    number(
                        &format!("{mebibytes} MiB each way, IPv{family}, LANs of {names}, SNAT {snat}"),
                        format!("{there:.1?} and {back:.1?}"),
                    );
                }
            }
        }
        for site in &sites {
            let seen = offered(&site.machine)?;
            ensure!(
                seen == [false, false, true, true],
                "{}: segments that do not fit: {seen:?}",
                site.machine.name
            );
        }
        Ok(())
    });
}
