//! What lies between requests and HTTP/2: windows, and a server that goes away.

use super::*;
use crate::{Error, MapItem};
use bytes::Bytes;
use server::framed;

/// Many times the window of a stream.
const MUCH: usize = 2 << 20;

#[test]
fn bodies_longer_than_every_window_arrive() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        let one = framed(r#"{"KeepAlive":true}"#);
        let count = MUCH / one.len();
        let many = Bytes::from(one.repeat(count));
        tokio::task::spawn_local(async move {
            stream.send_data(many).await.expect("open");
            std::future::pending::<()>().await;
        });
        for _ in 0..count {
            let event = node.event().await;
            assert!(matches!(event, Event::MapItem(MapItem::End(_))), "{event:?}");
        }

        // And in the other direction.
        let hostname = "x".repeat(MUCH);
        node.command(report(&hostname)).await;
        let update = node.request("/machine/map").await;
        assert_eq!(update.headers["content-length"], update.body.len().to_string().as_str());
        assert_eq!(update.json["Hostinfo"]["Hostname"], hostname);
    });
}

#[test]
fn a_server_that_goes_away_is_dialled_anew() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        let before = node.server.noise_dials().len();
        node.server.go_away.notify_waiters();
        // What it has taken it goes on answering.
        stream.send_data(framed(r#"{"KeepAlive":true}"#)).await.expect("open");
        assert!(matches!(node.event().await, Event::MapItem(MapItem::End(_))));
        node.quiet_for(Duration::from_secs(60)).await;
        assert_eq!(node.server.noise_dials().len(), before);
        // What it has not goes over another connection, and the stream follows.
        node.command(report("r2")).await;
        let (mut update, mut again, mut down) = (false, false, false);
        while !(update && again && down) {
            tokio::select! {
                Some(request) = node.seen.recv() => match request.json["Stream"].as_bool() {
                    Some(true) => again = true,
                    _ => update = request.json["Hostinfo"]["Hostname"] == "r2",
                },
                Some(event) = node.events.recv() => match event {
                    Event::MapDown { error: Error::Connection(_) } => down = true,
                    Event::Trouble { .. } => {}
                    other => panic!("{other:?}"),
                },
            }
        }
        assert_eq!(node.server.noise_dials().len(), before + 1);
    });
}
