//! Spellings: what a person may write for a feature, and what upstream's tools write.
//!
//! Capitals, dashes and underscores make no difference (`Advertise-Exit-Node`); aliases stand in the graph;
//! `ts_omit_dns` is the tag by which Go's build leaves `dns` out, so it removes here, too. Several names may be joined
//! by commas, as `featuretags --add` takes them and prints tags.

use super::Graph;
use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;

/// Most edits between a wrong name and the right one that is suggested.
const NEAR: usize = 3;

/// What Go's build calls the command line, which is always in here.
const ALWAYS_IN: [&str; 2] = ["cli", "tsincludecli"];

/// What a word asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// This feature.
    Feature(String),
    /// A build without this feature.
    Without(String),
    /// What is so in any case: it is in.
    Nothing,
    /// A tag for what this product has no feature for, and why.
    Absent(String),
}

/// Reads a list of words, each perhaps several joined by commas. Each comes with its spelling.
///
/// # Errors
/// The first unknown one, with the nearest name there is.
pub(super) fn read(graph: &Graph, words: &[String]) -> Result<Vec<(String, Word)>> {
    let words = words.iter().flat_map(|word| word.split(',')).map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| Ok((word.to_owned(), one(graph, word)?))).collect()
}

fn one(graph: &Graph, word: &str) -> Result<Word> {
    let plain = plain(word);
    if ALWAYS_IN.contains(&plain.as_str()) {
        return Ok(Word::Nothing);
    }
    if let Some(left_out) = plain.strip_prefix("tsomit") {
        if let Some(feature) = find(graph, left_out) {
            return Ok(Word::Without(feature.to_owned()));
        }
        return match graph.absent.iter().find(|(name, _)| self::plain(name) == left_out) {
            Some((_, why)) => Ok(Word::Absent(why.clone())),
            None => bail!(unknown(graph, word, left_out)),
        };
    }
    if let Some(feature) = find(graph, &plain) {
        return Ok(Word::Feature(feature.to_owned()));
    }
    if let Some((name, why)) = graph.absent.iter().find(|(name, _)| self::plain(name) == plain) {
        bail!("{name} is a feature of upstream's that this product leaves out: {why}");
    }
    bail!(unknown(graph, word, &plain))
}

fn unknown(graph: &Graph, word: &str, plain: &str) -> String {
    let spellings = spellings(graph);
    let near = spellings
        .iter()
        .map(|(spelling, name)| (edits(plain, &self::plain(spelling)), *spelling, *name))
        .min()
        // Of a short word less may be wrong.
        .filter(|(edits, ..)| *edits <= NEAR && edits * 2 < plain.chars().count());
    match near {
        Some((_, spelling, name)) if spelling == name => {
            format!("no feature {word:?}; did you mean {name}?")
        }
        Some((_, spelling, name)) => format!("no feature {word:?}; did you mean {spelling} ({name})?"),
        None => format!("no feature {word:?}; `cargo xtask features` lists them"),
    }
}

/// The feature that `plain` is the name or an alias of.
fn find<'a>(graph: &'a Graph, plain: &str) -> Option<&'a str> {
    spellings(graph).into_iter().find(|(spelling, _)| self::plain(spelling) == plain).map(|(_, name)| name)
}

/// Every name and alias with its feature.
fn spellings(graph: &Graph) -> Vec<(&str, &str)> {
    let both = graph.features.iter().flat_map(|(name, feature)| {
        std::iter::once(name).chain(&feature.aliases).map(move |spelling| (spelling.as_str(), name.as_str()))
    });
    both.collect()
}

/// Without what makes no difference.
fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// No word may mean two features.
///
/// # Errors
/// Two that do.
pub(super) fn check(graph: &Graph) -> Result<()> {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for (spelling, name) in spellings(graph) {
        let plain = plain(spelling);
        ensure!(!plain.starts_with("tsomit"), "{spelling} reads like a tag that leaves something out");
        ensure!(
            !graph.absent.keys().any(|name| self::plain(name) == plain),
            "{spelling} means {name} and something absent"
        );
        if let Some(other) = taken.insert(plain, name) {
            bail!("{spelling} means both {other} and {name}");
        }
    }
    Ok(())
}

/// Edits that make one word of another: letters put in, taken out, replaced, neighbours exchanged.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(x != y)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}
