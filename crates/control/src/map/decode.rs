//! From the fields of a map message to what is handed on (protocol reference §1.9.4).

use super::MapMessage;
use super::split::Wanted;
use crate::Error;
use crate::text::printable;
use crate::wire::messages::{ClientVersion, DebugSettings, DisplayMessage, TkaInfo, UserProfile};
use crate::wire::{derp, dns, filter, node};
use gojson::{Each, Pairs, Value, Zero};
use netmap::{Delta, NodeId, Timestamp};

/// What to do with each field of a map message.
pub(super) fn wanted(name: &str) -> Wanted {
    match name {
        "Peers" | "PeersChanged" => Wanted::Elements,
        "KeepAlive" | "PingRequest" | "PopBrowserURL" | "Node" | "DERPMap" | "PeersRemoved"
        | "PeersChangedPatch" | "PeerSeenChange" | "OnlineChange" | "DNSConfig" | "Domain"
        | "PacketFilter" | "PacketFilters" | "UserProfiles" | "Health" | "DisplayMessages"
        | "ControlTime" | "TKAInfo" | "Debug" | "ClientVersion" => Wanted::Whole,
        _ => Wanted::No,
    }
}

/// One for all types.
fn parse_into(name: &str, raw: &[u8], value: &mut dyn Value) -> Result<(), Error> {
    gojson::from_slice_over(raw, value)
        .map_err(|e| Error::Json { what: format!("map field {name}"), why: e.to_string() })
}

/// One message being put together.
#[derive(Default)]
pub(super) struct Builder {
    /// The next one is made before the last has gone, so that its memory does not go back to the system in between.
    message: Box<MapMessage>,
    /// Chunk "base" from the deprecated `PacketFilter`: `"*": null` in `PacketFilters` clears it, too.
    base_filter: Option<Vec<netmap::FilterRule>>,
    /// Parts that were left out because they did not parse, and the first of them.
    bad: usize,
    first_bad: Option<String>,
}

impl Builder {
    fn parse<T: Value + Zero>(name: &str, raw: &[u8]) -> Result<T, Error> {
        let mut value = T::zero();
        parse_into(name, raw, &mut value)?;
        Ok(value)
    }

    fn note_bad(&mut self, count: usize, what: impl FnOnce() -> String) {
        if count > 0 && self.bad == 0 {
            self.first_bad = Some(what());
        }
        self.bad += count;
    }

    /// Takes an element of `Peers` or `PeersChanged`; the node, if it is to be handed on.
    pub(super) fn peer(&mut self, list: &str, raw: &[u8]) -> Option<Box<netmap::Node>> {
        if self.message.keep_alive || (list != "Peers" && self.message.delta.full_peers) {
            return None;
        }
        self.message.delta.full_peers |= list == "Peers";
        match gojson::from_slice::<Option<node::Node>>(raw) {
            Ok(node) => node.map(|node| Box::new(node.into())),
            Err(e) => {
                self.note_bad(1, || format!("a peer: {e}: {}", printable(raw)));
                None
            }
        }
    }

    /// An element was too long.
    pub(super) fn skipped(&mut self, list: &str) {
        self.message.delta.full_peers |= list == "Peers";
        self.note_bad(1, || format!("an overlong entry of {list}"));
    }

    /// Takes a field. A part of it that does not parse is left out; an error means that the whole message
    /// cannot be trusted.
    pub(super) fn field(&mut self, name: &str, raw: &[u8]) -> Result<(), Error> {
        if raw == b"null" {
            return Ok(());
        }
        let delta = &mut self.message.delta;
        match name {
            "KeepAlive" => self.message.keep_alive = Self::parse(name, raw)?,
            "PingRequest" => self.message.ping = Some(Self::parse(name, raw)?),
            "PopBrowserURL" => {
                self.message.pop_browser_url =
                    Some(Self::parse(name, raw)?).filter(|url: &String| !url.is_empty());
            }
            "Node" => delta.self_node = Some(Self::parse::<node::Node>(name, raw)?.into()),
            "DERPMap" => {
                let (map, bad) = Self::parse::<derp::DerpMap>(name, raw)?.convert();
                delta.derp_map = Some(map);
                self.note_bad(bad.len(), || bad.into_iter().next().unwrap_or_default());
            }
            "PeersRemoved" => {
                delta.peers_removed = Self::parse::<Vec<i64>>(name, raw)?.into_iter().map(NodeId).collect()
            }
            "PeersChangedPatch" => {
                let (patches, bad) = Self::parse::<Each<node::PeerChange>>(name, raw)?.finish();
                delta.patches = patches;
                self.note_bad(bad, || "a patch of a peer".to_owned());
            }
            "PeerSeenChange" => delta.seen_change = flags(Self::parse(name, raw)?),
            "OnlineChange" => delta.online_change = flags(Self::parse(name, raw)?),
            "DNSConfig" => delta.dns = Some(Self::parse::<dns::DnsConfig>(name, raw)?.into()),
            "Domain" => {
                delta.domain = Some(Self::parse::<Box<str>>(name, raw)?).filter(|name| !name.is_empty())
            }
            "PacketFilter" => {
                let (rules, bad) = Self::parse::<Each<filter::Rule>>(name, raw)?.finish();
                self.base_filter = Some(rules);
                self.note_bad(bad, || "a packet filter rule".to_owned());
            }
            "PacketFilters" => self.packet_filters(Self::parse(name, raw)?),
            "UserProfiles" => {
                let (users, bad) = Self::parse::<Each<UserProfile>>(name, raw)?.finish();
                delta.users = users;
                self.note_bad(bad, || "a user profile".to_owned());
            }
            "Health" => delta.health = Some(Self::parse(name, raw)?),
            "DisplayMessages" => {
                let messages = Self::parse::<Pairs<Box<str>, Option<DisplayMessage>>>(name, raw)?;
                for (id, message) in messages.sorted() {
                    match (&*id, message) {
                        ("*", None) => delta.clear_display_messages = true,
                        (_, message) => delta.display_messages.push((id, message.map(Into::into))),
                    }
                }
            }
            "ControlTime" => self.message.control_time = Timestamp::parse(&Self::parse::<String>(name, raw)?),
            "TKAInfo" => delta.tailnet_lock = Some(Self::parse::<TkaInfo>(name, raw)?.is_on()),
            "Debug" => self.message.debug = Some(Self::parse::<DebugSettings>(name, raw)?),
            "ClientVersion" => delta.client_version = Some(Self::parse::<ClientVersion>(name, raw)?.into()),
            _ => {}
        }
        Ok(())
    }

    fn packet_filters(&mut self, chunks: Pairs<Box<str>, Option<Each<filter::Rule>>>) {
        for (name, raw) in chunks.sorted() {
            let Some(raw) = raw else {
                match &*name {
                    "*" => self.message.delta.clear_packet_filters = true,
                    _ => self.message.delta.packet_filters.push((name, None)),
                }
                continue;
            };
            let (rules, bad) = raw.finish();
            self.message.delta.packet_filters.push((name, Some(rules)));
            self.note_bad(bad, || "a packet filter rule".to_owned());
        }
    }

    /// The message is complete. `is_first` says that none but keepalives came before it on this stream.
    pub(super) fn finish(&mut self, is_first: bool) -> Result<Box<MapMessage>, Error> {
        let Self { mut message, base_filter, bad, first_bad } = std::mem::take(self);
        if let Some(first_bad) = first_bad {
            log::warn!("control: {bad} part(s) of a map message left out, the first: {first_bad}");
        }
        if message.keep_alive {
            message.delta = Delta::default();
            return Ok(message);
        }
        let delta = &mut message.delta;
        if let Some(rules) = base_filter.filter(|_| !delta.clear_packet_filters) {
            delta.packet_filters.insert(0, ("base".into(), Some(rules)));
        }
        if is_first {
            if delta.self_node.is_none() {
                return Err(Error::NoSelfNode);
            }
            // Nothing of an earlier stream counts: what the snapshot leaves out is empty.
            message.first = true;
            delta.clear_packet_filters = true;
            delta.clear_display_messages = true;
            delta.health.get_or_insert_default();
            delta.dns.get_or_insert_default();
            delta.tailnet_lock.get_or_insert(false);
        }
        Ok(message)
    }
}

fn flags(map: Pairs<Box<str>, bool>) -> Vec<(NodeId, bool)> {
    map.into_iter().filter_map(|(id, flag)| Some((NodeId(id.parse().ok()?), flag))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::split::{Item, Splitter};

    fn decode(text: &str, first: bool) -> Result<(Vec<i64>, Box<MapMessage>), Error> {
        let mut builder = Builder::default();
        let mut splitter = Splitter::new(wanted);
        let mut input = text.as_bytes();
        let mut peers = Vec::new();
        while let Some(item) = splitter.next(&mut input)? {
            match item {
                Item::Field(name, raw) => builder.field(name, raw)?,
                Item::Element(name, raw) => peers.extend(builder.peer(name, raw).map(|node| node.id.0)),
                Item::Skipped(name) => builder.skipped(name),
            }
        }
        Ok((peers, builder.finish(first)?))
    }

    #[test]
    fn a_first_message() {
        let (peers, message) = decode(
            r#"{"Node":{"ID":1},"Peers":[{"ID":2},{"ID":"x"},null,{"ID":3}],"PeersChanged":[{"ID":9}],"Domain":"d","PacketFilter":[],
                "ControlTime":"2026-01-01T00:00:00Z","Unknown":[1,{"a":2}]}"#,
            true,
        )
        .expect("message");
        assert_eq!(peers, [2, 3], "a broken peer is left out, PeersChanged is ignored beside Peers");
        let delta = &message.delta;
        assert!(message.first && delta.full_peers && delta.clear_packet_filters);
        assert_eq!(delta.packet_filters, [("base".into(), Some(vec![]))]);
        assert_eq!((delta.dns.is_some(), delta.tailnet_lock), (true, Some(false)));
        assert!(message.control_time.is_some());
        assert_eq!(decode(r#"{"Peers":[{"ID":2}]}"#, true).err(), Some(Error::NoSelfNode));
    }

    #[test]
    fn deltas() {
        let (peers, message) = decode(
            r#"{"Peers":null,"PeersChanged":[{"ID":9}],"PeersRemoved":[4],"PeersChangedPatch":[{"NodeID":5,"Online":true},7],
                "PeerSeenChange":{"6":true,"x":true},"OnlineChange":{"7":false},"Health":[],
                "PacketFilters":{"*":null,"a":null,"b":[]},"PacketFilter":[],"TKAInfo":{"Head":"h"},
                "DisplayMessages":{"*":null,"m":{"Title":"t","PrimaryAction":{"URL":"u"}},"n":null}}"#,
            false,
        )
        .expect("message");
        assert_eq!(peers, [9]);
        let delta = &message.delta;
        assert!(!message.first && !delta.full_peers);
        assert_eq!(delta.peers_removed, [NodeId(4)]);
        assert_eq!(delta.patches.len(), 1);
        assert_eq!(delta.seen_change, [(NodeId(6), true)]);
        assert_eq!(delta.online_change, [(NodeId(7), false)]);
        assert!(delta.clear_packet_filters && delta.clear_display_messages);
        assert_eq!(delta.packet_filters, [("a".into(), None), ("b".into(), Some(vec![]))]);
        assert_eq!((delta.display_messages.len(), delta.health.as_deref()), (2, Some(&[][..])));
        assert_eq!((delta.tailnet_lock, delta.dns.is_none()), (Some(true), true));
    }

    #[test]
    fn what_has_names_comes_in_their_order() {
        let (_, message) = decode(
            r#"{"PacketFilters":{"c":[],"*":null,"b":null,"a":[],"b":[]},
                "DisplayMessages":{"c":{"Title":"1"},"b":{"Title":"2"},"*":null,"a":null,"b":null,"c":{"Title":"3"}}}"#,
            false,
        )
        .expect("message");
        let delta = message.delta;
        assert!(delta.clear_packet_filters && delta.clear_display_messages);
        let chunks = delta.packet_filters.iter().map(|(name, rules)| (&**name, rules.is_some()));
        assert_eq!(chunks.collect::<Vec<_>>(), [("a", true), ("b", false), ("b", true), ("c", true)]);
        let titles = delta
            .display_messages
            .iter()
            .map(|(id, shown)| (&**id, shown.as_ref().map(|shown| &*shown.title)));
        let expected = [("a", None), ("b", Some("2")), ("b", None), ("c", Some("1")), ("c", Some("3"))];
        assert_eq!(titles.collect::<Vec<_>>(), expected, "of one name the last counts");
    }

    #[test]
    fn keepalives_change_nothing() {
        let (peers, message) =
            decode(r#"{"KeepAlive":true,"PopBrowserURL":"","PingRequest":{"URL":"u"},"Peers":[{"ID":1}],"Domain":"d"}"#, true)
                .expect("message");
        assert!(peers.is_empty() && message.keep_alive && !message.first);
        assert_eq!((message.delta.domain, message.pop_browser_url), (None, None));
        assert_eq!(message.ping.map(|ping| ping.url).as_deref(), Some("u"));
    }

    #[test]
    fn numbers_out_of_range_cost_no_more_than_their_part() {
        let (peers, message) = decode(
            r#"{"Node":{"ID":1,"Cap":99999999999,"HomeDERP":99999999999,"Hostinfo":{"Location":{"Priority":-99999999999}}},
                "DERPMap":{"Regions":{"7":{"Nodes":[{"HostName":"a","DERPPort":70000},{"HostName":"b"}]},"70000":{}},
                "HomeParams":{"RegionScore":{"70000":1}}},"Peers":[{"ID":2,"Cap":-1}],
                "PeersChangedPatch":[{"NodeID":5,"Cap":99999999999,"DERPRegion":70000}],
                "PacketFilter":[{"SrcIPs":["*"],"SrcBits":[99999999999],
                    "DstPorts":[{"IP":"*","Ports":{"First":1,"Last":99999999999}}]}],
                "Debug":{"SleepSeconds":0,"Exit":99999999999}}"#,
            true,
        )
        .expect("message");
        let delta = &message.delta;
        let regions = delta.derp_map.as_ref().and_then(|map| map.regions.as_ref()).expect("regions");
        let hosts = regions.values().flat_map(|region| region.nodes.iter().map(|server| &*server.host_name));
        assert_eq!(hosts.collect::<Vec<_>>(), ["b"]);
        assert_eq!(delta.self_node.as_ref().map(|node| (node.cap, node.home_derp.0)), Some((i32::MAX, 0)));
        assert_eq!((peers, delta.patches[0].cap), (vec![2], Some(i32::MAX)));
    }

    #[test]
    fn long_texts_do_not_stand_in_errors() {
        let long = "x".repeat(1 << 19);
        for field in [format!(r#"{{"KeepAlive":"{long}"}}"#), format!(r#"{{"Node":{{"ID":"{long}"}}}}"#)] {
            let error = decode(&field, false).expect_err("a text that is none").to_string();
            assert!(error.len() < 300, "{} bytes", error.len());
        }
        let mut builder = Builder::default();
        assert_eq!(builder.peer("Peers", format!(r#"{{"Addresses":["{long}"]}}"#).as_bytes()), None);
        let told = builder.first_bad.expect("a peer that is none");
        assert!(told.len() < 500, "{} bytes", told.len());
    }

    #[test]
    fn lists_of_nothing_are_refused() {
        let nodes = vec!["{}"; 400_000].join(",");
        let ones = vec!["1"; 2_000_000].join(",");
        for text in [
            format!(r#"{{"DERPMap":{{"Regions":{{"1":{{"Nodes":[{nodes}]}}}}}}}}"#),
            format!(r#"{{"PeersRemoved":[{ones}]}}"#),
            format!(r#"{{"UserProfiles":[{nodes}]}}"#),
        ] {
            let why = decode(&text, false).expect_err("more than a router has").to_string();
            assert!(why.contains("lists take 8 MiB more than their text"), "{why}");
        }
    }

    #[test]
    fn broken_fields_fail_the_message() {
        for text in [
            r#"{"Node":7}"#,
            r#"{"PacketFilters":[]}"#,
            r#"{"KeepAlive":"x"}"#,
            r#"{"DERPMap":{"Regions":7}}"#,
        ] {
            assert!(matches!(decode(text, false), Err(Error::Json { .. })), "{text}");
        }
    }
}
