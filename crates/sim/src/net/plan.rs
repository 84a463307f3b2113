//! What there is: sites in a tree below the internet, and the machines at them. A plain value; nothing here moves.

use super::behaviour::{Behaviour, Dependence};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A site's place in [`Plan::sites`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SiteIx(pub usize);

/// The top of the tree.
pub const INTERNET: SiteIx = SiteIx(0);

/// IPv4 of a site: a NAT between its LAN and the site above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V4 {
    /// Its address at the site above.
    pub wan: Ipv4Addr,
    /// The first three octets of the LAN. Several sites may have the same.
    pub lan: [u8; 3],
    /// How it translates.
    pub nat: Behaviour,
}

/// IPv6 of a site: no translation, and a stateful firewall that lets out everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firewall {
    /// Who may send to a machine that has sent something; `None`: everybody, always.
    pub filtering: Option<Dependence>,
    /// How long it remembers without traffic.
    pub lifetime: Duration,
}

impl Firewall {
    /// What routers have: answers only.
    pub const CLOSED: Self =
        Self { filtering: Some(Dependence::AddressPort), lifetime: Duration::from_secs(30) };
    /// None.
    pub const OPEN: Self = Self { filtering: None, lifetime: Duration::ZERO };
}

/// A network with one way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// In scenarios.
    pub name: String,
    /// The site above; the internet's is itself.
    pub parent: SiteIx,
    /// `None`: no IPv4 (the internet has it without a NAT).
    pub v4: Option<V4>,
    /// `None`: no IPv6.
    pub v6: Option<Firewall>,
    /// False: no UDP passes its way out.
    pub udp: bool,
}

/// A machine's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Where.
    pub site: SiteIx,
    /// Its address there.
    pub v4: Option<Ipv4Addr>,
    /// Its address there.
    pub v6: Option<Ipv6Addr>,
    /// The outer port that the site's NAT has been told to forward to this machine.
    pub mapped: Option<u16>,
}

/// A machine: one UDP port on all its interfaces. The first interface has the default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its UDP port.
    pub port: u16,
    /// Its interfaces.
    pub uplinks: Vec<Uplink>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The first is the internet.
    pub sites: Vec<Site>,
    /// In order of joining the world.
    pub machines: Vec<Machine>,
}

impl Default for Plan {
    fn default() -> Self {
        let internet =
            Site { name: "internet".into(), parent: INTERNET, v4: None, v6: Some(Firewall::OPEN), udp: true };
        Self { sites: vec![internet], machines: Vec::new() }
    }
}

impl Plan {
    /// Adds a site below `parent` with a LAN of its own.
    pub fn add_site(
        &mut self,
        name: &str,
        parent: SiteIx,
        nat: Option<Behaviour>,
        v6: Option<Firewall>,
    ) -> SiteIx {
        let number = self.sites.len() as u8;
        let wan = match self.lan(parent) {
            Some([a, b, c]) => Ipv4Addr::new(a, b, c, 100 + number),
            None => Ipv4Addr::new(203, 0, 113, number),
        };
        let v4 = nat.map(|nat| V4 { wan, lan: [192, 168, number], nat });
        self.sites.push(Site { name: name.into(), parent, v4, v6, udp: true });
        SiteIx(self.sites.len() - 1)
    }

    /// The site of that name.
    pub fn find(&self, name: &str) -> Option<SiteIx> {
        self.sites.iter().position(|site| site.name == name).map(SiteIx)
    }

    /// The interface that the machine of that number has at a site, with every family that the site has.
    pub fn uplink(&self, site: SiteIx, machine: usize) -> Uplink {
        let number = machine as u8 + 10;
        let v4 = match self.lan(site) {
            Some([a, b, c]) => Some(Ipv4Addr::new(a, b, c, number)),
            None => (site == INTERNET).then(|| Ipv4Addr::new(198, 51, 100, number)),
        };
        let v6 = self
            .site(site)
            .v6
            .map(|_| Ipv6Addr::new(0x2001, 0xdb8, site.0 as u16, 0, 0, 0, 0, u16::from(number)));
        Uplink { site, v4, v6, mapped: None }
    }

    /// A site.
    pub fn site(&self, ix: SiteIx) -> &Site {
        &self.sites[ix.0]
    }

    fn lan(&self, ix: SiteIx) -> Option<[u8; 3]> {
        self.site(ix).v4.as_ref().map(|v4| v4.lan)
    }

    /// Whether a site is at or below another.
    pub fn is_within(&self, mut site: SiteIx, above: SiteIx) -> bool {
        while site != above && site != INTERNET {
            site = self.site(site).parent;
        }
        site == above
    }

    /// The interface by which a machine sends to an address: one that shares a LAN with it, else the first with the
    /// family.
    pub fn way_out(&self, machine: usize, to: IpAddr) -> Option<&Uplink> {
        let usable = |up: &&Uplink| if to.is_ipv4() { up.v4.is_some() } else { up.v6.is_some() };
        let uplinks = || self.machines[machine].uplinks.iter().filter(usable);
        uplinks().find(|up| self.on_link(up.site, to)).or_else(|| uplinks().next())
    }

    fn on_link(&self, site: SiteIx, to: IpAddr) -> bool {
        match to {
            IpAddr::V4(to) => self.lan(site).is_some_and(|lan| to.octets().starts_with(&lan)),
            IpAddr::V6(to) => site != INTERNET && to.segments()[2] == site.0 as u16,
        }
    }
}

impl Machine {
    /// Its own addresses, in order of its interfaces.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let both = |up: &Uplink| [up.v4.map(IpAddr::V4), up.v6.map(IpAddr::V6)];
        self.uplinks.iter().flat_map(both).flatten().collect()
    }
}

impl Uplink {
    /// Its address of a family.
    pub fn address(&self, v4: bool) -> Option<IpAddr> {
        if v4 { self.v4.map(IpAddr::V4) } else { self.v6.map(IpAddr::V6) }
    }
}

impl Plan {
    /// The outer address that forwards to a machine, by its first interface that has one.
    pub fn forwarded(&self, machine: usize) -> Option<SocketAddr> {
        self.machines[machine].uplinks.iter().find_map(|up| {
            let v4 = self.site(up.site).v4.as_ref()?;
            Some(SocketAddr::new(v4.wan.into(), up.mapped?))
        })
    }
}
