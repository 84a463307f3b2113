//! Go's flag syntax, turned into the one spelling that clap is given.
//!
//! Go reads `-x` and `--x` alike, takes `--x=v` or `--x v`, lets booleans have a value only after `=`, and stops
//! at the first word that is no flag (LocalAPI and CLI reference §2.1). Every flag leaves here as `--name=value`, everything
//! else behind `--`. Value checks are clap's.

use clap::{Arg, Command};

use super::error::ArgError;
use super::usage;
use super::value::quote;

/// An argument list in canonical spelling.
pub(crate) struct Line {
    /// For clap, program name first.
    pub(crate) argv: Vec<String>,
    /// Names of the commands walked into, outermost first.
    pub(crate) path: Vec<String>,
    /// Help was asked for (or nothing was said where a subcommand is needed).
    pub(crate) help: bool,
}

/// Walks `args` along the command tree `root`.
pub(crate) fn canonical(root: &Command, args: &[String]) -> Result<Line, ArgError> {
    let mut line = Line { argv: vec![root.get_name().to_owned()], path: Vec::new(), help: false };
    let mut command = root;
    let mut words = args.iter().map(String::as_str).peekable();
    loop {
        let mut seen: Vec<&str> = Vec::new();
        while let Some(word) = words.next_if(|word| word.len() > 1 && word.starts_with('-')) {
            if word == "--" {
                break;
            }
            let body = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or(word);
            if body.is_empty() || body.starts_with(['-', '=']) {
                return Err(ArgError::syntax(format!("bad flag syntax: {word}"), usage(root, &line.path)));
            }
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let Some(flag) = flag(command, name) else {
                if matches!(name, "h" | "help") {
                    line.help = true;
                    return Ok(line);
                }
                // clap refuses it and knows the nearest spelling, or the command that has it.
                line.argv.push(format!("--{name}"));
                line.argv.extend(words.map(str::to_owned));
                return Ok(line);
            };
            let boolean = is_boolean(flag);
            let value = match value {
                Some(value) => value,
                None if boolean => "true",
                None => words.next().ok_or_else(|| {
                    ArgError::syntax(format!("flag needs an argument: -{name}"), usage(root, &line.path))
                })?,
            };
            if seen.contains(&name) {
                let kind = if boolean { "boolean value" } else { "value" };
                let what = if boolean { "" } else { "flag " };
                return Err(ArgError::syntax(
                    format!(
                        "invalid {kind} {} for {what}-{name}: flag provided multiple times",
                        quote(value)
                    ),
                    usage(root, &line.path),
                ));
            }
            seen.push(name);
            line.argv.push(format!("--{name}={value}"));
        }
        let Some(sub) = words.peek().and_then(|word| command.find_subcommand(word)) else { break };
        words.next();
        line.argv.push(sub.get_name().to_owned());
        line.path.push(sub.get_name().to_owned());
        command = sub;
    }

    let rest: Vec<&str> = words.collect();
    if command.has_subcommands() && command.get_positionals().next().is_none() {
        match rest.first() {
            None if line.path.is_empty() => line.help = true,
            None => return Err(ArgError::no_command(&line.path, usage(root, &line.path))),
            // clap refuses it and knows the nearest name; a word that looks like a flag would mislead it.
            Some(word) if word.starts_with('-') => {
                return Err(ArgError::unknown_command(&line.path, word, None));
            }
            Some(word) => line.argv.push((*word).to_owned()),
        }
    } else if !rest.is_empty() {
        line.argv.push("--".to_owned());
        line.argv.extend(rest.into_iter().map(str::to_owned));
    }
    Ok(line)
}

fn flag<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(name))
}

/// Booleans are the flags whose value may be left out.
fn is_boolean(arg: &Arg) -> bool {
    arg.is_require_equals_set()
}
