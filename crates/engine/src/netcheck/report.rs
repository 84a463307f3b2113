//! What was found out about the network.

use netmap::{Map, RegionId};
use std::net::SocketAddr;
use std::time::Duration;

/// How far regions are.
pub type Latencies = Map<RegionId, Duration>;

/// A report (protocol reference §4.2). Hairpinning and captive portals are not looked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// An answer came by UDP.
    pub udp: bool,
    /// An answer came over IPv4.
    pub ipv4: bool,
    /// An answer came over IPv6.
    pub ipv6: bool,
    /// The system took a request over IPv4.
    pub ipv4_can_send: bool,
    /// The system took a request over IPv6.
    pub ipv6_can_send: bool,
    /// Two servers saw us under different IPv4 addresses (true) or the same (false); `None` = not two answered.
    pub mapping_varies: Option<bool>,
    /// The home region this report speaks for; none if nothing answered.
    pub preferred_derp: RegionId,
    /// How far regions are by either family, or by HTTPS.
    pub region_latency: Latencies,
    /// The same by UDP over IPv4.
    pub region_v4_latency: Latencies,
    /// The same by UDP over IPv6.
    pub region_v6_latency: Latencies,
    /// How we are seen over IPv4, as the first server said.
    pub global_v4: Option<SocketAddr>,
    /// How we are seen over IPv6.
    pub global_v6: Option<SocketAddr>,
    /// How often we were seen under each address.
    pub seen: Map<SocketAddr, u32>,
    /// It asked every region, not only the nearest.
    pub full: bool,
}

impl Report {
    /// Notes an answer of a server in `region` to a STUN request: it came after `took` and saw us as `ours`.
    pub(super) fn heard(&mut self, region: RegionId, ours: SocketAddr, took: Duration) {
        self.udp = true;
        note(&mut self.region_latency, region, took);
        let count = self.seen.entry(ours).or_default();
        *count = count.saturating_add(1);
        if ours.is_ipv4() {
            self.ipv4 = true;
            note(&mut self.region_v4_latency, region, took);
            self.global_v4.get_or_insert(ours);
        } else {
            self.ipv6 = true;
            note(&mut self.region_v6_latency, region, took);
            self.global_v6 = Some(ours);
        }
    }

    /// Notes how far a region is over HTTPS.
    pub(super) fn reached(&mut self, region: RegionId, took: Duration) {
        note(&mut self.region_latency, region, took);
    }

    /// Where peers may find us, as servers see us: the address of the report first, then others seen more than once;
    /// IPv4 before IPv6 (protocol reference §3.9).
    pub fn endpoints(&self) -> impl Iterator<Item = SocketAddr> {
        let of = |v4: bool, first: Option<SocketAddr>| {
            let again = self.seen.iter().filter(move |(at, count)| at.is_ipv4() == v4 && **count > 1);
            first.into_iter().chain(again.map(|(at, _)| *at).filter(move |at| Some(*at) != first))
        };
        of(true, self.global_v4).chain(of(false, self.global_v6))
    }
}

/// Keeps the shorter time.
fn note(all: &mut Latencies, region: RegionId, took: Duration) {
    let kept = all.entry(region).or_insert(took);
    *kept = took.min(*kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let mut report = Report::default();
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let hear = |report: &mut Report, ours: &str| report.heard(RegionId(1), at(ours), Duration::ZERO);
        for ours in ["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.1:3", "192.0.2.1:2", "192.0.2.1:2"] {
            hear(&mut report, ours);
        }
        let all: Vec<_> = report.endpoints().map(|at| at.to_string()).collect();
        assert_eq!(all, ["192.0.2.1:1", "192.0.2.1:2", "[2001:db8::1]:1"]);
        assert_eq!(Report::default().endpoints().count(), 0);
    }
}
