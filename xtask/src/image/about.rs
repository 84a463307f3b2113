//! What an image says about itself: labels of the configuration, annotations of manifests.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::process::Command;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Where the sources are, when the manifest says so.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The revision of an image that no repository tells about, and what stands behind one whose tree has other contents.
const UNKNOWN: &str = "unknown";
const DIRTY: &str = "-dirty";

/// Whether an image of this revision can be made again from the repository.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision != UNKNOWN && !revision.ends_with(DIRTY)
}

/// The name of the annotation that has the revision.
pub(crate) const REVISION: &str = "org.opencontainers.image.revision";

/// The commit an image is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its name, with `-dirty` behind it when the tree has other contents; `unknown` outside a repository.
    pub(crate) revision: String,
    /// Its time, in seconds since 1970.
    pub(crate) time: i64,
}

impl Commit {
    /// Asks git; `SOURCE_DATE_EPOCH` wins over the commit's time.
    pub(crate) fn load() -> Result<Self> {
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => Some(text.parse().with_context(|| format!("SOURCE_DATE_EPOCH is `{text}`"))?),
            Err(_) => None,
        };
        let Some(log) = git(&["log", "-1", "--format=%H %ct"]) else {
            println!("no git repository here: the image names no revision");
            return Ok(Self { revision: UNKNOWN.to_owned(), time: epoch.unwrap_or(0) });
        };
        let (revision, time) = log.trim().split_once(' ').context("`git log` said something unexpected")?;
        let time = time.parse().with_context(|| format!("commit time `{time}`"))?;
        let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
        let dirty = if changed.is_some_and(|text| text.trim().is_empty()) { "" } else { DIRTY };
        Ok(Self { revision: format!("{revision}{dirty}"), time: epoch.unwrap_or(time) })
    }
}

/// Output of a git command that succeeds.
fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).current_dir(lab::workspace_root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Everything that labels say.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) version: String,
    pub(crate) commit: Commit,
    /// Where the sources are.
    pub(crate) source: Option<String>,
    /// `router`, `tiny`, `full` or `custom`.
    pub(crate) profile: String,
    /// Features that are in.
    pub(crate) features: Vec<String>,
    /// Features that belong in and are not written yet.
    pub(crate) missing: Vec<String>,
    /// Whether the binary is packed.
    pub(crate) packed: bool,
    /// Whether busybox is in.
    pub(crate) shell: bool,
}

impl About {
    /// What images without a repository in the manifest say of their sources: nothing.
    pub(crate) fn default_source() -> Option<String> {
        (!REPOSITORY.is_empty()).then(|| REPOSITORY.to_owned())
    }

    /// Tells the kinds of image apart in file names and tags: `router`, `tiny-shell`, `full-shell-raw`.
    pub(crate) fn flavour(&self) -> String {
        let (shell, raw) = (if self.shell { "-shell" } else { "" }, if self.packed { "" } else { "-raw" });
        format!("{}{shell}{raw}", self.profile)
    }

    /// The tag in the layout and in docker-archives.
    pub(crate) fn tag(&self) -> String {
        format!("{}-{}", self.version, self.flavour())
    }

    /// The commit's time as RFC 3339 spells it.
    pub(crate) fn created(&self) -> Result<String> {
        let time = self.commit.time;
        let moment = OffsetDateTime::from_unix_timestamp(time).with_context(|| format!("time {time}"))?;
        ensure!(moment.year() <= 9999, "time {time} is too far away");
        Ok(moment.format(&Rfc3339)?)
    }

    /// What manifests and the index repeat, by the names of the image specification's annotations.
    pub(crate) fn annotations(&self) -> Result<BTreeMap<String, String>> {
        let licences = if self.shell { "BSD-3-Clause AND GPL-2.0-only" } else { "BSD-3-Clause" };
        let mut all = vec![
            ("title", "smalltail".to_owned()),
            ("description", "A complete Tailscale node for small routers".to_owned()),
            ("version", self.version.clone()),
            ("revision", self.commit.revision.clone()),
            ("created", self.created()?),
            ("licenses", licences.to_owned()),
        ];
        all.extend(self.source.iter().map(|source| ("source", source.clone())));
        let named = all.into_iter().map(|(name, value)| (format!("org.opencontainers.image.{name}"), value));
        Ok(named.collect())
    }

    /// Labels of the configuration: the annotations, and what is in the build.
    pub(crate) fn labels(&self) -> Result<BTreeMap<String, String>> {
        let mut labels = self.annotations()?;
        let own = [
            ("profile", self.profile.clone()),
            ("features", self.features.join(",")),
            ("missing", self.missing.join(",")),
            ("packed", if self.packed { "upx" } else { "no" }.to_owned()),
        ];
        labels.extend(own.into_iter().map(|(name, value)| (format!("smalltail.{name}"), value)));
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::testing::about;

    #[test]
    fn labels_tell_what_is_in_and_what_is_missing() {
        let labels = about().labels().unwrap();
        let says = |name: &str| labels.get(name).map(String::as_str);
        assert_eq!(says("org.opencontainers.image.version"), Some("1.2.3"));
        assert_eq!(says("org.opencontainers.image.created"), Some("2026-01-02T03:04:05Z"));
        assert_eq!(says("org.opencontainers.image.revision"), Some("0123abcd"));
        assert_eq!(says("org.opencontainers.image.source"), Some("https://example.com/smalltail"));
        assert_eq!(says("org.opencontainers.image.licenses"), Some("BSD-3-Clause"));
        assert_eq!(says("smalltail.features"), Some("health,osrouter"));
        assert_eq!(says("smalltail.missing"), Some("dns"));
        let shell = About { shell: true, packed: false, source: None, ..about() };
        let labels = shell.labels().unwrap();
        assert_eq!(labels["org.opencontainers.image.licenses"], "BSD-3-Clause AND GPL-2.0-only");
        assert!(!labels.contains_key("org.opencontainers.image.source"));
        assert_eq!(
            (shell.tag().as_str(), about().tag().as_str()),
            ("1.2.3-router-shell-raw", "1.2.3-router")
        );
    }
}
