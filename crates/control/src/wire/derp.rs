//! The DERP map.

use super::node::region;
use gojson::Pairs;
use netmap::{FamilyAddr, RegionId};
use std::str::FromStr;

gojson::object! {
    read
    pub(crate) struct DerpMap {
        home_params: Option<HomeParams> => "HomeParams",
        regions: Option<Pairs<Box<str>, Option<Region>>> => "Regions",
        omit_default_regions: bool => "omitDefaultRegions",
    }
}

gojson::object! {
    read
    struct HomeParams {
        region_score: Option<Pairs<Box<str>, f64>> => "RegionScore",
    }
}

gojson::object! {
    read
    struct Region {
        region_code: Box<str> => "RegionCode",
        region_name: Box<str> => "RegionName",
        latitude: f64 => "Latitude",
        longitude: f64 => "Longitude",
        avoid: bool => "Avoid",
        no_measure_no_home: bool => "NoMeasureNoHome",
        nodes: Vec<Option<Server>> => "Nodes",
    }
}

gojson::object! {
    read
    struct Server {
        name: Box<str> => "Name",
        host_name: Box<str> => "HostName",
        cert_name: Box<str> => "CertName",
        ipv4: Box<str> => "IPv4",
        ipv6: Box<str> => "IPv6",
        stun_port: i32 => "STUNPort",
        stun_only: bool => "STUNOnly",
        derp_port: u16 => "DERPPort",
        insecure_for_tests: bool => "InsecureForTests",
        stun_test_ip: Box<str> => "STUNTestIP",
        can_port_80: bool => "CanPort80",
    }
}

fn id(text: &str) -> Option<RegionId> {
    text.parse().ok().map(region).filter(|id| !id.is_none())
}

/// `""` = by name, an address, and anything else (`none` among it) = not at all.
fn family<A: FromStr>(text: &str) -> FamilyAddr<A> {
    match (text, text.parse()) {
        ("", _) => FamilyAddr::Dns,
        (_, Ok(ip)) => FamilyAddr::Ip(ip),
        (_, Err(_)) => FamilyAddr::Disabled,
    }
}

impl From<DerpMap> for netmap::DerpMapDelta {
    fn from(map: DerpMap) -> Self {
        let regions = map.regions.map(|regions| {
            let regions = regions.into_iter().filter_map(|(key, value)| {
                let id = id(&key)?;
                Some((id, value?.convert(id)))
            });
            regions.collect::<Pairs<_, _>>().sorted().into_iter().collect()
        });
        let score = map.home_params.and_then(|params| params.region_score);
        Self {
            regions,
            region_score: score.map(|score| {
                let valid = score.into_iter().filter(|(_, factor)| factor.is_finite() && *factor > 0.0);
                let valid = valid.filter_map(|(key, factor)| Some((id(&key)?, factor)));
                valid.collect::<Pairs<_, _>>().sorted().into_iter().collect()
            }),
            omit_default_regions: map.omit_default_regions,
        }
    }
}

impl Region {
    fn convert(self, id: RegionId) -> netmap::DerpRegion {
        netmap::DerpRegion {
            id,
            code: self.region_code,
            name: self.region_name,
            latitude: self.latitude,
            longitude: self.longitude,
            avoid: self.avoid,
            no_measure_no_home: self.no_measure_no_home,
            nodes: self.nodes.into_iter().flatten().map(Server::convert).collect(),
        }
    }
}

impl Server {
    fn convert(self) -> netmap::DerpNode {
        netmap::DerpNode {
            ipv4: family(&self.ipv4),
            ipv6: family(&self.ipv6),
            name: self.name,
            host_name: self.host_name,
            cert_name: self.cert_name,
            stun_port: self.stun_port,
            stun_only: self.stun_only,
            derp_port: self.derp_port,
            insecure_for_tests: self.insecure_for_tests,
            stun_test_ip: self.stun_test_ip,
            can_port_80: self.can_port_80,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map() {
        let map: DerpMap = gojson::from_str(
            r#"{"HomeParams":{"RegionScore":{"1":0.5,"2":-1}},"omitDefaultRegions":true,"Regions":{
                "1":{"RegionID":1,"RegionCode":"a","Nodes":[{"Name":"1a","RegionID":1,"HostName":"d.example",
                     "IPv4":"1.2.3.4","IPv6":"none","STUNPort":-1,"DERPPort":8443,"InsecureForTests":true,"CanPort80":true},null]},
                "2":null,"x":{},"900":{"Nodes":null}}}"#,
        )
        .expect("map");
        let map = netmap::DerpMapDelta::from(map);
        let regions = map.regions.expect("regions");
        assert_eq!(regions.keys().map(|id| id.0).collect::<Vec<_>>(), [1, 900]);
        let server = &regions[&RegionId(1)].nodes[0];
        assert_eq!((server.ipv4, server.ipv6), (FamilyAddr::Ip([1, 2, 3, 4].into()), FamilyAddr::Disabled));
        assert_eq!((server.stun_port, server.derp_port, server.can_port_80), (-1, 8443, true));
        assert_eq!(map.region_score, Some([(RegionId(1), 0.5)].into()));
        assert!(map.omit_default_regions);
    }

    #[test]
    fn absent_keeps_and_empty_clears() {
        let delta = |text: &str| netmap::DerpMapDelta::from(gojson::from_str::<DerpMap>(text).expect("map"));
        assert_eq!(delta(r#"{"Regions":null}"#), netmap::DerpMapDelta::default());
        assert_eq!(delta(r#"{"HomeParams":{}}"#).region_score, None);
        assert_eq!(delta(r#"{"HomeParams":{"RegionScore":{}}}"#).region_score, Some(netmap::Map::new()));
    }
}
