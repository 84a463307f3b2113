//! Documents name what exists: every path in code marks, and in ARCHITECTURE.md every crate.

use super::{Finding, Tree};
use anyhow::Result;
use std::path::Path;

/// Documents at the root whose paths are checked, beside all of `docs`.
const DOCUMENTS: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"];

/// A word in code marks is a path of this tree when it starts with one of these.
const ROOTS: [&str; 9] =
    ["crates/", "xtask/", "tests/", "docs/", ".ci/", "fuzz/", ".cargo/", "benches/", "routeros/"];

/// Checks all documents.
pub(super) fn names(root: &Path, tree: &Tree) -> Result<Finding> {
    let missing = DOCUMENTS.iter().filter(|name| !tree.files.iter().any(|(file, _)| file == *name));
    let mut problems: Vec<String> = missing.map(|name| format!("{name} is missing")).collect();
    for (document, text) in tree.files.iter().filter(|(name, _)| is_document(name)) {
        let dead = marked(text).filter(|word| is_path(word) && !exists(root, word));
        problems.extend(dead.map(|word| format!("{document} names {word}, which does not exist")));
        if document == "ARCHITECTURE.md" {
            problems.extend(
                crates(root)?
                    .into_iter()
                    .filter(|name| !marked(text).any(|word| names_crate(word, name)))
                    .map(|name| format!("{document} does not name the crate `{name}`")),
            );
        }
    }
    Ok(("documents", problems))
}

/// Everything between single backticks, code blocks left out.
fn marked(text: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    text.lines()
        .filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            in_block ^= fence;
            !in_block && !fence
        })
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn is_document(name: &str) -> bool {
    DOCUMENTS.contains(&name) || (name.starts_with("docs/") && name.ends_with(".md"))
}

fn is_path(word: &str) -> bool {
    ROOTS.iter().any(|root| word.starts_with(root)) && !word.contains([' ', '*', '<', '{', '$', '…'])
}

fn exists(root: &Path, word: &str) -> bool {
    // `path::item` and `path:line` point into a file.
    let path = word.split(':').next().unwrap_or(word);
    root.join(path).exists()
}

fn names_crate(word: &str, name: &str) -> bool {
    word == name || word.strip_prefix("crates/").is_some_and(|rest| rest.split('/').next() == Some(name))
}

fn crates(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join("crates"))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_code_marks_outside_blocks() {
        let text = "See `crates/lab` and `keys`.\n```\n`tests/no`\n```\n`docs/x.md`";
        assert_eq!(marked(text).collect::<Vec<_>>(), ["crates/lab", "keys", "docs/x.md"]);
    }

    #[test]
    fn all_of_docs_is_read() {
        assert!(is_document("README.md") && is_document("docs/dns.md"));
        assert!(!is_document("docs/features.json") && !is_document("crates/dns/README.md"));
        let text = "`tests/tests/no_such_test.rs`".to_owned();
        let tree = Tree { files: vec![("docs/dns.md".to_owned(), text)] };
        let (_, problems) = names(&lab::workspace_root(), &tree).unwrap();
        let dead = "docs/dns.md names tests/tests/no_such_test.rs, which does not exist";
        assert!(problems.iter().any(|problem| problem == dead), "{problems:?}");
        assert!(problems.iter().any(|problem| problem == "README.md is missing"), "{problems:?}");
    }

    #[test]
    fn tells_paths_and_crates_from_other_words() {
        assert!(is_path("crates/lab/src/lib.rs") && !is_path("cargo xtask") && !is_path("crates/*/src"));
        assert!(
            names_crate("lab", "lab") && names_crate("crates/lab/src", "lab") && !names_crate("label", "lab")
        );
    }
}
