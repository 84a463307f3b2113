//! Our WireGuard against boringtun, message by message: thousands of handshakes begun by either side, data both
//! ways, cookies, and a wire that loses, repeats and reorders while our clocks jump.
//!
//! boringtun reads the real clock, so it never renews or ends a session during a test; all that is on our side.

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use engine::slot::PeerSlot;
use engine::time::{Mono, Wall};
use engine::wireguard::{Action, Activity, Source, Tunnel};
use hand_line::HandLine;
use keys::{NodePrivate, NodePublic};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

#[path = "../src/wireguard/hand_line.rs"]
mod hand_line;

const PEER: PeerSlot = PeerSlot::new(0, 0);
const THEIR_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const OUR_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// An IPv4 packet that carries a number; boringtun looks at version and length.
fn packet(number: u64, size: usize) -> Vec<u8> {
    let mut out = vec![0; 28 + size];
    out[0] = 0x45;
    let total = out.len() as u16;
    out[2..4].copy_from_slice(&total.to_be_bytes());
    out[12..20].copy_from_slice(&[100, 64, 0, 1, 100, 64, 0, 2]);
    out[20..28].copy_from_slice(&number.to_be_bytes());
    out
}

fn number(packet: &[u8]) -> u64 {
    u64::from_be_bytes(packet[20..28].try_into().expect("8 bytes"))
}

struct Ours {
    tunnel: Tunnel,
    line: HandLine,
    now: Mono,
    wall: Wall,
    staged: Vec<Vec<u8>>,
    got: Vec<u64>,
    handshakes: usize,
}

struct Theirs {
    tunn: Tunn,
    got: Vec<u64>,
}

struct Pair {
    ours: Ours,
    theirs: Theirs,
    rng: ChaCha20Rng,
}

impl Ours {
    fn settle(&mut self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        while let Some(action) = self.tunnel.poll_action() {
            match action {
                Action::Transmit { bytes, .. } => out.push(bytes.into_vec()),
                Action::Install(k) => {
                    self.line.install(k.local, k.remote, &k.send, &k.recv, k.initiator);
                    if k.initiator {
                        self.flush(&mut out);
                    }
                }
                Action::Confirm { local, .. } => {
                    self.line.confirm(local);
                    self.flush(&mut out);
                }
                Action::Hold { local, .. } => self.line.hold(local),
                Action::Retire { local, .. } => self.line.retire(local),
                Action::Keepalive { .. } => out.extend(self.line.seal(&[])),
                Action::Established { .. } => self.handshakes += 1,
                Action::GaveUp { .. } => self.staged.clear(),
            }
        }
        out
    }

    fn flush(&mut self, out: &mut Vec<Vec<u8>>) {
        for plain in std::mem::take(&mut self.staged) {
            out.extend(self.line.seal(&plain));
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        if bytes[0] == 4 {
            if let Ok(opened) = self.line.open(bytes) {
                if opened.first {
                    self.tunnel.first_data(opened.local, self.now);
                }
                if !opened.plain.is_empty() {
                    self.got.push(number(&opened.plain));
                }
            }
        } else {
            let from = Source::Udp((THEIR_ADDRESS, 1).into());
            // Refusals are normal on a bad wire.
            let _ = self.tunnel.handle_message(from, bytes, self.now);
        }
        self.settle()
    }

    fn send(&mut self, plain: &[u8]) -> Vec<Vec<u8>> {
        if let Some(sealed) = self.line.seal(plain) {
            return vec![sealed];
        }
        self.staged.push(plain.to_vec());
        self.tunnel.want_session(PEER, self.now, self.wall);
        self.settle()
    }

    fn pass(&mut self, time: Duration) -> Vec<Vec<u8>> {
        self.now = self.now + time;
        self.wall = Wall(self.wall.0 + time.as_nanos() as u64);
        let mut activity = |_| Activity::default();
        while self.tunnel.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            self.tunnel.handle_timeout(self.now, self.wall, &mut activity);
        }
        self.settle()
    }

    /// A new handshake, whatever there is already.
    fn renew(&mut self) -> Vec<Vec<u8>> {
        let mut out = self.pass(Duration::from_secs(6));
        self.tunnel.want_session(PEER, self.now, self.wall);
        out.extend(self.settle());
        out
    }
}

impl Theirs {
    fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut buffer = vec![0; 2048];
        let mut input = bytes;
        loop {
            match self.tunn.decapsulate(Some(OUR_ADDRESS), input, &mut buffer) {
                TunnResult::WriteToNetwork(bytes) => out.push(bytes.to_vec()),
                TunnResult::WriteToTunnelV4(plain, _) => {
                    self.got.push(number(plain));
                    return out;
                }
                TunnResult::Done | TunnResult::Err(_) => return out,
                TunnResult::WriteToTunnelV6(..) => panic!("nobody sent IPv6"),
            }
            input = &[];
        }
    }

    fn send(&mut self, plain: &[u8]) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; plain.len() + 200];
        match self.tunn.encapsulate(plain, &mut buffer) {
            TunnResult::WriteToNetwork(bytes) => vec![bytes.to_vec()],
            TunnResult::Done => vec![],
            other => panic!("{other:?}"),
        }
    }

    fn renew(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 200];
        match self.tunn.format_handshake_initiation(&mut buffer, true) {
            TunnResult::WriteToNetwork(bytes) => vec![bytes.to_vec()],
            other => panic!("{other:?}"),
        }
    }
}

impl Pair {
    /// `limit`: how many handshake messages boringtun takes before it asks for cookies.
    fn new(seed: u64, limit: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let ours = NodePrivate::generate(&mut rng);
        let theirs = NodePrivate::generate(&mut rng);
        let secret = StaticSecret::from(*theirs.as_bytes());
        let public = PublicKey::from(&secret);
        let mut tunnel = Tunnel::new([seed as u8; 32]);
        tunnel.set_private_key(&ours);
        tunnel.add_peer(PEER, NodePublic::from_bytes(public.to_bytes()));
        tunnel.set_load_limit(u32::MAX);
        let limiter = Arc::new(RateLimiter::new(&public, limit));
        let peer = PublicKey::from(*ours.public().as_bytes());
        Self {
            ours: Ours {
                tunnel,
                line: HandLine::default(),
                now: Mono::from_millis(1000),
                wall: Wall(1_780_000_000_000_000_000),
                staged: Vec::new(),
                got: Vec::new(),
                handshakes: 0,
            },
            theirs: Theirs { tunn: Tunn::new(secret, peer, None, None, 1, Some(limiter)), got: Vec::new() },
            rng,
        }
    }

    /// Carries messages until there are none; `true` first: to boringtun.
    fn carry(&mut self, to_theirs: bool, messages: Vec<Vec<u8>>) {
        let mut wire: VecDeque<_> = messages.into_iter().map(|m| (to_theirs, m)).collect();
        let mut carried = 0;
        while let Some((to_theirs, message)) = wire.pop_front() {
            let answers = if to_theirs { self.theirs.take(&message) } else { self.ours.feed(&message) };
            wire.extend(answers.into_iter().map(|m| (!to_theirs, m)));
            carried += 1;
            assert!(carried < 200, "the two do not stop talking");
        }
    }

    fn talk(&mut self, count: u64) {
        for _ in 0..count {
            let (a, b) = (self.rng.next_u64(), self.rng.next_u64());
            let size = (self.rng.next_u32() % 1300) as usize;
            let sent = self.ours.send(&packet(a, size));
            self.carry(true, sent);
            assert_eq!(self.theirs.got.last(), Some(&a));
            let sent = self.theirs.send(&packet(b, size));
            self.carry(false, sent);
            assert_eq!(self.ours.got.last(), Some(&b));
        }
    }
}

#[test]
fn we_initiate() {
    for seed in 0..50 {
        let mut pair = Pair::new(seed, u64::MAX);
        for round in 0..20 {
            let sent = if round == 0 { vec![] } else { pair.ours.renew() };
            pair.carry(true, sent);
            pair.talk(3);
            assert_eq!(pair.ours.handshakes, round + 1);
        }
        assert_eq!(pair.theirs.got.len(), 60);
    }
}

#[test]
fn boringtun_initiates() {
    for seed in 0..50 {
        let mut pair = Pair::new(seed, u64::MAX);
        for round in 0..20 {
            let quiet = pair.ours.pass(Duration::from_millis(25));
            assert!(quiet.is_empty());
            let sent = pair.theirs.renew();
            pair.carry(false, sent);
            assert_eq!(pair.ours.handshakes, round + 1, "its keepalive confirms the session");
            pair.talk(3);
        }
    }
}

#[test]
fn by_turns_and_at_once() {
    for seed in 0..60 {
        let mut pair = Pair::new(seed, u64::MAX);
        for _ in 0..5 {
            let sent = pair.ours.renew();
            pair.carry(true, sent);
            pair.talk(1);
            // Both initiations are under way before either arrives.
            let ours = pair.ours.renew();
            let theirs = pair.theirs.renew();
            let (mut to_theirs, mut to_ours) = (ours, theirs);
            while !(to_theirs.is_empty() && to_ours.is_empty()) {
                let from_theirs: Vec<_> = to_theirs.iter().flat_map(|m| pair.theirs.take(m)).collect();
                let from_ours: Vec<_> = to_ours.iter().flat_map(|m| pair.ours.feed(m)).collect();
                (to_theirs, to_ours) = (from_ours, from_theirs);
            }
            pair.talk(2);
        }
    }
}

#[test]
fn boringtun_asks_for_a_cookie() {
    for seed in 0..50 {
        let mut pair = Pair::new(seed, 0);
        let sent = pair.ours.send(&packet(7, 0));
        pair.carry(true, sent);
        assert!(pair.theirs.got.is_empty());
        let again = pair.ours.pass(Duration::from_millis(600));
        assert_eq!(again.len(), 1);
        pair.carry(true, again);
        assert_eq!(pair.theirs.got, [7]);
        // The cookie is good for the next one as well; then it is too old, and another is asked for.
        let sent = pair.ours.renew();
        pair.carry(true, sent);
        assert_eq!(pair.ours.handshakes, 2);
        pair.ours.pass(Duration::from_secs(110));
        let sent = pair.ours.renew();
        pair.carry(true, sent);
        assert_eq!(pair.ours.handshakes, 2);
        let again = pair.ours.pass(Duration::from_millis(600));
        pair.carry(true, again);
        assert_eq!(pair.ours.handshakes, 3);
    }
}

#[test]
fn we_ask_for_a_cookie() {
    for seed in 0..50 {
        let mut pair = Pair::new(seed, u64::MAX);
        pair.ours.tunnel.set_load_limit(0);
        let sent = pair.theirs.send(&packet(7, 0));
        pair.carry(false, sent);
        assert!(pair.ours.got.is_empty());
        pair.ours.pass(Duration::from_millis(100));
        let again = pair.theirs.renew();
        pair.carry(false, again);
        assert_eq!(pair.ours.got, [7]);
        pair.talk(2);
    }
}

/// One run on a bad wire. Returns how many handshakes ended well and how many packets arrived.
fn bad_wire(seed: u64, steps: usize) -> (usize, usize) {
    let mut pair = Pair::new(seed, u64::MAX);
    let mut rng = ChaCha20Rng::seed_from_u64(seed ^ 0x5eed);
    let mut wire: Vec<(bool, Vec<u8>)> = Vec::new();
    let mut old: Vec<(bool, Vec<u8>)> = Vec::new();
    let mut sent = BTreeSet::new();
    let mut serial = 0u64;
    for _ in 0..steps {
        let dice = rng.next_u32();
        let (to_theirs, messages) = match dice % 32 {
            0..=2 => {
                serial += 1;
                sent.insert((true, serial));
                (true, pair.ours.send(&packet(serial, 10)))
            }
            3..=5 => {
                serial += 1;
                sent.insert((false, serial));
                (false, pair.theirs.send(&packet(serial, 10)))
            }
            6 => (true, pair.ours.renew()),
            7 => (false, pair.theirs.renew()),
            8 => (true, pair.ours.pass(Duration::from_millis(u64::from(dice >> 16) / 32))),
            9 => {
                // The wall clock steps, mostly back; sometimes the machine was suspended.
                pair.ours.wall = Wall(pair.ours.wall.0 / 2 + u64::from(dice));
                let jump = if dice >> 28 == 0 { 700 } else { 0 };
                (true, pair.ours.pass(Duration::from_secs(jump)))
            }
            10 if !old.is_empty() => {
                let (to_theirs, message) = old[rng.next_u32() as usize % old.len()].clone();
                (to_theirs, vec![message])
            }
            _ if !wire.is_empty() => {
                // Any one of those under way arrives, or is lost.
                let (to_theirs, message) = wire.swap_remove(rng.next_u32() as usize % wire.len());
                if rng.next_u32() % 5 == 0 {
                    continue;
                }
                let answers = if to_theirs { pair.theirs.take(&message) } else { pair.ours.feed(&message) };
                old.push((to_theirs, message));
                (!to_theirs, answers)
            }
            _ => continue,
        };
        wire.extend(messages.into_iter().map(|m| (to_theirs, m)));
        if wire.len() > 12 {
            wire.remove(0);
        }
        if old.len() > 200 {
            old.drain(..100);
        }
    }
    for (direction, got) in [(true, &pair.theirs.got), (false, &pair.ours.got)] {
        let once: BTreeSet<u64> = got.iter().copied().collect();
        assert_eq!(once.len(), got.len(), "seed {seed}: something arrived twice");
        assert!(once.iter().all(|n| sent.contains(&(direction, *n))), "seed {seed}: nobody sent that");
    }
    let done = (pair.ours.handshakes, pair.theirs.got.len() + pair.ours.got.len());
    // Calm: our attempts end or succeed, then a new handshake carries data both ways.
    for _ in 0..40 {
        let quiet = pair.ours.pass(Duration::from_secs(3));
        pair.carry(true, quiet);
    }
    let fresh = pair.ours.renew();
    pair.carry(true, fresh);
    pair.talk(5);
    done
}

#[test]
fn a_bad_wire_between_them() {
    let (mut handshakes, mut packets) = (0, 0);
    for seed in 0..40 {
        let (h, p) = bad_wire(seed, 600);
        handshakes += h;
        packets += p;
    }
    // The wire is bad, but it is a wire.
    assert!(handshakes > 400 && packets > 2000, "{handshakes} handshakes, {packets} packets");
}
