//! What a map of thousands costs to be read, against the same text read into a tree of values: a ratio, for whoever
//! touches the decoder.

use std::time::Duration;
use tokio::time::Instant;

fn peer(id: u32) -> String {
    let key = format!("{id:064x}");
    let net = format!("\"100.64.{}.{}/32\",\"fd7a:115c:a1e0::{id:x}/128\"", id / 256 % 256, id % 256);
    format!(
        r#"{{"ID":{id},"StableID":"n{id}CNTRL","Name":"host-{id}.tail1234.ts.net.","User":7,"Key":"nodekey:{key}","KeyExpiry":"2026-12-01T00:00:00Z","Machine":"mkey:{key}","DiscoKey":"discokey:{key}","Addresses":[{net}],"AllowedIPs":[{net}],"Endpoints":["192.0.2.1:41641","10.0.0.1:41641"],"HomeDERP":3,"Hostinfo":{{"OS":"linux","OSVersion":"6.1","Hostname":"host-{id}","Services":[{{"Proto":"peerapi4","Port":1024}}]}},"Created":"2024-01-01T00:00:00Z","Cap":119,"Tags":["tag:server"],"LastSeen":"2026-01-01T00:00:00.5Z","Online":true,"MachineAuthorized":true,"CapMap":{{"cap:{id}":[{{"a":1}}]}},"ComputedName":"host-{id}","ComputedNameWithHost":"host-{id}"}}"#
    )
}

/// The best of a few rounds.
fn best(mut work: impl FnMut()) -> Duration {
    let round = || {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    std::iter::repeat_with(round).take(9).min().unwrap_or_default()
}

#[test]
#[ignore = "times two things, for which it wants a quiet machine and --release"]
fn a_map_is_read_as_fast_as_a_tree() {
    let peers: Vec<_> = (2..5002).map(peer).collect();
    let text = format!(r#"{{"Node":{},"Peers":[{}]}}"#, peer(1), peers.join(","));
    let ours = best(|| assert_eq!(crate::whole_message(text.as_bytes()).expect("a map").len(), 5001));
    let tree = best(|| drop(serde_json::from_str::<serde_json::Value>(&text).expect("JSON")));
    let ratio = ours.as_secs_f64() / tree.as_secs_f64();
    assert!(ratio < 1.5, "reading a map takes {ratio:.2} times as long as reading its JSON into a tree");
}
