//! What was typed, read by the tables of `spec` in Go's flag syntax.
//!
//! Owns: tables of commands and flags, reading a line, saying in the words people know from the Go tool what is wrong
//! with it, and help. Leaves out: what the flags mean (`prefs`, `command`).

mod error;
mod help;
mod matches;
mod parse;
mod spec;
mod value;

pub use error::nearest;
pub(crate) use error::{ArgError, hide, mask_given};
pub(crate) use help::usage;
pub(crate) use matches::Matches;
pub use spec::Command;
pub(crate) use spec::{Flag, Kind, duration, int, only_true, switch, text};
pub use value::parse_bool;
pub(crate) use value::{GoDuration, parse_duration, parse_int, quote, quote_list, shell_quote};

/// What an argument list turned out to be.
pub(crate) enum Typed {
    /// A command to run: what it and those above it were given, outermost first.
    Run(Vec<Matches>),
    /// `--help` was asked for, or nothing at all: this is the text.
    Help(String),
}

/// Reads `args` (without the program name) by the commands below `root`. `socket` is told in help.
pub(crate) fn read(root: &'static Command, socket: &str, args: &[String]) -> Result<Typed, ArgError> {
    parse::parse(root, socket, &rewritten(args))
}

/// Spellings that the Go tool rewrites before it parses: old names of two flags, `-V`, `help`.
fn rewritten(args: &[String]) -> Vec<String> {
    let mut out: Vec<String> = args.iter().map(|arg| renamed(arg).unwrap_or_else(|| arg.clone())).collect();
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

/// A flag by its new name, if `arg` has its old one.
fn renamed(arg: &str) -> Option<String> {
    let body = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    for (old, new) in [("authkey", "--auth-key"), ("posture-checking", "--report-posture")] {
        if let Some(value) = body.strip_prefix(old).filter(|value| value.is_empty() || value.starts_with('='))
        {
            return Some([new, value].concat());
        }
    }
    None
}

#[cfg(test)]
mod tests;
