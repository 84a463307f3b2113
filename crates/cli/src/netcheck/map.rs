//! The map of relays as the LocalAPI tells it, for those who ask the relays.

use localapi::types::{DerpMap, DerpNode, DerpRegion};
use netmap::{FamilyAddr, RegionId};

/// The same as plain values; a region whose number is none is left out.
pub(super) fn plain(map: &DerpMap) -> netmap::DerpMap {
    let number = |id: &i64| u16::try_from(*id).ok().map(RegionId);
    let mut plain =
        netmap::DerpMap { omit_default_regions: map.omit_default_regions, ..netmap::DerpMap::default() };
    for (id, theirs) in map.regions.iter() {
        if let Some(id) = number(id) {
            plain.regions.insert(id, region(id, theirs));
        }
    }
    for (id, score) in map.home_params.iter().flat_map(|params| params.region_score.iter()) {
        if let Some(id) = number(id) {
            plain.region_score.insert(id, *score);
        }
    }
    plain
}

fn region(id: RegionId, region: &DerpRegion) -> netmap::DerpRegion {
    netmap::DerpRegion {
        id,
        avoid: region.avoid,
        no_measure_no_home: region.no_measure_no_home,
        nodes: region.nodes.iter().map(node).collect(),
        ..netmap::DerpRegion::default()
    }
}

fn node(node: &DerpNode) -> netmap::DerpNode {
    fn family<A: std::str::FromStr>(text: &str) -> FamilyAddr<A> {
        match text {
            "" => FamilyAddr::Dns,
            text => text.parse().map_or(FamilyAddr::Disabled, FamilyAddr::Ip),
        }
    }
    netmap::DerpNode {
        name: node.name.as_str().into(),
        host_name: node.host_name.as_str().into(),
        cert_name: node.cert_name.as_str().into(),
        ipv4: family(&node.ipv4),
        ipv6: family(&node.ipv6),
        // A port that cannot be means none.
        stun_port: i32::try_from(node.stun_port).unwrap_or(-1),
        stun_only: node.stun_only,
        derp_port: u16::try_from(node.derp_port).unwrap_or_default(),
        insecure_for_tests: node.insecure_for_tests,
        stun_test_ip: node.stun_test_ip.as_str().into(),
        ..netmap::DerpNode::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ports() {
        let text = r#"{"Regions":{"7":{"Nodes":[{"IPv4":"192.0.2.1","IPv6":"none","STUNPort":99999999999}]},"70000":{}},
                       "HomeParams":{"RegionScore":{"7":0.5}}}"#;
        let map = plain(&gojson::from_str(text).unwrap());
        assert_eq!(map.regions.len(), 1);
        let node = &map.regions[&RegionId(7)].nodes[0];
        assert_eq!((node.ipv4, node.ipv6), (FamilyAddr::Ip([192, 0, 2, 1].into()), FamilyAddr::Disabled));
        assert_eq!((node.stun_port, map.region_score[&RegionId(7)]), (-1, 0.5));
    }
}
