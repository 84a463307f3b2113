//! How connections begin and end.

use super::relay::{Server, packet_from, public, raw};
use super::*;
use dial::Verify;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn the_request_and_who_we_are() {
    local(async {
        let mut world = World::new();
        world.apply();
        let mut server = world.relays.accept().await;
        assert_eq!((server.target.host.as_str(), server.target.port), ("home.example", 443));
        assert_eq!(server.target.tls, Some(Verify::Host));
        let request = server.request().await;
        assert_eq!(
            request,
            "GET /derp HTTP/1.1\r\nHost: home.example\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"
        );
        // The answer and the key come in drops.
        let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nDerp-Version: 2\r\n\r\n".to_vec();
        answer.extend(server.key_frame());
        for byte in answer {
            server.write(&[byte]).await;
            tokio::task::yield_now().await;
        }
        let (kind, payload) = server.frame().await;
        assert_eq!((kind, &payload[..32]), (2, &public(&world.config.key)[..]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn applying_the_same_again_does_nothing() {
    local(async {
        let (world, mut server) = World::at_home().await;
        world.apply();
        let same_map = Config { map: Rc::new(map()), ..world.config.clone() };
        world.pool.apply(same_map);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(world.relays.dialer.dials.get(), 1);
        assert_eq!(world.pool.stats().connected, [HOME]);
        server.write(&packet_from(5, b"still there")).await;
        assert_eq!(world.packets(1).await.len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_region_on_demand_until_idle() {
    local(async {
        let (mut world, mut home) = World::at_home().await;
        assert!(world.pool.send(AWAY, &PEER, b"first"));
        assert_eq!(world.pool.stats().connected, [HOME]);
        let mut away = world.relays.accept().await;
        away.welcome("{}").await;
        assert_eq!(away.frame().await.1[32..], *b"first", "packets wait for the connection; no home note");
        world.event(Event::Connected { region: AWAY, home: false }).await;
        let keep_alive = async {
            loop {
                tokio::time::sleep(Duration::from_secs(50)).await;
                home.write(&raw(6, b"")).await;
            }
        };
        let idle = async {
            // Receiving does not keep it open, sending does.
            tokio::time::sleep(Duration::from_secs(50)).await;
            world.pool.send(AWAY, &PEER, b"second");
            assert_eq!(away.frame().await.1[32..], *b"second");
            let start = Instant::now();
            away.write(&packet_from(5, b"x")).await;
            assert!(away.is_closed().await);
            let after = start.elapsed().as_secs();
            assert!((60..=75).contains(&after), "closed after {after} s");
            world.event(lost(AWAY, false, "")).await;
            tokio::time::sleep(Duration::from_secs(200)).await;
            assert_eq!(world.pool.stats().connected, [HOME], "home stays");
        };
        tokio::select! { () = keep_alive => {} () = idle => {} }
        assert_eq!(world.relays.dialer.dials.get(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_home() {
    local(async {
        let (mut world, mut old) = World::at_home().await;
        world.config.home = AWAY;
        world.apply();
        assert_eq!(old.frame().await, (7, vec![0]));
        let mut new = world.relays.accept().await;
        assert_eq!(new.target.host, "away.example");
        new.welcome("{}").await;
        assert_eq!(new.frame().await, (7, vec![1]));
        world.event(Event::Connected { region: AWAY, home: true }).await;
        let start = Instant::now();
        assert!(old.is_closed().await);
        assert!((60..=75).contains(&start.elapsed().as_secs()));
        world.event(lost(HOME, false, "")).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn home_changes_while_connecting() {
    local(async {
        let mut world = World::new();
        world.apply();
        let mut first = world.relays.accept().await;
        world.config.home = AWAY;
        world.apply();
        first.welcome("{}").await;
        // It connected while it was home no longer, so it says nothing of home.
        world.pool.send(HOME, &PEER, b"x");
        assert_eq!(first.frame().await.0, 4);
        let mut second = world.relays.accept().await;
        second.welcome("{}").await;
        assert_eq!(second.frame().await, (7, vec![1]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn silence_and_keep_alives() {
    local(async {
        let (world, mut server) = World::at_home().await;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(65)).await;
            server.write(&raw(6, b"")).await;
        }
        assert!(world.sink.events.borrow().is_empty());
        let start = Instant::now();
        world.event(lost(HOME, true, "nothing from the relay for 120 s")).await;
        assert!((119..=122).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_check_finds_dead_connections() {
    local(async {
        let (world, mut server) = World::at_home().await;
        world.pool.check();
        let (kind, data) = server.frame().await;
        assert_eq!((kind, data.len()), (0x12, 8));
        server.write(&raw(0x13, &data)).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(world.pool.stats().connected, [HOME]);
        world.pool.check();
        let start = Instant::now();
        server.write(&raw(0x13, b"not this")).await;
        world.event(lost(HOME, true, "no answer to a ping within 3 s")).await;
        assert!((3..=4).contains(&start.elapsed().as_secs()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn checks_one_after_the_other_do_not_put_off_the_verdict() {
    local(async {
        let (world, _server) = World::at_home().await;
        let start = Instant::now();
        let checks = async {
            loop {
                world.pool.check();
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        };
        tokio::select! {
            () = world.event(lost(HOME, true, "no answer to a ping within 3 s")) => {}
            () = checks => {}
        }
        assert!((3..=4).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_without_the_key_it_claims() {
    local(async {
        let mut world = World::new();
        world.apply();
        let mut server = world.relays.accept().await;
        server.request().await;
        server.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
        let key = server.key_frame();
        server.write(&key).await;
        server.frame().await;
        server.write(&raw(3, &[7; 80])).await;
        let error = "DERP handshake: the relay does not have the key it claims";
        world.event(lost(HOME, true, error)).await;
    })
    .await;
}

/// What a server says instead of a proper welcome, and what is made of it.
async fn check_bad_welcome(answer: &[u8], error: &str) {
    local(async {
        let mut world = World::new();
        world.apply();
        let mut server = world.relays.accept().await;
        server.request().await;
        // The client may hang up in the middle.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut server.pipe, answer).await;
        drop(server);
        world.event(lost(HOME, true, error)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bad_welcomes() {
    let no_upgrade = |answer: &str| format!("home.example does not speak DERP: {answer}");
    check_bad_welcome(
        b"HTTP/1.1 426 Upgrade Required\r\n\r\n",
        &no_upgrade("HTTP status 426 Upgrade Required"),
    )
    .await;
    let unclean = no_upgrade("not understood as HTTP/1: the status line");
    check_bad_welcome(b"HTTP/1.1 426 Upgrade\x1b Required\r\n\r\n", &unclean).await;
    check_bad_welcome(&[b'a'; 20_000], &no_upgrade("not understood as HTTP/1: something else")).await;
    let endless = [b"HTTP/1.1 101 ".as_slice(), &[b'a'; 20_000]].concat();
    check_bad_welcome(&endless, &no_upgrade("a head with more than 16384 bytes or too many lines")).await;
    check_bad_welcome(b"HTTP/1.1 101 Swi", "relay closed the connection").await;
    check_bad_welcome(b"HTTP/1.1 101 X\r\n\r\n\x01\0\0\0\x28DERP", "relay closed the connection").await;
    let other_first = b"HTTP/1.1 101 X\r\n\r\n\x06\0\0\0\0";
    check_bad_welcome(other_first, "DERP handshake: the relay did not start with its key").await;
    let mut zero_key = b"HTTP/1.1 101 X\r\n\r\n".to_vec();
    zero_key.extend(raw(1, &[&b"DERP\xf0\x9f\x94\x91"[..], &[0; 32]].concat()));
    check_bad_welcome(&zero_key, "DERP handshake: the relay's key is no key").await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing() {
    local(async {
        let mut world = World::new();
        world.apply();
        let mut server = world.relays.accept().await;
        server.request().await;
        let start = Instant::now();
        let error = "no connection to home.example within 10 s; check that it is reachable over TCP";
        world.event(lost(HOME, true, error)).await;
        assert!((9..=11).contains(&start.elapsed().as_secs()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn home_is_retried_with_backoff() {
    local(async {
        let mut world = World::new();
        world.relays.dialer.refusing.borrow_mut().insert("home.example".to_owned());
        world.apply();
        world.event(lost(HOME, true, "connection refused by home.example")).await;
        tokio::time::sleep(Duration::from_secs(300)).await;
        let dials = world.relays.dialer.dials.get();
        assert!((60..150).contains(&dials), "{dials} dials in 5 min");
        world.relays.dialer.refusing.borrow_mut().clear();
        let start = Instant::now();
        world.relays.accept().await.welcome("{}").await;
        assert!(start.elapsed() < Duration::from_millis(7600));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_region_is_given_up() {
    local(async {
        let (world, _home) = World::at_home().await;
        world.relays.dialer.refusing.borrow_mut().insert("away.example".to_owned());
        world.pool.send(AWAY, &PEER, b"x");
        tokio::time::sleep(Duration::from_secs(70)).await;
        let dials = world.relays.dialer.dials.get();
        assert!(dials > 10);
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert_eq!(world.relays.dialer.dials.get(), dials, "nobody sends, nobody dials");
        assert_eq!(world.pool.stats().dropped_lost, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_restarting_relay_says_when() {
    local(async {
        let (mut world, mut server) = World::at_home().await;
        server.write(&raw(0x15, &[0, 0, 0x1f, 0x40, 0, 0, 0x75, 0x30])).await;
        drop(server);
        world.event(lost(HOME, true, "relay closed the connection")).await;
        let start = Instant::now();
        world.relays.accept().await;
        assert!((6..=8).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_key_closes_everything() {
    local(async {
        let (mut world, mut old) = World::at_home().await;
        world.config.key = NodePrivate::from_bytes([0x58; 32]);
        world.apply();
        assert!(old.is_closed().await);
        world.event(lost(HOME, true, "")).await;
        let mut new: Server = world.relays.accept().await;
        new.request().await;
        new.write(b"HTTP/1.1 101 X\r\n\r\n").await;
        let key = new.key_frame();
        new.write(&key).await;
        assert_eq!(new.frame().await.1[..32], public(&world.config.key));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn regions_that_change_or_go() {
    local(async {
        let (mut world, mut old) = World::at_home().await;
        let mut changed = map();
        changed.regions.get_mut(&HOME).expect("region").nodes = [node("moved.example")].into();
        world.config.map = Rc::new(changed);
        world.apply();
        assert!(old.is_closed().await);
        world.event(lost(HOME, true, "")).await;
        let mut moved = world.relays.accept().await;
        assert_eq!(moved.target.host, "moved.example");
        moved.welcome("{}").await;
        world.event(Event::Connected { region: HOME, home: true }).await;
        world.config.map = Rc::new(DerpMap::default());
        world.apply();
        assert_eq!(moved.frame().await, (7, vec![1]));
        assert!(moved.is_closed().await);
        assert!(!world.pool.send(HOME, &PEER, b"x"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn paused_means_disconnected() {
    local(async {
        let (mut world, mut server) = World::at_home().await;
        world.config.paused = true;
        world.apply();
        assert!(server.is_closed().await);
        assert!(!world.pool.send(HOME, &PEER, b"x"));
        world.config.paused = false;
        world.apply();
        world.relays.accept().await;
        drop(world.pool);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!world.relays.is_dialled(), "a dropped pool is silent");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn servers_of_a_region_in_order() {
    local(async {
        let mut world = World::new();
        let mut map = map();
        let stun = DerpNode { stun_only: true, ..node("stun.example") };
        let nodes = [stun, node("dead.example"), node("hangs.example"), node("good.example")];
        map.regions.get_mut(&HOME).expect("region").nodes = nodes.into();
        world.config.map = Rc::new(map);
        world.relays.dialer.refusing.borrow_mut().insert("dead.example".to_owned());
        world.relays.dialer.hanging.borrow_mut().insert("hangs.example".to_owned());
        let start = Instant::now();
        world.apply();
        let mut server = world.relays.accept().await;
        assert_eq!(start.elapsed().as_millis(), 1500);
        assert_eq!(server.target.host, "good.example");
        assert!(server.request().await.contains("\r\nIdeal-Node: stun.example\r\n"));
        assert_eq!(world.relays.dialer.dials.get(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_are_bounded() {
    local(async {
        let (mut world, _home) = World::at_home().await;
        let mut map = map();
        for i in 10..40 {
            let region =
                DerpRegion { id: RegionId(i), nodes: [node("more.example")].into(), ..DerpRegion::default() };
            map.regions.insert(RegionId(i), region);
        }
        world.config.map = Rc::new(map);
        world.apply();
        let mut open = Vec::new();
        for i in 10..40 {
            world.pool.send(RegionId(i), &PEER, b"x");
            let mut server = world.relays.accept().await;
            server.welcome("{}").await;
            server.frame().await;
            open.push(server);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let connected = world.pool.stats().connected;
        assert_eq!(connected.len(), 16);
        assert_eq!((connected[0], connected[15]), (HOME, RegionId(39)), "home and the latest stay");
    })
    .await;
}

/// Keeps what this thread logs.
struct Lines;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }
    fn flush(&self) {}
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_once_for_each_reason() {
    assert!(log::set_logger(&Lines).is_ok());
    log::set_max_level(log::LevelFilter::Info);
    local(async {
        let mut world = World::new();
        let mut outage = async || {
            world.relays.dialer.refusing.borrow_mut().insert("home.example".to_owned());
            world.apply();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            world.relays.dialer.refusing.borrow_mut().clear();
            let mut server = world.relays.accept().await;
            server.welcome("{}").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            server
        };
        let server = outage().await;
        let (refused, connected) =
            ("derp-1: connection refused by home.example", "derp-1: connected to home.example");
        assert_eq!(LINES.take(), [refused, connected]);
        // After a connection it is news again.
        drop(server);
        drop(outage().await);
        let closed = "derp-1: relay closed the connection";
        assert_eq!(LINES.take(), [closed, refused, connected]);
        for _ in 0..2 {
            let mut server = world.relays.accept().await;
            server.welcome("{}").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(LINES.take(), [closed, connected]);
        }
    })
    .await;
}
