//! What `version` prints.

use crate::VersionInfo;
use crate::render::json;
use localapi::types::OptionalFeatures;

/// The block of lines, without a newline at the end.
pub(crate) fn text(version: &VersionInfo) -> String {
    let mut out = version.short.clone();
    if !version.commit.is_empty() {
        out.push_str(&format!("\n  tailscale commit: {}", version.commit));
    }
    out.push_str(&format!("\n  long version: {}", version.long));
    out
}

/// The JSON object, tab-indented, with a newline; `daemon` is the daemon's long version where it was asked for.
pub(crate) fn as_json(version: &VersionInfo, daemon: Option<&str>) -> String {
    let number = version.short.split('-').next().unwrap_or_default();
    let mut members = vec![
        format!("\"majorMinorPatch\": {}", json::string(number)),
        format!("\"short\": {}", json::string(&version.short)),
        format!("\"long\": {}", json::string(&version.long)),
    ];
    if !version.commit.is_empty() {
        members.push(format!("\"gitCommit\": {}", json::string(&version.commit)));
    }
    if let Some(daemon) = daemon.filter(|daemon| !daemon.is_empty()) {
        members.push(format!("\"daemonLong\": {}", json::string(daemon)));
    }
    members.push(format!("\"cap\": {}", version.capability));
    format!("{{\n\t{}\n}}\n", members.join(",\n\t"))
}

/// What is in a build, a name a line; what it lacks although it was wanted comes last and says so.
pub(crate) fn features(features: &OptionalFeatures) -> String {
    let built = features.features.iter().filter(|(_, on)| **on).map(|(name, _)| format!("{name}\n"));
    let missing = features.missing.iter().map(|name| format!("{name} (not written yet)\n"));
    built.chain(missing).collect()
}
