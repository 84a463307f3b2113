//! What is answered to which question, by a table, read by a codec that is not ours.

mod common;

use common::{Asked, ask, config, records, resolver};
use dns::{Answer, Config, Transport};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};

const NX: ResponseCode = ResponseCode::NXDomain;
const OK: ResponseCode = ResponseCode::NoError;
const NOTIMP: ResponseCode = ResponseCode::NotImp;

/// Question; expected code, records, and zone of the authority.
type Line = (&'static str, RecordType, ResponseCode, &'static str, &'static str);

#[test]
fn by_the_table() {
    use RecordType::*;
    const ZONE: &str = "tail1.ts.net.";
    const V4_ZONE: &str = "64.100.in-addr.arpa.";
    const V6_ZONE: &str = "0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa.";
    let table: &[Line] = &[
        // Nodes, by full and short name, in any case.
        ("self.tail1.ts.net.", A, OK, "100.64.0.1", ""),
        ("SELF.Tail1.ts.NET.", A, OK, "100.64.0.1", ""),
        ("self.", A, OK, "100.64.0.1", ""),
        ("self.tail1.ts.net.", ANY, OK, "100.64.0.1", ""),
        // The other family exists and is not shown.
        ("self.tail1.ts.net.", AAAA, OK, "", ZONE),
        ("six.tail1.ts.net.", AAAA, OK, "fd7a:115c:a1e0::6", ""),
        ("six.tail1.ts.net.", ANY, OK, "fd7a:115c:a1e0::6", ""),
        ("six.tail1.ts.net.", A, OK, "", ZONE),
        ("six.", A, OK, "", ""),
        // A node of another tailnet, shared in.
        ("guest.tail2.ts.net.", A, OK, "100.64.9.9", ""),
        ("guest.", A, ResponseCode::ServFail, "", ""),
        // Kinds.
        ("self.tail1.ts.net.", TXT, OK, "", ""),
        ("self.tail1.ts.net.", MX, OK, "", ""),
        ("self.tail1.ts.net.", CNAME, OK, "", ""),
        ("self.tail1.ts.net.", SRV, OK, "", ""),
        ("self.tail1.ts.net.", PTR, OK, "", ""),
        ("self.tail1.ts.net.", Unknown(9824), OK, "", ""),
        ("self.tail1.ts.net.", NS, NOTIMP, "", ""),
        ("self.tail1.ts.net.", SOA, NOTIMP, "", ""),
        ("self.tail1.ts.net.", AXFR, NOTIMP, "", ""),
        ("self.tail1.ts.net.", HINFO, NOTIMP, "", ""),
        // What is not there.
        ("missing.tail1.ts.net.", A, NX, "", ZONE),
        ("missing.tail1.ts.net.", NS, NX, "", ZONE),
        ("missing.tail1.ts.net.", TXT, NX, "", ZONE),
        ("missing.tail1.ts.net.", PTR, NX, "", ZONE),
        ("tail1.ts.net.", A, NX, "", ZONE),
        ("a.b.missing.tail1.ts.net.", AAAA, NX, "", ZONE),
        ("xtail1.ts.net.", A, ResponseCode::ServFail, "", ""),
        ("example.com.", A, ResponseCode::ServFail, "", ""),
        ("example.com.", NS, ResponseCode::ServFail, "", ""),
        (".", NS, ResponseCode::ServFail, "", ""),
        // Below a node whose subdomains are its own, and below one whose are not.
        ("www.app.tail1.ts.net.", A, OK, "100.64.0.3", ""),
        ("a.b.c.app.tail1.ts.net.", A, OK, "100.64.0.3", ""),
        ("www.app.", A, OK, "100.64.0.3", ""),
        ("www.app.tail1.ts.net.", AAAA, OK, "", ZONE),
        ("www.self.tail1.ts.net.", A, NX, "", ZONE),
        // Records that control adds come first; of several addresses the first of the family.
        ("svc.corp.", A, OK, "10.0.0.1", ""),
        ("svc.corp.", AAAA, OK, "2001:db8::1", ""),
        ("svc.corp.", ANY, OK, "2001:db8::1", ""),
        ("svc.corp.", TXT, OK, "", ""),
        ("override.tail1.ts.net.", A, OK, "10.0.0.9", ""),
        ("other.corp.", A, ResponseCode::ServFail, "", ""),
        ("empty.corp2.", A, NX, "", "corp2."),
        ("inner.corp2.", A, NX, "", "inner.corp2."),
        ("x.inner.corp2.", A, NX, "", "inner.corp2."),
        // Onions are never asked for.
        ("abc.onion.", A, NX, "", ""),
        ("ABC.ONION.", TXT, NX, "", ""),
        ("onion.", A, ResponseCode::ServFail, "", ""),
        ("xonion.", A, ResponseCode::ServFail, "", ""),
        // Ourselves.
        ("magicdns.localhost-tailscale-daemon.", A, OK, "100.100.100.100", ""),
        ("magicdns.localhost-tailscale-daemon.", AAAA, OK, "fd7a:115c:a1e0::53", ""),
        ("magicdns.localhost-tailscale-daemon.", TXT, ResponseCode::ServFail, "", ""),
        // 4via6.
        ("10-1-1-16-via-7.", AAAA, OK, "fd7a:115c:a1e0:b1a:0:7:a01:110", ""),
        ("10-1-1-16-via-7.tail1.ts.net.", AAAA, OK, "fd7a:115c:a1e0:b1a:0:7:a01:110", ""),
        ("10-1-1-16-VIA-7.tail1.ts.net.", ANY, OK, "fd7a:115c:a1e0:b1a:0:7:a01:110", ""),
        ("10-1-1-16-via-7.tail1.ts.net.", A, OK, "", ZONE),
        ("10-1-1-16-via-7.", A, OK, "", ""),
        ("10-1-1-16-via-7.tail1.ts.net.", TXT, NX, "", ZONE),
        ("10-1-1-16-via-7.example.com.", AAAA, ResponseCode::ServFail, "", ""),
        // Addresses.
        ("1.0.64.100.in-addr.arpa.", PTR, OK, "self.tail1.ts.net.", ""),
        ("9.9.64.100.in-addr.arpa.", PTR, OK, "guest.tail2.ts.net.", ""),
        ("1.0.0.10.in-addr.arpa.", PTR, OK, "svc.corp.", ""),
        ("77.0.64.100.in-addr.arpa.", PTR, NX, "", V4_ZONE),
        ("77.0.64.100.in-addr.arpa.", A, NX, "", V4_ZONE),
        ("64.100.in-addr.arpa.", PTR, NX, "", V4_ZONE),
        ("100.100.100.100.in-addr.arpa.", PTR, OK, "magicdns.localhost-tailscale-daemon.", ""),
        ("1.1.1.1.in-addr.arpa.", PTR, ResponseCode::ServFail, "", ""),
        ("1.0.128.100.in-addr.arpa.", PTR, ResponseCode::ServFail, "", ""),
        (
            "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa.",
            PTR,
            OK,
            "six.tail1.ts.net.",
            "",
        ),
        (
            // 4-to-6: the IPv4 address 100.64.0.1 stands in it.
            "1.0.0.0.0.4.2.6.6.9.d.c.3.4.8.4.2.1.b.a.0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa.",
            PTR,
            OK,
            "self.tail1.ts.net.",
            "",
        ),
        ("2.0.0.0.0.4.2.6.6.9.d.c.3.4.8.4.2.1.b.a.0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa.", PTR, NX, "", V6_ZONE),
        // Service browsing is never asked of anybody.
        ("b._dns-sd._udp.0.1.168.192.in-addr.arpa.", PTR, NX, "", ""),
        ("lb._dns-sd._udp.example.com.", PTR, NX, "", ""),
        ("lb._dns-sd._udp.example.com.", TXT, NX, "", ""),
        ("x._dns-sd._udp.example.com.", PTR, ResponseCode::ServFail, "", ""),
    ];
    let resolver = resolver(config());
    for (name, kind, code, expected, zone) in table {
        let reply = ask(&resolver, &Asked::new(name, *kind));
        let context = format!("{name} {kind}: {reply:?}");
        assert_eq!(reply.metadata.response_code, *code, "{context}");
        assert_eq!(records(&reply), *expected, "{context}");
        let authority = reply.authorities.first();
        assert_eq!(
            authority.map(|soa| soa.name.to_lowercase().to_string()).unwrap_or_default(),
            *zone,
            "{context}"
        );
        if let Some(soa) = authority {
            let RData::SOA(data) = &soa.data else { panic!("{context}") };
            let times = [data.refresh as u32, data.retry as u32, data.expire as u32, data.minimum, soa.ttl];
            assert_eq!((times, data.serial), ([10; 5], 1_700_000_000), "{context}");
        }
        assert!(reply.answers.iter().all(|record| record.ttl == 5), "{context}");
    }
}

#[test]
fn flags_and_question_are_echoed() {
    let resolver = resolver(config());
    for (name, authoritative) in [
        ("self.tail1.ts.net.", true),
        ("missing.tail1.ts.net.", true),
        ("lb._dns-sd._udp.example.com.", false),
        ("example.com.", true),
    ] {
        for wished in [false, true] {
            let mut asked = Asked::new(name, RecordType::A);
            asked.message.metadata.recursion_desired = wished;
            asked.message.metadata.checking_disabled = wished;
            asked.message.metadata.id = 0xbeef;
            let reply = ask(&resolver, &asked);
            let head = &reply.metadata;
            assert_eq!(
                (head.id, head.recursion_desired, head.checking_disabled, head.truncation),
                (0xbeef, wished, wished, false)
            );
            let failed = head.response_code == ResponseCode::ServFail;
            assert_eq!(
                (head.recursion_available, head.authoritative),
                (wished && !failed, authoritative),
                "{name}"
            );
            assert_eq!(reply.queries, asked.message.queries);
        }
    }
}

#[test]
fn six_only_and_both() {
    let only_v6 = resolver(Config { only_v6: true, ..config() });
    let both = resolver(Config { nodes_aaaa: true, ..config() });
    let dual = |resolver, kind| records(&ask(resolver, &Asked::new("self.tail1.ts.net.", kind)));
    assert_eq!(dual(&only_v6, RecordType::A), "");
    assert_eq!(dual(&only_v6, RecordType::AAAA), "fd7a:115c:a1e0::1");
    assert_eq!(dual(&only_v6, RecordType::ANY), "fd7a:115c:a1e0::1");
    assert_eq!(dual(&both, RecordType::A), "100.64.0.1");
    assert_eq!(dual(&both, RecordType::AAAA), "fd7a:115c:a1e0::1");
    // Records of control's are nobody's node.
    assert_eq!(records(&ask(&only_v6, &Asked::new("svc.corp.", RecordType::A))), "10.0.0.1");
}

#[test]
fn without_magic_dns_short_names_are_none() {
    let resolver = resolver(Config { magic: None, reverse: false, routes: Default::default(), ..config() });
    let code = |name| ask(&resolver, &Asked::new(name, RecordType::A)).metadata.response_code;
    assert_eq!(code("self.tail1.ts.net."), OK);
    assert_eq!(code("self."), ResponseCode::ServFail);
    assert_eq!(code("missing.tail1.ts.net."), ResponseCode::ServFail);
}

#[test]
fn what_is_no_question() {
    let resolver = resolver(config());
    let good = Asked::new("self.tail1.ts.net.", RecordType::A).bytes();
    let code = |bytes: &[u8]| match resolver.answer(bytes, Transport::Udp, 0) {
        Answer::Reply(reply) => Some(Message::from_vec(&reply).expect("reads").metadata.response_code),
        Answer::Ask(..) => panic!("asked for {bytes:?}"),
        Answer::Silence => None,
    };
    for length in 0..12 {
        assert_eq!(code(&good[..length]), None, "{length}");
    }
    for length in 12..good.len() {
        assert_eq!(code(&good[..length]), Some(ResponseCode::FormErr), "{length}");
    }
    let mut response = good.clone();
    response[2] |= 0x80;
    assert_eq!(code(&response), None);
    let mut no_question = good.clone();
    no_question[5] = 0;
    assert_eq!(code(&no_question), Some(ResponseCode::FormErr));
    // A pointer to itself, and a label with a dot.
    for name in [&b"\xc0\x0c"[..], b"\xc0\x0e", b"\x03a.b\0"] {
        let bytes = [&good[..12], name, &[0, 1, 0, 1]].concat();
        assert_eq!(code(&bytes), Some(ResponseCode::FormErr), "{name:?}");
    }
    // Counts may promise what does not come: only the first question is read.
    let mut many = good.clone();
    many[4..12].fill(0xff);
    assert_eq!(code(&many), Some(OK));
    let mut update = good;
    update[2] |= 5 << 3;
    assert_eq!(code(&update), Some(NOTIMP));
}

/// UPDATE, NOTIFY and what else is no query goes to nobody, whoever asks for it and whose name it is.
#[test]
fn no_other_operation_is_passed_on() {
    let mut config = config();
    config.routes.push(("corp".into(), [dns::Upstream::parse("10.0.0.1")].into()));
    config.default = [dns::Upstream::parse("10.0.0.2:5353")].into();
    let (resolver, _) = config.compile(&dns::config::OsConfig::default());
    for name in ["a.corp.", "example.com.", "self.tail1.ts.net."] {
        for operation in [1, 2, 4, 5, 6, 15] {
            let mut query = Asked::new(name, RecordType::SOA).bytes();
            query[2] |= operation << 3;
            for (answer, whom) in [
                (resolver.answer(&query, Transport::Udp, 1), "machine"),
                (resolver.answer_covered(&query, Transport::Udp, 1), "LAN"),
            ] {
                let Answer::Reply(bytes) = answer else { panic!("{name} {operation} {whom}: passed on") };
                assert_eq!(bytes[3] & 15, 4, "{name} {operation} {whom}");
                assert_eq!(bytes[2] >> 3 & 15, operation, "{name} {operation} {whom}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_marked() {
    // An address whose name is as long as names are, below a name of much the same length.
    let label = "x".repeat(60);
    let long = format!("{label}.{label}.{label}.{label}.y");
    let mut nodes = dns::hosts::Builder::default();
    nodes.add(&long, false, ["fd7a:115c:a1e0::6".parse().expect("an address")].into_iter());
    let resolver = resolver(Config { nodes: nodes.finish(), ..config() });
    let asked = Asked::new(
        "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa.",
        RecordType::PTR,
    );
    let reply = ask(&resolver, &asked);
    assert_eq!((records(&reply), reply.metadata.truncation), (format!("{long}."), false));
    let small = asked.with_size(300);
    let Answer::Reply(bytes) = resolver.answer(&small, Transport::Udp, 0) else { panic!("answers") };
    assert!(bytes.len() > 300);
    let marked = Message::from_vec(&bytes).expect("reads");
    assert_eq!((records(&marked), marked.metadata.truncation), (format!("{long}."), true));
    let Answer::Reply(bytes) = resolver.answer(&small, Transport::Tcp, 0) else { panic!("answers") };
    assert!(!Message::from_vec(&bytes).expect("reads").metadata.truncation);
}

#[test]
fn whom_the_default_resolvers_are_not_for() {
    let [default, corp] = ["9.9.9.9", "10.0.0.53"].map(|address| Box::from([dns::Upstream::parse(address)]));
    let mut config = Config { default, ..config() };
    config.routes = [("corp3".into(), corp)].into_iter().chain(config.routes).collect();
    let resolver = resolver(config);
    for (name, kind, covered) in [
        ("self.tail1.ts.net.", RecordType::A, true),
        ("missing.tail1.ts.net.", RecordType::A, true),
        ("1.0.64.100.in-addr.arpa.", RecordType::PTR, true),
        ("9.9.64.100.in-addr.arpa.", RecordType::PTR, true),
        ("x.corp3.", RecordType::A, true),
        ("example.com.", RecordType::A, false),
        (".", RecordType::NS, false),
        ("1.0.168.192.in-addr.arpa.", RecordType::PTR, false),
        ("b._dns-sd._udp.0.168.192.in-addr.arpa.", RecordType::PTR, false),
    ] {
        let query = Asked::new(name, kind).bytes();
        let to_all = resolver.answer(&query, Transport::Udp, 7);
        let answer = resolver.answer_covered(&query, Transport::Udp, 7);
        if covered {
            assert_eq!(format!("{answer:?}"), format!("{to_all:?}"), "{name}");
        } else {
            let Answer::Reply(bytes) = answer else { panic!("{name} is asked for") };
            let message = Message::from_vec(&bytes).expect("a message");
            assert_eq!(message.metadata.response_code, ResponseCode::Refused, "{name}");
        }
    }
    assert!(matches!(resolver.answer_covered(b"", Transport::Udp, 7), Answer::Silence));
}

#[test]
fn questions_of_ours() {
    for (name, kind) in [("node.tail1.ts.net", "aaaa"), ("", "NS"), ("example.com", "srv"), ("x", "all")] {
        let number = dns::message::kind::by_name(kind).expect("known");
        let bytes = dns::message::query(9, &dns::name::Name::parse(name.as_bytes()).expect("a name"), number);
        let read = Message::from_vec(&bytes).expect("the oracle reads it");
        let query = &read.queries[0];
        assert_eq!((read.metadata.id, read.metadata.recursion_desired, read.queries.len()), (9, true, 1));
        assert_eq!(query.name().to_string(), format!("{name}."));
        assert_eq!(u16::from(query.query_type()), number);
    }
    assert_eq!(dns::message::kind::by_name("AXFR"), None);
}

#[test]
fn we_never_ask_ourselves() {
    for address in
        ["100.100.100.100", "100.100.100.100:5353", "fd7a:115c:a1e0::53", "[fd7a:115c:a1e0::53]:54"]
    {
        let resolver = common::forwarding(address);
        let reply = ask(&resolver, &Asked::new("example.com.", RecordType::A));
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail, "{address}");
    }
}
