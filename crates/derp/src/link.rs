//! One region we want to be connected to, whether we are at the moment or not.
//!
//! Owns: the state that the pool and the connection's task share, and the life of that task: connect, shake
//! hands, run, back off, again; until it is idle or closed from outside.
//! Leaves out: which links exist (`pool`), the bytes of a running connection (`conn`).

use crate::conn::{self, Conn, End};
use crate::connect;
use crate::frame::{NOTE_PREFERRED, put};
use crate::handshake::Secret;
use crate::outbox::{Outbox, Pushed};
use crate::pool::Shared;
use crate::{Error, Event};
use keys::{NodePrivate, NodePublic};
use netmap::DerpRegion;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Limit on everything up to the relay's key.
const CONNECT: Duration = Duration::from_secs(10);
/// A region that is not home is closed when we have sent nothing for this long.
pub(crate) const IDLE: Duration = Duration::from_secs(60);
/// Longest pause between attempts, before jitter.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// Longest pause that a restarting relay may ask for.
const MAX_RESTART: Duration = Duration::from_secs(30);

pub(crate) struct Link {
    pub(crate) region: DerpRegion,
    key: NodePrivate,
    pub(crate) home: Cell<bool>,
    /// The relay answered our handshake on the connection that is open now.
    pub(crate) connected: Cell<bool>,
    /// Nobody wants this link any more; its task ends at its next step.
    pub(crate) closed: Cell<bool>,
    pub(crate) outbox: RefCell<Outbox>,
    /// Something was put into the outbox.
    pub(crate) filled: Notify,
    /// Packets were queued since `last_send` was set; saves a clock reading a packet.
    pub(crate) sent: Cell<bool>,
    pub(crate) last_send: Cell<Instant>,
    pub(crate) last_frame: Cell<Instant>,
    /// Asked to prove that the connection is alive.
    pub(crate) check: Notify,
    /// Bytes of the ping that is out.
    pub(crate) ping: Cell<Option<[u8; 8]>>,
    /// The relay said when to come back.
    pub(crate) restart_in: Cell<Option<Duration>>,
    pub(crate) task: OnceCell<AbortHandle>,
}

impl Link {
    /// A link whose task has not been started.
    pub(crate) fn new(region: DerpRegion, key: NodePrivate, home: bool) -> Self {
        let now = Instant::now();
        Self {
            region,
            key,
            home: Cell::new(home),
            connected: Cell::new(false),
            closed: Cell::new(false),
            outbox: RefCell::default(),
            filled: Notify::new(),
            sent: Cell::new(false),
            last_send: Cell::new(now),
            last_frame: Cell::new(now),
            check: Notify::new(),
            ping: Cell::new(None),
            restart_in: Cell::new(None),
            task: OnceCell::new(),
        }
    }

    /// Queues a packet and wakes the writer if it may be asleep.
    pub(crate) fn push_packet(&self, dst: &NodePublic, packet: &[u8]) -> Pushed {
        self.sent.set(true);
        let mut outbox = self.outbox.borrow_mut();
        let was_empty = outbox.is_empty();
        let pushed = outbox.push_packet(dst, packet);
        drop(outbox);
        if was_empty {
            self.filled.notify_one();
        }
        pushed
    }

    /// Queues a control frame.
    pub(crate) fn push_control(&self, kind: u8, payload: &[u8]) {
        if self.outbox.borrow_mut().push_control(kind, payload) {
            self.filled.notify_one();
        }
    }

    /// Makes this the home region, or no longer. A region that is home no longer has its idle minute from now.
    pub(crate) fn set_home(&self, home: bool) {
        if self.home.replace(home) != home {
            self.last_send.set(Instant::now());
            if self.connected.get() {
                self.push_control(NOTE_PREFERRED, &[u8::from(home)]);
            }
        }
    }

    /// True if nothing was sent for a minute and nothing keeps it open.
    pub(crate) fn is_idle(&self) -> bool {
        if self.sent.replace(false) {
            self.last_send.set(Instant::now());
        }
        !self.home.get() && self.last_send.get().elapsed() >= IDLE
    }
}

/// The task of `link`.
pub(crate) async fn run(shared: Rc<Shared>, link: Rc<Link>) {
    let mut failures = 0u32;
    let mut told = String::new();
    loop {
        let end = attempt(&shared, &link).await;
        let was_connected = link.connected.replace(false);
        shared.counters.lost.set(shared.counters.lost.get() + u64::from(link.outbox.borrow_mut().clear()));
        if link.closed.get() {
            return;
        }
        let region = link.region.id;
        let error = match end {
            Ok(End::Idle) => String::new(),
            Ok(End::Closed) => return,
            Err(e) => e.to_string(),
        };
        let finished = error.is_empty() || link.is_idle();
        if finished {
            shared.forget(&link);
        }
        // Attempts are many, reasons few; after a connection each is news.
        if !error.is_empty() && (was_connected || told != error) {
            log::info!("derp-{region}: {error}");
            told.clone_from(&error);
        }
        shared.sink.event(Event::Disconnected { region, error, home: link.home.get() });
        if finished || link.closed.get() {
            return;
        }
        failures = if was_connected { 1 } else { failures.saturating_add(1) };
        let pause = match link.restart_in.take() {
            Some(pause) => pause.min(MAX_RESTART),
            None => backoff(failures, shared.rng.borrow_mut().next_u32()),
        };
        tokio::time::sleep(pause).await;
    }
}

/// min(n² · 10 ms, 5 s), times something in [0.5, 1.5).
fn backoff(failures: u32, random: u32) -> Duration {
    let base = Duration::from_millis(10).saturating_mul(failures.saturating_mul(failures)).min(MAX_BACKOFF);
    base.mul_f64(0.5 + f64::from(random) / (f64::from(u32::MAX) + 1.0))
}

/// One connection from the first dial to its end.
async fn attempt(shared: &Rc<Shared>, link: &Rc<Link>) -> Result<End, Error> {
    let opened = tokio::time::timeout(CONNECT, open(shared, link)).await;
    let conn = opened.map_err(|_| Error::ConnectTimeout(link.region.code.to_string()))??;
    conn::run(conn, shared, link).await
}

async fn open(shared: &Rc<Shared>, link: &Rc<Link>) -> Result<Conn, Error> {
    let upgraded = connect::connect(&shared.dialer, &link.region, shared.options.use_http).await?;
    let mut stream = upgraded.stream;
    let mut reader = conn::Reader::new(upgraded.read_ahead);
    let server = conn::server_key(&mut reader, &mut stream).await?;
    let secret = Secret::new(&link.key, &server)?;
    let mut hello = secret.client_info(shared.rng.borrow_mut().as_rngcore())?;
    let told_home = link.home.get();
    if told_home {
        put(&mut hello, NOTE_PREFERRED, &[&[1]]);
    }
    stream.write_all(&hello).await?;
    stream.flush().await?;
    link.last_frame.set(Instant::now());
    link.ping.set(None);
    Ok(Conn { stream, reader, secret, told_home })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_and_is_bounded() {
        let ms = |failures, random| backoff(failures, random).as_millis();
        assert_eq!((ms(1, 0), ms(4, 3 << 30)), (5, 200));
        assert_eq!((ms(2, 0), ms(10, 1 << 31)), (20, 1000));
        assert_eq!((ms(u32::MAX, 0), ms(23, u32::MAX)), (2500, 7499));
    }
}
