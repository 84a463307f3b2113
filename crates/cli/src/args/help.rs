//! Help: what a command is for, how it is typed, and its flags or commands in two columns of 80 characters.

use super::spec::{Command, Flag, Kind};

/// No line is longer, unless one word is.
const WIDTH: usize = 80;
/// What is longer stands on a line of its own, so that a single long flag does not push all texts to the right.
const LEFT: usize = 30;

/// The help of `command`. `socket` is where the daemon's socket is, unless the flag of that name says otherwise.
pub(crate) fn usage(command: &Command, socket: &str) -> String {
    let mut out = String::with_capacity(1024);
    for piece in [command.about, "\n\nUSAGE\n  ", command.usage, "\n"] {
        out.push_str(piece);
    }
    if !command.more.is_empty() {
        for piece in ["\n", command.more, "\n"] {
            out.push_str(piece);
        }
    }
    let below = command.commands.iter().filter(|below| !below.hidden && command.run.is_none());
    let below = below.map(|below| (below.name.to_owned(), below.about, String::new())).collect();
    columns(&mut out, "SUBCOMMANDS", below);
    let flags = command.sorted_flags();
    let flags = flags.into_iter().filter(|flag| !flag.hidden);
    columns(&mut out, "FLAGS", flags.map(|flag| row(flag, command.partial, socket)).collect());
    out
}

/// A flag as it is typed, what it means, and its default.
fn row(flag: &Flag, partial: bool, socket: &str) -> (String, &'static str, String) {
    let default = if flag.name == "socket" { socket } else { flag.default };
    // A switch that is off is what everybody expects.
    let plain = partial || default.is_empty() || (flag.kind == Kind::Switch && default == "false");
    let value = match flag.kind {
        Kind::Switch | Kind::OnlyTrue if plain && !partial => "",
        Kind::Switch | Kind::OnlyTrue => "[=false]",
        Kind::Text => " <value>",
        Kind::Int => " <number>",
        Kind::Duration => " <duration>",
    };
    let default = if plain { String::new() } else { ["[default: ", default, "]"].concat() };
    let dashes = if flag.name.len() == 1 { "-" } else { "--" };
    ([dashes, flag.name, value].concat(), flag.help, default)
}

/// `rows` of what is typed, its text and an addition that is not broken, below `title`; nothing where there are none.
fn columns(out: &mut String, title: &str, rows: Vec<(String, &str, String)>) {
    if rows.is_empty() {
        return;
    }
    let left = rows.iter().map(|(left, ..)| left.len()).filter(|len| *len <= LEFT).max().unwrap_or(4);
    out.push('\n');
    out.push_str(title);
    out.push('\n');
    for (typed, text, addition) in rows {
        out.push_str("  ");
        out.push_str(&typed);
        let mut at = typed.len() + 2;
        if typed.len() > left {
            out.push('\n');
            at = 0;
        }
        let indent = left + 4;
        for word in text.split(' ').chain(Some(addition.as_str())).filter(|word| !word.is_empty()) {
            let fits = at < indent || at + 1 + word.chars().count() <= WIDTH;
            if !fits {
                out.push('\n');
                at = 0;
            }
            let blanks = indent.saturating_sub(at).max(1);
            out.extend(std::iter::repeat_n(' ', blanks));
            out.push_str(word);
            at += blanks + word.chars().count();
        }
        out.push('\n');
    }
}
