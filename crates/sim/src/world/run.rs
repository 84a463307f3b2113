//! The loop that lets time pass: events and timers in order, and everything that nodes give into the network.

use super::{Event, NodeIx, Place, World};
use crate::link::Path;
use crate::net::{Flight, Place as Spot, stun};
use crate::node::{SimNode, Source, Transmit};
use engine::time::Mono;
use netmap::{Node, RegionId};
use std::net::SocketAddr;
use std::time::Duration;

/// Timeouts a node may have without time passing: more is a loop that would burn a real machine's battery.
const MAX_SPIN: u32 = 8;
/// Datagrams a node may send in one go.
const MAX_BURST: usize = 10_000;

/// Between whom a datagram is underway.
#[derive(Clone, Copy)]
enum Wire {
    Nodes(NodeIx, NodeIx),
    /// From a node to a region's STUN server, or back.
    Stun(NodeIx, RegionId, bool),
}

impl<N: SimNode> World<N> {
    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.clock.after(duration));
    }

    /// Lets time pass until `limit`, events of that moment included.
    pub fn run_until(&mut self, limit: Mono) {
        while let Some(next) = self.next_at().filter(|next| *next <= limit) {
            self.clock.advance(next);
            self.turn();
        }
        self.clock.advance(limit);
    }

    /// Lets time pass until `done` says so, at most until `limit`; whether it did.
    pub fn run_while(&mut self, limit: Mono, mut unfinished: impl FnMut(&Self) -> bool) -> bool {
        while unfinished(self) {
            let Some(next) = self.next_at().filter(|next| *next <= limit) else { return false };
            self.clock.advance(next);
            self.turn();
        }
        true
    }

    /// The next moment at which anything happens.
    fn next_at(&self) -> Option<Mono> {
        let timers = self.places.iter().filter(|place| place.awake).filter_map(|p| p.node.poll_timeout());
        timers.chain(self.queue.next_at()).min()
    }

    /// Everything of one moment: first what arrives, then timers in order of the nodes.
    fn turn(&mut self) {
        while let Some(event) = self.queue.pop(self.clock.now()) {
            self.deliver(event);
        }
        for ix in (0..self.places.len()).map(NodeIx) {
            let at = self.moment(ix);
            let place = self.place_mut(ix);
            if !place.awake {
                continue;
            }
            if place.node.poll_timeout().is_none_or(|due| due > at.mono) {
                continue;
            }
            let (when, times) = place.spins;
            place.spins = (at.mono, if when == at.mono { times + 1 } else { 1 });
            assert!(place.spins.1 <= MAX_SPIN, "{} wants to be woken at once, again and again", place.name);
            place.node.handle_timeout(at);
            self.drain(ix);
        }
    }

    fn deliver(&mut self, event: Event) {
        let ix = match &event {
            Event::Udp { flight, bytes } => match self.net.arrive(*flight, self.clock.now()) {
                Some(Spot::Machine(n)) => NodeIx(n),
                Some(Spot::Server(region)) => return self.serve(region, *flight, bytes),
                None => return,
            },
            Event::Derp { to, .. } | Event::News(to, _) => *to,
        };
        let at = self.moment(ix);
        match event {
            Event::Derp { to, region, era, .. }
                if !self.regions.get_mut(&region).is_some_and(|region| region.delivers(era, to)) => {}
            Event::News(..) if !self.place_mut(ix).awake => self.place_mut(ix).missed_news = true,
            _ if !self.place_mut(ix).awake => {}
            Event::Udp { flight: Flight { from, .. }, bytes } => {
                self.log_arrival(ix, &from.to_string(), &bytes);
                self.place_mut(ix).node.handle_datagram(Source::Udp(from), &bytes, at);
            }
            Event::Derp { region, peer, bytes, .. } => {
                self.log_arrival(ix, &format!("region {region}"), &bytes);
                self.place_mut(ix).node.handle_datagram(Source::Derp { region, peer }, &bytes, at);
            }
            Event::News(_, news) => self.place_mut(ix).node.handle_news(&news, at),
        }
        self.drain(ix);
    }

    /// A STUN server answers.
    fn serve(&mut self, region: RegionId, flight: Flight, bytes: &[u8]) {
        if let Some(answer) = stun::answer(bytes, flight.from)
            && self.regions.get(&region).is_some_and(crate::Region::is_up)
        {
            let back = self.net.answer(flight);
            if let Some(Spot::Machine(n)) = self.net.aim(back) {
                self.underway(back, answer, Wire::Stun(NodeIx(n), region, true));
            }
        }
    }

    /// Puts a datagram on its way.
    fn underway(&mut self, flight: Flight, bytes: Vec<u8>, wire: Wire) {
        let now = self.clock.now();
        let path = match wire {
            Wire::Nodes(from, to) => {
                self.paths.entry((from, to)).or_insert_with(|| Path::new(self.default_link))
            }
            Wire::Stun(node, region, back) => self.stun.entry((node, region, back)).or_default(),
        };
        for arrival in path.send(bytes.len(), now, &mut self.rng).into_iter().flatten() {
            self.queue.push(arrival, Event::Udp { flight, bytes: bytes.clone() });
        }
    }

    fn send_udp(&mut self, ix: NodeIx, to: SocketAddr, bytes: Vec<u8>) {
        // A datagram to an address where nobody is vanishes.
        let Some(flight) = self.net.send(ix.0, to, self.clock.now()) else { return };
        match self.net.aim(flight) {
            Some(Spot::Machine(n)) => self.underway(flight, bytes, Wire::Nodes(ix, NodeIx(n))),
            Some(Spot::Server(region)) => self.underway(flight, bytes, Wire::Stun(ix, region, false)),
            None => {}
        }
    }

    fn log_arrival(&mut self, ix: NodeIx, from: &str, bytes: &[u8]) {
        if self.log_datagrams {
            self.remark(ix, &format!("< {from}: {}", N::describe(bytes)));
        }
    }

    /// Takes everything a node has to give.
    pub(super) fn drain(&mut self, ix: NodeIx) {
        let at = self.moment(ix);
        for count in 0.. {
            let place = self.place_mut(ix);
            let Some(transmit) = place.node.poll_transmit(at) else { break };
            assert!(count < MAX_BURST, "{} sends without end", place.name);
            self.transmit(ix, transmit);
        }
        while let Some(packet) = self.place_mut(ix).node.poll_host() {
            self.place_mut(ix).host.push(packet);
        }
        while let Some(note) = self.place_mut(ix).node.poll_note() {
            self.remark(ix, &note);
        }
        if let Some(known) = self.control.node(ix).cloned()
            && let Some(endpoints) = self.place_mut(ix).node.poll_endpoints()
        {
            let node = Node { endpoints: endpoints.into_iter().collect(), ..known };
            let mail = self.control.put(ix, node, false, self.clock.now());
            self.post(mail);
        }
    }

    fn transmit(&mut self, ix: NodeIx, transmit: Transmit) {
        let now = self.clock.now();
        let Place { key: peer, awake, .. } = self.places[ix.0];
        if !awake {
            return;
        }
        match transmit {
            Transmit::Udp { to, bytes } => self.send_udp(ix, to, bytes),
            Transmit::Derp { region: id, to, bytes } => {
                let to = self.places.iter().position(|place| place.key == to).map(NodeIx);
                let Some(region) = self.regions.get_mut(&id) else { return };
                let (arrivals, era) = region.send(ix, to, bytes.len(), now, &mut self.rng);
                let Some(to) = to else { return };
                for arrival in arrivals.into_iter().flatten() {
                    let bytes = bytes.clone();
                    self.queue.push(arrival, Event::Derp { to, region: id, peer, era, bytes });
                }
            }
        }
    }
}
