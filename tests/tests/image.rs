//! The router image with the real binary, as `cargo xtask test` has made it: its archive member by member, and a
//! container of it. What an earlier commit has left there is not looked at.
//!
//! Everything else about images is tested beside the code that makes them (`xtask/src/image/tests.rs`), with small binaries.

use anyhow::{Context, Result, bail, ensure};
use blackbox::container::{self, dist};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long podman may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The archive of a flavour of image for `arch`; `None` where it was not made of this commit.
fn archive(flavour: &str, arch: &str) -> Option<PathBuf> {
    let path = container::archive(flavour, arch);
    if !path.exists() {
        blackbox::skip(&format!("{} is missing: `cargo xtask image --dist …` makes it", path.display()));
        return None;
    }
    if !revision(&path).is_ok_and(|revision| same_commit(&revision, &head())) {
        blackbox::skip(&format!(
            "{} is of another commit: `cargo xtask image --dist …` makes it",
            path.display()
        ));
        return None;
    }
    Some(path)
}

/// The commit of this tree, as images name it.
fn head() -> String {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%H"]).current_dir(lab::workspace_root());
    let found = git.output().ok().filter(|output| output.status.success());
    found.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// Whether an image's label names the commit `head`, with or without changes that are not committed: a test run makes its
/// images before others of its parts write files.
fn same_commit(revision: &str, head: &str) -> bool {
    revision.strip_suffix("-dirty").unwrap_or(revision) == head
}

/// The commit that an archive was made of, by its label.
fn revision(path: &Path) -> Result<String> {
    for entry in tar::Archive::new(std::fs::File::open(path)?).entries()? {
        let mut entry = entry?;
        if !entry.path_bytes().ends_with(b".json") {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        let file: Value = serde_json::from_str(&text)?;
        if let Some(revision) = file["config"]["Labels"]["org.opencontainers.image.revision"].as_str() {
            return Ok(revision.to_owned());
        }
    }
    bail!("{} does not say what commit it is of", path.display())
}

/// An archive that was made: what it holds, in docker's words for its platform.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Archive {
    path: PathBuf,
    flavour: String,
    architecture: &'static str,
    variant: Option<&'static str>,
}

/// Every archive in a folder that was made of the commit `head`.
fn archives(dist: &Path, head: &str) -> Result<Vec<Archive>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dist)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let start = format!("smalltail-{}-", env!("CARGO_PKG_VERSION"));
        let Some(name) = name.strip_prefix(&start).and_then(|name| name.strip_suffix(".tar")) else {
            continue;
        };
        if !same_commit(&revision(&path)?, head) {
            continue;
        }
        let (flavour, arch) = name.rsplit_once('-').context("an archive without its target")?;
        let (architecture, variant) = match arch {
            "amd64" => ("amd64", None),
            "arm64" => ("arm64", None),
            "armv7" => ("arm", Some("v7")),
            "armv5" => ("arm", Some("v5")),
            other => bail!("an archive for {other}"),
        };
        found.push(Archive { flavour: flavour.to_owned(), path, architecture, variant });
    }
    found.sort();
    Ok(found)
}

/// A tar's members in their order, each of which must be what RouterOS reads.
fn members(tar: &[u8]) -> Result<Vec<(String, tar::Header, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned())?;
        ensure!(!name.starts_with(['.', '/']), "{name} is no plain name");
        let header = entry.header().clone();
        ensure!(header.uid()? == 0 && header.gid()? == 0, "{name} is not root's");
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        found.push((name, header, content));
    }
    Ok(found)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What RouterOS wants of an archive (`docs/images.md`): docker's classic form, one layer, not compressed.
fn checked(path: &Path) -> Result<(Value, BTreeMap<String, Vec<u8>>)> {
    let outer = members(&std::fs::read(path)?)?;
    for (name, header, _) in &outer {
        ensure!(header.entry_type() == tar::EntryType::Regular, "{name} is no plain file");
    }
    let outer: BTreeMap<_, _> = outer.into_iter().map(|(name, _, content)| (name, content)).collect();
    let get = |name: &str| outer.get(name).with_context(|| format!("no {name} in {}", path.display()));
    let manifest: Value = serde_json::from_slice(get("manifest.json")?)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (config_name, layer_name) = (text(&manifest[0]["Config"]), text(&manifest[0]["Layers"][0]));
    ensure!(manifest[0]["Layers"].as_array().is_some_and(|layers| layers.len() == 1), "{manifest}");
    let (config, layer) = (get(&config_name)?, get(&layer_name)?);
    let id = sha256(layer);
    ensure!(config_name == format!("{}.json", sha256(config)), "{config_name} has other contents");
    ensure!(layer_name == format!("{id}/layer.tar"), "{layer_name} has other contents");
    let config: Value = serde_json::from_slice(config)?;
    // A compressed layer would not be the one that the configuration names.
    ensure!(config["rootfs"]["diff_ids"][0] == format!("sha256:{id}"), "{}", config["rootfs"]);
    for name in [format!("{id}/VERSION"), format!("{id}/json"), "repositories".to_owned()] {
        get(&name)?;
    }
    ensure!(outer.len() == 6, "{:?}", outer.keys());
    let inner = members(layer)?.into_iter();
    Ok((config, inner.map(|(name, _, content)| (name, content)).collect()))
}

#[test]
fn archives_are_what_routeros_reads() {
    if archive("router", "amd64").is_none() || archive("router", "armv5").is_none() {
        return;
    }
    for Archive { path, flavour, architecture, variant } in archives(&dist(), &head()).unwrap() {
        let (config, inner) = checked(&path).unwrap();
        let labels = &config["config"]["Labels"];
        assert_eq!(
            (config["architecture"].as_str(), config["variant"].as_str()),
            (Some(architecture), variant)
        );
        assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/containerboot");
        assert_eq!(labels["smalltail.profile"].as_str(), flavour.split('-').next());
        let binary = &inner["usr/bin/tailscale.combined"];
        assert!(binary.starts_with(b"\x7fELF"), "{}", path.display());
        let packed = binary.windows(4).any(|bytes| bytes == b"UPX!");
        assert_eq!(packed, labels["smalltail.packed"] == "upx");
        for name in
            ["usr/bin/containerboot", "usr/bin/tailscale", "usr/share/doc/smalltail/LICENSES.gz", "tmp/"]
        {
            assert!(inner.contains_key(name), "{name} is not in {}", path.display());
        }
        assert_eq!(inner.contains_key("bin/busybox"), flavour.contains("-shell"), "{}", path.display());
        let bytes: usize = inner.values().map(Vec::len).sum();
        let most = most_bytes(&flavour, architecture);
        assert!(most.is_none_or(|most| bytes <= most), "{}: {bytes} bytes of {most:?}", path.display());
        let variant = variant.unwrap_or_default();
        blackbox::number(&format!("image {flavour} {architecture}{variant}, bytes of files"), bytes);
    }
}

#[test]
fn only_images_of_this_commit_are_judged() {
    let dir = tempfile::tempdir().unwrap();
    for (flavour, revision) in
        [("router", "abc"), ("tiny", "abd"), ("full", "abc-dirty"), ("custom", "unknown")]
    {
        let path = dir.path().join(format!("smalltail-{}-{flavour}-armv5.tar", env!("CARGO_PKG_VERSION")));
        let mut tar = tar::Builder::new(std::fs::File::create(path).unwrap());
        let labels = serde_json::json!({"org.opencontainers.image.revision": revision});
        let config = serde_json::json!({"config": {"Labels": labels}});
        for (name, file) in [("manifest.json", serde_json::json!([{}])), ("0123.json", config)] {
            let text = file.to_string();
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        tar.finish().unwrap();
    }
    let of = |head: &str| {
        let found = archives(dir.path(), head).unwrap().into_iter();
        found.map(|one| one.flavour).collect::<Vec<_>>()
    };
    assert_eq!(of("abc"), ["full", "router"]);
    assert_eq!(of("abd"), ["tiny"]);
    assert_eq!(of("unknown"), ["custom"]);
}

/// What the files of an image may come to, where that is promised whatever `xtask/size-budget.json` says.
fn most_bytes(flavour: &str, architecture: &str) -> Option<usize> {
    match (flavour, architecture) {
        ("tiny", "arm") => Some(750_000),
        ("router", "arm") => Some(1_000_000),
        ("router", "arm64") => Some(1_250_000),
        ("router", "amd64") => Some(1_350_000),
        _ => None,
    }
}

/// Podman with a storage of its own, which goes with it.
struct Podman {
    dir: tempfile::TempDir,
}

impl Podman {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(self.dir.path().join("root"))
            .arg("--runroot")
            .arg(self.dir.path().join("run"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        command.args(["--runtime", "runc"]).args(words);
        command
    }

    /// Output of a command that succeeds.
    fn ok(&self, words: &[&str]) -> Result<String> {
        Ok(lab::run(self.command(words), PATIENCE)?.ok()?.stdout)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        lab::run(self.command(&["rm", "--all", "--force", "--time", "0"]), PATIENCE).ok();
    }
}

#[test]
fn a_container_of_the_router_image_starts_answers_and_ends() {
    let Some(path) = archive("router", "amd64") else { return };
    if let Some(missing) = ["podman", "runc"].into_iter().find(|name| !installed(name)) {
        return blackbox::skip(&format!("{missing} is not installed"));
    }
    contained(&path).unwrap();
}

#[test]
fn a_shell_image_has_a_shell() {
    let Some(path) = shell_archive() else { return };
    if let Some(missing) = ["podman", "runc"].into_iter().find(|name| !installed(name)) {
        return blackbox::skip(&format!("{missing} is not installed"));
    }
    let podman = Podman { dir: tempfile::tempdir().unwrap() };
    podman.ok(&["load", "--quiet", "--input", &path.display().to_string()]).unwrap();
    let image = format!("smalltail:{}-router-shell", env!("CARGO_PKG_VERSION"));
    let script = "id -un && ls /usr/share/doc/smalltail && readlink /usr/bin/tailscale && wget --help 2>&1";
    let words = ["run", "--rm", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"];
    let said =
        podman.ok(&[words.as_slice(), &["--entrypoint=/bin/sh", &image, "-c", script]].concat()).unwrap();
    for part in ["root", "LICENSES.gz", "tailscale.combined", "BusyBox"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
}

/// The router image with busybox, which is made at night only.
fn shell_archive() -> Option<PathBuf> {
    let nightly = std::env::var_os("SMALLTAIL_NIGHTLY").is_some_and(|value| value == "1");
    let made = archives(&dist(), &head())
        .ok()?
        .into_iter()
        .find(|one| one.flavour == "router-shell" && one.architecture == "amd64");
    if made.is_none() && nightly {
        blackbox::skip("the image with a shell was not made");
    }
    made.map(|one| one.path)
}

fn contained(path: &Path) -> Result<()> {
    let podman = Podman { dir: tempfile::tempdir()? };
    podman.ok(&["load", "--quiet", "--input", &path.display().to_string()])?;
    let image = format!("smalltail:{}-router", env!("CARGO_PKG_VERSION"));
    // Limits of its own, since nobody may raise them here; no network, since it joins nothing.
    let limits = ["--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"];
    let run = |words: &[&str]| podman.ok(&[&["run"], limits.as_slice(), words].concat());
    let version = run(&["--rm", "--entrypoint=/usr/bin/tailscale", &image, "version"])?;
    ensure!(version.contains("smalltail"), "tailscale version: {version}");
    // As careful people run it: nothing to be written but where it must.
    let careful = ["--read-only", "--tmpfs=/run", "--tmpfs=/tmp", "--env=TS_USERSPACE=true"];
    run(&[&["--detach", "--name=node"], careful.as_slice(), &[&image]].concat())?;
    // What `/container/shell … cmd="/usr/bin/tailscale status" no-sh` does.
    lab::until("an answer of the container's daemon", Duration::from_secs(30), || {
        let said = lab::run(podman.command(&["exec", "node", "/usr/bin/tailscale", "status"]), PATIENCE)?;
        let text = format!("{}{}", said.stdout, said.stderr);
        let runs = podman.ok(&["inspect", "--format={{.State.Running}}", "node"])?;
        ensure!(runs.trim() == "true", "the container has ended");
        Ok((!text.contains("failed to connect")).then_some(()))
    })
    .with_context(|| podman.ok(&["logs", "node"]).unwrap_or_default())?;
    podman.ok(&["stop", "--time=10", "node"])?;
    match podman.ok(&["inspect", "--format={{.State.ExitCode}}", "node"])?.trim() {
        "0" | "143" => Ok(()),
        code => bail!("stopped with status {code}: {}", podman.ok(&["logs", "node"])?),
    }
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
