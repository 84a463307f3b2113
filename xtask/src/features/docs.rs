//! `docs/features.md`, written from the graph and from what was measured (`cargo xtask features --docs`).

use super::{Graph, Profile, measure};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

const HEAD: &str = "\
# Features

Written by `cargo xtask features --docs` from `crates/daemon/Cargo.toml`; a test fails when it is stale.

A feature is a part of the node that a build may have or lack. Names are those of upstream's build tags. Ask for what
you want, and what it needs comes with it:

    cargo xtask features                          # what there is
    cargo xtask features subnet-router --explain  # what that brings along, and why
    cargo xtask build --features subnet-router,osrouter --target arm/v7
    cargo xtask build --profile tiny --remove portmapper

Any of these may be written: the name, an alias, either with capitals, dashes and underscores (`Advertise-Routes`), several
joined by commas as `featuretags --add` takes them; `ts_omit_x` leaves `x` out, as that tag does in Go's build. A name that
nobody knows is refused with the nearest one. `--remove` is refused while something in the choice needs the feature.

**Planned** means that the code is not written yet. Asked for by name, a planned feature is refused; where a profile or
another feature brings it, the build goes on without it and says so: in its output, in `tailscale version --features` (also
`tailscaled --features`) and in the image's label. To cargo itself planned features are unknown.

A setting whose feature is not in the build (`tailscale up --accept-routes` …) is refused in one sentence by the daemon,
whichever command line asks. What is off, empty or as it was before is never refused.
";

/// Where the page is.
pub(super) fn path() -> PathBuf {
    lab::workspace_root().join("docs").join("features.md")
}

/// Writes the page.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(graph: &Graph) -> Result<()> {
    let page = page(graph, &measure::recorded()?);
    std::fs::write(path(), page).with_context(|| path().display().to_string())
}

/// The whole page. `bytes`: what each feature was measured to add.
pub(super) fn page(graph: &Graph, bytes: &BTreeMap<String, i64>) -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## What there is\n\n");
    out.push_str("Bytes are what a feature and what it needs add to an unpacked arm/v7 binary that has `osrouter` alone\n");
    out.push_str("(`osrouter`: to one that has nothing), measured by the nightly run.\n\n");
    out.push_str("| feature | what it is good for | needs | profiles | bytes | also called |\n|---|---|---|---|---|---|\n");
    for (name, feature) in &graph.features {
        let needs: Vec<_> = feature.needs.keys().map(|need| format!("`{need}`")).collect();
        let profiles = Profile::ALL.into_iter().filter(|profile| has(graph, *profile, name));
        let profiles: Vec<_> = profiles.map(Profile::name).collect();
        let size = match (feature.planned, bytes.get(name)) {
            (true, _) => "planned".to_owned(),
            (false, Some(bytes)) => bytes.to_string(),
            (false, None) => "not measured".to_owned(),
        };
        let aliases = feature.aliases.join(", ");
        let (needs, profiles) = (needs.join(" "), profiles.join(" "));
        let _ = writeln!(out, "| `{name}` | {} | {needs} | {profiles} | {size} | {aliases} |", feature.about);
    }
    out.push_str("\n## Why one needs another\n\n| feature | needs | because |\n|---|---|---|\n");
    for (name, feature) in &graph.features {
        for (to, why) in &feature.needs {
            let mark = if feature.undeclared.contains(to) { " *" } else { "" };
            let _ = writeln!(out, "| `{name}` | `{to}`{mark} | {why} |");
        }
    }
    out.push_str("\n\\* upstream does not declare it, and a build of upstream's without it misbehaves.\n\n");
    let one_of: Vec<_> = graph.one_of.iter().map(|name| format!("`{name}`")).collect();
    let _ = writeln!(
        out,
        "{} must be in, or nothing carries packets: `cargo xtask build` brings it along; a plain cargo build without it\n\
         starts, joins and says so.",
        match one_of.as_slice() {
            [one] => one.clone(),
            all => format!("One of {}", all.join(" and ")),
        }
    );
    out.push_str("\n## What upstream has and this product leaves out\n\n| upstream's feature | why it is not here |\n|---|---|\n");
    for (name, why) in &graph.absent {
        let _ = writeln!(out, "| `{name}` | {why} |");
    }
    out
}

fn has(graph: &Graph, profile: Profile, name: &str) -> bool {
    graph.profiles.get(profile.name()).is_some_and(|list| list.iter().any(|listed| listed == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_graph_says() {
        let graph = Graph::load().unwrap();
        let page = page(&graph, &measure::recorded().unwrap());
        let written = std::fs::read_to_string(path()).unwrap();
        assert!(written == page, "docs/features.md is stale: run `cargo xtask features --docs`");
        assert!(
            graph.features.keys().chain(graph.absent.keys()).all(|name| page.contains(&format!("`{name}`")))
        );
        assert!(measure::recorded().unwrap().keys().all(|name| graph.features.contains_key(name)));
    }
}
