//! Traffic through map updates, renewals of keys and restarts, on a relay that loses nothing: then nothing may be lost
//! but what no node could have saved. No key meets a counter twice, which [`sim::witness`] checks at every datagram.

use engine::drop::DropReason;
use engine::packet::{Parsed, build};
use engine::time::Mono;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use sim::{Link, NodeIx, Policy, Tailnet};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Virtual time of one story: keys are renewed every two minutes.
const TIME: Duration = Duration::from_secs(500);
/// Between two packets.
const PACE: Duration = Duration::from_millis(15);
/// Once in how many packets something happens besides.
const EVENTS: u32 = 60;
/// Control's news takes so long.
const NEWS: Duration = Duration::from_millis(20);
/// A datagram is on its way for so long at most: two links and their jitter.
const FLIGHT: Duration = Duration::from_millis(100);
/// A process that ends takes along what waited in it for a handshake: this long at most, on such a relay.
const HANDSHAKE: Duration = Duration::from_millis(500);

struct Packet {
    from: NodeIx,
    to: NodeIx,
    at: Mono,
    bytes: Vec<u8>,
}

struct Stress {
    net: Tailnet,
    rng: ChaCha8Rng,
    count: u32,
    packets: Vec<Packet>,
    /// When each arrived.
    arrived: BTreeMap<u64, Mono>,
    restarts: Vec<(NodeIx, Mono)>,
    /// By the processes that have ended.
    sessions: usize,
}

impl Stress {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x57e55);
        let count = 2 + rng.next_u32() % 3;
        let mut net = Tailnet::new(seed, count as usize);
        net.world.log_datagrams = false;
        let late = Duration::from_millis(10);
        net.relay().link = Link {
            latency: late,
            jitter: late,
            reorder: 200_000,
            reorder_by: late,
            mtu: 1 << 16,
            ..Link::default()
        };
        let (packets, arrived, restarts) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { net, rng, count, packets, arrived, restarts, sessions: 0 }
    }

    fn someone(&mut self) -> NodeIx {
        NodeIx((self.rng.next_u32() % self.count) as usize)
    }

    /// A machine behind a node sends a packet with its number to one behind another.
    fn talk(&mut self) {
        let (from, to) = loop {
            let pair = (self.someone(), self.someone());
            if pair.0 != pair.1 {
                break pair;
            }
        };
        let v4 = self.rng.next_u32().is_multiple_of(2);
        let address = |ix| SocketAddr::new(self.net.behind(ix, v4), 9);
        let mut payload = (self.packets.len() as u64).to_be_bytes().to_vec();
        payload.resize(8 + (self.rng.next_u32() % 1100) as usize, 0xaa);
        let mut bytes = Vec::new();
        build::udp(&mut bytes, address(from), address(to), &payload).expect("one family");
        self.net.world.send_host(from, &bytes);
        let at = self.net.world.now();
        self.packets.push(Packet { from, to, at, bytes });
    }

    /// Something that changes nothing of who may say what to whom.
    fn disturb(&mut self) {
        let who = self.someone();
        match self.rng.next_u32() % 8 {
            0 if self.rng.next_u32().is_multiple_of(4) => self.restart(who),
            // Another filter, compiled anew.
            0..3 => self.net.set_policy(who, Policy::open()),
            // All others hear of it again.
            3..6 => self.net.world.join(who, self.net.describe(who)),
            // All hear of all again.
            _ => {
                self.net.world.set_control_silent(true);
                self.net.world.set_control_silent(false);
            }
        }
    }

    fn restart(&mut self, who: NodeIx) {
        self.take();
        self.check(who);
        self.restarts.push((who, self.net.world.now()));
        self.net.restart(who);
    }

    /// Counts what a process did that ends now.
    fn check(&mut self, who: NodeIx) {
        let station = self.net.world.node(who);
        self.sessions += station.witness.sessions();
        for reason in [DropReason::Staging, DropReason::RingFull, DropReason::Replay, DropReason::BadTag] {
            assert_eq!(station.dropped(reason), 0, "node {}: {reason:?}", who.0);
        }
    }

    fn take(&mut self) {
        for n in 0..self.count as usize {
            for bytes in self.net.world.take_host(NodeIx(n)) {
                let parsed = Parsed::parse(&bytes).expect("an IP packet");
                let number = u64::from_be_bytes(parsed.transport(&bytes)[8..16].try_into().expect("eight"));
                let sent = &self.packets[number as usize];
                assert_eq!((sent.to, &sent.bytes), (NodeIx(n), &bytes), "packet {number} was changed");
                let again = self.arrived.insert(number, self.net.world.now());
                assert!(again.is_none(), "packet {number} arrived twice");
            }
        }
    }

    /// Whether a process that ended can have taken this packet along, or was not told of its peers yet, or the sender
    /// could not know that the receiver's process had ended.
    fn is_excused(&self, packet: &Packet) -> bool {
        self.restarts.iter().any(|(who, at)| {
            let ended_with_it = *who == packet.from && packet.at <= *at && *at < packet.at + HANDSHAKE;
            let knew_nobody = *who == packet.from && *at <= packet.at && packet.at <= *at + NEWS;
            let on_its_way = *who == packet.to && packet.at <= *at + NEWS && *at <= packet.at + FLIGHT;
            ended_with_it || knew_nobody || on_its_way
        })
    }

    fn tell(&mut self, seed: u64) {
        let end = self.net.world.now() + TIME;
        while self.net.world.now() < end {
            self.talk();
            if self.rng.next_u32().is_multiple_of(EVENTS) {
                self.disturb();
            }
            self.net.world.run_for(PACE);
            self.take();
        }
        self.net.world.run_for(Duration::from_secs(10));
        self.take();
        (0..self.count as usize).for_each(|n| self.check(NodeIx(n)));
        let lost = || (0..).zip(&self.packets).filter(|(number, _)| !self.arrived.contains_key(number));
        for (number, packet) in lost() {
            let (from, to, at) = (packet.from.0, packet.to.0, packet.at);
            assert!(
                self.is_excused(packet),
                "seed {seed}: packet {number} of {from} to {to} at {at:?} is lost; restarts {:?}",
                self.restarts
            );
        }
        let (lost, all) = (lost().count(), self.packets.len());
        assert!(lost * 100 <= all, "{lost} of {all} lost to {} restarts", self.restarts.len());
        // Each pair renews its keys every two minutes, on both sides.
        let pairs = (self.count * (self.count - 1)) as usize;
        assert!(self.sessions >= 4 * pairs, "only {} sessions of {pairs} sides", self.sessions);
        assert!(!self.restarts.is_empty(), "nobody restarted");
    }
}

/// A few stories; at night, when `SMALLTAIL_SEEDS` is set, many.
#[test]
fn nothing_is_lost_to_map_updates_renewals_and_restarts() {
    let seeds = std::env::var("SMALLTAIL_SEEDS").ok().and_then(|text| text.parse::<u64>().ok());
    for seed in 0..seeds.map_or(4, |seeds| (seeds / 200).max(4)) {
        Stress::new(seed).tell(seed);
    }
}
