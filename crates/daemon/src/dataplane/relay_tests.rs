//! To which relays the node connects: what relays tell reaches the engine.

use super::relays::RelaySink;
use super::{Dataplane, Ways};
use crate::clock::Clock;
use derp::{Event, GoneReason, Sink as _};
use engine::host::PingKind;
use engine::{PeerConfig, SelfConfig};
use keys::{DiscoPublic, NodePrivate, NodePublic};
use netmap::{DerpMap, DerpNode, DerpRegion, IpNet, NodeId, RegionId};
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The relay through which peers call.
const OURS: RegionId = RegionId(1);

/// Remembers who was to be reached, and reaches nobody.
#[derive(Default)]
struct Dialled(RefCell<Vec<String>>);

impl dial::Dial for Dialled {
    fn dial<'a>(
        &'a self,
        target: &'a dial::Target,
    ) -> dial::LocalFuture<'a, std::io::Result<dial::BoxStream>> {
        self.0.borrow_mut().push(target.host.clone());
        Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) })
    }
}

fn region(n: u16) -> DerpRegion {
    let node = DerpNode { host_name: format!("relay{n}").into(), ..DerpNode::default() };
    DerpRegion { id: RegionId(n), nodes: [node].into(), ..DerpRegion::default() }
}

fn key(n: u16) -> NodePublic {
    NodePrivate::from_bytes([n as u8; 32]).public()
}

fn address(n: u16) -> IpAddr {
    IpAddr::from([100, 64, 0, n as u8])
}

/// A node and peers with homes 2 to 5.
fn node(dialled: &Rc<Dialled>) -> (Rc<Dataplane>, RelaySink) {
    let dialer = Rc::clone(dialled) as Rc<dyn dial::Dial>;
    let clock = Arc::new(Clock::new(None));
    let plane = Dataplane::start(dialer, derp::Options::default(), clock, [1; 32], Ways::default());
    let plane = plane.expect("starts");
    let key_of_ours = NodePrivate::from_bytes([99; 32]);
    plane.configure(SelfConfig {
        key: key_of_ours.clone(),
        addresses: vec![(address(99), 0)],
        running: true,
        ..SelfConfig::default()
    });
    for n in 2..=5 {
        plane.set_peer(PeerConfig {
            id: NodeId(n.into()),
            key: key(n),
            disco_key: DiscoPublic::from_bytes([n as u8; 32]),
            home_derp: RegionId(n),
            allowed_ips: [IpNet::from(address(n))].into(),
            ..PeerConfig::default()
        });
    }
    plane.commit();
    let regions = (1..=5).map(|n| (RegionId(n), region(n))).collect();
    let map = Rc::new(DerpMap { regions, ..DerpMap::default() });
    let config = derp::Config { key: key_of_ours, map, home: RegionId::NONE, paused: false };
    plane.pool.borrow().as_ref().expect("a pool").apply(config);
    tokio::task::spawn_local(plane.clone().listen());
    let sink = RelaySink(Rc::downgrade(&plane));
    (plane, sink)
}

/// Where the node connects to for a peer that it heard through our relay, before `then` happened.
async fn connects_to(n: u16, then: Option<Event>) -> Vec<String> {
    let dialled = Rc::new(Dialled::default());
    let (plane, sink) = node(&dialled);
    sink.event(Event::Connected { region: OURS, home: false });
    // Anything that looks like data.
    let mut data = [0; 32];
    data[0] = 4;
    sink.packet(OURS, &key(n), &data);
    then.into_iter().for_each(|event| sink.event(event));
    // Nobody answers; the handshake is sent at once.
    let ping = plane.ping(PingKind::Tsmp, address(n), Duration::from_secs(9));
    let _ = tokio::time::timeout(Duration::from_millis(300), ping).await;
    let mut dialled = dialled.0.take();
    dialled.dedup();
    dialled
}

#[test]
fn peers_are_answered_where_they_called() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let gone = |region, n| Event::PeerGone { region, peer: key(n), reason: GoneReason::NotHere };
    let cases = [
        (2, None, "relay1"),
        (3, Some(gone(OURS, 3)), "relay3"),
        (4, Some(gone(OURS, 2)), "relay1"),
        (5, Some(Event::Disconnected { region: OURS, error: String::new(), home: false }), "relay5"),
    ];
    for (n, then, relay) in cases {
        let told = tokio::task::LocalSet::new().block_on(&runtime, connects_to(n, then.clone()));
        assert_eq!(told, [relay], "peer {n}, {then:?}");
    }
}
