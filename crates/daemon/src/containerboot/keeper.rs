//! Who runs, who is started anew, and when all ends. Pure: what happened and a moment in, actions out.
//!
//! Two children at most: the daemon, which is to run always, and an errand beside it, `tailscale up` or `set`, which
//! carries the environment's settings to it. The daemon tells its states; an errand is run when one calls for it.
//! Nothing but a signal ends the whole: a router boots before its WAN, and nobody may be there to start it again.

use engine::time::Mono;
use localapi::types::State;
use std::fmt;
use std::time::Duration;

/// Pause before a daemon that has ended is started anew; doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A daemon that has run for so long had no trouble starting.
const SETTLED: Duration = Duration::from_secs(60);

/// The same for a login that failed. Control counts them.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// A node that lost its login while it ran is logged in again after this: perhaps somebody is just doing so by hand.
const RELOGIN: Duration = Duration::from_secs(5);

/// A login that somebody began by hand is left alone for so long, unless the node runs before: visiting a URL takes a
/// person minutes, and one that was forgotten must not keep a node from its key.
const BY_HAND: Duration = Duration::from_secs(600);

/// How long all may take to end by themselves; what is left then is killed. Three seconds in all.
const GRACE: Duration = Duration::from_millis(2500);

/// After the kill.
const LAST: Duration = Duration::from_millis(300);

/// Exit status of `tailscale` for flags that it does not understand.
const MISUSE: i32 = 2;

/// A child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// `tailscaled`.
    Daemon,
    /// `tailscale`.
    Errand,
}

/// What `tailscale` is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// `up` with the auth key: the node is not logged in.
    Login,
    /// `up` without it: the node needs none, and one that has run out would only hurt.
    Up,
    /// `set`, in the place of `up`.
    Set,
    /// `up` without any flag.
    SwitchOn,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// By itself.
    Status(i32),
    /// By this signal, with its name.
    Signal(i32, &'static str),
    /// It could not be started at all.
    NotStarted(String),
}

impl End {
    /// As a shell tells it.
    fn code(&self) -> u8 {
        match self {
            Self::Status(status) => u8::try_from(*status).unwrap_or(1),
            Self::Signal(signal, _) => u8::try_from(signal.saturating_add(128)).unwrap_or(1),
            Self::NotStarted(_) => 1,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "ended with status {status}"),
            Self::Signal(number, name) => write!(f, "was ended by signal {number} ({name})"),
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
        }
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The first moment.
    Begin,
    /// Somebody wants all to end.
    Stop,
    /// A child ended.
    Ended(Who, End),
    /// The daemon is in another state.
    State(State),
    /// The daemon was asked to log in, by an errand or by hand.
    LoginAsked,
    /// Control has named a URL to log in at. With a map in force the state stays as it is.
    LoginWanted,
    /// The node is registered.
    LoginDone,
    /// [`Keeper::due`] has come.
    Due,
}

/// What is to be done, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    StartDaemon,
    StartErrand(Errand),
    Terminate(Who),
    Kill(Who),
    Say(String),
    Exit(u8),
}

/// What the plan says about errands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    /// A file has the settings: no errands.
    pub(super) by_file: bool,
    /// `TS_AUTH_ONCE`.
    pub(super) once: bool,
    /// There is an auth key.
    pub(super) key: bool,
}

/// The state of all this.
#[derive(Debug)]
pub(super) struct Keeper {
    rules: Rules,
    /// Since when the daemon runs.
    daemon: Option<Mono>,
    errand: Option<Errand>,
    /// The daemon's, since its start.
    state: Option<State>,
    /// The environment's settings have been carried over, or cannot be.
    carried: bool,
    /// The environment's flags are not understood; no use trying again.
    hopeless: bool,
    /// How the errand ends says nothing: it was cut short, or the daemon was.
    cut_short: bool,
    daemon_at: Option<Mono>,
    errand_at: Option<Mono>,
    /// Until when no login is begun: somebody is at one.
    hands_off: Option<Mono>,
    /// Control does not know the node any more, and there is a key.
    forgotten: bool,
    pause: Duration,
    retry: Duration,
    /// Until when all may end by themselves.
    ending: Option<Mono>,
    killed: bool,
    status: u8,
}

impl Keeper {
    pub(super) const fn new(rules: Rules) -> Self {
        Self {
            rules,
            daemon: None,
            errand: None,
            state: None,
            carried: false,
            hopeless: false,
            cut_short: false,
            daemon_at: None,
            errand_at: None,
            hands_off: None,
            forgotten: false,
            pause: FIRST_PAUSE,
            retry: FIRST_RETRY,
            ending: None,
            killed: false,
            status: 0,
        }
    }

    /// When to come back with [`Event::Due`].
    pub(super) fn due(&self) -> Option<Mono> {
        match self.ending {
            Some(at) => self.runs().then_some(at),
            None => [self.daemon_at, self.errand_at].into_iter().flatten().min(),
        }
    }

    pub(super) fn handle(&mut self, event: Event, now: Mono) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Begin => self.start_daemon(now, &mut actions),
            Event::Stop => self.stop(now, &mut actions),
            Event::Ended(Who::Daemon, end) => self.daemon_ended(&end, now, &mut actions),
            Event::Ended(Who::Errand, end) => self.errand_ended(&end, now, &mut actions),
            Event::State(state) => self.state_came(state, now, &mut actions),
            Event::LoginAsked => self.login_asked(now),
            Event::LoginWanted => self.login_wanted(now, &mut actions),
            Event::LoginDone => self.login_done(now, &mut actions),
            Event::Due => self.time_came(now, &mut actions),
        }
        if self.ending.is_some() && !self.runs() {
            actions.push(Action::Exit(self.status));
        }
        actions
    }

    const fn runs(&self) -> bool {
        self.daemon.is_some() || self.errand.is_some()
    }

    fn start_daemon(&mut self, now: Mono, actions: &mut Vec<Action>) {
        self.daemon = Some(now);
        self.daemon_at = None;
        self.state = None;
        actions.push(Action::StartDaemon);
    }

    fn stop(&mut self, now: Mono, actions: &mut Vec<Action>) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(now + GRACE);
        (self.daemon_at, self.errand_at) = (None, None);
        if self.errand.is_some() {
            actions.push(Action::Terminate(Who::Errand));
        }
        if self.daemon.is_some() {
            actions.push(Action::Terminate(Who::Daemon));
        }
    }

    fn daemon_ended(&mut self, end: &End, now: Mono, actions: &mut Vec<Action>) {
        let since = self.daemon.take();
        self.state = None;
        (self.errand_at, self.hands_off, self.forgotten) = (None, None, false);
        self.cut_short |= self.errand.is_some();
        if self.ending.is_some() {
            self.status = end.code();
            return;
        }
        if since.is_some_and(|since| now.since(since) >= SETTLED) {
            self.pause = FIRST_PAUSE;
        }
        let again = seconds(self.pause);
        actions.push(Action::Say(format!("tailscaled {end}; it is started again in {again} s")));
        self.daemon_at = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn state_came(&mut self, state: State, now: Mono, actions: &mut Vec<Action>) {
        if self.ending.is_some() || self.daemon.is_none() {
            return;
        }
        self.state = Some(state);
        if self.errand == Some(Errand::Up) && state == State::NeedsLogin && self.rules.key {
            // It would ask for a login by hand.
            self.cut_short = true;
            actions.push(Action::Terminate(Who::Errand));
            return;
        }
        if state == State::Running {
            self.hands_off = None;
        }
        let login = self.wanted() == Some(Errand::Login);
        let pause = if self.carried && login { RELOGIN } else { Duration::ZERO };
        // Whoever begins a login by hand makes the daemon tell this state once more: no reason to try again sooner.
        if !login {
            self.errand_at = None;
        }
        self.consider(pause, now, actions);
    }

    /// A login by hand would be ended by one of ours.
    fn login_asked(&mut self, now: Mono) {
        if self.errand.is_some() || self.daemon.is_none() {
            return;
        }
        let until = now + BY_HAND;
        self.hands_off = Some(until);
        self.errand_at = self.errand_at.map(|at| at.max(until));
    }

    /// Control has forgotten the node, or somebody logs in by hand, who has time for it.
    fn login_wanted(&mut self, now: Mono, actions: &mut Vec<Action>) {
        if self.rules.key && self.ending.is_none() {
            self.forgotten = true;
            self.consider(RELOGIN, now, actions);
        }
    }

    /// Whoever was at it has done it.
    fn login_done(&mut self, now: Mono, actions: &mut Vec<Action>) {
        (self.forgotten, self.hands_off) = (false, None);
        if self.ending.is_none() && self.wanted() != Some(Errand::Login) {
            self.errand_at = None;
            self.consider(Duration::ZERO, now, actions);
        }
    }

    /// What the daemon's state calls for.
    fn wanted(&self) -> Option<Errand> {
        if self.rules.by_file || self.hopeless {
            return None;
        }
        match self.state? {
            State::NeedsLogin => Some(Errand::Login),
            State::Starting | State::Running if self.forgotten => Some(Errand::Login),
            _ if self.carried => None,
            State::Running if self.rules.once => Some(Errand::Set),
            State::Running | State::Stopped | State::NeedsMachineAuth if !self.rules.once => Some(Errand::Up),
            _ => None,
        }
    }

    /// Runs what is called for, if nothing runs and nothing is waited for.
    fn consider(&mut self, pause: Duration, now: Mono, actions: &mut Vec<Action>) {
        let Some(errand) = self.wanted().filter(|_| self.errand.is_none() && self.errand_at.is_none()) else {
            return;
        };
        let soonest = self.hands_off.filter(|_| errand == Errand::Login).map_or(now, |until| until.max(now));
        let at = soonest.max(now + pause);
        if at <= now {
            self.start_errand(errand, actions);
        } else {
            self.errand_at = Some(at);
        }
    }

    fn start_errand(&mut self, errand: Errand, actions: &mut Vec<Action>) {
        self.errand = Some(errand);
        self.errand_at = None;
        self.cut_short = false;
        actions.push(Action::StartErrand(errand));
    }

    fn errand_ended(&mut self, end: &End, now: Mono, actions: &mut Vec<Action>) {
        let errand = self.errand.take();
        if self.ending.is_some() {
            return;
        }
        let mut pause = Duration::ZERO;
        if std::mem::take(&mut self.cut_short) {
        } else if *end == End::Status(0) {
            self.carried = true;
            // The daemon has told its state before; should it still want a login, then not at once.
            pause = RELOGIN;
            if errand == Some(Errand::Login) && self.forgotten {
                // With a map in force `up` waits for control no longer than a moment.
                pause = self.retry;
                self.retry = (self.retry * 2).min(LONGEST_RETRY);
            } else {
                self.retry = FIRST_RETRY;
            }
        } else if *end == End::Status(MISUSE) {
            let text =
                "tailscale does not understand its flags: correct TS_EXTRA_ARGS and start the container anew";
            actions.push(Action::Say(text.to_owned()));
            self.hopeless = true;
        } else if errand == Some(Errand::Login) {
            pause = self.retry;
            self.retry = (self.retry * 2).min(LONGEST_RETRY);
            let again = pause.as_secs();
            actions.push(Action::Say(format!("tailscale up {end}; it is tried again in {again} s")));
        } else {
            let text =
                "the settings of the environment are not in force, see above; the node goes on with its own";
            actions.push(Action::Say(text.to_owned()));
            self.carried = true;
            if self.state == Some(State::Stopped) && errand == Some(Errand::Up) {
                return self.start_errand(Errand::SwitchOn, actions);
            }
        }
        self.consider(pause, now, actions);
    }

    fn time_came(&mut self, now: Mono, actions: &mut Vec<Action>) {
        if let Some(at) = self.ending.filter(|at| *at <= now) {
            return self.out_of_patience(at, actions);
        }
        if self.daemon_at.is_some_and(|at| at <= now) {
            self.start_daemon(now, actions);
        }
        if self.errand_at.is_some_and(|at| at <= now) {
            self.errand_at = None;
            self.consider(Duration::ZERO, now, actions);
        }
    }

    fn out_of_patience(&mut self, at: Mono, actions: &mut Vec<Action>) {
        if self.killed {
            // The kernel keeps them: no use waiting.
            (self.daemon, self.errand) = (None, None);
            self.status = 1;
            return;
        }
        self.killed = true;
        self.ending = Some(at + LAST);
        actions.push(Action::Say(format!("not ended after {} s: killed", seconds(GRACE))));
        for (who, runs) in [(Who::Errand, self.errand.is_some()), (Who::Daemon, self.daemon.is_some())] {
            if runs {
                actions.push(Action::Kill(who));
            }
        }
    }
}

/// Seconds to a tenth, without what writes any float.
fn seconds(span: Duration) -> String {
    let (whole, tenths) = (span.as_secs(), span.subsec_millis() / 100);
    if tenths == 0 { whole.to_string() } else { format!("{whole}.{tenths}") }
}

#[cfg(test)]
mod tests;
