//! How a packet thread is woken: an eventfd that it polls beside what it reads.
//!
//! A bell costs its ringer and its hearer a system call each, and often a switch between threads. So nobody rings for
//! a thread that is awake: before it sleeps it looks at everything once more.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Wakes a thread.
pub(super) struct Bell {
    fd: OwnedFd,
    /// Its thread will look at everything before it sleeps.
    awake: AtomicBool,
}

impl Bell {
    /// Of a thread that is awake.
    pub(super) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd, awake: true.into() })
    }

    /// Has the thread see what it was given before this call.
    pub(super) fn ring(&self) {
        // Either the thread's last look comes behind the gift, or this sees that it was the last.
        fence(Ordering::SeqCst);
        if !self.awake.swap(true, Ordering::SeqCst) {
            let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
        }
    }

    /// From here on the thread is rung for; it looks once more, then sleeps.
    pub(super) fn expect_rings(&self) {
        self.awake.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The thread will look at everything again.
    pub(super) fn be_awake(&self) {
        self.awake.store(true, Ordering::SeqCst);
    }

    /// Takes all rings; later ones wake again.
    pub(super) fn silence(&self) {
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::sync::atomic::AtomicU32;

    /// How often a bell has rung; it is silent then.
    fn rings(bell: &Bell) -> u64 {
        let mut count = [0; 8];
        rustix::io::read(&bell.fd, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }

    /// Threads that give to each other and sleep, as often as they can: a lost ring would stop both for good.
    #[test]
    fn no_ring_is_lost() {
        const ROUNDS: u32 = 20_000;
        let (bells, gifts) =
            ([Bell::new().expect("bell"), Bell::new().expect("bell")], [0, 0].map(AtomicU32::new));
        let side = |mine: usize| {
            let (ours, theirs) = (&bells[mine], &bells[1 - mine]);
            let mut seen = 0;
            let mut look = || {
                let given = gifts[mine].load(Ordering::Acquire);
                if given == seen {
                    return false;
                }
                seen = given;
                if seen < ROUNDS {
                    gifts[1 - mine].store(seen + 1, Ordering::Release);
                    theirs.ring();
                }
                true
            };
            let ended = || gifts[mine].load(Ordering::Acquire) + 1 >= ROUNDS;
            while !ended() {
                while look() {}
                ours.expect_rings();
                if !look() && !ended() {
                    poll(&mut [PollFd::new(ours, PollFlags::IN)], None).expect("poll");
                    ours.silence();
                }
                ours.be_awake();
            }
            look();
        };
        gifts[0].store(1, Ordering::Release);
        std::thread::scope(|scope| {
            scope.spawn(|| side(0));
            scope.spawn(|| side(1));
        });
        assert!(gifts.iter().any(|gift| gift.load(Ordering::Acquire) == ROUNDS));
    }

    #[test]
    fn only_who_sleeps_is_rung_for() {
        let bell = Bell::new().expect("bell");
        bell.ring();
        assert_eq!(rings(&bell), 0, "its thread is awake");
        bell.expect_rings();
        bell.ring();
        bell.ring();
        assert_eq!(rings(&bell), 1, "once is enough");
        bell.be_awake();
        bell.ring();
        assert_eq!(rings(&bell), 0);
    }
}
