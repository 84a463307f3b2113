//! No key ever seals twice with one counter, whatever is published or swapped while packets flow: both lines turn on
//! threads of their own while ten thousand snapshots and a thousand sessions pass by.

use engine::filter::Filter;
use engine::lines::{self, Control, Limits, Path, PeerFacts, Snapshot};
use engine::routes::RoutesBuilder;
use engine::session::SessionKeys;
use engine::slot::PeerSlot;
use engine::time::Tick;
use engine::wireguard::Source;
use keys::NodePublic;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const PEERS: u32 = 3;
const SNAPSHOTS: u32 = 10_000;
/// A new session for some peer every so many snapshots.
const SWAP_EVERY: u32 = 10;
const NOW: Tick = Tick(5_000);

fn addr(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x6440_0000 + n)
}

fn slot(n: u32) -> PeerSlot {
    PeerSlot::new(n, 0)
}

fn key(n: u32) -> [u8; 32] {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&n.to_le_bytes());
    key
}

fn facts(n: u32) -> PeerFacts {
    let path = Path::Derp { region: 1 };
    PeerFacts { key: NodePublic::from_bytes(key(n)), path, ..PeerFacts::default() }
}

/// Session `n`, named after itself on the wire, so that a datagram tells its key.
fn session(n: u32) -> SessionKeys {
    SessionKeys {
        peer: slot(n % PEERS),
        local: 0x5000_0000 | n,
        remote: n,
        send: key(n),
        recv: key(!n),
        born: NOW,
        initiator: n.is_multiple_of(2),
    }
}

fn snapshot(round: u32) -> Snapshot {
    let mut routes = RoutesBuilder::new();
    for n in 0..PEERS {
        // Another order each time: the tables differ, the answers do not.
        let n = (n + round) % PEERS;
        routes.add(IpAddr::V4(addr(n)).into(), slot(n));
    }
    Snapshot {
        routes: Arc::new(routes.build()),
        filter: Arc::new(Filter::deny_all()),
        own: [IpAddr::V4(addr(99))].into(),
        key: NodePublic::ZERO,
        tun: false,
        running: true,
    }
}

fn packet(to: u32) -> [u8; 28] {
    let mut packet = [0; 28];
    (packet[0], packet[3], packet[9], packet[20]) = (0x45, 28, 1, 8);
    packet[12..16].copy_from_slice(&addr(99).octets());
    packet[16..20].copy_from_slice(&addr(to).octets());
    packet
}

#[derive(Default)]
struct Seen {
    /// Session and counter of every datagram.
    pairs: BTreeSet<(u32, u64)>,
    /// Datagrams by session.
    counts: BTreeMap<u32, u64>,
}

impl Seen {
    fn drain(&mut self, control: &mut Control) {
        while let Some((_, _, datagram)) = control.next_derp() {
            let name = u32::from_le_bytes(datagram[4..8].try_into().expect("index"));
            let counter = u64::from_le_bytes(datagram[8..16].try_into().expect("counter"));
            assert!(self.pairs.insert((name, counter)), "session {name} used counter {counter} twice");
            *self.counts.entry(name).or_default() += 1;
            // That the name tells the key is part of the claim.
            let cipher = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key(name)).expect("key"));
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&counter.to_le_bytes());
            let mut sealed = datagram[16..].to_vec();
            let nonce = Nonce::assume_unique_for_key(nonce);
            cipher.open_in_place(nonce, Aad::empty(), &mut sealed).expect("sealed with the key of its name");
        }
    }
}

#[test]
fn no_key_and_nonce_repeat() {
    let limits = Limits { commands: 16, ..Limits::default() };
    let (mut control, mut tx, mut rx) = lines::new(&limits, [[1; 16], [2; 16]]);
    let stop = Arc::new(AtomicBool::new(false));
    let halt = Arc::clone(&stop);
    let tx_thread = std::thread::spawn(move || {
        while !halt.load(Ordering::Acquire) {
            if !tx.turn(NOW, 64).did_work() {
                std::thread::yield_now();
            }
        }
        tx.turn(NOW, u32::MAX);
    });
    let halt = Arc::clone(&stop);
    let rx_thread = std::thread::spawn(move || {
        while !halt.load(Ordering::Acquire) {
            if !rx.turn(NOW, 64).did_work() {
                std::thread::yield_now();
            }
        }
    });

    (0..PEERS).for_each(|n| control.set_peer(slot(n), facts(n)));
    let (mut seen, mut sessions) = (Seen::default(), 0);
    for round in 0..SNAPSHOTS {
        control.publish(snapshot(round));
        if round.is_multiple_of(SWAP_EVERY) {
            let keys = session(sessions);
            assert!(control.install(&keys));
            assert!(!control.install(&keys), "the same keys must not count from zero again");
            if !keys.initiator {
                control.confirm(keys.local);
                control.confirm(keys.local);
            }
            if let Some(old) = sessions.checked_sub(2 * PEERS) {
                control.retire(session(old).local);
            }
            sessions += 1;
        }
        if round.is_multiple_of(500) {
            // New facts of a known peer must not disturb its session either.
            (0..PEERS).for_each(|n| control.set_peer(slot(n), facts(n)));
        }
        for n in 0..PEERS {
            let to = round.is_multiple_of(3).then_some(slot(n));
            // The ring may be full: what gets through is what counts.
            let _ = control.inject_tx(&packet(n), to);
        }
        if round.is_multiple_of(7) {
            let _ = control.keepalive(session(sessions - 1).local);
            let from = Source::Derp { region: 1, peer: NodePublic::ZERO };
            let mut garbage = [0; 32];
            (garbage[0], garbage[4], garbage[7]) = (4, round as u8, 0x50);
            let _ = control.inject_rx(&from, &garbage);
        }
        seen.drain(&mut control);
        while control.next_event().is_some() {}
        control.collect();
        std::thread::yield_now();
    }
    stop.store(true, Ordering::Release);
    tx_thread.join().expect("tx");
    rx_thread.join().expect("rx");
    seen.drain(&mut control);
    assert!(seen.pairs.len() > 3_000, "only {} datagrams", seen.pairs.len());
    assert!(seen.counts.len() > 100, "only {} sessions", seen.counts.len());
    assert!(seen.counts.values().any(|&count| count > 3));
}
