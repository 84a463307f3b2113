//! Waiting for the daemon, Ctrl-C and time.
//!
//! Commands are plain functions that do one thing after the other. What has to be waited for goes through here, so that
//! there is one event loop in the binary, not one for every command.

use std::pin::{Pin, pin};
use std::time::Duration;

use localapi::client::Exchange;
use localapi::{Bytes, Error};
use tokio::runtime::{EnterGuard, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::args::GoDuration;

/// Drives one piece of work at a time.
pub(crate) struct Waiter(Runtime);

/// Why work was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Ctrl-C was pressed, or somebody ends the process.
    Interrupted,
    /// Time was up.
    Late,
}

/// What ends work early. While one with signals exists they end nothing else.
#[derive(Default)]
pub(crate) struct Limit {
    deadline: Option<Instant>,
    signals: [Option<Signal>; 2],
}

impl Limit {
    /// Time from now on; none for "no limit".
    pub(crate) fn after(span: GoDuration) -> Self {
        Self { deadline: span.limit().and_then(|span| Instant::now().checked_add(span)), ..Self::default() }
    }

    /// No longer than `span` from now on.
    pub(crate) fn shorten(&mut self, span: Duration) {
        let soon = Instant::now().checked_add(span);
        self.deadline = [self.deadline, soon].into_iter().flatten().min();
    }

    async fn late(deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    async fn caught(signal: &mut Option<Signal>) {
        match signal {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

impl Waiter {
    /// # Errors
    /// When the system has no epoll or no more descriptors.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self(tokio::runtime::Builder::new_current_thread().enable_all().build()?))
    }

    /// For opening sockets outside of what is waited for.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.0.enter()
    }

    /// The same limit, and Ctrl-C and SIGTERM with it.
    pub(crate) fn interruptible(&self, limit: Limit) -> Limit {
        let _inside = self.enter();
        let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok());
        Limit { signals, ..limit }
    }

    /// What comes of a request.
    pub(crate) fn body(&self, exchange: &Exchange<'_>) -> Result<Bytes, Error> {
        self.wait(exchange.send())
    }

    /// What the daemon sends.
    pub(crate) fn wait<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let nothing = || Error::Connection { path: String::new(), cause: "given up".to_owned() };
        self.within(&mut Limit::default(), call).unwrap_or_else(|_| Err(nothing()))
    }

    /// What comes of `work`, unless `limit` ends it.
    pub(crate) fn within<T>(&self, limit: &mut Limit, work: impl Future<Output = T>) -> Result<T, Cut> {
        let mut done = None;
        let cut = self.drive(limit, pin!(async { done = Some(work.await) }));
        done.ok_or(cut)
    }

    /// Passes the time, with what ended it.
    pub(crate) fn pause(&self, span: GoDuration, limit: &mut Limit) -> Cut {
        limit.deadline = Limit::after(span).deadline;
        let cut = self.drive(limit, pin!(std::future::pending()));
        limit.deadline = None;
        cut
    }

    /// The loop. Gives why it ended early, if it did.
    fn drive(&self, limit: &mut Limit, work: Pin<&mut dyn Future<Output = ()>>) -> Cut {
        let [interrupt, terminate] = &mut limit.signals;
        self.0.block_on(async {
            tokio::select! {
                biased;
                () = work => Cut::Late,
                () = Limit::caught(interrupt) => Cut::Interrupted,
                () = Limit::caught(terminate) => Cut::Interrupted,
                () = Limit::late(limit.deadline) => Cut::Late,
            }
        })
    }
}
