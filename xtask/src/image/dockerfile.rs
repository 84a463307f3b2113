//! Tests: the `Dockerfile` at the root gives the image that `cargo xtask image` makes.

use super::config;
use super::testing::{PLATFORMS, about, image, installed, layer, platform};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

fn text() -> String {
    std::fs::read_to_string(lab::workspace_root().join("Dockerfile")).unwrap()
}

/// The instruction's words, for one that is there once.
fn instruction(name: &str) -> String {
    let text = text();
    let mut found = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let words = found.next().unwrap_or_else(|| panic!("no {name} in the Dockerfile"));
    assert_eq!(found.next(), None, "{name} twice");
    words.to_owned()
}

#[test]
fn it_starts_and_is_asked_as_the_image_is() {
    let config = config::json(&about(), platform("amd64"), &layer()).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let config = &config["config"];
    let parsed = |words: &str| serde_json::from_str::<Value>(words).unwrap();
    assert_eq!(instruction("FROM"), "scratch");
    assert_eq!(parsed(&instruction("ENTRYPOINT")), config["Entrypoint"]);
    assert_eq!(json!([instruction("ENV")]), config["Env"]);
    assert_eq!(instruction("WORKDIR"), config["WorkingDir"]);
    assert_eq!(instruction("STOPSIGNAL"), config["StopSignal"]);
    let volumes = parsed(&instruction("VOLUME"));
    assert!(
        volumes
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap())
            .eq(config["Volumes"].as_object().unwrap().keys())
    );
    let probe = &config["Healthcheck"];
    let seconds = |name: &str| probe[name].as_u64().unwrap() / 1_000_000_000;
    let wanted = format!(
        "--interval={}s --timeout={}s --start-period={}s --retries={} CMD [\"{}\", \"{}\"]",
        seconds("Interval"),
        seconds("Timeout"),
        seconds("StartPeriod"),
        probe["Retries"],
        probe["Test"][1].as_str().unwrap(),
        probe["Test"][2].as_str().unwrap(),
    );
    assert_eq!(instruction("HEALTHCHECK"), wanted);
}

/// What a layer holds: kind, mode, owner, time, link and contents by name.
fn members(layer: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(layer).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        let header = entry.header();
        let name = entry.path().unwrap().display().to_string();
        let said = format!(
            "{:?} {:o} {:?}:{:?} {} {:?} {}",
            header.entry_type(),
            header.mode().unwrap() & 0o7777,
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
            entry.link_name().unwrap(),
            super::digest::Digest::of(&content),
        );
        found.insert(name.trim_end_matches('/').to_owned(), said);
    }
    found
}

/// The one layer of a docker-archive.
fn layer_of(archive: &Path) -> Vec<u8> {
    let bytes = std::fs::read(archive).unwrap();
    let read = |wanted: &str| {
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut entry = archive
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .find(|entry| entry.path().unwrap() == Path::new(wanted))
            .unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        content
    };
    let manifest: Value = serde_json::from_slice(&read("manifest.json")).unwrap();
    assert_eq!(manifest[0]["Layers"].as_array().unwrap().len(), 1);
    read(manifest[0]["Layers"][0].as_str().unwrap())
}

#[test]
fn buildah_makes_the_same_root_filesystem_of_it() {
    if !installed("buildah") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("context")).unwrap();
    image(&about(), 3000).write(&path("context/dist")).unwrap();
    for name in ["Dockerfile", ".dockerignore"] {
        std::fs::copy(lab::workspace_root().join(name), path("context").join(name)).unwrap();
    }
    let buildah = |words: &[&str]| {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(path("root")).arg("--runroot").arg(path("runroot"));
        command.args(["--storage-driver", "vfs"]).args(words);
        let output = lab::run(command, std::time::Duration::from_secs(60)).unwrap();
        output.ok().unwrap();
    };
    for platform in PLATFORMS {
        let slash = platform.variant.map(|variant| format!("/{variant}")).unwrap_or_default();
        let name = format!("linux/{}{slash}", platform.architecture);
        let context = path("context").display().to_string();
        buildah(&[
            "bud",
            "--format=docker",
            "--isolation=chroot",
            "--quiet",
            "--platform",
            &name,
            "-t",
            "made",
            &context,
        ]);
        let archive = path(&format!("{}.tar", platform.slug()));
        buildah(&["push", "--quiet", "made", &format!("docker-archive:{}:made:x", archive.display())]);
        let ours = path("context/dist/rootfs").join(format!("router-{}.tar", platform.slug()));
        assert_eq!(members(&layer_of(&archive)), members(&std::fs::read(ours).unwrap()), "{name}");
    }
}
