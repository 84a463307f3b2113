//! The threads that drive the packet lines: one for each line, or one for both.
//!
//! Owns: starting and ending them, waking them and being woken by them, the turns that control takes itself.
//! Leaves out: what a thread does (`worker`).

use super::bell::Bell;
use super::lines::{Inward, Lines, Outward};
use super::port;
use super::sockets::Sockets;
use super::udp::{Receiver, Sender};
use super::worker::{BUDGET, Receiving, Sending, Signs, Worker};
use crate::clock::Clock;
use crate::parts::osrouter::Packets;
use engine::lines::{NoUdp, RxLine, TxLine};
use engine::time::Tick;
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::pipe::PipeFlags;
use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead as _, Interest, ReadBuf};
use tokio::net::unix::pipe;

/// Stack of a thread: the largest things on it are the tables of `sendmmsg`, a few kilobytes.
const STACK: usize = 128 << 10;

/// The largest packet where no TUN says so.
const MTU: usize = 1280;

/// The running threads; they end when this is dropped.
pub(super) struct PacketThreads {
    /// Of tx and rx; one and the same where one thread drives both.
    bells: [Arc<Bell>; 2],
    to_control: RefCell<pipe::Receiver>,
    signs: Arc<Signs>,
    lines: Arc<Lines>,
    tun: Option<OwnedFd>,
    /// The TUN while control reads it, and where line tx sends by UDP from here.
    tap: RefCell<Option<Tap>>,
    current: RefCell<Arc<Sockets>>,
    /// New sockets for each thread.
    sockets: RefCell<Vec<Producer<Arc<Sockets>>>>,
    handles: Vec<std::thread::JoinHandle<()>>,
}

impl PacketThreads {
    /// Starts one or two threads.
    pub(super) fn start(
        two: bool,
        tx: TxLine,
        rx: RxLine,
        packets: Option<Packets>,
        sockets: &Arc<Sockets>,
        clock: &Arc<Clock>,
    ) -> io::Result<Self> {
        let (bell, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let signs = Signs::new(tell);
        let tx_bell = Arc::new(Bell::new()?);
        let rx_bell = if two { Arc::new(Bell::new()?) } else { tx_bell.clone() };
        let mtu = packets.as_ref().map_or(MTU, Packets::mtu);
        let (reader, writer) = port::ends(packets);
        let had_tun = reader.fd().is_some();
        let clone = || reader.fd().map(|fd| fd.try_clone_to_owned()).transpose();
        let (polled, tun) = (clone()?, clone()?);
        let lines = Lines::new(Outward { line: tx, tun: reader, had_tun }, Inward { line: rx, tun: writer });
        let mut started = Self {
            lines: Arc::new(lines),
            tun,
            tap: RefCell::default(),
            current: RefCell::new(Arc::clone(sockets)),
            bells: [tx_bell.clone(), rx_bell.clone()],
            to_control: RefCell::new(pipe::Receiver::from_owned_fd(bell)?),
            signs: Arc::new(signs),
            sockets: RefCell::default(),
            handles: Vec::new(),
        };
        // The tables of both stay on the thread that makes them.
        let (rx_bell_for_tx, out) = (two.then(|| rx_bell.clone()), sockets.clone());
        let sending = move || Sending { tun: polled, udp: Sender::new(out), rx_bell: rx_bell_for_tx };
        let sockets = sockets.clone();
        let receiving = move || {
            let udp = Receiver::new(sockets.clone(), mtu);
            Receiving { udp, sockets, mtu }
        };
        let lines = started.lines.clone();
        let (clock, signs) = (clock.clone(), started.signs.clone());
        if two {
            let (same_clock, same_signs, same_lines) = (clock.clone(), signs.clone(), lines.clone());
            let (fresh, fresh_too) = (started.fresh(), started.fresh());
            started.spawn("packets-out", move || {
                let sending = Some(sending());
                Worker { bell: tx_bell, sending, receiving: None, fresh, lines, clock, signs }.run();
            })?;
            started.spawn("packets-in", move || {
                let (receiving, fresh) = (Some(receiving()), fresh_too);
                let (clock, signs, lines) = (same_clock, same_signs, same_lines);
                Worker { bell: rx_bell, sending: None, receiving, fresh, lines, clock, signs }.run();
            })?;
        } else {
            let fresh = started.fresh();
            started.spawn("packets", move || {
                let (sending, receiving) = (Some(sending()), Some(receiving()));
                Worker { bell: tx_bell, sending, receiving, fresh, lines, clock, signs }.run();
            })?;
        }
        Ok(started)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
        self.handles.push(builder.spawn(body)?);
        Ok(())
    }

    /// Where a thread finds new sockets.
    fn fresh(&self) -> Consumer<Arc<Sockets>> {
        let (give, take) = RingBuffer::new(4);
        self.sockets.borrow_mut().push(give);
        take
    }

    /// Has the threads read and write these sockets from now on.
    pub(super) fn use_sockets(&self, sockets: &Arc<Sockets>) {
        for thread in self.sockets.borrow_mut().iter_mut() {
            // A thread that has not come to take the last four is not coming to.
            let _ = thread.push(Arc::clone(sockets));
        }
        *self.current.borrow_mut() = Arc::clone(sockets);
        if let Some(tap) = &mut *self.tap.borrow_mut() {
            tap.udp = Sender::new(Arc::clone(sockets));
        }
        self.wake(true, true);
    }

    /// Whether there was a TUN and is none any more.
    pub(super) fn tun_is_gone(&self) -> bool {
        self.signs.tun_gone.load(Ordering::Acquire)
    }

    /// Line tx, line rx or both have something to do.
    pub(super) fn wake(&self, tx: bool, rx: bool) {
        let [tx_bell, rx_bell] = &self.bells;
        let one = Arc::ptr_eq(tx_bell, rx_bell);
        if tx || (rx && one) {
            tx_bell.ring();
        }
        if rx && !one {
            rx_bell.ring();
        }
    }

    /// Resolves when a line has something for the control thread, or the TUN that it reads. One task waits at a time.
    pub(super) async fn woken(&self) -> io::Result<()> {
        let mut bells = [0; 64];
        let tun = self.tap.borrow().as_ref().map(|tap| Rc::clone(&tap.tun));
        let mut tapped = pin!(async {
            match &tun {
                Some(tun) => input(tun).await,
                None => pending().await,
            }
        });
        poll_fn(|cx| {
            if let Poll::Ready(result) = tapped.as_mut().poll(cx) {
                result?;
                self.lines.note_readable();
                return Poll::Ready(Ok(()));
            }
            let mut bells = ReadBuf::new(&mut bells);
            ready!(Pin::new(&mut *self.to_control.borrow_mut()).poll_read(cx, &mut bells))?;
            if bells.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.signs.control_came();
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Control turns line rx for what it has been given, unless its thread is at it.
    pub(super) fn turn_rx(&self, now: Tick) {
        let Some(mut inward) = self.lines.try_inward() else { return self.wake(false, true) };
        let Inward { line, tun } = &mut *inward;
        let report = line.turn_with(now, BUDGET, tun, &mut NoUdp);
        drop(inward);
        if report.wake_control {
            self.signs.wake_control();
        }
        if report.more {
            // So much that another thread is worth waking.
            self.wake(false, true);
        }
    }

    /// Control turns line tx if it reads the TUN; true if there is more.
    pub(super) fn turn_tx(&self, now: Tick) -> bool {
        if !self.lines.taken() {
            return false;
        }
        let mut place = self.tap.borrow_mut();
        let tap = match &mut *place {
            Some(tap) => tap,
            none => match self.tun.as_ref().map(|tun| Tap::new(tun, &self.current.borrow())) {
                Some(Ok(tap)) => {
                    self.lines.note_readable();
                    none.insert(tap)
                }
                Some(Err(_)) | None => {
                    self.lines.give_back();
                    self.wake(true, false);
                    return false;
                }
            },
        };
        let Some(mut outward) = self.lines.try_outward() else {
            self.wake(true, false);
            return false;
        };
        let Outward { line, tun, .. } = &mut *outward;
        let report = line.turn_with(now, BUDGET, tun, &mut tap.udp);
        let more = report.more || tun.is_readable();
        let gone = tun.fd().is_none();
        drop(outward);
        if report.wake_rx {
            self.wake(false, true);
        }
        if self.lines.unlearn(&report) || gone {
            drop(place.take());
            self.lines.give_back();
            self.wake(true, false);
            return false;
        }
        more
    }
}

/// The TUN as control reads it.
struct Tap {
    tun: Rc<AsyncFd<OwnedFd>>,
    udp: Sender,
}

/// What control waits for. When a TUN goes away the kernel tells an error and nothing else, for which nobody is woken who
/// only wants to read.
const INPUT: Interest = Interest::READABLE.add(Interest::ERROR);

/// Resolves when there may be something to read, or reading fails for good.
async fn input(tun: &AsyncFd<OwnedFd>) -> io::Result<()> {
    tun.ready(INPUT).await?.clear_ready();
    Ok(())
}

impl Tap {
    fn new(tun: &OwnedFd, sockets: &Arc<Sockets>) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "its successor is `unsafe`, and an owned descriptor fulfils what that asks for"
        )]
        let tun = Rc::new(AsyncFd::with_interest(tun.try_clone()?, INPUT)?);
        Ok(Self { tun, udp: Sender::new(Arc::clone(sockets)) })
    }
}

impl Drop for PacketThreads {
    fn drop(&mut self) {
        self.signs.stop.store(true, Ordering::Release);
        self.wake(true, true);
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

/// Whether two threads are of use: `TS_PACKET_THREADS` says so, or there are two processors and not the slowest kind
/// of them (ARMv5, which has no atomics of 64 bits).
pub fn two_threads(variable: Option<&str>) -> bool {
    match variable.map(str::trim).filter(|text| !text.is_empty()) {
        Some("1") => return false,
        Some("2") => return true,
        Some(other) => log::warn!("TS_PACKET_THREADS={other:?} is neither 1 nor 2; choosing by the machine"),
        None => {}
    }
    // Where the mask does not fit, there are more than a thousand.
    let processors = rustix::thread::sched_getaffinity(None).map_or(2, |set| set.count());
    processors > 1 && cfg!(target_has_atomic = "64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_has_the_last_word() {
        assert!(!two_threads(Some("1")));
        assert!(two_threads(Some(" 2 ")));
        assert_eq!(two_threads(Some("3")), two_threads(None));
        assert_eq!(two_threads(Some("")), two_threads(None));
    }

    /// The writing end of a pipe that nobody reads any more tells the same as a TUN that has been deleted.
    #[tokio::test]
    async fn control_is_woken_for_an_error_alone() {
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        let tap = Tap::new(&writer, &Arc::new(Sockets::default())).expect("tap");
        let soon = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, input(&tap.tun)).await.is_err(), "nothing has happened");
        drop(reader);
        let long = std::time::Duration::from_secs(10);
        tokio::time::timeout(long, input(&tap.tun)).await.expect("woken").expect("no error of its own");
    }
}
