//! `get`: the settings as they are, by the names of `set`.

use localapi::types::{Prefs, Status};

use super::Run;
use crate::args::{Command, Flag, Matches, quote, quote_list, switch};
use crate::prefs::exit_node;
use crate::prefs::flags::{GET, Value, value};
use crate::render::{json, table};
use crate::stop::{Outcome, Stop};

pub(super) static COMMAND: Command = Command {
    name: "get",
    usage: "tailscale get [flags] [setting-name | all]",
    about: "Show settings",
    more: "Names are those of the flags of \"tailscale set\".",
    flags: &[FLAGS],
    run: Some(run),
    ..Command::PLAIN
};

const FLAGS: &[Flag] =
    &[switch("json", false, "print JSON"), switch("set-flags", false, "print flags for \"tailscale set\"")];

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let prefs = run.prefs()?;
    let status = run.status()?;
    let words = matches.rest();
    let one = match words.as_slice() {
        [] | ["all"] => None,
        [name] => Some(*name),
        many => return Err(Stop::Error(format!("too many arguments: {}", quote_list(many)))),
    };
    let settings = settings(&prefs, &status, one);
    if let (Some(name), []) = (one, settings.as_slice()) {
        return Err(Stop::Error(format!(
            "unknown setting {}; see \"tailscale set --help\" for valid settings",
            quote(name)
        )));
    }
    let text = if matches.on("json") {
        let rows: Vec<String> = settings
            .iter()
            .map(|(name, value)| match value {
                Value::Bool(on) => format!("  {}: {on}", json::string(name)),
                Value::Text(text) => format!("  {}: {}", json::string(name), json::string(text)),
            })
            .collect();
        run.console.say_json(&format!("{{\n{}\n}}\n", rows.join(",\n")));
        return Ok(());
    } else if matches.on("set-flags") {
        let flags: Vec<String> = settings.iter().map(|(name, value)| value.as_argument(name)).collect();
        format!("{}\n", flags.join(" "))
    } else if let (Some(_), [(_, value)]) = (one, settings.as_slice()) {
        format!("{value}\n")
    } else {
        let mut rows = "NAME\tVALUE\n".to_owned();
        for (name, value) in &settings {
            rows.push_str(&format!("{name}\t{value}\n"));
        }
        table::TIGHT.layout(&rows)
    };
    run.console.say(&text);
    Ok(())
}

fn settings(prefs: &Prefs, status: &Status, one: Option<&str>) -> Vec<(&'static str, Value)> {
    let exit_node = if prefs.auto_exit_node.is_empty() {
        exit_node::current(prefs, status).map(|ip| ip.to_string()).unwrap_or_default()
    } else {
        format!("auto:{}", prefs.auto_exit_node)
    };
    GET.iter()
        .filter(|(name, hidden)| one.map_or(!hidden, |one| one == *name))
        .map(|(name, _)| (*name, value(name, prefs, &exit_node)))
        .collect()
}
