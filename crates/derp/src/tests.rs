//! The pool against a relay written for the tests, over in-memory pipes and a clock that stands still.

mod life;
mod marks;
mod relay;
mod traffic;

use crate::{Config, Event, Options, Pool, Sink};
use dial::Dial;
use keys::{NodePrivate, NodePublic};
use netmap::{DerpMap, DerpNode, DerpRegion, RegionId};
use rand_core::SeedableRng as _;
use relay::Relays;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

const HOME: RegionId = RegionId(1);
const AWAY: RegionId = RegionId(2);
const PEER: NodePublic = NodePublic::from_bytes([0x77; 32]);

/// Remembers what it was told.
#[derive(Default)]
struct Record {
    packets: RefCell<Vec<(RegionId, NodePublic, Vec<u8>)>>,
    flushes: Cell<u32>,
    events: RefCell<Vec<Event>>,
    /// If set, every packet goes back through this pool.
    echo: RefCell<Weak<Pool>>,
}

impl Sink for Record {
    fn packet(&self, region: RegionId, src: &NodePublic, payload: &[u8]) {
        if let Some(pool) = self.echo.borrow().upgrade() {
            pool.send(region, src, payload);
        }
        self.packets.borrow_mut().push((region, *src, payload.to_vec()));
    }
    fn flush(&self) {
        self.flushes.set(self.flushes.get() + 1);
    }
    fn event(&self, event: Event) {
        if !matches!(event, Event::FrameAt { .. }) {
            self.events.borrow_mut().push(event);
        }
    }
}

/// A pool, its sink, and the relays it dials.
struct World {
    pool: Rc<Pool>,
    sink: Rc<Record>,
    relays: Relays,
    config: Config,
}

impl World {
    fn new() -> Self {
        let relays = Relays::new();
        let sink = Rc::new(Record::default());
        let rng = Box::new(rand_chacha::ChaCha8Rng::seed_from_u64(1));
        let dialer: Rc<dyn Dial> = Rc::clone(&relays.dialer) as Rc<dyn Dial>;
        let told = Rc::clone(&sink) as Rc<dyn Sink>;
        let pool = Rc::new(Pool::new(dialer, told, rng, Options::default()));
        let key = NodePrivate::from_bytes([0x48; 32]);
        let config = Config { key, map: Rc::new(map()), home: HOME, paused: false };
        Self { pool, sink, relays, config }
    }

    fn apply(&self) {
        self.pool.apply(self.config.clone());
    }

    /// A world whose home connection is up, and the relay's end of it.
    async fn at_home() -> (Self, relay::Server) {
        let mut world = Self::new();
        world.apply();
        let mut server = world.relays.accept().await;
        server.welcome("{}").await;
        assert_eq!(server.frame().await, (7, vec![1]), "home is announced");
        world.event(Event::Connected { region: HOME, home: true }).await;
        (world, server)
    }

    /// Waits for the next event and compares it.
    async fn event(&self, expected: Event) {
        assert_eq!(self.next_event().await, expected);
    }

    async fn next_event(&self) -> Event {
        for _ in 0..1000 {
            if !self.sink.events.borrow().is_empty() {
                return self.sink.events.borrow_mut().remove(0);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("no event within 1000 s");
    }

    /// Waits until `n` packets have come.
    async fn packets(&self, n: usize) -> Vec<(RegionId, NodePublic, Vec<u8>)> {
        for _ in 0..1000 {
            if self.sink.packets.borrow().len() >= n {
                return self.sink.packets.take();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("only {} packets", self.sink.packets.borrow().len());
    }
}

fn lost(region: RegionId, home: bool, error: &str) -> Event {
    Event::Disconnected { region, error: error.to_owned(), home }
}

fn node(host: &str) -> DerpNode {
    DerpNode { name: host.into(), host_name: host.into(), ..DerpNode::default() }
}

fn map() -> DerpMap {
    let region = |id: RegionId, host: &str| DerpRegion {
        id,
        code: host.into(),
        nodes: [node(host)].into(),
        ..DerpRegion::default()
    };
    let regions = [(HOME, region(HOME, "home.example")), (AWAY, region(AWAY, "away.example"))];
    DerpMap { regions: regions.into(), ..DerpMap::default() }
}

/// Runs `test` where tasks of one thread may be spawned.
async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}
