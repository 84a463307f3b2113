//! The network map as a whole (Go's `netmap.NetworkMap`), written one peer at a time.
//!
//! Clients of before the bus told single changes ask for it. Leaves out the packet filter, which has an endpoint of its
//! own, and what this node never has.

use super::derp::DerpMap;
use super::dns::DnsConfig;
use super::node::Node;
use super::notify::Notify;
use super::user::UserProfile;
use gojson::Map;
use gojson::{Indent, append};
use keys::{MachinePublic, NodePublic};

go_object! {
    /// Everything but the peers.
    pub struct NetMapHead {
        /// Not heard from control in this run.
        pub cached: bool => "Cached",
        pub self_node: Option<Box<Node>> => "SelfNode",
        /// Names of our own capabilities.
        pub all_caps: Vec<String> => "AllCaps",
        pub node_key: NodePublic => "NodeKey",
        pub machine_key: MachinePublic => "MachineKey",
        pub dns: DnsConfig => "DNS",
        pub collect_services: bool => "CollectServices",
        pub derp_map: Option<Box<DerpMap>> => "DERPMap",
        /// Tailnet Lock is on.
        pub tka_enabled: bool => "TKAEnabled",
        pub domain: String => "Domain",
        pub domain_audit_log_id: String => "DomainAuditLogID",
        pub user_profiles: Map<i64, UserProfile> => "UserProfiles",
    }
}

/// Produces the text of a network map in three steps: everything else, each peer, the end.
#[derive(Debug)]
pub struct NetMapWriter {
    started: bool,
    end: &'static [u8],
}

impl NetMapWriter {
    /// A document of its own: appends everything but the peers to `out`.
    pub fn begin(head: &NetMapHead, out: &mut Vec<u8>) -> Self {
        append(out, head, Indent::None, 0);
        // An object that always has members loses the brace that closes it.
        out.truncate(out.len().saturating_sub(1));
        out.extend_from_slice(b",\"Peers\":[");
        Self { started: false, end: b"]}\n" }
    }

    /// One line of the bus with the map in it. `notify.net_map` is not looked at.
    pub fn begin_notify(notify: &mut Notify, head: &NetMapHead, out: &mut Vec<u8>) -> Self {
        const NONE: &[u8] = b"\"NetMap\":null,";
        notify.net_map = None;
        let mut text = Vec::new();
        append(&mut text, notify, Indent::None, 0);
        // The last match is the member itself: what follows it in a first message holds no raw JSON.
        if let Some(at) = text.windows(NONE.len()).rposition(|window| window == NONE) {
            text.drain(at..at.saturating_add(NONE.len()));
        }
        text.truncate(text.len().saturating_sub(1));
        out.append(&mut text);
        out.extend_from_slice(b",\"NetMap\":");
        Self { end: b"]}}\n", ..Self::begin(head, out) }
    }

    /// Appends one peer to `out`; they come in order of their number.
    pub fn peer(&mut self, peer: &Node, out: &mut Vec<u8>) {
        if self.started {
            out.push(b',');
        }
        self.started = true;
        append(out, peer, Indent::None, 0);
    }

    /// Appends the end and a newline to `out`.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn written(begin: impl FnOnce(&mut Vec<u8>) -> NetMapWriter, ids: &[i64]) -> Value {
        let mut out = Vec::new();
        let mut writer = begin(&mut out);
        for id in ids {
            writer.peer(&Node { id: *id, ..Node::default() }, &mut out);
        }
        writer.finish(&mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice(&out).expect("one line of JSON")
    }

    #[test]
    fn peer_by_peer() {
        let head = NetMapHead { domain: "example.com".to_owned(), ..NetMapHead::default() };
        for ids in [&[][..], &[2], &[2, 7]] {
            let map = written(|out| NetMapWriter::begin(&head, out), ids);
            assert_eq!(map["Domain"], "example.com");
            let peers = map["Peers"].as_array().expect("a list");
            assert_eq!(peers.iter().map(|peer| peer["ID"].as_i64().expect("an id")).collect::<Vec<_>>(), ids);
        }
    }

    #[test]
    fn in_a_message_of_the_bus() {
        let mut own = Node { name: "\"NetMap\":null,".to_owned(), ..Node::default() };
        own.cap_map.insert(
            "x".to_owned(),
            super::super::Raw::new("{\"NetMap\":null,\"b\":1}".to_owned()).map(|raw| vec![raw]),
        );
        let mut notify =
            Notify { version: "v".to_owned(), self_change: Some(Box::new(own)), ..Notify::default() };
        let line = written(|out| NetMapWriter::begin_notify(&mut notify, &NetMapHead::default(), out), &[2]);
        assert_eq!(line["Version"], "v");
        assert_eq!(line["SelfChange"]["Name"], "\"NetMap\":null,");
        assert_eq!(line["NetMap"]["Peers"][0]["ID"], 2);
        assert_eq!(line["BrowseToURL"], Value::Null);
        assert_eq!(line.as_object().map(|members| members.contains_key("Engine")), Some(true));
    }
}
