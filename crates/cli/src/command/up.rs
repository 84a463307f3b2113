//! `up`: states the complete configuration and brings the node online, logging in if needed.
//!
//! The order of LocalAPI calls is the Go tool's (CLI reference §2.3), because daemons were tested against it: status,
//! prefs, then either one `PATCH prefs`, or the bus first and `start` after it.

use localapi::Error;
use localapi::client::BusWatcher;
use localapi::types::{MaskedPrefs, Options, Prefs, PrefsMask, Status, mask};

use super::risk::{ACCEPT_RISK, confirm, ssh_over_tailscale};
use super::up_wait::{Expect, wait_until_running};
use super::{Run, no_words, up_kept};
use crate::args::{Command, Flag, Matches, switch, text};
use crate::prefs::{exit_node, flags, revert, unsupported, up};
use crate::render::json;
use crate::stop::{Outcome, Stop, connecting};

pub(super) static COMMAND: Command = Command {
    name: "up",
    usage: "tailscale up [flags]",
    about: "Connect to the tailnet, logging in if needed",
    more: "Without flags, the node goes online with the settings it has.\n\n\
           With flags, they are the complete configuration: a setting that is neither\n\
           mentioned nor at its default is an error, unless --reset is given. To change\n\
           single settings, use \"tailscale set\".",
    flags: &[flags::SHARED, flags::UP_ONLY, FLAGS],
    run: Some(run),
    ..Command::PLAIN
};

const FLAGS: &[Flag] = &[
    text("accept-risk", "", ACCEPT_RISK),
    switch("force-reauth", false, "log in again; cuts the connection, so not over the tailnet itself"),
    switch("json", false, "print JSON objects and nothing else"),
    up_kept::FLAG,
    switch("reset", false, "set everything that is not mentioned to its default"),
];

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    match go(run, matches).map_err(|stop| up_kept::hushed(matches, stop)) {
        // With --json there is nothing but JSON on either stream.
        Err(Stop::Error(message) | Stop::Denied(message)) if matches.on("json") => {
            run.console.say_json(&json::error(&message));
            Err(Stop::Quiet(1))
        }
        done => done,
    }
}

/// `up` and `login`.
pub(super) fn go(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let quiet = matches.on("json");
    no_words(matches)?;
    let status = run.status().map_err(connecting)?;
    let (current, prefs, plan) = match wanted(run, matches, &status) {
        Err(Stop::Error(why)) if up_kept::asked(matches, &status) => {
            let current = run.prefs()?;
            let prefs = up_kept::prefs(run, matches, &current, &why)?;
            (current, prefs, Plan::Start)
        }
        wanted => wanted?,
    };
    let force = matches.on("force-reauth");
    match plan {
        Plan::Edit(mask) => {
            let edit = MaskedPrefs { prefs, mask };
            run.wait(run.client.edit_prefs(&edit)).map(drop)?;
        }
        Plan::SwitchOn => {
            // It may have come to run since it was asked, and then tells no state any more.
            let bus = watch(run, mask::INITIAL_STATE)?;
            run.wait(run.client.edit_prefs(&switch_on()))?;
            let expect = Expect { simple: true, ..expect(matches, &status, &current) };
            wait(run, bus, expect, quiet)?;
        }
        Plan::Start => {
            // The bus before anything happens, or the first messages would be missed.
            let bus = watch(run, 0)?;
            let prefs = match run.wait(run.client.check_prefs(&prefs)) {
                Err(Error::Refused(why)) if up_kept::asked(matches, &status) => {
                    up_kept::prefs(run, matches, &current, &why)?
                }
                checked => checked.map(|()| prefs)?,
            };
            let auth_key = from_file(matches.word("auth-key"))?;
            let control = prefs.control_url.clone();
            let options = Options { update_prefs: Some(Box::new(prefs)), auth_key, ..Options::default() };
            run.wait(run.client.start(&options))?;
            if force || !status.have_node_key {
                run.wait(run.client.login_interactive())?;
            }
            let expect = Expect { control: &control, ..expect(matches, &status, &current) };
            wait(run, bus, expect, quiet)?;
        }
    }
    if !quiet {
        show_health(run);
    }
    Ok(())
}

/// The settings in force, those wanted, and what has to be done. Changes nothing.
fn wanted(run: &mut Run<'_, '_>, matches: &Matches, status: &Status) -> Result<(Prefs, Prefs, Plan), Stop> {
    let quiet = matches.on("json");
    let (mut prefs, warnings) = up::from_flags(matches, status)?;
    for warning in warnings {
        warn(run, quiet, warning);
    }
    if prefs.advertise_routes.is_some() {
        let checks =
            [run.wait(run.client.check_ip_forwarding()), run.wait(run.client.check_udp_gro_forwarding())];
        for check in checks {
            match check {
                // A daemon that cannot tell was built without the feature.
                Ok(None) | Err(Error::NotFound(_) | Error::Http { status: 501, .. }) => {}
                Ok(Some(warning)) => warn(run, quiet, &warning),
                Err(error) => warn(run, quiet, &error.to_string()),
            }
        }
    }
    let current = run.prefs()?;
    unsupported::check(matches, Some(&current))?;
    if matches.command.name == COMMAND.name {
        prefs.profile_name.clone_from(&current.profile_name);
    }
    let plan = plan(run, matches, status, &current, &mut prefs)?;
    Ok((current, prefs, plan))
}

/// The bus, which begins with what `mask` asks for; `None` if the daemon was built without one.
fn watch(run: &Run<'_, '_>, mask: u64) -> Result<Option<BusWatcher>, Stop> {
    match run.waiter.wait(run.client.watch_bus(mask)) {
        Ok(bus) => Ok(Some(bus)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits as long as the bus tells what happens; without one there is nothing to wait for.
fn wait(run: &mut Run<'_, '_>, bus: Option<BusWatcher>, expect: Expect<'_>, quiet: bool) -> Outcome {
    if let Some(bus) = bus {
        return wait_until_running(run, bus, expect);
    }
    if !quiet {
        run.console.note(
            "not waiting: the daemon was built without feature ipnbus; `tailscale status` tells how far it is\n",
        );
    }
    Ok(())
}

/// What has to be done.
enum Plan {
    /// Change these settings of a running node.
    Edit(PrefsMask),
    /// Switch the node on as it is.
    SwitchOn,
    /// Start over with new preferences, perhaps with a login.
    Start,
}

fn plan(
    run: &mut Run<'_, '_>,
    matches: &Matches,
    status: &Status,
    current: &Prefs,
    prefs: &mut Prefs,
) -> Result<Plan, Stop> {
    let (force, reset, quiet) = (matches.on("force-reauth"), matches.on("reset"), matches.on("json"));
    let mut switch_on = false;
    if !reset {
        // The operator need not repeat that they are the operator.
        let user = run.env.var("USER");
        if prefs.operator_user.is_empty() && current.operator_user == user && !matches.given("operator") {
            prefs.operator_user = user.to_owned();
        }
        let node = exit_node::current(current, status).map(|ip| ip.to_string()).unwrap_or_default();
        let setting = revert::Setting { matches, backend_state: &status.backend_state, exit_node: &node };
        switch_on = revert::check(prefs, current, &setting)?;
    }

    let running = status.backend_state == "Running";
    let moves = current.control_url != prefs.control_url
        && !(revert::is_login_server_synonym(&current.control_url)
            && revert::is_login_server_synonym(&prefs.control_url));
    if moves && running && !force {
        return Err(Stop::from("can't change --login-server without --force-reauth"));
    }
    if ssh_over_tailscale(run.env) {
        let question = if prefs.run_ssh && !current.run_ssh {
            Some(
                "You are connected over Tailscale; this action will reroute SSH traffic to Tailscale SSH and will result in your session disconnecting.",
            )
        } else if current.run_ssh && !prefs.run_ssh {
            Some(
                "You are connected using Tailscale SSH; this action will result in your session disconnecting.",
            )
        } else if force {
            Some(
                "You are connected over Tailscale; this action may result in your SSH session disconnecting.",
            )
        } else {
            None
        };
        if let Some(question) = question {
            confirm(run, question, matches.word("accept-risk"), quiet)?;
        }
    }

    let just_edit = running
        && !force
        && matches.word("auth-key").is_empty()
        && !moves
        && current.advertise_tags == prefs.advertise_tags;
    if just_edit {
        let mut mask = PrefsMask {
            want_running: true,
            auto_exit_node: !prefs.auto_exit_node.is_empty(),
            ..PrefsMask::default()
        };
        let flags = if reset { matches.command.sorted_flags() } else { matches.all_given() };
        for flag in flags {
            flags::mark(flag.name, &mut mask);
        }
        return Ok(Plan::Edit(mask));
    }
    Ok(if switch_on { Plan::SwitchOn } else { Plan::Start })
}

fn switch_on() -> MaskedPrefs {
    let mut edit = MaskedPrefs::default();
    edit.prefs.want_running = true;
    edit.mask.want_running = true;
    edit
}

fn expect<'a>(matches: &Matches, status: &'a Status, current: &'a Prefs) -> Expect<'a> {
    Expect {
        json: matches.on("json"),
        simple: false,
        force: matches.on("force-reauth"),
        has_auth_key: !matches.word("auth-key").is_empty(),
        before: status,
        control: &current.control_url,
        timeout: matches.span("timeout"),
    }
}

/// A secret given as it is or as `file:PATH`.
pub(super) fn from_file(word: &str) -> Result<String, Stop> {
    let Some(path) = word.strip_prefix("file:") else { return Ok(word.to_owned()) };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(Stop::Error(format!("--auth-key: cannot read {path}: {error}"))),
    }
}

fn warn(run: &mut Run<'_, '_>, quiet: bool, warning: &str) {
    if !quiet {
        run.console.say(&format!("Warning: {}\n", warning.trim_end_matches('\n')));
    }
}

/// Says the few problems that concern somebody who has just typed `up`; most others pass by themselves.
fn show_health(run: &mut Run<'_, '_>) {
    const WORTHY: [&str; 4] = [
        "Tailscale SSH enabled, but ",
        "Some peers are advertising routes but --accept-routes is false",
        "this node is locked out; it will not have connectivity until it is signed",
        "Tailnet Lock state is only being stored in-memory.",
    ];
    let Ok(status) = run.own_status() else { return };
    let worthy: Vec<&String> = status
        .health
        .iter()
        .flatten()
        .filter(|problem| {
            WORTHY.iter().any(|text| problem.contains(text))
                || problem.to_ascii_lowercase().contains("update available: ")
        })
        .collect();
    match worthy.as_slice() {
        [] => {}
        [one] => run.console.say(&format!("{one}\n")),
        many => {
            let mut text = "# Health check warnings:\n".to_owned();
            for problem in many {
                text.push_str(&format!("#     - {problem}\n"));
            }
            run.console.say(&text);
        }
    }
}
