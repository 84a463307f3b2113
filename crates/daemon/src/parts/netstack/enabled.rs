//! Quad-100 in the userspace stack. Leaves out: how packets come and go (`dataplane`), what queries mean (`parts::dns`).

use super::Query;
use engine::drop::DropReason;
use engine::time::Mono;
use netmap::{SERVICE_V4, SERVICE_V6};
use netstack::quad100::{self, Quad100};
use std::cell::RefCell;
use std::net::IpAddr;

pub use netstack::quad100::Back;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("netstack");

/// All services.
pub struct Services(RefCell<Quad100>);

/// Where services of ours are, for a node with these addresses: of the same families.
pub fn addresses(own: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (mut v4, mut v6) = (None, None);
    for ip in own {
        match ip {
            IpAddr::V4(_) => v4 = Some(SERVICE_V4.into()),
            IpAddr::V6(_) => v6 = Some(SERVICE_V6.into()),
        }
    }
    [v4, v6].into_iter().flatten().collect()
}

impl Services {
    /// For packets of up to `mtu` bytes; `seed` is random.
    pub fn new(mtu: usize, seed: u64) -> Self {
        Self(RefCell::new(Quad100::new(&[SERVICE_V4.into(), SERVICE_V6.into()], mtu, seed)))
    }

    /// Takes a packet; [`Self::poll`] after the last of several.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle(&self, packet: &[u8], now: Mono) -> Result<(), DropReason> {
        self.0.borrow_mut().handle(packet, now)
    }

    /// The next query. Each is to be answered once.
    pub fn next_query(&self) -> Option<Query> {
        let quad100::Query { bytes, back, .. } = self.0.borrow_mut().next_query()?;
        Some(Query { bytes, stream: back.is_stream(), back })
    }

    /// The answer to a query, or that there is none.
    pub fn answer(&self, back: Back, answer: Option<&[u8]>) {
        self.0.borrow_mut().answer(back, answer);
    }

    /// The next packet for this machine.
    pub fn next_packet(&self) -> Option<Vec<u8>> {
        self.0.borrow_mut().next_packet()
    }

    /// Lets streams go on and time out.
    pub fn poll(&self, now: Mono) {
        self.0.borrow_mut().poll(now);
    }

    /// When [`Self::poll`] is due.
    pub fn poll_timeout(&self, now: Mono) -> Option<Mono> {
        self.0.borrow_mut().poll_timeout(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_of_our_own_families() {
        let of = |own: &[&str]| {
            let all = addresses(own.iter().map(|ip| ip.parse().expect("address")));
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&[]), "");
        assert_eq!(of(&["100.64.0.1"]), "100.100.100.100");
        assert_eq!(of(&["fd7a:115c:a1e0::1", "100.64.0.1"]), "100.100.100.100 fd7a:115c:a1e0::53");
    }
}
