//! Leaks past an exit node: a program that never gives up, and what may leave by the plain uplink meanwhile.

use crate::world::{FAR, PORT};
use anyhow::{Context, Result, ensure};
use lab::{Capture, Headscale, Host, Sent};
use rustix::net::{AddressFamily, SocketType, ipproto, socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a node with an exit node may send by its plain uplink: what belongs to the tailnet itself, DNS, and what finds
/// neighbours.
fn belongs(packet: &Sent, headscale: &Headscale, carrier: &Host) -> bool {
    let neighbours = |to: IpAddr| match to {
        IpAddr::V4(to) => to.is_multicast(),
        IpAddr::V6(to) => to.is_multicast() || to.is_unicast_link_local(),
    };
    let is = |host: &Host| packet.to == host.ipv4 || host.ipv6.is_some_and(|six| packet.to == six);
    let kind = packet.bytes.get(40).copied().unwrap_or(0);
    match packet.protocol {
        // Control and relay, STUN, WireGuard and disco; what is asked of name servers and of routers that map ports.
        6 => is(&headscale.host) && packet.ports[1] == 443,
        17 => {
            is(&headscale.host) && packet.ports[1] == 3478
                || is(carrier)
                || matches!(packet.ports[1], 53 | 5351 | 1900)
        }
        // Neighbours of IPv6, and who listens to which of their groups.
        58 => (133..=137).contains(&kind) || kind == 143,
        0 => neighbours(packet.to),
        _ => false,
    }
}

/// An echo request; the kernel fills in the sum of ICMPv6 itself.
fn echo_request(v6: bool, number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let mut bytes = vec![if v6 { 128 } else { 8 }, 0, 0, 0, 0x5e, 0xc7, high, low];
    bytes.extend(b"secret");
    if !v6 {
        let words = bytes.chunks_exact(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])));
        let sum: u32 = words.sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// A program that never gives up: datagrams, echoes and connections to the world by both families, until `stop`. How many
/// rounds it made.
///
/// # Errors
/// When it gets no sockets.
pub fn insist(user: &Host, stop: &AtomicBool) -> Result<u16> {
    user.inside(|| {
        let sockets =
            [UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?, UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?];
        let raw = |family, protocol| {
            socket(family, SocketType::RAW, Some(protocol)).map(UdpSocket::from).context("a raw socket")
        };
        let echoes = [raw(AddressFamily::INET, ipproto::ICMP)?, raw(AddressFamily::INET6, ipproto::ICMPV6)?];
        let mut rounds: u16 = 0;
        while !stop.load(Ordering::Relaxed) {
            for (v6, far) in FAR.into_iter().enumerate() {
                let far: IpAddr = far.parse()?;
                let at = SocketAddr::new(far, PORT + 1);
                let _ = sockets[v6].send_to(b"secret", at);
                let _ = echoes[v6].send_to(&echo_request(v6 == 1, rounds), SocketAddr::new(far, 0));
                let _ = TcpStream::connect_timeout(&at, Duration::from_millis(5));
            }
            rounds = rounds.saturating_add(1);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(rounds)
    })?
}

/// Wants that of each kind of packet of [`insist`] to the world one was captured, by both families.
///
/// # Errors
/// Names the first that was not.
pub fn all_kinds(sent: &[Sent]) -> Result<()> {
    for (far, kinds) in FAR.iter().zip([[17, 6, 1], [17, 6, 58]]) {
        let far: IpAddr = far.parse()?;
        for kind in kinds {
            let seen = sent.iter().any(|packet| packet.to == far && packet.protocol == kind);
            ensure!(seen, "no packet of protocol {kind} to {far} among {}", sent.len());
        }
    }
    Ok(())
}

/// Ends a capture and wants that nothing in it has leaked. How many packets there were.
///
/// # Errors
/// Says what has leaked, or that nothing was seen at all.
pub fn judge(capture: Capture, headscale: &Headscale, carrier: &Host) -> Result<usize> {
    let sent = capture.end();
    let leaked: Vec<_> = sent.iter().filter(|packet| !belongs(packet, headscale, carrier)).collect();
    ensure!(leaked.is_empty(), "{} of {} leaked: {:?}", leaked.len(), sent.len(), leaked.first());
    ensure!(sent.len() > 50, "{} packets: no traffic", sent.len());
    Ok(sent.len())
}
