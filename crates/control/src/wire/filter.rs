//! Packet filter rules. What does not parse is left out, which narrows a rule; a rule whose sources or
//! destinations are all gone is left out whole, because an empty list must never read as "all".

use super::Caps;
use super::lenient::{cap_map, list};
use gojson::Element;
use ipnet::IpNet;
use netmap::{CapGrant, FilterRule, PortRange, RuleDst, RuleSrc};
use std::net::IpAddr;
use std::sync::Arc;

gojson::object! {
    read
    pub(crate) struct Rule {
        src_ips: Vec<Box<str>> => "SrcIPs",
        src_bits: Vec<i64> => "SrcBits",
        dst_ports: Vec<Dst> => "DstPorts",
        ip_proto: Vec<i64> => "IPProto",
        cap_grant: Vec<Grant> => "CapGrant",
    }
}

gojson::object! {
    read
    struct Dst {
        ip: Box<str> => "IP",
        bits: Option<i64> => "Bits",
        ports: Ports => "Ports" need,
    }
}

gojson::object! {
    read
    struct Ports {
        first: i64 => "First",
        last: i64 => "Last",
    }
}

gojson::object! {
    read
    struct Grant {
        dsts: Vec<Box<str>> => "Dsts",
        caps: Vec<Box<str>> => "Caps",
        cap_map: Caps => "CapMap",
    }
}

impl Element for Rule {
    type Made = FilterRule;
    fn made(self, earlier: &[FilterRule]) -> (Option<FilterRule>, bool) {
        convert(self, earlier)
    }
}

/// So many rules before one are looked through for the same sources.
const LOOKED_THROUGH: usize = 256;

/// The rule, if anything of it is left, and whether something was lost. Sources that an `earlier` one has, too, are the
/// very same list: a group of thousands that twenty rules name is there once.
fn convert(rule: Rule, earlier: &[FilterRule]) -> (Option<FilterRule>, bool) {
    let mut lost = false;
    let mut keep = |parsed: Option<RuleSrc>| {
        lost |= parsed.is_none();
        parsed
    };
    let bits = rule.src_bits.iter().copied().map(Some).chain(std::iter::repeat(None));
    let srcs: Vec<RuleSrc> = rule
        .src_ips
        .iter()
        .zip(bits)
        .filter_map(|(text, bits)| {
            keep(match text.strip_prefix("cap:") {
                Some(name) => Some(RuleSrc::Cap(name.into())),
                None => addresses(text, bits),
            })
        })
        .collect();
    let mut dsts: Box<[RuleDst]> = rule
        .dst_ports
        .iter()
        .filter_map(|dst| {
            let ports = match (u16::try_from(dst.ports.first), u16::try_from(dst.ports.last)) {
                (Ok(first), Ok(last)) if first <= last => Some(PortRange { first, last }),
                _ => None,
            };
            let net = keep(addresses(&dst.ip, dst.bits).filter(|_| ports.is_some()))?;
            Some(RuleDst { net, ports: ports? })
        })
        .collect();
    let protos: Box<[u8]> = rule.ip_proto.iter().filter_map(|n| u8::try_from(*n).ok()).collect();
    if protos.is_empty() && !rule.ip_proto.is_empty() {
        // Only impossible protocols were named: no packet matches, and empty would mean the usual four.
        lost = true;
        dsts = Box::default();
    }
    let cap_grants: Box<[CapGrant]> = rule
        .cap_grant
        .into_iter()
        .map(|grant| {
            let caps = cap_map(grant.cap_map, grant.caps);
            CapGrant { dsts: list::<IpNet, _>(&grant.dsts), caps }
        })
        .filter(|grant| !grant.dsts.is_empty() && !grant.caps.is_empty())
        .collect();
    let same = earlier.iter().rev().take(LOOKED_THROUGH).find(|before| *before.srcs == *srcs);
    let srcs = same.map_or_else(|| srcs.into(), |before| Arc::clone(&before.srcs));
    let useless = srcs.is_empty() || (dsts.is_empty() && cap_grants.is_empty());
    ((!useless).then_some(FilterRule { srcs, dsts, protos, cap_grants }), lost)
}

/// `*`, an address, a prefix without host bits, or a range; `bits` is the old way to write a prefix length.
fn addresses(text: &str, bits: Option<i64>) -> Option<RuleSrc> {
    if text == "*" {
        return Some(RuleSrc::Any);
    }
    if text.contains('/') {
        let net: IpNet = text.parse().ok()?;
        return (net.network() == net.addr()).then_some(RuleSrc::Net(net));
    }
    if let Some((first, last)) = text.split_once('-') {
        let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
        return (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(RuleSrc::Range(first, last));
    }
    let ip: IpAddr = text.parse().ok()?;
    match bits {
        None => Some(RuleSrc::Net(ip.into())),
        Some(bits) => IpNet::new(ip, u8::try_from(bits).ok()?).ok().map(|net| RuleSrc::Net(net.trunc())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gojson::Each;

    fn parse(text: &str) -> (Vec<FilterRule>, usize) {
        gojson::from_slice::<Each<Rule>>(text.as_bytes()).expect("list").finish()
    }

    #[test]
    fn forms_of_addresses() {
        let (rules, bad) = parse(
            r#"[{"SrcIPs":["*","100.64.0.1","10.0.0.0/8","1.0.0.1-1.0.0.9","cap:x","fd7a::/64"],"SrcBits":[],
                 "DstPorts":[{"IP":"*","Ports":{"First":0,"Last":65535}},{"IP":"100.64.0.2","Bits":null,"Ports":{"First":22,"Last":22}}],
                 "IPProto":[6,999]}]"#,
        );
        assert_eq!((rules.len(), bad), (1, 0));
        let rule = &rules[0];
        assert_eq!(rule.srcs.len(), 6);
        assert_eq!(rule.srcs[4], RuleSrc::Cap("x".into()));
        assert_eq!((rule.dsts[0].ports, &*rule.protos), (PortRange::ALL, &[6][..]));
    }

    #[test]
    fn old_prefix_lengths() {
        let (rules, _) = parse(
            r#"[{"SrcIPs":["10.1.2.3","10.1.2.3","::"],"SrcBits":[8,33,0],"DstPorts":[{"IP":"10.0.0.0","Bits":24,"Ports":{"First":1,"Last":2}}]}]"#,
        );
        assert_eq!(
            *rules[0].srcs,
            [RuleSrc::Net("10.0.0.0/8".parse().expect("p")), RuleSrc::Net("::/0".parse().expect("p"))]
        );
        assert_eq!(rules[0].dsts[0].net, RuleSrc::Net("10.0.0.0/24".parse().expect("p")));
    }

    #[test]
    fn broken_entries_narrow() {
        for rule in [
            r#"{"SrcIPs":["10.0.0.1/8"],"DstPorts":[{"IP":"*","Ports":{"First":0,"Last":65535}}]}"#,
            r#"{"SrcIPs":[],"DstPorts":[{"IP":"*","Ports":{"First":0,"Last":65535}}]}"#,
            r#"{"SrcIPs":["*"],"DstPorts":[{"IP":"cap:x","Ports":{"First":0,"Last":65535}}]}"#,
            r#"{"SrcIPs":["*"],"DstPorts":[{"IP":"*","Ports":{"First":9,"Last":8}}]}"#,
            r#"{"SrcIPs":["*"],"DstPorts":[{"IP":"*","Ports":{"First":0,"Last":65536}}]}"#,
            r#"{"SrcIPs":["*"],"DstPorts":[{"IP":"*","Ports":{"First":0,"Last":9}}],"IPProto":[-1,256]}"#,
            r#"{"SrcIPs":["9.0.0.0-1.0.0.0","1.1.1.1-::1","x"],"DstPorts":[{"IP":"*","Ports":{"First":0,"Last":9}}]}"#,
            r#"{"SrcIPs":"*"}"#,
            "7",
        ] {
            assert_eq!(parse(&format!("[{rule}]")).0, [], "{rule}");
        }
        let (rules, bad) =
            parse(r#"[{"SrcIPs":["*","x"],"DstPorts":[{"IP":"*","Ports":{"First":1,"Last":1}}]},null]"#);
        assert_eq!((rules.len(), rules[0].srcs.len(), bad), (1, 1, 2));
    }

    #[test]
    fn the_same_sources_are_kept_once() {
        let rule = |srcs: &str, port: u16| {
            format!(
                r#"{{"SrcIPs":[{srcs}],"DstPorts":[{{"IP":"*","Ports":{{"First":{port},"Last":{port}}}}}]}}"#
            )
        };
        let (one, two) = (r#""100.64.0.1","100.64.0.2""#, r#""100.64.0.1","100.64.0.3""#);
        let (rules, bad) = parse(&format!("[{},{},{}]", rule(one, 1), rule(two, 2), rule(one, 3)));
        assert_eq!((rules.len(), bad), (3, 0));
        assert!(Arc::ptr_eq(&rules[0].srcs, &rules[2].srcs) && rules[0].srcs != rules[1].srcs);
        assert_eq!(rules[2].dsts[0].ports, PortRange { first: 3, last: 3 });
    }

    #[test]
    fn grants() {
        let (rules, _) = parse(
            r#"[{"SrcIPs":["*"],"CapGrant":[{"Dsts":["100.64.0.1/32","x"],"Caps":["old"],"CapMap":{"new":[{"a":1}]}},{"Dsts":null}]}]"#,
        );
        let grants = &rules[0].cap_grants;
        assert_eq!((grants.len(), grants[0].dsts.len(), grants[0].caps.len()), (1, 1, 2));
        assert_eq!(*grants[0].caps["new"], [r#"{"a":1}"#.into()]);
        assert!(rules[0].dsts.is_empty());
    }
}
