//! The addresses at which a peer may be reached: from the map, from its calls, from its own pings. Few, whatever is told.

use super::disco::TxId;
use super::{CANDIDATES, HEARD};
use crate::time::Mono;
use std::net::{IpAddr, SocketAddr};

/// An address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) addr: SocketAddr,
    /// Control tells it.
    mapped: bool,
    /// The peer's last call told it.
    called: bool,
    /// The peer's last ping from there.
    pub(super) heard: Option<Mono>,
    /// Our last ping to it.
    pub(super) pinged: Option<Mono>,
    /// Where its last pong says that we are.
    pub(super) seen_as: Option<SocketAddr>,
}

/// Those of one peer.
#[derive(Debug, Default)]
pub(super) struct Candidates(Vec<Candidate>);

/// Which addresses can be tried at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Families {
    /// There is UDP over IPv4.
    pub v4: bool,
    /// There is UDP over IPv6.
    pub v6: bool,
}

impl Families {
    /// Whether a datagram may be sent there. Addresses of tailnets would lead into the tunnel, and link-local ones of
    /// IPv6 mean nothing without an interface.
    pub fn reach(self, at: &SocketAddr) -> bool {
        if at.port() == 0 {
            return false;
        }
        match at.ip() {
            IpAddr::V4(ip) => {
                let tailnet = matches!(ip.octets(), [100, 64..=127, ..]);
                self.v4 && !tailnet && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast()
            }
            IpAddr::V6(ip) => {
                let tailnet = matches!(ip.segments(), [0xfd7a, 0x115c, 0xa1e0, ..]);
                let plain = !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local();
                self.v6 && !tailnet && plain && ip.to_ipv4_mapped().is_none()
            }
        }
    }
}

impl Candidates {
    /// What control tells takes the place of what it told before.
    pub(super) fn set_mapped(&mut self, told: impl Iterator<Item = SocketAddr>) {
        self.0.iter_mut().for_each(|known| known.mapped = false);
        for addr in told {
            if let Some(known) = self.entry(addr) {
                known.mapped = true;
            }
        }
        self.prune(None);
    }

    /// What a call tells takes the place of what the last one told. All are due at once.
    pub(super) fn set_called(&mut self, told: impl Iterator<Item = SocketAddr>) {
        self.0.iter_mut().for_each(|known| known.called = false);
        for addr in told {
            if let Some(known) = self.entry(addr) {
                known.called = true;
            }
        }
        self.prune(None);
        self.0.iter_mut().for_each(|known| known.pinged = None);
    }

    /// The peer has sent a ping from there; the candidate, if there is room for it.
    pub(super) fn hear(&mut self, addr: SocketAddr, now: Mono) -> Option<&mut Candidate> {
        let known = self.entry(addr)?;
        known.heard = Some(now);
        Some(known)
    }

    /// Forgets what only pings have told, long ago.
    pub(super) fn prune(&mut self, now: Option<Mono>) {
        self.0.retain(|known| {
            let heard = known.heard.is_some_and(|at| now.is_none_or(|now| now.since(at) < HEARD));
            known.mapped || known.called || heard
        });
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Candidate> {
        self.0.iter_mut()
    }

    pub(super) fn addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.iter().map(|known| known.addr)
    }

    pub(super) fn get_mut(&mut self, addr: SocketAddr) -> Option<&mut Candidate> {
        self.0.iter_mut().find(|known| known.addr == addr)
    }

    /// When the peer last sent a ping.
    pub(super) fn last_heard(&self) -> Option<Mono> {
        self.0.iter().filter_map(|known| known.heard).max()
    }

    /// The address, new if need be. With no room left, the one gives way that only a ping has told, longest ago.
    fn entry(&mut self, addr: SocketAddr) -> Option<&mut Candidate> {
        if let Some(at) = self.0.iter().position(|known| known.addr == addr) {
            return self.0.get_mut(at);
        }
        let new = Candidate { addr, mapped: false, called: false, heard: None, pinged: None, seen_as: None };
        if self.0.len() < CANDIDATES {
            self.0.push(new);
            return self.0.last_mut();
        }
        let fleeting = self.0.iter_mut().filter(|known| !known.mapped && !known.called);
        let place = fleeting.min_by_key(|known| known.heard)?;
        *place = new;
        Some(place)
    }
}

/// A ping of ours on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) tx: TxId,
    pub(super) to: super::paths::To,
    pub(super) at: Mono,
    /// Bytes of the IP packet.
    pub(super) mtu: u16,
    /// Somebody waits for it.
    pub(super) token: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n + 1))
    }

    #[test]
    fn sources_replace_their_own_only() {
        let mut all = Candidates::default();
        all.set_mapped([at(1), at(2)].into_iter());
        all.set_called([at(2), at(3)].into_iter());
        all.hear(at(4), Mono::from_millis(1));
        all.set_mapped([at(5)].into_iter());
        assert_eq!(all.addrs().collect::<Vec<_>>(), [at(2), at(3), at(4), at(5)]);
        all.set_called(std::iter::empty());
        assert_eq!(all.addrs().collect::<Vec<_>>(), [at(4), at(5)]);
        all.prune(Some(Mono::from_millis(1) + HEARD));
        assert_eq!(all.addrs().collect::<Vec<_>>(), [at(5)]);
    }

    #[test]
    fn room_is_bounded() {
        let mut all = Candidates::default();
        all.set_mapped((0..1000).map(at));
        assert_eq!(all.0.len(), CANDIDATES);
        assert!(all.hear(at(2000), Mono::ZERO).is_none(), "what control tells stays");
        all.set_mapped((0..3).map(at));
        for n in 100..1000 {
            assert!(all.hear(at(n), Mono::from_millis(n.into())).is_some());
        }
        assert_eq!(all.0.len(), CANDIDATES);
        let kept: Vec<_> = all.addrs().collect();
        assert!((0..3).chain(1000 - 45..1000).all(|n| kept.contains(&at(n))), "{kept:?}");
    }

    #[test]
    fn what_is_no_address_of_a_peer() {
        let both = Families { v4: true, v6: true };
        let reach = |at: &str| both.reach(&at.parse().expect("an address"));
        for good in ["1.2.3.4:5", "192.168.0.1:41641", "[2001:db8::1]:1", "[fd00::1]:1", "127.0.0.1:9"] {
            assert!(reach(good), "{good}");
        }
        for bad in [
            "1.2.3.4:0",
            "0.0.0.0:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "100.64.0.1:41641",
            "[::]:1",
            "[ff02::1]:1",
            "[fe80::1]:1",
            "[fd7a:115c:a1e0::1]:1",
            "[::ffff:1.2.3.4]:1",
        ] {
            assert!(!reach(bad), "{bad}");
        }
        assert!(!Families { v4: false, v6: true }.reach(&at(1)));
    }
}
