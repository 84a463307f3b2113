//! What changes of peers cost: tables are made anew only when somebody gains or loses an address.

use super::traffic::HANDSHAKE_BUDGET;
use super::{Engine, Output, PeerConfig, SelfConfig};
use crate::filter::Filter;
use crate::lines::Limits;
use crate::packet::build;
use crate::time::{Mono, Wall};
use crate::wireguard::Source;
use keys::{DiscoPublic, NodePrivate, NodePublic};
use netmap::{NodeId, RegionId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

fn peer(n: u8) -> PeerConfig {
    PeerConfig {
        id: NodeId(n.into()),
        key: NodePublic::from_bytes([n; 32]),
        disco_key: DiscoPublic::from_bytes([n; 32]),
        home_derp: RegionId(1),
        allowed_ips: [format!("100.64.0.{n}/32").parse().expect("a prefix")].into(),
        ..PeerConfig::default()
    }
}

#[test]
fn patches_leave_the_tables_alone() {
    let (mut engine, _tx, _rx) = Engine::new([7; 32], &Limits::default());
    let key = NodePrivate::from_bytes([9; 32]);
    engine.configure(SelfConfig { key, running: true, ..SelfConfig::default() });
    let stale_after = |engine: &mut Engine, config: PeerConfig| {
        engine.set_peer(config, Mono::ZERO, Wall::default());
        let stale = engine.unpublished;
        engine.commit();
        assert!(!engine.unpublished);
        stale
    };
    assert!(stale_after(&mut engine, peer(2)) && stale_after(&mut engine, peer(3)));
    // Most patches say nothing that the engine knows: online or not, endpoints.
    assert!(!stale_after(&mut engine, peer(2)));
    let patched = [
        PeerConfig { home_derp: RegionId(2), ..peer(2) },
        PeerConfig { disco_key: DiscoPublic::from_bytes([8; 32]), ..peer(2) },
        PeerConfig { jailed: true, ..peer(2) },
    ];
    for config in patched {
        assert!(!stale_after(&mut engine, config.clone()), "{config:?}");
    }
    assert!(stale_after(&mut engine, PeerConfig { allowed_ips: peer(4).allowed_ips, ..peer(2) }));
    assert!(stale_after(&mut engine, PeerConfig { key: NodePublic::from_bytes([5; 32]), ..peer(2) }));
    engine.remove_peer(NodeId(3));
    assert!(engine.unpublished);
}

#[test]
fn another_filter_leaves_the_routes_alone() {
    let (mut engine, mut tx, mut rx) = Engine::new([7; 32], &Limits::default());
    let key = NodePrivate::from_bytes([9; 32]);
    let mut config = SelfConfig { key, running: true, ..SelfConfig::default() };
    engine.configure(config.clone());
    engine.set_peer(peer(2), Mono::ZERO, Wall::default());
    let mut published = |engine: &mut Engine| {
        engine.commit();
        for _ in 0..2 {
            tx.turn(Mono::ZERO.tick(), 64);
            rx.turn(Mono::ZERO.tick(), 64);
            engine.lines.collect();
        }
        engine.routes.clone().expect("published")
    };
    let routes = published(&mut engine);
    let holders = Arc::strong_count(&routes);
    config.filter = Arc::new(Filter::deny_all());
    engine.configure(config.clone());
    assert!(engine.unpublished, "the filter is to be told");
    let same = published(&mut engine);
    assert!(Arc::ptr_eq(&routes, &same));
    drop(same);
    assert_eq!(Arc::strong_count(&routes), holders, "the lines have them, too");

    config.services = vec!["100.100.100.100".parse().expect("an address")];
    engine.configure(config);
    assert!(!Arc::ptr_eq(&routes, &published(&mut engine)));
}

#[test]
fn only_peers_with_a_session_are_looked_at() {
    let (mut engine, _tx, _rx) = Engine::new([7; 32], &Limits::default());
    for n in 1..=200_u32 {
        let mut key = [1; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        let config = PeerConfig { id: NodeId(n.into()), key: NodePublic::from_bytes(key), ..peer(1) };
        engine.set_peer(config, Mono::ZERO, Wall::default());
    }
    let slot = engine.peers.slot(NodeId(77)).expect("known");
    engine.sessions.insert(slot, 1);
    let hour = Duration::from_secs(3600);
    let looks: Vec<_> = (0..=24).map(|n| engine.gather_counters(Mono::ZERO + hour * n)).collect();
    assert_eq!((&looks[..24], looks[24]), (&[1; 24][..], 200), "all of them once a day");
    assert_eq!(engine.gather_counters(Mono::ZERO + hour * 25), 1);
    let live = engine.live_views(Mono::ZERO);
    assert_eq!(live.iter().map(|(key, _)| &key.as_bytes()[..4]).collect::<Vec<_>>(), [[0, 0, 0, 77]]);
}

#[test]
fn counts_go_on_where_the_lines_begin_anew() {
    let mut total = super::counters::Total::default();
    assert_eq!(total.advance(u32::MAX - 1), u64::from(u32::MAX - 1));
    assert_eq!(total.advance(3), (1 << 32) + 3);
    assert_eq!(total.advance(3), (1 << 32) + 3);
}

#[test]
fn a_flood_of_handshakes_comes_in_portions() {
    const COUNT: u32 = 6 * HANDSHAKE_BUDGET + 1;
    let now = Mono::from_millis(50_000);
    let wall = Wall(now.as_nanos());
    let keys = [3, 4].map(|n| NodePrivate::from_bytes([n; 32]));
    let own = ["100.64.0.3", "100.64.0.4"].map(|ip| ip.parse().expect("an address"));
    let limits = Limits { handshakes: 64 << 10, ..Limits::default() };
    let mut nodes = [0, 1].map(|n: usize| {
        let (mut engine, tx, rx) = Engine::new([n as u8; 32], &limits);
        engine.configure(SelfConfig {
            key: keys[n].clone(),
            addresses: vec![(own[n], 0)],
            running: true,
            ..SelfConfig::default()
        });
        let other = PeerConfig { key: keys[1 - n].public(), ..peer(4 - n as u8) };
        engine.set_peer(other, now, wall);
        engine.commit();
        (engine, tx, rx)
    });
    let (engine, tx, _) = &mut nodes[0];
    let mut packet = Vec::new();
    let [from, to] = own.map(|ip| SocketAddr::new(ip, 9));
    build::udp(&mut packet, from, to, b"hello").expect("builds");
    assert!(engine.handle_outbound(&packet));
    tx.turn(now.tick(), 64);
    engine.handle_lines(now, wall);
    let outputs = std::iter::from_fn(|| engine.poll_output());
    let sent: Vec<_> = outputs
        .filter_map(|output| match output {
            Output::Transmit { bytes, .. } if bytes.first() == Some(&1) => Some(bytes),
            _ => None,
        })
        .collect();
    let initiation = sent.first().expect("an initiation");

    let (engine, _, rx) = &mut nodes[1];
    // Cookie replies, which anybody can send, keep no initiation waiting.
    let (from, mut cookie) = (SocketAddr::from(([192, 0, 2, 1], 9)), [0; 64]);
    cookie[0] = 3;
    for _ in 0..30 {
        engine.lines.inject_rx(&Source::Udp(from), &cookie).expect("room");
    }
    engine.lines.inject_rx(&Source::Udp(from), initiation).expect("room");
    rx.turn(now.tick(), u32::MAX);
    assert!(!engine.handle_lines(now, wall), "in one call");
    assert!(engine.poll_output().is_some(), "an answer");
    while engine.poll_output().is_some() {}

    for n in 0..COUNT {
        let from = SocketAddr::from(([192, 0, 2, 1], n as u16 + 1));
        engine.lines.inject_rx(&Source::Udp(from), initiation).expect("room");
    }
    rx.turn(now.tick(), u32::MAX);
    let mut calls = 1;
    while engine.handle_lines(now, wall) {
        calls += 1;
        let answers = std::iter::from_fn(|| engine.poll_output()).count();
        assert!(answers <= 2 * HANDSHAKE_BUDGET as usize, "{answers} at once");
    }
    assert_eq!(calls, 7);
}
