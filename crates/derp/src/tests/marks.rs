//! How far a batch runs ahead of the relay.

use super::*;
use crate::pace::{AHEAD, MARK, PATIENCE};
use tokio::time::Instant;

/// Queues packets that carry their number.
fn send(world: &World, numbers: std::ops::Range<u32>) {
    for n in numbers {
        assert!(world.pool.send(HOME, &PEER, &[&n.to_be_bytes()[..], &[0; 1300]].concat()));
    }
}

/// Reads packets and wants them in order.
async fn receive(server: &mut relay::Server, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let (kind, payload) = server.frame().await;
        assert_eq!((kind, &payload[32..36]), (4, &n.to_be_bytes()[..]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_does_not_wait_for_a_relay_that_keeps_up() {
    local(async {
        let (world, mut server) = World::at_home().await;
        let started = Instant::now();
        send(&world, 0..150);
        receive(&mut server, 0..150).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(server.marks, 150 / MARK);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_behind_is_given_time() {
    local(async {
        let (world, mut server) = World::at_home().await;
        server.mute = true;
        let started = Instant::now();
        send(&world, 0..150);
        let at_once = AHEAD * MARK;
        assert!(at_once < 32, "a relay's queue");
        receive(&mut server, 0..at_once).await;
        assert_eq!(started.elapsed(), Duration::ZERO, "less than its queue goes at once");
        receive(&mut server, at_once..at_once + 1).await;
        assert!(started.elapsed() >= PATIENCE, "the next waits for it");
        assert!(started.elapsed() < 2 * PATIENCE, "but not for long");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_answers_no_ping_is_soon_left_in_peace() {
    local(async {
        let (world, mut server) = World::at_home().await;
        server.mute = true;
        let started = Instant::now();
        for round in 0..20 {
            send(&world, round * 100..(round + 1) * 100);
            receive(&mut server, round * 100..(round + 1) * 100).await;
        }
        assert!(started.elapsed() <= 12 * PATIENCE, "{:?}", started.elapsed());
        let (marks, then) = (server.marks, Instant::now());
        for round in 20..40 {
            send(&world, round * 100..(round + 1) * 100);
            receive(&mut server, round * 100..(round + 1) * 100).await;
        }
        assert_eq!(then.elapsed(), Duration::ZERO);
        assert!(server.marks - marks <= 6, "{} marks for 2000 packets", server.marks - marks);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn light_traffic_has_no_marks() {
    local(async {
        let (world, mut server) = World::at_home().await;
        for n in 0..100 {
            send(&world, n..n + 1);
            receive(&mut server, n..n + 1).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        assert_eq!(server.marks, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_past_the_queue_goes_on_without_a_pause() {
    local(async {
        let (world, mut server) = World::at_home().await;
        send(&world, 0..2000);
        let started = Instant::now();
        let mut last = None;
        while last != Some(1999) {
            let (_, payload) = server.frame().await;
            let number = u32::from_be_bytes(payload[32..36].try_into().expect("number"));
            assert!(last.is_none_or(|last| last < number), "{last:?} then {number}");
            last = Some(number);
        }
        assert_eq!(started.elapsed(), Duration::ZERO, "dropped marks are not waited for");
        send(&world, 2000..2100);
        receive(&mut server, 2000..2100).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
    })
    .await;
}
