//! Process 1: starts, reaps, signals. Decisions are the [`keeper`](super::keeper)'s.
//!
//! No thread, no runtime, hardly any memory of its own: it waits in `poll` for a signal, for the daemon's word of its
//! state, or for the keeper's next moment. A child comes out of [`run`] and goes on as the program it is to be.

use super::fork::{self, Side};
use super::keeper::{Action, End, Errand, Event, Keeper, Rules, Who};
use super::settings::Plan;
use crate::clock::Clock;
use crate::logging;
use crate::node::Word;
use engine::time::Mono;
use localapi::types::State;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, WaitStatus};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::io::Result;
use std::os::fd::OwnedFd;

/// What this process is from now on.
pub(super) enum Become {
    /// `tailscaled`; it writes its states into the pipe.
    Daemon(OwnedFd),
    /// `tailscale` with these words.
    CommandLine(Vec<String>),
    /// Nothing more: all has ended with this status.
    Ended(u8),
}

/// Signals that end everything; daemon and errand are told by SIGTERM. What else is sent has no meaning here, and the
/// children would only die of it.
const ENDING: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

/// Blocked, but not listened to.
const IGNORED: [Signal; 4] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGPIPE];

struct Init<'a> {
    plan: &'a Plan,
    clock: &'a Clock,
    signals: SignalFd,
    /// The mask that children begin with.
    mask: SigSet,
    /// The daemon's states, and where it writes them.
    states: (OwnedFd, OwnedFd),
    daemon: Option<Pid>,
    errand: Option<Pid>,
}

/// Runs until everything has ended, or as a child at once.
///
/// # Errors
/// When the system refuses what this is made of.
pub(super) fn run(plan: &Plan, clock: &Clock) -> Result<Become> {
    let mut set = SigSet::empty();
    ENDING.into_iter().chain(IGNORED).chain([Signal::SIGCHLD]).for_each(|signal| set.add(signal));
    let mask = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    if rustix::process::getpid() != Pid::INIT {
        // What the children leave behind is ours to reap here, too.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    let init = Init {
        plan,
        clock,
        signals: SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
        mask,
        states: pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?,
        daemon: None,
        errand: None,
    };
    init.live()
}

impl Init<'_> {
    fn live(mut self) -> Result<Become> {
        let rules = Rules {
            by_file: self.plan.by_file(),
            once: self.plan.set.is_some(),
            key: self.plan.key.is_some(),
        };
        let mut keeper = Keeper::new(rules);
        let mut events = VecDeque::from([Event::Begin]);
        loop {
            while let Some(event) = events.pop_front() {
                for action in keeper.handle(event, self.clock.mono()) {
                    if let Some(done) = self.carry_out(action, &mut events)? {
                        return Ok(done);
                    }
                }
            }
            self.wait(keeper.due())?;
            if keeper.due().is_some_and(|at| at <= self.clock.mono()) {
                events.push_back(Event::Due);
            }
            // The daemon's last words before its end.
            self.hear(&mut events);
            while let Some(signal) = self.signals.read_signal()? {
                let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
                if ENDING.iter().any(|ending| *ending as i32 == number) {
                    events.push_back(Event::Stop);
                }
            }
            self.reap(&mut events);
        }
    }

    fn carry_out(&mut self, action: Action, events: &mut VecDeque<Event>) -> Result<Option<Become>> {
        match action {
            Action::StartDaemon => match self.split(c"tailscaled") {
                Ok(Side::Parent(pid)) => self.daemon = Some(pid),
                Ok(Side::Child) => return Ok(Some(Become::Daemon(self.states.1.try_clone()?))),
                Err(error) => {
                    events.push_back(Event::Ended(Who::Daemon, End::NotStarted(error.to_string())));
                }
            },
            Action::StartErrand(errand) => match self.split(c"tailscale") {
                Ok(Side::Parent(pid)) => self.errand = Some(pid),
                Ok(Side::Child) => return Ok(Some(Become::CommandLine(words(self.plan, errand)))),
                Err(error) => {
                    events.push_back(Event::Ended(Who::Errand, End::NotStarted(error.to_string())));
                }
            },
            Action::Terminate(who) => self.signal(who, rustix::process::Signal::TERM),
            Action::Kill(who) => self.signal(who, rustix::process::Signal::KILL),
            Action::Say(text) => logging::boot(self.clock, &text),
            Action::Exit(status) => return Ok(Some(Become::Ended(status))),
        }
        Ok(None)
    }

    /// Forks; the child is as if it had been started afresh under this name, and ends with its parent.
    fn split(&self, name: &CStr) -> Result<Side> {
        let parent = rustix::process::getpid();
        let side = fork::split()?;
        if matches!(side, Side::Child) {
            // None of this can keep a child from its work.
            let _ = self.mask.thread_set_mask();
            let _ = rustix::thread::set_name(name);
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
            if rustix::process::getppid() != Some(parent) {
                return Err(std::io::Error::other("the parent is gone"));
            }
        }
        Ok(side)
    }

    fn signal(&self, who: Who, signal: rustix::process::Signal) {
        let pid = if who == Who::Daemon { self.daemon } else { self.errand };
        if let Some(pid) = pid {
            // Until it is reaped its number is nobody else's.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    fn wait(&self, due: Option<Mono>) -> Result<()> {
        let wait = due.map(|at| at.since(self.clock.mono()));
        let wait = wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()) as _,
        });
        let mut fds = [PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.states.0, PollFlags::IN)];
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hear(&self, events: &mut VecDeque<Event>) {
        let mut room = [0; 64];
        while let Ok(read) = rustix::io::read(&self.states.0, &mut room) {
            events.extend(room.get(..read).unwrap_or_default().iter().filter_map(|byte| meaning(*byte)));
            if read == 0 {
                break;
            }
        }
    }

    /// Reaps whatever has ended, ours or left to us.
    fn reap(&mut self, events: &mut VecDeque<Event>) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            for (who, child) in [(Who::Daemon, &mut self.daemon), (Who::Errand, &mut self.errand)] {
                if *child == Some(pid) {
                    *child = None;
                    events.push_back(Event::Ended(who, end(status)));
                }
            }
        }
    }
}

/// The states by the byte that stands for each in the pipe.
const STATES: [State; 7] = [
    State::NoState,
    State::InUseOtherUser,
    State::NeedsLogin,
    State::NeedsMachineAuth,
    State::Stopped,
    State::Starting,
    State::Running,
];

/// What the other bytes stand for.
const OTHERS: [(u8, Word); 3] = [(253, Word::LoginDone), (254, Word::LoginWanted), (255, Word::LoginAsked)];

/// Tells process 1 of what it decides by; for the daemon.
pub(crate) fn tell(states: &OwnedFd, word: Word) {
    let byte = match word {
        Word::State(state) => Some(state as u8),
        word => OTHERS.iter().find(|(_, other)| *other == word).map(|(byte, _)| *byte),
    };
    // It never blocks, and whoever reads has reasons not to any more.
    let _ = byte.map(|byte| rustix::io::write(states, &[byte]));
}

fn meaning(byte: u8) -> Option<Event> {
    let word = OTHERS.iter().find(|(other, _)| *other == byte).map(|(_, word)| *word);
    match word.or_else(|| STATES.get(usize::from(byte)).map(|state| Word::State(*state)))? {
        Word::State(state) => Some(Event::State(state)),
        Word::LoginAsked => Some(Event::LoginAsked),
        Word::LoginWanted => Some(Event::LoginWanted),
        Word::LoginDone => Some(Event::LoginDone),
    }
}

fn end(status: WaitStatus) -> End {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => End::Status(status),
        (None, Some(number)) => {
            End::Signal(number, Signal::try_from(number).map_or("not a usual one", Signal::as_str))
        }
        (None, None) => End::Status(1),
    }
}

/// What is typed for an errand.
fn words(plan: &Plan, errand: Errand) -> Vec<String> {
    let mut words = vec![format!("--socket={}", plan.flags.socket.display())];
    words.push(if errand == Errand::Set { "set" } else { "up" }.to_owned());
    match errand {
        Errand::Login => {
            // A router that does not log in is out of reach, whatever was set by hand.
            words.push("--login-even-if-refused".to_owned());
            words.extend(plan.key.iter().map(|key| format!("--auth-key={}", key.0)));
            words.extend(plan.up.iter().cloned());
        }
        Errand::Up => words.extend(plan.up.iter().cloned()),
        Errand::Set => words.extend(plan.set.iter().flatten().cloned()),
        Errand::SwitchOn => {}
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_byte() {
        for (byte, state) in STATES.iter().enumerate() {
            assert_eq!(*state as usize, byte);
        }
    }

    #[test]
    fn the_key_is_used_for_logins_only() {
        let vars = [("TS_AUTHKEY", "k"), ("TS_AUTH_ONCE", "true"), ("TS_EXTRA_ARGS", "--accept-routes")];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let plan = super::super::settings::read(&vars, &|_| true, 0).unwrap();
        let line = |errand| words(&plan, errand)[1..].join(" ");
        assert_eq!(
            line(Errand::Login),
            "up --login-even-if-refused --auth-key=k --accept-dns=false --accept-routes"
        );
        assert_eq!(line(Errand::Up), "up --accept-dns=false --accept-routes");
        assert_eq!(line(Errand::Set), "set --accept-dns=false");
        assert_eq!(line(Errand::SwitchOn), "up");
    }
}
