//! What a router in front of a node may say: port mapping answers that are wrong, endless, slow or ten megabytes long. The
//! node goes on, and needs no more memory than before. What strangers send to its port: `direct.rs`.

use anyhow::{Context, Result, ensure};
use blackbox::roaming::open;
use blackbox::traffic::echo;
use blackbox::{EVERYTHING, count, number, scenario};
use lab::{Flavour, Host, Nat};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// How much more memory the node may need.
const MORE_KIB: u64 = 512;

/// How long a round of questions may take: three probes, and what is asked of what they find.
const ROUND: Duration = Duration::from_secs(8);

/// Counts of what was asked and sent.
#[derive(Default)]
struct Seen {
    end: AtomicBool,
    searches: AtomicU32,
    pages: AtomicU32,
    datagrams: AtomicU32,
    kib: AtomicU32,
}

/// Answers a search for UPnP with where it is described.
fn ssdp(socket: &UdpSocket, router: &str, seen: &Seen) {
    let mut room = [0; 2000];
    while !seen.end.load(Ordering::SeqCst) {
        let Ok((_, from)) = socket.recv_from(&mut room) else { continue };
        seen.searches.fetch_add(1, Ordering::SeqCst);
        let what = "urn:schemas-upnp-org:device:InternetGatewayDevice:1";
        let long = "x".repeat(1200);
        for answer in [
            "\u{fffd}".repeat(300),
            format!("HTTP/1.1 200 OK\r\nST: {what}\r\nLOCATION: http://{router}:5000/{long}\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\nST: {what}\r\nLOCATION: http://203.0.113.1:5000/\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\nST: {what}\r\nLOCATION: http://{router}:5000/root.xml\r\n\r\n"),
        ] {
            let _ = socket.send_to(answer.as_bytes(), from);
        }
    }
}

/// Answers NAT-PMP and PCP with what is no answer.
fn pmp(socket: &UdpSocket, seen: &Seen) {
    let mut room = [0; 2000];
    while !seen.end.load(Ordering::SeqCst) {
        let Ok((len, from)) = socket.recv_from(&mut room) else { continue };
        seen.datagrams.fetch_add(1, Ordering::SeqCst);
        for length in [0, 1, 2, 3, 7, 11, 15, 23, 59, 61, 1100, 1400] {
            for head in [[0, 128], [0, 129], [0, 255], [2, 128], [2, 129], [2, 0], [255, 255]] {
                let mut answer = vec![0xff; length];
                answer.iter_mut().zip(head).for_each(|(place, byte)| *place = byte);
                let _ = socket.send_to(&answer, from);
            }
        }
        // As the question was, with an answer's bit; and one that grants nothing.
        if let Some(kind) = room.get_mut(1) {
            *kind |= 0x80;
        }
        let _ = socket.send_to(room.get(..len).unwrap_or_default(), from);
        let _ = socket.send_to(&[0; 16], from);
    }
}

/// Answers one request for a description in one of its ways.
fn page(mut stream: TcpStream, way: u32, seen: &Seen) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let _ = stream.read(&mut [0; 2000]);
    let block = "<service><serviceType>x</serviceType>".repeat(1000);
    let mut say = |bytes: &[u8]| {
        seen.kib.fetch_add((bytes.len() / 1024) as u32, Ordering::SeqCst);
        stream.write_all(bytes)
    };
    let ends = || seen.end.load(Ordering::SeqCst);
    match way % 5 {
        0 => {
            say(b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n<?xml version=\"1.0\"?><root>")?;
            (0..=(10 << 20) / block.len()).try_for_each(|_| say(block.as_bytes()))
        }
        1 => {
            say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            while !ends() {
                say(format!("{:x}\r\n{block}\r\n", block.len()).as_bytes())?;
            }
            Ok(())
        }
        2 => {
            say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
            while !ends() {
                say(b"<")?;
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        }
        3 => {
            say(b"HTTP/1.1 200 OK\r\n")?;
            while !ends() {
                say(format!("X-Long: {block}\r\n").as_bytes())?;
            }
            Ok(())
        }
        _ => say(&[0xfe; 3000]),
    }
}

/// What the router runs; threads that end with `seen.end`.
fn serve(router: &Host, inside: &str, seen: &Arc<Seen>) -> Result<Vec<std::thread::JoinHandle<()>>> {
    let (search, map, web) = router.inside(|| -> Result<_> {
        let search = UdpSocket::bind("0.0.0.0:1900")?;
        search.join_multicast_v4(&"239.255.255.250".parse()?, &inside.parse()?)?;
        Ok((search, UdpSocket::bind("0.0.0.0:5351")?, TcpListener::bind("0.0.0.0:5000")?))
    })??;
    for socket in [&search, &map] {
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    }
    web.set_nonblocking(true)?;
    let (a, b, c, address) = (Arc::clone(seen), Arc::clone(seen), Arc::clone(seen), inside.to_owned());
    Ok(vec![
        std::thread::spawn(move || ssdp(&search, &address, &a)),
        std::thread::spawn(move || pmp(&map, &b)),
        std::thread::spawn(move || {
            while !c.end.load(Ordering::SeqCst) {
                if let Ok((stream, _)) = web.accept() {
                    let (way, seen) = (c.pages.fetch_add(1, Ordering::SeqCst), Arc::clone(&c));
                    let _ = stream.set_nonblocking(false);
                    std::thread::spawn(move || page(stream, way, &seen));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }),
    ])
}

#[test]
fn a_router_that_answers_anything_costs_neither_path_nor_memory() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let router = lab.router("router", Nat::Hard)?;
        let host = router.host("inside")?;
        let ways = host.run(&["ip", "-4", "route", "show", "default"])?;
        let gateway = ways.split_whitespace().nth(2).context("no gateway")?.to_owned();
        let seen = Arc::new(Seen::default());
        let mut node = open(lab, &headscale, host, Flavour::Ours)?;
        let other = open(lab, &headscale, lab.host("other")?, Flavour::Go)?;
        node.wait_peer(&other)?;
        let address = other.ipv4()?.parse()?;
        echo(&node.host, address, Duration::from_secs(20))?;
        let serving = serve(&router.wan, &gateway, &seen)?;
        let (before, first_peak) = (node.daemon()?.resident_kib()?, node.daemon()?.peak_kib()?);
        let rounds = count(2, 10);
        for n in 0..rounds {
            // Another address is a reason to ask anew.
            node.host.run(&["ip", "address", "add", &format!("198.18.{n}.1/32"), "dev", "eth0"])?;
            std::thread::sleep(ROUND);
            node.tailscale(&["status"])?.ok()?;
        }
        let after = node.daemon()?.resident_kib()?;
        let peak = node.daemon()?.peak_kib()?;
        seen.end.store(true, Ordering::SeqCst);
        let threads = serving.into_iter().map(std::thread::JoinHandle::join);
        ensure!(threads.into_iter().all(|ended| ended.is_ok()), "a thread of the router panicked");
        let [searches, pages, datagrams, kib] = [&seen.searches, &seen.pages, &seen.datagrams, &seen.kib]
            .map(|count| count.load(Ordering::SeqCst));
        number(
            "a hostile router",
            format!(
                "{searches} searches, {pages} pages ({kib} KiB taken), {datagrams} questions by NAT-PMP and PCP; \
                 {before} -> {after} KiB, peak {peak}"
            ),
        );
        ensure!(searches > 0 && pages > 0 && datagrams > 0, "the router was not asked");
        ensure!(after <= before + MORE_KIB, "{before} KiB have become {after}");
        ensure!(peak <= first_peak + MORE_KIB, "once it took {peak} KiB; until then at most {first_peak}");
        echo(&node.host, address, Duration::from_secs(20))
    });
}
