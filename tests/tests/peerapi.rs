//! Quad-100 from the machine itself, and names through exit nodes: ours for a Go client, Go's for ours.

use anyhow::{Context, Result, ensure};
use blackbox::site::{forwards, legacy_programs};
use blackbox::{EVERYTHING, names, scenario};
use lab::{Capture, Flavour, Headscale, Host, Lab, Node, Sent};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const QUAD100: [&str; 2] = ["100.100.100.100", "fd7a:115c:a1e0::53"];

/// What the world's name server answers to every name.
const ANSWER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The code of an answer and its IPv4 addresses; it must belong to `query`.
fn read(query: &[u8], answer: &[u8]) -> Result<(u8, Vec<Ipv4Addr>)> {
    ensure!(answer.len() >= query.len() && answer[..2] == query[..2], "no answer to this question");
    ensure!(answer[12..query.len()] == query[12..], "another question");
    let mut found = Vec::new();
    let mut at = query.len();
    for _ in 0..u16::from_be_bytes([answer[6], answer[7]]) {
        // The name is a pointer, or written out.
        while answer[at] != 0 && answer[at] & 0xc0 == 0 {
            at += 1 + usize::from(answer[at]);
        }
        at += if answer[at] == 0 { 1 } else { 2 };
        let len = usize::from(u16::from_be_bytes([answer[at + 8], answer[at + 9]]));
        let data = answer.get(at + 10..at + 10 + len).context("an answer cut short")?;
        if let [a, b, c, d] = data {
            found.push(Ipv4Addr::new(*a, *b, *c, *d));
        }
        at += 10 + len;
    }
    Ok((answer[3] & 15, found))
}

/// Asks `server` from `host`.
fn ask(host: &Host, server: SocketAddr, name: &str, tcp: bool) -> Result<(u8, Vec<Ipv4Addr>)> {
    let query = names::query(name, 1).bytes;
    let about = || format!("{name} at {server}, tcp {tcp}");
    let answer = if tcp {
        host.inside(|| by_tcp(server, &query))?.with_context(about)?
    } else {
        names::by_udp_within(host, server, &query, PATIENCE)?.with_context(about)?
    };
    read(&query, &answer)
}

fn by_tcp(server: SocketAddr, query: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Several at once, and in pieces.
    let framed = [&(query.len() as u16).to_be_bytes()[..], query].concat();
    let all = framed.repeat(20);
    let (first, rest) = all.split_at(33);
    stream.write_all(first)?;
    stream.write_all(rest)?;
    let mut answers = Vec::new();
    for _ in 0..20 {
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut answer)?;
        answers.push(answer);
    }
    ensure!(answers.iter().all(|answer| *answer == answers[0]), "not the same answer every time");
    answers.pop().context("no answer")
}

/// A name server that knows every name, and remembers who asked for what.
struct World {
    asked: Arc<Mutex<Vec<(IpAddr, String)>>>,
    ended: Arc<AtomicBool>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl World {
    fn new(host: &Host) -> Result<Self> {
        Self::slow(host, Duration::ZERO)
    }

    /// One that takes so long for each answer, whatever else it is asked meanwhile.
    fn slow(host: &Host, delay: Duration) -> Result<Self> {
        let at = SocketAddr::new(host.ipv4.into(), 53);
        let (udp, tcp) =
            host.inside(|| Ok::<_, std::io::Error>((UdpSocket::bind(at)?, TcpListener::bind(at)?)))??;
        udp.set_read_timeout(Some(Duration::from_millis(100)))?;
        let world = Self { asked: Arc::default(), ended: Arc::default() };
        let (asked, ended) = (world.asked.clone(), world.ended.clone());
        // Nobody may need TCP here: who asks by it is told nothing.
        std::thread::spawn(move || {
            let _tcp = tcp;
            let mut room = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                let Ok((len, from)) = udp.recv_from(&mut room) else { continue };
                let Ok((name, end)) = names::name(&room[..len], 12) else { continue };
                let name = name.trim_end_matches('.').to_owned();
                asked.lock().unwrap_or_else(PoisonError::into_inner).push((from.ip(), name));
                // Kind and class belong to the question.
                let mut answer = room[..end + 4].to_vec();
                answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(ANSWER.octets());
                let Ok(udp) = udp.try_clone() else { continue };
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    let _ = udp.send_to(&answer, from);
                });
            }
        });
        Ok(world)
    }

    /// Who has asked for `name`.
    fn askers(&self, name: &str) -> Vec<IpAddr> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|(_, other)| other == name).map(|(from, _)| *from).collect()
    }
}

/// A joined node with a kernel interface, whose machine asks `server` for names.
fn node(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour, server: &Host) -> Result<Node> {
    node_of(lab, headscale, name, flavour, server, &headscale.auth_key()?)
}

fn node_of(
    lab: &Lab,
    headscale: &Headscale,
    name: &str,
    flavour: Flavour,
    server: &Host,
    key: &str,
) -> Result<Node> {
    let mut node = lab.node(name, flavour)?;
    node.tun = "tailscale0".to_owned();
    legacy_programs(&node.host)?;
    std::fs::write(node.host.etc().join("resolv.conf"), format!("nameserver {}\n", server.ipv4))?;
    node.start()?;
    node.up(headscale, key)?;
    node.wait_running()?;
    Ok(node)
}

fn exit(lab: &Lab, headscale: &Headscale, flavour: Flavour, server: &Host) -> Result<Node> {
    let exit = node(lab, headscale, "exit", flavour, server)?;
    forwards(&exit.host)?;
    exit.tailscale(&["set", "--advertise-exit-node"])?.ok()?;
    headscale.approve_routes("exit", &["0.0.0.0/0", "::/0"])?;
    Ok(exit)
}

/// Asks so much by one socket that answers leave together: each question has its own answer, exactly one.
fn many_at_once(server: SocketAddr, known: Ipv4Addr) -> Result<()> {
    const EACH: u16 = 60;
    let socket = UdpSocket::bind(SocketAddr::new(
        if server.is_ipv6() { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0; 4]) },
        0,
    ))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    for round in 0..3 {
        let mut open = std::collections::BTreeMap::new();
        for number in 0..EACH {
            let (name, wanted) = match number % 3 {
                0 => ("nobody.tail.lab", (3, vec![])),
                _ => ("other.tail.lab", (0, vec![known])),
            };
            let mut query = names::query(name, 1).bytes;
            query[..2].copy_from_slice(&number.to_be_bytes());
            socket.send(&query)?;
            open.insert(number, (query, wanted));
        }
        let mut answer = [0; 1500];
        while !open.is_empty() {
            let len = socket.recv(&mut answer).with_context(|| format!("{} of {EACH} lost", open.len()))?;
            let number = u16::from_be_bytes([answer[0], answer[1]]);
            let (query, wanted) = open.remove(&number).with_context(|| format!("{number} comes twice"))?;
            let found = read(&query, &answer[..len])?;
            ensure!(found == wanted, "round {round}, {number}: {found:?} instead of {wanted:?}");
        }
    }
    Ok(())
}

fn quad100(v6: bool) -> SocketAddr {
    SocketAddr::new(QUAD100[usize::from(v6)].parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), 53)
}

/// Waits until `host` is answered `wanted` at quad-100.
fn until_answered(host: &Host, name: &str, wanted: Ipv4Addr) -> Result<()> {
    let mut last = String::new();
    let found = lab::until("the answer", Duration::from_secs(20), || {
        let answer = ask(host, quad100(false), name, false);
        last = format!("{answer:?}");
        Ok(answer.is_ok_and(|(code, found)| code == 0 && found == [wanted]).then_some(()))
    });
    found.with_context(|| format!("{name} at quad-100 of {}: {last}", host.name))
}

#[test]
fn the_machine_asks_quad100_in_every_way() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let world_host = lab.host("world")?;
        let world = World::new(&world_host)?;
        let ours = node(lab, &headscale, "ours", Flavour::Ours, &world_host)?;
        let other = node(lab, &headscale, "other", Flavour::Go, &world_host)?;
        ours.wait_peer(&other)?;
        let there: Ipv4Addr = other.ipv4()?.parse()?;
        until_answered(&ours.host, "other.tail.lab", there)?;
        for v6 in [false, true] {
            for tcp in [false, true] {
                let known = ask(&ours.host, quad100(v6), "other.tail.lab", tcp)?;
                ensure!(known == (0, vec![there]), "v6 {v6}, tcp {tcp}: {known:?}");
                let unknown = ask(&ours.host, quad100(v6), "nobody.tail.lab", tcp)?;
                ensure!(unknown == (3, vec![]), "v6 {v6}, tcp {tcp}: {unknown:?}");
                let forwarded = ask(&ours.host, quad100(v6), "www.example.org", tcp);
                // The world does not answer by TCP, which is how a question that came by TCP is forwarded.
                if !tcp {
                    ensure!(forwarded? == (0, vec![ANSWER]), "v6 {v6}");
                }
            }
            ours.host.inside(|| many_at_once(quad100(v6), there))??;
            ours.host.run(&["ping", "-c", "2", "-W", "2", "-s", "1000", QUAD100[usize::from(v6)]])?;
            let refused = ours.host.inside(|| {
                TcpStream::connect_timeout(&SocketAddr::new(quad100(v6).ip(), 80), PATIENCE).map(drop)
            })?;
            let kind = refused.map_err(|error| error.kind());
            ensure!(kind == Err(std::io::ErrorKind::ConnectionRefused), "port 80: {kind:?}");
        }
        ensure!(world.askers("other.tail.lab").is_empty(), "a name of the tailnet has left the machine");
        // The machine's own programs ask us, too.
        let conf = std::fs::read_to_string(ours.host.etc().join("resolv.conf"))?;
        ensure!(conf.contains("nameserver 100.100.100.100"), "{conf}");
        let route = ours.host.run(&["ip", "route", "get", QUAD100[0]])?;
        ensure!(route.contains("tailscale0"), "{route}");

        // Peers of either kind find our PeerAPI, and we theirs.
        for (from, to) in [(&ours, &other), (&other, &ours)] {
            let address = to.ipv4()?;
            lab::until("the PeerAPI to answer", Duration::from_secs(20), || {
                let ping = from.tailscale(&["ping", "--peerapi", "-c", "1", &address])?;
                Ok((ping.code() == 0 && ping.stdout.contains("hit peerapi")).then_some(()))
            })?;
        }
        // Nobody else does: neither from the machine's network nor without being asked by name.
        let url = other.tailscale(&["status", "--json"])?.ok()?.stdout;
        let status: serde_json::Value = serde_json::from_str(&url)?;
        let peers = status["Peer"].as_object().context("no peers")?;
        let urls = peers.values().next().context("no peer")?["PeerAPIURL"].clone();
        let url = urls[0].as_str().context("no PeerAPI")?.trim_start_matches("http://").to_owned();
        let at: SocketAddr = url.parse()?;
        let says = |request: String| -> Result<String> {
            other.host.inside(|| {
                let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(request.as_bytes())?;
                let mut text = String::new();
                stream.read_to_string(&mut text)?;
                Ok(text)
            })?
        };
        let get = |path: &str, more: &str| {
            says(format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{more}\r\n"))
        };
        ensure!(get("/", "")?.starts_with("HTTP/1.1 200"), "{}", get("/", "")?);
        for (path, more, status) in [
            ("/", "Origin: http://x\r\n", "403"),
            ("/", "Referer: http://x\r\n", "403"),
            ("/v0/put/x", "", "404"),
            ("/dns-query?dns=AAAB", "", "200"),
            ("/dns-query", "", "400"),
        ] {
            let text = get(path, more)?;
            // The same user's nodes may ask; three bytes are no question, which is an error of its own.
            let wanted = if path.contains("dns=") { "500" } else { status };
            ensure!(text.starts_with(&format!("HTTP/1.1 {wanted}")), "{path} {more}: {text}");
        }
        let rebound =
            says("GET / HTTP/1.1\r\nHost: evil.example:80\r\nConnection: close\r\n\r\n".to_owned())?;
        ensure!(rebound.starts_with("HTTP/1.1 403"), "{rebound}");
        world_host.run(&["ip", "route", "add", "100.64.0.0/10", "via", &ours.host.ipv4.to_string()])?;
        let stranger =
            world_host.inside(|| TcpStream::connect_timeout(&at, Duration::from_secs(1)).map(drop))?;
        ensure!(stranger.is_err(), "a machine outside the tailnet has reached the PeerAPI");
        Ok(())
    });
}

/// What was sent to any name server outside the tunnel.
fn questions(capture: Capture) -> Vec<Sent> {
    capture.end().into_iter().filter(|packet| packet.ports[1] == 53).collect()
}

fn names_through(lab: &Lab, by: Flavour, of: Flavour) -> Result<()> {
    let headscale = lab.headscale()?;
    let world_host = lab.host("world")?;
    let world = World::new(&world_host)?;
    let carrier = exit(lab, &headscale, by, &world_host)?;
    // Of somebody else: who may use the exit node may ask it, whosever it is.
    let key = headscale.key_of(headscale.add_user("guest")?)?;
    let user = node_of(lab, &headscale, "user", of, &world_host, &key)?;
    user.wait_peer(&carrier)?;
    let capture = Capture::new(&user.host)?;
    until_answered(&user.host, "before.example.org", ANSWER)?;
    ensure!(!questions(capture).is_empty(), "the capture does not see what leaves the machine");
    let near = IpAddr::V4(user.host.ipv4);
    ensure!(world.askers("before.example.org").contains(&near), "the machine's own way is used first");

    user.tailscale(&["set", &format!("--exit-node={}", carrier.ipv4()?)])?.ok()?;
    // What was asked before may be asked once more for a moment.
    std::thread::sleep(Duration::from_millis(500));
    let capture = Capture::new(&user.host)?;
    let carried = IpAddr::V4(carrier.host.ipv4);
    for n in 0..5 {
        let name = format!("after{n}.example.org");
        until_answered(&user.host, &name, ANSWER)?;
        let askers = world.askers(&name);
        ensure!(!askers.is_empty() && askers.iter().all(|from| *from == carried), "{name}: {askers:?}");
    }
    // Names of the tailnet are still the node's own.
    let there: Ipv4Addr = carrier.ipv4()?.parse()?;
    until_answered(&user.host, "exit.tail.lab", there)?;
    let health = user.status()?["Health"].clone();
    ensure!(of == Flavour::Go || health.as_array().is_none_or(Vec::is_empty), "the user complains: {health}");
    let sent = questions(capture);
    ensure!(sent.is_empty(), "questions left the machine outside the tunnel: {sent:?}");
    user.tailscale(&["set", "--exit-node="])?.ok()?;
    lab::until("the machine's own way again", Duration::from_secs(20), || {
        let answer = ask(&user.host, quad100(false), "again.example.org", false);
        Ok((answer.is_ok() && world.askers("again.example.org").contains(&near)).then_some(()))
    })
}

/// A page of a browser, or a LAN behind the user: all of it is asked before the first answer has come.
#[test]
fn many_names_at_once_through_ours() {
    const MANY: u16 = 40;
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let world_host = lab.host("world")?;
        let _world = World::slow(&world_host, Duration::from_millis(300))?;
        let carrier = exit(lab, &headscale, Flavour::Ours, &world_host)?;
        let user = node(lab, &headscale, "user", Flavour::Ours, &world_host)?;
        user.wait_peer(&carrier)?;
        user.tailscale(&["set", &format!("--exit-node={}", carrier.ipv4()?)])?.ok()?;
        until_answered(&user.host, "before.example.org", ANSWER)?;
        user.host.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(quad100(false))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let mut open = std::collections::BTreeMap::new();
            for number in 0..MANY {
                let mut query = names::query(&format!("page{number}.example.org"), 1).bytes;
                query[..2].copy_from_slice(&number.to_be_bytes());
                socket.send(&query)?;
                open.insert(number, query);
            }
            let (mut answer, mut failed) = ([0; 1500], Vec::new());
            while !open.is_empty() {
                let len = socket.recv(&mut answer).with_context(|| format!("{} lost", open.len()))?;
                let number = u16::from_be_bytes([answer[0], answer[1]]);
                let query = open.remove(&number).with_context(|| format!("{number} comes twice"))?;
                let found = read(&query, &answer[..len])?;
                if found != (0, vec![ANSWER]) {
                    failed.push((number, found.0));
                }
            }
            ensure!(failed.is_empty(), "{} of {MANY} failed: {failed:?}", failed.len());
            Ok(())
        })?
    });
}

#[test]
fn a_go_client_asks_for_names_through_ours() {
    scenario(EVERYTHING, |lab| names_through(lab, Flavour::Ours, Flavour::Go));
}

#[test]
fn ours_asks_for_names_through_a_go_exit_node() {
    scenario(EVERYTHING, |lab| names_through(lab, Flavour::Go, Flavour::Ours));
}
