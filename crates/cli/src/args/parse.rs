//! Go's flag syntax: `-x` and `--x` are alike, `--x=v` or `--x v`, booleans have a value only after `=`, and the first
//! word that is no flag ends them (LocalAPI and CLI reference §2.1).

use super::error::{ArgError, nearest};
use super::help::usage;
use super::spec::{Command, Flag, Kind};
use super::value::quote;
use super::{Matches, Typed, parse_bool, parse_duration, parse_int};

/// Walks `args` along the commands below `root`. `socket` is told in help.
pub(super) fn parse(root: &'static Command, socket: &str, args: &[String]) -> Result<Typed, ArgError> {
    let mut levels = vec![Matches::new(root)];
    let mut path = root.name.to_owned();
    let mut command = root;
    let mut words = args.iter().map(String::as_str).peekable();
    loop {
        let misuse = |message: String| ArgError::syntax(message, usage(command, socket));
        while let Some(word) = words.next_if(|word| word.len() > 1 && word.starts_with('-')) {
            if word == "--" {
                break;
            }
            let body = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or(word);
            if body.is_empty() || body.starts_with(['-', '=']) {
                return Err(misuse(format!("bad flag syntax: {word}")));
            }
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let Some(flag) = command.flag(name) else {
                if matches!(name, "h" | "help") {
                    return Ok(Typed::Help(usage(command, socket)));
                }
                return Err(misuse(undefined(command, name, &mut words)));
            };
            let value = match value {
                Some(value) => value,
                None if flag.kind.boolean() => "true",
                None => words.next().ok_or_else(|| misuse(format!("flag needs an argument: -{name}")))?,
            };
            let Some(matches) = levels.last_mut() else { break };
            let fault = match check(flag.kind, value) {
                Ok(()) if matches.given(name) => Some("flag provided multiple times"),
                fault => fault.err(),
            };
            if let Some(fault) = fault {
                let (kind, what) =
                    if flag.kind.boolean() { ("boolean value", "") } else { ("value", "flag ") };
                return Err(misuse(format!("invalid {kind} {} for {what}-{name}: {fault}", quote(value))));
            }
            matches.push(flag, value.to_owned());
        }
        let Some(below) = words.peek().and_then(|word| command.command(word)) else { break };
        words.next();
        path.push(' ');
        path.push_str(below.name);
        levels.push(Matches::new(below));
        command = below;
    }
    if command.run.is_none() {
        return match words.next() {
            None if levels.len() == 1 => Ok(Typed::Help(usage(command, socket))),
            None => Err(ArgError::no_command(&path, usage(command, socket))),
            Some(word) => Err(ArgError::unknown_command(command, &path, word)),
        };
    }
    if let Some(matches) = levels.last_mut() {
        words.for_each(|word| matches.push_word(word));
    }
    Ok(Typed::Run(levels))
}

/// Why `value` is none of this kind.
fn check(kind: Kind, value: &str) -> Result<(), &'static str> {
    match kind {
        Kind::Switch => parse_bool(value).map(drop),
        Kind::OnlyTrue if parse_bool(value) == Ok(true) => Ok(()),
        Kind::OnlyTrue => Err("unsupported value; only 'true' is allowed"),
        Kind::Text => Ok(()),
        Kind::Int => parse_int(value).map(drop),
        Kind::Duration => parse_duration(value).map(drop),
    }
}

/// The sentence about a flag that `command` does not have, with what may have been meant: one like it, or that of a
/// command that is named further on.
fn undefined(command: &Command, name: &str, rest: &mut dyn Iterator<Item = &str>) -> String {
    let mut message = format!("flag provided but not defined: -{name}");
    let meant = |command: &Command| nearest(name, &mut visible(&command.sorted_flags()));
    if let Some(flag) = meant(command) {
        message.push_str(&format!("\nDid you mean --{flag}?"));
    } else if let Some((below, flag)) =
        rest.filter_map(|word| command.command(word)).find_map(|below| Some((below.name, meant(below)?)))
    {
        message.push_str(&format!(
            "\nDid you mean 'tailscale {below} --{flag}'? Flags of a command follow its name."
        ));
    }
    message
}

fn visible(flags: &[&'static Flag]) -> impl Iterator<Item = &'static str> {
    flags.iter().filter(|flag| !flag.hidden).map(|flag| flag.name)
}
