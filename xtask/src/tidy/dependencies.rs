//! Licences of what we build on, by the list in `deny.toml`, and what pure crates must not reach.

use super::Finding;
use crate::metadata::Metadata;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// Crates that must stay free of a runtime and of sockets.
const PURE: [&str; 5] = ["datapath", "engine", "netmap", "netstack", "keys"];

/// What they must not reach.
const IMPURE: [&str; 5] = ["tokio", "hyper", "rustls", "mio", "socket2"];

/// Both checks.
pub(super) fn checks(root: &Path) -> Result<Vec<Finding>> {
    let metadata = Metadata::load()?;
    let text = std::fs::read_to_string(root.join("deny.toml")).context("deny.toml")?;
    let allowed = allowed(&text);
    let licences = metadata.packages().filter(|package| !package.ours).filter_map(|package| {
        let licence = package.licence.as_deref().unwrap_or("no licence named");
        let fine = accepts(licence, &allowed);
        (!fine).then(|| format!("{} {}: {licence} is not in deny.toml's list", package.name, package.version))
    });
    let reached = PURE.iter().flat_map(|name| {
        let closure = metadata.closure(name);
        IMPURE
            .iter()
            .filter(move |impure| closure.contains(*impure))
            .map(move |impure| format!("{name} must stay pure but reaches {impure}"))
    });
    Ok(vec![("licences", licences.collect()), ("pure crates", reached.collect())])
}

/// The strings of `allow` in the table `[licenses]`.
fn allowed(text: &str) -> BTreeSet<String> {
    let mut table = "";
    let mut in_list = false;
    let mut names = BTreeSet::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if line.starts_with('[') && !in_list {
            table = line;
        } else if table == "[licenses]" && (in_list || line.replace(' ', "").starts_with("allow=[")) {
            names.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
            in_list = !line.ends_with(']');
        }
    }
    names
}

/// Whether an SPDX expression can be satisfied with allowed licences alone.
fn accepts(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, at: 0, allowed };
    let fine = parser.either();
    fine && parser.at == words.len()
}

/// `either = both (OR both)*`, `both = one (AND one)*`, `one = ( either ) | name [WITH exception]`.
struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    allowed: &'a BTreeSet<String>,
}

impl Parser<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let found = self.words.get(self.at) == Some(&word);
        self.at += usize::from(found);
        found
    }

    fn either(&mut self) -> bool {
        let mut fine = self.both();
        while self.next_is("OR") {
            fine |= self.both();
        }
        fine
    }

    fn both(&mut self) -> bool {
        let mut fine = self.one();
        while self.next_is("AND") {
            fine &= self.one();
        }
        fine
    }

    fn one(&mut self) -> bool {
        if self.next_is("(") {
            let fine = self.either();
            return self.next_is(")") && fine;
        }
        let Some(name) = self.words.get(self.at) else { return false };
        self.at += 1;
        let mut name = (*name).to_owned();
        if self.next_is("WITH") {
            name.push_str(" WITH ");
            name.push_str(self.words.get(self.at).unwrap_or(&""));
            self.at += 1;
        }
        self.allowed.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_list_of_the_right_table() {
        let text =
            "[bans]\nallow = [\"no\"]\n[licenses]\nx = 1\nallow = [\n  \"MIT\", # fine\n  \"ISC\",\n]\n[z]\n";
        assert_eq!(allowed(text).into_iter().collect::<Vec<_>>(), ["ISC", "MIT"]);
    }

    #[test]
    fn expressions_are_understood() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        for fine in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "MIT AND ISC",
            "(GPL-3.0 OR MIT) AND ISC",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(accepts(fine, &allowed), "{fine}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "", "(MIT", "MIT ISC", "Apache-2.0"] {
            assert!(!accepts(bad, &allowed), "{bad}");
        }
    }
}
