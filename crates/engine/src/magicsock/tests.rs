//! The paths to one peer in virtual time: who is asked when, what is trusted how long, what is bounded.

use super::boxes::SealedBox;
use super::disco::TxId;
use super::paths::{Act, Lately, Paths, To, Turn, Way};
use super::*;
use crate::drop::DropReason;
use crate::time::Mono;
use keys::{DiscoPrivate, DiscoPublic};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use std::net::SocketAddr;

mod hostile;

/// A peer's paths, the moment, and what they want done.
struct Bench {
    paths: Paths,
    now: Mono,
    rng: ChaCha8Rng,
    acts: Vec<Act>,
    /// Traffic goes on by itself.
    sending: bool,
    /// It is answered all the time.
    heard: bool,
    /// Where the peer sees us.
    seen_as: SocketAddr,
    /// Something comes from `from` all the time, if there is such.
    lately: Lately,
}

/// A transaction that has not been.
fn fresh(turn: &mut Turn<'_>) -> TxId {
    let mut tx = [0; 12];
    turn.rng.fill_bytes(&mut tx);
    TxId(tx)
}

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, n], 41641))
}

impl Bench {
    fn new(mapped: &[SocketAddr]) -> Self {
        let own = DiscoPrivate::from_bytes([3; 32]);
        let sealed = SealedBox::new(&own, &DiscoPublic::from_bytes([9; 32]));
        let now = Mono::from_millis(1_000_000);
        Self {
            paths: Paths::new(sealed, mapped.iter().copied(), now),
            now,
            rng: ChaCha8Rng::seed_from_u64(7),
            acts: Vec::new(),
            sending: false,
            heard: false,
            seen_as: at(250),
            lately: Lately::default(),
        }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Paths, &mut Turn<'_>) -> T) -> T {
        act(&mut self.paths, &mut Turn { now: self.now, rng: &mut self.rng, acts: &mut self.acts })
    }

    fn wake(&mut self) {
        self.act(Paths::wake);
    }

    /// Takes what is to be done: pings by address, and how many calls.
    fn take(&mut self) -> (Vec<(SocketAddr, TxId)>, usize) {
        let acts = std::mem::take(&mut self.acts);
        let calls = acts.iter().filter(|act| **act == Act::Call).count();
        let pings = acts.into_iter().filter_map(|act| match act {
            Act::Ping { to: To::Udp(to), tx, .. } => Some((to, tx)),
            _ => None,
        });
        (pings.collect(), calls)
    }

    fn pong(&mut self, tx: TxId, from: SocketAddr) -> Result<(), DropReason> {
        let src = self.seen_as;
        self.act(|paths, turn| paths.handle_pong(tx, To::Udp(from), src, turn))
    }

    /// Lets time pass. `answers` says after how many milliseconds an address answers, if it does.
    fn run(&mut self, millis: u64, answers: &dyn Fn(SocketAddr) -> Option<u64>) -> Seen {
        let end = self.now + Duration::from_millis(millis);
        let mut pongs: Vec<(Mono, SocketAddr, TxId)> = Vec::new();
        let mut seen = Seen::default();
        loop {
            for act in std::mem::take(&mut self.acts) {
                match act {
                    Act::Ping { to: To::Udp(to), tx, .. } => {
                        seen.pings.push((self.now, to));
                        if let Some(after) = answers(to) {
                            pongs.push((self.now + Duration::from_millis(after), to, tx));
                        }
                    }
                    Act::Ping { .. } | Act::Answered { .. } => {}
                    Act::Call => seen.calls.push(self.now),
                    Act::Lost => seen.lost.push(self.now),
                    Act::Moved => seen.moved.push(self.now),
                }
            }
            pongs.sort();
            let next =
                [self.paths.poll_timeout(), pongs.first().map(|pong| pong.0)].into_iter().flatten().min();
            let next = next.filter(|next| *next <= end && !self.paths.is_over(self.now.max(*next)));
            let Some(next) = next else { break };
            seen.turns += 1;
            assert!(seen.turns < 10_000, "timeouts without end");
            self.now = self.now.max(next);
            if pongs.first().is_some_and(|pong| pong.0 <= self.now) {
                let (_, from, tx) = pongs.remove(0);
                let _ = self.pong(tx, from);
            } else {
                let mut lately = self.lately;
                lately.sent = self.sending.then(|| self.now.tick());
                lately.received = (self.heard || lately.from.is_some()).then(|| self.now.tick());
                self.act(|paths, turn| paths.handle_timeout(&lately, turn));
            }
        }
        self.now = end;
        seen
    }
}

#[derive(Default)]
struct Seen {
    pings: Vec<(Mono, SocketAddr)>,
    calls: Vec<Mono>,
    lost: Vec<Mono>,
    moved: Vec<Mono>,
    turns: u32,
}

const NOBODY: &dyn Fn(SocketAddr) -> Option<u64> = &|_| None;

#[test]
fn the_first_packet_asks_all_addresses_and_calls() {
    let mut bench = Bench::new(&[at(1), at(2)]);
    assert_eq!((bench.paths.way(), bench.paths.is_awake()), (Way::Relay, false));
    bench.wake();
    let (pings, calls) = bench.take();
    assert_eq!((pings.len(), calls), (2, 1));
    assert_eq!(bench.paths.way(), Way::Relay, "a ping proves nothing");
    bench.now = bench.now + Duration::from_millis(30);
    assert_eq!(bench.pong(pings[1].1, at(2)), Ok(()));
    assert_eq!(bench.paths.way(), Way::Direct(at(2)));
    // The same one again is none.
    assert_eq!(bench.pong(pings[1].1, at(2)), Err(DropReason::Pong));
    // Slower: not better.
    bench.now = bench.now + Duration::from_millis(30);
    assert_eq!(bench.pong(pings[0].1, at(1)), Ok(()));
    assert_eq!(bench.paths.way(), Way::Direct(at(2)));
    bench.wake();
    assert_eq!(bench.take().0, [], "there is nothing to look for");
}

#[test]
fn pongs_that_prove_nothing() {
    let mut bench = Bench::new(&[at(1)]);
    bench.wake();
    let (pings, _) = bench.take();
    assert_eq!(bench.pong(TxId([1; 12]), at(1)), Err(DropReason::Pong));
    let relayed = bench.act(|paths, turn| paths.handle_pong(pings[0].1, To::Relay, at(250), turn));
    assert_eq!(relayed, Err(DropReason::Pong), "not the way it was sent");
    assert_eq!(bench.paths.way(), Way::Relay);
    // From another of the peer's addresses: the one that was asked works.
    assert_eq!(bench.pong(pings[0].1, at(9)), Ok(()));
    assert_eq!(bench.paths.way(), Way::Direct(at(1)));
    let mut late = Bench::new(&[at(1)]);
    late.wake();
    let (pings, _) = late.take();
    late.run(5_000, NOBODY);
    assert_eq!(late.pong(pings[0].1, at(1)), Err(DropReason::Pong), "five seconds late");
}

#[test]
fn a_path_is_kept_as_long_as_it_answers_and_left_within_seconds() {
    let mut bench = Bench::new(&[at(1), at(2)]);
    bench.sending = true;
    bench.wake();
    let good = |to: SocketAddr| (to == at(1)).then_some(4);
    let seen = bench.run(20_000, &good);
    assert_eq!(bench.paths.way(), Way::Direct(at(1)));
    // One heartbeat every three seconds to the path in use, nothing else: it is good enough.
    let later =
        seen.pings.iter().filter(|(when, _)| when.since(Mono::from_millis(1_006_000)) > Duration::ZERO);
    assert_eq!(later.clone().count(), 4);
    assert!(later.clone().all(|(_, to)| *to == at(1)));
    assert_eq!(seen.calls.len(), 1);
    // Silence: both ways after the trust is over, the relay alone when a ping has been in vain, addresses asked again.
    let mut ways = Vec::new();
    let mut seen = Seen::default();
    for _ in 0..140 {
        let more = bench.run(100, NOBODY);
        seen.pings.extend(more.pings);
        seen.calls.extend(more.calls);
        if ways.last() != Some(&bench.paths.way()) {
            ways.push(bench.paths.way());
        }
    }
    assert_eq!(ways, [Way::Direct(at(1)), Way::Doubtful(at(1)), Way::Relay]);
    assert!((2..=5).contains(&seen.calls.len()), "{:?}", seen.calls);
    // It comes back.
    bench.run(6_000, &good);
    assert_eq!(bench.paths.way(), Way::Direct(at(1)));
}

/// Whichever side notices first: the other hears a call while its own trust still lasts.
#[test]
fn a_path_that_dies_is_told_but_not_one_that_nobody_uses() {
    for called in [false, true] {
        let mut bench = Bench::new(&[at(1)]);
        bench.sending = true;
        bench.wake();
        assert_eq!(bench.run(20_000, &|_| Some(4)).lost, []);
        let died = bench.now;
        let mut lost = bench.run(2_000, NOBODY).lost;
        if called {
            let call = bench.act(|paths, turn| paths.handle_call([at(1)].into_iter(), turn));
            assert_eq!((call, bench.paths.way()), (Ok(()), Way::Doubtful(at(1))));
        }
        lost.extend(bench.run(58_000, NOBODY).lost);
        assert!((1..=2).contains(&lost.len()), "{lost:?}");
        assert!(lost.iter().all(|at| at.since(died) <= TRUST + HEARTBEAT), "{lost:?}");
    }
    let mut idle = Bench::new(&[at(1)]);
    idle.wake();
    assert_eq!(idle.run(100_000, &|_| Some(4)).lost, []);
}

#[test]
fn rounds_in_vain_get_rare_and_end_with_the_traffic() {
    let mut bench = Bench::new(&[at(1), at(2), at(3)]);
    bench.sending = true;
    bench.wake();
    let seen = bench.run(60_000, NOBODY);
    // 0, 1, 3, then every 5 s.
    assert!((13..=15).contains(&seen.calls.len()), "{}", seen.calls.len());
    assert!(seen.pings.len() <= 3 * 15, "{}", seen.pings.len());
    bench.sending = false;
    bench.run(60_000, NOBODY);
    assert!(!bench.paths.is_awake());
    let seen = bench.run(500_000, NOBODY);
    assert_eq!((seen.pings.len(), seen.calls.len(), seen.turns), (0, 0, 0), "nobody is woken for it");
    bench.run(100_000, NOBODY);
    assert!(bench.paths.is_over(bench.now), "and then it is forgotten");
}

#[test]
fn an_idle_path_costs_nothing_and_is_doubted_when_it_is_used_again() {
    let mut bench = Bench::new(&[at(1)]);
    bench.wake();
    let quick = |_: SocketAddr| Some(2);
    let seen = bench.run(60_000, &quick);
    assert!(seen.pings.len() <= 17, "{}", seen.pings.len());
    assert_eq!((bench.paths.way(), bench.paths.is_awake()), (Way::Doubtful(at(1)), false));
    assert_eq!(bench.run(300_000, &quick).turns, 0);
    bench.wake();
    bench.run(10, &quick);
    assert_eq!(bench.paths.way(), Way::Direct(at(1)));
}

#[test]
fn a_path_that_dies_is_left_at_the_second_ping_without_an_answer() {
    let mut bench = Bench::new(&[at(1)]);
    bench.sending = true;
    bench.wake();
    bench.run(20_000, &|_| Some(20));
    assert_eq!(bench.paths.way(), Way::Direct(at(1)));
    // One ping that is lost is asked again, and all is well.
    let lost = std::cell::Cell::new(0);
    let once = |_: SocketAddr| {
        lost.set(lost.get() + 1);
        (lost.get() % 2 == 0).then_some(20)
    };
    let seen = bench.run(20_000, &once);
    assert_eq!((bench.paths.way(), seen.lost.len(), seen.calls.len()), (Way::Direct(at(1)), 0, 0));
    let dead = bench.now;
    let seen = bench.run(10_000, NOBODY);
    let first = seen.lost.first().expect("it was noticed").since(dead);
    assert!(first <= HEARTBEAT + 2 * OVERDUE, "{first:?}");
    assert_eq!(bench.paths.way(), Way::Relay);
    // A slow path has more time.
    bench.run(20_000, &|_| Some(600));
    assert_eq!(bench.run(20_000, &|_| Some(1100)).lost.len(), 0);
    assert_eq!(bench.paths.way(), Way::Direct(at(1)));
}

/// Its data comes no more: nobody waits for the next heartbeat. What goes one way only is no reason to ask more often.
#[test]
fn a_conversation_that_falls_silent_is_asked_at_once() {
    let mut bench = Bench::new(&[at(1)]);
    (bench.sending, bench.heard) = (true, true);
    bench.wake();
    let usual = bench.run(60_000, &|_| Some(20)).pings.len();
    bench.heard = false;
    let seen = bench.run(60_000, &|_| Some(20));
    assert!((usual..=usual + 2).contains(&seen.pings.len()), "{} after {usual}", seen.pings.len());
    assert_eq!((seen.lost.len(), seen.moved.len()), (0, 0));
    bench.heard = true;
    for pause in (0..30).map(|n| 6_000 + n * 100) {
        bench.run(pause, &|_| Some(20));
        assert_eq!(bench.paths.way(), Way::Direct(at(1)));
        let died = bench.now;
        bench.heard = false;
        let seen = bench.run(10_000, NOBODY);
        let first = seen.lost.first().expect("it was noticed").since(died);
        assert!(first <= 3 * UNHEARD + OVERDUE, "{first:?}");
        bench.heard = true;
        bench.run(10_000, &|_| Some(20));
    }
}

/// A router on the way has another address, or has forgotten us, and the peer does not know.
#[test]
fn a_peer_that_sees_us_elsewhere_is_told_where_we_are() {
    let mut bench = Bench::new(&[at(1)]);
    (bench.sending, bench.heard) = (true, true);
    bench.wake();
    assert_eq!(bench.run(20_000, &|_| Some(20)).moved, []);
    (bench.heard, bench.seen_as) = (false, at(251));
    let moved = bench.now;
    let seen = bench.run(20_000, &|_| Some(20));
    assert_eq!(seen.moved.len(), 1, "{:?}", seen.moved);
    let noticed = seen.moved[0].since(moved);
    assert!(noticed <= 3 * UNHEARD + Duration::from_millis(20), "{noticed:?}");
    // We have moved ourselves, and know it.
    bench.act(Paths::doubt);
    bench.seen_as = at(252);
    assert_eq!(bench.run(20_000, &|_| Some(20)).moved, []);
}

#[test]
fn a_peer_that_moves_is_followed_when_its_old_address_is_silent() {
    let mut bench = Bench::new(&[at(1)]);
    bench.sending = true;
    bench.wake();
    bench.run(10_000, &|_| Some(20));
    let moved = |to: SocketAddr| (to == at(2)).then_some(20);
    let began = bench.now;
    bench.act(|paths, turn| paths.handle_ping(fresh(turn), To::Udp(at(2)), turn));
    bench.run(u64::try_from(OVERDUE.as_millis()).unwrap() + 30, &moved);
    assert_eq!(bench.paths.way(), Way::Direct(at(2)), "after {:?}", bench.now.since(began));
}

#[test]
fn a_silent_path_is_kept_by_what_comes_from_it() {
    let mut bench = Bench::new(&[at(1)]);
    (bench.sending, bench.lately.silent, bench.lately.from) = (true, true, Some(at(1)));
    bench.wake();
    let quick = |_: SocketAddr| Some(20);
    assert_eq!(bench.run(600_000, &quick).pings.len(), 1, "the first");
    assert_eq!(bench.paths.way(), Way::Direct(at(1)));
    // It comes from somewhere else, or not at all: asked again, and only so often.
    for from in [Some(at(9)), None] {
        bench.lately.from = from;
        let seen = bench.run(60_000, &quick);
        assert!((8..=10).contains(&seen.pings.len()), "{:?}", seen.pings);
        assert_eq!(bench.paths.way(), Way::Direct(at(1)));
        assert!(bench.run(20_000, NOBODY).pings.len() < 8);
        assert_eq!(bench.paths.way(), Way::Relay);
        bench.run(20_000, &quick);
    }
    // Nobody sends: nobody asks, and the next packet begins anew.
    bench.sending = false;
    assert!(bench.run(60_000, &quick).pings.len() <= 2);
    assert_eq!((bench.paths.way(), bench.paths.is_awake()), (Way::Doubtful(at(1)), false));
    bench.wake();
    assert_eq!(bench.take().0.len(), 1);
}

#[test]
fn a_better_path_is_looked_for_now_and_then() {
    let mut bench = Bench::new(&[at(1), at(2)]);
    bench.sending = true;
    bench.wake();
    bench.run(30_000, &|to| (to == at(1)).then_some(80));
    assert_eq!(bench.paths.way(), Way::Direct(at(1)));
    bench.run(65_000, &|to| Some(if to == at(1) { 80 } else { 20 }));
    assert_eq!(bench.paths.way(), Way::Direct(at(2)));
}

#[test]
fn a_ping_from_a_new_address_is_returned_while_there_is_no_path() {
    let mut bench = Bench::new(&[at(1)]);
    let ping = |bench: &mut Bench, n: u8| {
        bench.act(|paths, turn| paths.handle_ping(fresh(turn), To::Udp(at(n)), turn))
    };
    assert!(ping(&mut bench, 5));
    assert_eq!(bench.take().0, [], "nobody wants to send anything");
    bench.wake();
    assert_eq!(bench.take().0.len(), 2);
    assert!(ping(&mut bench, 6) && ping(&mut bench, 6));
    let (pings, _) = bench.take();
    assert_eq!(pings.iter().map(|ping| ping.0).collect::<Vec<_>>(), [at(6)], "once");
    // Pinged already, but perhaps too early for the peer's router.
    for _ in 0..2 {
        assert!(ping(&mut bench, 1) && ping(&mut bench, 1));
        assert_eq!(bench.take().0.iter().map(|ping| ping.0).collect::<Vec<_>>(), [at(1)], "once");
        bench.now = bench.now + ECHO_GAP;
    }
    assert_eq!(bench.pong(pings[0].1, at(6)), Ok(()));
    assert!(ping(&mut bench, 7) && ping(&mut bench, 7) && ping(&mut bench, 8));
    assert_eq!(
        bench.take().0.iter().map(|ping| ping.0).collect::<Vec<_>>(),
        [at(6)],
        "the path is fine, or is it"
    );
}

#[test]
fn a_call_is_followed_at_once_but_not_answered_with_one() {
    let mut bench = Bench::new(&[at(1)]);
    bench.wake();
    bench.take();
    let call = |bench: &mut Bench, all: &[SocketAddr]| {
        bench.act(|paths, turn| paths.handle_call(all.iter().copied(), turn))
    };
    assert_eq!(call(&mut bench, &[at(2), at(3)]), Ok(()));
    let (pings, calls) = bench.take();
    assert_eq!((pings.len(), calls), (3, 0));
    // The next one replaces what this one told.
    assert_eq!(call(&mut bench, &[at(3), at(4)]), Ok(()));
    assert_eq!(bench.paths.candidates().collect::<Vec<_>>(), [at(1), at(3), at(4)]);
}

#[test]
fn what_the_system_refuses_is_left_at_once() {
    let mut bench = Bench::new(&[at(1), at(2)]);
    bench.sending = true;
    bench.wake();
    bench.run(100, &|to| (to == at(1)).then_some(1));
    assert_eq!(bench.paths.way(), Way::Direct(at(1)));
    bench.act(Paths::unreachable);
    assert_eq!(bench.paths.way(), Way::Relay);
    bench.run(1_000, &|to| (to == at(2)).then_some(1));
    assert_eq!(bench.paths.way(), Way::Direct(at(2)));
}

#[test]
fn another_network_is_asked_at_once() {
    let mut bench = Bench::new(&[at(1)]);
    bench.sending = true;
    bench.wake();
    bench.run(100, &|_| Some(1));
    bench.act(Paths::doubt);
    assert_eq!(bench.paths.way(), Way::Doubtful(at(1)));
    assert_eq!(bench.take().0.len(), 1);
    // An idle one waits until it is used.
    let mut idle = Bench::new(&[at(1)]);
    idle.act(Paths::doubt);
    assert_eq!(idle.take(), (Vec::new(), 0));
}

#[test]
fn pings_that_somebody_waits_for() {
    let mut bench = Bench::new(&[at(1), at(2)]);
    bench.act(|paths, turn| paths.ping(true, 77, 1200, turn));
    let acts = bench.acts.clone();
    let pings: Vec<_> = acts
        .iter()
        .filter_map(|act| match act {
            Act::Ping { to, tx, padding: 1200 } => Some((*to, *tx)),
            _ => None,
        })
        .collect();
    assert_eq!(
        pings.iter().map(|ping| ping.0).collect::<Vec<_>>(),
        [To::Relay, To::Udp(at(1)), To::Udp(at(2))]
    );
    bench.take();
    bench.now = bench.now + Duration::from_millis(5);
    assert_eq!(bench.act(|paths, turn| paths.handle_pong(pings[0].1, To::Relay, at(250), turn)), Ok(()));
    assert_eq!(bench.acts, [Act::Answered { token: 77, rtt: Duration::from_millis(5), to: To::Relay }]);
    // Only the first answer is told, but each proves its path.
    assert_eq!(bench.pong(pings[2].1, at(2)), Ok(()));
    assert_eq!((bench.acts.len(), bench.paths.way()), (1, Way::Direct(at(2))));
    bench.acts.clear();
    bench.act(|paths, turn| paths.ping(false, 78, 0, turn));
    assert_eq!(bench.take().0.iter().map(|ping| ping.0).collect::<Vec<_>>(), [at(2)], "the one in use");
}

/// Anything that may happen.
#[derive(Debug, Clone)]
enum Event {
    Wake,
    Sends(bool),
    Ping(u8),
    Pong(u8),
    Forged(u8),
    Call(Vec<u8>),
    Mapped(Vec<u8>),
    Unreachable,
    Doubt,
    Asked(u32),
    Time(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let list = || proptest::collection::vec(any::<u8>(), 0..80);
    prop_oneof![
        Just(Event::Wake),
        any::<bool>().prop_map(Event::Sends),
        any::<u8>().prop_map(Event::Ping),
        any::<u8>().prop_map(Event::Pong),
        any::<u8>().prop_map(Event::Forged),
        list().prop_map(Event::Call),
        list().prop_map(Event::Mapped),
        Just(Event::Unreachable),
        Just(Event::Doubt),
        any::<u32>().prop_map(Event::Asked),
        (0u32..20_000).prop_map(Event::Time),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: room is bounded, timers move on, only a pong makes a path, and nobody who is
    /// idle is woken for ever.
    #[test]
    fn any_order_of_things(events in proptest::collection::vec(event(), 1..120)) {
        let mut bench = Bench::new(&[at(1)]);
        let (mut waiting, mut pongs) = (Vec::<(SocketAddr, TxId)>::new(), 0);
        for event in events {
            match event {
                Event::Wake => bench.wake(),
                Event::Sends(sends) => bench.sending = sends,
                Event::Ping(n) => drop(bench.act(|paths, turn| paths.handle_ping(fresh(turn), To::Udp(at(n)), turn))),
                Event::Pong(n) => {
                    if let Some((to, tx)) = waiting.get(n as usize).copied() {
                        pongs += u32::from(bench.pong(tx, to).is_ok());
                    }
                }
                Event::Forged(n) => prop_assert_eq!(bench.pong(TxId([n; 12]), at(n)), Err(DropReason::Pong)),
                Event::Call(all) => {
                    let _ = bench.act(|paths, turn| paths.handle_call(all.into_iter().map(at), turn));
                }
                Event::Mapped(all) => bench.act(|paths, turn| paths.set_mapped(all.into_iter().map(at), turn)),
                Event::Unreachable => bench.act(Paths::unreachable),
                Event::Doubt => bench.act(Paths::doubt),
                Event::Asked(token) => bench.act(|paths, turn| paths.ping(true, token, 0, turn)),
                Event::Time(millis) => {
                    let seen = bench.run(millis.into(), NOBODY);
                    prop_assert!(seen.turns <= 2 * WAITING as u32, "{} turns in {} ms", seen.turns, millis);
                }
            }
            waiting.extend(bench.take().0);
            prop_assert!(bench.paths.candidates().count() <= CANDIDATES);
            prop_assert!(pongs > 0 || bench.paths.way() == Way::Relay);
        }
        bench.sending = false;
        bench.run(700_000, NOBODY);
        prop_assert!(bench.paths.is_over(bench.now));
    }
}
