//! `cargo xtask features`: which parts of the node belong together, and what a choice of them brings along.
//!
//! Owns: the questions asked of the graph and their answers as values: [`Request`] in, [`Closure`] out. The graph itself
//! stands in `crates/daemon/Cargo.toml` (`[package.metadata]`). Leaves out: building (`build`), images (`image`).

mod closure;
mod graph;

pub(crate) use closure::Closure;
pub(crate) use graph::Graph;

use anyhow::{Result, bail};

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
/// that can carry no packets, and a graph that contradicts itself. Each says what to do.
pub(crate) fn resolve(request: &Request) -> Result<Closure> {
    let closure = Graph::load()?.close(request)?;
    closure.check()?;
    Ok(closure)
}
