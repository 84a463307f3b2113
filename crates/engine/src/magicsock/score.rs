//! Which of two working paths is better (protocol reference §3.5).

use super::OVERDUE;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A path that has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality {
    /// The peer's address.
    pub addr: SocketAddr,
    /// There and back.
    pub latency: Duration,
    /// Bytes of the largest IP packet known to pass.
    pub mtu: u16,
}

impl Quality {
    /// An answer that takes longer may not come any more.
    pub(super) fn patience(&self) -> Duration {
        OVERDUE.max(self.latency * 4)
    }

    /// Whether this path is to be taken instead of `other`. Not unless it is clearly better: two that are nearly alike
    /// must not alternate.
    pub fn is_better(&self, other: &Self) -> bool {
        if self.addr == other.addr {
            return self.mtu > other.mtu;
        }
        let (mine, theirs) = (self.latency.as_nanos(), other.latency.as_nanos());
        // How many percent the faster one is faster.
        let gain = |fast: u128, slow: u128| 100 - (fast * 100 / slow.max(1)).min(100) as u32;
        let (mut a, mut b) = match mine > theirs {
            true => (0, gain(theirs, mine)),
            false if theirs > 0 => (gain(mine, theirs), 0),
            false => (0, 0),
        };
        a += bonus(self.addr.ip());
        b += bonus(other.addr.ip());
        a > b && !(a <= 1 && b == 0)
    }
}

/// Points for being near, and for having no NAT.
fn bonus(ip: IpAddr) -> u32 {
    let (loopback, link_local, private) = match ip {
        IpAddr::V4(ip) => (ip.is_loopback(), ip.is_link_local(), ip.is_private()),
        IpAddr::V6(ip) => (ip.is_loopback(), ip.is_unicast_link_local(), ip.is_unique_local()),
    };
    let near = match (loopback, link_local, private) {
        (true, ..) => 50,
        (_, true, _) => 30,
        (_, _, true) => 20,
        _ => 0,
    };
    near + if ip.is_ipv6() { 10 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(addr: &str, ms: u64) -> Quality {
        Quality { addr: addr.parse().expect("an address"), latency: Duration::from_millis(ms), mtu: 1360 }
    }

    fn better(a: (&str, u64), b: (&str, u64)) -> bool {
        path(a.0, a.1).is_better(&path(b.0, b.1))
    }

    #[test]
    fn who_wins() {
        const V4: &str = "1.2.3.4:555";
        const OTHER: &str = "5.6.7.8:999";
        const V6: &str = "[2001::5]:123";
        for (a, b, wins) in [
            ((V4, 9), (V4, 9), false),
            ((V4, 1), (V4, 9), false),
            ((V4, 10), (OTHER, 20), true),
            ((V4, 20), (OTHER, 10), false),
            // Less than a percent is nothing.
            ((V4, 99), (OTHER, 100), false),
            ((V4, 98), (OTHER, 100), true),
            // IPv6 if it is hardly slower.
            ((V6, 100), (V4, 100), true),
            ((V6, 100), (V4, 91), true),
            ((V6, 100), (V4, 70), false),
            // Private addresses if they are not much slower, nearer ones the more.
            (("10.0.0.2:1", 100), (V4, 90), true),
            (("10.0.0.2:1", 100), (V4, 70), false),
            (("169.254.0.2:1", 100), ("10.0.0.2:1", 95), true),
            (("127.0.0.1:1", 100), ("169.254.0.2:1", 85), true),
            (("[fd00::1]:1", 100), ("192.168.0.1:1", 100), true),
            // A latency of nothing.
            ((V4, 0), (OTHER, 0), false),
            ((V4, 0), (OTHER, 1), true),
        ] {
            assert_eq!(better(a, b), wins, "{a:?} {b:?}");
        }
        let larger = Quality { mtu: 1500, ..path(V4, 9) };
        assert!(larger.is_better(&path(V4, 1)) && !path(V4, 1).is_better(&larger));
    }

    proptest! {
        #[test]
        fn never_both_ways(a: ([u8; 4], u32), b: ([u8; 4], u32), v6: bool) {
            let path = |(ip, nanos): ([u8; 4], u32), v6: bool| {
                let ip = std::net::Ipv4Addr::from(ip);
                let ip = if v6 { IpAddr::V6(ip.to_ipv6_mapped()) } else { IpAddr::V4(ip) };
                Quality { addr: SocketAddr::new(ip, 1), latency: Duration::from_nanos(nanos.into()), mtu: 1360 }
            };
            let (a, b) = (path(a, v6), path(b, false));
            prop_assert!(!(a.is_better(&b) && b.is_better(&a)));
        }
    }
}
