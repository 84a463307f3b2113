//! Who a visitor is, as the engine and the map know it.

use super::*;
use crate::backend::{HostFacts, Setup};
use crate::clock::Clock;
use crate::dataplane::Ways;
use crate::parts::dns::Dns;
use crate::state::Store;
use engine::PeerConfig;
use keys::{DiscoPrivate, DiscoPublic, NodePrivate};
use netmap::{Changes, NetMap, RegionId};
use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

/// Nobody is ever reached.
struct NoDial;

impl dial::Dial for NoDial {
    fn dial<'a>(
        &'a self,
        _target: &'a dial::Target,
    ) -> dial::LocalFuture<'a, std::io::Result<dial::BoxStream>> {
        Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) })
    }
}

/// A node without a network around it.
fn shared() -> Rc<Shared> {
    let (clock, dialer) = (Arc::new(Clock::new(None)), Rc::new(NoDial));
    let (inputs, _) = tokio::sync::mpsc::channel(1);
    let ways = Ways { disco: DiscoPrivate::from_bytes([1; 32]), ..Ways::default() };
    let options = derp::Options { use_http: false };
    let plane = Dataplane::start(dialer.clone(), options, clock.clone(), [1; 32], ways).expect("starts");
    let setup = Setup {
        disco: DiscoPublic::default(),
        host: HostFacts::default(),
        ephemeral: false,
        tun: false,
        store_problem: None,
        rng: Box::new(rand_core::OsRng),
    };
    let dns = Dns::start(dns::Setup {
        clock: clock.clone(),
        inputs: inputs.clone(),
        interface: false,
        quad100: false,
        dialer,
        listen: None,
    });
    let (backend, bus) = (RefCell::new(Backend::new(setup, &Store::memory()).0), RefCell::default());
    Rc::new(Shared { backend, plane, bus, dns, clock, inputs, config: OnceCell::new() })
}

/// Peers of these numbers with these addresses, for the engine and in the map.
fn put(shared: &Shared, peers: &[(u8, &str)]) {
    let (mut map, mut changes) = (NetMap::default(), Changes::default());
    for (number, address) in peers {
        let (id, own): (_, Arc<[netmap::IpNet]>) =
            (NodeId(i64::from(*number)), [address.parse().expect("it")].into());
        let key = NodePrivate::from_bytes([*number; 32]).public();
        let disco_key = DiscoPrivate::from_bytes([*number; 32]).public();
        let allowed_ips: Arc<[_]> = [own[0], format!("10.0.{number}.0/24").parse().expect("it")].into();
        shared.plane.set_peer(PeerConfig {
            id,
            key,
            disco_key,
            allowed_ips: allowed_ips.clone(),
            ..PeerConfig::default()
        });
        map.upsert_peer(
            Node { id, key, disco_key, addresses: own, allowed_ips, ..Node::default() },
            &mut changes,
        );
    }
    shared.plane.commit();
    shared.backend.borrow_mut().recall(map, RegionId::NONE, shared.now());
}

#[tokio::test]
async fn whoever_has_the_address_of_a_visitor_now_is_another() {
    let tasks = tokio::task::LocalSet::new();
    tasks
        .run_until(async {
            let shared = shared();
            let (to, from) =
                ("100.64.0.1:40000".parse().expect("it"), |text: &str| text.parse().expect("it"));
            let visit = |address| Visit::new(shared.clone(), from(address), to);
            put(&shared, &[(2, "100.64.0.2/32"), (3, "100.64.0.3/32")]);
            assert!(visit("100.64.0.9").is_none() && visit("10.0.2.7").is_none(), "nobody's own");
            let (two, three) = (visit("100.64.0.2").expect("known"), visit("100.64.0.3").expect("known"));
            assert_eq!((two.id(), three.id()), (NodeId(2), NodeId(3)));
            let request = Request {
                method: Method::GET,
                target: "http://peer/".to_owned(),
                old: false,
                headers: Default::default(),
                body: Bytes::new(),
            };
            let told = |visit: &Visit| {
                visit
                    .admit(&request)
                    .map_err(|answer| answer.head == plain(403, "invalid peerapi request").head)
            };
            assert_eq!([told(&two), told(&three)], [Ok(0), Ok(0)]);
            // The address of the second goes to the third.
            put(&shared, &[(2, "100.64.0.4/32"), (3, "100.64.0.2/32")]);
            assert_eq!([told(&two), told(&three)], [Err(true), Err(true)]);
            assert_eq!(visit("100.64.0.2").expect("known").id(), NodeId(3));
        })
        .await;
}
