//! `cargo xtask image`: images that RouterOS and every other container engine take.
//!
//! Owns: the way from binaries to `dist/`: an OCI layout with all images, a docker-archive per platform for
//! `/container/add file=`, and each layer as it is for the `Dockerfile`. The same commit gives the same bytes. Leaves
//! out: making the binaries (`build`, `busybox`) and bringing images anywhere (`publish`).

pub(crate) mod about;
mod archive;
pub(crate) mod config;
pub(crate) mod digest;
#[cfg(test)]
mod dockerfile;
mod layer;
pub(crate) mod layout;
mod make;
mod rootfs;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use make::layout;

use crate::build::{self, Spec, pack};
use crate::busybox;
use crate::features::{self, Closure, Profile, Request};
use crate::target::Target;
use crate::third_party;
use about::{About, Commit};
use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command};
use config::Platform;
use rootfs::{Contents, Shell};
use std::path::PathBuf;

/// What the command line of `image` says.
pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let list = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).action(ArgAction::Append).value_delimiter(',').help(help)
    };
    Command::new("image")
        .about("Make images: an OCI layout and docker-archives in dist/")
        .arg(list("profiles", "P", "router (default), tiny, full, or all").visible_alias("profile"))
        .arg(list("features", "F", "these features instead, or on top of one profile"))
        .arg(list("remove", "F", "without these features of one profile"))
        .arg(
            list("target", "T", "amd64, arm64, arm/v7, arm/v5; default: this machine's")
                .conflicts_with("all"),
        )
        .arg(flag("all", "all four targets"))
        .arg(flag("shell", "with busybox in it"))
        .arg(flag("raw", "do not pack the binary: less memory, more flash"))
        .arg(
            Arg::new("source").long("source").value_name("URL").help("where the sources are, for the labels"),
        )
        .arg(Arg::new("dist").long("dist").value_name("DIR").help("where to write; default: dist/"))
}

/// What is to be made.
struct Choice {
    requests: Vec<(String, Request)>,
    targets: Vec<Target>,
    shell: bool,
    raw: bool,
    source: Option<String>,
    dist: PathBuf,
}

impl Choice {
    fn new(matches: &ArgMatches) -> Result<Self> {
        let list = |name: &str| -> Vec<String> {
            matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
        };
        let mut targets = Vec::new();
        for name in list("target") {
            let target = Target::parse(&name)?;
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        if matches.get_flag("all") {
            targets = Target::ALL.to_vec();
        } else if targets.is_empty() {
            targets.extend(Target::here());
            ensure!(
                !targets.is_empty(),
                "no image runs on this machine: name one with --target, or give --all"
            );
        }
        // The order in an index is the same, whatever the order of the words.
        targets.sort_by_key(|target| Target::ALL.iter().position(|other| other == target));
        Ok(Self {
            requests: requests(&list("profiles"), &list("features"), &list("remove"))?,
            targets,
            shell: matches.get_flag("shell"),
            raw: matches.get_flag("raw"),
            source: matches.get_one::<String>("source").cloned().or_else(About::default_source),
            dist: dist(matches),
        })
    }
}

/// Where images are: `--dist`, or `dist` in the workspace.
pub(crate) fn dist(matches: &ArgMatches) -> PathBuf {
    matches.get_one::<String>("dist").map_or_else(|| lab::workspace_root().join("dist"), PathBuf::from)
}

/// The choices of features, each with the word that names its image.
fn requests(profiles: &[String], features: &[String], remove: &[String]) -> Result<Vec<(String, Request)>> {
    let profiles = match profiles {
        [one] if one == "all" => Profile::ALL.to_vec(),
        names => names.iter().map(|name| Profile::parse(name)).collect::<Result<Vec<_>>>()?,
    };
    if features.is_empty() && remove.is_empty() {
        let profiles = if profiles.is_empty() { vec![Profile::Router] } else { profiles };
        return Ok(profiles.into_iter().map(|one| (one.name().to_owned(), one.into())).collect());
    }
    ensure!(profiles.len() <= 1, "--features and --remove go with one profile or none");
    let request =
        Request { names: features.to_vec(), profile: profiles.first().copied(), remove: remove.to_vec() };
    Ok(vec![("custom".to_owned(), request)])
}

/// Makes what the command line asks for.
pub(crate) fn run(matches: &ArgMatches) -> Result<()> {
    make_all(&Choice::new(matches)?)
}

/// What the tests need, in a folder of their own: the router's image for amd64 and for ARMv5, whose board is the smallest;
/// at night for every target, with and without a shell. The other profiles are made beside the tests then.
///
/// # Errors
/// Names what is missing to build them.
pub(crate) fn for_tests(nightly: bool) -> Result<()> {
    let targets = if nightly { Target::ALL.to_vec() } else { vec![Target::Amd64, Target::ArmV5] };
    let mut choice = Choice {
        requests: vec![(Profile::Router.name().to_owned(), Profile::Router.into())],
        targets,
        shell: false,
        raw: false,
        source: None,
        dist: tests_dist(),
    };
    make_all(&choice)?;
    if nightly {
        choice.shell = true;
        make_all(&choice)?;
    }
    Ok(())
}

/// Where the images of the tests are.
pub(crate) fn tests_dist() -> PathBuf {
    lab::target_dir().join("smalltail/dist")
}

fn make_all(choice: &Choice) -> Result<()> {
    if !choice.raw {
        pack::needed().context("--raw makes images without packing")?;
    }
    let commit = Commit::load()?;
    let shells = if choice.shell { shells(&choice.targets, choice.raw)? } else { Vec::new() };
    let (mut done, all) = (0, choice.requests.len() * choice.targets.len());
    for (name, request) in &choice.requests {
        let closure = features::resolve(request)?;
        let documents = documents(!choice.raw, choice.shell, &closure)?;
        let mut parts = Vec::new();
        for (at, target) in choice.targets.iter().enumerate() {
            done += 1;
            println!("[{done}/{all}] {name} for {}", target.short());
            let binary = binary(*target, &closure, choice.raw)?;
            let shell = shells.get(at).cloned();
            parts.push((platform(*target), Contents { binary, shell, documents: documents.clone() }));
        }
        let about = about(choice, name, &commit, &closure);
        let made = make::make(&about, &parts)?;
        made.write(&choice.dist)?;
        made.lines.iter().for_each(|line| println!("{line}"));
        println!("{} is {} in {}", about.tag(), made.image.digest, choice.dist.join("oci").display());
        if !closure.missing.is_empty() {
            println!("not written yet and not in it: {}", closure.missing.join(", "));
        }
    }
    Ok(())
}

fn about(choice: &Choice, name: &str, commit: &Commit, closure: &Closure) -> About {
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: commit.clone(),
        source: choice.source.clone(),
        profile: name.to_owned(),
        features: closure.built.clone(),
        missing: closure.missing.clone(),
        packed: !choice.raw,
        shell: choice.shell,
    }
}

/// The binary's bytes, packed unless they are wanted raw.
fn binary(target: Target, features: &Closure, raw: bool) -> Result<Vec<u8>> {
    let built = build::binary(&Spec::shipped(target, features))?;
    ensure!(
        raw || built.packed != built.raw,
        "{}: nothing here can pack the binary (docs/DEVELOPMENT.md); --raw makes images without packing",
        target.short()
    );
    let path = if raw { &built.raw } else { &built.packed };
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// Busybox for each target.
fn shells(targets: &[Target], raw: bool) -> Result<Vec<Shell>> {
    let links = busybox::links()?;
    let shell = |target: &Target| {
        let path = if raw { busybox::build_raw(*target)? } else { busybox::build(*target)? };
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(Shell { busybox: bytes, links: links.clone() })
    };
    targets.iter().map(shell).collect()
}

/// Our licence and those of everything else that is in, in one file that is packed: they are long, and flash is dear.
fn documents(packed: bool, shell: bool, features: &Closure) -> Result<Vec<(String, Vec<u8>)>> {
    let inside = third_party::Contents { features, packed, shell };
    let text = third_party::text(&inside)?;
    Ok(vec![("LICENSES.gz".to_owned(), layer::compressed(text.as_bytes())?)])
}

/// Bytes of all files of the image that would hold this packed binary, and of its layer, uncompressed as RouterOS takes it.
pub(crate) fn weigh(binary: Vec<u8>, features: &Closure) -> Result<(u64, u64)> {
    let documents = documents(true, false, features)?;
    let tree = rootfs::tree(&Contents { binary, shell: None, documents })?;
    let layer = layer::Layer::new(&tree)?;
    Ok((tree.content_bytes() as u64, layer.plain.len() as u64))
}

fn platform(target: Target) -> Platform {
    let (architecture, variant) = target.platform();
    Platform { architecture, variant }
}
