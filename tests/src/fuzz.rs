//! A node whose name server, LAN, own programs and exit-node client all say anything: it lives, answers, and does not grow.

use crate::direct::Control;
use crate::names::{PeerApi, by_udp, query};
use crate::{number, upstreams};
use anyhow::{Context, Result, ensure};
use lab::{Flavour, Host, Lab};
use mutate::{Dice, mutate};
use serde_json::json;
use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[path = "../../crates/dns/tests/common/mutate.rs"]
mod mutate;

/// Between two of one sender: nobody is to be flooded.
const PAUSE: Duration = Duration::from_millis(3);

/// As long as a forwarded question can take.
const LAST: Duration = Duration::from_secs(12);

/// What memory may grow by, in KiB: what the allocator keeps of a moment with many questions.
const MOST_GROWTH: u64 = 1024;

/// What has to pass each way, or the way was closed.
const FEWEST: u32 = 100;

/// Questions as they should be.
fn questions() -> Vec<Vec<u8>> {
    let names =
        ["ours.tail-test.ts.net", "ours", "www.example.org", "1.0.64.100.in-addr.arpa", "a.split.lab"];
    names.iter().flat_map(|name| [1, 12, 16, 28, 255].map(|kind| query(name, kind).bytes)).collect()
}

/// One of the questions, as it is or changed.
fn next(dice: &mut Dice, questions: &[Vec<u8>]) -> Vec<u8> {
    let (one, two) = (dice.below(questions.len()), dice.below(questions.len()));
    match dice.below(4) {
        0 => questions[one].clone(),
        _ => mutate(dice, &questions[one], &questions[two]),
    }
}

/// Answers with anything changed, until `ended`; how many.
fn name_server(socket: &UdpSocket, ended: &AtomicBool) -> u32 {
    let (mut dice, mut room, mut count) = (Dice(0x5eed), [0; 4096], 0);
    while !ended.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut room) else { continue };
        let query = &room[..length];
        let answer = upstreams::answer(query, upstreams::TRUTH, dice.below(3000)).unwrap_or_default();
        for _ in 0..dice.below(4) {
            let _ = socket.send_to(&mutate(&mut dice, &answer, query), from);
            count += 1;
        }
        let _ = socket.send_to(&answer, from);
    }
    count
}

/// Asks by datagrams and hears what comes back.
fn by_datagrams(from: &Host, to: SocketAddr, seed: u32, ended: &AtomicBool) -> Result<u32> {
    let socket = from.inside(|| UdpSocket::bind("0.0.0.0:0"))??;
    socket.set_nonblocking(true)?;
    let (mut dice, questions, mut count) = (Dice(seed), questions(), 0);
    while !ended.load(Ordering::Relaxed) {
        let _ = socket.send_to(&next(&mut dice, &questions), to);
        count += 1;
        while socket.recv(&mut [0; 4096]).is_ok() {}
        std::thread::sleep(PAUSE);
    }
    Ok(count)
}

/// Asks by streams, a few questions each, some of them cut.
fn by_streams(from: &Host, to: SocketAddr, seed: u32, ended: &AtomicBool) -> Result<u32> {
    let (mut dice, questions, mut count) = (Dice(seed), questions(), 0);
    while !ended.load(Ordering::Relaxed) {
        let connecting = || TcpStream::connect_timeout(&to, Duration::from_secs(2));
        let Ok(mut stream) = from.inside(connecting)? else {
            std::thread::sleep(PAUSE);
            continue;
        };
        for _ in 0..dice.below(5) {
            let question = next(&mut dice, &questions);
            let mut framed = (question.len() as u16).to_be_bytes().to_vec();
            framed.extend(&question);
            if dice.below(5) == 0 {
                framed = mutate(&mut dice, &framed, &question);
            }
            if stream.write_all(&framed).is_err() {
                break;
            }
            count += 1;
            std::thread::sleep(PAUSE);
        }
    }
    Ok(count)
}

/// Asks the PeerAPI, by POST and GET; how often it answered.
fn by_peer(peer: &mut PeerApi<'_>, seed: u32, ended: &AtomicBool) -> u32 {
    let (mut dice, questions, mut count) = (Dice(seed), questions(), 0);
    while !ended.load(Ordering::Relaxed) {
        let question = next(&mut dice, &questions);
        let answered = match dice.below(4) {
            0 => peer.query(&question, true).is_ok(),
            1 => {
                let text: String = question.iter().take(40).map(|byte| format!("%{byte:02x}")).collect();
                peer.ask("GET", &format!("/dns-query?q={text}&t=txt"), &[]).is_ok()
            }
            _ => peer.query(&question, false).is_ok(),
        };
        count += u32::from(answered);
        std::thread::sleep(PAUSE);
    }
    count
}

/// Waits until the node knows its own name.
fn answers(host: &Host, quad100: SocketAddr) -> Result<()> {
    lab::until("an answer", Duration::from_secs(30), || {
        let answer = by_udp(host, quad100, &query("ours.tail-test.ts.net", 1).bytes)?;
        Ok(answer.filter(|bytes| bytes.get(7) == Some(&1)).map(drop))
    })
}

/// All of it for `time`.
///
/// # Errors
/// When the node ends, panics, does not answer any more, or grows.
pub fn names(lab: &Lab, time: Duration) -> Result<()> {
    let control = Control::start(lab)?;
    let (host, lan) = (lab.host("names")?, lab.host("lan")?);
    let socket = host.inside(|| UdpSocket::bind((host.ipv4, 53)))??;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut ours = lab.node("ours", Flavour::Ours)?;
    ours.tun = "tailscale0".to_owned();
    ours.arguments.push(format!("--dns-listen={}", ours.host.ipv4));
    ours.start()?;
    control.join(&ours)?;
    let client = control.node(lab, "client", Flavour::Ours, &[])?;
    client.wait_peer(&ours)?;
    let resolver = json!([{"Addr": host.ipv4.to_string()}]);
    let dns = json!({"DNSConfig": {"Proxied": true, "Domains": ["tail-test.ts.net"], "Resolvers": resolver,
        "Routes": {"split.lab": resolver}}});
    ensure!(control.server.send_map(&control.view(&ours)?.key, dns), "no stream");
    let quad100 = SocketAddr::from(([100, 100, 100, 100], 53));
    let listener = SocketAddr::from((ours.host.ipv4, 53));
    answers(&ours.host, quad100)?;
    let mut peer = PeerApi::of(&client, &ours.ipv4()?)?;
    lab::until("the PeerAPI", Duration::from_secs(30), || Ok(peer.ask("GET", "/", &[]).ok().map(drop)))?;
    let (pid, ended, mut sent) = (ours.daemon()?.id(), AtomicBool::new(false), 0);
    let resident = || -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).context("the daemon has ended")?;
        Ok(text.split(' ').nth(1).context("no statm")?.parse::<u64>()? * 4)
    };
    let (before, after) = std::thread::scope(|scope| -> Result<(u64, u64)> {
        let mut ways = vec![("the name server", scope.spawn(|| Ok(name_server(&socket, &ended))))];
        for (n, (from, to)) in [(&ours.host, quad100), (&lan, listener)].into_iter().enumerate() {
            let (ended, seed) = (&ended, 1 + n as u32);
            ways.push(("datagrams", scope.spawn(move || by_datagrams(from, to, seed, ended))));
            ways.push(("streams", scope.spawn(move || by_streams(from, to, seed + 10, ended))));
        }
        let (ended_here, peer) = (&ended, &mut peer);
        ways.push(("the PeerAPI", scope.spawn(move || Ok(by_peer(peer, 21, ended_here)))));
        std::thread::sleep(time / 5);
        let before = resident();
        std::thread::sleep(time - time / 5);
        ended.store(true, Ordering::Relaxed);
        for (way, sender) in ways {
            let count = sender.join().map_err(|_| anyhow::anyhow!("{way}: the sender panicked"))??;
            ensure!(count >= FEWEST, "by {way} only {count} messages passed");
            sent += count;
        }
        // The last questions end.
        std::thread::sleep(LAST);
        Ok((before?, resident()?))
    })?;
    answers(&ours.host, quad100)?;
    number(
        &format!("names under fire for {} s", time.as_secs()),
        format!("{sent} messages, {before} KiB after a fifth of it and {after} KiB at the end"),
    );
    let log = ours.daemon()?.log_text();
    ensure!(!log.contains("panicked"), "{log}");
    ensure!(after <= before + MOST_GROWTH, "grown from {before} to {after} KiB with {sent} messages");
    Ok(())
}
