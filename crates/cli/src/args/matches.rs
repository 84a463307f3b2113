//! What a command was given. Look-ups cannot fail: a flag that the command does not define reads as its zero value.

use super::spec::{Command, Flag};
use super::{GoDuration, parse_bool, parse_duration, parse_int};

/// The flags and words of one command of a line. Values were checked when they were read.
pub(crate) struct Matches {
    /// The command.
    pub(crate) command: &'static Command,
    given: Vec<(&'static Flag, String)>,
    /// Everything after the flags.
    words: Vec<String>,
}

impl Matches {
    pub(super) const fn new(command: &'static Command) -> Self {
        Self { command, given: Vec::new(), words: Vec::new() }
    }

    pub(super) fn push(&mut self, flag: &'static Flag, value: String) {
        self.given.push((flag, value));
    }

    pub(super) fn push_word(&mut self, word: &str) {
        self.words.push(word.to_owned());
    }

    /// What the flag `name` has on the command line.
    fn typed(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(flag, _)| flag.name == name).map(|(_, value)| value.as_str())
    }

    /// The boolean flag `name`.
    pub(crate) fn on(&self, name: &str) -> bool {
        parse_bool(self.word(name)) == Ok(true)
    }

    /// The text flag `name`; of another flag, its text.
    pub(crate) fn word(&self, name: &str) -> &str {
        self.typed(name).or_else(|| Some(self.command.flag(name)?.default)).unwrap_or_default()
    }

    /// The whole-number flag `name`.
    pub(crate) fn number(&self, name: &str) -> i64 {
        parse_int(self.word(name)).unwrap_or_default()
    }

    /// The duration flag `name`.
    pub(crate) fn span(&self, name: &str) -> GoDuration {
        parse_duration(self.word(name)).unwrap_or_default()
    }

    /// Whether `name` was given on the command line.
    pub(crate) fn given(&self, name: &str) -> bool {
        self.typed(name).is_some()
    }

    /// The flags that were given, by name.
    pub(crate) fn all_given(&self) -> Vec<&'static Flag> {
        let mut flags = self.command.sorted_flags();
        flags.retain(|flag| self.given(flag.name));
        flags
    }

    /// Everything after the flags.
    pub(crate) fn rest(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }
}
