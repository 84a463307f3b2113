//! How much of a busy connection must have come before its reader is woken.
//!
//! A relay writes what it forwards in small records, each of which would wake us: a switch between threads, a read, a
//! write into the TUN, an acknowledgement of the tunnelled connection and its way back, for two packets. So while much
//! comes the kernel is asked to wake us for a piece that is worth it (`SO_RCVLOWAT`), or when that takes too long.
//!
//! Owns: when that is, and for how much. Leaves out: reading (`tls`).

use nix::libc;
use nix::sys::socket::setsockopt;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a piece may take. Timers tick in milliseconds, so it may be two.
const MOMENT: Duration = Duration::from_millis(1);
/// A piece at most: three quarters of what a relay's queue for one client holds.
const PIECE: usize = 24 << 10;
/// Bytes in a moment from which on they are gathered: with less there is a wake-up for every few packets anyhow.
const BUSY: usize = 12 << 10;
/// What comes is judged over so long.
const PERIOD: Duration = Duration::from_millis(4);
/// So many complete pieces are worth one that was not complete in time.
const WORTH: u32 = 8;
/// With fewer nothing is gathered for a period, for twice as many the next time, up to this.
const LONGEST_PAUSE: u32 = 1 << 10;

mod option {
    // What the macro names.
    use super::libc;

    /// `SO_RCVLOWAT`: bytes that have to lie in a socket for it to be readable. At its end it always is.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Least;
    nix::setsockopt_impl!(
        Least,
        libc::SOL_SOCKET,
        libc::SO_RCVLOWAT,
        i32,
        nix::sys::socket::sockopt::SetStruct<'_, i32>
    );
}

/// Of one connection.
pub(crate) struct Gather {
    /// When the period began, and what has come in it.
    since: Option<Instant>,
    came: usize,
    /// Periods without gathering that are left, and how many it will be next time.
    pause: u32,
    next_pause: u32,
    /// Pieces that were complete in time since the last that was not.
    complete: u32,
    /// The kernel waits for pieces.
    held: bool,
    /// Something has been read since `end` was set.
    renew: bool,
    /// When the piece has taken too long; made when first needed.
    end: Option<Pin<Box<Sleep>>>,
}

impl Gather {
    pub(crate) const fn new() -> Self {
        let (since, end) = (None, None);
        Self { since, came: 0, pause: 0, next_pause: 1, complete: 0, held: false, renew: false, end }
    }

    /// So many bytes have been read.
    pub(crate) fn read(&mut self, count: usize) {
        self.came = self.came.saturating_add(count);
        self.renew = true;
    }

    /// All there is has been read, and the reader is about to sleep until there is more.
    pub(crate) fn sleep(&mut self, cx: &mut Context<'_>, tcp: &TcpStream) {
        if !self.held {
            self.held = self.piece(Instant::now()).is_some_and(|piece| wake_for(tcp, piece));
            if !self.held {
                return;
            }
            self.renew = true;
        } else if self.renew {
            self.complete = self.complete.saturating_add(1);
        }
        if std::mem::take(&mut self.renew) {
            let at = Instant::now() + MOMENT;
            match &mut self.end {
                Some(end) => end.as_mut().reset(at),
                none => *none = Some(Box::pin(sleep_until(at))),
            }
        }
        if let Some(end) = &mut self.end
            && end.as_mut().poll(cx).is_ready()
        {
            // Where there is anything, this wakes the reader at once.
            wake_for(tcp, 1);
            (self.held, self.since, self.came) = (false, None, 0);
            (self.pause, self.next_pause) = match std::mem::take(&mut self.complete) {
                WORTH.. => (0, 1),
                _ => (self.next_pause, (self.next_pause * 2).min(LONGEST_PAUSE)),
            };
        }
    }

    /// Ends a period that is over; how much to wait for if it was a busy one.
    fn piece(&mut self, now: Instant) -> Option<usize> {
        let took = now.duration_since(*self.since.get_or_insert(now));
        if took < PERIOD {
            return None;
        }
        let moments = usize::try_from(took.as_micros() / MOMENT.as_micros()).unwrap_or(usize::MAX);
        let each = std::mem::take(&mut self.came) / moments.max(1);
        self.since = Some(now);
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        // What three quarters of a moment bring.
        (each >= BUSY).then_some((each - each / 4).min(PIECE))
    }
}

/// Whether the kernel agreed.
fn wake_for(tcp: &TcpStream, bytes: usize) -> bool {
    setsockopt(tcp, option::Least, &(bytes as i32)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    /// Both ends of a connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let to = listener.local_addr().expect("address");
        let (near, far) = tokio::join!(TcpStream::connect(to), listener.accept());
        (near.expect("connect"), far.expect("accept").0)
    }

    /// Bytes that came in a period of this many milliseconds, and what follows.
    fn judge(gather: &mut Gather, now: &mut Instant, bytes: usize, ms: u64) -> Option<usize> {
        assert_eq!(gather.piece(*now), None, "it has only begun");
        gather.read(bytes);
        *now += Duration::from_millis(ms);
        gather.piece(*now)
    }

    #[tokio::test(start_paused = true)]
    async fn only_much_is_gathered() {
        let (mut gather, mut now) = (Gather::new(), Instant::now());
        assert_eq!(judge(&mut gather, &mut now, 4 * BUSY - 1, 4), None);
        assert_eq!(judge(&mut gather, &mut now, 4 * BUSY, 4), Some(BUSY / 4 * 3), "as much as comes");
        assert_eq!(judge(&mut gather, &mut now, 4 * BUSY, 8), None, "slowly");
        assert_eq!(judge(&mut gather, &mut now, 1 << 20, 4), Some(PIECE), "never more");
        assert_eq!(judge(&mut gather, &mut now, 1 << 20, 3), None, "too short to say");
        gather.pause = 1;
        assert_eq!(judge(&mut gather, &mut now, 1 << 20, 4), None, "not now");
        assert_eq!(judge(&mut gather, &mut now, 1 << 20, 4), Some(PIECE));
        assert_eq!(judge(&mut gather, &mut now, usize::MAX, 1 << 40), Some(PIECE), "no overflow");
    }

    /// As a reader does that finds nothing: true while the kernel waits for a piece.
    async fn look(gather: &mut Gather, tcp: &TcpStream) -> bool {
        poll_fn(|cx| {
            gather.sleep(cx, tcp);
            Poll::Ready(gather.held)
        })
        .await
    }

    /// A reader after a busy period.
    async fn held(gather: &mut Gather, tcp: &TcpStream) {
        gather.pause = 0;
        (gather.since, gather.came) = (Instant::now().checked_sub(PERIOD), 1 << 20);
        assert!(look(gather, tcp).await);
    }

    #[tokio::test]
    async fn a_piece_wakes_at_once_and_less_after_a_moment() {
        let (near, mut far) = pair().await;
        let mut gather = Gather::new();
        held(&mut gather, &near).await;
        // The timer is not looked at here, so only a whole piece wakes.
        far.write_all(&[1; 100]).await.expect("write");
        let less = tokio::time::timeout(20 * MOMENT, near.readable()).await;
        assert!(less.is_err(), "that is no piece");
        far.write_all(&[1; PIECE - 100]).await.expect("write");
        near.readable().await.expect("a piece");
        let mut all = vec![0; 1 << 20];
        let mut got = near.try_read(&mut all).expect("read");
        while got < PIECE {
            near.readable().await.expect("the rest");
            got += near.try_read(&mut all).unwrap_or(0);
        }
        gather.read(got);
        assert!(look(&mut gather, &near).await, "and waits for the next");
        assert_eq!(gather.complete, 1);
        far.write_all(&[2; 100]).await.expect("write");
        poll_fn(|cx| {
            gather.sleep(cx, &near);
            if gather.held { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        near.readable().await.expect("less than a piece");
        assert_eq!(near.try_read(&mut all).expect("read"), 100);
        assert_eq!((gather.pause, gather.next_pause), (1, 2));
        held(&mut gather, &near).await;
        drop(far);
        near.readable().await.expect("the end, at once");
        assert_eq!(near.try_read(&mut all).expect("read"), 0);
    }

    #[tokio::test]
    async fn trust_is_lost_by_and_by_and_comes_back() {
        let (near, _far) = pair().await;
        let mut gather = Gather::new();
        for round in 0..12 {
            held(&mut gather, &near).await;
            while look(&mut gather, &near).await {
                tokio::time::sleep(MOMENT).await;
            }
            assert_eq!(gather.pause, (1 << round).min(LONGEST_PAUSE));
        }
        held(&mut gather, &near).await;
        for _ in 0..WORTH {
            gather.read(PIECE);
            assert!(look(&mut gather, &near).await);
        }
        assert_eq!(gather.complete, WORTH);
        while look(&mut gather, &near).await {
            tokio::time::sleep(MOMENT).await;
        }
        assert_eq!((gather.pause, gather.next_pause), (0, 1));
    }
}
