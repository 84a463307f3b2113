//! A tailnet to ask about, and the codec that reads what comes back.

#![allow(dead_code, reason = "every test is a crate of its own and uses a part")]

pub(crate) mod mutate;
pub(crate) mod world;

use dns::config::{OsConfig, Resolver};
use dns::hosts::Builder;
use dns::{Answer, Config, Transport, Upstream};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::IpAddr;

/// A question.
pub(crate) struct Asked {
    pub(crate) message: Message,
}

impl Asked {
    pub(crate) fn new(name: &str, kind: RecordType) -> Self {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        Self { message }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.message.to_vec().expect("encodes")
    }

    /// With EDNS.
    pub(crate) fn with_size(&self, size: u16) -> Vec<u8> {
        let mut message = self.message.clone();
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        // Smaller than anybody may name is raised by the codec, not by us.
        message.set_edns(edns);
        let mut bytes = message.to_vec().expect("encodes");
        let at = bytes.len() - 8;
        bytes[at..at + 2].copy_from_slice(&size.to_be_bytes());
        bytes
    }
}

/// Nodes, records and zones of the tests.
pub(crate) fn config() -> Config {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let mut nodes = Builder::default();
    for (name, subdomains, addresses) in [
        ("self.tail1.ts.net.", false, &["100.64.0.1", "fd7a:115c:a1e0::1"][..]),
        ("six.tail1.ts.net.", false, &["fd7a:115c:a1e0::6"]),
        ("app.tail1.ts.net.", true, &["100.64.0.3", "fd7a:115c:a1e0::3"]),
        ("override.tail1.ts.net.", false, &["100.64.0.4"]),
        ("guest.tail2.ts.net.", false, &["100.64.9.9"]),
        ("bare.tail1.ts.net.", false, &[]),
    ] {
        nodes.add(name, subdomains, addresses.iter().map(|text| ip(text)));
    }
    let mut records = Builder::default();
    records.add("svc.corp", false, ["2001:db8::1", "10.0.0.1", "10.0.0.2"].into_iter().map(ip));
    records.add("override.tail1.ts.net", false, [ip("10.0.0.9")].into_iter());
    Config {
        nodes: nodes.finish(),
        records: records.finish(),
        magic: Some("tail1.ts.net".into()),
        reverse: true,
        routes: ["tail1.ts.net", "corp2", "inner.corp2"].map(|zone| (zone.into(), Box::default())).into(),
        ..Config::default()
    }
}

/// With the servers of a machine that has none.
pub(crate) fn resolver(config: Config) -> Resolver {
    config.compile(&OsConfig::default()).0
}

/// With one upstream for everything else.
pub(crate) fn forwarding(address: &str) -> Resolver {
    resolver(Config { default: [Upstream::parse(address)].into(), ..config() })
}

/// The answer, read by the oracle; one bit of it must not differ when it is written again.
pub(crate) fn ask(resolver: &Resolver, asked: &Asked) -> Message {
    let bytes = asked.bytes();
    let Answer::Reply(reply) = resolver.answer(&bytes, Transport::Udp, 1_700_000_000) else {
        panic!("no reply to {:?}", asked.message.queries)
    };
    let message = Message::from_vec(&reply).expect("the oracle reads it");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    message
}

/// Answers as text.
pub(crate) fn records(message: &Message) -> String {
    let texts = message.answers.iter().map(|record| match &record.data {
        RData::A(address) => address.to_string(),
        RData::AAAA(address) => address.to_string(),
        RData::PTR(name) => name.to_string(),
        other => panic!("{other:?}"),
    });
    texts.collect::<Vec<_>>().join(" ")
}
