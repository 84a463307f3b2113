//! Looks that take long: what another network makes of them.

use super::*;
use crate::clock::Clock;
use crate::dataplane::Ways;
use keys::NodePrivate;
use netmap::{DerpMap, DerpNode, DerpRegion, FamilyAddr};

/// Counts whom it is to reach, and never says that it cannot.
#[derive(Default)]
struct Silence(Cell<u32>);

impl dial::Dial for Silence {
    fn dial<'a>(
        &'a self,
        _target: &'a dial::Target,
    ) -> dial::LocalFuture<'a, std::io::Result<dial::BoxStream>> {
        self.0.set(self.0.get() + 1);
        Box::pin(std::future::pending())
    }
}

fn region(n: u16) -> (RegionId, DerpRegion) {
    let (host_name, none) = (format!("relay{n}").into(), FamilyAddr::Ip([192, 0, 2, 1].into()));
    let node = DerpNode { host_name, ipv4: none, ..DerpNode::default() };
    (RegionId(n), DerpRegion { id: RegionId(n), nodes: [node].into(), ..DerpRegion::default() })
}

#[test]
fn at_another_network_relays_are_asked_at_once_though_they_were_being_asked() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let dialled = Rc::new(Silence::default());
        let dialer = Rc::clone(&dialled) as Rc<dyn dial::Dial>;
        let clock = Arc::new(Clock::new(None));
        let plane = Dataplane::start(dialer, derp::Options::default(), clock, [1; 32], Ways::default());
        let plane = plane.expect("starts");
        tokio::task::spawn_local(plane.clone().look_around());
        let map = DerpMap { regions: (1..=2).map(region).collect(), ..DerpMap::default() };
        plane.relays(&RelayConfig {
            key: NodePrivate::from_bytes([1; 32]),
            map: &map,
            home: RegionId::NONE,
            udp: false,
            upnp: true,
            random_port: false,
            always_look: false,
            paused: false,
        });
        // Each region is given three seconds.
        let reaches = async |count| {
            let reached = async {
                while dialled.0.get() < count {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(Duration::from_secs(2), reached).await.expect("asked at once");
        };
        plane.look();
        reaches(2).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(dialled.0.get(), 2, "one look");
        plane.network_changed();
        reaches(4).await;
    });
}
