//! What a choice of features brings along: what is in, why, what of it is not written yet, what a build refuses.

use super::names::{self, Word};
use super::{Graph, Profile, Request};
use anyhow::{Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Everything that a choice of features brings along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Closure {
    /// Features that a build of this has, sorted.
    pub(crate) built: Vec<String>,
    /// Features that it should have and that are not written yet, sorted. Reached by an edge or from a profile.
    pub(crate) missing: Vec<String>,
    /// Why each is in, in the order in which they were found; a feature that several need has several.
    pub(crate) reasons: Vec<Reason>,
    /// Why a build of this is refused, a sentence each; empty if it is not.
    pub(crate) refusals: Vec<String>,
}

/// One way by which a feature came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// Who came in.
    pub(crate) feature: String,
    /// Through which feature; `None` if it was asked for by name or is in the profile asked for.
    pub(crate) needed_by: Option<String>,
    /// In words.
    pub(crate) why: String,
}

impl Closure {
    /// Name of the environment variable by which a build learns of `missing`: names separated by blanks. The binary
    /// shows them in `version --features`.
    pub(crate) const MISSING_VAR: &'static str = "SMALLTAIL_MISSING_FEATURES";

    /// Words for cargo that build exactly this.
    pub(crate) fn cargo_words(&self) -> Vec<String> {
        vec!["--no-default-features".to_owned(), format!("--features={}", self.built.join(","))]
    }

    /// Value of [`Self::MISSING_VAR`].
    pub(crate) fn missing_value(&self) -> String {
        self.missing.join(" ")
    }

    /// Refuses what cannot be built.
    ///
    /// # Errors
    /// The refusals.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.refusals.is_empty(), "{}", self.refusals.join("\n"));
        Ok(())
    }
}

impl Graph {
    /// Everything that `request` brings along. What a build would refuse is in [`Closure::refusals`].
    ///
    /// # Errors
    /// An unknown name, and one removed that another needs.
    pub(crate) fn close(&self, request: &Request) -> Result<Closure> {
        let mut closure = Closure::default();
        let mut removed = BTreeSet::new();
        for (spelling, word) in names::read(self, &request.remove)? {
            match word {
                Word::Feature(name) | Word::Without(name) => drop(removed.insert(name)),
                Word::Nothing => bail!("{spelling} is always in and cannot be removed"),
                Word::Absent(why) => bail!("{spelling} stands for no feature of this product: {why}"),
            }
        }
        let words = names::read(self, &request.names)?;
        removed.extend(words.iter().filter_map(|(_, word)| match word {
            Word::Without(name) => Some(name.clone()),
            _ => None,
        }));
        let mut roots: Vec<Reason> = Vec::new();
        for (spelling, word) in words {
            let Word::Feature(name) = word else { continue };
            ensure!(!removed.contains(&name), "{name} is asked for and left out: say one of both");
            if self.is_planned(&name) {
                closure.refusals.push(format!(
                    "{name} is planned and not written yet: leave it out, or take a profile, which goes without it"
                ));
            }
            let why =
                if spelling == name { "asked for".to_owned() } else { format!("asked for as {spelling}") };
            roots.push(Reason { feature: name, needed_by: None, why });
        }
        if let Some(profile) = request.profile.or_else(|| roots.is_empty().then_some(Profile::Router)) {
            let list = self.profiles.get(profile.name()).into_iter().flatten();
            roots.extend(list.filter(|name| !removed.contains(*name)).map(|name| Reason {
                feature: name.clone(),
                needed_by: None,
                why: format!("in profile {}", profile.name()),
            }));
        }
        let known = self.follow(roots, &mut closure.reasons);
        self.refuse_removal(&removed, &known)?;
        let (missing, built) = known.into_iter().partition(|name| self.is_planned(name));
        (closure.missing, closure.built) = (missing, built);
        closure.refusals.extend(self.carries_nothing(&closure));
        Ok(closure)
    }

    /// What a build of `request` is made of: [`Self::close`], and where that carries no packets, what does.
    ///
    /// # Errors
    /// Those of [`Self::close`].
    pub(crate) fn buildable(&self, request: &Request) -> Result<Closure> {
        let closure = self.close(request)?;
        let carrier = self.one_of.iter().find(|one| !self.is_planned(one));
        let Some(carrier) = carrier.filter(|_| self.carries_nothing(&closure).is_some()) else {
            return Ok(closure);
        };
        let mut with = request.clone();
        with.names.push(carrier.clone());
        // It may be what somebody wants left out; then the refusal stands.
        let Ok(mut with) = self.close(&with) else { return Ok(closure) };
        let added =
            with.reasons.iter_mut().find(|reason| reason.feature == *carrier && reason.needed_by.is_none());
        if let Some(reason) = added {
            "nothing else in this choice carries packets".clone_into(&mut reason.why);
        }
        Ok(with)
    }

    /// Goes along all edges from `roots`, notes each, and gives what was reached.
    fn follow(&self, roots: Vec<Reason>, reasons: &mut Vec<Reason>) -> BTreeSet<String> {
        let mut known = BTreeSet::new();
        let mut open = VecDeque::from(roots);
        while let Some(reason) = open.pop_front() {
            if known.insert(reason.feature.clone())
                && let Some(feature) = self.features.get(&reason.feature)
            {
                open.extend(feature.needs.iter().map(|(to, why)| Reason {
                    feature: to.clone(),
                    needed_by: Some(reason.feature.clone()),
                    why: why.clone(),
                }));
            }
            reasons.push(reason);
        }
        known
    }

    /// What was to be left out must not have come in by an edge.
    fn refuse_removal(&self, removed: &BTreeSet<String>, known: &BTreeSet<String>) -> Result<()> {
        let mut refused: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in removed.intersection(known) {
            let dependents = known.iter().filter(|other| {
                !removed.contains(*other) && self.requires(other, |_, _| true).contains(name.as_str())
            });
            refused.insert(name, dependents.map(String::as_str).collect());
        }
        let sentences: Vec<_> = refused
            .into_iter()
            .map(|(name, dependents)| {
                let list = dependents.join(" and ");
                format!("{name} cannot be left out without {list}: remove also {}", dependents.join(","))
            })
            .collect();
        ensure!(sentences.is_empty(), "{}", sentences.join("\n"));
        Ok(())
    }

    /// The sentence for a choice in which nothing that is written carries packets.
    fn carries_nothing(&self, closure: &Closure) -> Option<String> {
        if self.one_of.is_empty() || self.one_of.iter().any(|one| closure.built.contains(one)) {
            return None;
        }
        let written: Vec<_> = self.one_of.iter().filter(|one| !self.is_planned(one)).cloned().collect();
        Some(format!(
            "nothing in this choice carries packets, which takes {}: add {}",
            self.one_of.join(" or "),
            written.join(" or ")
        ))
    }
}
