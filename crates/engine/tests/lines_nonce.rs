//! No key ever seals twice with one counter, and no packet that was taken is lost, whatever is published or swapped while
//! packets flow: both lines turn on threads of their own while ten thousand snapshots and a thousand sessions pass by,
//! and now and then a peer has no session at all, so that its packets wait for the next.

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
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const PEERS: u32 = 3;
const SNAPSHOTS: u32 = 10_000;
/// A new session for some peer every so many snapshots.
const SWAP_EVERY: u32 = 10;
/// Some peer is left without a session every so many snapshots, until its turn comes again: for fewer packets than may
/// wait.
const GAP_EVERY: u32 = 97;
/// The lines may fall behind by so many snapshots: more would be more packets than a ring holds or may wait.
const BEHIND: u32 = 8;
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

/// An echo request with a number in it.
fn packet(to: u32, number: u32) -> [u8; 32] {
    let mut packet = [0; 32];
    (packet[0], packet[3], packet[9], packet[20]) = (0x45, 32, 1, 8);
    packet[28..].copy_from_slice(&number.to_le_bytes());
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
    /// Numbers of the packets in them.
    packets: BTreeSet<u32>,
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
            let plain = cipher.open_in_place(nonce, Aad::empty(), &mut sealed);
            let plain = plain.expect("sealed with the key of its name");
            // A keepalive has nothing in it.
            if let Some(number) = plain.get(28..32) {
                let number = u32::from_le_bytes(number.try_into().expect("four bytes"));
                assert!(self.packets.insert(number), "packet {number} went out twice");
            }
        }
    }
}

#[test]
fn no_key_and_nonce_repeat() {
    let limits = Limits { commands: 16, ..Limits::default() };
    let (mut control, mut tx, mut rx) = lines::new(&limits, [[1; 16], [2; 16]]);
    let stop = Arc::new(AtomicBool::new(false));
    let halt = Arc::clone(&stop);
    let turns = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&turns);
    let tx_thread = std::thread::spawn(move || {
        while !halt.load(Ordering::Acquire) {
            if !tx.turn(NOW, 64).did_work() {
                std::thread::yield_now();
            }
            count.fetch_add(1, Ordering::Release);
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
    let (mut seen, mut sessions, mut taken) = (Seen::default(), 0, BTreeSet::new());
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
        if round.is_multiple_of(GAP_EVERY) {
            let peer = round / GAP_EVERY % PEERS;
            let held = sessions.saturating_sub(2 * PEERS)..sessions;
            held.filter(|n| n % PEERS == peer).for_each(|n| control.retire(session(n).local));
        }
        if round.is_multiple_of(500) {
            // New facts of a known peer must not disturb its session either.
            (0..PEERS).for_each(|n| control.set_peer(slot(n), facts(n)));
        }
        for n in (0..PEERS).filter(|n| (round + n).is_multiple_of(2)) {
            let to = round.is_multiple_of(3).then_some(slot(n));
            let number = round * PEERS + n;
            control.inject_tx(&packet(n, number), to).expect("room");
            taken.insert(number);
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
        // One turn may have begun before, the next has seen everything.
        let before = turns.load(Ordering::Acquire);
        while round.is_multiple_of(BEHIND) && turns.load(Ordering::Acquire).wrapping_sub(before) < 2 {
            std::thread::yield_now();
        }
    }
    // Whoever has none gets a session at last.
    for n in sessions..sessions + PEERS {
        assert!(control.install(&session(n)));
        control.confirm(session(n).local);
    }
    stop.store(true, Ordering::Release);
    tx_thread.join().expect("tx");
    rx_thread.join().expect("rx");
    seen.drain(&mut control);
    assert!(seen.pairs.len() > 3_000, "only {} datagrams", seen.pairs.len());
    assert!(seen.counts.len() > 100, "only {} sessions", seen.counts.len());
    assert!(seen.counts.values().any(|&count| count > 3));
    let lost: Vec<_> = taken.difference(&seen.packets).collect();
    assert!(lost.is_empty(), "{} of {} packets are lost, {lost:?}", lost.len(), taken.len());
    assert!(taken.len() > 10_000, "only {} packets were taken", taken.len());
}
