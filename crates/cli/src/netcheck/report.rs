//! What was found out, as text and as JSON (Go's `netcheck.Report`).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use localapi::types::{DerpMap, Indent, Time, to_go_json};
use serde::Serialize;

use crate::args::GoDuration;

/// Nanoseconds by region number, which is text in JSON.
type Latencies = BTreeMap<String, i64>;

/// A report.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Report {
    /// When it was made.
    now: Time,
    #[serde(rename = "UDP")]
    pub(super) udp: bool,
    #[serde(rename = "IPv6")]
    ipv6: bool,
    #[serde(rename = "IPv4")]
    ipv4: bool,
    #[serde(rename = "IPv6CanSend")]
    pub(super) ipv6_can_send: bool,
    #[serde(rename = "IPv4CanSend")]
    pub(super) ipv4_can_send: bool,
    #[serde(rename = "OSHasIPv6")]
    os_has_ipv6: bool,
    /// Not tried here.
    #[serde(rename = "ICMPv4")]
    icmpv4: bool,
    /// Two servers saw us under different addresses (true) or the same (false).
    #[serde(rename = "MappingVariesByDestIP")]
    pub(super) mapping_varies: Option<bool>,
    /// Port mappers are not asked in this build.
    #[serde(rename = "UPnP")]
    upnp: Option<bool>,
    #[serde(rename = "PMP")]
    pmp: Option<bool>,
    #[serde(rename = "PCP")]
    pcp: Option<bool>,
    #[serde(rename = "PreferredDERP")]
    pub(super) preferred_derp: i64,
    region_latency: Latencies,
    region_v4_latency: Latencies,
    region_v6_latency: Latencies,
    #[serde(rename = "GlobalV4Counters")]
    v4_counters: Option<BTreeMap<String, u32>>,
    #[serde(rename = "GlobalV6Counters")]
    v6_counters: Option<BTreeMap<String, u32>>,
    #[serde(serialize_with = "addr")]
    global_v4: Option<SocketAddr>,
    #[serde(serialize_with = "addr")]
    global_v6: Option<SocketAddr>,
    /// Not tried here.
    captive_portal: Option<bool>,
}

/// Go writes no address as an empty text.
fn addr<S: serde::Serializer>(addr: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&addr.map(|addr| addr.to_string()).unwrap_or_default())
}

impl Report {
    /// A report of the moment `now`, without any finding yet.
    pub(super) fn begun(now: Time, os_has_ipv6: bool) -> Self {
        Self { now, os_has_ipv6, ..Self::default() }
    }

    /// Notes an answer of `server` in `region` to a STUN request: it came after `took` and saw us as `ours`.
    pub(super) fn heard(&mut self, region: i64, server: IpAddr, ours: SocketAddr, took: Duration) {
        self.udp = true;
        let nearest = match server {
            IpAddr::V4(_) => {
                self.ipv4 = true;
                note(&mut self.region_v4_latency, region, took)
            }
            IpAddr::V6(_) => {
                self.ipv6 = true;
                note(&mut self.region_v6_latency, region, took)
            }
        };
        note(&mut self.region_latency, region, took);
        let (counters, global) = match ours {
            SocketAddr::V4(_) => (&mut self.v4_counters, &mut self.global_v4),
            SocketAddr::V6(_) => (&mut self.v6_counters, &mut self.global_v6),
        };
        let seen = counters.get_or_insert_default().entry(ours.to_string()).or_default();
        *seen = seen.saturating_add(1);
        if nearest || global.is_none() {
            *global = Some(ours);
        }
    }

    /// Notes how far a region is over HTTPS.
    pub(super) fn reached(&mut self, region: i64, took: Duration) {
        note(&mut self.region_latency, region, took);
    }

    /// How far `region` is.
    pub(super) fn latency(&self, region: i64) -> Option<Duration> {
        let nanos = self.region_latency.get(&region.to_string())?;
        Some(Duration::from_nanos(u64::try_from(*nanos).unwrap_or_default()))
    }

    /// Chooses the region to call home: the nearest, weighed by the map's scores, unless the one before is about as
    /// near (protocol reference §4.3).
    pub(super) fn choose_home(&mut self, map: &DerpMap, before: i64) {
        let scores = map.home_params.as_ref().map(|params| &params.region_score);
        let weighed = |region: i64| {
            let score = scores.and_then(|scores| scores.get(&region)).copied().filter(|score| *score > 0.0);
            Some(self.latency(region)?.mul_f64(score.unwrap_or(1.0).min(1e6)))
        };
        let best = map.regions.keys().filter_map(|region| Some((weighed(*region)?, *region))).min();
        self.preferred_derp = match (best, weighed(before)) {
            (Some((best, _)), Some(old)) if old < best + Duration::from_millis(10) || best * 3 > old * 2 => {
                before
            }
            (Some((_, best)), _) => best,
            (None, _) => 0,
        };
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
            found(self.global_v4, "(no addr found)"),
            found(self.global_v6, no_v6),
        );
        if self.region_latency.is_empty() {
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

/// Keeps the shorter time; true if nothing in `all` is shorter.
fn note(all: &mut Latencies, region: i64, took: Duration) -> bool {
    let nanos = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
    let nearest = all.values().all(|other| nanos <= *other);
    let kept = all.entry(region.to_string()).or_insert(nanos);
    *kept = nanos.min(*kept);
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use localapi::types::{DerpHomeParams, DerpRegion};

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

    const MS: Duration = Duration::from_millis(1);

    fn report() -> Report {
        let mut report = Report {
            now: Time::from_unix_nanos(1_795_000_000_120_000_000),
            ipv4_can_send: true,
            ..Report::default()
        };
        let (one, two) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        report.heard(2, two, "203.0.113.9:1000".parse().unwrap(), 80 * MS);
        report.heard(1, one, "203.0.113.9:2000".parse().unwrap(), Duration::from_micros(12_345));
        report.heard(1, one, "203.0.113.9:2000".parse().unwrap(), 40 * MS);
        report.mapping_varies = Some(true);
        report
    }

    #[test]
    fn text() {
        let mut report = report();
        report.choose_home(&map(), 0);
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
        .assert_eq(&report.text(&map(), true));
        let nothing = Report { os_has_ipv6: true, ..Report::default() };
        let text = nothing.text(&map(), false);
        assert!(text.ends_with("\t* Nearest DERP: unknown (no response to latency probes)\n"), "{text}");
        assert!(text.contains("IPv4: (no addr found)\n\t* IPv6: no, but OS has support\n"), "{text}");
    }

    #[test]
    fn json() {
        expect![[r#"{"Now":"2026-11-18T11:06:40.12Z","UDP":true,"IPv6":false,"IPv4":true,"IPv6CanSend":false,"IPv4CanSend":true,"OSHasIPv6":false,"ICMPv4":false,"MappingVariesByDestIP":true,"UPnP":null,"PMP":null,"PCP":null,"PreferredDERP":0,"RegionLatency":{"1":12345000,"2":80000000},"RegionV4Latency":{"1":12345000,"2":80000000},"RegionV6Latency":{},"GlobalV4Counters":{"203.0.113.9:1000":1,"203.0.113.9:2000":2},"GlobalV6Counters":null,"GlobalV4":"203.0.113.9:2000","GlobalV6":"","CaptivePortal":null}"#]]
            .assert_eq(&report().json(false));
    }

    #[test]
    fn home() {
        let (mut report, mut map) = (report(), map());
        report.choose_home(&map, 0);
        assert_eq!(report.preferred_derp, 1);
        // The nearer one is clearly nearer.
        report.choose_home(&map, 2);
        assert_eq!(report.preferred_derp, 1);
        // Less than 10 ms nearer, less than a third nearer: not worth the move.
        report.reached(10, 20 * MS);
        report.choose_home(&map, 10);
        assert_eq!(report.preferred_derp, 10);
        // A home that does not answer is left.
        report.choose_home(&map, 7);
        assert_eq!(report.preferred_derp, 1);
        map.home_params = Some(DerpHomeParams { region_score: [(2, 0.1), (1, -1.0)].into() });
        report.choose_home(&map, 0);
        assert_eq!(report.preferred_derp, 2);
        let mut nothing = Report::default();
        nothing.choose_home(&map, 1);
        assert_eq!(nothing.preferred_derp, 0);
    }
}
