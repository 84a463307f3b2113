//! The map stream from request to reconnection.

use super::*;
use crate::{Activity, Error, MapItem};
use bytes::Bytes;
use http::Response;
use netmap::{Changes, NetMap, Timestamp};
use server::framed;
use tokio::time::Instant;

#[test]
fn requests_of_stream_and_update() {
    in_virtual_time(async {
        let mut node = Node::logging_in(persisted(1), Login::default()).await;
        node.request("/machine/register").await.answer("{}").await;
        assert!(matches!(node.event().await, Event::LoggedIn(_)));
        for _ in 0..2 {
            let request = node.request("/machine/map").await;
            let stream = request.json["Stream"] == true;
            assert_eq!(request.json["NodeKey"], key(1).public().to_text());
            assert_eq!(request.json["Hostinfo"]["Hostname"], "r1");
            assert_eq!(request.json["KeepAlive"], stream);
            assert_eq!(request.json.get("OmitPeers").is_some(), !stream);
            assert_eq!(request.json.get("Compress"), None);
        }
    });
}

#[test]
fn deltas_in_odd_chunks_make_a_netmap() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        let messages = [
            r#"{"Node":{"ID":1,"Name":"me.t."},"Peers":[{"ID":2,"Name":"a.t."},{"ID":3,"Name":"b.t."}],"PacketFilters":{"base":[]},"Domain":"t"}"#,
            r#"{"KeepAlive":true}"#,
            r#"{"PeersChanged":[{"ID":4,"Name":"c.t."}],"PeersRemoved":[2]}"#,
            r#"{"PeersChangedPatch":[{"NodeID":3,"Online":true}]}"#,
        ];
        let bytes: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        tokio::task::spawn_local(async move {
            for chunk in bytes.chunks(13) {
                stream.send_data(Bytes::copy_from_slice(chunk)).await.expect("open");
            }
            std::future::pending::<()>().await;
        });
        let mut map = NetMap::default();
        map.begin_stream();
        let mut changes = Changes::default();
        let mut ended = 0;
        while ended < messages.len() {
            match node.event().await {
                Event::MapItem(MapItem::Peer(peer)) => map.upsert_peer(*peer, &mut changes),
                Event::MapItem(MapItem::End(message)) => {
                    ended += 1;
                    if !message.keep_alive {
                        map.apply(message.delta, message.first, Timestamp::ZERO, &mut changes);
                        changes = Changes::default();
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        let names: Vec<_> = map.peers().map(|peer| (&*peer.name, peer.online)).collect();
        assert_eq!(names, [("b.t.", Some(true)), ("c.t.", None)]);
        assert_eq!((&*map.domain, &*map.self_node.name), ("t", "me.t."));
    });
}

#[test]
fn silence_is_noticed() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        let mut last = Instant::now();
        let dials = node.server.noise_dials().len();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(100)).await;
            stream.send_data(framed(r#"{"KeepAlive":true}"#)).await.expect("open");
            assert!(matches!(node.event().await, Event::MapItem(MapItem::End(m)) if m.keep_alive));
            last = Instant::now();
        }
        assert!(matches!(node.event().await, Event::MapDown { error: Error::Timeout(_) }));
        assert_eq!(last.elapsed().as_secs(), 120);
        assert!(matches!(node.event().await, Event::Trouble { activity: Activity::Map, error: Some(_) }));
        let request = node.request("/machine/map").await;
        assert_eq!(request.json["Stream"], true);
        assert_eq!(node.server.noise_dials().len(), dials + 1, "on a new connection");
        let mut stream = request.open().await;
        assert!(matches!(node.event().await, Event::MapUp));
        stream.send_data(framed(r#"{"Node":{"ID":1}}"#)).await.expect("open");
        assert!(matches!(node.event().await, Event::Trouble { error: None, .. }));
        assert!(matches!(node.event().await, Event::MapItem(MapItem::End(m)) if m.first));
    });
}

#[test]
fn an_unanswered_request_is_noticed() {
    in_virtual_time(async {
        let mut node = Node::logging_in(persisted(1), Login::default()).await;
        node.request("/machine/register").await.answer("{}").await;
        assert!(matches!(node.event().await, Event::LoggedIn(_)));
        let mut held = Vec::new();
        let at = Instant::now();
        while at.elapsed() < Duration::from_secs(119) {
            let request = node.request("/machine/map").await;
            match request.json["Stream"] == true {
                true => held.push(request),
                false => request.answer("").await,
            }
            if held.len() == 2 {
                break;
            }
        }
        assert!(at.elapsed() >= Duration::from_secs(120));
    });
}

#[test]
fn failures_are_retried_with_growing_waits() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        stream.send_data(framed(r#"{"Node":{"ID":1}}"#)).await.expect("open");
        assert!(matches!(node.event().await, Event::MapItem(MapItem::End(m)) if m.first));
        drop(stream);
        assert!(matches!(node.event().await, Event::MapDown { error: Error::StreamEnded }));
        assert!(matches!(node.event().await, Event::Trouble { error: Some(Error::StreamEnded), .. }));
        let mut at = Instant::now();
        for n in 1..80u64 {
            let request = node.request("/machine/map").await;
            let waited = at.elapsed().as_millis() as u64;
            let base = (n * n * 10).min(30_000);
            assert!((base / 2..=base * 3 / 2 + 1).contains(&waited), "{n}: {waited}");
            request.answer_with(Response::builder().status(502), "bad gateway").await;
            at = Instant::now();
            if n == 1 {
                assert!(matches!(
                    node.event().await,
                    Event::Trouble { error: Some(Error::Status { .. }), .. }
                ));
            }
        }
        node.command(Command::Wake).await;
        let request = node.request("/machine/map").await;
        assert!(at.elapsed() < Duration::from_secs(1), "woken");
        drop(request);
    });
}

#[test]
fn an_unknown_node_registers_again() {
    in_virtual_time(async {
        let (mut node, stream) = Node::following().await;
        drop(stream);
        assert!(matches!(node.event().await, Event::MapDown { .. }));
        assert!(matches!(node.event().await, Event::Trouble { .. }));
        let request = node.request("/machine/map").await;
        request.answer_with(Response::builder().status(404), "node not found").await;
        assert!(matches!(node.event().await, Event::Trouble { error: Some(Error::NodeUnknown), .. }));
        let request = node.request("/machine/register").await;
        assert_eq!(request.json["NodeKey"], key(1).public().to_text());
        assert_eq!(request.json["Auth"], serde_json::Value::Null);
        request.answer("{}").await;
        assert!(matches!(node.event().await, Event::LoggedIn(_)));
        node.map_stream().await;
    });
}

#[test]
fn a_node_that_is_forgotten_at_once_does_not_spin() {
    in_virtual_time(async {
        let mut node = Node::logging_in(persisted(1), Login::default()).await;
        let at = Instant::now();
        let mut registered = 0;
        while at.elapsed() < Duration::from_secs(600) {
            tokio::select! {
                Some(seen) = node.seen.recv() => match seen.path.as_str() {
                    "/machine/register" => {
                        registered += 1;
                        seen.answer("{}").await;
                    }
                    _ => seen.answer_with(Response::builder().status(404), "").await,
                },
                Some(_) = node.events.recv() => {}
            }
        }
        assert!(registered < 100, "{registered}");
    });
}

#[test]
fn broken_messages_end_the_stream() {
    for bytes in [&b"\x04\x00\x00\x00nope"[..], b"\xff\xff\xff\xff", b"\x02\x00\x00\x00{}"] {
        in_virtual_time(async {
            let (mut node, mut stream) = Node::following().await;
            stream.send_data(Bytes::copy_from_slice(bytes)).await.expect("open");
            assert!(matches!(node.event().await, Event::MapDown { .. }));
        });
    }
}

#[test]
fn a_slow_daemon_is_no_silence() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        let peers: Vec<_> = (2..200).map(|id| format!(r#"{{"ID":{id}}}"#)).collect();
        let message = format!(r#"{{"Node":{{"ID":1}},"Peers":[{}]}}"#, peers.join(","));
        stream.send_data(framed(&message)).await.expect("open");
        tokio::time::sleep(LONG).await;
        for _ in 2..200 {
            assert!(matches!(node.event().await, Event::MapItem(MapItem::Peer(_))));
        }
        assert!(matches!(node.event().await, Event::MapItem(MapItem::End(_))));
        node.quiet_for(Duration::from_secs(119)).await;
    });
}

#[test]
fn a_page_is_shown_once_and_only_if_it_may_be() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        let mut first = r#"{"Node":{"ID":1},"#;
        for (page, shown) in [
            ("https://x/1", Some("https://x/1")),
            ("https://x/1", None),
            ("file:///etc/passwd", None),
            ("https://x/2", Some("https://x/2")),
        ] {
            let action =
                r#""DisplayMessages":{"m":{"Title":"t","PrimaryAction":{"URL":"ftp://x","Label":"l"}}}"#;
            let message =
                format!(r#"{}"PopBrowserURL":"{page}",{action}}}"#, std::mem::replace(&mut first, "{"));
            stream.send_data(framed(&message)).await.expect("open");
            let Event::MapItem(MapItem::End(message)) = node.event().await else { panic!() };
            assert_eq!(message.pop_browser_url.as_deref(), shown, "{page}");
            let display = message.delta.display_messages.first().and_then(|(_, display)| display.as_ref());
            assert!(display.is_some_and(|display| display.action.is_none()));
        }
    });
}

#[test]
fn pause_closes_the_stream() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        node.command(Command::Pause(true)).await;
        while stream.send_data(framed("{}")).await.is_ok() {}
        node.command(report("r2")).await;
        node.quiet_for(LONG).await;
        node.command(Command::Pause(false)).await;
        let mut seen = Vec::new();
        for _ in 0..2 {
            let request = node.request("/machine/map").await;
            assert_eq!(request.json["Hostinfo"]["Hostname"], "r2");
            seen.push(request.json["Stream"] == true);
        }
        assert!(seen.contains(&true) && seen.contains(&false));
    });
}

#[test]
fn a_stream_that_was_dropped_is_told_before_another_is_asked_for() {
    in_virtual_time(async {
        let (mut node, _stream) = Node::following().await;
        for paused in [true, false] {
            node.command(Command::Pause(paused)).await;
        }
        assert!(matches!(node.event().await, Event::MapDown { error: Error::StreamDropped }));
        // Once only, although nothing comes of the next.
        for _ in 0..2 {
            node.request("/machine/map").await.answer_with(Response::builder().status(502), "").await;
        }
        for _ in 0..2 {
            assert!(matches!(node.event().await, Event::Trouble { error: Some(_), .. }));
        }
        for paused in [true, false] {
            node.command(Command::Pause(paused)).await;
        }
        node.map_stream().await;
    });
}

#[test]
fn control_may_order_a_pause() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        let at = Instant::now();
        stream
            .send_data(framed(r#"{"Node":{"ID":1},"Debug":{"SleepSeconds":1e9,"Exit":3}}"#))
            .await
            .expect("open");
        stream.send_data(framed(r#"{"KeepAlive":true}"#)).await.expect("open");
        assert!(matches!(node.event().await, Event::MapItem(_)));
        assert!(matches!(node.event().await, Event::MapItem(MapItem::End(m)) if m.keep_alive));
        assert_eq!(at.elapsed().as_secs(), 300);
    });
}
