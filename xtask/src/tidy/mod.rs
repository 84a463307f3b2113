//! `cargo xtask tidy`: what this tree promises about itself, as checks that plain `cargo test` runs as well.

mod architecture;
mod dependencies;
mod sources;
mod unused;

use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A check's name and what it found wrong.
pub(crate) type Finding = (&'static str, Vec<String>);

/// Runs all checks.
pub(crate) fn checks() -> Result<Vec<Finding>> {
    let root = lab::workspace_root();
    let tree = Tree::read(&root)?;
    let mut findings = vec![architecture::names(&root, &tree)?];
    findings.extend(sources::checks(&tree));
    findings.push(unused::check(&tree));
    findings.extend(dependencies::checks(&root)?);
    Ok(findings)
}

/// Prints what is wrong.
pub(crate) fn run() -> Result<ExitCode> {
    let mut wrong = 0;
    for (name, problems) in checks()? {
        for problem in &problems {
            println!("{name}: {problem}");
        }
        wrong += problems.len();
    }
    println!("{wrong} things to tidy");
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every text file of the tree that is ours: what the version control would list, without asking it.
pub(crate) struct Tree {
    /// Path from the root, with `/`, and content.
    pub(crate) files: Vec<(String, String)>,
}

impl Tree {
    /// Folders that are made, not written.
    const MADE: [&'static str; 6] = ["target", "dist", ".git", "corpus", "artifacts", "node_modules"];

    fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let mut open: Vec<PathBuf> = vec![root.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir)? {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                if kind.is_dir() && !Self::MADE.iter().any(|made| entry.file_name() == *made) {
                    open.push(path);
                } else if kind.is_file()
                    && let Ok(text) = std::fs::read_to_string(&path)
                {
                    let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
                    files.push((name, text));
                }
            }
        }
        files.sort();
        Ok(Self { files })
    }

    /// Rust sources.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|(name, _)| name.ends_with(".rs"))
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let problems: Vec<_> = super::checks()
            .unwrap()
            .into_iter()
            .flat_map(|(name, problems)| {
                problems.into_iter().map(move |problem| format!("{name}: {problem}"))
            })
            .collect();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}
