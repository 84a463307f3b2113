//! The thread that drives both packet lines.
//!
//! It sleeps on an eventfd, works until neither line has anything left, and wakes the control thread by a byte in a
//! pipe when a line has something for it. TUN and UDP sockets join the same wait when they come.

use crate::clock::Clock;
use engine::lines::{RxLine, TxLine};
use rustix::event::{EventfdFlags, eventfd};
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
    handle: Option<std::thread::JoinHandle<()>>,
}

impl PacketThread {
    /// Starts the thread.
    pub(super) fn start(mut tx: TxLine, mut rx: RxLine, clock: Arc<Clock>) -> io::Result<Self> {
        let to_lines = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (bell, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (wake, stopped) = (to_lines.clone(), stop.clone());
        let run = move || {
            while !stopped.load(Ordering::Acquire) {
                if sleep(&wake).is_err() {
                    return;
                }
                drive(&mut tx, &mut rx, &clock, &tell);
            }
        };
        let handle = std::thread::Builder::new().name("packets".to_owned()).stack_size(STACK).spawn(run)?;
        let to_control = RefCell::new(pipe::Receiver::from_owned_fd(bell)?);
        Ok(Self { to_lines, to_control, stop, handle: Some(handle) })
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
fn drive(tx: &mut TxLine, rx: &mut RxLine, clock: &Clock, told: &OwnedFd) {
    loop {
        let now = clock.mono().tick();
        let (received, sent) = (rx.turn(now, BUDGET), tx.turn(now, BUDGET));
        if received.wake_control || sent.wake_control {
            // A pipe that is full of bells needs no other.
            let _ = rustix::io::write(told, &[1]);
        }
        if !received.did_work() && !sent.did_work() {
            return;
        }
    }
}

/// Takes all rings of the bell, waiting for the first if the descriptor blocks.
fn sleep(bell: &OwnedFd) -> io::Result<()> {
    let mut count = [0; 8];
    loop {
        match rustix::io::read(bell, &mut count) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A bell that has been rung too often to count further is as good as rung.
fn ring(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}
