//! The map asked for while a registration waits for its answer.

use super::*;
use http::Response;

fn by_key() -> Login {
    Login { auth_key: Some("k".to_owned()), ..Login::default() }
}

async fn unknown(request: Seen) {
    request.answer_with(Response::builder().status(404), "node not found").await;
}

#[test]
fn a_slow_registration_is_overtaken_by_the_map() {
    in_virtual_time(async {
        let mut node = Node::logging_in(Persisted::default(), by_key()).await;
        let registration = node.request("/machine/register").await;
        let node_key = registration.json["NodeKey"].clone();
        for _ in 0..2 {
            let request = node.request("/machine/map").await;
            assert_eq!((&request.json["NodeKey"], &request.json["Stream"]), (&node_key, &true.into()));
            unknown(request).await;
        }
        let stream = node.request("/machine/map").await;
        assert_eq!(stream.json["Stream"], true);
        let update = node.request("/machine/map").await;
        assert_eq!((&update.json["NodeKey"], &update.json["Stream"]), (&node_key, &false.into()));

        let _stream = stream.open().await;
        node.quiet_for(Duration::from_millis(500)).await;
        registration.answer(r#"{"MachineAuthorized":true}"#).await;
        assert!(matches!(node.event().await, Event::LoggedIn(done) if done.rotated));
        assert!(matches!(node.event().await, Event::MapUp));
        update.answer("").await;
        node.quiet_for(Duration::from_secs(100)).await;
    });
}

#[test]
fn what_changes_while_a_registration_is_overtaken_is_told_afterwards() {
    in_virtual_time(async {
        let mut node = Node::logging_in(Persisted::default(), by_key()).await;
        let registration = node.request("/machine/register").await;
        let stream = node.request("/machine/map").await;
        let update = node.request("/machine/map").await;
        assert_eq!(update.json["Hostinfo"]["Hostname"], "r1");
        let _stream = stream.open().await;
        node.command(report("r2")).await;
        node.quiet_for(Duration::from_secs(1)).await;
        registration.answer(r#"{"MachineAuthorized":true}"#).await;
        update.answer("").await;
        let update = node.request("/machine/map").await;
        assert_eq!(
            (&update.json["Hostinfo"]["Hostname"], &update.json["Stream"]),
            (&"r2".into(), &false.into())
        );
    });
}

#[test]
fn a_registration_that_takes_long_is_not_pestered() {
    in_virtual_time(async {
        let mut node = Node::logging_in(Persisted::default(), by_key()).await;
        let registration = node.request("/machine/register").await;
        for _ in 0..6 {
            unknown(node.request("/machine/map").await).await;
        }
        node.quiet_for(Duration::from_secs(30)).await;
        registration.answer(r#"{"MachineAuthorized":true}"#).await;
        assert!(matches!(node.event().await, Event::LoggedIn(_)));
        node.map_stream().await;
    });
}

#[test]
fn nothing_is_asked_ahead_after_another_error_without_a_key_or_of_tailscales_own_service() {
    in_virtual_time(async {
        let mut node = Node::logging_in(Persisted::default(), by_key()).await;
        let _registration = node.request("/machine/register").await;
        let request = node.request("/machine/map").await;
        request.answer_with(Response::builder().status(500), "out of order").await;
        node.quiet_for(Duration::from_secs(30)).await;

        let mut node = Node::logging_in(persisted(1), Login::default()).await;
        let _registration = node.request("/machine/register").await;
        node.quiet_for(Duration::from_secs(30)).await;

        let mut node = Node::start("https://controlplane.tailscale.com", Persisted::default());
        node.command(report("r1")).await;
        node.command(Command::Login(by_key())).await;
        let _registration = node.request("/machine/register").await;
        node.quiet_for(Duration::from_secs(30)).await;
    });
}

#[test]
fn what_was_asked_ahead_ends_with_a_refused_registration() {
    in_virtual_time(async {
        let mut node = Node::logging_in(Persisted::default(), by_key()).await;
        let registration = node.request("/machine/register").await;
        let stream = node.request("/machine/map").await;
        let _update = node.request("/machine/map").await;
        let mut body = stream.open().await;
        registration.answer(r#"{"Error":"no such key"}"#).await;
        assert!(matches!(node.event().await, Event::LoginFailed { retrying: false, .. }));
        node.quiet_for(Duration::from_secs(1)).await;
        assert!(
            body.send_data(server::framed("{}")).await.is_err()
                || body.send_data(server::framed("{}")).await.is_err()
        );
    });
}
