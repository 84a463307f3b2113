//! The map of DERP regions and how a delta changes it.

use crate::Map;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Number of a DERP region; 0 = none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RegionId(pub u16);

impl RegionId {
    /// "No region".
    pub const NONE: Self = Self(0);

    /// True for "no region".
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Display for RegionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Every region a node may relay through.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DerpMap {
    /// Regions by number.
    pub regions: Map<RegionId, DerpRegion>,
    /// Factors on measured latency when the home region is chosen; < 1 makes a region more attractive.
    pub region_score: Map<RegionId, f64>,
    /// The server said to leave out Tailscale's own regions.
    pub omit_default_regions: bool,
}

impl DerpMap {
    /// Applies `delta` as the protocol reference §1.9.4 says: what is absent stays.
    pub fn apply(&mut self, delta: DerpMapDelta) {
        if let Some(regions) = delta.regions {
            self.regions = regions;
            self.omit_default_regions = delta.omit_default_regions;
        }
        if let Some(score) = delta.region_score {
            self.region_score = score;
        }
    }
}

/// A DERP map as it arrives: what is `None` keeps its earlier value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DerpMapDelta {
    /// All regions anew; null regions are already left out.
    pub regions: Option<Map<RegionId, DerpRegion>>,
    /// All region scores anew.
    pub region_score: Option<Map<RegionId, f64>>,
    /// Only meaningful with `regions`.
    pub omit_default_regions: bool,
}

/// A place with one or more DERP servers that mesh with each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DerpRegion {
    /// Number, equal to its key in the map.
    pub id: RegionId,
    /// Short name (`nyc`), shown by `status`.
    pub code: Box<str>,
    /// Long name (`New York City`), shown by `netcheck`.
    pub name: Box<str>,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Legacy: do not pick.
    pub avoid: bool,
    /// Never measured and never chosen as home.
    pub no_measure_no_home: bool,
    /// Its servers, in order of preference.
    pub nodes: Box<[DerpNode]>,
}

/// How one address family of a DERP server is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FamilyAddr<A> {
    /// By resolving its host name.
    #[default]
    Dns,
    /// The server does not have this family (`"none"`).
    Disabled,
    /// At this address.
    Ip(A),
}

/// One DERP server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DerpNode {
    /// Name within the map (`1f`).
    pub name: Box<str>,
    /// DNS name, TLS SNI.
    pub host_name: Box<str>,
    /// Name to verify the certificate for, `sha256-raw:<hex>`, or empty for `host_name`.
    pub cert_name: Box<str>,
    /// IPv4 address.
    pub ipv4: FamilyAddr<Ipv4Addr>,
    /// IPv6 address.
    pub ipv6: FamilyAddr<Ipv6Addr>,
    /// UDP port of STUN; 0 = 3478, -1 = none.
    pub stun_port: i32,
    /// Serves STUN only, not DERP.
    pub stun_only: bool,
    /// TCP port; 0 = 443.
    pub derp_port: u16,
    /// Do not verify its certificate.
    pub insecure_for_tests: bool,
    /// Address that STUN tests use instead of the real one.
    pub stun_test_ip: Box<str>,
    /// Answers plain HTTP on port 80.
    pub can_port_80: bool,
}
