//! Moves the bytes of a [`Session`].

use super::session::Session;
use crate::error::chain;
use dial::BoxStream;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read at once: a Noise record.
const READ: usize = 4096;
/// After so many reads other tasks get their turn.
const READS_A_TURN: u32 = 32;
/// What of the output buffer is kept when it is empty, in bytes.
const KEPT: usize = 1024;

/// The connection as a task; dropping it ends the session.
pub(super) struct Driver {
    session: Rc<RefCell<Session>>,
    io: BoxStream,
    /// Bytes of the session's output that have been written.
    written: usize,
    /// Something of it may wait in the stream below.
    unflushed: bool,
}

impl Driver {
    pub(super) fn new(session: Rc<RefCell<Session>>, io: BoxStream) -> Self {
        Self { session, io, written: 0, unflushed: false }
    }

    /// Writes what there is; ready when all of it is on its way.
    fn poll_out(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, written, unflushed, .. } = self;
        loop {
            session.pump();
            while let Some(rest) = session.out.get(*written..).filter(|rest| !rest.is_empty()) {
                match Pin::new(&mut *io).poll_write(cx, rest)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(n) => *written += n,
                    Poll::Pending => return Poll::Pending,
                }
                *unflushed = true;
            }
            if session.out.is_empty() {
                break;
            }
            session.out.clear();
            session.out.shrink_to(KEPT);
            *written = 0;
        }
        if *unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            *unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn turn(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        session.waker = Some(cx.waker().clone());
        for _ in 0..READS_A_TURN {
            let out = self.poll_out(session, cx)?;
            if session.is_over() {
                return out.map(Ok);
            }
            let mut space = [const { MaybeUninit::<u8>::uninit() }; READ];
            let mut space = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.io).poll_read(cx, &mut space)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if space.filled().is_empty() => {
                    return Poll::Ready(Err(io::Error::other("control closed the connection")));
                }
                Poll::Ready(()) => session.take(space.filled()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = self.get_mut();
        let shared = me.session.clone();
        let mut session = shared.borrow_mut();
        let ended = ready!(me.turn(&mut session, cx));
        let why = match ended {
            Ok(()) => "the connection is at its end".to_owned(),
            Err(e) => chain(&e),
        };
        log::debug!("control: connection ended: {}", session.dead.as_ref().unwrap_or(&why));
        session.die(why);
        Poll::Ready(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Ok(mut session) = self.session.try_borrow_mut() {
            session.die("the connection was given up".to_owned());
        }
    }
}
