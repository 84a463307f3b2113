//! Which of the licences that a crate offers it is taken under.
//!
//! An SPDX expression leaves choices open. Of these the one that costs least text is taken: the Apache licence has the
//! same text for everybody, the others each have somebody's copyright line in them.

use anyhow::{Context, Result, ensure};

/// Licences from the cheapest on.
const ORDER: [&str; 10] = [
    "Apache-2.0",
    "MIT",
    "ISC",
    "0BSD",
    "Zlib",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
    "Apache-2.0 WITH LLVM-exception",
];

/// The licences that apply, each once; more than one where the expression joins them by AND.
///
/// # Errors
/// When the expression is not understood, or every choice has a licence that is not known here.
pub(super) fn choose(expression: &str) -> Result<Vec<String>> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, at: 0 };
    let chosen = reader.either().filter(|_| reader.at == words.len());
    let mut chosen = chosen.context("this expression is not understood")?;
    ensure!(cost(&chosen) < UNKNOWN, "none of these licences is known to `cargo xtask third-party`");
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

/// Dearer than any sum of known ones.
const UNKNOWN: usize = 1_000;

fn cost(licences: &[String]) -> usize {
    licences.iter().map(|name| ORDER.iter().position(|known| known == name).unwrap_or(UNKNOWN)).sum()
}

/// `either = both (OR both)*`, `both = one (AND one)*`, `one = ( either ) | name [WITH exception]`.
struct Reader<'a> {
    words: &'a [&'a str],
    at: usize,
}

impl Reader<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let found = self.words.get(self.at) == Some(&word);
        self.at += usize::from(found);
        found
    }

    fn either(&mut self) -> Option<Vec<String>> {
        let mut best = self.both()?;
        while self.next_is("OR") {
            let other = self.both()?;
            if cost(&other) < cost(&best) {
                best = other;
            }
        }
        Some(best)
    }

    fn both(&mut self) -> Option<Vec<String>> {
        let mut all = self.one()?;
        while self.next_is("AND") {
            all.extend(self.one()?);
        }
        Some(all)
    }

    fn one(&mut self) -> Option<Vec<String>> {
        if self.next_is("(") {
            let inner = self.either()?;
            return self.next_is(")").then_some(inner);
        }
        let name = *self.words.get(self.at).filter(|word| !["OR", "AND", "WITH", ")"].contains(word))?;
        self.at += 1;
        if !self.next_is("WITH") {
            return Some(vec![name.to_owned()]);
        }
        let exception = *self.words.get(self.at)?;
        self.at += 1;
        Some(vec![format!("{name} WITH {exception}")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_choice_is_taken() {
        for (expression, chosen) in [
            ("MIT OR Apache-2.0", "Apache-2.0"),
            ("Apache-2.0/MIT", "Apache-2.0"),
            ("MIT", "MIT"),
            ("Unlicense OR MIT", "MIT"),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", "Apache-2.0"),
            ("Apache-2.0 AND ISC", "Apache-2.0+ISC"),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", "Apache-2.0+Unicode-3.0"),
            ("MIT AND MIT", "MIT"),
        ] {
            assert_eq!(choose(expression).unwrap().join("+"), chosen, "{expression}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for expression in ["", "(MIT", "MIT ISC", "MIT OR", "GPL-3.0-only", "MIT AND GPL-3.0-only", "OR"] {
            assert!(choose(expression).is_err(), "{expression}");
        }
    }
}
