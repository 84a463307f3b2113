//! What was found out, as text and as JSON (Go's `netcheck.Report`).

use std::net::SocketAddr;
use std::time::Duration;

use gojson::{Shape, Value, Writer};
use localapi::types::{DerpMap, Indent, Map, Time, to_go_json};

use crate::args::GoDuration;

/// Nanoseconds by region number, which is text in JSON; always there, `{}` if it has none.
type Latencies = Option<Map<String, i64>>;

gojson::object! {
    write
    /// A report.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub(crate) struct Report {
        /// When it was made.
        now: Time => "Now",
        udp: bool => "UDP",
        ipv6: bool => "IPv6",
        ipv4: bool => "IPv4",
        ipv6_can_send: bool => "IPv6CanSend",
        ipv4_can_send: bool => "IPv4CanSend",
        os_has_ipv6: bool => "OSHasIPv6",
        /// Not tried here.
        icmpv4: bool => "ICMPv4",
        /// Two servers saw us under different addresses (true) or the same (false).
        mapping_varies: Option<bool> => "MappingVariesByDestIP",
        /// Port mappers are not asked in this build.
        upnp: Option<bool> => "UPnP",
        pmp: Option<bool> => "PMP",
        pcp: Option<bool> => "PCP",
        preferred_derp: i64 => "PreferredDERP",
        region_latency: Latencies => "RegionLatency",
        region_v4_latency: Latencies => "RegionV4Latency",
        region_v6_latency: Latencies => "RegionV6Latency",
        v4_counters: Option<Map<String, u32>> => "GlobalV4Counters",
        v6_counters: Option<Map<String, u32>> => "GlobalV6Counters",
        global_v4: Addr => "GlobalV4",
        global_v6: Addr => "GlobalV6",
        /// Not tried here.
        captive_portal: Option<bool> => "CaptivePortal",
    }
}

/// An address that was seen; Go writes none as an empty text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Addr(Option<SocketAddr>);

impl Value for Addr {
    fn shape(&self) -> Shape {
        Shape::Leaf { zero: self.0.is_none() }
    }
    fn put(&self, out: &mut Writer<'_>) {
        out.text(&self.0.map(|addr| addr.to_string()).unwrap_or_default());
    }
}

impl Report {
    /// What was found at the moment `now`.
    pub(super) fn new(found: &engine::netcheck::Report, now: Time, os_has_ipv6: bool) -> Self {
        let nanos = |all: &engine::netcheck::Latencies| -> Latencies {
            let number = |took: &Duration| i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
            Some(all.iter().map(|(region, took)| (region.to_string(), number(took))).collect())
        };
        let counters = |v4: bool| {
            let seen = found.seen.iter().filter(|(at, _)| at.is_ipv4() == v4);
            let all: Map<_, _> = seen.map(|(at, count)| (at.to_string(), *count)).collect();
            Some(all).filter(|all| !all.is_empty())
        };
        Self {
            now,
            udp: found.udp,
            ipv6: found.ipv6,
            ipv4: found.ipv4,
            ipv6_can_send: found.ipv6_can_send,
            ipv4_can_send: found.ipv4_can_send,
            os_has_ipv6,
            mapping_varies: found.mapping_varies,
            preferred_derp: found.preferred_derp.0.into(),
            region_latency: nanos(&found.region_latency),
            region_v4_latency: nanos(&found.region_v4_latency),
            region_v6_latency: nanos(&found.region_v6_latency),
            v4_counters: counters(true),
            v6_counters: counters(false),
            global_v4: Addr(found.global_v4),
            global_v6: Addr(found.global_v6),
            ..Self::default()
        }
    }

    /// How far `region` is.
    fn latency(&self, region: i64) -> Option<Duration> {
        let nanos = self.region_latency.as_ref()?.get(&region.to_string())?;
        Some(Duration::from_nanos(u64::try_from(*nanos).unwrap_or_default()))
    }

    /// As JSON on one line, or indented.
    pub(crate) fn json(&self, indented: bool) -> String {
        to_go_json(self, if indented { Indent::Tab } else { Indent::None })
    }

    /// For people. With `numbers` regions have theirs.
    pub(crate) fn text(&self, map: &DerpMap, numbers: bool) -> String {
        let found = |addr: Option<SocketAddr>, none: &str| {
            addr.map_or_else(|| none.to_owned(), |addr| format!("yes, {addr}"))
        };
        let no_v6 = match (self.ipv6, self.os_has_ipv6) {
            (true, _) => "(no addr found)",
            (false, true) => "no, but OS has support",
            (false, false) => "no, unavailable in OS",
        };
        let varies = self.mapping_varies.map(|varies| varies.to_string()).unwrap_or_default();
        let mut out = format!(
            "\nReport:\n\t* Time: {}\n\t* UDP: {}\n\t* IPv4: {}\n\t* IPv6: {}\n\t* MappingVariesByDestIP: {varies}\n\t* PortMapping: not checked\n",
            self.now.to_string().replace('T', " "),
            self.udp,
            found(self.global_v4.0, "(no addr found)"),
            found(self.global_v6.0, no_v6),
        );
        if self.region_latency.as_ref().is_none_or(Map::is_empty) {
            out.push_str("\t* Nearest DERP: unknown (no response to latency probes)\n");
            return out;
        }
        let home = map.regions.get(&self.preferred_derp).map_or("[none]", |region| &region.region_name);
        out.push_str(&format!("\t* Nearest DERP: {home}\n\t* DERP latency:\n"));
        let mut regions: Vec<_> =
            map.regions.iter().map(|(id, region)| (self.latency(*id), id, region)).collect();
        // Those without an answer last.
        regions.sort_by_key(|(latency, id, _)| (latency.is_none(), *latency, **id));
        for (latency, id, region) in regions {
            let latency = latency.map(tenths).unwrap_or_default();
            let number = if numbers { format!("derp{id}, ") } else { String::new() };
            let (code, name) = (&region.region_code, &region.region_name);
            out.push_str(&format!("\t\t- {code:>3}: {latency:<7} ({number}{name})\n"));
        }
        out
    }
}

/// To a tenth of a millisecond, in Go's words.
fn tenths(latency: Duration) -> String {
    let tenths = latency.as_nanos().saturating_add(50_000) / 100_000;
    GoDuration(i64::try_from(tenths).unwrap_or(i64::MAX).saturating_mul(100_000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use localapi::types::DerpRegion;

    fn map() -> DerpMap {
        let region = |id: i64, code: &str, name: &str| {
            (
                id,
                DerpRegion {
                    region_id: id,
                    region_code: code.to_owned(),
                    region_name: name.to_owned(),
                    ..Default::default()
                },
            )
        };
        DerpMap {
            regions: [
                region(1, "nyc", "New York City"),
                region(2, "sf", "San Francisco"),
                region(10, "sea", "Seattle"),
            ]
            .into(),
            ..DerpMap::default()
        }
    }

    fn report() -> Report {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let micros = |id, micros| (netmap::RegionId(id), Duration::from_micros(micros));
        let found = engine::netcheck::Report {
            udp: true,
            ipv4: true,
            ipv4_can_send: true,
            mapping_varies: Some(true),
            preferred_derp: netmap::RegionId(1),
            region_latency: [micros(2, 80_000), micros(1, 12_345)].into(),
            region_v4_latency: [micros(2, 80_000), micros(1, 12_345)].into(),
            global_v4: Some(at("203.0.113.9:2000")),
            seen: [(at("203.0.113.9:1000"), 1), (at("203.0.113.9:2000"), 2)].into(),
            ..engine::netcheck::Report::default()
        };
        Report::new(&found, Time::from_unix_nanos(1_795_000_000_120_000_000), false)
    }

    #[test]
    fn text() {
        expect![[r#"

            Report:
            	* Time: 2026-11-18 11:06:40.12Z
            	* UDP: true
            	* IPv4: yes, 203.0.113.9:2000
            	* IPv6: no, unavailable in OS
            	* MappingVariesByDestIP: true
            	* PortMapping: not checked
            	* Nearest DERP: New York City
            	* DERP latency:
            		- nyc: 12.3ms  (derp1, New York City)
            		-  sf: 80ms    (derp2, San Francisco)
            		- sea:         (derp10, Seattle)
        "#]]
        .assert_eq(&report().text(&map(), true));
        let nothing = Report { os_has_ipv6: true, ..Report::default() };
        let text = nothing.text(&map(), false);
        assert!(text.ends_with("\t* Nearest DERP: unknown (no response to latency probes)\n"), "{text}");
        assert!(text.contains("IPv4: (no addr found)\n\t* IPv6: no, but OS has support\n"), "{text}");
    }

    #[test]
    fn json() {
        expect![[r#"{"Now":"2026-11-18T11:06:40.12Z","UDP":true,"IPv6":false,"IPv4":true,"IPv6CanSend":false,"IPv4CanSend":true,"OSHasIPv6":false,"ICMPv4":false,"MappingVariesByDestIP":true,"UPnP":null,"PMP":null,"PCP":null,"PreferredDERP":1,"RegionLatency":{"1":12345000,"2":80000000},"RegionV4Latency":{"1":12345000,"2":80000000},"RegionV6Latency":{},"GlobalV4Counters":{"203.0.113.9:1000":1,"203.0.113.9:2000":2},"GlobalV6Counters":null,"GlobalV4":"203.0.113.9:2000","GlobalV6":"","CaptivePortal":null}"#]]
            .assert_eq(&report().json(false));
    }
}
