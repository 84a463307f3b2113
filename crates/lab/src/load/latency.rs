//! Round trips of small datagrams, one at a time.

use super::{LOOK, PATIENCE};
use crate::host::Host;
use crate::wait::now;
use anyhow::{Context, Result};
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Payload bytes of each.
const SIZE: usize = 64;

/// An answer that is later than this is lost.
const LATE: Duration = Duration::from_secs(1);

/// What a game of ping-pong brought.
#[derive(Clone, Debug, Default)]
pub struct RoundTrips {
    /// One time for each answer, in the order they came.
    pub times: Vec<Duration>,
    /// Datagrams without an answer within a second.
    pub lost: u32,
}

/// Sends a datagram, waits for its echo, sends the next, for `time`.
///
/// # Errors
/// When a socket cannot be had or there is no echo at all within 20 s.
pub fn ping_pong(from: &Host, to: &Host, address: IpAddr, time: Duration) -> Result<RoundTrips> {
    let far = to.inside(|| UdpSocket::bind((address, 0)))??;
    far.set_read_timeout(Some(LOOK))?;
    let at = far.local_addr()?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let near = from.inside(|| UdpSocket::bind(any))??;
    from.inside(|| near.connect(at))??;
    near.set_read_timeout(Some(LATE))?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut datagram = [0; SIZE];
            while !ended.load(Ordering::SeqCst) {
                if let Ok((n, source)) = far.recv_from(&mut datagram) {
                    far.send_to(datagram.get(..n).unwrap_or(&[]), source).ok();
                }
            }
        });
        let result = play(&near, time);
        ended.store(true, Ordering::SeqCst);
        result
    })
}

fn play(socket: &UdpSocket, time: Duration) -> Result<RoundTrips> {
    let mut game = RoundTrips::default();
    let mut number = 0_u32;
    // The first ones may have to wait for a handshake.
    crate::until("a first echo", PATIENCE, || {
        number += 1;
        Ok(once(socket, number)?.map(drop))
    })?;
    let started = now();
    while started.elapsed() < time {
        number += 1;
        match once(socket, number)? {
            Some(time) => game.times.push(time),
            None => game.lost += 1,
        }
    }
    Ok(game)
}

/// One round trip; `None` when the answer did not come.
fn once(socket: &UdpSocket, number: u32) -> Result<Option<Duration>> {
    let mut datagram = [0; SIZE];
    if let Some(head) = datagram.first_chunk_mut() {
        *head = number.to_be_bytes();
    }
    let started = now();
    // A refusal belongs to an earlier datagram.
    socket.send(&datagram).or_else(|_| socket.send(&datagram)).context("send")?;
    let mut answer = [0; SIZE];
    while let Ok(n) = socket.recv(&mut answer) {
        // Echoes of earlier ones that came too late are passed over.
        if answer.get(..n) == Some(&datagram) {
            return Ok(Some(started.elapsed()));
        }
        if started.elapsed() >= LATE {
            break;
        }
    }
    Ok(None)
}
