//! Carries datagrams: up through the sites of the sender, and later down through those of the receiver.
//!
//! NATs and firewalls on the way up see a datagram when it is sent, those on the way down when it arrives: that is what
//! makes two sides that knock at the same time get through.

use super::nat::Nat;
use super::plan::{INTERNET, Plan, SiteIx, Uplink};
use super::wall::Wall;
use engine::time::Mono;
use netmap::RegionId;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where STUN servers listen.
pub const STUN_PORT: u16 = 3478;

/// A datagram that has reached the site that knows its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    level: SiteIx,
    /// Who it seems to come from.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
}

/// Where a datagram ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At a machine, by its place in the plan.
    Machine(usize),
    /// At a region's STUN server.
    Server(RegionId),
}

/// Who has an address at a site.
enum Owner {
    Machine(usize),
    Below(SiteIx),
    Server(RegionId),
}

/// The network at work.
#[derive(Debug)]
pub struct Network {
    plan: Plan,
    seed: u64,
    nats: BTreeMap<SiteIx, Nat>,
    walls: BTreeMap<SiteIx, Wall>,
    servers: BTreeMap<RegionId, [IpAddr; 2]>,
}

impl Network {
    /// A network by plan.
    pub fn new(plan: Plan, seed: u64) -> Self {
        let mut net = Self {
            plan: Plan::default(),
            seed,
            nats: BTreeMap::new(),
            walls: BTreeMap::new(),
            servers: BTreeMap::new(),
        };
        net.set_plan(plan);
        net
    }

    /// What there is.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    fn set_plan(&mut self, plan: Plan) {
        for (ix, site) in plan.sites.iter().enumerate().map(|(n, site)| (SiteIx(n), site)) {
            if let Some(v4) = &site.v4 {
                let rng = ChaCha8Rng::seed_from_u64(self.seed ^ ((ix.0 as u64) << 32));
                self.nats.entry(ix).or_insert_with(|| Nat::new(v4.nat, v4.wan, rng));
            }
            if let Some(firewall) = site.v6 {
                self.walls.entry(ix).or_insert_with(|| Wall::new(firewall));
            }
        }
        let machines = plan.machines.clone();
        self.plan = Plan { machines: Vec::new(), ..plan };
        for machine in machines {
            self.add(machine.port, machine.uplinks);
        }
    }

    /// Adds a machine; its place in the plan.
    pub fn add(&mut self, port: u16, uplinks: Vec<Uplink>) -> usize {
        let number = self.plan.machines.len();
        self.plan.machines.push(super::plan::Machine { port, uplinks: Vec::new() });
        self.plug(number, uplinks);
        number
    }

    /// Gives a machine other interfaces: it moves.
    pub fn plug(&mut self, machine: usize, uplinks: Vec<Uplink>) {
        let port = self.plan.machines[machine].port;
        let before = std::mem::take(&mut self.plan.machines[machine].uplinks);
        for up in before {
            if let (Some(outer), Some(nat)) = (up.mapped, self.nats.get_mut(&up.site)) {
                nat.unforward(outer);
            }
        }
        for up in &uplinks {
            if let (Some(outer), Some(v4), Some(nat)) = (up.mapped, up.v4, self.nats.get_mut(&up.site)) {
                nat.forward(outer, SocketAddr::new(v4.into(), port));
            }
        }
        self.plan.machines[machine].uplinks = uplinks;
    }

    /// Lets UDP pass a site's way out or not.
    pub fn set_udp(&mut self, site: SiteIx, udp: bool) {
        self.plan.sites[site.0].udp = udp;
    }

    /// A site's router forgets what it knew and gets another outer address.
    pub fn restart(&mut self, site: SiteIx) {
        if let (Some(nat), Some(v4)) = (self.nats.get_mut(&site), self.plan.sites[site.0].v4.as_mut()) {
            let [a, b, c, d] = v4.wan.octets();
            // Far from the other sites' and not back where it came from within a scenario.
            v4.wan = Ipv4Addr::new(a, b, c, if d < 240 { d.saturating_add(10) } else { d - 129 });
            nat.forget(v4.wan);
        }
        if let Some(wall) = self.walls.get_mut(&site) {
            wall.forget();
        }
    }

    /// How many mappings all NATs have.
    pub fn mappings(&self) -> usize {
        self.nats.values().map(Nat::len).sum()
    }

    /// A region's STUN server, IPv4 and IPv6; it is there from the first call on.
    pub fn server(&mut self, region: RegionId) -> [SocketAddr; 2] {
        let low = region.0;
        let addresses = self.servers.entry(region).or_insert_with(|| {
            let [a, b] = low.to_be_bytes();
            [
                Ipv4Addr::new(198, 18, a, b).into(),
                Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, low).into(),
            ]
        });
        addresses.map(|ip| SocketAddr::new(ip, STUN_PORT))
    }

    /// A machine sends: how far it gets at once. `None`: it is dropped on the way up or nobody has the address.
    pub fn send(&mut self, machine: usize, to: SocketAddr, now: Mono) -> Option<Flight> {
        let v4 = to.is_ipv4();
        let up = self.plan.way_out(machine, to.ip())?;
        let mut from = SocketAddr::new(up.address(v4)?, self.plan.machines[machine].port);
        let mut level = up.site;
        loop {
            if self.owner(level, to.ip()).is_some() {
                return Some(Flight { level, from, to });
            }
            if level == INTERNET || !self.plan.site(level).udp {
                return None;
            }
            if v4 {
                from = self.nats.get_mut(&level)?.outbound(machine, from, to, now);
            } else {
                self.walls.get_mut(&level)?.outbound(from, to, now);
            }
            level = self.plan.site(level).parent;
        }
    }

    /// A datagram from a server.
    pub fn answer(&mut self, flight: Flight) -> Flight {
        Flight { level: INTERNET, from: flight.to, to: flight.from }
    }

    /// Where a datagram would end if nothing kept it out.
    pub fn aim(&self, flight: Flight) -> Option<Place> {
        let (mut level, mut to) = (flight.level, flight.to);
        loop {
            match self.owner(level, to.ip())? {
                Owner::Machine(n) => return Some(Place::Machine(n)),
                Owner::Server(region) => return Some(Place::Server(region)),
                Owner::Below(site) => {
                    if to.is_ipv4() {
                        to = self.nats.get(&site)?.holder(to.port())?;
                    }
                    level = site;
                }
            }
        }
    }

    /// A datagram arrives: where, if all that it meets on its way down lets it in.
    pub fn arrive(&mut self, flight: Flight, now: Mono) -> Option<Place> {
        let Flight { mut level, from, mut to } = flight;
        loop {
            match self.owner(level, to.ip())? {
                Owner::Machine(n) => {
                    return (self.plan.machines[n].port == to.port()).then_some(Place::Machine(n));
                }
                Owner::Server(region) => return (to.port() == STUN_PORT).then_some(Place::Server(region)),
                Owner::Below(site) => {
                    if !self.plan.site(site).udp {
                        return None;
                    }
                    if to.is_ipv4() {
                        let nat = self.nats.get_mut(&site)?;
                        if from.ip() == to.ip() && !nat.behaviour.hairpin {
                            return None;
                        }
                        to = nat.inbound(from, to.port(), now)?;
                    } else if !self.walls.get_mut(&site)?.inbound(from, to, now) {
                        return None;
                    }
                    level = site;
                }
            }
        }
    }

    /// Who has an address as seen from a site.
    fn owner(&self, level: SiteIx, ip: IpAddr) -> Option<Owner> {
        if level == INTERNET {
            let server = self.servers.iter().find(|(_, addresses)| addresses.contains(&ip));
            if let Some((region, _)) = server {
                return Some(Owner::Server(*region));
            }
        }
        for (n, machine) in self.plan.machines.iter().enumerate() {
            for up in machine.uplinks.iter().filter(|up| up.address(ip.is_ipv4()) == Some(ip)) {
                if up.site == level {
                    return Some(Owner::Machine(n));
                }
                if ip.is_ipv6() && self.plan.is_within(up.site, level) {
                    return self.child_towards(level, up.site).map(Owner::Below);
                }
            }
        }
        let IpAddr::V4(v4) = ip else { return None };
        let mut sites = self.plan.sites.iter().enumerate().skip(1);
        let wan =
            sites.find(|(_, site)| site.parent == level && site.v4.as_ref().is_some_and(|nat| nat.wan == v4));
        wan.map(|(n, _)| Owner::Below(SiteIx(n)))
    }

    /// The site directly below `level` on the way down to `site`.
    fn child_towards(&self, level: SiteIx, mut site: SiteIx) -> Option<SiteIx> {
        while site != INTERNET {
            let parent = self.plan.site(site).parent;
            if parent == level {
                return Some(site);
            }
            site = parent;
        }
        None
    }
}
