//! One NAT: mappings, permits and forwarded ports, and when they end.
//!
//! A mapping says which outer port a flow has; a permit says who may send to an outer port. They are kept apart because
//! RFC 4787 lets them depend on different things.

use super::behaviour::{Behaviour, Dependence, Ports};
use engine::time::Mono;
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where random outer ports begin: above all that machines of scenarios listen on, so that none is taken from one who
/// would keep it.
const FIRST_RANDOM: u16 = 50_000;

/// What is left of a remote address when a mapping or filter looks at it.
pub(super) type Seen = (Option<IpAddr>, Option<u16>);

pub(super) fn seen(by: Dependence, remote: SocketAddr) -> Seen {
    match by {
        Dependence::Endpoint => (None, None),
        Dependence::Address => (Some(remote.ip()), None),
        Dependence::AddressPort => (Some(remote.ip()), Some(remote.port())),
    }
}

#[derive(Debug)]
struct Mapping {
    /// Who asked for it first hand, however many NATs there are between.
    machine: usize,
    outer: u16,
    until: Mono,
}

/// A flow that came in by a forwarded port.
#[derive(Debug)]
struct Answer {
    outer: u16,
    until: Mono,
}

/// A NAT at work.
#[derive(Debug)]
pub(super) struct Nat {
    pub(super) behaviour: Behaviour,
    wan: Ipv4Addr,
    mappings: BTreeMap<(SocketAddr, Seen), Mapping>,
    permits: BTreeMap<(u16, Seen), Mono>,
    /// Ports that are forwarded for good, open to all.
    forwarded: BTreeMap<u16, SocketAddr>,
    /// Flows that came in by a forwarded port: answers leave by it.
    answers: BTreeMap<(SocketAddr, SocketAddr), Answer>,
    rng: ChaCha8Rng,
}

impl Nat {
    pub(super) fn new(behaviour: Behaviour, wan: Ipv4Addr, rng: ChaCha8Rng) -> Self {
        Self {
            behaviour,
            wan,
            mappings: BTreeMap::new(),
            permits: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            answers: BTreeMap::new(),
            rng,
        }
    }

    /// Forgets everything but forwarded ports: it was restarted, or got another address.
    pub(super) fn forget(&mut self, wan: Ipv4Addr) {
        self.wan = wan;
        self.mappings.clear();
        self.permits.clear();
        self.answers.clear();
    }

    pub(super) fn forward(&mut self, outer: u16, inner: SocketAddr) {
        self.forwarded.insert(outer, inner);
    }

    pub(super) fn unforward(&mut self, outer: u16) {
        self.forwarded.remove(&outer);
        self.answers.retain(|_, answer| answer.outer != outer);
    }

    /// How much it remembers.
    pub(super) fn len(&self) -> usize {
        self.mappings.len()
    }

    /// A machine's datagram goes out, from `inner` as it looks here; its address from then on.
    pub(super) fn outbound(
        &mut self,
        machine: usize,
        inner: SocketAddr,
        to: SocketAddr,
        now: Mono,
    ) -> SocketAddr {
        self.expire(now);
        let until = now + self.behaviour.lifetime;
        if let Some(answer) = self.answers.get_mut(&(inner, to)) {
            answer.until = until;
            return SocketAddr::new(self.wan.into(), answer.outer);
        }
        let key = (inner, seen(self.behaviour.mapping, to));
        let outer = match self.mappings.get(&key) {
            Some(mapping) => mapping.outer,
            None => self.choose(machine, inner),
        };
        self.mappings.insert(key, Mapping { machine, outer, until });
        self.permits.insert((outer, seen(self.behaviour.filtering, to)), until);
        SocketAddr::new(self.wan.into(), outer)
    }

    /// A datagram comes in; the machine it is for, if it may.
    pub(super) fn inbound(&mut self, from: SocketAddr, outer: u16, now: Mono) -> Option<SocketAddr> {
        self.expire(now);
        let until = now + self.behaviour.lifetime;
        if let Some(inner) = self.forwarded.get(&outer) {
            self.answers.insert((*inner, from), Answer { outer, until });
            return Some(*inner);
        }
        let inner = self.holder(outer)?;
        let permit = self.permits.get_mut(&(outer, seen(self.behaviour.filtering, from)))?;
        if self.behaviour.inbound_refreshes {
            *permit = until;
            // Of several mappings with this port, that of the sender; a stranger's datagram came through any of them.
            let sender = seen(self.behaviour.mapping, from);
            let of_port = self.mappings.iter_mut().filter(|(_, mapping)| mapping.outer == outer);
            if let Some((_, mapping)) = of_port.min_by_key(|((_, to), _)| *to != sender) {
                mapping.until = until;
            }
        }
        Some(inner)
    }

    /// For whom a datagram to this port is, whether or not it may pass.
    pub(super) fn holder(&self, outer: u16) -> Option<SocketAddr> {
        let mapped = || self.mappings.iter().find(|(_, m)| m.outer == outer).map(|((inner, _), _)| *inner);
        self.forwarded.get(&outer).copied().or_else(mapped)
    }

    fn choose(&mut self, machine: usize, inner: SocketAddr) -> u16 {
        let free = |nat: &Self, port: u16| nat.holder(port).is_none();
        let kept = inner.port();
        // What the machine left behind when it moved would have its port for as long as its peers knock there, and the
        // oracle knows of no ports that collide.
        let left = |(from, _): &(SocketAddr, Seen), mapping: &Mapping| {
            mapping.outer == kept && mapping.machine == machine && *from != inner
        };
        if self.mappings.iter().any(|(key, mapping)| left(key, mapping)) {
            self.mappings.retain(|key, mapping| !left(key, mapping));
            self.permits.retain(|(outer, _), _| *outer != kept);
        }
        if self.behaviour.ports == Ports::Kept && (free(self, kept) || self.holder(kept) == Some(inner)) {
            return kept;
        }
        loop {
            let port = FIRST_RANDOM + (self.rng.next_u32() % u32::from(u16::MAX - FIRST_RANDOM)) as u16;
            if free(self, port) {
                return port;
            }
        }
    }

    fn expire(&mut self, now: Mono) {
        self.mappings.retain(|_, mapping| mapping.until > now);
        self.permits.retain(|_, until| *until > now);
        self.answers.retain(|_, answer| answer.until > now);
    }
}
