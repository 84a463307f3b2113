//! Rules of others in both packet filters: in the very tables that a node's are in, and elsewhere.

use crate::dump;
use anyhow::Result;
use lab::Host;

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
///
/// # Errors
/// When a program fails.
pub fn others(host: &Host) -> Result<(String, bool)> {
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
pub fn keeps(before: &str, now: &str) -> bool {
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

/// Gives them to a host.
///
/// # Errors
/// When a program refuses.
pub fn bring(host: &Host) -> Result<()> {
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
        restore(host, program, &text)?;
    }
    restore(host, "nft", FOREIGN_NFT)?;
    Ok(())
}
