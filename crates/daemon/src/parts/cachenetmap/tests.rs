//! The file: what goes in comes out, and nothing else does.

use super::Cache;
use super::file::{Draft, Found, Owner, read};
use crate::backend::Profiles;
use crate::clock::Clock;
use crate::flags::StatePlace;
use crate::state::Store;
use keys::{DiscoPrivate, DiscoPublic, MachinePublic, NodePrivate, NodePublic};
use localapi::types::{Persist, Prefs, Time};
use netmap::*;
use std::sync::Arc;

fn text(text: &str) -> Box<str> {
    text.into()
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn caps() -> CapMap {
    let values: Box<[Box<str>]> = [text("{\"a\":1}"), text("2")].into();
    [(text("https"), Box::default()), (text("cap/x"), values)].into()
}

/// A node with something in every field.
fn full_node(id: i64) -> Node {
    let byte = id as u8;
    let addresses: Arc<[IpNet]> = [net(&format!("100.64.0.{id}/32")), net("fd7a:115c:a1e0::1/128")].into();
    let location = Location {
        country: text("Germany"),
        country_code: text("DE"),
        city: text("Berlin"),
        city_code: text("BER"),
        latitude: 52.5,
        longitude: -13.25,
        priority: -3,
    };
    Node {
        id: NodeId(id),
        stable_id: StableId(format!("n{id}").into()),
        name: format!("n{id}.tail.example.").into(),
        user: UserId(9),
        key: NodePublic::from_bytes([byte; 32]),
        key_expiry: Timestamp::from_unix_nanos(1_900_000_000_123_456_789),
        machine: MachinePublic::from_bytes([byte + 1; 32]),
        disco_key: DiscoPublic::from_bytes([byte + 2; 32]),
        allowed_ips: [addresses[0], net("10.0.0.0/8"), net("::/0")].into(),
        addresses,
        endpoints: ["192.0.2.1:41641", "[2001:db8::1]:1"].iter().map(|at| at.parse().expect("it")).collect(),
        home_derp: RegionId(999),
        hostinfo: Hostinfo::new(
            text("host"),
            [Service::new(text("peerapi4"), 4242, text("")), Service::new(text("tcp"), 22, text("sshd"))]
                .into(),
            System { os: text("linux"), os_version: text("6.1"), ipn_version: text("1.102.5") },
            HostRest {
                routable_ips: [net("10.0.0.0/8")].into(),
                request_tags: [text("tag:a")].into(),
                location: Some(location),
                sharee_node: true,
            },
        ),
        created: Timestamp::from_unix(1_700_000_000),
        cap: 119,
        last_seen: Timestamp::ZERO,
        online: None,
        machine_authorized: true,
        expired: true,
        wireguard_only: true,
        jailed: true,
        rare: Rare {
            sharer: UserId(4),
            tags: [text("tag:b")].into(),
            primary_routes: [net("10.0.0.0/8")].into(),
            cap_map: caps(),
            masq_v4: Some([100, 64, 9, 9].into()),
            masq_v6: Some([0xfd7a, 0, 0, 0, 0, 0, 0, 9].into()),
            exit_node_dns: [resolver("10.64.0.1")].into(),
        }
        .boxed(),
    }
}

fn resolver(addr: &str) -> DnsResolver {
    DnsResolver { addr: text(addr), bootstrap_resolution: [text("9.9.9.9")].into(), use_with_exit_node: true }
}

fn settings(map: &mut NetMap) {
    map.domain = text("example.com");
    map.tailnet_lock = true;
    let node = DerpNode {
        name: text("1a"),
        host_name: text("relay.example"),
        cert_name: text("sha256-raw:00"),
        ipv4: FamilyAddr::Ip([192, 0, 2, 7].into()),
        ipv6: FamilyAddr::Disabled,
        stun_port: -1,
        stun_only: true,
        derp_port: 8443,
        insecure_for_tests: true,
        stun_test_ip: text("192.0.2.8"),
        can_port_80: true,
    };
    let region = DerpRegion {
        id: RegionId(999),
        code: text("own"),
        name: text("Our own"),
        latitude: 1.5,
        longitude: -2.5,
        avoid: true,
        no_measure_no_home: true,
        nodes: [node, DerpNode::default()].into(),
    };
    map.derp_map = DerpMap {
        regions: [
            (RegionId(999), region),
            (RegionId(1000), DerpRegion { id: RegionId(1000), ..Default::default() }),
        ]
        .into(),
        region_score: [(RegionId(999), 0.25)].into(),
        omit_default_regions: true,
    };
    let split: Box<[DnsResolver]> = [resolver("https://dns.example/q")].into();
    map.dns = DnsConfig {
        resolvers: [resolver("9.9.9.9")].into(),
        routes: [(text("corp.example"), split), (text("x"), Box::default())].into(),
        fallback_resolvers: [resolver("1.1.1.1:53")].into(),
        domains: [text("tail.example")].into(),
        proxied: true,
        nameservers: [text("8.8.8.8")].into(),
        cert_domains: [text("n1.tail.example")].into(),
        extra_records: [DnsRecord { name: text("a."), kind: text("A"), value: text("192.0.2.1") }].into(),
        exit_node_filtered_set: [text(".internal")].into(),
    };
    let rule = FilterRule {
        srcs: [
            RuleSrc::Any,
            RuleSrc::Net(net("100.64.0.0/10")),
            RuleSrc::Range([192, 0, 2, 1].into(), [192, 0, 2, 9].into()),
            RuleSrc::Cap(text("x")),
        ]
        .into(),
        dsts: [RuleDst { net: RuleSrc::Any, ports: PortRange { first: 22, last: 80 } }].into(),
        protos: [6, 17].into(),
        cap_grants: [CapGrant { dsts: [net("100.64.0.1/32")].into(), caps: caps() }].into(),
    };
    map.packet_filters =
        Some([(text("base"), vec![rule, FilterRule::default()]), (text("none"), vec![])].into());
    let user = UserProfile {
        id: UserId(9),
        login_name: text("a@example.com"),
        display_name: text("A"),
        profile_pic_url: text("https://example.com/a"),
        groups: [text("group:x")].into(),
    };
    map.users = [(UserId(9), user)].into();
}

fn with_self(own: Node) -> NetMap {
    let mut map = NetMap::default();
    map.self_node = own;
    map
}

fn map_of(nodes: impl IntoIterator<Item = Node>) -> NetMap {
    let mut map = with_self(Node { disco_key: DiscoPublic::default(), ..full_node(1) });
    settings(&mut map);
    let mut changes = Changes::default();
    nodes.into_iter().for_each(|node| map.upsert_peer(node, &mut changes));
    map
}

fn full_map() -> NetMap {
    map_of([full_node(2), full_node(3), Node { id: NodeId(4), ..Node::default() }])
}

fn owner() -> Owner {
    Owner::new("https://control.example", &NodePublic::from_bytes([1; 32]))
}

fn drafted(map: &NetMap) -> Draft {
    let (disco, written) = (DiscoPrivate::from_bytes([8; 32]), Timestamp::from_unix(1_800_000_000));
    let mut draft = Draft::new(&owner(), &disco, RegionId(999), written, map);
    while draft.step(map) {}
    draft
}

fn bytes(map: &NetMap) -> Vec<u8> {
    drafted(map).finish().0.expect("not too large")
}

fn good(bytes: &[u8]) -> Found {
    read(bytes).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn everything_comes_back() {
    let map = full_map();
    let found = good(&bytes(&map));
    assert!(found.owner == owner());
    assert_eq!(found.disco.as_bytes(), &[8; 32]);
    assert_eq!((found.home, found.written), (RegionId(999), Timestamp::from_unix(1_800_000_000)));
    let back = found.map;
    assert_eq!(back.self_node, map.self_node);
    assert_eq!((&back.domain, back.tailnet_lock), (&map.domain, true));
    assert_eq!(back.derp_map, map.derp_map);
    assert_eq!(back.dns, map.dns);
    assert_eq!(back.packet_filters, map.packet_filters);
    assert_eq!(back.users, map.users);
    assert!(back.peers().eq(map.peers()));
    assert_eq!(found.substance, drafted(&map).finish().1, "read, and written, have the same sum");
}

#[test]
fn many_peers_come_back_and_share_their_addresses() {
    let plain = |id: i64| {
        let addresses: Arc<[IpNet]> = [net("100.64.0.1/32")].into();
        Node { id: NodeId(id), allowed_ips: Arc::clone(&addresses), addresses, ..Node::default() }
    };
    let map = map_of((2..1002).map(plain));
    let found = good(&bytes(&map));
    assert_eq!(found.map.peer_count(), 1000);
    assert!(found.map.peers().all(|peer| Arc::ptr_eq(&peer.addresses, &peer.allowed_ips)));
}

#[test]
fn no_map_without_a_filter_gets_one() {
    let map = NetMap::default();
    assert_eq!(good(&bytes(&map)).map.packet_filters, None);
}

#[test]
fn what_comes_and_goes_does_not_count_and_what_matters_does() {
    let sum = |change: &dyn Fn(&mut Node)| {
        let mut node = full_node(2);
        change(&mut node);
        drafted(&map_of([node])).finish().1
    };
    let before = sum(&|_| {});
    assert_eq!(before, sum(&|node| node.last_seen = Timestamp::from_unix(5)));
    assert_eq!(before, sum(&|node| node.online = Some(true)));
    assert_eq!(before, sum(&|node| node.endpoints = Endpoints::default()));
    assert_eq!(before, sum(&|node| node.hostinfo = Hostinfo::default()));
    assert_ne!(before, sum(&|node| node.key = NodePublic::from_bytes([9; 32])));
    assert_ne!(before, sum(&|node| node.disco_key = DiscoPublic::from_bytes([9; 32])));
    assert_ne!(before, sum(&|node| node.allowed_ips = Arc::clone(&node.addresses)));
    assert_ne!(before, sum(&|node| node.home_derp = RegionId(2)));
    assert_ne!(before, sum(&|node| node.rare = None));
    let mut map = full_map();
    let before = drafted(&map).finish().1;
    map.packet_filters = None;
    assert_ne!(before, drafted(&map).finish().1);
}

#[test]
fn who_was_seen_is_known() {
    let map =
        map_of([Node { online: Some(true), ..full_node(2) }, Node { online: Some(false), ..full_node(3) }]);
    let found = good(&bytes(&map));
    assert_eq!(found.online, [NodeId(2)]);
    assert!(found.map.peers().all(|peer| peer.online.is_none()), "that was then");
}

#[test]
fn cut_anywhere_or_changed_anywhere_it_is_not_used() {
    let whole = bytes(&full_map());
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "{length} bytes");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(read(&changed).is_err(), "a bit of byte {at}");
    }
    assert!(read(&[&whole[..], b"x"].concat()).is_err());
}

/// With a sum that is right: what somebody wrote, not what happened to the medium.
fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = ring::digest::digest(&ring::digest::SHA256, &bytes);
    bytes.extend_from_slice(sum.as_ref());
    bytes
}

#[test]
fn nonsense_with_the_right_sum_is_no_panic() {
    let whole = bytes(&full_map());
    let body = &whole[..whole.len() - 32];
    // The name and the version, which have their own words.
    let start = 18;
    assert!(read(&summed(body.to_vec())).is_ok());
    for length in start..body.len() {
        let cut = read(&summed(body[..length].to_vec()));
        // What ends behind a peer is a map with fewer of them.
        assert!(cut.is_err() || cut.is_ok_and(|found| found.map.peer_count() < 3), "{length} bytes");
    }
    for at in start..body.len() {
        for value in [0, 0xff] {
            let mut changed = body.to_vec();
            changed[at] = value;
            let _ = read(&summed(changed));
        }
    }
    let mut other = body.to_vec();
    other[start - 1] += 1;
    assert_eq!(read(&summed(other)).err(), Some("another version of this program wrote it"));
    assert!(read(b"{}").is_err());
}

#[test]
fn impossible_values_are_damage() {
    // A prefix longer than its address; postcard writes the family, four bytes and the length.
    let bytes = postcard::to_allocvec(&(std::net::IpAddr::from([10, 0, 0, 0]), 33u8)).expect("bytes");
    let net: super::mirror::Net = postcard::from_bytes(&bytes).expect("a pair");
    assert!(net.get().is_none());
}

#[test]
fn too_large_is_not_written() {
    let name: Box<str> = "x".repeat(1 << 20).into();
    let node = |id| Node { id: NodeId(id), name: name.clone(), ..Node::default() };
    assert!(drafted(&map_of((2..7).map(node))).finish().0.is_none());
}

/// A state file with a login at this server by this key, and a map of `owner` beside it; the disco key of a daemon that
/// begins there, and whether the map is still there then.
fn begun(server: &str, key: u8, change: impl FnOnce(&mut Vec<u8>), own: Node) -> (u8, bool) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("tailscaled.state");
    let mut store = Store::open(&path).expect("a store");
    let private_node_key = NodePrivate::from_bytes([key; 32]);
    let persist = Some(Persist { node_id: "n1".to_owned(), private_node_key, ..Persist::default() });
    let prefs = Prefs { persist, control_url: server.to_owned(), want_running: true, ..Prefs::new_default() };
    let changes = Profiles::load(&store).0.set_prefs(prefs, None, || [0, 1], Time::ZERO);
    store.write(changes).expect("written");
    let owner = Owner::new("https://control.example", &NodePrivate::from_bytes([1; 32]).public());
    let map = with_self(own);
    let disco = DiscoPrivate::from_bytes([8; 32]);
    let mut bytes = Draft::new(&owner, &disco, RegionId(1), Timestamp::from_unix(1_800_000_000), &map)
        .finish()
        .0
        .expect("not too large");
    change(&mut bytes);
    let file = dir.path().join("tailscaled.state.netmap");
    std::fs::write(&file, bytes).expect("written");
    let mut cache = Cache::open(&StatePlace::File(path), &store, &Clock::new(None));
    let disco = cache.disco(|| DiscoPrivate::from_bytes([1; 32]));
    (disco.as_bytes()[0], file.exists())
}

#[test]
fn a_map_of_another_login_is_not_used_and_removed() {
    const SERVER: &str = "https://control.example";
    let own = || Node { key: NodePrivate::from_bytes([1; 32]).public(), ..Node::default() };
    assert_eq!(begun(SERVER, 1, |_| {}, own()), (8, true));
    assert_eq!(begun("https://other.example", 1, |_| {}, own()), (1, false), "another server");
    assert_eq!(begun(SERVER, 2, |_| {}, own()), (1, false), "another key");
    assert_eq!(begun(SERVER, 1, |_| {}, Node::default()), (1, false), "a map for another key");
    assert_eq!(
        begun(SERVER, 1, |_| {}, Node { expired: true, ..own() }),
        (1, false),
        "expired, said control"
    );
    let past = Node { key_expiry: Timestamp::from_unix(1_799_999_999), ..own() };
    assert_eq!(begun(SERVER, 1, |_| {}, past), (1, false), "expired when it was written");
    assert_eq!(begun(SERVER, 1, |bytes| bytes.truncate(99), own()), (1, false), "cut short");
    assert_eq!(begun(SERVER, 1, Vec::clear, own()), (1, false), "empty");
}
