//! The thread that drives both packet lines.
//!
//! It sleeps on an eventfd and the TUN, works until neither line has anything left, and wakes the control thread by a
//! byte in a pipe when a line has something for it or when the TUN is gone. UDP sockets join the same wait when they
//! come.

use super::port::Port;
use crate::clock::Clock;
use crate::parts::osrouter::Packets;
use engine::lines::{NoUdp, RxLine, TxLine};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::pipe::PipeFlags;
use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// Packets a line handles before the other has its turn.
const BUDGET: u32 = 64;

/// Stack of the thread: the lines keep nothing large on it.
const STACK: usize = 128 << 10;

/// The running thread; it ends when this is dropped.
pub(super) struct PacketThread {
    to_lines: Arc<OwnedFd>,
    to_control: RefCell<pipe::Receiver>,
    stop: Arc<AtomicBool>,
    tun_gone: Arc<AtomicBool>,
    handle: Option<std::thread::JoinHandle<()>>,
}

impl PacketThread {
    /// Starts the thread.
    pub(super) fn start(
        mut tx: TxLine,
        mut rx: RxLine,
        packets: Option<Packets>,
        clock: Arc<Clock>,
    ) -> io::Result<Self> {
        let to_lines = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (bell, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let stop = Arc::new(AtomicBool::new(false));
        let tun_gone = Arc::new(AtomicBool::new(false));
        let (wake, stopped, gone) = (to_lines.clone(), stop.clone(), tun_gone.clone());
        let mut had_tun = packets.is_some();
        let mut port = Port::new(packets);
        let run = move || {
            while !stopped.load(Ordering::Acquire) {
                if sleep(&wake, &mut port).is_err() {
                    return;
                }
                drive(&mut tx, &mut rx, &mut port, &clock, &tell);
                if had_tun && port.fd().is_none() {
                    had_tun = false;
                    gone.store(true, Ordering::Release);
                    let _ = rustix::io::write(&tell, &[1]);
                }
            }
        };
        let handle = std::thread::Builder::new().name("packets".to_owned()).stack_size(STACK).spawn(run)?;
        let to_control = RefCell::new(pipe::Receiver::from_owned_fd(bell)?);
        Ok(Self { to_lines, to_control, stop, tun_gone, handle: Some(handle) })
    }

    /// Whether there was a TUN and is none any more.
    pub(super) fn tun_is_gone(&self) -> bool {
        self.tun_gone.load(Ordering::Acquire)
    }

    /// The lines have something to do.
    pub(super) fn wake(&self) {
        ring(&self.to_lines);
    }

    /// Resolves when a line has something for the control thread. One task waits at a time.
    #[expect(clippy::await_holding_refcell_ref, reason = "only the one listening task borrows it")]
    pub(super) async fn woken(&self) -> io::Result<()> {
        let mut bells = [0; 64];
        match self.to_control.borrow_mut().read(&mut bells).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for PacketThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

/// Works until both lines are idle.
fn drive(tx: &mut TxLine, rx: &mut RxLine, port: &mut Port, clock: &Clock, told: &OwnedFd) {
    loop {
        let now = clock.mono().tick();
        let received = rx.turn_with(now, BUDGET, port);
        let sent = tx.turn_with(now, BUDGET, port, &mut NoUdp);
        if received.wake_control || sent.wake_control {
            // A pipe that is full of bells needs no other.
            let _ = rustix::io::write(told, &[1]);
        }
        if !received.did_work() && !sent.did_work() && !port.is_readable() {
            return;
        }
    }
}

/// Waits until the bell has been rung or the TUN has a packet, and takes all rings of the bell.
fn sleep(bell: &OwnedFd, port: &mut Port) -> io::Result<()> {
    let (rung, readable) = loop {
        let bell = PollFd::new(bell, PollFlags::IN);
        let waited = match port.fd() {
            Some(tun) => {
                let mut both = [bell, PollFd::from_borrowed_fd(tun, PollFlags::IN)];
                poll(&mut both, None).map(|_| both.each_ref().map(|fd| !fd.revents().is_empty()))
            }
            None => {
                let mut one = [bell];
                poll(&mut one, None).map(|_| [!one[0].revents().is_empty(), false])
            }
        };
        match waited {
            Ok([rung, readable]) => break (rung, readable),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    if readable {
        port.note_readable();
    }
    if rung {
        // Rings that come after this read wake again.
        let _ = rustix::io::read(bell, &mut [0; 8]);
    }
    Ok(())
}

/// A bell that has been rung too often to count further is as good as rung.
fn ring(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}
