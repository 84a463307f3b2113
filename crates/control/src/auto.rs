//! The routine: which activity runs when.
//!
//! Four activities exist at most once each: a login (or logout), the map stream, an update about ourselves, and a
//! change of our key's expiry. Each is a future held here; to stop one is to drop it. They talk to the daemon
//! themselves, so this loop never waits for room in the event channel and always hears commands.

use crate::ahead::Ahead;
use crate::context::Context;
use crate::map::{self, Outcome};
use crate::messages::{Command, Event, LoggedIn, Login, Options, Persisted};
use crate::{Error, register, update};
use dial::LocalFuture;
use keys::NodePrivate;
use netmap::Timestamp;
use std::rc::Rc;
use tokio::sync::{mpsc, oneshot};

/// Runs a control client until the daemon drops its end of `commands` or of `events`.
///
/// Must run inside a `tokio::task::LocalSet` of a current-thread runtime with time enabled. It does nothing
/// until told to log in. Dropping it closes everything.
///
/// # Errors
/// [`Error::ServerUrl`], at once. Everything later is told by events and retried.
pub async fn run(
    options: Options,
    persisted: Persisted,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
) -> Result<(), Error> {
    let context = Rc::new(Context::new(options, events)?);
    let _closing = Closing(context.clone());
    let mut routine = Routine {
        context: context.clone(),
        keys: persisted,
        logged_in: false,
        paused: false,
        wanted_login: None,
        auth: None,
        logging_out: false,
        map: None,
        update: None,
        update_wanted: false,
        expiring: None,
    };
    loop {
        routine.start_what_is_due();
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(command) => routine.command(command),
                None => return Ok(()),
            },
            () = context.daemon_gone() => return Ok(()),
            done = running(&mut routine.auth) => routine.auth_done(done),
            done = running(&mut routine.map) => routine.map_done(&done),
            known = running(&mut routine.update) => routine.update_done(known),
            () = running(&mut routine.expiring) => routine.expiring = None,
        }
    }
}

/// Ends what runs beside the routine, however that ends.
struct Closing(Rc<Context>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What a login or logout came to.
enum AuthDone {
    LoggedIn(Box<LoggedIn>, Option<Ahead>),
    Failed,
    LoggedOut(Result<(), Error>, oneshot::Sender<Result<(), Error>>),
}

type Activity<T> = Option<LocalFuture<'static, T>>;

/// Drives an activity; waits for good while there is none.
async fn running<T>(activity: &mut Activity<T>) -> T {
    match activity {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

struct Routine {
    context: Rc<Context>,
    keys: Persisted,
    logged_in: bool,
    paused: bool,
    /// A login that waits for a report or for the end of a logout.
    wanted_login: Option<Login>,
    auth: Activity<AuthDone>,
    logging_out: bool,
    map: Activity<Outcome>,
    /// Gives false if control does not know this node.
    update: Activity<bool>,
    /// Control has not heard the latest report, or the connection is in doubt.
    update_wanted: bool,
    /// Our key is to expire earlier.
    expiring: Activity<()>,
}

impl Routine {
    fn command(&mut self, command: Command) {
        match command {
            Command::Login(login) => {
                if !self.logging_out {
                    self.auth = None;
                }
                self.wanted_login = Some(login);
                self.context.wake();
            }
            Command::Report(report) => self.update_wanted |= self.context.set_report(report),
            Command::Pause(paused) => {
                if self.paused && !paused {
                    self.update_wanted = true;
                    self.context.wake();
                }
                self.paused = paused;
                if paused {
                    self.stop_following();
                    if self.auth.is_none() {
                        self.context.client.hang_up();
                    }
                }
            }
            Command::Logout { reply } => self.log_out(reply),
            Command::ExpireSooner { at, reply } => self.expire_sooner(at, reply),
            Command::Wake => {
                self.context.wake();
                // An update that does not get through in time unmasks a dead connection.
                self.update_wanted |= self.map.is_some();
            }
        }
    }

    fn expire_sooner(&mut self, at: Timestamp, reply: oneshot::Sender<Result<(), Error>>) {
        let refusal = match &self.expiring {
            _ if self.keys.node_key.is_zero() => "this node is not logged in",
            Some(_) => "another change of the key's expiry is under way",
            None => {
                let context = self.context.clone();
                let expire = register::expire(context, self.keys.clone(), at, "changing the key's expiry");
                self.expiring = Some(Box::pin(async move { drop(reply.send(expire.await)) }));
                return;
            }
        };
        // The daemon may have stopped waiting: nothing to tell then.
        let _ = reply.send(Err(Error::Refused(refusal.to_owned())));
    }

    fn log_out(&mut self, reply: oneshot::Sender<Result<(), Error>>) {
        self.stop_following();
        self.wanted_login = None;
        self.logged_in = false;
        if self.keys.node_key.is_zero() {
            self.auth = None;
            // The daemon may have stopped waiting: nothing to tell then.
            let _ = reply.send(Ok(()));
            return;
        }
        let logout = register::logout(self.context.clone(), self.keys.clone());
        self.logging_out = true;
        self.auth = Some(Box::pin(async move { AuthDone::LoggedOut(logout.await, reply) }));
    }

    fn stop_following(&mut self) {
        self.map = None;
        self.update = None;
    }

    fn start_what_is_due(&mut self) {
        if self.context.report().is_none() {
            return;
        }
        if self.auth.is_none()
            && let Some(login) = self.wanted_login.take()
        {
            let login = register::login(self.context.clone(), self.keys.clone(), login);
            self.auth = Some(Box::pin(async move {
                match login.await {
                    Some((done, ahead)) => AuthDone::LoggedIn(done, ahead),
                    None => AuthDone::Failed,
                }
            }));
        }
        if !self.logged_in || self.paused {
            return;
        }
        let node_key = self.keys.node_key.public();
        if self.update.is_none() && self.update_wanted {
            self.update_wanted = false;
            self.update = Some(Box::pin(update::send(self.context.clone(), node_key)));
        }
        if self.map.is_none() {
            self.map = Some(Box::pin(map::follow(self.context.clone(), node_key, None)));
        }
    }

    fn auth_done(&mut self, done: AuthDone) {
        self.auth = None;
        self.logging_out = false;
        match done {
            AuthDone::LoggedIn(login, ahead) => {
                if self.keys.node_key != login.node_key {
                    self.stop_following();
                }
                self.keys.node_key = login.node_key.clone();
                self.keys.old_node_key = NodePrivate::zero();
                self.logged_in = true;
                match ahead.filter(|_| !self.paused) {
                    Some(Ahead { stream, update, told }) => {
                        let follow = map::follow(self.context.clone(), login.node_key.public(), Some(stream));
                        self.map = Some(Box::pin(follow));
                        self.update = Some(update);
                        self.update_wanted = !self.context.is_latest(told.as_ref());
                    }
                    None => self.update_wanted = true,
                }
            }
            AuthDone::Failed => {}
            AuthDone::LoggedOut(result, reply) => {
                if result.is_ok() {
                    self.keys.node_key = NodePrivate::zero();
                    self.keys.old_node_key = NodePrivate::zero();
                }
                self.context.client.hang_up();
                let _ = reply.send(result);
            }
        }
    }

    fn update_done(&mut self, known: bool) {
        self.update = None;
        if !known {
            // A stream opened before the node was deleted stays open but dead; a new one hears of it.
            self.map = None;
        }
    }

    fn map_done(&mut self, outcome: &Outcome) {
        let Outcome::NodeUnknown = outcome;
        self.stop_following();
        self.logged_in = false;
        if self.auth.is_none() && self.wanted_login.is_none() {
            self.wanted_login = Some(Login::default());
        }
    }
}
