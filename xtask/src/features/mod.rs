//! `cargo xtask features`: which parts of the node belong together, and what a choice of them brings along.
//!
//! Owns: the questions asked of the graph and their answers as values: [`Request`] in, [`Closure`] out. The graph itself
//! stands in `crates/daemon/Cargo.toml` (`[package.metadata]`). Leaves out: building (`build`), images (`image`).

pub(crate) mod alone;
mod closure;
mod docs;
mod graph;
pub(crate) mod measure;
mod names;
mod print;
#[cfg(test)]
mod tests;
mod upstream;

pub(crate) use closure::Closure;
pub(crate) use graph::Graph;

use crate::tally::Tally;
use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::process::ExitCode;

/// A named choice of features; images are made of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Profile {
    /// What a router needs; the default.
    Router,
    /// The least that routes a subnet.
    Tiny,
    /// Everything that is documented.
    Full,
}

impl Profile {
    /// All of them, the default first.
    pub(crate) const ALL: [Self; 3] = [Self::Router, Self::Tiny, Self::Full];

    /// Its name in commands, image tags and file names.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Tiny => "tiny",
            Self::Full => "full",
        }
    }

    /// The profile of this name.
    ///
    /// # Errors
    /// When there is none; the message names those there are.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let Some(found) = Self::ALL.into_iter().find(|profile| profile.name() == name) else {
            bail!("no profile {name:?}: there are {}", Self::ALL.map(Self::name).join(", "));
        };
        Ok(found)
    }
}

/// What was asked for. Without names and profile that is [`Profile::Router`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// Features, in any spelling.
    pub(crate) names: Vec<String>,
    /// A whole choice; `names` come on top.
    pub(crate) profile: Option<Profile>,
    /// Features to be left out, in any spelling.
    pub(crate) remove: Vec<String>,
}

impl From<Profile> for Request {
    fn from(profile: Profile) -> Self {
        Self { profile: Some(profile), ..Self::default() }
    }
}

/// What a build of `request` has and lacks.
///
/// # Errors
/// An unknown name, a feature that is not written yet asked for by its name, one removed that another needs, a choice
/// without all that could carry packets, and a graph that contradicts itself. Each says what to do.
pub(crate) fn resolve(request: &Request) -> Result<Closure> {
    let closure = Graph::load()?.buildable(request)?;
    closure.check()?;
    Ok(closure)
}

/// What is typed.
pub(crate) fn command() -> Command {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("features")
        .about("The features of the node, and what a choice of them brings along")
        .arg(Arg::new("names").action(ArgAction::Append).value_name("NAME").help(
            "features, in any spelling: dns, exit-node, Advertise-Routes, ts_omit_gro; commas join them",
        ))
        .args(choice())
        .arg(switch("explain", "the reason of every edge"))
        .arg(switch("json", "for programs"))
        .arg(switch("check", "fail if `cargo xtask build` would refuse the choice"))
        .arg(switch("alone", "compile and start features by themselves, as `cargo xtask test` does"))
        .arg(switch("docs", "write docs/features.md"))
        .arg(switch(
            "measure",
            "build every feature for arm/v7 and write docs/features.json, or with --check compare (half an hour)",
        ))
}

/// Arguments that choose features, for every command that builds: [`Request::read`] reads them.
pub(crate) fn choice() -> [Arg; 3] {
    let several = |name: &'static str| {
        Arg::new(name).long(name).action(ArgAction::Append).value_name("NAMES").help_heading("Features")
    };
    [
        several("features").visible_alias("add").help("build with these, in any spelling, joined by commas"),
        several("remove").help("leave these out of the profile, joined by commas"),
        Arg::new("profile")
            .long("profile")
            .value_name("PROFILE")
            .help_heading("Features")
            .help("router (the default where no feature is named), tiny or full"),
    ]
}

impl Request {
    /// What [`choice`] has read.
    ///
    /// # Errors
    /// An unknown profile.
    pub(crate) fn read(matches: &ArgMatches) -> Result<Self> {
        // Only `cargo xtask features` has bare names.
        let list = |name| matches.try_get_many::<String>(name).ok().flatten().into_iter().flatten().cloned();
        let profile = matches.get_one::<String>("profile").map(|name| Profile::parse(name));
        Ok(Self {
            names: list("names").chain(list("features")).collect(),
            profile: profile.transpose()?,
            remove: list("remove").collect(),
        })
    }
}

/// Answers `cargo xtask features`.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    if matches.get_flag("alone") {
        let mut tally = Tally::default();
        alone::checks(&mut tally)?;
        println!("{}", tally.summary());
        return Ok(if tally.good(false) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let graph = Graph::load()?;
    let (measure, docs) = (matches.get_flag("measure"), matches.get_flag("docs"));
    if measure && matches.get_flag("check") {
        measure::check()?;
    } else if measure {
        measure::write(&graph)?;
    }
    if docs {
        docs::write(&graph)?;
    }
    if measure || docs {
        return Ok(ExitCode::SUCCESS);
    }
    let request = Request::read(matches)?;
    let json = matches.get_flag("json");
    if request == Request::default() && !matches.get_flag("check") && !matches.get_flag("explain") {
        let text = if json { format!("{:#}\n", print::all_json(&graph)) } else { print::all(&graph) };
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let closure = graph.buildable(&request)?;
    match json {
        true => println!("{:#}", print::closure_json(&closure)),
        false => print!("{}", print::closure(&graph, &closure, matches.get_flag("explain"))),
    }
    let refused = matches.get_flag("check") && !closure.refusals.is_empty();
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
