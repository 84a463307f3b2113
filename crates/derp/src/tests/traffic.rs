//! Packets, and everything a relay may send instead of them.

use super::relay::{packet_from, raw};
use super::*;
use crate::{Event, GoneReason};

const SRC: NodePublic = NodePublic::from_bytes([5; 32]);

#[tokio::test(start_paused = true)]
async fn frames_of_one_read_are_flushed_once() {
    local(async {
        let (world, mut server) = World::at_home().await;
        let mut burst = packet_from(5, b"one");
        burst.extend(raw(0x0a, b"mesh")); // for mesh peers: skipped
        burst.extend(raw(0xee, &[1; 300])); // from the future: skipped
        burst.extend(raw(5, b"short")); // malformed: skipped
        burst.extend(packet_from(5, b"two"));
        burst.extend(packet_from(6, b""));
        server.write(&burst).await;
        let got = world.packets(3).await;
        let expected = [(SRC, "one"), (SRC, "two"), (NodePublic::from_bytes([6; 32]), "")];
        assert_eq!(got, expected.map(|(src, text)| (HOME, src, text.as_bytes().to_vec())));
        assert_eq!(world.sink.flushes.get(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn cut_frames_are_put_together() {
    local(async {
        let (world, mut server) = World::at_home().await;
        let mut bytes = packet_from(5, &[0xaa; 700]);
        bytes.extend(packet_from(5, &[0xbb; 60_000]));
        for piece in bytes.chunks(97) {
            server.write(piece).await;
            tokio::task::yield_now().await;
        }
        let got = world.packets(2).await;
        assert_eq!(got[0].2, [0xaa; 700]);
        assert_eq!(got[1].2, [0xbb; 60_000]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_long_run_keeps_order_and_bytes() {
    local(async {
        let (world, mut server) = World::at_home().await;
        let mut bytes = Vec::new();
        for i in 0..2000u32 {
            let mut payload = vec![i as u8; 20 + (i as usize * 37) % 1400];
            payload[..4].copy_from_slice(&i.to_be_bytes());
            bytes.extend(packet_from(5, &payload));
        }
        let (got, ()) = tokio::join!(world.packets(2000), server.write(&bytes));
        for (i, (_, _, payload)) in got.iter().enumerate() {
            assert_eq!(payload.len(), 20 + (i * 37) % 1400);
            assert_eq!(payload[..4], (i as u32).to_be_bytes());
        }
        assert!(world.sink.flushes.get() < 500, "{} flushes", world.sink.flushes.get());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn overlong_frames_are_skipped_as_they_come() {
    local(async {
        let (world, mut server) = World::at_home().await;
        server.write(&raw(0x40, &vec![1; 1 << 20])).await;
        server.write(&packet_from(5, &vec![2; (64 << 10) + 1])).await;
        server.write(&packet_from(5, &vec![3; 64 << 10])).await;
        assert_eq!(world.packets(1).await[0].2, vec![3; 64 << 10]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn garbage_ends_the_connection_and_a_new_one_follows() {
    local(async {
        let (mut world, mut server) = World::at_home().await;
        server.write(b"HTTP/1.1 500 what is this").await;
        let error = "relay sent a frame of 1414811695 bytes (type 0x48); it does not speak DERP";
        world.event(lost(HOME, true, error)).await;
        let mut server = world.relays.accept().await;
        server.welcome("{}").await;
        world.event(Event::Connected { region: HOME, home: true }).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pings_health_and_gone_peers() {
    local(async {
        let (world, mut server) = World::at_home().await;
        server.write(&raw(0x12, b"12345678")).await;
        assert_eq!(server.frame().await, (0x13, b"12345678".to_vec()));
        let mut notes = raw(0x14, b"too many \xff");
        notes.extend(raw(0x14, b""));
        notes.extend(raw(0x08, &[&[5; 32][..], &[1]].concat()));
        notes.extend(raw(0x08, &[5; 32]));
        server.write(&notes).await;
        let health = |text: &str| Event::Health { region: HOME, text: text.to_owned() };
        world.event(health("too many \u{fffd}")).await;
        world.event(health("")).await;
        let gone = |reason| Event::PeerGone { region: HOME, peer: SRC, reason };
        world.event(gone(GoneReason::NotHere)).await;
        world.event(gone(GoneReason::Disconnected)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_leaves_whole_and_in_order() {
    local(async {
        let (world, mut server) = World::at_home().await;
        for i in 0..128u8 {
            assert!(world.pool.send(HOME, &PEER, &[i; 1400]));
        }
        for i in 0..128u8 {
            let (kind, payload) = server.frame().await;
            assert_eq!((kind, &payload[..32]), (4, &PEER.as_bytes()[..]));
            assert_eq!(payload[32..], [i; 1400]);
        }
        assert_eq!(world.pool.stats().dropped_full, 0);
        assert!(!world.pool.send(HOME, &PEER, &vec![0; (64 << 10) + 1]), "too long");
        assert!(!world.pool.send(RegionId(9), &PEER, b"x"), "no such region");
        assert_eq!(world.pool.stats().dropped_unsendable, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_relay_loses_the_oldest() {
    local(async {
        let (world, mut server) = World::at_home().await;
        for i in 0..1000u32 {
            assert!(world.pool.send(HOME, &PEER, &[&i.to_be_bytes()[..], &[0; 1396]].concat()));
            tokio::task::yield_now().await;
        }
        let mut seen = Vec::new();
        while seen.last() != Some(&999) {
            let (_, payload) = server.frame().await;
            assert_eq!(payload.len(), 32 + 1400);
            seen.push(u32::from_be_bytes(payload[32..36].try_into().expect("number")));
        }
        assert!(seen.is_sorted());
        assert_eq!(seen[0], 0, "what had begun to leave is finished");
        assert_eq!(seen.len() as u64 + world.pool.stats().dropped_full, 1000);
        let youngest = &seen[seen.len() - 128..];
        assert_eq!((youngest[0], youngest[127]), (872, 999), "the queue holds a batch");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pongs_overtake_packets() {
    local(async {
        let (world, mut server) = World::at_home().await;
        for _ in 0..100 {
            world.pool.send(HOME, &PEER, &[0; 1400]);
        }
        tokio::task::yield_now().await;
        server.write(&raw(0x12, b"abcdefgh")).await;
        let mut before = 0;
        while server.frame().await.0 != 0x13 {
            before += 1;
        }
        assert!(before < 30, "{before} packets before the pong");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_rate_limit_drops() {
    local(async {
        let mut world = World::new();
        world.apply();
        let mut server = world.relays.accept().await;
        server
            .welcome(r#"{"version":2,"TokenBucketBytesPerSecond":1000,"TokenBucketBytesBurst":2000}"#)
            .await;
        world.event(Event::Connected { region: HOME, home: true }).await;
        let packet = [0; 1000 - 37];
        let sent: Vec<_> = (0..3).map(|_| world.pool.send(HOME, &PEER, &packet)).collect();
        assert_eq!(sent, [true, true, false]);
        assert_eq!(world.pool.stats().dropped_limit, 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(world.pool.send(HOME, &PEER, &packet));
        assert!(!world.pool.send(HOME, &PEER, &packet));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_sink_may_send() {
    local(async {
        let (world, mut server) = World::at_home().await;
        *world.sink.echo.borrow_mut() = Rc::downgrade(&world.pool);
        server.write(&packet_from(5, b"hello")).await;
        let (kind, payload) = server.frame().await;
        assert_eq!((kind, &payload[..32], &payload[32..]), (4, &[5; 32][..], &b"hello"[..]));
    })
    .await;
}
