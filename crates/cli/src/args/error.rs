//! What is wrong with an argument list, in the Go tool's words plus the nearest right spelling.
//!
//! Flag errors end with status 2 and the command's help, as there; an unknown command ends with status 1.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::value::quote;

/// A refused argument list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ArgError {
    /// One line or two: what is wrong and what may have been meant.
    pub(crate) message: String,
    /// Help of the command concerned; empty where it would not help.
    pub(crate) usage: String,
    /// Exit status.
    pub(crate) status: i32,
}

impl ArgError {
    /// A flag error: status 2, with help.
    pub(crate) fn syntax(message: String, usage: String) -> Self {
        Self { message, usage, status: 2 }
    }

    /// A command below `path` was to follow: status 1, with help.
    pub(crate) fn no_command(path: &[String], usage: String) -> Self {
        Self { message: format!("{}: subcommand required", spelled(path)), usage, status: 1 }
    }

    /// A command that does not exist below `path`: status 1, no help.
    pub(crate) fn unknown_command(path: &[String], word: &str, nearest: Option<&str>) -> Self {
        let parent = spelled(path);
        let mut message = format!("{parent}: unknown subcommand: {word}");
        if path.is_empty() && LEFT_OUT.contains(&word) {
            message.push_str(&format!("\n'tailscale {word}' is for a part that is not in this build."));
        } else if let Some(nearest) = nearest {
            message.push_str(&format!("\nDid you mean '{parent} {nearest}'?"));
        }
        Self { message, usage: String::new(), status: 1 }
    }

    /// The whole text for stderr, keys masked, newline at the end.
    pub(crate) fn text(&self) -> String {
        mask_keys(&format!("{}\n{}", self.message, self.usage))
    }
}

/// The command at `path`, as it is typed.
fn spelled(path: &[String]) -> String {
    path.iter().fold("tailscale".to_owned(), |all, name| format!("{all} {name}"))
}

/// Commands of Go's tool for parts that are not here.
const LEFT_OUT: [&str; 21] = [
    "appc-routes",
    "cert",
    "completion",
    "configure",
    "dns",
    "drive",
    "exit-node",
    "file",
    "funnel",
    "id-token",
    "licenses",
    "lock",
    "nc",
    "routecheck",
    "serve",
    "service",
    "ssh",
    "syspolicy",
    "systray",
    "update",
    "web",
];

/// Tells a clap error about the command at `path` in our words.
pub(super) fn from_clap(error: &clap::Error, usage: String, path: &[String]) -> ArgError {
    let flag = string(error, ContextKind::InvalidArg).map(|arg| bare(arg).to_owned()).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = string(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            ArgError::unknown_command(path, word, string(error, ContextKind::SuggestedSubcommand))
        }
        ErrorKind::UnknownArgument => {
            let mut message = format!("flag provided but not defined: -{flag}");
            let command = string(error, ContextKind::SuggestedSubcommand);
            if let Some(command) = command {
                message.push_str(&format!(
                    "\nDid you mean 'tailscale {command} --{flag}'? Flags of a command follow its name."
                ));
            } else if let Some(nearest) = string(error, ContextKind::SuggestedArg) {
                message.push_str(&format!("\nDid you mean --{}?", bare(nearest)));
            }
            ArgError::syntax(message, usage)
        }
        _ => {
            let value = string(error, ContextKind::InvalidValue).unwrap_or_default();
            let why = std::error::Error::source(error)
                .map_or_else(|| error.kind().to_string(), ToString::to_string);
            let message = match why.strip_prefix("boolean: ") {
                Some(why) => format!("invalid boolean value {} for -{flag}: {why}", quote(value)),
                None => format!("invalid value {} for flag -{flag}: {why}", quote(value)),
            };
            ArgError::syntax(message, usage)
        }
    }
}

fn string(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        ContextValue::Strings(list) => list.first().map(String::as_str),
        _ => None,
    }
}

/// `--name[=<bool>]` or `--name <value>` as clap writes it → `name`.
fn bare(arg: &str) -> &str {
    let arg = arg.trim_start_matches('-');
    arg.split(['[', '=', ' ', '<']).next().unwrap_or(arg)
}

/// Overwrites the secret part of every `tskey-…` in `text`.
pub(crate) fn mask_keys(text: &str) -> String {
    const PREFIX: &str = "tskey-";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PREFIX) {
        let (before, from) = rest.split_at(at + PREFIX.len());
        out.push_str(before);
        let secret = from.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').count();
        out.extend(std::iter::repeat_n('X', secret));
        // All characters counted are ASCII, so the count is also a byte offset on a boundary.
        rest = from.get(secret..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}
