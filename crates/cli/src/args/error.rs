//! What is wrong with an argument list, in the Go tool's words plus the nearest right spelling.
//!
//! Flag errors end with status 2 and the command's help, as there; an unknown command ends with status 1.

use super::spec::Command;

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

    /// A command below the one typed as `path` was to follow: status 1, with help.
    pub(super) fn no_command(path: &str, usage: String) -> Self {
        Self { message: format!("{path}: subcommand required"), usage, status: 1 }
    }

    /// A command that does not exist below `parent`, typed as `path`: status 1, no help.
    pub(super) fn unknown_command(parent: &Command, path: &str, word: &str) -> Self {
        let mut message = format!("{path}: unknown subcommand: {word}");
        let mut known = parent.commands.iter().filter(|below| !below.hidden).map(|below| below.name);
        if path == "tailscale" && LEFT_OUT.contains(&word) {
            message.push_str(&format!("\n'tailscale {word}' is for a part that is not in this build."));
        } else if let Some(nearest) = nearest(word, &mut known) {
            message.push_str(&format!("\nDid you mean '{path} {nearest}'?"));
        } else if path != "tailscale" && !parent.more.is_empty() {
            message.push('\n');
            message.push_str(parent.more);
        }
        Self { message, usage: String::new(), status: 1 }
    }
}

/// Commands for parts that are not here: never, or not in every build.
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

/// The one of `known` that is the fewest edits away from `word`, if it is near at all: one edit in three letters.
pub fn nearest<'a>(word: &str, known: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut best = None;
    let mut most = (word.len() / 3).max(1);
    for name in known {
        let far = edits(word, name);
        if far <= most && (best.is_none() || far < most) {
            (best, most) = (Some(name), far);
        }
    }
    best
}

/// Letters to change, add or take away. Of long words only the beginning counts.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().take(64).enumerate() {
        // What stood up and left of the place, and what stands left of it.
        let (mut diagonal, mut left) = (i, i + 1);
        for (place, y) in row.iter_mut().zip(std::iter::once(None).chain(b.bytes().map(Some))) {
            let Some(y) = y else {
                *place = left;
                continue;
            };
            let above = *place;
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = above;
            *place = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Overwrites in `text` the secret part of every `tskey-…`, and the auth key that `args` give, whatever it looks like.
pub(crate) fn mask_given(args: &[String], text: &str) -> String {
    let mut text = mask_keys(text);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let body = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or("");
        let (name, value) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
        if ["auth-key", "authkey"].contains(&name) {
            text = hide(value.or_else(|| words.next().map(String::as_str)).unwrap_or(""), &text);
        }
    }
    text
}

/// `text` without the auth key `key`. What is shorter than any key is none, nor is the name of a file.
pub(crate) fn hide(key: &str, text: &str) -> String {
    const SHORTEST: usize = 8;
    if key.len() < SHORTEST || key.starts_with("file:") {
        return text.to_owned();
    }
    text.replace(key, "...")
}

/// Overwrites the secret part of every `tskey-…` in `text`.
fn mask_keys(text: &str) -> String {
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
