//! What a packet thread does: its lines' turns, and sleeping until there is something for one of them.
//!
//! It sleeps on its eventfd and on what its lines read (tx the TUN, rx the UDP sockets), works until nothing is left, and
//! wakes the control thread by a byte in a pipe when a line has something for it or when the TUN is gone.
//! Leaves out: starting the threads, and control's own turns (`thread`).

use super::bell::Bell;
use super::lines::{Inward, Lines, Outward};
use super::sockets::Sockets;
use super::udp::{Receiver, Sender};
use crate::clock::Clock;
use rtrb::Consumer;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Packets a line handles before the other has its turn.
pub(super) const BUDGET: u32 = 64;

/// What control and the threads tell each other beside the rings of the lines.
pub(super) struct Signs {
    pub(super) stop: AtomicBool,
    pub(super) tun_gone: AtomicBool,
    /// A byte in this pipe wakes control.
    pub(super) to_control: OwnedFd,
    /// Control has been rung for and has not come yet.
    pub(super) rung: AtomicBool,
}

impl Signs {
    /// Nothing has been told yet; `to_control` is the writing end of the pipe.
    pub(super) fn new(to_control: OwnedFd) -> Self {
        Self { stop: false.into(), tun_gone: false.into(), to_control, rung: false.into() }
    }

    /// A pipe that is full of bells needs no other.
    pub(super) fn wake_control(&self) {
        fence(Ordering::SeqCst);
        if !self.rung.swap(true, Ordering::SeqCst) {
            let _ = rustix::io::write(&self.to_control, &[1]);
        }
    }

    /// Control has come: what is told from now on rings anew, what was told before can be seen.
    pub(super) fn control_came(&self) {
        self.rung.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}

/// What the thread of tx has beside its line.
pub(super) struct Sending {
    /// To be polled.
    pub(super) tun: Option<OwnedFd>,
    pub(super) udp: Sender,
    /// Of the other thread, if rx has one of its own.
    pub(super) rx_bell: Option<Arc<Bell>>,
}

/// What the thread of rx has beside its line.
pub(super) struct Receiving {
    pub(super) udp: Receiver,
    pub(super) sockets: Arc<Sockets>,
    pub(super) mtu: usize,
}

/// A thread.
pub(super) struct Worker {
    pub(super) bell: Arc<Bell>,
    pub(super) sending: Option<Sending>,
    pub(super) receiving: Option<Receiving>,
    pub(super) fresh: Consumer<Arc<Sockets>>,
    pub(super) lines: Arc<Lines>,
    pub(super) clock: Arc<Clock>,
    pub(super) signs: Arc<Signs>,
}

impl Worker {
    /// Until the node ends.
    pub(super) fn run(mut self) {
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

#[cfg(test)]
mod tests {
    use super::super::port;
    use super::*;
    use rtrb::RingBuffer;

    /// The largest packet.
    const MTU: usize = 1280;

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
            signs: Arc::new(Signs::new(to_control)),
        };
        worker.work();
        assert_eq!(worker.receiving.map(|receiving| receiving.sockets.port()), Some(new.port()));
        let left = rustix::io::read(old.v4().expect("a socket"), &mut [0; 16]);
        assert_eq!(left, Ok(8), "all of the old ones was read first");
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
