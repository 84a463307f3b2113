//! `cargo xtask size`: bytes of the shipped binaries, whose they are, and whether they are more than was agreed.
//!
//! Owns: measuring and the table. Leaves out: building (`build`) and what else is in an image (`image`).

mod budget;
mod symbols;
mod treemap;

use crate::build::{self, Binary, Spec, pack};
use crate::features::{self, Closure, Profile, Request};
use crate::target::Target;
use anyhow::{Context, Result, ensure};
use budget::Budget;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::process::ExitCode;

/// How many of each are printed.
const CRATES: usize = 20;
const SYMBOLS: usize = 20;

/// What is known of one binary.
#[derive(Debug, Default, Clone)]
struct Measured {
    /// Profile and target: `router/armv5`.
    name: String,
    /// Bytes unpacked; packed where a packer is there.
    raw: u64,
    packed: Option<u64>,
    /// Bytes of all files of the image, and of the layer that holds them.
    rootfs: u64,
    layer: u64,
    /// Unpacked bytes by crate, the largest first.
    crates: Vec<(String, u64)>,
}

/// What is typed.
pub(crate) fn command() -> Command {
    Command::new("size")
        .about("Build shipped binaries and print their bytes, the largest crates and symbols; a picture goes to target/")
        .arg(Arg::new("profile").long("profile").value_name("PROFILE").help("router (the default), tiny or full"))
        .arg(
            Arg::new("remove")
                .long("remove")
                .value_name("NAMES")
                .action(ArgAction::Append)
                .conflicts_with("raise")
                .help("leave these out of the profile, joined by commas; that has no budget"),
        )
        .arg(build::target_argument())
        .arg(
            Arg::new("all").long("all").action(ArgAction::SetTrue).help("every profile for every target"),
        )
        .arg(
            Arg::new("raise")
                .long("raise")
                .value_name("WHY")
                .help("make what is measured the budget (xtask/size-budget.json), for this reason"),
        )
}

/// Does what is typed. Exceeding the budget is a failure.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let why = matches.get_one::<String>("raise");
    if why.is_some() {
        pack::needed().context("a budget is of packed bytes, too")?;
    }
    let profile = matches.get_one::<String>("profile").map(|name| Profile::parse(name)).transpose()?;
    let all = matches.get_flag("all");
    let profiles = if all { Profile::ALL.to_vec() } else { vec![profile.unwrap_or(Profile::Router)] };
    let named = build::targets(matches);
    let targets = match named.as_slice() {
        [] if all => Target::ALL.to_vec(),
        [] => vec![Target::here().context("no shipped target runs here: name one by --target")?],
        names => names.iter().map(|name| Target::parse(name)).collect::<Result<Vec<_>>>()?,
    };
    let remove: Vec<_> = matches.get_many::<String>("remove").into_iter().flatten().cloned().collect();
    let mut budget = Budget::load()?;
    let (mut table, mut problems) = (Vec::new(), Vec::new());
    for profile in profiles {
        for target in &targets {
            let measured = measure(&Sort::of(profile, &remove), *target, true)?;
            problems.extend(budget.problem(&measured));
            budget.set(&measured);
            table.push(measured);
        }
    }
    print_table(&table);
    if let Some(why) = why {
        budget.why.clone_from(why);
        budget.save()?;
        return Ok(ExitCode::SUCCESS);
    }
    for problem in &problems {
        println!("too large: {problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares the router's binaries for `targets` with the budget.
///
/// # Errors
/// The first that exceeds it.
pub(crate) fn check(targets: &[Target]) -> Result<()> {
    let budget = Budget::load()?;
    for target in targets {
        let measured = measure(&Sort::of(Profile::Router, &[]), *target, false)?;
        let problem = budget.problem(&measured);
        ensure!(problem.is_none(), "{}", problem.unwrap_or_default());
    }
    Ok(())
}

/// What is measured for each target.
struct Sort {
    /// The profile; with `-less` behind it where something of it is left out, which no budget knows.
    name: String,
    request: Request,
}

impl Sort {
    fn of(profile: Profile, remove: &[String]) -> Self {
        let less = if remove.is_empty() { "" } else { "-less" };
        let request = Request { remove: remove.to_vec(), ..profile.into() };
        Self { name: format!("{}{less}", profile.name()), request }
    }
}

/// Builds one and measures it; prints what is large where `say` is.
fn measure(sort: &Sort, target: Target, say: bool) -> Result<Measured> {
    let closure = features::resolve(&sort.request)?;
    let binary = build::binary(&Spec::shipped(target, &closure))?;
    let symbols = symbols::read(&std::fs::read(build::symbols(&binary))?)?;
    let name = format!("{}/{}", sort.name, target.slug());
    if say {
        print_largest(&name, &symbols);
        let picture =
            lab::target_dir().join("smalltail").join(format!("size-{}.svg", name.replace('/', "-")));
        std::fs::write(&picture, treemap::svg(&format!("{name}, unpacked"), &symbols))?;
        println!("  picture: {}", picture.display());
    }
    weighed(name, &binary, &closure, symbols::by_crate(&symbols))
}

fn weighed(
    name: String,
    binary: &Binary,
    features: &Closure,
    crates: Vec<(String, u64)>,
) -> Result<Measured> {
    let raw = std::fs::metadata(&binary.raw)?.len();
    let packed = (binary.packed != binary.raw).then(|| std::fs::metadata(&binary.packed)).transpose()?;
    let (rootfs, layer) = crate::image::weigh(std::fs::read(&binary.packed)?, features)?;
    Ok(Measured { name, raw, packed: packed.map(|meta| meta.len()), rootfs, layer, crates })
}

fn print_largest(name: &str, symbols: &[symbols::Symbol]) {
    println!("\n{name}: largest crates, unpacked");
    for (name, bytes) in symbols::by_crate(symbols).iter().take(CRATES) {
        println!("  {bytes:>8} {name}");
    }
    println!("{name}: largest symbols");
    for symbol in symbols.iter().take(SYMBOLS) {
        println!("  {:>8} {}: {}", symbol.bytes, symbol.owner, symbol.name);
    }
}

/// As docs/size.md has it.
fn print_table(table: &[Measured]) {
    println!("\n| profile and target | raw | packed | root file system | layer |\n|---|---:|---:|---:|---:|");
    for one in table {
        let packed = one.packed.map_or_else(|| "–".to_owned(), |bytes| bytes.to_string());
        println!("| {} | {} | {packed} | {} | {} |", one.name, one.raw, one.rootfs, one.layer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_a_profile_is_not_measured_against_its_budget() {
        let budget = Budget::load().unwrap();
        let judged = |remove: &[String]| {
            let sort = Sort::of(Profile::Router, remove);
            let closure = features::resolve(&sort.request).unwrap();
            let name = format!("{}/{}", sort.name, Target::ArmV5.slug());
            (closure.built.iter().any(|one| one == "portmapper"), budget.binaries.contains_key(&name))
        };
        assert_eq!(judged(&[]), (true, true));
        assert_eq!(judged(&["port-mapper".to_owned()]), (false, false));
        let typed = |words: &[&str]| command().try_get_matches_from([&["size"], words].concat());
        assert!(typed(&["--remove", "dns", "--all"]).is_ok());
        assert!(typed(&["--remove", "dns", "--raise", "why"]).is_err());
    }
}
