//! What the activities of a control client share.

use crate::backoff::Backoff;
use crate::h2::Client;
use crate::messages::{Activity, Event, Options, SelfReport};
use crate::{Error, MapItem};
use netmap::Map;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

pub(crate) struct Context {
    pub(crate) client: Client,
    events: mpsc::Sender<Event>,
    report: RefCell<Option<Rc<SelfReport>>>,
    wake: Notify,
    /// URL of the last ping of control: the same one is not answered twice.
    pub(crate) last_ping: RefCell<String>,
    /// Pings being answered.
    pub(crate) pings: RefCell<JoinSet<()>>,
    /// Of the map stream. A node that control forgets as soon as it has registered it must not spin, so it
    /// counts on over the logins between.
    pub(crate) map_backoff: RefCell<Backoff>,
    /// The daemon has been told of a map stream and not of its end: whoever drops one cannot tell it.
    pub(crate) stream_told: Cell<bool>,
    /// A map has come since the start.
    pub(crate) had_map: Cell<bool>,
    /// What the daemon has been told of each failing activity. Kept here, because an activity that is stopped
    /// and started again must still be able to say that it works now.
    troubles: RefCell<Map<Activity, Error>>,
}

impl Context {
    pub(crate) fn new(options: Options, events: mpsc::Sender<Event>) -> Result<Self, Error> {
        Ok(Self {
            client: Client::new(options)?,
            events,
            report: RefCell::new(None),
            wake: Notify::new(),
            last_ping: RefCell::new(String::new()),
            pings: RefCell::default(),
            map_backoff: RefCell::default(),
            stream_told: Cell::new(false),
            had_map: Cell::new(false),
            troubles: RefCell::default(),
        })
    }

    /// What we last said to be; `None` before the first report.
    pub(crate) fn report(&self) -> Option<Rc<SelfReport>> {
        self.report.borrow().clone()
    }

    /// Takes a report; true if it differs from the last.
    pub(crate) fn set_report(&self, report: Box<SelfReport>) -> bool {
        let mut current = self.report.borrow_mut();
        let changed = current.as_deref() != Some(&*report);
        if changed {
            *current = Some(Rc::new(*report));
        }
        changed
    }

    /// Whether nothing else has been reported since [`Self::report`] gave `report`.
    pub(crate) fn is_latest(&self, report: Option<&Rc<SelfReport>>) -> bool {
        let current = self.report.borrow();
        current.as_ref().zip(report).is_some_and(|(current, report)| Rc::ptr_eq(current, report))
    }

    /// Hands an event to the daemon, waiting for room. Once the daemon is gone it waits for good: `run` ends.
    pub(crate) async fn emit(&self, event: Event) {
        if self.events.send(event).await.is_err() {
            std::future::pending().await
        }
    }

    pub(crate) async fn emit_item(&self, item: MapItem) {
        self.emit(Event::MapItem(item)).await;
    }

    /// Resolves when the daemon has gone.
    pub(crate) async fn daemon_gone(&self) {
        self.events.closed().await;
    }

    /// Cuts every wait short.
    pub(crate) fn wake(&self) {
        self.wake.notify_waiters();
    }

    /// Waits after control said no, or what it said makes no sense.
    pub(crate) async fn back_off(&self, backoff: &mut Backoff) {
        let wait = self.client.with_rng(|rng| backoff.next(false, rng.as_rngcore()));
        self.wait(wait).await;
    }

    /// Waits after control could not be asked: not for long while the node has nothing to work with.
    pub(crate) async fn back_off_unreached(&self, backoff: &mut Backoff, error: &Error) {
        let eager = self.is_eager(error);
        let wait = self.client.with_rng(|rng| backoff.next(eager, rng.as_rngcore()));
        self.wait(wait).await;
    }

    /// Whether this failure may be over any moment, and everything waits for that.
    fn is_eager(&self, error: &Error) -> bool {
        let refused = matches!(error, Error::NodeUnknown | Error::Status { status: 400..=499, .. });
        !self.had_map.get() && !refused
    }

    /// Waits after a failure of the map stream.
    pub(crate) async fn back_off_map(&self, error: &Error) {
        let eager = self.is_eager(error);
        let wait = self.client.with_rng(|rng| self.map_backoff.borrow_mut().next(eager, rng.as_rngcore()));
        self.wait(wait).await;
    }

    /// Resolves at the next [`Self::wake`].
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Waits, unless woken.
    pub(crate) async fn wait(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.woken() => {}
        }
    }

    /// An activity failed. Told only when the reason is another than the last.
    pub(crate) async fn failed(&self, activity: Activity, error: Error) {
        if self.troubles.borrow_mut().insert(activity, error.clone()).as_ref() != Some(&error) {
            log::info!("control: {error}");
            self.emit(Event::Trouble { activity, error: Some(error) }).await;
        }
    }

    /// An activity works.
    pub(crate) async fn works(&self, activity: Activity) {
        let over = self.troubles.borrow_mut().remove(&activity).is_some();
        if over {
            self.emit(Event::Trouble { activity, error: None }).await;
        }
    }

    /// Ends everything that runs beside [`crate::run`].
    pub(crate) fn close(&self) {
        self.pings.borrow_mut().abort_all();
        self.client.hang_up();
    }
}
