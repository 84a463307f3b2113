//! Answers queries by the configuration in force, forwards the others, and keeps the machine's resolver told.
//!
//! Owns: the handle, which asker is answered what. Leaves out: what a configuration means and how is raced (crate `dns`),
//! what it follows from (`facts`), resolv.conf (`machine`), the LAN (`listener`), the LocalAPI (`endpoints`), what people are
//! told (`trouble`).

use super::facts::{self, Wanted};
use super::http::Client;
use super::listener;
use super::machine::Machine;
use super::sockets::Sockets;
use super::trouble::Trouble;
use super::{Asker, Finding, Setup};
use crate::backend::{Backend, Input, Moment, Reply};
use crate::clock::Clock;
use dns::config::{OsConfig, Resolver, Step, Whom, plan};
use dns::forward::{Asked, Forwarder};
use dns::message::{self, Code, Query};
pub use dns::shown::{question, records};
use dns::{Answer, Config, Transport, Upstream, local, wanted};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

#[path = "endpoints.rs"]
mod endpoints;
pub use endpoints::{os_config, query};

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("dns");

/// Queries of a LAN and of clients of an exit node that are forwarded at the same time: half of all that are, so that this
/// machine's own names are found whatever others ask for.
const MOST_OF_OTHERS: u32 = 128;

/// The handle; all of them are one. For the control thread.
#[derive(Clone)]
pub struct Dns(Rc<Inner>);

struct Inner {
    clock: Arc<Clock>,
    inputs: mpsc::Sender<Input>,
    resolver: RefCell<Resolver>,
    /// Whom it asks, also while it is being made anew.
    whom: RefCell<Whom>,
    forwarder: RefCell<Rc<Forwarder<Sockets>>>,
    /// Queries of others than this machine that are forwarded now.
    others: Cell<u32>,
    sockets: Sockets,
    /// TCP to upstreams is allowed.
    tcp: Cell<bool>,
    /// Names that exit-node clients are not answered, as control writes them.
    excepted: RefCell<Box<[Box<str>]>>,
    machine: RefCell<Machine>,
    /// There may be something to look after now.
    watched: Notify,
    /// Why queries cannot be forwarded, as the backend knows it.
    trouble: Cell<Option<Trouble>>,
    /// Why the machine could not be told, as the backend knows it.
    problem: RefCell<Option<String>>,
}

impl Dns {
    /// Answers nothing but that nobody is known, until [`Self::apply`]. Brings back what a killed run has left changed.
    pub fn start(setup: Setup) -> Self {
        let Setup { clock, inputs, interface, quad100, dialer, listen } = setup;
        let sockets = Sockets::new(Client::new(dialer));
        let dns = Self(Rc::new(Inner {
            clock,
            inputs,
            resolver: RefCell::default(),
            whom: RefCell::default(),
            forwarder: RefCell::new(Rc::new(Forwarder::new(sockets.clone(), true))),
            others: Cell::new(0),
            sockets,
            tcp: Cell::new(true),
            excepted: RefCell::default(),
            machine: RefCell::new(Machine::new(interface, quad100)),
            watched: Notify::new(),
            trouble: Cell::new(None),
            problem: RefCell::default(),
        }));
        dns.0.compile(Config::default());
        if interface {
            dial::spawn(watch(Rc::clone(&dns.0)));
        }
        if let Some(listen) = listen {
            dial::spawn(listener::serve(listen, dns.clone()));
        }
        dns
    }

    /// Gives a query to be answered, at once or within ten seconds; `reply` is dropped when nothing goes back: it was
    /// no query, or there are too many. `stream`: it came by one, so that the answer may be of any size.
    pub fn ask(&self, query: Vec<u8>, stream: bool, asker: Asker, reply: Reply<Vec<u8>>) {
        let transport = if stream { Transport::Tcp } else { Transport::Udp };
        let inner = &self.0;
        let (steps, whom) = {
            let resolver = inner.resolver.borrow();
            match inner.answer(&resolver, &query, transport, asker) {
                Verdict::Reply(bytes) => return reply.send(bytes),
                Verdict::Silence => return,
                Verdict::Ask(steps) => (steps, resolver.whom()),
            }
        };
        let forwarder = Rc::clone(&inner.forwarder.borrow());
        if forwarder.is_full() {
            return;
        }
        let Some(turn) = Turn::take(inner, asker) else { return };
        let inner = Rc::clone(inner);
        dial::spawn(async move {
            let _turn = turn;
            if let Some(forwarded) = forwarder.forward(Asked { query, transport, steps }).await {
                inner.heard(asker, &whom, !forwarded.unreachable);
                reply.send(forwarded.reply);
            }
        });
    }

    /// Follows the backend; does nothing when nothing has changed for DNS.
    pub fn apply(&self, backend: &Backend, now: Moment) {
        let Wanted { config, tcp, excepted } = facts::wanted(backend, now);
        let inner = &self.0;
        if inner.tcp.replace(tcp) != tcp {
            *inner.forwarder.borrow_mut() = Rc::new(Forwarder::new(inner.sockets.clone(), tcp));
        }
        *inner.excepted.borrow_mut() = excepted;
        if *inner.resolver.borrow().config() == config {
            return;
        }
        inner.compile(config);
    }

    /// Gives the machine its own resolver back.
    pub fn close(&self) {
        if let Err(error) = self.0.machine.borrow_mut().restore() {
            log::error!("{error}");
        }
    }
}

/// What becomes of a query.
enum Verdict {
    Reply(Vec<u8>),
    Ask(Rc<[Step]>),
    Silence,
}

/// That a query is forwarded.
struct Turn(Rc<Inner>, Asker);

impl Turn {
    /// `None`: others than this machine have too many.
    fn take(inner: &Rc<Inner>, asker: Asker) -> Option<Self> {
        if asker != Asker::Machine {
            let others = inner.others.get();
            if others >= MOST_OF_OTHERS {
                return None;
            }
            inner.others.set(others + 1);
        }
        Some(Self(Rc::clone(inner), asker))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.1 != Asker::Machine {
            self.0.others.set(self.0.others.get().saturating_sub(1));
        }
    }
}

impl Inner {
    fn answer(&self, resolver: &Resolver, query: &[u8], transport: Transport, asker: Asker) -> Verdict {
        let answer = match asker {
            Asker::Machine => resolver.answer(query, transport, self.seconds()),
            Asker::Lan => resolver.answer_covered(query, transport, self.seconds()),
            Asker::ExitClient => return self.answer_exit_client(resolver, query),
        };
        match answer {
            Answer::Reply(bytes) => {
                // The only failure of our own.
                let failed = message::code(&bytes) == Code::ServFail as u8;
                if failed && resolver.steps(b"").is_none() && self.machine.borrow().asks_us() {
                    self.tell_trouble(Some(Trouble::Nobody));
                }
                Verdict::Reply(bytes)
            }
            Answer::Ask(steps) => Verdict::Ask(Rc::clone(steps)),
            Answer::Silence => Verdict::Silence,
        }
    }

    /// What becomes of a query of an exit-node client. Names of our tailnet are none of theirs: what they ask goes to whom
    /// this machine asks.
    fn answer_exit_client(&self, resolver: &Resolver, query: &[u8]) -> Verdict {
        // Go's clients are told by HTTP.
        let Ok(query) = Query::parse(query) else { return Verdict::Silence };
        if let Some(reply) = local::no_query(&query) {
            return Verdict::Reply(reply);
        }
        if wanted::is_filtered(&self.excepted.borrow(), query.name.bytes()) {
            return Verdict::Reply(local::failure(&query, Code::Refused));
        }
        if let Some(reply) = local::browsing(&query) {
            return Verdict::Reply(reply);
        }
        let steps = match self.machine.borrow().own_server() {
            Some(server) => Some(plan(&[Upstream::Plain(server.at())])),
            None => resolver.steps(query.name.bytes()).cloned(),
        };
        match steps.filter(|steps| !steps.is_empty()) {
            Some(steps) => Verdict::Ask(steps),
            None => Verdict::Reply(local::failure(&query, Code::ServFail)),
        }
    }

    /// The wall clock in seconds, as far as a serial number has room.
    fn seconds(&self) -> u32 {
        (self.clock.timestamp().unix_nanos() / 1_000_000_000) as u32
    }

    /// Puts a configuration in force, over what the machine has now, and tells the machine.
    fn compile(&self, config: Config) {
        let mut machine = self.machine.borrow_mut();
        let (base, unread) = match machine.follow_base() {
            Ok(base) => (base, None),
            Err(error) => (OsConfig::default(), Some(error)),
        };
        let (resolver, os) = config.compile(&base);
        let others = self.whom.replace(resolver.whom()) != resolver.whom();
        let over = match self.trouble.get() {
            Some(Trouble::Nobody) => os.is_empty() || resolver.steps(b"").is_some(),
            // That of others than are asked from now on.
            Some(Trouble::Silence) => others,
            None => false,
        };
        if over {
            self.tell_trouble(None);
        }
        *self.resolver.borrow_mut() = resolver;
        if unread.is_some() {
            machine.try_again();
        }
        let problem = unread.or_else(|| machine.set(os).err());
        drop(machine);
        self.watched.notify_one();
        self.tell_problem(problem.map(|error| error.to_string()));
    }

    /// Looks whether somebody else has written the machine's file.
    fn look(&self) -> Option<std::time::Duration> {
        let now = self.clock.mono().since(engine::time::Mono::ZERO);
        let looked = self.machine.borrow_mut().look(now);
        match looked {
            Ok(false) => self.tell_problem(None),
            Ok(true) => {
                let resolver = std::mem::take(&mut *self.resolver.borrow_mut());
                self.compile(resolver.into_config());
            }
            Err(problem) => self.tell_problem(Some(problem)),
        }
        self.machine.borrow().pause()
    }

    fn tell_problem(&self, problem: Option<String>) {
        if *self.problem.borrow() != problem {
            self.problem.borrow_mut().clone_from(&problem);
            if let Some(problem) = &problem {
                log::warn!("{problem}");
            }
            self.tell(Finding::Machine(problem));
        }
    }

    /// Whether a query that was forwarded has been answered; `whom` says who were asked at its time.
    fn heard(&self, asker: Asker, whom: &Whom, answered: bool) {
        // Clients of an exit node ask whom this machine asks: not servers that we were told to use.
        if asker == Asker::ExitClient || *self.whom.borrow() != *whom {
            return;
        }
        // A zone's own resolver says nothing of names outside the tailnet.
        if self.trouble.get() != Some(Trouble::Nobody) {
            self.tell_trouble((!answered).then_some(Trouble::Silence));
        }
    }

    fn tell_trouble(&self, trouble: Option<Trouble>) {
        if self.trouble.replace(trouble) != trouble {
            self.tell(Finding::Forwarding(trouble.map(|trouble| trouble.text().to_owned())));
        }
    }

    fn tell(&self, finding: Finding) {
        let inputs = self.inputs.clone();
        dial::spawn(async move { drop(inputs.send(Input::Dns(finding)).await) });
    }
}

/// Looks after the machine's file for as long as the process lives.
async fn watch(inner: Rc<Inner>) {
    loop {
        match inner.look() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => inner.watched.notified().await,
        }
    }
}

/// Brings back what a former run has left changed (`--cleanup`).
///
/// # Errors
/// What could not be written.
pub fn cleanup() -> Result<(), String> {
    Machine::new(true, false).restore().map_err(|error| error.to_string())
}

#[cfg(test)]
#[path = "enabled_tests.rs"]
pub(super) mod tests;
