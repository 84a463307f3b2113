//! The DERP map. A server whose port is none is left out, and the rest of the map stays.

use super::node::region;
use crate::text::printable;
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
        stun_port: i64 => "STUNPort",
        stun_only: bool => "STUNOnly",
        derp_port: i64 => "DERPPort",
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

impl DerpMap {
    /// What is handed on, and the servers that were left out, in words.
    pub(crate) fn convert(self) -> (netmap::DerpMapDelta, Vec<String>) {
        let mut bad = Vec::new();
        let regions = self.regions.map(|regions| {
            let regions = regions.into_iter().filter_map(|(key, value)| {
                let id = id(&key)?;
                Some((id, value?.convert(id, &mut bad)))
            });
            regions.collect::<Pairs<_, _>>().sorted().into_iter().collect()
        });
        let score = self.home_params.and_then(|params| params.region_score);
        let map = netmap::DerpMapDelta {
            regions,
            region_score: score.map(|score| {
                let valid = score.into_iter().filter(|(_, factor)| factor.is_finite() && *factor > 0.0);
                let valid = valid.filter_map(|(key, factor)| Some((id(&key)?, factor)));
                valid.collect::<Pairs<_, _>>().sorted().into_iter().collect()
            }),
            omit_default_regions: self.omit_default_regions,
        };
        (map, bad)
    }
}

impl Region {
    fn convert(self, id: RegionId, bad: &mut Vec<String>) -> netmap::DerpRegion {
        let nodes = self.nodes.into_iter().flatten().filter_map(|server| {
            let (host, port) = (printable(server.host_name.as_bytes()), server.derp_port);
            let server = server.convert();
            if server.is_none() {
                bad.push(format!("relay {host} of region {}: its port is {port}", id.0));
            }
            server
        });
        let nodes = nodes.collect();
        netmap::DerpRegion {
            id,
            code: self.region_code,
            name: self.region_name,
            latitude: self.latitude,
            longitude: self.longitude,
            avoid: self.avoid,
            no_measure_no_home: self.no_measure_no_home,
            nodes,
        }
    }
}

impl Server {
    /// `None` if nothing can be at its port. As Go's node: without STUN if nothing can be at that one.
    fn convert(self) -> Option<netmap::DerpNode> {
        Some(netmap::DerpNode {
            derp_port: u16::try_from(self.derp_port).ok()?,
            ipv4: family(&self.ipv4),
            ipv6: family(&self.ipv6),
            name: self.name,
            host_name: self.host_name,
            cert_name: self.cert_name,
            stun_port: u16::try_from(self.stun_port).map_or(-1, i32::from),
            stun_only: self.stun_only,
            insecure_for_tests: self.insecure_for_tests,
            stun_test_ip: self.stun_test_ip,
            can_port_80: self.can_port_80,
        })
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
        let (map, bad) = map.convert();
        assert!(bad.is_empty(), "{bad:?}");
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
        let delta = |text: &str| gojson::from_str::<DerpMap>(text).expect("map").convert().0;
        assert_eq!(delta(r#"{"Regions":null}"#), netmap::DerpMapDelta::default());
        assert_eq!(delta(r#"{"HomeParams":{}}"#).region_score, None);
        assert_eq!(delta(r#"{"HomeParams":{"RegionScore":{}}}"#).region_score, Some(netmap::Map::new()));
    }

    #[test]
    fn a_server_without_a_port_does_not_take_the_others() {
        let map: DerpMap = gojson::from_str(
            r#"{"Regions":{"7":{"Nodes":[{"HostName":"a","DERPPort":70000},{"HostName":"b","STUNPort":70000},
                {"HostName":"c\n","DERPPort":-1},{"HostName":"d","STUNPort":-99999999999,"DERPPort":65535}]}}}"#,
        )
        .expect("map");
        let (map, bad) = map.convert();
        let servers = &map.regions.expect("regions")[&RegionId(7)].nodes;
        let ports = servers.iter().map(|server| (&*server.host_name, server.stun_port, server.derp_port));
        assert_eq!(ports.collect::<Vec<_>>(), [("b", -1, 0), ("d", -1, 65535)]);
        assert_eq!(bad, ["relay a of region 7: its port is 70000", "relay c of region 7: its port is -1"]);
    }
}
