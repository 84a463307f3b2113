//! Reaching the server: keys, ports, refusals.

use super::server::Port;
use super::*;
use crate::Error;
use tokio::time::Instant;

const REFUSED: Port = Port::Refuse("connection refused");
const NOT_FOUND: Port = Port::Say("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");

async fn trouble(url: &str, ports: &[(u16, Port)]) -> Error {
    let mut node = Node::start(url, persisted(1));
    for (port, does) in ports {
        node.server.set_port(*port, does.clone());
    }
    node.command(report("r1")).await;
    node.command(Command::Login(Login::default())).await;
    match node.event().await {
        Event::Trouble { error: Some(error), .. } => error,
        other => panic!("{other:?}"),
    }
}

/// Ports of the Noise dials until the first request arrives.
async fn reached(url: &str, ports: &[(u16, Port)]) -> Vec<(u16, bool)> {
    let mut node = Node::start(url, persisted(1));
    for (port, does) in ports {
        node.server.set_port(*port, does.clone());
    }
    node.command(report("r1")).await;
    node.command(Command::Login(Login::default())).await;
    node.request("/machine/register").await;
    node.server.noise_dials()
}

#[test]
fn port_80_first_then_443() {
    in_virtual_time(async {
        assert_eq!(reached("https://h.example", &[]).await, [(80, false)]);
        let both = [(80, false), (443, true)];
        assert_eq!(reached("https://h.example", &[(80, REFUSED)]).await, both);
        assert_eq!(reached("https://h.example", &[(80, NOT_FOUND)]).await, both);
        assert_eq!(reached("https://h.example", &[(80, Port::Say("SSH-2.0-x\r\n"))]).await, both);
        let at = Instant::now();
        assert_eq!(reached("https://h.example:8443", &[(80, Port::Hang)]).await, [(80, false), (8443, true)]);
        assert_eq!(at.elapsed().as_millis(), 500);
        // Without TLS the fetch of the key looks the same.
        assert_eq!(reached("http://127.0.0.1:81", &[]).await, [(81, false), (81, false)]);
    });
}

#[test]
fn a_quick_redial_skips_port_80() {
    in_virtual_time(async {
        let mut node = Node::start("https://h.example", persisted(1));
        node.command(report("r1")).await;
        node.command(Command::Login(Login::default())).await;
        node.request("/machine/register").await.answer("{}").await;
        assert!(matches!(node.event().await, Event::LoggedIn(_)));
        let _stream = node.map_stream().await;
        node.command(Command::Pause(true)).await;
        node.command(Command::Pause(false)).await;
        let _stream = node.map_stream().await;
        assert_eq!(node.server.noise_dials(), [(80, false), (443, true)]);
        assert_eq!(node.server.plain.borrow().len(), 1, "the key is fetched once");
    });
}

#[test]
fn what_a_person_is_told() {
    in_virtual_time(async {
        let error =
            trouble("https://h.example", &[(443, Port::Refuse("invalid peer certificate: UnknownIssuer"))])
                .await;
        assert!(matches!(error, Error::UntrustedCertificate { .. }), "{error}");
        let error = trouble(
            "https://h.example:8080",
            &[(8080, Port::Refuse("received corrupt message of type InvalidContentType"))],
        )
        .await;
        assert!(error.to_string().contains("h.example:8080 does not speak TLS"), "{error}");
        let tls = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        let error = trouble("http://h.example:8443", &[(8443, Port::Say(tls))]).await;
        assert!(
            error
                .to_string()
                .contains("h.example:8443 does not answer in plain HTTP: if it speaks TLS, write https://"),
            "{error}"
        );
        let error =
            trouble("http://h.example:8443", &[(8443, Port::Say("\x15\x03\x01\x00\x02\x02\x46"))]).await;
        assert!(matches!(error, Error::NotPlain { .. }), "{error}");
        let error = trouble("http://localhost", &[(80, NOT_FOUND)]).await;
        assert_eq!(error, Error::Status { what: "/key", status: 404, text: "no".into() });
        let html = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>";
        let error = trouble("http://localhost", &[(80, Port::Say(html))]).await;
        assert!(error.to_string().contains("is it a control server?"), "{error}");
        let error = trouble("http://localhost", &[(80, Port::Hang)]).await;
        assert!(matches!(error, Error::Timeout(_)), "{error}");
        let error = trouble("http://localhost", &[(80, Port::CloseAfterHandshake)]).await;
        assert!(error.to_string().contains("capability version 119"), "{error}");
        let error = trouble("https://h.example:81", &[(80, REFUSED), (81, Port::CloseAfterHandshake)]).await;
        assert!(error.to_string().contains("capability version 119"), "{error}");
    });
}

#[test]
fn both_ways_fail() {
    in_virtual_time(async {
        let mut node = Node::start("http://h.example:81", persisted(1));
        node.command(report("r1")).await;
        node.server.set_port(443, REFUSED);
        node.server.set_port(81, Port::OnlyKey);
        node.command(Command::Login(Login::default())).await;
        let Event::Trouble { error: Some(error), .. } = node.event().await else { panic!() };
        let text = error.to_string();
        assert!(text.contains("status 404") && text.contains("connection refused"), "{text}");
        // It goes on trying, plain HTTP included, because the URL says so.
        node.server.set_port(81, Port::Serve);
        node.request("/machine/register").await;
    });
}

#[test]
fn a_changed_server_key_is_fetched_again() {
    in_virtual_time(async {
        let (mut node, stream) = Node::following().await;
        node.server.change_key();
        node.command(Command::Pause(true)).await;
        drop(stream);
        node.command(Command::Pause(false)).await;
        loop {
            tokio::select! {
                Some(seen) = node.seen.recv() => break assert_eq!(seen.path, "/machine/map"),
                Some(event) = node.events.recv() => {
                    assert!(matches!(event, Event::MapDown { .. } | Event::Trouble { .. }), "{event:?}");
                }
            }
        }
        assert_eq!(node.server.plain.borrow().len(), 2);
    });
}

#[test]
fn after_any_outage_a_node_without_a_map_is_back_within_seconds() {
    in_virtual_time(async {
        let mut node = Node::start("http://localhost", persisted(1));
        node.command(report("r1")).await;
        node.server.set_port(80, REFUSED);
        node.command(Command::Login(Login::default())).await;
        assert!(matches!(node.event().await, Event::Trouble { error: Some(_), .. }));
        node.quiet_for(Duration::from_secs(600)).await;
        node.server.set_port(80, Port::Serve);
        let back = Instant::now();
        node.request("/machine/register").await;
        assert!(back.elapsed() <= Duration::from_secs(3), "{:?}", back.elapsed());
    });
}

#[test]
fn a_server_that_is_back_is_not_waited_for_on_silent_connections() {
    in_virtual_time(async {
        for away in [1, 4, 9, 30, 600] {
            let mut node = Node::start("https://h.example", persisted(1));
            node.command(report("r1")).await;
            for port in [80, 443] {
                node.server.set_port(port, Port::Silent);
            }
            node.command(Command::Login(Login::default())).await;
            tokio::time::sleep(Duration::from_secs(away)).await;
            for port in [80, 443] {
                node.server.set_port(port, Port::Serve);
            }
            let back = Instant::now();
            loop {
                tokio::select! {
                    Some(seen) = node.seen.recv() => break assert_eq!(seen.path, "/machine/register"),
                    Some(event) = node.events.recv() => assert!(matches!(event, Event::Trouble { .. }), "{event:?}"),
                }
            }
            assert!(back.elapsed() <= Duration::from_secs(5), "away {away} s: {:?}", back.elapsed());
        }
    });
}

#[test]
fn a_connection_that_falls_silent_between_key_and_noise_is_overtaken() {
    in_virtual_time(async {
        let mut node = Node::start("https://h.example", persisted(1));
        node.server.set_port(80, Port::Silent);
        node.server.set_port(443, Port::SilentNoise);
        node.command(report("r1")).await;
        node.command(Command::Login(Login::default())).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(node.server.noise_dials(), [(80, false), (443, true)]);
        node.server.set_port(443, Port::Serve);
        let back = Instant::now();
        node.request("/machine/register").await;
        assert!(back.elapsed() <= Duration::from_secs(3), "{:?}", back.elapsed());
    });
}
