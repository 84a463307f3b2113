//! The lines as their owner sees them: two nodes joined by their DERP rings.

mod rx;
mod services;
mod tx;

use super::*;
use crate::drop::DropReason;
use crate::filter::{Filter, FilterInput};
use crate::packet::build::{self, Echo};
use crate::packet::tsmp;
use crate::routes::RoutesBuilder;
use crate::session::SessionKeys;
use crate::slot::PeerSlot;
use crate::source::Source;
use crate::time::Tick;
use ipnet::IpNet;
use keys::NodePublic;
use netmap::{FilterRule, PortRange, RuleDst, RuleSrc};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub(super) const BUDGET: u32 = 1 << 20;
pub(super) const NOW: Tick = Tick(1_000_000);

pub(super) fn ip(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(100, 64, 0, n))
}

pub(super) fn key(n: u8) -> NodePublic {
    NodePublic::from_bytes([n; 32])
}

pub(super) fn slot(n: u8) -> PeerSlot {
    PeerSlot::new(u32::from(n), 1)
}

pub(super) fn facts(n: u8) -> PeerFacts {
    PeerFacts { key: key(n), path: Path::Derp { region: 900 }, ..PeerFacts::default() }
}

pub(super) fn udp(from: u8, to: u8, len: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    let at = |n, port| SocketAddr::new(ip(n), port);
    build::udp(&mut packet, at(from, 1111), at(to, 2222), &vec![7; len]).expect("builds");
    packet
}

pub(super) fn echo(from: u8, to: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    let echo = Echo { reply: false, id: 1, seq: 2, payload: b"hello" };
    build::icmp_echo(&mut packet, ip(from), ip(to), &echo).expect("builds");
    packet
}

/// A TCP segment with the given flags, to port 80.
pub(super) fn tcp(from: u8, to: u8, flags: u8) -> Vec<u8> {
    let mut packet = udp(from, to, 12);
    packet[9] = 6;
    packet[20 + 12] = 5 << 4;
    packet[20 + 13] = flags;
    packet
}

pub(super) fn tsmp_ping(from: u8, to: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    build::tsmp(&mut packet, ip(from), ip(to), &tsmp::Message::Ping([9; 8])).expect("builds");
    packet
}

/// A snapshot for the node at address `me` that knows `peers`, each by its address; `open` lets everything in.
pub(super) fn snapshot(me: u8, peers: &[u8], open: bool) -> Snapshot {
    let mut routes = RoutesBuilder::new();
    for &n in peers {
        routes.add(IpNet::from(ip(n)), slot(n));
    }
    let rule = FilterRule {
        srcs: [RuleSrc::Any].into(),
        dsts: [RuleDst { net: RuleSrc::Any, ports: PortRange::ALL }].into(),
        ..FilterRule::default()
    };
    let rules: &[&FilterRule] = if open { &[&rule] } else { &[] };
    let local = [IpNet::from(ip(me)), "192.168.7.0/24".parse().expect("prefix")];
    let filter =
        Filter::compile(&FilterInput { rules, local: &local, shields_up: false, cap_holders: &|_, _| {} });
    Snapshot {
        routes: Arc::new(routes.build()),
        filter: Arc::new(filter),
        own: [ip(me)].into(),
        key: key(me),
        tun: false,
        running: true,
    }
}

pub(super) struct Node {
    pub(super) me: u8,
    pub(super) control: Control,
    pub(super) tx: TxLine,
    pub(super) rx: RxLine,
}

impl Node {
    /// A node at `100.64.0.me` that knows `peers`.
    pub(super) fn new(me: u8, peers: &[u8]) -> Self {
        let mut node = Self::bare(me, &Limits::default());
        for &n in peers {
            node.control.set_peer(slot(n), facts(n));
        }
        node.control.publish(snapshot(me, peers, true));
        node
    }

    pub(super) fn bare(me: u8, limits: &Limits) -> Self {
        let (control, tx, rx) = new(limits, [[1; 16], [2; 16]]);
        Self { me, control, tx, rx }
    }

    /// Each line once; control comes only if one of them says so.
    pub(super) fn turn(&mut self, now: Tick) {
        let woken = self.tx.turn(now, BUDGET).wake_control;
        if self.rx.turn(now, BUDGET).wake_control || woken {
            self.control.collect();
        }
    }

    /// Until all sleep: a line is turned only if it has been given something, control comes only if a line says so.
    pub(super) fn settle(&mut self, now: Tick) {
        loop {
            let (tx, rx) = (self.control.wants_wake_tx(), self.control.wants_wake_rx());
            if !tx && !rx {
                return;
            }
            let woken = tx && self.tx.turn(now, BUDGET).wake_control;
            if rx && self.rx.turn(now, BUDGET).wake_control || woken {
                self.control.collect();
            }
        }
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u32 {
        self.control.drops().get(reason)
    }

    /// All that went out, with the peers it is for.
    pub(super) fn sent(&mut self) -> Vec<(NodePublic, Vec<u8>)> {
        std::iter::from_fn(|| self.control.next_derp().map(|(_, to, datagram)| (to, datagram.to_vec())))
            .collect()
    }

    pub(super) fn hosted(&mut self) -> Vec<(HostKind, PeerSlot, Vec<u8>)> {
        std::iter::from_fn(|| {
            self.control.next_host().map(|packet| (packet.kind, packet.slot, packet.bytes.to_vec()))
        })
        .collect()
    }

    pub(super) fn events(&mut self) -> Vec<LineEvent> {
        std::iter::from_fn(|| self.control.next_event()).collect()
    }

    pub(super) fn receive(&mut self, from: u8, datagram: &[u8]) {
        let from = Source::Derp { region: 900, peer: key(from) };
        self.control.inject_rx(&from, datagram).expect("room");
    }

    /// Hands all that went out to `to`; returns the datagrams.
    pub(super) fn deliver(&mut self, to: &mut Self) -> Vec<Vec<u8>> {
        let sent = self.sent();
        for (_, datagram) in &sent {
            to.receive(self.me, datagram);
        }
        sent.into_iter().map(|(_, datagram)| datagram).collect()
    }
}

/// The two halves of one handshake's result: for the initiator `a`, and for `b`.
pub(super) fn agreed(a: u8, b: u8, n: u32, born: Tick) -> (SessionKeys, SessionKeys) {
    let (to_b, to_a) = ([n as u8 | 1; 32], [n as u8 & !1; 32]);
    let (at_a, at_b) = (0xaaaa_0000 | n, 0xbbbb_0000 | n);
    (
        SessionKeys {
            peer: slot(b),
            local: at_a,
            remote: at_b,
            send: to_b,
            recv: to_a,
            born,
            initiator: true,
        },
        SessionKeys {
            peer: slot(a),
            local: at_b,
            remote: at_a,
            send: to_a,
            recv: to_b,
            born,
            initiator: false,
        },
    )
}

/// Nodes 1 and 2 with a session that 1 began and 2 has confirmed.
pub(super) fn joined() -> (Node, Node) {
    let (mut a, mut b) = (Node::new(1, &[2]), Node::new(2, &[1]));
    let (for_a, for_b) = agreed(1, 2, 4, NOW);
    assert!(a.control.install(&for_a) && b.control.install(&for_b));
    b.control.confirm(for_b.local);
    a.turn(NOW);
    b.turn(NOW);
    (a, b)
}

#[test]
fn lines_can_live_on_their_own_threads() {
    const fn sendable<T: Send>() {}
    sendable::<Control>();
    sendable::<TxLine>();
    sendable::<RxLine>();
}

#[test]
fn small_enough_for_a_small_router() {
    // Parts of the arenas that no batch ever reaches are never backed by memory.
    let bytes = Limits::default().heap_bytes();
    assert!(bytes <= 684 << 10, "{bytes} bytes");
}

#[test]
fn packets_cross_in_order() {
    let (mut a, mut b) = joined();
    let packets: Vec<Vec<u8>> = (0..100).map(|len| udp(1, 2, len * 3)).collect();
    for packet in &packets {
        a.control.inject_tx(packet, None).expect("room");
    }
    a.turn(NOW);
    a.deliver(&mut b);
    b.turn(NOW);
    let got = b.hosted();
    assert_eq!(got.len(), packets.len());
    for (packet, (kind, from, bytes)) in packets.iter().zip(got) {
        assert_eq!((kind, from), (HostKind::Packet, slot(1)));
        assert_eq!(&bytes, packet);
    }
    let traffic = a.control.activity(slot(2)).expect("known").traffic();
    assert_eq!(traffic.tx_packets, 100);
    let back = b.control.activity(slot(1)).expect("known").traffic();
    assert_eq!((back.rx_packets, back.rx_bytes), (100, traffic.tx_bytes));
    assert_eq!(b.control.activity(slot(1)).expect("known").moments().received_data, Some(NOW));
}
