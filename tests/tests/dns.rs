//! Names: the same questions to our node and to a Go node beside it, a LAN that asks ours, and the machine's resolv.conf.

use anyhow::{Context, Result, ensure};
use blackbox::names::{self, PeerApi, Question, by_tcp, by_udp, query, with_edns};
use blackbox::{odd, scenario};
use lab::{Flavour, Headscale, Host, Lab, Need, Node, Process};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Go, Need::Ours, Need::Unbound];

/// Where the tailnet's names are answered.
const QUAD100: &str = "100.100.100.100:53";

/// Kinds of records: A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, SRV, HTTPS, everything, one that nobody knows.
const KINDS: [u16; 13] = [1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 65, 255, 65280];

/// A name server that knows three zones: one by split DNS, one for everything else, one with an answer that no datagram
/// takes.
fn name_server(lab: &Lab) -> Result<(Host, Process)> {
    let host = lab.host("names")?;
    let large: String = (0..12)
        .map(|n| format!("  local-data: 'big.split.lab. 60 IN TXT \"{n:03}{}\"'\n", "x".repeat(150)))
        .collect();
    let text = format!(
        "server:
  interface: 0.0.0.0
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  chroot: \"\"
  username: \"\"
  directory: \"{dir}\"
  pidfile: \"\"
  use-syslog: no
  do-not-query-localhost: no
  module-config: \"iterator\"
  minimal-responses: yes
  rrset-roundrobin: no
  local-zone: split.lab. static
  local-data: 'split.lab. 60 IN SOA ns.split.lab. root.split.lab. 7 3600 600 86400 60'
  local-data: 'www.split.lab. 60 IN A 192.0.2.80'
  local-data: 'www.split.lab. 60 IN AAAA 2001:db8::80'
  local-data: 'mail.split.lab. 60 IN MX 10 www.split.lab.'
  local-data: '_sip._tcp.split.lab. 60 IN SRV 1 2 5060 www.split.lab.'
{large}  local-zone: . static
  local-data: '. 60 IN SOA ns.root. root.root. 9 3600 600 86400 60'
  local-data: 'www.elsewhere.test. 60 IN A 192.0.2.81'
  local-data: 'xn--bcher-kva.test. 60 IN A 192.0.2.82'
  local-data: '1.2.0.192.in-addr.arpa. 60 IN PTR one.elsewhere.test.'
remote-control:
  control-enable: no
",
        dir = host.dir.display()
    );
    let file = host.dir.join("unbound.conf");
    std::fs::write(&file, text)?;
    let mut command = host.command("/usr/sbin/unbound");
    command.args(["-d", "-c"]).arg(&file);
    let mut server = host.spawn(command, "unbound")?;
    let at = SocketAddr::from((host.ipv4, 53));
    lab::until("the name server", Duration::from_secs(10), || {
        server.check()?;
        Ok(by_udp(&host, at, &query("www.split.lab", 1).bytes)?.map(drop))
    })?;
    Ok((host, server))
}

/// A tailnet with MagicDNS, split DNS, a record of its own and a resolver for everything else.
fn control(lab: &Lab, server: &Host) -> Result<Headscale> {
    control_with(lab, server, "")
}

/// The same with more zones of split DNS.
fn control_with(lab: &Lab, server: &Host, split: &str) -> Result<Headscale> {
    let at = server.ipv4;
    lab.headscale_with(&format!(
        "dns:
  magic_dns: true
  base_domain: tail.lab
  override_local_dns: true
  nameservers:
    global: [{at}]
    split:
      split.lab: [{at}]
{split}  search_domains: [elsewhere.test]
  extra_records:
    - name: extra.tail.lab
      type: A
      value: 192.0.2.90
    - name: far.record.test
      type: A
      value: 192.0.2.91
"
    ))
}

/// A joined node with a kernel interface.
fn node(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    let mut node = lab.node(name, flavour)?;
    node.tun = "tailscale0".to_owned();
    node.start()?;
    node.join(headscale)?;
    Ok(node)
}

/// What is asked: names of every sort with every kind, and what no ordinary program sends.
fn questions(v4: &str, v6: &str) -> Vec<Question> {
    let backwards = |v4: &str| v4.split('.').rev().collect::<Vec<_>>().join(".") + ".in-addr.arpa";
    let v6: u128 = v6.parse::<std::net::Ipv6Addr>().map_or(0, u128::from);
    let nibbles: Vec<String> = (0..32).map(|n| format!("{:x}", v6 >> (4 * n) & 0xf)).collect();
    let long = format!("{}.tail.lab", vec!["a".repeat(59); 4].join("."));
    let names = [
        "go.tail.lab",
        "ours.tail.lab",
        "OURS.Tail.Lab",
        "ours",
        "nobody",
        "nobody.tail.lab",
        "sub.ours.tail.lab",
        "tail.lab",
        "extra.tail.lab",
        "far.record.test",
        "near.far.record.test",
        "www.split.lab",
        "split.lab",
        "mail.split.lab",
        "_sip._tcp.split.lab",
        "nobody.split.lab",
        "big.split.lab",
        "www.elsewhere.test",
        "nobody.elsewhere.test",
        "xn--bcher-kva.test",
        "a.onion",
        "magicdns.localhost-tailscale-daemon",
        "10-1-1-1-via-7",
        "10-1-1-1-via-7.tail.lab",
        "lb._dns-sd._udp.0.0.64.100.in-addr.arpa",
        "200.255.64.100.in-addr.arpa",
        "64.100.in-addr.arpa",
        "1.2.0.192.in-addr.arpa",
        "2.2.0.192.in-addr.arpa",
        "100.100.100.100.in-addr.arpa",
        "0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa",
        "",
        "localhost",
        &long,
    ];
    let mut all: Vec<Question> =
        names.iter().flat_map(|name| KINDS.iter().map(move |kind| query(name, *kind))).collect();
    for name in [backwards(v4), nibbles.join(".") + ".ip6.arpa"] {
        all.extend([1, 12, 255].map(|kind| query(&name, kind)));
    }
    // Names of 255 bytes, one more, and in letters of other languages.
    for (zone, last) in [("tail.lab", 52), ("tail.lab", 53), ("split.lab", 51), ("split.lab", 52)] {
        let name = format!("{0}.{0}.{0}.{1}.{zone}", "a".repeat(63), "b".repeat(last));
        all.extend([1, 12, 16].map(|kind| query(&name, kind)));
    }
    for name in ["bücher.tail.lab", "bücher.split.lab", "bücher.elsewhere.test", "中文.tail.lab"] {
        all.extend([1, 12, 16].map(|kind| query(name, kind)));
    }
    for name in ["ours.tail.lab", "www.split.lab", "big.split.lab", "www.elsewhere.test"] {
        for size in [0, 512, 1232, 4096, 65535] {
            all.push(with_edns(query(name, 16), size, 0, &[]));
        }
        // NSID, and an answer with signatures.
        all.push(with_edns(query(name, 1), 1232, 0, &[0, 3, 0, 0]));
        all.push(with_edns(query(name, 1), 1232, 0x8000, &[]));
    }
    // Silence takes long to hear, so it is listened for but twice.
    let (mut answer, mut header) = (query("ours.tail.lab", 1), query("ours.tail.lab", 1));
    answer.bytes[2] |= 0x80;
    header.bytes.truncate(7);
    all.push(Question { about: "as an answer".to_owned(), ..answer });
    all.push(Question { about: "cut in the header".to_owned(), ..header });
    for name in ["ours.tail.lab", "www.split.lab"] {
        let change = |about: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut question = query(name, 1);
            change(&mut question.bytes);
            Question { about: format!("{name} {about}"), ..question }
        };
        all.extend([
            change("without recursion", &|bytes| bytes[2] = 0),
            change("AD and CD", &|bytes| bytes[3] = 0x30),
            change("opcode status", &|bytes| bytes[2] |= 0x10),
            change("opcode notify", &|bytes| bytes[2] |= 0x20),
            change("no question", &|bytes| bytes[5] = 0),
            change("class CHAOS", &|bytes| *bytes.last_mut().unwrap_or(&mut 0) = 3),
            change("cut in the question", &|bytes| bytes.truncate(20)),
            change("a header alone", &|bytes| bytes.truncate(12)),
            change("a name that leads to itself", &|bytes| bytes[12..14].copy_from_slice(&[0xc0, 12])),
            change("a label of 64 bytes", &|bytes| bytes[12] = 64),
            change("a label of an unknown sort", &|bytes| bytes[12] |= 0x80),
            change("a pointer to the header", &|bytes| bytes[12..14].copy_from_slice(&[0xc0, 0])),
            change("a pointer beyond the end", &|bytes| bytes[12..14].copy_from_slice(&[0xff, 0xff])),
            change("two pointers to each other", &|bytes| {
                bytes[12..16].copy_from_slice(&[0xc0, 14, 0xc0, 12]);
            }),
            change("two questions", &|bytes| {
                bytes[5] = 2;
                bytes.extend(bytes[12..].to_vec());
            }),
            change("more behind the question", &|bytes| bytes.extend([7; 9])),
            change("a zero in the name", &|bytes| bytes[13] = 0),
        ]);
    }
    all
}

/// Whether another answer than Go's is what we want: the differences of `docs/dns.md`.
fn is_meant(question: &Question, own: &str) -> bool {
    let about = question.about.as_str();
    let code = own.get(8..9).unwrap_or_default();
    if about.contains("as an answer") || about.contains("cut in the header") {
        // To answer an answer is to begin a conversation without end.
        return own == "silence";
    }
    if about.contains("opcode") {
        return code == "4";
    }
    // Go asks others for the pointers of names of the tailnet, and so tells them the names.
    let Some(name) = about.strip_suffix(" 12") else { return false };
    let zones =
        [".tail.lab", "onion", "record.test", "64.100.in-addr.arpa", "0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa"];
    let ours =
        !name.contains('.') || zones.iter().any(|zone| format!(".{}", name.to_lowercase()).ends_with(zone));
    // What others say is kept for a minute or for hours.
    ours && !own.contains(" 60 ") && !own.contains(" 10800 ")
}

/// Whether we are to refuse a LAN this name: nobody's of ours, nor of a zone with resolvers of its own.
fn is_foreign(question: &Question) -> bool {
    let name = question.about.split(' ').next().unwrap_or_default();
    let kind = question.about.split(' ').nth(1);
    ["", "nobody", "near.far.record.test", "bücher.elsewhere.test", "www.elsewhere.test", "nobody.elsewhere.test", "xn--bcher-kva.test", "localhost"].contains(&name)
        || name.ends_with(".0.192.in-addr.arpa")
        // The name has addresses, and no more.
        || (name == "magicdns.localhost-tailscale-daemon" && !["1", "28"].map(Some).contains(&kind))
        || (name.starts_with("10-1-1-1-via-7") && !name.contains("tail.lab") && !["1", "28", "255"].map(Some).contains(&kind))
        || name.starts_with("lb._dns-sd.") && kind == Some("12")
}

/// What an exit node answers a client, by POST and by GET.
fn asked_by_peer(peer: &mut PeerApi<'_>, question: &Question) -> Result<[String; 2]> {
    Ok([peer.query(&question.bytes, false)?, peer.query(&question.bytes, true)?])
}

#[test]
fn our_node_and_a_go_node_answer_alike() {
    scenario(NEEDS, |lab| {
        let (names, _server) = name_server(lab)?;
        let (odd, _odd_servers, split) = odd::servers(lab)?;
        let headscale = control_with(lab, &names, &split)?;
        let go = node(lab, &headscale, "go", Flavour::Go)?;
        let mut ours = lab.node("ours", Flavour::Ours)?;
        ours.tun = "tailscale0".to_owned();
        ours.arguments.push(format!("--dns-listen={}", ours.host.ipv4));
        ours.start()?;
        ours.join(&headscale)?;
        let (lan, listener) = (lab.host("lan")?, SocketAddr::from((ours.host.ipv4, 53)));
        go.wait_peer(&ours)?;
        ours.wait_peer(&go)?;
        let quad100: SocketAddr = QUAD100.parse()?;
        for node in [&go, &ours] {
            node.host.run(&["ip", "route", "add", "198.18.0.0/24", "via", &odd.ipv4.to_string()])?;
            lab::until("quad-100 to know both", Duration::from_secs(20), || {
                let answer = by_udp(&node.host, quad100, &query("ours.tail.lab", 1).bytes)?;
                Ok(answer.filter(|bytes| bytes.get(7) == Some(&1)).map(drop))
            })?;
        }
        let all = questions(&ours.ipv4()?, &ours.ipv6()?);
        let mut differences = Vec::new();
        let (mut compared, mut by_lan, mut by_peers) = (0, 0, 0);
        let mut to_ours = PeerApi::of(&go, &ours.ipv4()?)?;
        let mut to_go = PeerApi::of(&ours, &go.ipv4()?)?;
        let odd = std::thread::scope(|scope| {
            // They wait, mostly.
            let odd = scope.spawn(|| odd::answers(&go, &ours));
            for question in &all {
                for (how, ask) in [("udp", by_udp as fn(&Host, SocketAddr, &[u8]) -> _), ("tcp", by_tcp)] {
                    let answer = |host: &Host, at| -> Result<String> {
                        let bytes: Option<Vec<u8>> = ask(host, at, &question.bytes)
                            .with_context(|| format!("{} {} by {how}", host.name, question.about))?;
                        Ok(names::text(bytes.as_deref()))
                    };
                    let (theirs, own) = (answer(&go.host, quad100)?, answer(&ours.host, quad100)?);
                    compared += 1;
                    if theirs != own && !is_meant(question, &own) {
                        differences
                            .push(format!("{} by {how}\n  go   {theirs}\n  ours {own}", question.about));
                    }
                    if own == "silence" {
                        continue;
                    }
                    // A LAN is answered the same, or refused.
                    let told = answer(&lan, listener)?;
                    by_lan += 1;
                    let refused = told.get(8..9) == Some("5");
                    let foreign = is_foreign(question);
                    let fine = if foreign { refused } else { told == own };
                    if !fine {
                        differences.push(format!(
                            "{} by {how}, from a LAN\n  node {own}\n  lan  {told}",
                            question.about
                        ));
                    }
                }
                let (theirs, own) =
                    (asked_by_peer(&mut to_go, question)?, asked_by_peer(&mut to_ours, question)?);
                by_peers += 2;
                for ((theirs, own), how) in theirs.iter().zip(&own).zip(["POST", "GET"]) {
                    if theirs != own && !is_meant_for_peers(question, theirs, own) {
                        differences
                            .push(format!("{} by {how}\n  go   {theirs}\n  ours {own}", question.about));
                    }
                }
            }
            odd.join().map_err(|_| anyhow::anyhow!("asking odd servers panicked"))?
        })?;
        let (odd_differences, odd_compared) = odd;
        differences.extend(odd_differences);
        by_peers += by_hand(&mut to_go, &mut to_ours, &mut differences)?;
        blackbox::number("answers compared with Go's", compared);
        blackbox::number("answers about odd name servers compared with Go's", odd_compared);
        blackbox::number("answers to a LAN compared with those to the node", by_lan);
        blackbox::number("answers of exit nodes compared with Go's", by_peers);
        ensure!(
            differences.is_empty(),
            "{} of {compared} answers differ:\n{}",
            differences.len(),
            differences.join("\n")
        );
        command_lines(&go, &ours)
    });
}

/// Whether an exit node of ours may answer differently from Go's: what is no query is passed on to nobody.
fn is_meant_for_peers(question: &Question, _theirs: &str, own: &str) -> bool {
    question.about.contains("opcode") && own.get(8..9) == Some("4")
}

/// What people ask an exit node by hand; how many answers were compared.
fn by_hand(go: &mut PeerApi<'_>, ours: &mut PeerApi<'_>, differences: &mut Vec<String>) -> Result<u32> {
    let targets = [
        "/dns-query?q=www.split.lab",
        "/dns-query?q=www.split.lab.&t=AAAA",
        "/dns-query?q=www.split.lab&t=mx",
        "/dns-query?q=big.split.lab&t=txt",
        "/dns-query?q=mail.split.lab",
        "/dns-query?q=nobody.split.lab",
        "/dns-query?q=xn--bcher-kva.test",
        "/dns-query?q=www.refuses.lab",
        "/dns-query?q=",
        "/dns-query?dns=&q=www.elsewhere.test",
        "/dns-query?dns=%20",
        "/dns-query",
    ];
    for target in targets {
        let shown = |(status, body): (u16, Vec<u8>)| match status {
            200 => format!("200 {}", String::from_utf8_lossy(&body)),
            // Why is said in words of one's own.
            _ => status.to_string(),
        };
        let (theirs, own) = (shown(go.ask("GET", target, &[])?), shown(ours.ask("GET", target, &[])?));
        if theirs != own {
            differences.push(format!("{target}\n  go   {theirs}\n  ours {own}"));
        }
    }
    Ok(targets.len() as u32)
}

/// Both command lines show the same, of either daemon.
fn command_lines(go: &Node, ours: &Node) -> Result<()> {
    for words in [
        &["dns", "query", "--json", "ours"][..],
        &["dns", "query", "--json", "extra.tail.lab", "aaaa"],
        &["dns", "query", "--json", "www.split.lab"],
        &["dns", "query", "--json", "mail.split.lab", "mx"],
        &["dns", "query", "--json", "big.split.lab", "txt"],
        &["dns", "query", "--json", "_sip._tcp.split.lab", "srv"],
        &["dns", "query", "--json", "nobody.tail.lab"],
        &["dns", "query", "www.elsewhere.test"],
        &["dns", "query", "nobody.elsewhere.test"],
        &["dns", "query", "x", "nonsense"],
        &["dns", "query"],
    ] {
        let shown: Vec<String> = [(go, Flavour::Go), (ours, Flavour::Go), (ours, Flavour::Ours)]
            .into_iter()
            .map(|(node, cli)| {
                let outcome = node.tailscale_of(cli, words)?;
                Ok(format!("{} {}", outcome.code(), outcome.stdout))
            })
            .collect::<Result<_>>()?;
        ensure!(shown.iter().all(|text| *text == shown[0]), "{words:?}: {shown:#?}");
    }
    let status = |node: &Node, cli| -> Result<serde_json::Value> {
        let outcome = node.tailscale_of(cli, &["dns", "status", "--json"])?.ok()?;
        Ok(serde_json::from_str(&outcome.stdout)?)
    };
    let own = status(ours, Flavour::Ours)?;
    ensure!(own == status(ours, Flavour::Go)?, "dns status: {own:#}");
    let mut theirs = status(go, Flavour::Go)?;
    theirs["CurrentTailnet"]["SelfDNSName"] = own["CurrentTailnet"]["SelfDNSName"].clone();
    ensure!(own == theirs, "dns status of our node: {own:#}\nof Go's: {theirs:#}");
    Ok(())
}

#[test]
fn a_lan_is_answered_what_is_ours_and_nothing_else() {
    scenario(NEEDS, |lab| {
        let (names, _server) = name_server(lab)?;
        let headscale = control(lab, &names)?;
        let mut ours = lab.node("ours", Flavour::Ours)?;
        let (at, lan) = (SocketAddr::from((ours.host.ipv4, 53)), lab.host("lan")?);
        ours.arguments.push(format!("--dns-listen={}", ours.host.ipv4));
        ours.start()?;
        ours.join(&headscale)?;
        let short = |bytes: Option<Vec<u8>>| {
            // Response code and number of answers.
            bytes.map_or_else(|| "silence".to_owned(), |bytes| format!("{} {}", bytes[3] & 15, bytes[7]))
        };
        lab::until("the listener", Duration::from_secs(10), || {
            let answer = by_udp(&lan, at, &query("ours.tail.lab", 1).bytes)?;
            Ok((short(answer) == "0 1").then_some(()))
        })?;
        for (name, kind, expected) in [
            ("ours.tail.lab", 1, "0 1"),
            ("extra.tail.lab", 1, "0 1"),
            ("far.record.test", 1, "0 1"),
            ("nobody.tail.lab", 1, "3 0"),
            ("www.split.lab", 28, "0 1"),
            ("nobody.split.lab", 1, "3 0"),
            ("www.elsewhere.test", 1, "5 0"),
            ("example.com", 255, "5 0"),
            ("", 2, "5 0"),
        ] {
            let question = query(name, kind).bytes;
            let answers = [by_udp(&lan, at, &question)?, by_tcp(&lan, at, &question)?].map(short);
            ensure!(answers == [expected, expected], "{name} {kind}: {answers:?}, not {expected}");
        }
        // Several questions in one stream, and one that is too long for any.
        ensure!(short(by_tcp(&lan, at, &[0; 4096])?) == "silence", "a query of 4096 bytes is answered");
        // A stranger: the same host under an address of another network.
        lan.run(&["ip", "address", "add", "198.51.100.7/32", "dev", "lo"])?;
        ours.host.run(&["ip", "route", "add", "198.51.100.7/32", "via", &lan.ipv4.to_string()])?;
        let stranger = lan.inside(|| -> Result<bool> {
            let socket = std::net::UdpSocket::bind("198.51.100.7:0")?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            socket.send_to(&query("ours.tail.lab", 1).bytes, at)?;
            Ok(socket.recv(&mut [0; 512]).is_ok())
        })??;
        ensure!(!stranger, "a stranger is answered");
        Ok(())
    });
}

/// The original in every test.
const ORIGINAL: &str = "# by the machine\nnameserver 127.0.0.1\nsearch lan\n";

fn resolv_conf(node: &Node) -> String {
    std::fs::read_to_string(node.host.etc().join("resolv.conf")).unwrap_or_default()
}

fn wait_for(node: &Node, what: &str, holds: impl Fn(&str) -> bool) -> Result<()> {
    lab::until(what, Duration::from_secs(25), || {
        let text = resolv_conf(node);
        if holds(&text) { Ok(Some(())) } else { anyhow::bail!("resolv.conf is {text:?}") }
    })
}

/// Nothing of ours lies about.
fn is_clean(etc: &Path) -> Result<()> {
    for file in std::fs::read_dir(etc)? {
        let name = file?.file_name();
        ensure!(!name.to_string_lossy().contains("tailscale"), "{name:?} is left");
    }
    Ok(())
}

#[test]
fn resolv_conf_is_ours_while_we_run_and_the_machines_otherwise() {
    scenario(NEEDS, |lab| {
        let (names, _server) = name_server(lab)?;
        let headscale = control(lab, &names)?;
        let mut ours = lab.node("ours", Flavour::Ours)?;
        ours.tun = "tailscale0".to_owned();
        let file = ours.host.etc().join("resolv.conf");
        std::fs::write(&file, ORIGINAL)?;
        ours.start()?;
        ensure!(resolv_conf(&ours) == ORIGINAL, "touched before the login");
        ours.join(&headscale)?;
        let is_ours = |text: &str| text.contains("nameserver 100.100.100.100\n");
        wait_for(&ours, "resolv.conf to be ours", is_ours)?;
        ensure!(resolv_conf(&ours).contains("search tail.lab"), "{}", resolv_conf(&ours));

        ours.tailscale(&["set", "--accept-dns=false"])?.ok()?;
        wait_for(&ours, "the original", |text| text == ORIGINAL)?;
        is_clean(ours.host.etc())?;
        ours.tailscale(&["set", "--accept-dns=true"])?.ok()?;
        wait_for(&ours, "resolv.conf to be ours again", is_ours)?;

        // Killed and started again: what the first run has kept is still the original.
        ours.kill();
        ensure!(is_ours(&resolv_conf(&ours)), "a kill changes nothing");
        ours.start()?;
        wait_for(&ours, "resolv.conf to be ours after a kill", is_ours)?;
        ours.tailscale(&["down"])?.ok()?;
        wait_for(&ours, "the original after down", |text| text == ORIGINAL)?;
        ours.tailscale(&["up"])?.ok()?;
        wait_for(&ours, "resolv.conf to be ours after up", is_ours)?;
        ours.stop()?;
        ensure!(resolv_conf(&ours) == ORIGINAL, "after the end: {}", resolv_conf(&ours));
        is_clean(ours.host.etc())?;

        // Killed, and cleaned up after.
        ours.start()?;
        wait_for(&ours, "resolv.conf to be ours once more", is_ours)?;
        ours.kill();
        let mut cleanup = ours.host.command(Flavour::Ours.daemon());
        cleanup.args(["--cleanup", "--tun=tailscale0", "--statedir"]).arg(&ours.state_dir);
        ours.host.outcome(cleanup, Duration::from_secs(20))?.ok()?;
        ensure!(resolv_conf(&ours) == ORIGINAL, "after --cleanup: {}", resolv_conf(&ours));
        is_clean(ours.host.etc())?;

        // Somebody else writes it: ours comes back, and theirs is the original from then on.
        ours.start()?;
        wait_for(&ours, "resolv.conf to be ours before the edit", is_ours)?;
        std::fs::write(&file, "nameserver 192.0.2.1\n")?;
        wait_for(&ours, "resolv.conf to be ours after the edit", is_ours)?;
        ours.stop()?;
        ensure!(resolv_conf(&ours) == "nameserver 192.0.2.1\n", "{}", resolv_conf(&ours));

        // None at all.
        std::fs::remove_file(&file)?;
        ours.start()?;
        wait_for(&ours, "resolv.conf where there was none", is_ours)?;
        ours.stop()?;
        ensure!(!file.exists(), "there was none before: {}", resolv_conf(&ours));

        // Mounted for reading only, alone and with its folder.
        for mount in [
            "mount --bind /etc/resolv.conf /etc/resolv.conf && mount -o remount,bind,ro /etc/resolv.conf",
            "mount -o remount,bind,ro /etc",
        ] {
            std::fs::write(&file, ORIGINAL)?;
            ours.prepare = Some(mount.to_owned());
            ours.start()?;
            lab::until("one line of health", Duration::from_secs(20), || {
                let health = ours.status()?["Health"].clone();
                let lines = health.as_array().cloned().unwrap_or_default();
                let about =
                    lines.iter().filter(|line| line.as_str().is_some_and(|l| l.contains("resolv"))).count();
                let text = resolv_conf(&ours);
                ensure!(about == 1, "behind {mount:?} health is {lines:?}, resolv.conf {text:?}");
                Ok(Some(()))
            })?;
            ensure!(resolv_conf(&ours) == ORIGINAL, "a file that is mounted: {}", resolv_conf(&ours));
            ours.stop()?;
            is_clean(ours.host.etc())?;
        }
        Ok(())
    });
}
