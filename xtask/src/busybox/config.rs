//! Reads `busybox-applets.config`: which applets, and which of busybox's options.
//!
//! Owns: the syntax. Leaves out: which applets exist and where their links go (`applets`), and what busybox makes of
//! the options (`kconfig`).

use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The file, at the root of the tree.
pub(crate) const FILE: &str = "busybox-applets.config";

/// What the file asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// Names of applets.
    pub(super) applets: BTreeSet<String>,
    /// Options by their names, with `CONFIG_`, and values as busybox's configuration spells them.
    pub(super) options: BTreeMap<String, String>,
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// Names the line and what is wrong with it.
    pub(super) fn load() -> Result<Self> {
        let path = lab::workspace_root().join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text).context(FILE)
    }

    /// Reads its text.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut config = Self::default();
        for (at, line) in text.lines().enumerate() {
            config.line(line.trim()).with_context(|| format!("line {}", at + 1))?;
        }
        ensure!(!config.applets.is_empty(), "no applet is named");
        Ok(config)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        if line.starts_with("CONFIG_") {
            return self.option(line);
        }
        let words = line.split('#').next().unwrap_or_default();
        for word in words.split_whitespace() {
            let known =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.[".contains(&byte);
            ensure!(word.bytes().all(known), "`{word}` is neither an applet's name nor CONFIG_…=…");
            ensure!(self.applets.insert(word.to_owned()), "the applet {word} is named twice");
        }
        Ok(())
    }

    fn option(&mut self, line: &str) -> Result<()> {
        let Some((name, rest)) = line.split_once('=') else { bail!("`{line}` has no `=`") };
        let name = name.trim_end();
        let fine = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        ensure!(name.bytes().all(fine), "`{name}` is no name of an option");
        let value = value(rest.trim_start()).with_context(|| name.to_owned())?;
        if let Some((fixed, why)) = super::kconfig::FIXED.iter().find(|(fixed, _)| fixed.0 == name) {
            bail!("{name} is always {}: {why}", fixed.1);
        }
        ensure!(self.options.insert(name.to_owned(), value).is_none(), "{name} is set twice");
        Ok(())
    }

    /// The same for every text that means the same.
    pub(super) fn canonical(&self) -> String {
        let mut text = String::new();
        for applet in &self.applets {
            let _ = writeln!(text, "{applet}");
        }
        for (name, value) in &self.options {
            let _ = writeln!(text, "{name}={value}");
        }
        text
    }
}

/// A value, without what follows it.
fn value(rest: &str) -> Result<String> {
    let (value, remark) = match rest.strip_prefix('"') {
        Some(quoted) => {
            let Some((text, remark)) = quoted.split_once('"') else { bail!("a quote is not closed") };
            ensure!(!text.contains('\\'), "a backslash in a text is not supported");
            (format!("\"{text}\""), remark)
        }
        None => {
            let end = rest.find(|c: char| c.is_whitespace() || c == '#').unwrap_or(rest.len());
            let (word, remark) = rest.split_at(end);
            let number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            ensure!(number || word == "y" || word == "n", "`{word}` is not y, n, a number or \"text\"");
            (word.to_owned(), remark)
        }
    };
    let remark = remark.trim_start();
    ensure!(remark.is_empty() || remark.starts_with('#'), "`{remark}` follows the value");
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_options_and_remarks_are_told_apart() {
        let text = "# CONFIG_NO=y\nls cat # and more\n\n  [ ash\nCONFIG_A=y # why\nCONFIG_B = 100\nCONFIG_C=\"a # b\"\nCONFIG_D=n\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.applets.iter().map(String::as_str).collect::<Vec<_>>(), ["[", "ash", "cat", "ls"]);
        let options: Vec<_> = config.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(options, ["CONFIG_A=y", "CONFIG_B=100", "CONFIG_C=\"a # b\"", "CONFIG_D=n"]);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, told) in [
            ("ls\nLS", "line 2: `LS` is neither"),
            ("ls cat\n# x\nls", "line 3: the applet ls is named twice"),
            ("ls\nCONFIG_A=y\nCONFIG_A=n", "line 3: CONFIG_A is set twice"),
            ("ls\nCONFIG_A", "line 2: `CONFIG_A` has no `=`"),
            ("ls\nCONFIG_a=y", "line 2: `CONFIG_a` is no name"),
            ("ls\nCONFIG_A=m", "line 2: CONFIG_A: `m` is not y, n"),
            ("ls\nCONFIG_A=", "line 2: CONFIG_A: `` is not"),
            ("ls\nCONFIG_A=\"x", "line 2: CONFIG_A: a quote is not closed"),
            ("ls\nCONFIG_A=y y", "line 2: CONFIG_A: `y` follows"),
            ("ls\nCONFIG_STATIC=n", "line 2: CONFIG_STATIC is always y"),
            ("# ls", "no applet is named"),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.starts_with(told), "{text:?}: {error}");
        }
    }

    #[test]
    fn only_the_meaning_counts() {
        let one = Config::parse("ls cat\nCONFIG_B=y\nCONFIG_A=n").unwrap();
        let other = Config::parse("# remark\ncat\nCONFIG_A=n\nls\nCONFIG_B = y # why\n").unwrap();
        assert_eq!(one.canonical(), other.canonical());
        assert_ne!(one.canonical(), Config::parse("ls\nCONFIG_B=y\nCONFIG_A=n").unwrap().canonical());
        assert_ne!(one.canonical(), Config::parse("ls cat\nCONFIG_B=y\nCONFIG_A=y").unwrap().canonical());
    }

    #[test]
    fn the_file_of_this_tree_has_what_people_look_for_in_a_shell() {
        let config = Config::load().unwrap();
        for name in ["ash", "sh", "ls", "ping", "ping6", "traceroute", "ip", "nslookup", "vi", "wget", "ps"] {
            assert!(config.applets.contains(name), "{name}");
        }
        assert!((90..=140).contains(&config.applets.len()), "{} applets", config.applets.len());
    }
}
