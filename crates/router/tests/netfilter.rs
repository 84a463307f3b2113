//! The packet filter against a real kernel, in namespaces: both ways to speak to it, beside other people's rules. Needs
//! root; skipped with the reason elsewhere.

mod common;

use common::in_host;
use lab::{Host, Refused, refuse};
use router::{Error, Firewall, Kind, Mode, Netfilter, cleanup_rules};
use std::process::{Command, Stdio};

fn firewall(kind: Kind) -> Firewall {
    Firewall {
        mode: Mode::On,
        kind,
        interface: "tailscale0".to_owned(),
        addresses: vec![
            "100.64.0.7".parse().expect("address"),
            "fd7a:115c:a1e0::7".parse().expect("address"),
        ],
        ports: [41641, 41642],
        ipv6: true,
        snat: true,
        stateful: true,
        drop_cgnat: true,
        connmark: true,
    }
}

/// What stands in a table without us: matches and targets of many kinds, chains that jump and go to others, counters.
const FOREIGN: &str = "*nat
:PREROUTING ACCEPT [3:180]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [1:60]
:POSTROUTING ACCEPT [4:240]
:SOME - [0:0]
[7:420] -A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.9:80
[1:2] -A POSTROUTING -s 10.0.0.0/8 -o eth0 -j MASQUERADE
[0:0] -A POSTROUTING -j SOME
[5:6] -A SOME -d 192.0.2.0/24 -j SNAT --to-source 203.0.113.9
COMMIT
*filter
:INPUT DROP [11:12]
:FORWARD ACCEPT [13:14]
:OUTPUT ACCEPT [15:16]
:A-FIRST - [0:0]
:B - [0:0]
:ts-forwardish - [0:0]
[21:22] -A INPUT -i lo -j ACCEPT
[23:24] -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[25:26] -A INPUT -p tcp -m multiport --dports 22,80 -m limit --limit 3/min -j B
[27:28] -A INPUT -s 198.51.100.0/24
[29:30] -A FORWARD -g A-FIRST
[31:32] -A A-FIRST -m comment --comment \"not ours\" -j RETURN
[33:34] -A A-FIRST -m mark --mark 0x40000/0xff0000 -j B
[35:36] -A B -p icmp -m icmp --icmp-type 8 -j ACCEPT
[37:38] -A B -j REJECT --reject-with icmp-port-unreachable
COMMIT
";

fn iptables(host: &Host, program: &str, words: &str) {
    // Other tests on this machine share the lock, if nothing else.
    let words: Vec<&str> = words.split(' ').collect();
    host.run(&[&[program, "-w", "5"], words.as_slice()].concat()).expect(program);
}

/// Gives `text` to a program inside of this thread's namespace.
fn restore(program: &str, text: &str) {
    let mut child =
        Command::new(program).args(["-c", "-w", "5"]).stdin(Stdio::piped()).spawn().expect(program);
    std::io::Write::write_all(&mut child.stdin.take().expect("stdin"), text.as_bytes()).expect("write");
    assert!(child.wait().expect(program).success(), "{program}");
}

/// All that is in the tables, with counters; what is ours left out if asked.
fn save(host: &Host, others: bool) -> String {
    let mut text = String::new();
    for program in ["iptables-legacy-save", "ip6tables-legacy-save"] {
        text += &host.run(&[program, "-c"]).expect(program);
    }
    text += &host.run(&["nft", "list", "ruleset"]).expect("nft");
    let ours = [
        "-j ts-",
        "jump ts-",
        ":ts-input ",
        ":ts-forward ",
        ":ts-postrouting ",
        " ts-input ",
        " ts-forward ",
    ];
    let ours = |line: &str| {
        ours.iter().any(|word| line.contains(word))
            || line.contains("-A ts-postrouting ")
            || line.contains("CONNMARK")
            || line.contains("-A ts-input ")
            || line.contains("-A ts-forward ")
    };
    let lines = text.lines().filter(|line| !(line.starts_with('#') || others && ours(line)));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The rules of one program's save format that are ours, without counters.
fn own(host: &Host, program: &str) -> Vec<String> {
    let text = host.run(&[program]).expect(program);
    let ours = |line: &&str| line.starts_with("-A") && (line.contains("ts-") || line.contains("CONNMARK"));
    text.lines().filter(ours).map(str::to_owned).collect()
}

const INPUT_V4: [&str; 5] = [
    "-A ts-input -s 100.64.0.7/32 -i lo -j ACCEPT",
    "-A ts-input -i tailscale0 -j ACCEPT",
    "-A ts-input -p udp -m udp --dport 41641 -j ACCEPT",
    "-A ts-input -s 100.115.92.0/23 ! -i tailscale0 -j RETURN",
    "-A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP",
];

#[test]
fn the_very_rules_that_iptables_makes() {
    in_host(|host| {
        let mut netfilter = Netfilter::default();
        assert_eq!(netfilter.apply(&firewall(Kind::Legacy)), []);
        let ours = own(host, "iptables-legacy-save");
        for rule in INPUT_V4.iter().chain(&[
            "-A INPUT -j ts-input",
            "-A FORWARD -j ts-forward",
            "-A POSTROUTING -j ts-postrouting",
            "-A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000",
            "-A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT",
            "-A ts-forward -s 100.64.0.0/10 -o tailscale0 -j DROP",
            "-A ts-forward -o tailscale0 -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP",
            "-A ts-forward -o tailscale0 -j ACCEPT",
            "-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE",
            "-A PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -m connmark ! --mark 0x0/0xff0000 \
             -j CONNMARK --restore-mark --nfmask 0xff0000 --ctmask 0xff0000",
            "-A OUTPUT -m conntrack --ctstate NEW -m mark ! --mark 0x0/0xff0000 \
             -j CONNMARK --save-mark --nfmask 0xff0000 --ctmask 0xff0000",
        ]) {
            assert!(ours.iter().any(|line| line == rule), "no {rule} in {ours:#?}");
        }
        assert_eq!(ours.len(), 16, "{ours:#?}");
        let v6 = own(host, "ip6tables-legacy-save");
        for rule in [
            "-A ts-input -s fd7a:115c:a1e0::7/128 -i lo -j ACCEPT",
            "-A ts-input -p udp -m udp --dport 41642 -j ACCEPT",
            "-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE",
        ] {
            assert!(v6.iter().any(|line| line == rule), "no {rule} in {v6:#?}");
        }
        assert_eq!(v6.len(), 13, "{v6:#?}");
        // And iptables finds them, as another node like us would.
        for (program, words) in [
            ("iptables-legacy", "-t filter -C INPUT -j ts-input"),
            ("iptables-legacy", "-t filter -C ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT"),
            (
                "iptables-legacy",
                "-t filter -C ts-forward -o tailscale0 -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP",
            ),
            ("iptables-legacy", "-t nat -C ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE"),
            ("ip6tables-legacy", "-t nat -C ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE"),
            ("ip6tables-legacy", "-t filter -C ts-input -p udp -m udp --dport 41642 -j ACCEPT"),
            (
                "iptables-legacy",
                "-t mangle -C OUTPUT -m conntrack --ctstate NEW -m mark ! --mark 0x0/0xff0000 -j CONNMARK \
                 --save-mark --nfmask 0xff0000 --ctmask 0xff0000",
            ),
        ] {
            iptables(host, program, words);
        }
        assert_eq!(netfilter.close(), []);
        assert_eq!(own(host, "iptables-legacy-save"), [""; 0]);
    });
}

#[test]
fn other_peoples_rules_stay_byte_for_byte() {
    in_host(|host| {
        // Nothing is to be counted meanwhile.
        host.run(&["ip", "link", "set", "eth0", "down"]).expect("ip");
        restore("iptables-legacy-restore", FOREIGN);
        for table in ["filter", "mangle", "nat"] {
            // Tables that nobody has asked for yet are made by asking.
            iptables(host, "ip6tables-legacy", &format!("-t {table} -N other"));
        }
        iptables(host, "iptables-legacy", "-t mangle -N other");
        host.run(&["nft", "add table inet theirs"]).expect("nft");
        host.run(&["nft", "add chain inet theirs in { type filter hook input priority 5; }"]).expect("nft");
        host.run(&["nft", "add rule inet theirs in tcp dport 9 counter drop"]).expect("nft");
        let before = save(host, false);
        let rounds: u16 = if std::env::var_os("SMALLTAIL_NIGHTLY").is_some() { 100 } else { 25 };
        for round in 0..rounds {
            let kind = if round % 5 == 4 { Kind::NfTables } else { Kind::Legacy };
            let mut config = firewall(kind);
            config.ports = [1000 + round, 2000 + round];
            (config.snat, config.stateful) = (round % 2 == 0, round % 3 == 0);
            let mut netfilter = Netfilter::default();
            assert_eq!(netfilter.apply(&config), [], "round {round}");
            if kind == Kind::Legacy {
                assert_eq!(save(host, true), before, "round {round}");
                let with = save(host, false);
                assert_eq!(with.matches("-j ts-input").count(), 2);
                assert_eq!(with.matches(&format!("--dport {}", 1000 + round)).count(), 1);
            }
            // Killed: the next one finds all of it.
        }
        assert_ne!(save(host, false), before);
        cleanup_rules().expect("cleanup");
        assert_eq!(save(host, false), before);
    });
}

#[test]
fn what_others_built_on_ours() {
    in_host(|host| {
        host.run(&["ip", "link", "set", "eth0", "down"]).expect("ip");
        let mut netfilter = Netfilter::default();
        assert_eq!(netfilter.apply(&firewall(Kind::Legacy)), []);
        iptables(host, "iptables-legacy", "-N mine");
        iptables(host, "iptables-legacy", "-A mine -j ts-forward");
        // A rule before ours, and ours where somebody wanted it.
        iptables(host, "iptables-legacy", "-I INPUT -p tcp --dport 1 -j DROP");
        let text = save(host, false);
        let mut again = Netfilter::default();
        assert_eq!(again.apply(&firewall(Kind::Legacy)), []);
        assert_eq!(save(host, false), text, "nothing to do");
        assert_eq!(again.close(), []);
        let left = save(host, false);
        assert!(left.contains("-A mine -j ts-forward") && left.contains(":ts-forward - "), "{left}");
        assert!(!left.contains("ts-input") && !left.contains("-A ts-forward"), "{left}");
        iptables(host, "iptables-legacy", "-F mine");
        cleanup_rules().expect("cleanup");
        assert!(!save(host, false).contains("ts-"));
        // Chains without jumps, and back.
        let config = Firewall { mode: Mode::NoDivert, ..firewall(Kind::Legacy) };
        assert_eq!(netfilter.apply(&config), []);
        let ours = own(host, "iptables-legacy-save");
        assert!(ours.len() == 11 && ours.iter().all(|line| line.starts_with("-A ts-")), "{ours:#?}");
        assert_eq!(netfilter.close(), []);
    });
}

/// What Go's node does through the programs, in short.
fn go_rules(host: &Host, program: &str) {
    for words in [
        "-t filter -N ts-input",
        "-t filter -N ts-forward",
        "-t nat -N ts-postrouting",
        "-t filter -I INPUT 1 -j ts-input",
        "-t filter -I FORWARD 1 -j ts-forward",
        "-t nat -I POSTROUTING 1 -j ts-postrouting",
        "-t filter -A ts-input -i lo -s 100.64.0.99 -j ACCEPT",
        "-t filter -A ts-forward -i tailscale0 -j MARK --set-mark 0x40000/0xff0000",
        "-t nat -A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE",
    ] {
        iptables(host, program, words);
    }
}

#[test]
fn what_a_go_node_left_is_taken_over() {
    for (program, kind) in [("iptables-legacy", Kind::Legacy), ("iptables-nft", Kind::NfTables)] {
        in_host(|host| {
            go_rules(host, program);
            let mut netfilter = Netfilter::default();
            assert_eq!(netfilter.apply(&firewall(Kind::Auto)), []);
            assert_eq!(netfilter.kind(), Some(kind), "as they do");
            // `iptables-nft` does not show tables with expressions that it does not make itself.
            let save = host.run(&["iptables-legacy-save"]).expect("save");
            let save = save + &host.run(&["nft", "list", "table", "ip", "filter"]).unwrap_or_default();
            let save = save + &host.run(&["nft", "list", "table", "ip", "nat"]).unwrap_or_default();
            let count = |chain: &str| {
                save.matches(&format!("-j {chain}\n")).count()
                    + save.matches(&format!("jump {chain}\n")).count()
            };
            assert_eq!(
                (count("ts-input"), count("ts-forward"), count("ts-postrouting")),
                (1, 1, 1),
                "{save}"
            );
            assert!(!save.contains("100.64.0.99") && save.contains("100.64.0.7"), "{save}");
            assert_eq!(netfilter.close(), []);
            assert_eq!(own(host, &format!("{program}-save")), [""; 0]);
            assert!(!host.run(&["nft", "list", "ruleset"]).expect("nft").contains("ts-"));
        });
    }
}

#[test]
fn nf_tables_alone() {
    in_host(|host| {
        let ruleset = || host.run(&["nft", "list", "ruleset"]).expect("nft");
        let mut netfilter = Netfilter::default();
        assert_eq!(netfilter.apply(&firewall(Kind::Auto)), []);
        assert_eq!(netfilter.kind(), Some(Kind::NfTables), "nobody uses either");
        let text = ruleset();
        for part in [
            "type filter hook input priority filter; policy accept;",
            "type nat hook postrouting priority srcnat; policy accept;",
            "jump ts-input",
            "iifname \"lo\" ip saddr 100.64.0.7 counter packets 0 bytes 0 accept",
            "iifname \"tailscale0\" counter packets 0 bytes 0 accept",
            "udp dport 41641 counter packets 0 bytes 0 accept",
            "iifname != \"tailscale0\" ip saddr 100.115.92.0/23 counter packets 0 bytes 0 return",
            "iifname != \"tailscale0\" ip saddr 100.64.0.0/10 counter packets 0 bytes 0 drop",
            "iifname \"tailscale0\" counter packets 0 bytes 0 meta mark set meta mark & 0xff04ffff | 0x00040000",
            "meta mark & 0x00ff0000 == 0x00040000 counter packets 0 bytes 0 accept",
            "oifname \"tailscale0\" ip saddr 100.64.0.0/10 counter packets 0 bytes 0 drop",
            "oifname \"tailscale0\" counter packets 0 bytes 0 accept",
            "meta mark & 0x00ff0000 == 0x00040000 counter packets 0 bytes 0 masquerade",
            "iifname \"lo\" ip6 saddr fd7a:115c:a1e0::7 counter packets 0 bytes 0 accept",
            "type route hook output priority mangle; policy accept;",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        let handles = || host.run(&["nft", "-a", "list", "ruleset"]).expect("nft");
        let before = handles();
        assert_eq!(netfilter.apply(&firewall(Kind::Auto)), []);
        assert_eq!(handles(), before, "twice");
        // The next run, after a kill, with another port.
        let mut config = firewall(Kind::Auto);
        config.ports = [7, 8];
        let mut next = Netfilter::default();
        assert_eq!(next.apply(&config), []);
        let text = ruleset();
        assert!(text.contains("udp dport 7 ") && !text.contains("41641"), "{text}");
        assert_eq!(text.matches("jump ts-").count(), 6);
        assert_eq!(next.close(), []);
        assert_eq!(ruleset(), "", "tables that we made go with our rules");

        // In tables of others their rules stay, and the tables too.
        host.run(&["nft", "add table ip filter"]).expect("nft");
        let chain = "add chain ip filter INPUT { type filter hook input priority 0; policy drop; }";
        host.run(&["nft", chain]).expect("nft");
        host.run(&["nft", "add rule ip filter INPUT tcp dport 22 counter accept"]).expect("nft");
        let theirs = handles();
        let mut netfilter = Netfilter::default();
        assert_eq!(netfilter.apply(&firewall(Kind::NfTables)), []);
        assert!(ruleset().contains("policy drop"));
        // And what others have put into a table of ours since stays as well.
        host.run(&["nft", "add set ip nat things { type ipv4_addr; }"]).expect("nft");
        assert_eq!(netfilter.close(), []);
        assert!(ruleset().contains("set things"));
        host.run(&["nft", "delete table ip nat"]).expect("nft");
        assert_eq!(handles(), theirs);
    });
}

#[test]
fn a_kernel_that_lacks_one_or_both() {
    in_host(|_| {
        refuse(&[Refused::NfTables]).expect("filter");
        let mut netfilter = Netfilter::default();
        assert_eq!(netfilter.apply(&firewall(Kind::Auto)), []);
        assert_eq!(netfilter.kind(), Some(Kind::Legacy));
        assert_eq!(netfilter.close(), []);
        let told = Netfilter::default().apply(&firewall(Kind::NfTables));
        assert!(
            !told.is_empty() && told.iter().all(|error| matches!(error, Error::Refused { .. })),
            "{told:?}"
        );
        refuse(&[Refused::XTables]).expect("filter");
        let mut netfilter = Netfilter::default();
        assert_eq!(netfilter.apply(&firewall(Kind::Auto)), [Error::NoNetfilter]);
        assert_eq!((netfilter.kind(), netfilter.close()), (None, vec![]));
    });
    in_host(|host| {
        let text = host.inside(|| {
            refuse(&[Refused::XTables]).expect("filter");
            let mut netfilter = Netfilter::default();
            assert_eq!(netfilter.apply(&firewall(Kind::Auto)), []);
            assert_eq!(netfilter.kind(), Some(Kind::NfTables));
            host.run(&["nft", "list", "ruleset"]).expect("nft")
        });
        assert!(text.expect("namespace").contains("ts-input"));
        cleanup_rules().expect("cleanup");
        assert_eq!(host.run(&["nft", "list", "ruleset"]).expect("nft"), "");
    });
}

/// The chains of a ruleset, each with its kind of line and its rules.
fn chains(ruleset: &str) -> Vec<(String, bool, Vec<String>)> {
    let (mut all, mut table) = (Vec::<(String, bool, Vec<String>)>::new(), String::new());
    for line in ruleset.lines().map(str::trim) {
        let words: Vec<&str> = line.split(' ').collect();
        match (words.as_slice(), all.last_mut()) {
            (["table", family, name, "{", ..], _) => table = format!("{family} {name}"),
            (["chain", name, "{", ..], _) => all.push((format!("{table} {name}"), false, Vec::new())),
            (["type", ..], Some((_, hooked, _))) => *hooked = true,
            (["" | "}" | "comment", ..], _) | (_, None) => {}
            (_, Some((.., rules))) => rules.push(line.to_owned()),
        }
    }
    all
}

#[test]
fn nf_tables_without_jumps() {
    in_host(|host| {
        let ruleset = || host.run(&["nft", "-a", "list", "ruleset"]).expect("nft");
        let own = |text: &str| {
            let all = chains(text).into_iter().filter(|(name, ..)| name.contains(" ts-"));
            all.map(|(name, _, rules)| (name, rules)).collect::<Vec<_>>()
        };
        let mut netfilter = Netfilter::default();
        let mut bring = |mode| {
            let config = Firewall { mode, ..firewall(Kind::NfTables) };
            assert_eq!(netfilter.apply(&config), [], "{mode:?}");
        };
        bring(Mode::NoDivert);
        let text = ruleset();
        assert!(!text.contains("jump") && !text.contains("mangle"), "{text}");
        // The kernel's own chains are made as upstream makes them, and nothing of ours is in them.
        let hooked: Vec<_> = chains(&text).into_iter().filter(|(_, hooked, _)| *hooked).collect();
        assert_eq!(hooked.len(), 6, "{text}");
        for (name, _, rules) in &hooked {
            assert!(["INPUT", "FORWARD", "POSTROUTING"].iter().any(|chain| name.ends_with(chain)), "{name}");
            assert_eq!(rules, &[""; 0], "{name}");
        }
        let without = own(&text);
        assert_eq!(without.len(), 6, "{text}");
        assert!(without.iter().all(|(_, rules)| !rules.is_empty()), "{text}");

        // Who runs the firewall jumps there himself; that is his, whatever we are told later.
        for words in ["add chain ip filter mine", "add rule ip filter mine jump ts-input"] {
            host.run(&["nft", words]).expect("nft");
        }
        bring(Mode::NoDivert);
        assert_eq!(own(&ruleset()), without, "twice");
        bring(Mode::On);
        let text = ruleset();
        assert_eq!(text.matches("jump ts-").count(), 7, "six of ours and one of theirs: {text}");
        assert!(text.contains("hook output priority mangle"), "{text}");
        assert_eq!(own(&text), without, "only jumps have come");
        bring(Mode::NoDivert);
        let text = ruleset();
        assert_eq!(text.matches("jump ts-").count(), 1, "theirs alone: {text}");
        assert!(!text.contains("mangle"), "{text}");
        assert_eq!(own(&text), without, "only jumps have gone");
        bring(Mode::Off);
        let text = ruleset();
        let left = [("ip filter mine".to_owned(), 1), ("ip filter ts-input".to_owned(), 0)];
        let mut found: Vec<_> =
            chains(&text).into_iter().map(|(name, _, rules)| (name, rules.len())).collect();
        found.sort();
        assert_eq!(found, left, "what theirs needs stays, and is empty: {text}");
        for words in ["flush chain ip filter mine", "delete chain ip filter mine"] {
            host.run(&["nft", words]).expect("nft");
        }

        // Straight from one to the other, and by another run after a kill.
        bring(Mode::NoDivert);
        bring(Mode::Off);
        assert_eq!(ruleset(), "");
        bring(Mode::NoDivert);
        let mut next = Netfilter::default();
        assert_eq!(next.apply(&Firewall { mode: Mode::NoDivert, ..firewall(Kind::NfTables) }), []);
        assert_eq!(next.close(), []);
        assert_eq!(ruleset(), "");
    });
}
