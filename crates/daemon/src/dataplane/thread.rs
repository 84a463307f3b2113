//! The threads that drive the packet lines: one for each line, or one for both.
//!
//! A thread sleeps on its eventfd and on what its lines read (tx the TUN, rx the UDP sockets), works until nothing is
//! left, and wakes the control thread by a byte in a pipe when a line has something for it or when the TUN is gone.

use super::bell::Bell;
use super::lines::{Inward, Lines, Outward};
use super::port;
use super::sockets::Sockets;
use super::udp::{Receiver, Sender};
use crate::clock::Clock;
use crate::parts::osrouter::Packets;
use engine::lines::{NoUdp, RxLine, TxLine};
use engine::time::Tick;
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::pipe::PipeFlags;
use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead as _, Interest, ReadBuf};
use tokio::net::unix::pipe;

/// Packets a line handles before the other has its turn.
const BUDGET: u32 = 64;

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

/// What control and the threads tell each other beside the rings of the lines.
struct Signs {
    stop: AtomicBool,
    tun_gone: AtomicBool,
    /// A byte in this pipe wakes control.
    to_control: OwnedFd,
    /// Control has been rung for and has not come yet.
    rung: AtomicBool,
}

impl Signs {
    /// A pipe that is full of bells needs no other.
    fn wake_control(&self) {
        fence(Ordering::SeqCst);
        if !self.rung.swap(true, Ordering::SeqCst) {
            let _ = rustix::io::write(&self.to_control, &[1]);
        }
    }

    /// Control has come: what is told from now on rings anew, what was told before can be seen.
    fn control_came(&self) {
        self.rung.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
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
        let signs =
            Signs { stop: false.into(), tun_gone: false.into(), to_control: tell, rung: false.into() };
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

/// What the thread of tx has beside its line.
struct Sending {
    /// To be polled.
    tun: Option<OwnedFd>,
    udp: Sender,
    /// Of the other thread, if rx has one of its own.
    rx_bell: Option<Arc<Bell>>,
}

/// What the thread of rx has beside its line.
struct Receiving {
    udp: Receiver,
    sockets: Arc<Sockets>,
    mtu: usize,
}

/// A thread.
struct Worker {
    bell: Arc<Bell>,
    sending: Option<Sending>,
    receiving: Option<Receiving>,
    fresh: Consumer<Arc<Sockets>>,
    lines: Arc<Lines>,
    clock: Arc<Clock>,
    signs: Arc<Signs>,
}

impl Worker {
    fn run(mut self) {
        loop {
            self.work();
            self.bell.expect_rings();
            self.take_fresh();
            if self.ended() {
                return;
            }
            // What came before the rings were expected.
            if self.drive() {
                self.bell.be_awake();
                continue;
            }
            if self.sleep().is_err() {
                return;
            }
            self.bell.be_awake();
        }
    }

    fn ended(&self) -> bool {
        self.signs.stop.load(Ordering::Acquire)
    }

    /// Until nothing is left. Traffic that never pauses must not keep a node from ending, nor from its new sockets.
    fn work(&mut self) {
        while self.drive() && !self.ended() {
            self.take_fresh();
        }
    }

    /// Each line's turn; false when both are idle.
    fn drive(&mut self) -> bool {
        let now = self.clock.mono().tick();
        let (mut wake, mut busy) = (false, false);
        if let Some(Receiving { udp, .. }) = &mut self.receiving
            && let Some(mut inward) = self.lines.inward()
        {
            let Inward { line, tun } = &mut *inward;
            let report = line.turn_with(now, BUDGET, tun, udp);
            wake |= report.wake_control;
            busy |= report.did_work() || udp.is_readable();
        }
        if let Some(Sending { tun: polled, udp, rx_bell }) = &mut self.sending
            && let Some(mut outward) = self.lines.outward()
        {
            let Outward { line, tun, .. } = &mut *outward;
            let report = line.turn_with(now, BUDGET, tun, udp);
            wake |= report.wake_control | self.lines.learn(&report);
            busy |= report.did_work() || tun.is_readable();
            if outward.lost_tun() {
                *polled = None;
                self.signs.tun_gone.store(true, Ordering::Release);
                wake = true;
            }
            if let Some(bell) = rx_bell.as_ref().filter(|_| report.wake_rx) {
                bell.ring();
            }
        }
        if wake {
            self.signs.wake_control();
        }
        busy
    }

    /// Waits until the bell has been rung or there is something to read, and takes all rings of the bell.
    fn sleep(&mut self) -> io::Result<()> {
        let tun = self.sending.as_ref().and_then(|sending| sending.tun.as_ref());
        // While control reads it, it is not for this thread to be woken.
        let tun = tun.filter(|_| !self.lines.taken());
        let sockets = self.receiving.as_ref().map(|receiving| &receiving.sockets);
        let [rung, tun, v4, v6] = wait([
            Some(self.bell.as_fd()),
            tun.map(AsFd::as_fd),
            sockets.and_then(|sockets| sockets.v4()),
            sockets.and_then(|sockets| sockets.v6()),
        ])?;
        if tun {
            self.lines.note_readable();
        }
        if let Some(receiving) = &mut self.receiving {
            receiving.udp.note_readable([v4, v6]);
        }
        if rung {
            // Rings that come after this read wake again.
            self.bell.silence();
        }
        Ok(())
    }
}

impl Worker {
    fn take_fresh(&mut self) {
        while let Ok(sockets) = self.fresh.pop() {
            self.take(sockets);
        }
    }

    /// Other sockets take the place of those there are. What these still hold is lost, like any datagram may be.
    fn take(&mut self, sockets: Arc<Sockets>) {
        if let Some(sending) = &mut self.sending {
            sending.udp = Sender::new(sockets.clone());
        }
        if let Some(receiving) = &mut self.receiving {
            receiving.udp = Receiver::new(sockets.clone(), receiving.mtu);
            receiving.udp.note_readable([true; 2]);
            receiving.sockets = sockets;
        }
    }
}

/// Waits for input on any of those that are there; which have some, or are broken.
fn wait(files: [Option<BorrowedFd<'_>>; 4]) -> io::Result<[bool; 4]> {
    let [Some(first), ..] = files else { return Err(io::ErrorKind::InvalidInput.into()) };
    // Those that are there first; the kernel is not shown the others.
    let mut polled: [PollFd<'_>; 4] = std::array::from_fn(|_| PollFd::from_borrowed_fd(first, PollFlags::IN));
    let mut count = 0;
    for (place, file) in polled.iter_mut().zip(files.into_iter().flatten()) {
        *place = PollFd::from_borrowed_fd(file, PollFlags::IN);
        count += 1;
    }
    let polled = polled.get_mut(..count).unwrap_or_default();
    while let Err(error) = poll(polled, None) {
        if error != rustix::io::Errno::INTR {
            return Err(error.into());
        }
    }
    let mut ready = polled.iter().map(|file| !file.revents().is_empty());
    Ok(files.map(|file| file.is_some() && ready.next().unwrap_or_default()))
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

    #[test]
    fn new_sockets_are_taken_in_the_midst_of_traffic() {
        let [old, new] = [0; 2].map(|_| Arc::new(Sockets::open(0)));
        let there = std::net::SocketAddr::from(([127, 0, 0, 1], old.port()));
        for _ in 0..3 * BUDGET {
            new.send(there, b"anything").expect("sends");
        }
        let (_control, tx, rx) = engine::lines::new(&engine::lines::Limits::default(), [[1; 16]; 2]);
        let (reader, writer) = port::ends(None);
        let outward = Outward { line: tx, tun: reader, had_tun: false };
        let mut udp = Receiver::new(Arc::clone(&old), MTU);
        udp.note_readable([true; 2]);
        let (mut give, fresh) = RingBuffer::new(1);
        give.push(Arc::clone(&new)).expect("room");
        let (_reader, to_control) = rustix::pipe::pipe().expect("pipe");
        let mut worker = Worker {
            bell: Arc::new(Bell::new().expect("bell")),
            sending: None,
            receiving: Some(Receiving { udp, sockets: Arc::clone(&old), mtu: MTU }),
            fresh,
            lines: Arc::new(Lines::new(outward, Inward { line: rx, tun: writer })),
            clock: Arc::new(Clock::new(None)),
            signs: Arc::new(Signs {
                stop: false.into(),
                tun_gone: false.into(),
                to_control,
                rung: false.into(),
            }),
        };
        worker.work();
        assert_eq!(worker.receiving.map(|receiving| receiving.sockets.port()), Some(new.port()));
        let left = rustix::io::read(old.v4().expect("a socket"), &mut [0; 16]);
        assert_eq!(left, Ok(8), "all of the old ones was read first");
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

    #[test]
    fn only_what_is_there_is_waited_for() {
        let bells = [Bell::new().expect("bell"), Bell::new().expect("bell")];
        let [first, second] = bells.each_ref().map(|bell| Some(bell.as_fd()));
        bells[1].expect_rings();
        bells[1].ring();
        assert_eq!(wait([first, None, second, None]).expect("wait"), [false, false, true, false]);
        bells[0].expect_rings();
        bells[0].ring();
        assert_eq!(wait([first, second, None, None]).expect("wait"), [true, true, false, false]);
    }
}
