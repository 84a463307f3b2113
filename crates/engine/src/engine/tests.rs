//! What changes of peers cost: tables are made anew only when somebody gains or loses an address.

use super::{Engine, PeerConfig, SelfConfig};
use crate::lines::Limits;
use crate::time::{Mono, Wall};
use keys::{DiscoPublic, NodePrivate, NodePublic};
use netmap::{NodeId, RegionId};

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
fn counts_go_on_where_the_lines_begin_anew() {
    let mut total = super::peers::Total::default();
    assert_eq!(total.advance(u32::MAX - 1), u64::from(u32::MAX - 1));
    assert_eq!(total.advance(3), (1 << 32) + 3);
    assert_eq!(total.advance(3), (1 << 32) + 3);
}
