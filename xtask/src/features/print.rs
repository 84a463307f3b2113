//! What `cargo xtask features` shows: tables for people, JSON for programs.

use super::{Closure, Graph, Profile};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// All features, with the profiles they are in.
pub(super) fn all(graph: &Graph) -> String {
    let wide = graph.features.keys().map(String::len).max().unwrap_or(0);
    let mut out = format!("{:wide$}  router tiny full  state    what it is good for\n", "feature");
    for (name, feature) in &graph.features {
        let mark = |profile: Profile| {
            let list = graph.profiles.get(profile.name());
            if list.is_some_and(|list| list.contains(name)) { "x" } else { "" }
        };
        let [router, tiny, full] = Profile::ALL.map(mark);
        let state = if feature.planned { "planned" } else { "" };
        let _ = writeln!(out, "{name:wide$}  {router:^6} {tiny:^4} {full:^4}  {state:7}  {}", feature.about);
    }
    out.push_str(
        "\n`cargo xtask features NAME…` or `--profile P`: what that brings along; with `--explain` why.\n",
    );
    out
}

/// What a choice brings along; with `explain` every edge with its reason.
pub(super) fn closure(graph: &Graph, closure: &Closure, explain: bool) -> String {
    let mut out = String::new();
    let list = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join(" ") };
    let _ = writeln!(out, "in the build: {}", list(&closure.built));
    if !closure.missing.is_empty() {
        let _ = writeln!(out, "missing, because not written yet: {}", closure.missing.join(" "));
    }
    if explain {
        let mut names: Vec<_> = closure.built.iter().chain(&closure.missing).collect();
        names.sort_unstable();
        for name in names {
            let planned = if graph.is_planned(name) { " (planned)" } else { "" };
            let _ = writeln!(out, "\n{name}{planned}");
            for reason in closure.reasons.iter().filter(|reason| reason.feature == *name) {
                let _ = match &reason.needed_by {
                    Some(by) => writeln!(out, "  {by} needs it: {}", reason.why),
                    None => writeln!(out, "  {}", reason.why),
                };
            }
        }
    }
    for refusal in &closure.refusals {
        let _ = writeln!(out, "not to be built: {refusal}");
    }
    out
}

/// All features as JSON.
pub(super) fn all_json(graph: &Graph) -> Value {
    let features = graph.features.iter().map(|(name, feature)| {
        let profiles: Vec<_> = graph
            .profiles
            .iter()
            .filter(|(_, list)| list.contains(name))
            .map(|(profile, _)| profile)
            .collect();
        json!({
            "name": name,
            "about": feature.about,
            "planned": feature.planned,
            "aliases": feature.aliases,
            "needs": feature.needs,
            "undeclared": feature.undeclared,
            "upstream": feature.upstream,
            "profiles": profiles,
        })
    });
    json!({ "features": features.collect::<Vec<_>>(), "oneOf": graph.one_of, "absent": graph.absent })
}

/// A choice as JSON.
pub(super) fn closure_json(closure: &Closure) -> Value {
    let reasons = closure
        .reasons
        .iter()
        .map(|reason| json!({ "feature": reason.feature, "neededBy": reason.needed_by, "why": reason.why }));
    json!({
        "built": closure.built,
        "missing": closure.missing,
        "reasons": reasons.collect::<Vec<_>>(),
        "refusals": closure.refusals,
        "cargo": closure.cargo_words(),
    })
}
