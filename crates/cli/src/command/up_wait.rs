//! The second half of `up`: reads the bus until the node runs, and tells the user what they must do meanwhile.

use std::time::Duration;

use localapi::client::BusWatcher;
use localapi::types::{Notify, State, Status};

use super::Run;
use crate::prefs::revert::is_login_server_synonym;
use crate::render::json;
use crate::stop::{Outcome, Stop};

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
    /// How long to wait; `None` for ever.
    pub(super) timeout: Option<Duration>,
}

/// Reasons for waiting that are told at most.
const MAX_TROUBLES: usize = 4;

/// Reads `bus` until the node runs.
pub(super) async fn wait_until_running(
    run: &mut Run<'_, '_>,
    bus: BusWatcher,
    expect: Expect<'_>,
) -> Outcome {
    let follow = follow(run, bus, expect);
    let limit = async {
        match expect.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = follow => done,
        () = interrupted() => Err(Stop::from("context canceled")),
        () = limit => Err(Stop::from(
            "timeout waiting for Tailscale service to enter a Running state; check health with \"tailscale status\"",
        )),
    }
}

/// Ready when the user presses Ctrl-C or somebody ends the process.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        caught = tokio::signal::ctrl_c() => if caught.is_err() { std::future::pending().await },
        _ = terminate.recv() => {}
    }
}

async fn follow(run: &mut Run<'_, '_>, mut bus: BusWatcher, expect: Expect<'_>) -> Outcome {
    let own_key = expect.before.self_.as_ref().map(|own| own.public_key);
    let mut running = false;
    let mut new_key = !expect.force;
    // Whether the user was asked for something, and the URL last shown.
    let mut asked = false;
    let mut shown = String::new();
    let mut told = Vec::new();

    if expect.simple && expect.before.backend_state == State::NeedsMachineAuth.name() {
        // The state does not change, so the bus will not tell it.
        asked = true;
        show_approval(run, expect, &mut shown);
    }
    while let Some(notify) = bus.next().await? {
        if let Some(message) = &notify.err_message {
            return Err(Stop::Error(format!("backend error: {message}")));
        }
        if notify.state == Some(State::NeedsMachineAuth) {
            asked = true;
            show_approval(run, expect, &mut shown);
        }
        if let Some(state) = notify.state {
            running = state == State::Running;
        }
        if notify.self_change.as_ref().is_some_and(|node| Some(node.key) != own_key) {
            new_key = true;
        }
        if running && new_key {
            if expect.json {
                run.console.say("{\n  \"BackendState\": \"Running\"\n}\n");
            } else if asked {
                run.console.note("Success.\n");
            }
            return Ok(());
        }
        if let Some(text) = unreachable(&notify).filter(|_| !expect.json && told.len() < MAX_TROUBLES) {
            if told.is_empty() {
                run.console.note("# Still trying; Ctrl-C ends the waiting, not the node.\n");
            }
            if !told.iter().any(|known| known == text) {
                run.console.note(&format!("# {text}\n"));
                told.push(text.to_owned());
            }
        }
        if let Some(url) = wanted_url(&notify, expect, &shown) {
            asked = true;
            if expect.json {
                let (url, state) = (json::string(url), json::string(&expect.before.backend_state));
                let state = if expect.before.backend_state.is_empty() {
                    String::new()
                } else {
                    format!(",\n\t\"BackendState\": {state}")
                };
                run.console.say(&format!("{{\n\t\"AuthURL\": {url}{state}\n}}\n"));
            } else {
                run.console.note(&format!("\nTo authenticate, visit:\n\n\t{url}\n\n"));
            }
            shown = url.to_owned();
        }
    }
    Err(Stop::from("tailscaled closed the connection before the node was running; see its log"))
}

/// Why nothing happens, if that is so.
fn unreachable(notify: &Notify) -> Option<&str> {
    let problem = notify.health.as_ref()?.warnings.get("control-unreachable")?;
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
        run.console.say("{\n  \"BackendState\": \"NeedsMachineAuth\"\n}\n");
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
