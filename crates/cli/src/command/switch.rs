//! `switch`: lists, changes and removes the accounts of this machine.

use std::thread::sleep;
use std::time::Duration;

use localapi::Error;
use localapi::types::LoginProfile;

use super::Run;
use crate::args::{Command, Flag, Matches, quote, switch};
use crate::render::plain::cell;
use crate::render::{json, status, table::Table};
use crate::stop::{Outcome, Stop};

pub(super) static COMMAND: Command = Command {
    name: "switch",
    usage: "tailscale switch <id>\n  tailscale switch --list [--json]\n  tailscale switch remove <id>",
    about: "Switch to a different account",
    more: "An account is named by its id, tailnet, login name or display name.",
    flags: &[FLAGS],
    commands: &[&REMOVE],
    run: Some(run),
    ..Command::PLAIN
};

const FLAGS: &[Flag] =
    &[switch("json", false, "with --list: print JSON"), switch("list", false, "list the accounts")];

static REMOVE: Command = Command {
    name: "remove",
    usage: "tailscale switch remove <id>",
    about: "Remove an account from this machine",
    run: Some(remove),
    ..Command::PLAIN
};

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    if matches.on("list") {
        let (current, all) = profiles(run)?;
        match matches.on("json") {
            true => run.console.say_json(&list_json(&current, &all)),
            false => run.console.say(&list(&current, &all)),
        }
        return Ok(());
    }
    if matches.on("json") {
        return complain(run, "--json argument cannot be used with tailscale switch NAME");
    }
    let words = matches.rest();
    let [name] = words.as_slice() else { return complain(run, "usage: tailscale switch NAME") };
    let (current, all) = profiles(run).map_err(failed("switch to"))?;
    let id = find(name, &all)?;
    if id == current.id {
        run.console.say(&format!("Already on account {}\n", quote(name)));
        return Ok(());
    }
    run.wait(run.client.switch_profile(id)).map_err(failed("switch to"))?;
    run.console.say(&format!("Switching to account {}\n", quote(name)));
    loop {
        let now = run.own_status()?;
        match now.backend_state.as_str() {
            "NoState" | "Starting" => sleep(Duration::from_millis(100)),
            "NeedsLogin" => {
                run.console.say("Logged out.\nTo log in, run:\n  tailscale up\n");
                return Ok(());
            }
            "Running" => {
                run.console.say("Success.\n");
                return Ok(());
            }
            _ => return complain(run, &status::running(&now).err().unwrap_or_default()),
        }
    }
}

fn remove(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let words = matches.rest();
    let [name] = words.as_slice() else { return complain(run, "usage: tailscale switch remove NAME") };
    let (current, all) = profiles(run).map_err(failed("remove"))?;
    let id = find(name, &all)?;
    if id == current.id {
        run.console.say(&format!("Already on account {}\n", quote(name)));
        return Ok(());
    }
    Ok(run.wait(run.client.delete_profile(id))?)
}

/// The message on standard output, where the Go tool has it, and status 1.
fn complain(run: &mut Run<'_, '_>, message: &str) -> Outcome {
    run.console.say(&format!("{message}\n"));
    Err(Stop::Quiet(1))
}

fn failed(what: &'static str) -> impl Fn(Error) -> Stop {
    move |error| match Stop::from(error) {
        Stop::Error(message) => Stop::Error(format!("Failed to {what} account: {message}")),
        Stop::Denied(message) => Stop::Denied(format!("Failed to {what} account: {message}")),
        other => other,
    }
}

fn profiles(run: &Run<'_, '_>) -> Result<(LoginProfile, Vec<LoginProfile>), Error> {
    Ok((run.wait(run.client.current_profile())?, run.wait(run.client.profiles())?))
}

fn find<'a>(name: &str, all: &'a [LoginProfile]) -> Result<&'a str, Stop> {
    let keys: [fn(&LoginProfile) -> &str; 4] = [
        |profile| &profile.id,
        |profile| &profile.network_profile.domain_name,
        |profile| &profile.name,
        |profile| &profile.network_profile.display_name,
    ];
    let found = keys.iter().find_map(|key| all.iter().find(|profile| key(profile) == name));
    found
        .map(|profile| profile.id.as_str())
        .ok_or_else(|| Stop::Error(format!("No profile named {}", quote(name))))
}

fn tailnet(profile: &LoginProfile) -> &str {
    let network = &profile.network_profile;
    if network.display_name.is_empty() { &network.domain_name } else { &network.display_name }
}

fn list(current: &LoginProfile, all: &[LoginProfile]) -> String {
    let mut rows = "ID\tTailnet\tAccount\n".to_owned();
    for profile in all {
        let star = if profile.id == current.id { "*" } else { "" };
        let (id, tailnet, name) = (&profile.id, cell(tailnet(profile)), cell(&profile.name));
        rows.push_str(&format!("{id}\t{tailnet}\t{name}{star}\n"));
    }
    Table { min_width: 2, padding: 2 }.layout(&rows)
}

fn list_json(current: &LoginProfile, all: &[LoginProfile]) -> String {
    let rows: Vec<String> = all
        .iter()
        .map(|profile| {
            format!(
                "{{\"id\":{},\"nickname\":{},\"tailnet\":{},\"account\":{},\"selected\":{}}}",
                json::string(&profile.id),
                json::string(&profile.name),
                json::string(tailnet(profile)),
                json::string(&profile.user_profile.login_name),
                profile.id == current.id
            )
        })
        .collect();
    format!("{}\n", json::reindent(&format!("[{}]", rows.join(",")), "  "))
}
