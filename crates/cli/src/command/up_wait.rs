//! The second half of `up`: reads the bus until the node runs, and tells the user what they must do meanwhile.

use std::time::Duration;

use localapi::client::BusWatcher;
use localapi::types::{Notify, State, Status};

use super::Run;
use crate::args::GoDuration;
use crate::prefs::revert::is_login_server_synonym;
use crate::render::json;
use crate::stop::{Outcome, Stop};
use crate::wait::{Cut, Limit};

/// What was asked for and what was before.
#[derive(Clone, Copy)]
pub(super) struct Expect<'a> {
    /// JSON objects only.
    pub(super) json: bool,
    /// The node was only switched on.
    pub(super) simple: bool,
    /// A new node key must come.
    pub(super) force: bool,
    /// Logged in by key, so no URL is of interest.
    pub(super) has_auth_key: bool,
    /// Status before anything was done.
    pub(super) before: &'a Status,
    /// Control server, for the address of its admin page.
    pub(super) control: &'a str,
    /// How long to wait; zero for ever.
    pub(super) timeout: GoDuration,
}

/// Reasons for waiting that are told at most.
const MAX_TROUBLES: usize = 4;

/// How long a node that runs is waited for to be told what control thinks of its auth key. Not every daemon tells it.
const JUDGEMENT: Duration = Duration::from_secs(3);

/// Reads `bus` until the node runs.
pub(super) fn wait_until_running(run: &mut Run<'_, '_>, mut bus: BusWatcher, expect: Expect<'_>) -> Outcome {
    let mut limit = run.waiter.interruptible(Limit::after(expect.timeout));
    let judged = !expect.has_auth_key || expect.before.backend_state != State::Running.name();
    let mut seen = Seen { new_key: !expect.force, judged, ..Seen::default() };
    if expect.simple && expect.before.backend_state == State::NeedsMachineAuth.name() {
        // The state does not change, so the bus will not tell it.
        seen.asked = true;
        show_approval(run, expect, &mut seen.shown);
    }
    loop {
        let notify = match run.waiter.within(&mut limit, bus.next()) {
            Ok(notify) => notify?,
            Err(Cut::Interrupted) => return Err(Stop::from("context canceled")),
            Err(Cut::Late) if seen.runs() => return seen.tell(run, expect),
            Err(Cut::Late) => {
                return Err(Stop::from(
                    "timeout waiting for Tailscale service to enter a Running state; check health with \"tailscale status\"",
                ));
            }
        };
        let Some(notify) = notify else {
            return Err(Stop::from(
                "tailscaled closed the connection before the node was running; see its log",
            ));
        };
        let ran = seen.runs();
        seen.take(run, &notify, expect)?;
        match seen.runs() {
            true if seen.judged => return seen.tell(run, expect),
            true if !ran => limit.shorten(JUDGEMENT),
            _ => {}
        }
    }
}

/// What the bus has told so far.
#[derive(Default)]
struct Seen {
    running: bool,
    new_key: bool,
    /// Control has taken the auth key, if there is one and the node can run before that.
    judged: bool,
    /// Whether the user was asked for something.
    asked: bool,
    /// The URL last shown.
    shown: String,
    /// Reasons for waiting that were told.
    told: Vec<String>,
}

impl Seen {
    /// The node runs as it was meant to.
    const fn runs(&self) -> bool {
        self.running && self.new_key
    }

    /// Tells that it does.
    fn tell(&self, run: &mut Run<'_, '_>, expect: Expect<'_>) -> Outcome {
        if expect.json {
            run.console.say_json("{\n  \"BackendState\": \"Running\"\n}\n");
        } else if self.asked {
            run.console.note("Success.\n");
        }
        Ok(())
    }

    /// Takes a message.
    fn take(&mut self, run: &mut Run<'_, '_>, notify: &Notify, expect: Expect<'_>) -> Outcome {
        if let Some(message) = &notify.err_message {
            return Err(Stop::Error(format!("backend error: {message}")));
        }
        if notify.state == Some(State::NeedsMachineAuth) {
            self.asked = true;
            show_approval(run, expect, &mut self.shown);
        }
        if let Some(state) = notify.state {
            self.running = state == State::Running;
        }
        let own_key = expect.before.self_.as_ref().map(|own| own.public_key);
        if notify.self_change.as_ref().is_some_and(|node| Some(node.key) != own_key) {
            self.new_key = true;
        }
        self.judged |= notify.login_finished.is_some();
        if self.runs() && self.judged {
            return Ok(());
        }
        if let Some(text) = unreachable(notify).filter(|_| !expect.json && self.told.len() < MAX_TROUBLES) {
            if self.told.is_empty() {
                run.console.note("# Still trying; Ctrl-C ends the waiting, not the node.\n");
            }
            if !self.told.iter().any(|known| known == text) {
                run.console.note(&format!("# {text}\n"));
                self.told.push(text.to_owned());
            }
        }
        if let Some(url) = wanted_url(notify, expect, &self.shown) {
            self.asked = true;
            if expect.json {
                let (url, state) = (json::string(url), json::string(&expect.before.backend_state));
                let state = if expect.before.backend_state.is_empty() {
                    String::new()
                } else {
                    format!(",\n\t\"BackendState\": {state}")
                };
                run.console.say_json(&format!("{{\n\t\"AuthURL\": {url}{state}\n}}\n"));
            } else {
                run.console.note(&format!("\nTo authenticate, visit:\n\n\t{url}\n\n"));
            }
            self.shown = url.to_owned();
        }
        Ok(())
    }
}

/// What keeps a node from running, in the order in which it is reached.
const OBSTACLES: [&str; 4] = ["network-status", "control-unreachable", "no-derp-home", "no-derp-connection"];

/// Why nothing happens, if that is so.
fn unreachable(notify: &Notify) -> Option<&str> {
    let warnings = &notify.health.as_ref()?.warnings;
    let problem = OBSTACLES.iter().find_map(|code| warnings.get(*code))?;
    Some(&problem.text)
}

/// The login URL in `notify`, if the user has to see it.
fn wanted_url<'n>(notify: &'n Notify, expect: Expect<'_>, shown: &str) -> Option<&'n str> {
    let url = notify.browse_to_url.as_deref()?;
    // With an auth key, or before a new login, it is left over from an earlier attempt.
    let stale = expect.has_auth_key || (expect.force && url == expect.before.auth_url);
    (!url.is_empty() && !stale && url != shown).then_some(url)
}

fn show_approval(run: &mut Run<'_, '_>, expect: Expect<'_>, shown: &mut String) {
    if expect.json {
        run.console.say_json("{\n  \"BackendState\": \"NeedsMachineAuth\"\n}\n");
        return;
    }
    let control = expect.control;
    let server = if control.is_empty() || is_login_server_synonym(control) {
        "https://login.tailscale.com"
    } else {
        control
    };
    let url = format!("{server}/admin");
    if *shown != url {
        run.console.note(&format!("\nTo approve your machine, visit (as admin):\n\n\t{url}\n\n"));
        *shown = url;
    }
}
