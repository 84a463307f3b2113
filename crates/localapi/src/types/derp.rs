//! The relays (Go's `tailcfg.DERPMap`).

use gojson::Map;

go_object! {
    /// All relays, by region.
    pub struct DerpMap {
        pub home_params: Option<DerpHomeParams> => "HomeParams" omit,
        pub regions: Map<i64, DerpRegion> => "Regions",
        pub omit_default_regions: bool => "omitDefaultRegions" omit,
    }
}

go_object! {
    /// What to weigh when choosing a home region.
    pub struct DerpHomeParams {
        /// Region to a factor for its latency.
        pub region_score: Map<i64, f64> => "RegionScore" omit,
    }
}

go_object! {
    /// Relays in one place that know of each other.
    pub struct DerpRegion {
        pub region_id: i64 => "RegionID",
        pub region_code: String => "RegionCode",
        pub region_name: String => "RegionName",
        pub latitude: f64 => "Latitude" omit,
        pub longitude: f64 => "Longitude" omit,
        pub avoid: bool => "Avoid" omit,
        pub no_measure_no_home: bool => "NoMeasureNoHome" omit,
        pub nodes: Vec<DerpNode> => "Nodes",
    }
}

go_object! {
    /// One relay.
    pub struct DerpNode {
        pub name: String => "Name",
        pub region_id: i64 => "RegionID",
        pub host_name: String => "HostName",
        pub cert_name: String => "CertName" omit,
        /// `none` = has no IPv4.
        pub ipv4: String => "IPv4" omit,
        /// `none` = has no IPv6.
        pub ipv6: String => "IPv6" omit,
        /// 0 = 3478, -1 = none.
        pub stun_port: i64 => "STUNPort" omit,
        pub stun_only: bool => "STUNOnly" omit,
        /// 0 = 443.
        pub derp_port: i64 => "DERPPort" omit,
        pub insecure_for_tests: bool => "InsecureForTests" omit,
        pub stun_test_ip: String => "STUNTestIP" omit,
        pub can_port80: bool => "CanPort80" omit,
    }
}
