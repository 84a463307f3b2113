//! `cargo xtask busybox`: the static busybox of the `-shell` images, for the four targets.
//!
//! Owns: what is in it (`busybox-applets.config`), where its source comes from, how it is built, and the links that an
//! image makes for it. A build of the same input is made once and kept in the user's cache. Leaves out: images
//! (`image`), and the licence text that goes with it (`third_party`).

mod applets;
mod cache;
mod check;
mod compile;
mod compiler;
mod config;
mod kconfig;
mod source;

pub(crate) use config::FILE as CONFIG_FILE;
pub(crate) use source::{FILES, MIRRORS, UPSTREAM, VERSION};

use crate::build::pack;
use crate::target::Target;
use anyhow::{Context, Result};
use applets::Table;
use clap::{Arg, ArgAction, ArgMatches, Command};
use config::Config;
use std::path::{Path, PathBuf};

/// Name of the packed binary beside the other. Busybox is what its name says only while it begins with `busybox`.
const PACKED: &str = "busybox.packed";

/// What a person types.
pub(crate) fn command() -> Command {
    Command::new("busybox")
        .about("Build the static busybox of the -shell images")
        .arg(
            Arg::new("target")
                .long("target")
                .value_name("TARGET")
                .action(ArgAction::Append)
                .help("amd64, arm64, arm/v7 or arm/v5; may be given several times; default: all four"),
        )
        .arg(
            Arg::new("check").long("check").action(ArgAction::SetTrue).help(
                "also run it: every applet must answer, by qemu-user where the target is not this machine",
            ),
        )
        .arg(
            Arg::new("links")
                .long("links")
                .action(ArgAction::SetTrue)
                .help("print the applets' links instead"),
        )
        .arg(Arg::new("source").long("source").value_name("DIR").help(
            "instead, copy what the licence asks you to offer with the images: source and configuration",
        ))
}

/// Runs it.
pub(crate) fn run(matches: &ArgMatches) -> Result<()> {
    if matches.get_flag("links") {
        for link in links()? {
            println!("{link}");
        }
        return Ok(());
    }
    if let Some(dir) = matches.get_one::<String>("source") {
        return copy_source(Path::new(dir));
    }
    let named = matches.get_many::<String>("target").into_iter().flatten();
    let mut targets = named.map(|name| Target::parse(name)).collect::<Result<Vec<_>>>()?;
    if targets.is_empty() {
        targets.extend(Target::ALL);
    }
    for target in targets {
        let raw = build_raw(target)?;
        let packed = build(target)?;
        let bytes = |path: &Path| std::fs::metadata(path).map(|data| data.len());
        println!(
            "busybox {UPSTREAM} for {}: {} bytes, {} packed: {}",
            target.short(),
            bytes(&raw)?,
            bytes(&packed)?,
            packed.display()
        );
        if matches.get_flag("check") {
            let runner = check::runner(target).with_context(|| no_runner(target))?;
            println!("  {} answers are right", check::check(target, &runner)?);
        }
    }
    Ok(())
}

fn no_runner(target: Target) -> String {
    format!("programs for {} do not run here: install qemu-user-static", target.short())
}

/// What a test run found out about one target.
pub(crate) enum Tested {
    /// So many answers were right.
    Passed(usize),
    /// It was not tried, for this reason.
    Skipped(String),
}

/// Checks the busybox for `target` as part of a test run; only one that is in the cache already unless `building`.
/// None where there is none.
///
/// # Errors
/// The first wrong answer, or why it cannot be built.
pub(crate) fn test(target: Target, building: bool) -> Result<Option<Tested>> {
    let binary = cache::root().join(cache::key(&Config::load()?, target)).join(compile::BINARY);
    if !building && !binary.exists() {
        return Ok(None);
    }
    match check::runner(target) {
        Some(runner) => check::check(target, &runner).map(|answers| Some(Tested::Passed(answers))),
        None if building => Ok(Some(Tested::Skipped(no_runner(target)))),
        None => Ok(None),
    }
}

/// The busybox for `target`, packed where there is a packer.
///
/// # Errors
/// When it is not in the cache and cannot be built: tools, compiler or network are missing, or an applet or option of
/// the configuration does not exist. Each says what to do.
pub(crate) fn build(target: Target) -> Result<PathBuf> {
    let raw = build_raw(target)?;
    let packed = raw.with_file_name(PACKED);
    pack::packed(&raw, &packed, target)
}

/// The busybox for `target` as it was linked.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_raw(target: Target) -> Result<PathBuf> {
    let config = Config::load()?;
    let root = cache::root();
    let place = root.join(cache::key(&config, target));
    let binary = place.join(compile::BINARY);
    if binary.exists() {
        return Ok(binary);
    }
    println!("busybox {UPSTREAM} for {}: building, about a minute on two cores", target.short());
    let started = lab::now();
    std::fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
    let work = tempfile::Builder::new().prefix(".build-").tempdir_in(&root).context("the user's cache")?;
    let out = work.path().join("out");
    compile::build(target, &config, work.path(), &out)
        .with_context(|| format!("busybox for {}", target.short()))?;
    cache::keep(&out, &place)?;
    println!("busybox {UPSTREAM} for {}: built in {:.0} s", target.short(), started.elapsed().as_secs_f64());
    Ok(binary)
}

/// Absolute paths of the links that make the applets commands, sorted: `/bin/ls`, …
///
/// # Errors
/// As [`build`]: the paths stand in busybox's source.
pub(crate) fn links() -> Result<Vec<String>> {
    let config = Config::load()?;
    let mut links: Vec<_> = table()?.chosen(&config)?.into_iter().map(|applet| applet.link.clone()).collect();
    links.sort();
    Ok(links)
}

/// The applets of this version, from the cache or the source.
fn table() -> Result<Table> {
    let root = cache::root();
    let place = root.join(format!("applets-{}", VERSION.replace(':', "_")));
    if let Some(table) = std::fs::read_to_string(&place).ok().and_then(|text| Table::parse(&text).ok()) {
        return Ok(table);
    }
    std::fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
    let work = tempfile::Builder::new().prefix(".table-").tempdir_in(&root).context("the user's cache")?;
    compile::tools()?;
    source::unpack(&source::files()?, &work.path().join("source"))?;
    let table = Table::scan(work.path())?;
    let fresh = work.path().join("applets");
    std::fs::write(&fresh, table.text()).context("the table of applets")?;
    std::fs::rename(&fresh, &place).with_context(|| place.display().to_string())?;
    Ok(table)
}

/// Puts Debian's source package and our configuration into `dir`.
fn copy_source(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let ours = lab::workspace_root().join(CONFIG_FILE);
    for path in source::files()?.into_iter().chain([ours]) {
        let Some(name) = path.file_name() else { continue };
        std::fs::copy(&path, dir.join(name)).with_context(|| path.display().to_string())?;
        println!("{}", dir.join(name).display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn arguments_are_consistent() {
        super::command().debug_assert();
    }
}
