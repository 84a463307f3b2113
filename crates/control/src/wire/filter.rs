//! Packet filter rules. What does not parse is left out, which narrows a rule; a rule whose sources or
//! destinations are all gone is left out whole, because an empty list must never read as "all".

use super::Caps;
use super::lenient::{cap_map, list, null};
use ipnet::IpNet;
use netmap::{CapGrant, FilterRule, PortRange, RuleDst, RuleSrc};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::net::IpAddr;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Rule {
    #[serde(rename = "SrcIPs", default, deserialize_with = "null")]
    src_ips: Vec<Box<str>>,
    #[serde(default, deserialize_with = "null")]
    src_bits: Vec<i64>,
    #[serde(default, deserialize_with = "null")]
    dst_ports: Vec<Dst>,
    #[serde(rename = "IPProto", default, deserialize_with = "null")]
    ip_proto: Vec<i64>,
    #[serde(default, deserialize_with = "null")]
    cap_grant: Vec<Grant>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dst {
    #[serde(rename = "IP", default, deserialize_with = "null")]
    ip: Box<str>,
    #[serde(default)]
    bits: Option<i64>,
    ports: Ports,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ports {
    #[serde(default)]
    first: i64,
    #[serde(default)]
    last: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Grant {
    #[serde(default, deserialize_with = "null")]
    dsts: Vec<Box<str>>,
    #[serde(default, deserialize_with = "null")]
    caps: Vec<Box<str>>,
    #[serde(default, deserialize_with = "null")]
    cap_map: Caps,
}

/// The rules of one chunk, and how many of them had to be left out or narrowed.
pub(crate) fn rules(raw: &[&RawValue]) -> (Vec<FilterRule>, usize) {
    let (rules, mut bad) = super::parse_each::<Rule>(raw);
    let rules = rules
        .into_iter()
        .filter_map(|rule| {
            let (rule, narrowed) = convert(rule);
            bad += usize::from(narrowed);
            rule
        })
        .collect();
    (rules, bad)
}

/// The rule, if anything of it is left, and whether something was lost.
fn convert(rule: Rule) -> (Option<FilterRule>, bool) {
    let mut lost = false;
    let mut keep = |parsed: Option<RuleSrc>| {
        lost |= parsed.is_none();
        parsed
    };
    let bits = rule.src_bits.iter().copied().map(Some).chain(std::iter::repeat(None));
    let srcs: Box<[RuleSrc]> = rule
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
            let mut caps = cap_map(grant.cap_map);
            for name in grant.caps {
                caps.entry(name).or_default();
            }
            CapGrant { dsts: list::<IpNet, _>(&grant.dsts), caps }
        })
        .filter(|grant| !grant.dsts.is_empty() && !grant.caps.is_empty())
        .collect();
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

    fn parse(text: &str) -> (Vec<FilterRule>, usize) {
        let raw: Vec<&RawValue> = serde_json::from_str(text).expect("list");
        rules(&raw)
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
