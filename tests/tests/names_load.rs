//! Many queries: what one costs beside Go's, and what ten thousand cost that nobody answers. `cargo xtask test --nightly`.

use anyhow::{Context, Result, ensure};
use blackbox::names::{by_tcp, by_udp, labels, query};
use blackbox::{number, quiet_enough, scenario, shipped};
use lab::load::{Asking, NameServer, dnsperf};
use lab::{Flavour, Headscale, Lab, Need, Node};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

const BOTH: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Ours, Need::Go, Need::Dnsperf];
const OURS: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Ours];

/// Where names are answered.
const QUAD100: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(100, 100, 100, 100));

/// A kind of names, how many times as many queries must be answered, and the share of Go's CPU that one may cost. What is
/// measured is better (`docs/bench.md`); this every machine must show, whatever else it does. Of names of the tailnet who asks is
/// the limit, on the same processors.
const KINDS: [(&str, f64, f64); 2] = [("names of the tailnet", 1.2, 0.4), ("forwarded names", 1.5, 0.5)];

/// Queries at once, and streams with so many queries each before them.
const FLOOD: u16 = 10_000;
const STREAMS: u16 = 8;
const OF_A_STREAM: u16 = 8;

/// What a flood may make the node grow by, in KiB: two hundred and fifty-six queries are waited for, each by UDP and, two
/// seconds later, by a stream.
const GROWTH_KIB: u64 = 1024;

/// How long a query is waited for, and then some.
const ALL_OVER: Duration = Duration::from_secs(11);

fn node(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    let mut node = lab.node(name, flavour)?;
    node.tun = "tailscale0".to_owned();
    node.start()?;
    node.join(headscale)?;
    let own = query("ours.tail.lab", 1).bytes;
    lab::until("quad-100", Duration::from_secs(20), || {
        let answer = by_udp(&node.host, SocketAddr::new(QUAD100, 53), &own)?;
        Ok(answer.filter(|bytes| bytes.get(7) == Some(&1)).map(drop))
    })?;
    Ok(node)
}

#[test]
fn a_query_costs_less_than_gos_and_more_are_answered() {
    scenario(BOTH, |lab| {
        let upstream = lab.host("upstream")?;
        let server = NameServer::quick(&upstream)?;
        let headscale = lab.headscale_with(&server.tailnet())?;
        let mut ours = node(lab, &headscale, "ours", Flavour::Ours)?;
        let mut go = node(lab, &headscale, "go", Flavour::Go)?;
        let forwarded: String = (0..500).map(|n| format!("n{n}.elsewhere.test A\n")).collect();
        for ((kind, rate, cpu), names) in KINDS.into_iter().zip(["ours.tail.lab A\n", forwarded.as_str()]) {
            let file = upstream.dir.join("names");
            std::fs::write(&file, names)?;
            quiet_enough(|| {
                let (own, theirs) = (measure(&mut ours, &file)?, measure(&mut go, &file)?);
                number(kind, format!("{own:.0?} queries/s and µs of CPU for each, Go's {theirs:.0?}"));
                let fine = own[0] >= rate * theirs[0] && own[1] <= cpu * theirs[1];
                Ok((!fine && shipped()?).then(|| format!("{kind}: {own:?} of ours, {theirs:?} of Go's")))
            })?;
        }
        ensure!(server.heard() > 0, "nothing was forwarded");
        Ok(())
    });
}

/// Queries a second, and microseconds of CPU for each.
fn measure(node: &mut Node, names: &Path) -> Result<[f64; 2]> {
    let before = node.daemon()?.cpu()?;
    let asking = Asking { time: Duration::from_secs(2), outstanding: 100, rate: None };
    let asked = dnsperf(&node.host, QUAD100, names, asking)?;
    let spent = node.daemon()?.cpu()?.saturating_sub(before);
    Ok([asked.rate, spent.as_secs_f64() * 1e6 / asked.completed as f64])
}

#[test]
fn a_flood_that_nobody_answers_is_bounded_and_leaves_nothing() {
    scenario(OURS, |lab| {
        let upstream = lab.host("upstream")?;
        let server = NameServer::silent(&upstream)?;
        let headscale = lab.headscale_with(&server.tailnet())?;
        let mut ours = node(lab, &headscale, "ours", Flavour::Ours)?;
        let quad100 = SocketAddr::new(QUAD100, 53);
        let id = ours.daemon()?.id();
        let files = || -> Result<usize> { Ok(std::fs::read_dir(format!("/proc/{id}/fd"))?.count()) };
        // Control reads the TUN from then on, which it does not give back for want of work.
        for _ in 0..200 {
            by_udp(&ours.host, quad100, &query("ours.tail.lab", 1).bytes)?.context("no answer before")?;
        }
        let (open, first) = (files()?, ours.daemon()?.resident_kib()?);
        let mut peaks = Vec::new();
        for _ in 0..2 {
            let heard = server.heard();
            let (streams, sockets) = ours.host.inside(|| flood(quad100))??;
            // Everything that can wait waits, and whoever asks for what we know is answered all the same.
            lab::until("queries that wait", Duration::from_secs(5), || {
                Ok((server.heard() - heard >= 200).then_some(()))
            })?;
            for _ in 0..10 {
                let own = query("ours.tail.lab", 1).bytes;
                let answer = by_udp(&ours.host, quad100, &own)?.context("no answer by UDP")?;
                ensure!(answer.get(7) == Some(&1), "answered {answer:02x?}");
            }
            let own = query("ours.tail.lab", 1).bytes;
            by_tcp(&ours.host, quad100, &own)?.context("no answer by a stream")?;
            // Until streams to the upstream are tried, and until everything is over.
            std::thread::sleep(ALL_OVER);
            drop((streams, sockets));
            ensure!(server.heard() - heard <= 256 + 8, "{} were forwarded", server.heard() - heard);
            lab::until("its files to be closed", Duration::from_secs(5), || {
                let now = files()?;
                ensure!(now <= open, "{now} files are open, {open} before");
                Ok(Some(()))
            })?;
            peaks.push(ours.daemon()?.peak_kib()?);
            by_udp(&ours.host, quad100, &own)?.context("no answer afterwards")?;
        }
        let last = ours.daemon()?.resident_kib()?;
        number(
            "memory before, during and after 10 000 queries at once",
            format!("{first}, {peaks:?}, {last} KiB"),
        );
        let most = first + GROWTH_KIB;
        ensure!(peaks.iter().all(|peak| *peak <= most), "peaks of {peaks:?} KiB, {first} before");
        // A second flood needs no more than the first.
        ensure!(peaks[1] <= peaks[0] + GROWTH_KIB / 8, "peaks of {peaks:?} KiB: it grows");
        Ok(())
    });
}

/// Asks for as many names as there are queries, and reads no answer; what it asked by lives as long as what it gives.
fn flood(to: SocketAddr) -> Result<(Vec<TcpStream>, Vec<UdpSocket>)> {
    let ask = |number: u16| {
        let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&labels(&format!("n{number}.elsewhere.test")));
        bytes.extend_from_slice(&[0, 1, 0, 1]);
        bytes
    };
    let mut streams = Vec::new();
    for stream in 0..STREAMS {
        let mut open = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        for number in 0..OF_A_STREAM {
            let bytes = ask(FLOOD + stream * OF_A_STREAM + number);
            open.write_all(&(bytes.len() as u16).to_be_bytes())?;
            open.write_all(&bytes)?;
        }
        streams.push(open);
    }
    let sockets: Vec<_> = (0..8).map(|_| UdpSocket::bind("0.0.0.0:0")).collect::<Result<_, _>>()?;
    for number in 0..FLOOD {
        let socket = sockets.get(usize::from(number) % sockets.len()).context("a socket")?;
        socket.send_to(&ask(number), to)?;
    }
    Ok((streams, sockets))
}
