//! The tables that commands and their flags are made of. Reading a line and writing help both go by them.

use crate::command::Handler;

/// A command, or the name of a group of commands.
pub struct Command {
    /// The word that is typed.
    pub(crate) name: &'static str,
    /// How it is typed, a form a line.
    pub(crate) usage: &'static str,
    /// One line.
    pub(crate) about: &'static str,
    /// What help says besides, in lines of at most 80 characters; may be empty.
    pub(crate) more: &'static str,
    /// Its flags, in groups that several commands may share.
    pub(crate) flags: &'static [&'static [Flag]],
    /// Commands below it.
    pub(crate) commands: &'static [&'static Self],
    /// Runs it; a group only has commands.
    pub(crate) run: Option<Handler>,
    /// Whether help of the group leaves it out.
    pub(crate) hidden: bool,
    /// Whether a flag that is not given means "as it is", so that help has no defaults to tell.
    pub(crate) partial: bool,
}

impl Command {
    /// What a command of no particular kind has.
    pub(crate) const PLAIN: Self = Self {
        name: "",
        usage: "",
        about: "",
        more: "",
        flags: &[],
        commands: &[],
        run: None,
        hidden: false,
        partial: false,
    };

    /// The flag `name`.
    pub(crate) fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.all_flags().find(|flag| flag.name == name)
    }

    /// The command `name` below this one.
    pub(crate) fn command(&self, name: &str) -> Option<&'static Self> {
        self.commands.iter().copied().find(|command| command.name == name)
    }

    fn all_flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().copied().flatten()
    }

    /// All flags by name.
    pub(crate) fn sorted_flags(&self) -> Vec<&'static Flag> {
        let mut sorted: Vec<&'static Flag> = Vec::new();
        for flag in self.all_flags() {
            // They come in sorted groups, so most belong near the end.
            let at = sorted.iter().rposition(|other| other.name < flag.name).map_or(0, |at| at + 1);
            sorted.insert(at, flag);
        }
        sorted
    }
}

/// A flag.
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As it would be typed.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    /// Whether help leaves it out.
    pub(crate) hidden: bool,
}

/// What a flag's value is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A Go boolean: `--name`, `--name=true`, `--name=false`.
    Switch,
    /// One that must not be switched off.
    OnlyTrue,
    /// Any text.
    Text,
    /// A whole number.
    Int,
    /// A Go duration such as `1m30s`.
    Duration,
}

impl Kind {
    /// Whether the value may be left out, and never is a word of its own.
    pub(crate) fn boolean(self) -> bool {
        matches!(self, Self::Switch | Self::OnlyTrue)
    }
}

impl Flag {
    const fn new(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Self {
        Self { name, kind, default, help, hidden: false }
    }

    /// Left out of help.
    pub(crate) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// A boolean flag.
pub(crate) const fn switch(name: &'static str, default: bool, help: &'static str) -> Flag {
    Flag::new(name, Kind::Switch, if default { "true" } else { "false" }, help)
}

/// A flag that is always true.
pub(crate) const fn only_true(name: &'static str, help: &'static str) -> Flag {
    Flag::new(name, Kind::OnlyTrue, "true", help)
}

/// A flag that takes text.
pub(crate) const fn text(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag::new(name, Kind::Text, default, help)
}

/// A flag that takes a Go duration.
pub(crate) const fn duration(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag::new(name, Kind::Duration, default, help)
}

/// A flag that takes a whole number.
pub(crate) const fn int(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag::new(name, Kind::Int, default, help)
}
