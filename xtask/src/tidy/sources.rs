//! Rules that each source file keeps.

use super::{Finding, Tree};

/// Longest file that needs no reason.
const LONG: usize = 600;

/// A first line with this gives the reason why a file is longer.
const REASON: &str = "(long:";

/// All checks of sources.
pub(super) fn checks(tree: &Tree) -> Vec<Finding> {
    vec![
        ("opens with //!", each(tree, no_header)),
        ("length", each(tree, too_long)),
        ("feature cfg only in the daemon's parts", each(tree, feature_cfg)),
        ("no 64-bit atomics (ARMv5 has none)", each(tree, wide_atomics)),
        ("no paths of a machine", machine_paths(tree)),
        ("workspace lints", lints(tree)),
    ]
}

fn each(tree: &Tree, check: fn(&str, &str) -> Option<String>) -> Vec<String> {
    tree.rust()
        .filter_map(|(name, text)| check(name, text).map(|problem| format!("{name}: {problem}")))
        .collect()
}

fn no_header(_: &str, text: &str) -> Option<String> {
    (!text.starts_with("//!")).then(|| "has no `//!` on its first line".to_owned())
}

fn too_long(_: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let reasoned = text.lines().next().is_some_and(|line| line.contains(REASON));
    (lines > LONG && !reasoned).then(|| format!("has {lines} lines and no `{REASON} reason)` on its first"))
}

fn feature_cfg(name: &str, text: &str) -> Option<String> {
    if name.starts_with("crates/daemon/src/parts/") || !name.starts_with("crates/") {
        return None;
    }
    let compact = |line: &str| line.split_whitespace().collect::<String>();
    let found = text.lines().position(|line| {
        let line = compact(line);
        !line.starts_with("//")
            && ["cfg(", "cfg_attr(", "cfg!("].iter().any(|cfg| line.contains(cfg))
            && line.contains("feature=")
    });
    found.map(|at| format!("cfg(feature) on line {}", at + 1))
}

fn wide_atomics(name: &str, text: &str) -> Option<String> {
    let found = text.lines().position(|line| {
        let code = line.split("//").next().unwrap_or_default();
        code.contains("AtomicU64") || code.contains("AtomicI64")
    });
    let found = found.filter(|_| name.starts_with("crates/") && !name.starts_with("crates/lab/"))?;
    Some(format!("64-bit atomic on line {}", found + 1))
}

fn machine_paths(tree: &Tree) -> Vec<String> {
    // In two pieces, so that this file does not contain what it looks for.
    let forbidden = [concat!("/wo", "rk/"), concat!("/fa", "rm/"), concat!("/ro", "ot/")];
    let mut problems = Vec::new();
    for (name, text) in &tree.files {
        for (at, line) in text.lines().enumerate() {
            if let Some(path) = forbidden.iter().find(|path| line.contains(**path)) {
                problems.push(format!("{name}:{}: {path}…", at + 1));
            }
        }
    }
    problems
}

fn lints(tree: &Tree) -> Vec<String> {
    let manifests =
        tree.files.iter().filter(|(name, _)| name.ends_with("/Cargo.toml") && !name.starts_with("fuzz/"));
    manifests
        .filter(|(_, text)| !text.contains("[lints]\nworkspace = true"))
        .map(|(name, _)| format!("{name} does not opt in to the workspace's lints"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_cfg_is_found_where_it_must_not_be() {
        let line = concat!("#[cfg(fea", "ture = \"dns\")]");
        assert!(feature_cfg("crates/daemon/src/main.rs", line).is_some());
        assert!(
            feature_cfg("crates/dns/src/lib.rs", &format!("a\n  {line}")).is_some_and(|p| p.ends_with("2"))
        );
        assert!(feature_cfg("crates/daemon/src/parts/dns/mod.rs", line).is_none());
        assert!(feature_cfg("crates/dns/src/lib.rs", &format!("//! {line}")).is_none());
        assert!(feature_cfg("crates/dns/src/lib.rs", "#[cfg(test)]").is_none());
    }

    #[test]
    fn long_files_need_a_reason_and_all_need_a_header() {
        let long = "//! One thing.\n".repeat(LONG + 1);
        assert!(too_long("x.rs", &long).is_some());
        assert!(too_long("x.rs", &format!("//! A table {REASON} it is one table).\n{long}")).is_none());
        assert!(too_long("x.rs", "//! Short.\n").is_none());
        assert!(no_header("x.rs", "use a;").is_some() && no_header("x.rs", "//! x").is_none());
    }

    #[test]
    fn machine_paths_and_missing_lints_are_found() {
        let bad = format!("cd {}x", concat!("/ro", "ot/"));
        let files =
            vec![("crates/a/Cargo.toml".to_owned(), "[package]\n".to_owned()), ("docs/x.md".to_owned(), bad)];
        let tree = Tree { files };
        assert_eq!(machine_paths(&tree).len(), 1);
        assert_eq!(lints(&tree).len(), 1);
    }
}
