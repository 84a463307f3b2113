//! Peers that exist only on paper, and that change all the time: what a large tailnet sends to each of its nodes, or worse.

use crate::json;
use crate::world::World;
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Changes are sent so often; more than this a second go out a few at once.
const TICKS: u32 = 50;

/// Sends `per_second` changes of the first `peers` phantom peers to every open stream until `generation` is over.
/// Which change comes when is fixed: five patches (endpoints and home relay), then one online change, then a peer
/// removed and, in the next round, added again.
pub(crate) async fn run(world: Rc<World>, generation: u64, peers: u32, per_second: u32) {
    let ticks = per_second.clamp(1, TICKS);
    let mut clock = interval(Duration::from_secs(1) / ticks);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut sent, mut tick) = (0, 0);
    while world.churn_generation() == generation {
        clock.tick().await;
        tick += 1;
        // Spread evenly, also when the rate is no multiple of the ticks.
        let due = u64::from(per_second) * tick / u64::from(ticks);
        while sent < due {
            world.churned(&change(sent, peers));
            sent += 1;
        }
    }
}

/// A peer that exists only on paper.
pub(crate) fn phantom(n: u32) -> Value {
    let id = i64::from(n) + 1_000_000;
    let [_, a, b, c] = n.to_be_bytes();
    let addresses =
        json!([format!("100.{}.{b}.{c}/32", 96 + (a & 15)), format!("fd7a:115c:a1e0::1:{n:x}/128")]);
    json!({
        "ID": id,
        "StableID": format!("n{id}TEST"),
        "Name": format!("phantom-{n}.{}.", json::SUFFIX),
        "User": 1,
        "Key": format!("nodekey:{n:064x}"),
        "Machine": format!("mkey:{n:064x}"),
        "DiscoKey": format!("discokey:{n:064x}"),
        "Addresses": addresses,
        "AllowedIPs": addresses,
        "Endpoints": ["192.0.2.7:41641", "198.51.100.7:41641"],
        "HomeDERP": 1,
        "Hostinfo": {"OS": "linux", "Hostname": format!("phantom-{n}"), "Services": [{"Proto": "peerapi4", "Port": 4242}]},
        "Created": "2026-01-02T03:04:05Z",
        "Cap": 119,
        "MachineAuthorized": true,
        "Online": false,
    })
}

/// The change with this number.
fn change(number: u64, peers: u32) -> Value {
    let peer = u32::try_from(number / 8 % u64::from(peers)).unwrap_or(0);
    let id = i64::from(peer) + 1_000_000;
    match number % 8 {
        5 => json!({"OnlineChange": {id.to_string(): number % 16 == 5}}),
        6 => json!({"PeersRemoved": [id]}),
        7 => json!({"PeersChanged": [phantom(peer)]}),
        turn => {
            let port = 1024 + number % 60_000;
            let mut patch = json!({"NodeID": id, "Endpoints": [format!("192.0.2.{}:{port}", turn + 1)]});
            if turn == 0 {
                patch["DERPRegion"] = json!(1);
            }
            json!({"PeersChangedPatch": [patch]})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_goes_comes_back_before_the_next_has_its_turn() {
        let kinds = |numbers: std::ops::Range<u64>| {
            let first = |value: Value| value.as_object().and_then(|o| o.keys().next().cloned());
            numbers.filter_map(|n| first(change(n, 3))).collect::<Vec<_>>()
        };
        let round = kinds(0..8);
        assert_eq!(round[4..], ["PeersChangedPatch", "OnlineChange", "PeersRemoved", "PeersChanged"]);
        assert_eq!(round, kinds(8..16));
        assert_eq!(change(6, 3)["PeersRemoved"][0], change(7, 3)["PeersChanged"][0]["ID"]);
        assert_ne!(change(6, 3), change(14, 3));
        assert_eq!(change(6, 3), change(30, 3), "three peers take turns");
        assert_ne!(change(0, 3), change(24, 3), "a patch says something new each time");
    }
}
