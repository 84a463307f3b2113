//! Pings of control.

use super::*;
use crate::{MapItem, PingReply};
use server::framed;

#[test]
fn that_we_are_there() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        let ping = |url: &str, noise: bool| {
            framed(&format!(r#"{{"KeepAlive":true,"PingRequest":{{"URL":"{url}","URLIsNoise":{noise}}}}}"#))
        };
        stream.send_data(ping("https://h/machine/ping-response?id=1", true)).await.expect("open");
        assert!(matches!(node.event().await, Event::MapItem(MapItem::End(_))));
        let request = node.request("/machine/ping-response?id=1").await;
        assert_eq!((request.method.as_str(), request.body.len()), ("HEAD", 0));
        request.answer("").await;
        // The same again is not answered.
        stream.send_data(ping("https://h/machine/ping-response?id=1", true)).await.expect("open");
        assert!(matches!(node.event().await, Event::MapItem(_)));
        node.quiet_for(Duration::from_secs(60)).await;

        stream.send_data(ping("http://h.example:81/p?id=2", false)).await.expect("open");
        assert!(matches!(node.event().await, Event::MapItem(_)));
        node.quiet_for(Duration::from_secs(60)).await;
        assert_eq!(node.server.plain.borrow().last().map(String::as_str), Some("HEAD /p?id=2 HTTP/1.1"));
        assert_eq!(node.server.dialled.borrow().last().map(|t| t.port), Some(81));
    });
}

#[test]
fn c2n() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        stream
            .send_data(framed(
                r#"{"KeepAlive":true,"PingRequest":{"URL":"https://h/machine/c2n/7","Types":"c2n","Payload":"R0VUIC9lY2hvIEhUVFAvMS4xDQoNCg=="}}"#,
            ))
            .await
            .expect("open");
        let mut reply_to = None;
        for _ in 0..2 {
            match node.event().await {
                Event::MapItem(_) => {}
                Event::C2n { request, reply } => {
                    assert_eq!(request, b"GET /echo HTTP/1.1\r\n\r\n");
                    reply_to = Some(reply);
                }
                other => panic!("{other:?}"),
            }
        }
        reply_to.expect("c2n").send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).expect("waited for");
        let request = node.request("/machine/c2n/7").await;
        assert_eq!((request.method.as_str(), &request.body[..]), ("POST", &b"HTTP/1.1 200 OK\r\n\r\n"[..]));
    });
}

#[test]
fn the_end_of_the_client_ends_its_pings() {
    in_virtual_time(async {
        let (node, mut stream) = Node::following().await;
        let c2n = r#"{"KeepAlive":true,"PingRequest":{"URL":"https://h/c2n/7","Types":"c2n","Payload":""}}"#;
        stream.send_data(framed(c2n)).await.expect("open");
        let Node { server, commands, mut events, .. } = node;
        let reply = loop {
            if let Event::C2n { reply, .. } = events.recv().await.expect("the client runs") {
                break reply;
            }
        };
        drop(commands);
        while events.recv().await.is_some() {}
        tokio::task::yield_now().await;
        assert!(reply.is_closed(), "nobody waits for the answer");
        // Only the server itself still holds the server: the client and its dialler are gone.
        drop(stream);
        tokio::time::sleep(LONG).await;
        assert_eq!(Rc::strong_count(&server), 1);
    });
}

#[test]
fn of_peers() {
    in_virtual_time(async {
        let (mut node, mut stream) = Node::following().await;
        stream
            .send_data(framed(
                r#"{"KeepAlive":true,"PingRequest":{"URL":"https://h/machine/p","URLIsNoise":true,"Types":"TSMP,disco","IP":"100.64.0.7"}}"#,
            ))
            .await
            .expect("open");
        for (kind, err) in [("TSMP", ""), ("disco", "no answer in time")] {
            let mut unanswered = None;
            loop {
                match node.event().await {
                    Event::MapItem(_) => {}
                    Event::PingPeer { kind: asked, ip, reply } => {
                        assert_eq!((asked.as_str(), ip.to_string().as_str()), (kind, "100.64.0.7"));
                        if err.is_empty() {
                            let answer = PingReply { latency_seconds: 0.5, ..PingReply::default() };
                            reply.send(answer).expect("waited for");
                        } else {
                            unanswered = Some(reply);
                        }
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
            let request = node.request("/machine/p").await;
            assert_eq!((&request.json["Type"], &request.json["IP"]), (&kind.into(), &"100.64.0.7".into()));
            assert_eq!(request.json["Err"].as_str().unwrap_or_default(), err);
            request.answer("").await;
            drop(unanswered);
        }
    });
}
