//! Updates about ourselves.

use super::*;
use crate::{Activity, Endpoint, EndpointKind, Error};
use http::Response;

#[test]
fn changes_are_coalesced() {
    in_virtual_time(async {
        let (mut node, _stream) = Node::following().await;
        node.command(report("r1")).await;
        node.quiet_for(Duration::from_secs(60)).await;
        node.command(report("r2")).await;
        let first = node.request("/machine/map").await;
        assert_eq!(first.json["Hostinfo"]["Hostname"], "r2");
        for n in 3..9 {
            node.command(report(&format!("r{n}"))).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.answer("").await;
        let second = node.request("/machine/map").await;
        assert_eq!(second.json["Hostinfo"]["Hostname"], "r8");
        assert_eq!((&second.json["Stream"], &second.json["OmitPeers"]), (&false.into(), &true.into()));
        second.answer("").await;
        node.quiet_for(Duration::from_secs(50)).await;
    });
}

#[test]
fn endpoints_have_types() {
    in_virtual_time(async {
        let (mut node, _stream) = Node::following().await;
        let mut report = SelfReport { debug_flags: vec!["warn-x".into()], ..SelfReport::default() };
        for (addr, kind) in [("1.2.3.4:5", EndpointKind::Stun), ("[fd00::1]:6", EndpointKind::Local)] {
            report.endpoints.push(Endpoint { addr: addr.parse().expect("addr"), kind });
        }
        node.command(Command::Report(Box::new(report))).await;
        let request = node.request("/machine/map").await;
        assert_eq!(request.json["Endpoints"], serde_json::json!(["1.2.3.4:5", "[fd00::1]:6"]));
        assert_eq!(request.json["EndpointTypes"], serde_json::json!([2, 1]));
        assert_eq!(request.json["DebugFlags"], serde_json::json!(["warn-x"]));
    });
}

#[test]
fn failed_updates_are_sent_again() {
    in_virtual_time(async {
        let (mut node, _stream) = Node::following().await;
        node.command(report("r2")).await;
        let request = node.request("/machine/map").await;
        request.answer_with(Response::builder().status(503), "later").await;
        assert!(matches!(node.event().await, Event::Trouble { activity: Activity::Update, error: Some(_) }));
        node.command(report("r3")).await;
        let request = node.request("/machine/map").await;
        assert_eq!(request.json["Hostinfo"]["Hostname"], "r3", "the newest, not the one that failed");
        request.answer("").await;
        assert!(matches!(node.event().await, Event::Trouble { activity: Activity::Update, error: None }));
    });
}

#[test]
fn a_node_deleted_at_control_notices() {
    in_virtual_time(async {
        let (mut node, _open_but_dead) = Node::following().await;
        node.command(report("r2")).await;
        let gone = || Response::builder().status(404);
        node.request("/machine/map").await.answer_with(gone(), "").await;
        let request = node.request("/machine/map").await;
        assert_eq!(request.json["Stream"], true);
        request.answer_with(gone(), "").await;
        assert!(matches!(node.event().await, Event::MapDown { error: Error::StreamDropped }));
        assert!(matches!(node.event().await, Event::Trouble { error: Some(Error::NodeUnknown), .. }));
        node.request("/machine/register").await;
    });
}

#[test]
fn waking_unmasks_a_dead_connection() {
    in_virtual_time(async {
        let (mut node, _stream) = Node::following().await;
        node.command(Command::Wake).await;
        let _unanswered = node.request("/machine/map").await;
        // Both the update and the stream fall with the connection, long before the watchdog.
        let mut down = false;
        for _ in 0..3 {
            match node.event().await {
                Event::MapDown { error: Error::Connection(_) } => down = true,
                Event::Trouble { error: Some(_), .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(down);
        node.map_stream().await;
    });
}
