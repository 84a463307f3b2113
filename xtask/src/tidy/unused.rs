//! Every dependency has a job: a crate's sources name what its manifest lists, some crate lists what the workspace does.
//!
//! Leaves out: whether the job is worth it (`docs/dependencies.md`).

use super::{Finding, Tree};

/// Packages whose library is called otherwise.
const CALLED: [(&str, &str); 1] = [("rustls-webpki", "webpki")];

/// The manifest of the workspace.
const WORKSPACE: &str = "Cargo.toml";

/// The check.
pub(super) fn check(tree: &Tree) -> Finding {
    let members = || tree.files.iter().filter(|(name, _)| name.ends_with("/Cargo.toml"));
    let mut problems: Vec<String> = members()
        .flat_map(|(manifest, text)| {
            let folder = manifest.strip_suffix(WORKSPACE).unwrap_or(manifest);
            let named = move |crate_name: &str| {
                tree.rust().any(|(name, source)| name.starts_with(folder) && names(source, crate_name))
            };
            dependencies(text)
                .filter(move |package| !named(&library(package)))
                .map(move |package| format!("{manifest} lists {package}, which no source of it names"))
        })
        .collect();
    let workspace = tree.files.iter().find(|(name, _)| name == WORKSPACE);
    let listed = |package: &str| members().any(|(_, text)| dependencies(text).any(|one| one == package));
    problems.extend(
        workspace
            .into_iter()
            .flat_map(|(_, text)| dependencies(text))
            .filter(|package| !listed(package))
            .map(|package| format!("{WORKSPACE} lists {package}, which no crate of it lists")),
    );
    ("every dependency has a job", problems)
}

/// The packages of all tables of dependencies.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
            return None;
        }
        let (name, _) = line.split_once(['.', ' ', '='])?;
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic());
        (inside && is_name).then_some(name)
    })
}

/// What sources call a package.
fn library(package: &str) -> String {
    let called = CALLED.iter().find(|(name, _)| *name == package);
    called.map_or(package, |(_, library)| library).replace('-', "_")
}

/// Whether code uses a path that begins with the crate, or the crate itself.
fn names(source: &str, crate_name: &str) -> bool {
    let code = source.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    let in_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let names_it = |line: &str| {
        line.match_indices(crate_name).any(|(at, _)| {
            let (before, rest) = line.split_at(at);
            let after = rest.strip_prefix(crate_name).unwrap_or_default();
            let begins = !before.ends_with(|letter| in_word(letter) || letter == '.' || letter == ':');
            let used = before.ends_with("use ") && !after.starts_with(in_word);
            begins && (after.starts_with("::") || used)
        })
    };
    code.into_iter().any(names_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect() }
    }

    #[test]
    fn what_nobody_names_is_found() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nlog.workspace = true\nrustls-webpki.workspace = true\n\
                        [target.'cfg(unix)'.dev-dependencies]\n# some\ntwo-words = { workspace = true }\n[lints]\nx = 1\n";
        let workspace =
            "[workspace.dependencies]\nlog = \"1\"\nrustls-webpki = \"1\"\ntwo-words = \"1\"\nold = \"1\"\n";
        let found = |source: &str| {
            let files =
                [("Cargo.toml", workspace), ("crates/a/Cargo.toml", manifest), ("crates/a/src/x.rs", source)];
            check(&tree(&files)).1
        };
        let old = "Cargo.toml lists old, which no crate of it lists";
        assert_eq!(found("use webpki::X;\nfn f() { log::info!() }\nuse two_words;"), [old]);
        let all = ["log", "rustls-webpki", "two-words"]
            .map(|name| format!("crates/a/Cargo.toml lists {name}, which no source of it names"));
        let unused = "// log::info!()\nfn log() {}\nuse a::log::B;\nuse two_words_more;\nself.log();";
        assert_eq!(found(unused), [&all[..], &[old.to_owned()]].concat());
        // Another crate's sources do not count.
        let mut other = tree(&[("crates/a/Cargo.toml", manifest), ("crates/b/src/x.rs", "log::info!()")]);
        assert_eq!(check(&other).1.len(), 3);
        other.files.clear();
        assert!(check(&other).1.is_empty());
    }
}
