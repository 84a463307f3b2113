//! What was typed: Go's flag syntax in front, clap's definitions and value checks behind.
//!
//! Owns: reading an argument list into clap matches and saying, in the words people know from the Go tool, what
//! is wrong with it. Leaves out: what the flags mean (`prefs`, `command`).

mod error;
mod syntax;
mod value;

pub(crate) use error::{ArgError, mask_keys};
pub(crate) use syntax::canonical;
pub(crate) use value::{GoDuration, parse_bool, parse_duration, parse_int, quote, quote_list, shell_quote};

use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// What an argument list turned out to be.
pub(crate) enum Typed {
    /// A command to run.
    Run(ArgMatches),
    /// `--help` was asked for, or nothing at all: this is the text.
    Help(String),
}

/// Reads `args` (without the program name) against the command tree `root`.
pub(crate) fn read(root: &Command, args: &[String]) -> Result<Typed, ArgError> {
    let args = rewritten(args);
    let line = canonical(root, &args)?;
    if line.help {
        return Ok(Typed::Help(usage(root, &line.path)));
    }
    match root.clone().try_get_matches_from(&line.argv) {
        Ok(matches) => Ok(Typed::Run(matches)),
        Err(error) => Err(error::from_clap(&error, usage(root, &line.path), &line.path)),
    }
}

/// The help text of the command at `path` below `root`.
pub(crate) fn usage(root: &Command, path: &[String]) -> String {
    fn render(command: &mut Command, path: &[String]) -> String {
        if let Some((name, rest)) = path.split_first()
            && let Some(sub) = command.find_subcommand_mut(name)
        {
            return render(sub, rest);
        }
        command.render_help().to_string()
    }
    let mut root = root.clone();
    root.build();
    let text = render(&mut root, path);
    let text = text.trim();
    // A heading with nothing below it.
    format!("{}\n", text.strip_suffix("FLAGS").unwrap_or(text).trim_end())
}

/// Spellings that the Go tool rewrites before it parses: old names of two flags, `-V`, `help`.
fn rewritten(args: &[String]) -> Vec<String> {
    let mut out: Vec<String> = args
        .iter()
        .map(|arg| {
            for (old, new) in [("authkey", "auth-key"), ("posture-checking", "report-posture")] {
                let body = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'));
                match body.and_then(|body| body.strip_prefix(old)) {
                    Some("") => return format!("--{new}"),
                    Some(value) if value.starts_with('=') => return format!("--{new}{value}"),
                    _ => {}
                }
            }
            arg.clone()
        })
        .collect();
    match out.first().map(String::as_str) {
        Some("-V" | "--version") if out.len() == 1 => out = vec!["version".to_owned()],
        Some("help") => {
            out.remove(0);
            out.push("--help".to_owned());
        }
        _ => {}
    }
    out
}

/// A command that takes flags and words.
pub(crate) fn command(name: &'static str, usage: &'static str, about: &'static str) -> Command {
    bare(name, usage, about)
        .help_template("{about}\n\nUSAGE\n  {usage}\n\n{before-help}FLAGS\n{options}")
        .arg(Arg::new("args").num_args(0..).hide(true).value_parser(ValueParser::string()))
}

/// A command that is only a name for the commands below it.
pub(crate) fn group(name: &'static str, usage: &'static str, about: &'static str) -> Command {
    bare(name, usage, about).help_template(
        "{about}\n\nUSAGE\n  {usage}\n\n{before-help}SUBCOMMANDS\n{subcommands}\n\nFLAGS\n{options}",
    )
}

/// The house layout of help and nothing that clap would add by itself.
fn bare(name: &'static str, usage: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .override_usage(usage)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
}

/// A Go boolean flag: `--name`, `--name=true`, `--name=false`.
pub(crate) fn switch(name: &'static str, default: bool, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .value_name("bool")
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value(if default { "true" } else { "false" })
        .value_parser(ValueParser::new(parse_bool))
}

/// A flag that takes text. An empty `default` is not shown.
pub(crate) fn text(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .value_name("value")
        .default_value(default)
        .hide_default_value(default.is_empty())
        .value_parser(ValueParser::string())
}

/// A flag that takes a Go duration such as `1m30s`.
pub(crate) fn duration(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    text(name, default, help).value_parser(ValueParser::new(parse_duration))
}

/// A flag that takes a whole number.
pub(crate) fn int(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    text(name, default, help).value_parser(ValueParser::new(parse_int))
}

/// Typed look-ups that cannot panic: a flag that a command does not define reads as its zero value.
pub(crate) trait Matches {
    /// The boolean flag `name`.
    fn on(&self, name: &str) -> bool;
    /// The text flag `name`.
    fn word(&self, name: &str) -> &str;
    /// The whole-number flag `name`.
    fn number(&self, name: &str) -> i64;
    /// The duration flag `name`.
    fn span(&self, name: &str) -> GoDuration;
    /// Whether `name` was given on the command line.
    fn given(&self, name: &str) -> bool;
    /// Everything after the flags.
    fn rest(&self) -> Vec<&str>;
}

impl Matches for ArgMatches {
    fn on(&self, name: &str) -> bool {
        self.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or_default()
    }

    fn word(&self, name: &str) -> &str {
        self.try_get_one::<String>(name).ok().flatten().map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> i64 {
        self.try_get_one::<i64>(name).ok().flatten().copied().unwrap_or_default()
    }

    fn span(&self, name: &str) -> GoDuration {
        self.try_get_one::<GoDuration>(name).ok().flatten().copied().unwrap_or_default()
    }

    fn given(&self, name: &str) -> bool {
        self.try_contains_id(name).is_ok() && self.value_source(name) == Some(ValueSource::CommandLine)
    }

    fn rest(&self) -> Vec<&str> {
        match self.try_get_many::<String>("args") {
            Ok(Some(values)) => values.map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
