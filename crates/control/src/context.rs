//! What the activities of a control client share.

use crate::backoff::Backoff;
use crate::h2::Client;
use crate::messages::{Activity, Event, Options, SelfReport};
use crate::{Error, MapItem};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

pub(crate) struct Context {
    pub(crate) client: Client,
    events: mpsc::Sender<Event>,
    report: RefCell<Option<Rc<SelfReport>>>,
    wake: Notify,
    /// URL of the last ping of control: the same one is not answered twice.
    pub(crate) last_ping: RefCell<String>,
    /// Pings being answered.
    pub(crate) pings: Cell<u8>,
}

impl Context {
    pub(crate) fn new(options: Options, events: mpsc::Sender<Event>) -> Result<Self, Error> {
        Ok(Self {
            client: Client::new(options)?,
            events,
            report: RefCell::new(None),
            wake: Notify::new(),
            last_ping: RefCell::new(String::new()),
            pings: Cell::new(0),
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

    /// Waits after a failure.
    pub(crate) async fn back_off(&self, backoff: &mut Backoff) {
        let wait = self.client.with_rng(|rng| backoff.next(rng.as_rngcore()));
        self.wait(wait).await;
    }

    /// Waits, unless woken.
    pub(crate) async fn wait(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.wake.notified() => {}
        }
    }
}

/// Tells the daemon of an activity's failures and of their end, each once.
pub(crate) struct Trouble {
    activity: Activity,
    told: Option<Error>,
}

impl Trouble {
    pub(crate) fn new(activity: Activity) -> Self {
        Self { activity, told: None }
    }

    /// The activity failed. Told again only when the reason changes.
    pub(crate) async fn failed(&mut self, context: &Context, error: Error) {
        if self.told.as_ref() != Some(&error) {
            log::info!("control: {error}");
            self.told = Some(error.clone());
            context.emit(Event::Trouble { activity: self.activity, error: Some(error) }).await;
        }
    }

    /// The activity works.
    pub(crate) async fn over(&mut self, context: &Context) {
        if self.told.take().is_some() {
            context.emit(Event::Trouble { activity: self.activity, error: None }).await;
        }
    }
}
