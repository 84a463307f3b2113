//! Datagrams at a given rate, sent and received in batches so that the generator is not what is measured.
//!
//! A probe is a stretch of time at one rate. Every datagram carries its probe's number, so that stragglers of one are
//! not counted for the next.

use super::{LOOK, PATIENCE};
use crate::host::Host;
use crate::wait::now;
use anyhow::{Context, Result, ensure};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Datagrams of one system call.
const BATCH: usize = 64;

/// How long the sender sleeps when nothing is due: bursts stay short.
const TICK: Duration = Duration::from_micros(300);

/// After a pause the sender makes up for no more than this; a longer burst would measure queues, not the path.
const CREDIT: Duration = Duration::from_millis(2);

/// Bytes waiting at the receiver: it must not be where datagrams are lost.
const RECEIVE_BUFFER: usize = 16 << 20;

/// Silence after which a probe's last datagrams count as lost, and the longest wait for them.
const SILENCE: Duration = Duration::from_millis(120);
const LONGEST_WAIT: Duration = Duration::from_millis(1500);

/// Bytes of a datagram that carry the number of its probe.
const HEAD: usize = 4;

/// What a stretch of time at one rate brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Datagrams that arrived.
    pub received: u64,
    /// How long it was sent.
    pub seconds: f64,
}

impl Probe {
    /// Share of datagrams that were lost, 0 to 1. Nothing sent is nothing arrived: 1.
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 1.0 } else { 1.0 - self.received.min(self.sent) as f64 / self.sent as f64 }
    }

    /// Datagrams sent per second.
    pub fn sent_rate(&self) -> f64 {
        self.sent as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Datagrams received per second of sending.
    pub fn received_rate(&self) -> f64 {
        self.received as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

/// What both threads share.
#[derive(Debug, Default)]
struct Shared {
    /// Number of the running probe.
    probe: AtomicU32,
    received: AtomicU64,
    ended: AtomicBool,
}

/// A pair of sockets and the receiving thread. Dropping it ends both.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    shared: Arc<Shared>,
    receiver: Option<JoinHandle<()>>,
    size: usize,
}

impl Datagrams {
    /// Sockets for datagrams of `size` payload bytes from one host to an address of the other. It is proven that one
    /// gets through.
    ///
    /// # Errors
    /// When a socket cannot be had or nothing gets through within 20 s.
    pub fn open(from: &Host, to: &Host, address: IpAddr, size: usize) -> Result<Self> {
        ensure!((HEAD..=65_507).contains(&size), "no datagram has {size} bytes");
        let sink = to.inside(|| UdpSocket::bind((address, 0)))??;
        setsockopt(&sink, sockopt::RcvBufForce, &RECEIVE_BUFFER).context("receive buffer")?;
        sink.set_read_timeout(Some(LOOK))?;
        let at = sink.local_addr()?;
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = from.inside(|| UdpSocket::bind(any))??;
        from.inside(|| socket.connect(at))??;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let receiver = std::thread::spawn(move || receive(&sink, &theirs, size));
        let made = Self { socket, shared, receiver: Some(receiver), size };
        crate::until("a first datagram", PATIENCE, || {
            Ok((made.run(100.0, Duration::from_millis(20))?.received > 0).then_some(()))
        })?;
        Ok(made)
    }

    /// Sends `rate` datagrams per second for `time`, then waits for what is on its way.
    ///
    /// # Errors
    /// When the kernel refuses to send.
    pub fn run(&self, rate: f64, time: Duration) -> Result<Probe> {
        let number = self.shared.probe.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        self.shared.received.store(0, Ordering::SeqCst);
        let (sent, seconds) = self.send(number, rate, time)?;
        let mut received = 0;
        let (stopped, mut news) = (now(), now());
        while received < sent && news.elapsed() < SILENCE && stopped.elapsed() < LONGEST_WAIT {
            std::thread::sleep(Duration::from_millis(2));
            let arrived = self.shared.received.load(Ordering::SeqCst);
            if arrived != received {
                (received, news) = (arrived, now());
            }
        }
        Ok(Probe { sent, received: received.min(sent), seconds })
    }

    fn send(&self, number: u32, rate: f64, time: Duration) -> Result<(u64, f64)> {
        let mut datagram = vec![0; self.size];
        if let Some(head) = datagram.first_chunk_mut::<HEAD>() {
            *head = number.to_be_bytes();
        }
        let slice = [IoSlice::new(&datagram)];
        let mut controls: [_; BATCH] = std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut batch: Vec<_> = controls.iter_mut().map(|control| MMsgHdr::new(&slice, control)).collect();
        let credit = (rate * CREDIT.as_secs_f64()).max(BATCH as f64);
        let (mut sent, mut forgiven) = (0_u64, 0.0);
        let started = now();
        loop {
            let elapsed = started.elapsed();
            if elapsed >= time {
                return Ok((sent, elapsed.as_secs_f64()));
            }
            let due = elapsed.as_secs_f64() * rate - forgiven - sent as f64;
            if due < 1.0 {
                std::thread::sleep(TICK);
                continue;
            }
            forgiven += (due - credit).max(0.0);
            let many = batch.get_mut(..(due as usize).min(BATCH)).unwrap_or_default();
            match sendmmsg(&self.socket, many, SendFlags::empty()) {
                Ok(count) => sent += count as u64,
                // A full queue is a loss of this path like any other.
                Err(Errno::NOBUFS) => sent += 1,
                // An earlier datagram was refused: told once, by the next call.
                Err(Errno::INTR | Errno::CONNREFUSED) => {}
                Err(error) => return Err(error).context("sendmmsg"),
            }
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.receiver.take() {
            thread.join().ok();
        }
    }
}

fn receive(socket: &UdpSocket, shared: &Shared, size: usize) {
    let mut memory = vec![0_u8; size * BATCH];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    while !shared.ended.load(Ordering::SeqCst) {
        let mut slices: Vec<_> =
            memory.chunks_exact_mut(size).map(|chunk| [IoSliceMut::new(chunk)]).collect();
        let result = recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_WAITFORONE, None);
        let count = result.map_or(0, Iterator::count);
        let number = shared.probe.load(Ordering::SeqCst).to_be_bytes();
        let ours = memory.chunks_exact(size).take(count).filter(|datagram| datagram.starts_with(&number));
        shared.received.fetch_add(ours.count() as u64, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_and_rates() {
        let probe = Probe { sent: 200, received: 150, seconds: 0.5 };
        assert_eq!((probe.loss(), probe.sent_rate(), probe.received_rate()), (0.25, 400.0, 300.0));
        assert_eq!(Probe { sent: 0, received: 0, seconds: 1.0 }.loss(), 1.0);
    }
}
